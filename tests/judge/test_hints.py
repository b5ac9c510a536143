"""What is said when files cannot be joined, or cannot extend a store: the reason is the true one, and the hint helps."""

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil
from make import counter, days, feedstock, make, pair
from verdicts import assert_equal, assert_refused, convert, opens


def error_of(answer):
    assert answer.crash() is None and answer.code == 1, f"expected a refusal\n{answer}"
    return answer.report["error"]


def unsigned(path, first, dtype, fill=None, **attributes):
    """Five days of the bytes 0 to 255, as they lie in the file."""
    stored = ((counter((5, 4, 6), 3) * 2) % 256).astype("u1").view(dtype)
    return make(path, days(first, 5), dtype=dtype, stored=stored, fill=fill, attributes=attributes)


@pytest.mark.parametrize("policy", ["repack", "decode"])
@pytest.mark.parametrize("fill", [None, 250])
def test_counts_without_sign_are_joined_by_their_values_however_they_are_kept(tmp_path, policy, fill):
    """`_Unsigned` bytes with a sign beside those without: repacking falls back to the values (docs/design/0003)."""
    mark = {} if fill is None else {"fill": fill}
    sources = [
        unsigned(tmp_path / "one.nc", "2000-01-01", "i1", None if fill is None else fill - 256, _Unsigned="true"),
        unsigned(tmp_path / "two.nc", "2000-01-06", "u1", **mark),
    ]
    dest = tmp_path / "z"
    answer = convert(sources, dest, "--differ", f"packing={policy}")
    assert answer.code == 0, str(answer)
    with xr.open_mfdataset(sources, engine="netcdf4", combine="nested", concat_dim="time", data_vars="minimal") as theirs, xr.open_zarr(dest) as ours:
        np.testing.assert_array_equal(ours["sst"].values.astype("f8"), theirs["sst"].values.astype("f8"))
        assert ours["sst"].max() > 127
    assert any("packed differently" in str(warning) for warning in answer.report["warnings"]), str(answer)


def test_the_hint_of_packing_works(tmp_path):
    sources = [unsigned(tmp_path / "one.nc", "2000-01-01", "i1", _Unsigned="true"), unsigned(tmp_path / "two.nc", "2000-01-06", "i1")]
    error = error_of(convert(sources, tmp_path / "z"))
    assert error["code"] == "combine.packing" and "repack" in error["hint"] and "decode" in error["hint"], error
    for policy in ("repack", "decode"):
        answer = convert(sources, tmp_path / policy, "--differ", f"packing={policy}")
        assert answer.code == 0 and opens(tmp_path / policy), str(answer)


# Adding to a store: when `--revise` is spoken of.

class Store:
    def __init__(self, folder):
        self.folder, self.dest = folder, folder / "store.zarr"
        for number, first in enumerate(("2000-01-01", "2000-01-06")):
            make(folder / f"data-{number}.nc", days(first, 5))
        self.recipe = feedstock(folder / "f", folder / "data-*.nc", mode="extend")
        assert self.build().code == 0

    def build(self, *flags):
        return frazil("build", self.recipe, "--to", self.dest, "--json", *flags)


def change(path, **odd):
    make(path, odd.pop("times", days("2000-01-06", 5)), **odd)


CHANGES = {
    "grown": lambda folder: change(folder / "data-1.nc", times=days("2000-01-06", 8)),
    "renamed": lambda folder: (folder / "data-0.nc").rename(folder / "data-9.nc"),
    "earlier": lambda folder: change(folder / "data-2.nc", times=days("1999-12-01", 5)),
    "another calendar": lambda folder: change(folder / "data-2.nc", times=[400, 401], calendar="noleap"),
    "another type": lambda folder: change(folder / "data-2.nc", times=days("2000-02-01", 5), dtype="f8"),
    "another latitude": lambda folder: change(folder / "data-2.nc", times=days("2000-02-01", 5), lat=[-45.0, -15.0, 15.0, 50.0]),
    "another variable": lambda folder: change(folder / "data-2.nc", times=days("2000-02-01", 5), name="sss"),
}


@pytest.mark.parametrize("flags", [[], ["--revise"]], ids=["as it is", "--revise"])
@pytest.mark.parametrize("what", CHANGES)
def test_revise_is_not_spoken_of_where_it_does_not_help(tmp_path, what, flags):
    store = Store(tmp_path)
    CHANGES[what](tmp_path)
    error = error_of(store.build(*flags))
    assert "--revise" not in (error.get("hint") or ""), error
    if what in ("grown", "renamed", "earlier"):
        assert "mode: replace" in error["hint"], error
        feedstock(tmp_path / "f", tmp_path / "data-*.nc", mode="replace")
        assert_equal(store.build(), sorted(tmp_path.glob("data-*.nc")), store.dest)


