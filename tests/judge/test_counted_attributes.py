"""Attributes that speak of counts go on to speak of what is written: `valid_range` and flags of packed numbers that are decoded,
repacked or cast, and numbers whose sign `_Unsigned` gives.

The judge is what xarray and CF make of the file: the same values lie in the range as before.
"""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil


def write(path, times, stored, dtype="i2", **attributes):
    fill = attributes.pop("_FillValue", None)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time[:] = "days since 2001-01-01", times
        variable = file.createVariable("v", dtype, ("time",), fill_value=fill)
        variable.set_auto_maskandscale(False)
        variable.setncatts(attributes)
        variable[:] = np.asarray(stored, dtype)
    return path


def built(folder, each="", combine="along: time", code=0):
    (folder / "f/feedstock").mkdir(parents=True, exist_ok=True)
    (folder / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: t\nsources: {{s: {{glob: '{folder}/*.nc'}}}}\n{each}combine: {{{combine}}}\nwrite: {{zarr: {{}}}}\n")
    answer = frazil("build", folder / "f", "--to", folder / "out.zarr")
    assert answer.crash() is None and answer.code == code, answer
    return (xr.open_zarr(folder / "out.zarr", consolidated=False).load(), answer) if code == 0 else answer


def valid_values(variable, stored=None):
    """The range in values: CF's `valid_range` is of counts where it has their type (CF 1.11, section 2.5.1)."""
    low, high = np.atleast_1d(variable.attrs["valid_range"])
    scale, offset = variable.encoding.get("scale_factor", 1), variable.encoding.get("add_offset", 0)
    return low * scale + offset, high * scale + offset


PACKED = {"_FillValue": np.int16(-1), "scale_factor": 0.5, "add_offset": 10.0, "valid_range": np.array([0, 20], "i2"), "flag_values": np.array([1, 2, 3], "i2")}


@pytest.mark.parametrize("to", ["float32", "float64"])
def test_a_range_of_counts_is_cast_with_them(tmp_path, to):
    source = xr.open_dataset(write(tmp_path / "a.nc", [0, 1, 2], [0, 20, -1], **PACKED))
    got, _ = built(tmp_path, f"each: [{{cast: {{v: {to}}}}}]\n")
    assert valid_values(got.v) == valid_values(source.v) == (10, 20)
    np.testing.assert_array_equal(got.v.attrs["flag_values"], [10.5, 11, 11.5])
    np.testing.assert_array_equal(got.v, source.v)


@pytest.mark.parametrize("packing", ["decode", "repack"])
@pytest.mark.parametrize("ranges,kept", [(([0, 20], [0, 5]), True), (([0, 20], [0, 20]), False)], ids=["of the same values", "of the same counts"])
def test_a_range_is_kept_where_files_mean_the_same_by_it(tmp_path, packing, ranges, kept):
    write(tmp_path / "a.nc", [0], [10], scale_factor=0.5, valid_range=np.array(ranges[0], "i2"))
    write(tmp_path / "b.nc", [1], [5], scale_factor=2.0, valid_range=np.array(ranges[1], "i2"))
    if kept:
        # Their numbers differ as attributes, which is for the author to decide.
        return built(tmp_path, combine=f"along: time, differ: {{packing: {packing}}}", code=1)
    got, answer = built(tmp_path, combine=f"along: time, differ: {{packing: {packing}}}")
    assert "valid_range" not in got.v.attrs and "v@valid_range" in answer.err, answer
    np.testing.assert_array_equal(got.v, [5, 10])


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("to", ["uint8", "uint16", "int16", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("dtype,said,stored", [("i1", "true", [-3, 5, 100]), ("u1", "false", [253, 5, 100]), ("i2", "true", [-3, 5, 100])])
def test_counts_without_a_sign_are_cast_as_they_are_meant(tmp_path, dtype, said, stored, to, marked):
    attributes = {"_FillValue": np.dtype(dtype).type(7)} if marked else {}
    source = xr.open_dataset(write(tmp_path / "a.nc", [0, 1, 2], stored, dtype=dtype, _Unsigned=said, **attributes))
    want = source.v.values.astype("f8")
    bounds = (-np.inf, np.inf) if to[0] == "f" else (np.iinfo(to).min, np.iinfo(to).max)
    fits = bounds[0] <= want.min() and want.max() <= bounds[1]
    answer = built(tmp_path, f"each: [{{cast: {{v: {to}}}}}]\n", code=0 if fits else 1)
    if fits:
        np.testing.assert_array_equal(answer[0].v.values.astype("f8"), want)
        assert answer[0].v.encoding["dtype"] == np.dtype(to), answer[0].v.encoding


def test_what_is_true_or_false_is_never_missing(tmp_path):
    with netCDF4.Dataset(write(tmp_path / "a.nc", [0, 1, 2], [1, 0, 1], dtype="i1"), "a") as file:
        file["v"].setncattr("dtype", "bool")
    answer = built(tmp_path, "each: [{mask: {v: {values: [1]}}}]\n", code=1)
    assert "`v`" in answer.err and "missing" in answer.err, answer


@pytest.mark.parametrize("format", [2, 3])
@pytest.mark.parametrize("each", ["each: [{cast: {v: float32}}]\n", ""], ids=["cast", "decoded"])
def test_codecs_that_are_kept_fit_the_type_that_is_written(tmp_path, each, format):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("x", 3)
        variable = file.createVariable("v", "f8", ("x",), zlib=True, chunksizes=(3,))
        variable.set_auto_maskandscale(False)
        variable.setncatts({} if each else {"scale_factor": np.float32(0.5)})
        variable[:] = [1, 2, 3]
    (tmp_path / "f/feedstock").mkdir(parents=True)
    (tmp_path / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: t\nsources: {{s: {{glob: '{tmp_path}/*.nc'}}}}\n{each}write: {{zarr: {{codec: keep, format: {format}}}}}\n")
    answer = frazil("build", tmp_path / "f", "--to", tmp_path / "out.zarr")
    assert answer.code == 0, answer
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "out.zarr", consolidated=False).v, xr.open_dataset(tmp_path / "a.nc").v.astype("f4"))
