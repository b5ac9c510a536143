"""Files of unusual shape: nested groups, texts that mean "missing", attributes of one text, odd packing, odd names.

It promises that stock xarray opens each store, in both formats, and sees what it sees in the file; where Zarr has no
word for something, that a note says so and the rest is right.
"""

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from same import isolated, open_store
from verdicts import convert

FORMATS = pytest.mark.parametrize("zarr_format", [3, 2])


def stored(tmp_path, zarr_format, source, *words, code=0):
    sources = source if isinstance(source, list) else [source]
    answer = convert(sources, tmp_path / "z", *words, zarr_format=zarr_format)
    assert answer.code == code, str(answer)
    return answer


def made(tmp_path, write, name="in.nc", **options):
    path = tmp_path / name

    def make():
        with netCDF4.Dataset(path, "w", **options) as file:
            file.set_auto_maskandscale(False)
            write(file)

    isolated(make)
    return path


def both(source, store):
    """The file and the store, as stock xarray loads them."""
    return isolated(lambda: (xr.open_dataset(source, engine="netcdf4").load(), open_store(store).load()))


def assert_same(source, store):
    expected, found = both(source, store)
    assert set(expected.variables) == set(found.variables) and set(expected.coords) == set(found.coords)
    assert expected.attrs == found.attrs
    for name, variable in expected.variables.items():
        assert variable.dtype == found[name].dtype or {variable.dtype.kind, found[name].dtype.kind} <= set("OUT"), name
        assert same_values(variable.values, found[name].values), name
        assert variable.attrs == found[name].attrs, name


def same_values(one, two):
    if one.dtype.kind in "OUST":
        return all(a == b or (a != a and b != b) for a, b in zip(one.ravel().tolist(), two.ravel().tolist(), strict=True))
    return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


@FORMATS
def test_a_tree_of_groups_opens_whole(tmp_path, zarr_format):
    def write(file):
        file.createDimension("x", 2)
        for path in ["A", "B", "B/sub", "B/sub/deep", "only/groups/below", "A/sub", "A b", "A-b"]:
            file.createGroup(path).createVariable("v", "i4", ("x",))[:] = len(path)
        file.createGroup("B/words").note = "only attributes"
        file.createVariable("z", "i4", ("x",))[:] = 7

    source = made(tmp_path, write)
    stored(tmp_path, zarr_format, source)

    def trees():
        expected, found = xr.open_datatree(source, engine="netcdf4"), xr.open_datatree(tmp_path / "z", engine="zarr")
        assert set(expected.groups) == set(found.groups)
        for path in expected.groups:
            assert expected[path].to_dataset(inherit=False).identical(found[path].to_dataset(inherit=False)), path
            one = xr.open_dataset(tmp_path / "z", engine="zarr", group=path.strip("/") or None)
            assert set(one.variables) == set(expected[path].to_dataset(inherit=False).variables), path
            assert one.attrs == expected[path].attrs, path

    isolated(trees)


@FORMATS
def test_a_list_of_one_text_is_a_text(tmp_path, zarr_format):
    def write(file):
        file.createDimension("x", 3)
        file.setncattr_string("title", "Été")
        file.setncattr_string("many", ["a", "b"])
        file.nul = "a\0b"
        time, lat, t = (file.createVariable(name, "f8", ("x",)) for name in ["time", "lat", "t"])
        for variable in [time, lat, t]:
            variable[:] = [1, 2, 3]
        for variable, words in [(time, {"units": "days since 2000-01-01", "calendar": "noleap"}),
                                (t, {"coordinates": "lat time", "units": "°C", "cell_methods": "x: mean", "missing_value": "none"})]:
            for name, text in words.items():
                variable.setncattr_string(name, text)
        t.one = np.array([2], "i2")

    source = made(tmp_path, write)
    stored(tmp_path, zarr_format, source)
    assert_same(source, tmp_path / "z")


@FORMATS
def test_texts_of_hdf5_attributes_are_those_of_the_netcdf_library(tmp_path, zarr_format):
    source = tmp_path / "in.h5"

    def write():
        with h5py.File(source, "w") as file:
            file["x"] = np.arange(3)
            file["x"].make_scale("x")
            attributes = file["x"].attrs
            attributes["fixed"] = np.array([b"ab"], "S4")
            attributes["two"] = np.array([b"ab", b"c"], "S4")
            attributes["square"] = np.array([[b"ab"]], "S2")
            attributes["one"] = np.array(["é"], dtype=h5py.string_dtype())
            attributes["inner"] = np.bytes_(b"a\0b")

    isolated(write)
    stored(tmp_path, zarr_format, source)
    assert_same(source, tmp_path / "z")


