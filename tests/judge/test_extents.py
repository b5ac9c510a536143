"""A variable that is shorter than an unlimited dimension of its own: netCDF-4 allows it, the netCDF library fills it up,
and the store holds what the library shows.
"""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "S1", str]


def name_of(kind):
    return "text" if kind is str else kind


@pytest.fixture
def source(tmp_path):
    """Each type short along one unlimited dimension, along two, along none; with and without a fill value."""
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        file.createDimension("time", None)
        file.createDimension("run", None)
        file.createDimension("x", 3)
        file.createVariable("time", "f8", ("time",))[:] = np.arange(7)
        file.createVariable("run", "i4", ("run",))[:] = np.arange(2)
        for kind in TYPES:
            for fill in (None, 5, False):
                if kind in ("S1", str) and fill is not None:
                    continue
                name = f"{name_of(kind)}_{fill}"
                short = file.createVariable(name, kind, ("time", "x"), fill_value=fill, chunksizes=None if kind is str else (2, 2))
                short.set_auto_maskandscale(False)
                numbers = np.arange(3 * 3).reshape(3, 3)
                short[:3] = numbers.astype("U1").astype(object if kind is str else kind)
                if kind is not str:
                    both = file.createVariable(name + "_both", kind, ("run", "x", "time"), fill_value=fill, zlib=True)
                    both.set_auto_maskandscale(False)
                    both[:1, :, :5] = np.arange(15).reshape(1, 3, 5).astype("U1").astype(kind)
        file.createVariable("empty", "f4", ("time", "x"))
    return tmp_path / "in.nc"


def opened(path, **more):
    return xr.open_dataset(path, decode_cf=False, **more).load()


def rows(path, name):
    """Row by row: where an inner dimension is short, the library (4.10.1) puts a larger piece together in the wrong order."""
    with netCDF4.Dataset(path) as file:
        variable = file[name]
        variable.set_auto_maskandscale(False)
        variable.set_auto_chartostring(False)
        first, second, _ = variable.shape
        return np.stack([np.stack([variable[i, j, :] for j in range(second)]) for i in range(first)])


@pytest.mark.parametrize("version", [3, 2])
def test_what_is_not_there_is_filled_as_the_library_fills_it(source, tmp_path, version):
    store = tmp_path / "out.zarr"
    answer = frazil("convert", source, store, "--to", "zarr", "--zarr-format", version, "--json")
    assert answer.code == 0, str(answer)
    theirs = opened(source)
    ours = opened(store, engine="zarr", consolidated=True)
    assert dict(theirs.sizes) == {"time": 7, "run": 2, "x": 3}
    assert set(ours.variables) == set(theirs.variables)
    for name in theirs.variables:
        a, b = ours[name].values, rows(source, name) if name.endswith("_both") else theirs[name].values
        assert a.shape == b.shape, name
        if name.startswith("text"):
            a = np.where(a == None, "", a)  # noqa: E711
        np.testing.assert_array_equal(a, b.astype(a.dtype), err_msg=name)


def test_steps_and_verification_see_the_full_length(source, tmp_path):
    store = tmp_path / "out.zarr"
    answer = frazil("convert", source, store, "--to", "zarr", "--vars", "f4_5,f8_None_both", "--select", "time=2/5")
    assert answer.code == 0, str(answer)
    theirs = opened(source)[["f4_5", "f8_None_both"]].sel(time=slice(2, 5))
    ours = opened(store, engine="zarr", consolidated=True)
    for name in ("time", "f4_5"):
        np.testing.assert_array_equal(ours[name].values, theirs[name].values, err_msg=name)
    np.testing.assert_array_equal(ours["f8_None_both"].values, rows(source, "f8_None_both")[:, :, 2:6])


def test_a_second_run_finds_the_store_as_it_is(source, tmp_path):
    words = ["convert", source, tmp_path / "out.zarr", "--to", "zarr", "--json"]
    assert frazil(*words).code == 0
    again = frazil(*words)
    assert again.code == 0 and again.report["outcome"] == "already-there", str(again)
    compared = frazil("verify", tmp_path / "out.zarr", "--sources")
    assert compared.code == 0, str(compared)
