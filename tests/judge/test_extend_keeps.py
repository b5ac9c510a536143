"""What a store that is extended holds already stays what it was: its numbers, what they mean, its labels, its chunks.

xarray reads the store before and after.
"""

import itertools
import pathlib

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil

DAYS = "days since 2001-01-01"
# How the second file differs from the first in type and attributes; the numbers are the same in each.
KINDS = {
    "plain": ("f8", {}), "scaled": ("f8", {"scale_factor": 0.5}), "scaled otherwise": ("f8", {"scale_factor": 2.0}), "moved": ("f8", {"add_offset": 5.0}),
    "marked": ("f8", {"_FillValue": -9.0}), "marked otherwise": ("f8", {"_FillValue": 2.0}), "missing": ("f8", {"missing_value": -9.0}), "nan": ("f8", {"_FillValue": np.nan, "scale_factor": np.float32(0.5)}),
    "counts": ("i2", {"scale_factor": 0.5}), "short": ("f4", {"_FillValue": np.float32(-9)}), "long counts": ("i4", {"scale_factor": np.float32(0.5), "add_offset": np.float32(1)}),
}


def write(path, times, values, dtype="f8", attributes=None):
    attributes = dict(attributes or {})
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time[:] = DAYS, times
        variable = file.createVariable("v", dtype, ("time",), fill_value=attributes.pop("_FillValue", None))
        variable.set_auto_maskandscale(False)
        variable.setncatts(attributes)
        variable[:] = np.asarray(values, dtype)


def build(folder, names, differ="", each="", zarr="", combine="along: time, ", words=(), code=0):
    (folder / "f/feedstock").mkdir(parents=True, exist_ok=True)
    (folder / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: t\nsources: {{s: {{list: [{', '.join(str(folder / name) for name in names)}]}}}}\n{each}"
        f"combine: {{{combine}differ: {{{differ}}}}}\nwrite: {{zarr: {{mode: extend{zarr}}}}}\n")
    answer = frazil("build", folder / "f", "--to", folder / "out.zarr", *words)
    assert answer.crash() is None and (code is None or answer.code == code), answer
    return answer


def opened(folder):
    return xr.open_zarr(folder / "out.zarr", consolidated=False).load()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("differ", ["packing: decode, dtype: promote", "packing: repack, dtype: promote", ""])
@pytest.mark.parametrize("first,second", list(itertools.product(KINDS, repeat=2)))
def test_numbers_that_are_there_go_on_to_mean_what_they_meant(tmp_path, first, second, differ):
    """The new ones are added as what they mean, or refused: the store is then as before."""
    write(tmp_path / "a.nc", [0, 1], [1, -9], *KINDS[first])
    write(tmp_path / "b.nc", [2, 3], [11, -9], *KINDS[second])
    build(tmp_path, ["a.nc"], differ)
    before = opened(tmp_path)
    answer = build(tmp_path, ["a.nc", "b.nc"], differ, code=None)
    after = opened(tmp_path)
    np.testing.assert_array_equal(after.v[:2], before.v)
    assert after.v.dtype == before.v.dtype
    if answer.code == 0:
        np.testing.assert_array_equal(after.v[2:], xr.open_dataset(tmp_path / "b.nc").v.astype(after.v.dtype))
    else:
        assert after.sizes["time"] == 2 and first != second, answer


@pytest.mark.parametrize("second", [[2, 1], [-1, -2], [1, 2]])
@pytest.mark.parametrize("first", [[0], [3], [1, 0], [0, 1], [3, 2], [0, 2, 1]])
def test_no_label_is_lost_whatever_the_order_of_the_files(tmp_path, first, second):
    write(tmp_path / "a.nc", first, first)
    write(tmp_path / "b.nc", second, second)
    build(tmp_path, ["a.nc"])
    before = opened(tmp_path)
    answer = build(tmp_path, ["a.nc", "b.nc"], code=None)
    after = opened(tmp_path)
    np.testing.assert_array_equal(after.v[: len(first)], before.v)
    if answer.code == 0:
        assert sorted(after.v.values) == sorted([*first, *second])
        np.testing.assert_array_equal((after.time.values - np.datetime64("2001-01-01")) / np.timedelta64(1, "D"), after.v)
        if first != [0, 2, 1]:  # a single file passes in its own order, which a verifier that joins files does not know
            assert frazil("verify", tmp_path / "out.zarr", "--feedstock", tmp_path / "f").code == 0
    else:
        assert after.sizes["time"] == len(first), answer


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("step", ["calc: {v: 'v*2'}", "attrs: {v: {units: K}}", "cast: {v: float32}"])
def test_a_store_is_not_extended_by_other_steps(tmp_path, step, new):
    for number, name in enumerate("ab"):
        write(tmp_path / f"{name}.nc", [2 * number, 2 * number + 1], [1, 2])
    build(tmp_path, ["a.nc"])
    before = opened(tmp_path)
    answer = build(tmp_path, ["a.nc", "b.nc"] if new else ["a.nc"], each=f"each: [{{{step}}}]\n", code=1)
    assert "`each`" in answer.err and "mode: replace" in answer.err, answer
    xr.testing.assert_identical(opened(tmp_path), before)


def test_another_part_of_the_files_may_be_taken(tmp_path):
    for number, name in enumerate("ab"):
        write(tmp_path / f"{name}.nc", [2 * number, 2 * number + 1], [1, 2])
    build(tmp_path, ["a.nc"], each="each: [{subset: {time: 2001-01-01/2001-01-02}}]\n")
    build(tmp_path, ["a.nc", "b.nc"], each="each: [{subset: {time: 2001-01-01/2001-01-03}}]\n")
    np.testing.assert_array_equal(opened(tmp_path).v, [1, 2, 1])


def test_a_store_of_one_file_learns_along_what_it_grows_from_the_next(tmp_path):
    write(tmp_path / "a.nc", [0, 1], [1, 2])
    write(tmp_path / "b.nc", [2, 3], [3, 4])
    build(tmp_path, ["a.nc"], combine="")
    build(tmp_path, ["a.nc", "b.nc"], combine="")
    np.testing.assert_array_equal(opened(tmp_path).v, [1, 2, 3, 4])


@pytest.mark.parametrize("revise", [False, True], ids=["extended", "revised"])
@pytest.mark.parametrize("zarr", ["", ", format: 2"], ids=["v3", "v2"])
def test_a_damaged_chunk_is_not_completed(tmp_path, zarr, revise):
    """Its new digest would say that it is good."""
    layout = f", codec: none, chunks: {{time: 4}}{zarr}"
    for number, name in enumerate("abc"):
        write(tmp_path / f"{name}.nc", [number], [float(number)])
    build(tmp_path, ["a.nc", "b.nc"], zarr=layout)
    chunk = next(path for path in pathlib.Path(tmp_path / "out.zarr/v").rglob("*") if path.name == "0" and path.is_file())
    damaged = bytearray(chunk.read_bytes())
    damaged[3] ^= 1
    chunk.write_bytes(damaged)
    if revise:
        write(tmp_path / "b.nc", [1], [9.0])
    answer = build(tmp_path, ["a.nc", "b.nc"] if revise else ["a.nc", "b.nc", "c.nc"], zarr=layout, words=["--revise"] if revise else [], code=1)
    assert "v/" in answer.err and chunk.read_bytes() == bytes(damaged), answer
    assert frazil("verify", tmp_path / "out.zarr").code == 1