def test_one_text_joins_with_a_list_of_one_text(tmp_path):
    def write(number):
        def fill(file):
            file.createDimension("time", None)
            time = file.createVariable("time", "i4", ("time",))
            (time.setncattr_string if number else time.setncattr)("units", "days since 2000-01-01")
            time[:] = [number]

        return fill

    sources = [made(tmp_path, write(number), f"{number}.nc") for number in range(2)]
    stored(tmp_path, 3, sources)
    found = isolated(lambda: open_store(tmp_path / "z").load())
    assert found.time.values.tolist() == np.array(["2000-01-01", "2000-01-02"], "M8[ns]").tolist()


@FORMATS
def test_texts_that_mean_missing_are_missing(tmp_path, zarr_format):
    def write(file):
        file.createDimension("x", 4)
        for name, chunks in [("a", None), ("b", (2,))]:
            variable = file.createVariable(name, str, ("x",), fill_value="none", chunksizes=chunks)
            variable[0], variable[1] = "one", "none"

    source = made(tmp_path, write)
    stored(tmp_path, zarr_format, source)
    expected, found = both(source, tmp_path / "z")
    for name in expected.variables:
        assert same_values(expected[name].values, found[name].values)


@FORMATS
def test_a_char_that_means_missing_leaves_a_store_that_opens(tmp_path, zarr_format):
    def write(file):
        file.createDimension("x", 3)
        file.createVariable("flag", "S1", ("x",), fill_value=b" ")[:] = np.array([b"1", b"2", b" "])
        # Without another variable along it, `x` would be the length of one text.
        file.createVariable("t", "f4", ("x",))[:] = 1

    source = made(tmp_path, write, format="NETCDF3_CLASSIC")
    answer = stored(tmp_path, zarr_format, source)
    expected, found = both(source, tmp_path / "z")
    if zarr_format == 2:
        assert same_values(expected.flag.values, found.flag.values)
    else:
        # xarray decodes the attribute of no text of v3: the values are those it reads without masking.
        assert found.flag.values.tolist() == [b"1", b"2", b" "]
        assert any("_FillValue" in warning["message"] for warning in answer.report["warnings"]), str(answer)


@FORMATS
def test_fill_values_that_no_element_can_be(tmp_path, zarr_format):
    source = tmp_path / "in.h5"
    fills = {"nan": np.float64("nan"), "half": np.float64(2.5), "whole": np.float64(2), "two": np.array([1, 2], "i4"), "text": "2"}

    def write():
        with h5py.File(source, "w") as file:
            for name, fill in fills.items():
                file[name] = np.array([1, 2, 3], "i4")
                file[name].attrs["_FillValue"] = fill

    isolated(write)
    stored(tmp_path, zarr_format, source)
    found = isolated(lambda: open_store(tmp_path / "z").load())
    missing = {"nan": [], "half": [], "whole": [2], "two": [1, 2], "text": []}
    for name, gone in missing.items():
        assert [value for value in [1, 2, 3] if value not in found[name].values.tolist()] == gone, name


@FORMATS
def test_texts_that_were_never_written_are_the_fill_value(tmp_path, zarr_format):
    source = tmp_path / "in.h5"

    def write():
        with h5py.File(source, "w") as file:
            file.create_dataset("s", (5,), dtype=h5py.string_dtype(), fillvalue="abc", chunks=(2,))[:2] = ["q", ""]
            file.create_dataset("t", (3,), dtype=h5py.string_dtype(), fillvalue="abc")
            file.create_dataset("u", (3,), dtype=h5py.string_dtype(), chunks=(2,))

    isolated(write)
    stored(tmp_path, zarr_format, source)
    expected, found = both(source, tmp_path / "z")
    for name in expected.variables:
        assert expected[name].values.tolist() == found[name].values.tolist(), name


@FORMATS
def test_unsigned_numbers_read_as_signed_keep_their_fill_value(tmp_path, zarr_format):
    def write(file):
        file.createDimension("x", 3)
        for name, dtype, fill in [("a", "u1", 255), ("b", "u2", 65535), ("c", "u1", 7)]:
            variable = file.createVariable(name, dtype, ("x",), fill_value=fill)
            variable.setncattr("_Unsigned", "false")
            variable.set_auto_maskandscale(False)
            variable[:] = [1, 200, fill]

    source = made(tmp_path, write)
    stored(tmp_path, zarr_format, source)
    assert_same(source, tmp_path / "z")


@FORMATS
def test_integer_packing_decodes_to_the_type_of_the_file(tmp_path, zarr_format):
    def write(file):
        file.createDimension("x", 3)
        for packed in ["i1", "i2", "u2", "i4"]:
            for factor in ["i1", "i2", "u2", "i4", "i8"]:
                for name in ["scale_factor", "add_offset"]:
                    variable = file.createVariable(f"{name}_{packed}_{factor}", packed, ("x",))
                    variable.set_auto_maskandscale(False)
                    variable.setncattr(name, np.dtype(factor).type(3))
                    variable[:] = [1, 100, 3]

    source = made(tmp_path, write)
    stored(tmp_path, zarr_format, source)
    assert_same(source, tmp_path / "z")