def test_revise_is_spoken_of_where_it_helps(tmp_path):
    store = Store(tmp_path)
    change(tmp_path / "data-1.nc", stored=counter((5, 4, 6), 99))
    assert "--revise" in error_of(store.build())["hint"]
    assert_equal(store.build("--revise"), sorted(tmp_path.glob("data-*.nc")), store.dest)
    # A revision that cannot be is not told to be tried again.
    change(tmp_path / "data-1.nc", stored=counter((3, 4, 6), 98), times=days("2000-01-06", 3))
    assert "--revise" not in (error_of(store.build("--revise")).get("hint") or "")


# Names that no file has, and numbers that are no times.

@pytest.mark.parametrize("words", [["--align", "latt=1e-5"], ["--align", "lat=1e-5,tmie=outer"]])
@pytest.mark.parametrize("n_files", [1, 2])
def test_a_dimension_to_align_that_no_file_has_is_named(tmp_path, words, n_files):
    sources = pair(tmp_path)[:n_files]
    error = error_of(convert(sources, tmp_path / "z", *words))
    wrong, right = ("latt", "lat") if "latt" in words[1] else ("tmie", "time")
    assert error["code"] == "combine.no-dimension" and wrong in error["message"] and f"`{right}`" in error["hint"], error
    assert not (tmp_path / "z").exists()


def months(path, units, counts):
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createVariable("time", "f8", ("time",)).units = units
        file["time"][:] = counts
        file.createVariable("sst", "f4", ("time",))[:] = counts
    return path


@pytest.mark.parametrize("first, second", [([0, 1, 2], [0, 1, 2]), ([0, 1, 2], [2, 3]), ([0, 1, 2], [12, 13])], ids=["all the same", "one the same", "others"])
@pytest.mark.parametrize("words", [[], ["--duplicates", "first"]], ids=["", "first"])
def test_months_since_other_dates_are_not_doubles(tmp_path, first, second, words):
    sources = [months(tmp_path / "one.nc", "months since 2000-01-01", first), months(tmp_path / "two.nc", "months since 2001-01-01", second)]
    answer = convert(sources, tmp_path / "z", *words)
    error = error_of(answer)
    assert_refused(answer, tmp_path / "z", "two.nc", "time", "units differ")
    assert error["code"] == "combine.units" and "2000-01-01" in error["message"] and "2001-01-01" in error["message"], error
    assert "duplicates" not in (error.get("hint") or ""), error


def test_months_since_one_date_are_joined(tmp_path):
    sources = [months(tmp_path / "one.nc", "months since 2000-01-01", [0, 1, 2]), months(tmp_path / "two.nc", "months since 2000-01-01", [3, 4])]
    answer = convert(sources, tmp_path / "z")
    assert answer.code == 0, str(answer)
    with xr.open_zarr(tmp_path / "z", decode_times=False) as store:
        np.testing.assert_array_equal(store["sst"], [0, 1, 2, 3, 4])


@pytest.mark.parametrize("words", [["--to", "zarr"], ["--to", "virtual", "--format", "kerchunk-json"]], ids=["copied", "virtual"])
def test_attributes_that_are_no_text_or_no_value_are_named_and_the_rest_is_kept(tmp_path, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = file.create_dataset("t", data=np.arange(4.0))
        values.attrs.create("pair", np.zeros(1, [("a", "i4"), ("b", "f8")]))
        values.attrs["units"], values.attrs["long_name"] = np.bytes_(b"\xb0C"), "température"
    answer = frazil("convert", tmp_path / "a.h5", tmp_path / "out.json", *words, "--json")
    error = answer.report["error"]
    assert answer.code == 3 and "attribute" in error["message"] and "`pair`" in error["message"] and "--vars" not in error["hint"], str(answer)
    warned = [warning["message"] for warning in answer.report["warnings"] if warning["code"] == "source.not-utf8"]
    assert len(warned) == 1 and "t@units" in warned[0] and "long_name" not in warned[0], str(answer)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["t"][:], opened(tmp_path / "out.json", words)["t"].values)


def opened(dest, words):
    with xr.open_dataset(str(dest), engine="zarr" if "zarr" in words else "kerchunk", chunks=None) as dataset:
        return dataset.load()


def test_a_store_is_no_file_to_refer_to(tmp_path):
    assert convert([make(tmp_path / "in.nc", days("2000-01-01", 3))], tmp_path / "a.zarr").code == 0
    answer = frazil("convert", tmp_path / "a.zarr", tmp_path / "out.json", "--to", "virtual", "--format", "kerchunk-json", "--json")
    assert "Zarr store" in error_of(answer)["message"] and "--to zarr" in answer.report["error"]["hint"], str(answer)
    assert not (tmp_path / "out.json").exists()
