"""Counts whose factors are float32 stay in the files, and stock readers get the file's float32 values, bit for bit."""

import json

import netCDF4
import numpy as np
import pytest
import xarray as xr

import clients
from command import frazil
from same import isolated
from virtual import FORMATS, Virtual, open_store, place_in


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


def counts_file(path, day: int, scale, offset=None, dtype="i2", fill=-999, unsigned=None, **storage):
    """One file of every count there is, and of `fill`."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("lat", 256)
        file.createDimension("lon", 256)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 2000-01-01"
        time[:] = [day]
        variable = file.createVariable("sst", dtype, ("time", "lat", "lon"), fill_value=fill, **storage)
        variable.set_auto_maskandscale(False)
        variable.scale_factor = np.float32(scale)
        if offset is not None:
            variable.add_offset = np.float32(offset)
        if unsigned is not None:
            variable.setncattr("_Unsigned", unsigned)
            variable.valid_range = np.array([0, 6], dtype)
        info = np.iinfo(dtype)
        variable[:] = np.resize(np.arange(info.min, info.max + 1).astype(dtype), (1, 256, 256))
    return path


CASES = {
    "0.01": dict(scale=0.01),
    "0.01 + 0": dict(scale=0.01, offset=0),
    "0.01 + 273.15": dict(scale=0.01, offset=273.15, zlib=True, shuffle=True, chunksizes=(1, 128, 256)),
    "0.1, big-endian": dict(scale=0.1, offset=25, zlib=True, endian="big"),
    "bytes": dict(scale=0.05, dtype="i1", fill=-128, zlib=True),
    "unsigned bytes": dict(scale=0.5, offset=-10, dtype="u1", fill=255),
    "GOES": dict(scale=0.8121, offset=-25.93, fill=-1, unsigned="true", zlib=True, chunksizes=(1, 128, 256)),
    "_Unsigned bytes": dict(scale=0.25, dtype="i1", fill=-1, unsigned="true"),
    "_Unsigned without a mark": dict(scale=0.02, fill=False, unsigned="true", zlib=True, endian="big"),
    "_Unsigned, but signed": dict(scale=0.02, dtype="u2", fill=65000, unsigned="false", zlib=True),
    "without a mark": dict(scale=0.02, fill=False, zlib=True),
}


def series(folder, case):
    return [counts_file(folder / f"{day}.nc", day, **case) for day in range(3)]


def truth(files):
    return xr.concat([xr.open_dataset(file).load() for file in files], "time")


def opened(dest, form):
    # Icechunk runs threads, and a process that has them cannot be forked by the judges that come after.
    return isolated(lambda: open_store(Virtual(str(dest), form)).load())


def same(found, wanted):
    assert found.dtype == wanted.dtype == np.float32
    bits = lambda array: np.where(np.isnan(array.values), np.float32(0), array.values).view("u4")
    return np.array_equal(np.isnan(found.values), np.isnan(wanted.values)) and np.array_equal(bits(found), bits(wanted))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", ["0.01 + 273.15", "GOES"])
def test_one_file_is_not_copied_either(tmp_path, case, form):
    file = counts_file(tmp_path / "in.nc", 0, **CASES[case])
    dest = place_in(tmp_path, form)
    answer = frazil("convert", file, dest, "--to", "virtual", "--format", form, "--json")
    assert answer.code == 0 and json.loads(answer.out)["totals"]["native_bytes"] == 0, str(answer)
    assert same(opened(dest, form)["sst"], truth([file])["sst"])
    assert frazil("verify", dest, "--sources").code == 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_every_count_is_the_value_of_the_file_and_nothing_is_copied(tmp_path, case, form):
    files = series(tmp_path, CASES[case])
    dest = place_in(tmp_path, form)
    answer = frazil("convert", *files, dest, "--to", "virtual", "--format", form, "--json")
    report = json.loads(answer.out)
    assert answer.code == 0 and report["totals"]["native_bytes"] == 0, str(answer)
    assert {item["path"]: item["how"] for item in report["items"]}["/sst"] == "referenced"
    assert same(opened(dest, form)["sst"], truth(files)["sst"])
    assert frazil("verify", dest, "--sources").code == 0
    # As a source it is what the files are.
    copied = frazil("convert", dest, tmp_path / "c.zarr", "--to", "zarr", "--json")
    assert copied.code == 0, str(copied)
    assert same(xr.open_zarr(tmp_path / "c.zarr", consolidated=False)["sst"].load(), truth(files)["sst"])


@pytest.mark.parametrize("form", FORMATS)
def test_factors_that_no_codec_says_are_decoded_as_before(tmp_path, form):
    # Some count times this lies just between two float32.
    files = series(tmp_path, dict(scale=1.997826631257307e-05, zlib=True))
    dest = place_in(tmp_path, form)
    answer = frazil("convert", *files, dest, "--to", "virtual", "--format", form, "--json")
    report = json.loads(answer.out)
    assert answer.code == 0 and report["totals"]["native_bytes"] > 0, str(answer)
    assert same(opened(dest, form)["sst"], truth(files)["sst"])


def test_an_archive_with_a_file_that_is_packed_otherwise_is_right(tmp_path):
    files = [*series(tmp_path, CASES["0.01"]), counts_file(tmp_path / "z.nc", 9, 0.02, zlib=True)]
    answer = frazil("convert", *files, tmp_path / "d", "--to", "virtual", "--json")
    assert answer.code == 0, str(answer)
    assert same(opened(tmp_path / "d", "icechunk")["sst"], truth(files)["sst"])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("inline", ["1B", "1MB"])
def test_chunks_that_must_be_made_hold_counts_as_well(tmp_path, form, inline):
    """One file is cut otherwise, so its chunks are written; with the large bound all are small enough to be held."""
    files = [*series(tmp_path, CASES["0.01 + 273.15"]), counts_file(tmp_path / "z.nc", 9, 0.01, 273.15, zlib=True, chunksizes=(1, 100, 100))]
    dest = place_in(tmp_path, form)
    answer = frazil("convert", *files, dest, "--to", "virtual", "--format", form, "--inline", inline, "--json")
    report = json.loads(answer.out)
    assert answer.code == 0 and sum(report["totals"][name] for name in ("native_bytes", "inline_bytes")) > 0, str(answer)
    assert same(opened(dest, form)["sst"], truth(files)["sst"])
    assert frazil("verify", dest, "--sources").code == 0
    copied = frazil("convert", dest, tmp_path / "c.zarr", "--to", "zarr")
    assert copied.code == 0, str(copied)
    assert same(xr.open_zarr(tmp_path / "c.zarr", consolidated=False)["sst"].load(), truth(files)["sst"])