@FORMATS
@pytest.mark.parametrize("dtype", ["i4", "i2", "f4", "f8"])
def test_times_that_count_differently_are_written_with_their_bounds(tmp_path, zarr_format, dtype):
    def write(units, times):
        def make(file):
            file.createDimension("time", None)
            file.createDimension("n", 2)
            fill = np.dtype(dtype).type("nan") if dtype[0] == "f" else None
            time = file.createVariable("time", dtype, ("time",), fill_value=fill)
            time.units, time.bounds = units, "time_bnds"
            bounds = file.createVariable("time_bnds", dtype, ("time", "n"))
            for variable in [time, bounds]:
                variable.set_auto_maskandscale(False)
            time[:] = times
            bounds[:] = np.array([times, times], dtype).T
            file.createVariable("tas", "f4", ("time",))[:] = 1

        return make

    sources = [made(tmp_path, write("days since 2000-01-01", [0, 1]), "0.nc"), made(tmp_path, write("hours since 2000-01-03 12:00", [0, 24]), "1.nc")]
    stored(tmp_path, zarr_format, sources)
    found = isolated(lambda: open_store(tmp_path / "z").load())
    expected = np.array(["2000-01-01", "2000-01-02", "2000-01-03T12", "2000-01-04T12"], "M8[ns]")
    assert found.time.values.astype("M8[ns]").tolist() == expected.tolist()
    assert found.time_bnds.values[:, 0].astype("M8[ns]").tolist() == expected.tolist()


@FORMATS
def test_what_has_no_place_in_zarr_is_named_before_anything_is_written(tmp_path, zarr_format):
    source = tmp_path / "in.h5"

    def write():
        with h5py.File(source, "w") as file:
            file["x"] = np.arange(3)
            file["opaque"] = np.zeros(3, "V64")
            file["long"] = np.zeros(3, "f16")
            for name in ["zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata", ".frazil"]:
                file[f"taken {name}/{name}"] = np.arange(3)
                file.create_group(name).attrs["words"] = "of a group"

    isolated(write)
    answer = stored(tmp_path, zarr_format, source, code=3)
    reasons = {item["path"]: item["unread"] for item in answer.report["items"] if "unread" in item}
    assert f"Zarr v{zarr_format} has no type for" in reasons["/opaque"] and f"Zarr v{zarr_format} has no type for" in reasons["/long"]
    for name in ["zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata", ".frazil"]:
        assert "cannot be a key" in reasons[f"/taken {name}/{name}"] and "cannot be a key" in reasons[f"/{name}"], reasons
    found = isolated(lambda: open_store(tmp_path / "z").load())
    assert found.x.values.tolist() == [0, 1, 2]


def test_texts_that_mean_missing_in_one_file_only_are_refused(tmp_path):
    def write(number, word):
        def fill(file):
            file.createDimension("time", None)
            time = file.createVariable("time", "i4", ("time",))
            time.units = "days since 2000-01-01"
            time[:] = [number]
            file.createVariable("s", str, ("time",), fill_value=word)[0] = "a"

        return fill

    sources = [made(tmp_path, write(number, word), f"{number}.nc") for number, word in enumerate(["none", "absent"])]
    answer = stored(tmp_path, 3, sources, code=1)
    assert answer.report["error"]["code"] == "combine.meaning" and "absent" in answer.report["error"]["message"], str(answer)


@FORMATS
@pytest.mark.parametrize("length", [3, 6])
def test_an_axis_that_is_longer_or_shorter_than_its_scale_keeps_all_its_values(tmp_path, zarr_format, length):
    """HDF5 attaches scales of any length. netCDF-C cuts what is longer and cannot read what is shorter; h5py has it all."""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"] = np.arange(4.0)
        file["x"].make_scale()
        file["y"] = np.arange(float(length))
        file["y"].make_scale()
        for name, n in (("a", length), ("b", length), ("z", 4)):
            file[name] = np.arange(float(n)) + 0.5
            file[name].dims[0].attach_scale(file["x"])
        file["w"] = np.arange(2.0 * length).reshape(length, 2)
        file["w"].dims[0].attach_scale(file["y"])
    stored(tmp_path, zarr_format, tmp_path / "in.h5")
    found = isolated(lambda: open_store(tmp_path / "z").load())
    with h5py.File(tmp_path / "in.h5") as file:
        for name in ("a", "b", "w", "x", "y", "z"):
            assert np.array_equal(found[name].values, file[name][:]), name
    assert found["z"].dims == ("x",) and found["w"].dims[0] == "y"
    assert found["a"].dims == found["b"].dims and found["a"].dims not in (("x",), ("y",)), found["a"].dims
