"""The judges, judged: each must fail what is wrong, and pass what is right. None of these runs frazil."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr

from kill import points_of
from make import days, make
from same import compare_file, isolated
from series import compare_series, expected_series
from verdicts import stamps, tree, tree_differences


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    stored = np.arange(5 * 4 * 6, dtype="f4").reshape(5, 4, 6)
    stored[1, 1, 1] = np.nan
    return make(tmp_path_factory.mktemp("s") / "in.nc", days("2000-01-01", 5), stored=stored, fill=-1.0, constant=3)


def written(source, dest, change=lambda data: data, zarr_format=3):
    """The store stock xarray writes of the undecoded source, after `change`."""
    data = change(xr.open_dataset(source, engine="netcdf4", decode_cf=False).load())
    for variable in data.variables.values():
        if "_FillValue" not in variable.attrs:
            variable.encoding.setdefault("_FillValue", None)
    data.to_zarr(dest, zarr_format=zarr_format, consolidated=True, mode="w")


def put(name, place, value):
    def change(data):
        values = data[name].values.copy()
        values[place] = value
        data[name] = (data[name].dims, values, data[name].attrs)
        return data

    return change


def attribute(name, key, value):
    def change(data):
        attributes = data[name].attrs if name else data.attrs
        attributes.pop(key, None)
        if value is not None:
            attributes[key] = value
        return data

    return change


@pytest.mark.parametrize("zarr_format", [3, 2])
def test_a_right_store_is_equal(source, tmp_path, zarr_format):
    isolated(written, source, tmp_path / "z", lambda data: data, zarr_format)
    verdict = isolated(compare_file, source, tmp_path / "z")
    assert verdict.differences == [] and verdict.uncomparable is None and verdict.rules == set()


WRONG = {
    "a value": put("sst", (2, 3, 4), 99.0), "the last bit": put("sst", (2, 3, 4), np.nextafter(np.float32(70), np.float32(99))),
    "a sign of zero": put("sst", (0, 0, 0), -0.0), "a missing value": put("sst", (1, 1, 1), 0.0), "a value gone": put("sst", (4, 0, 0), -1.0),
    "a time": put("time", 3, 3.5), "a latitude": put("lat", 0, -45.0 + 1e-9), "a scalar": put("crs", (), 0),
    "the units": attribute("sst", "units", "degC"), "an attribute lost": attribute("sst", "long_name", None),
    "an attribute too many": attribute("sst", "note", "x"), "a global attribute": attribute("", "title", "other"),
    "the fill value": attribute("sst", "_FillValue", np.float32(0)), "the calendar": attribute("time", "calendar", "noleap"),
    "the epoch": attribute("time", "units", "days since 2000-01-02"), "the dtype": lambda data: data.assign(sst=data.sst.astype("f8")),
    "the dimensions": lambda data: data.rename_dims(lat="y"), "the order": lambda data: data.transpose("lat", "time", "lon"),
    "a variable lost": lambda data: data.drop_vars("crs"), "a variable too many": lambda data: data.assign(extra=1),
    "a shift": lambda data: data.assign(sst=data.sst.roll(time=1)), "too short": lambda data: data.isel(time=slice(4)),
    "a number as text": attribute("crs", "grid_mapping_name", 3),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("zarr_format", [3, 2])
def test_a_store_wrong_in_one_thing_is_not_equal(source, tmp_path, what, zarr_format):
    isolated(written, source, tmp_path / "z", WRONG[what], zarr_format)
    try:
        verdict = isolated(compare_file, source, tmp_path / "z")
    except AssertionError:
        return
    assert verdict.differences, f"{what} is wrong, and the judge passed it"


def test_a_lost_chunk_is_not_equal(source, tmp_path):
    isolated(written, source, tmp_path / "z")
    shutil.rmtree(tmp_path / "z" / "sst" / "c")
    assert isolated(compare_file, source, tmp_path / "z").differences


def test_a_store_without_consolidated_metadata_is_not_opened(source, tmp_path):
    isolated(written, source, tmp_path / "z")
    root = tmp_path / "z" / "zarr.json"
    metadata = json.loads(root.read_text())
    del metadata["consolidated_metadata"]
    root.write_text(json.dumps(metadata))
    with pytest.raises(AssertionError):
        isolated(compare_file, source, tmp_path / "z")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("p")
    packings = [{"scale_factor": np.float32(0.01), "add_offset": np.float32(273.15)}, {"scale_factor": 0.5, "add_offset": 1.0}]
    return [make(folder / f"{i}.nc", days("2000-01-01", 5), dtype="i2", packing=packing, fill=-1) for i, packing in enumerate(packings)]


def test_packing_in_float32_does_not_survive_json(packed, tmp_path):
    isolated(written, packed[0], tmp_path / "z")
    assert isolated(compare_file, packed[0], tmp_path / "z").differences, "xarray's own copy decodes to float64"


def test_packing_in_float64_needs_no_rule(packed, tmp_path):
    isolated(written, packed[1], tmp_path / "z")
    verdict = isolated(compare_file, packed[1], tmp_path / "z")
    assert verdict.differences == [] and verdict.rules == set()


def test_the_second_file_decoded_by_the_packing_of_the_first_is_not_equal(tmp_path):
    sources = []
    for i, scale in enumerate((0.5, 0.25)):
        packing = {"scale_factor": scale, "add_offset": 0.0}
        sources.append(make(tmp_path / f"{i}.nc", days(f"2000-01-{1 + 5 * i:02}", 5), dtype="i2", packing=packing, fill=-1))

    def joined(dest, factor):
        parts = [xr.open_dataset(path, engine="netcdf4", decode_cf=False).load() for path in sources]
        parts[1]["sst"].values[...] //= factor
        data = xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override", combine_attrs="drop_conflicts", join="override")
        data["sst"].attrs.update(parts[0]["sst"].attrs)
        data.to_zarr(dest, consolidated=True)

    isolated(joined, tmp_path / "wrong", 1)
    found = isolated(compare_series, [str(path) for path in sources], tmp_path / "wrong").differences
    assert any(line.startswith("sst: ") for line in found), found


def test_days_that_come_twice_are_no_series(tmp_path):
    sources = [make(tmp_path / f"{i}.nc", days(f"2000-01-0{1 + i}", 5)) for i in range(2)]
    with pytest.raises(AssertionError, match="twice"):
        isolated(expected_series, [str(path) for path in sources])


def test_a_tree_shows_what_was_lost_added_and_changed(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).write_bytes(content)
    before, untouched = tree(tmp_path), stamps(tmp_path)
    assert stamps(tmp_path) == untouched
    (tmp_path / "a").write_bytes(b"3")
    (tmp_path / "b").unlink()
    (tmp_path / "c").mkdir()
    assert tree_differences(before, tree(tmp_path)) == ["lost: b", "stray: c", "other bytes: a"]
    assert stamps(tmp_path) != untouched


def test_crash_points_count_by_thread_and_leave_the_terminal_out():
    log = """7 write(1</dev/pts/0>, "x", 1) = 1
7 write(4</z/a>, "x", 1) = 1
8 write(5</z/b>, "x", 1 <unfinished ...>
7 fsync(4</z/a>) = 0
8 <... write resumed>) = 1
8 write(3<pipe:[1]>, "x", 1) = 1
8 rename("/z/a~", "/z/a") = 0
"""
    assert points_of(log) == [("write", 2), ("write", 1), ("fsync", 1), ("rename", 1)]
    assert points_of(log, r"\d+</z/b>") == [("write", 1)]
