"""Every pair of a stored type and its packing attributes, of every type: what xarray makes of the store is what it makes of the file.

The judge is stock xarray, dtype and bits; values that lie between two numbers of the type are chosen so that another way of
computing them shows.
"""

import itertools

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil

TARGETS = {"v3": ["--to", "zarr"], "v2": ["--to", "zarr", "--zarr-format", "2"], "kerchunk": ["--to", "virtual", "--format", "kerchunk-json"]}
STORED = ["i1", "u1", "i2", "i4", "i8", "f4", "f8"]
FACTORS = {"none": None, "f4": np.float32(0.1), "f8": np.float64(0.1), "half": np.float64(0.5), "large": np.float64(1e9 + 0.123), "i2": np.int16(3)}
OWN = object()
# By attribute; `OWN` stands for one of the stored values.
MARKS = {"none": {}, "nan": {"_FillValue": np.nan}, "missing nan": {"missing_value": np.nan}, "number": {"_FillValue": OWN}, "both": {"_FillValue": np.nan, "missing_value": OWN}}
UNITS = {"none": None, "days": "days"}
N = 200


def stored_values(dtype, seed):
    if np.dtype(dtype).kind == "f":
        values = np.random.default_rng(seed).normal(size=N) * 1e3
        values[:3] = [0.0, np.nan, 1e9 + 0.123]
        return values.astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(low, high, N, dtype=dtype, endpoint=True)


def write(path, dtype, seed):
    """One variable for each set of attributes, which keep the types they have here."""
    values, is_float = stored_values(dtype, seed), np.dtype(dtype).kind == "f"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", N)
        for scale, offset, marks, units in itertools.product(FACTORS, FACTORS, MARKS, UNITS):
            said = {name: values[5] if mark is OWN else mark for name, mark in MARKS[marks].items()}
            if not is_float and any(np.isnan(mark) for mark in said.values()):
                continue
            said = {name: np.dtype(dtype).type(mark) for name, mark in said.items()}
            fill = said.pop("_FillValue", None)
            variable = file.createVariable("_".join((scale, offset, marks, units)).replace(" ", "-"), dtype, ("x",), fill_value=fill)
            variable.set_auto_maskandscale(False)
            said |= {"scale_factor": FACTORS[scale], "add_offset": FACTORS[offset], "units": UNITS[units]}
            variable.setncatts({name: value for name, value in said.items() if value is not None})
            variable[:] = values


def decoded(path, engine):
    """What xarray makes of each variable, by itself: one that it refuses spoils no other."""
    found = {}
    with np.errstate(all="ignore"), xr.open_dataset(str(path), engine=engine, decode_cf=False, chunks=None) as raw:
        for name in raw.variables:
            try:
                found[name] = xr.decode_cf(raw[[name]])[name].values
            except Exception as error:  # noqa: BLE001
                found[name] = type(error).__name__
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", STORED)
def test_what_opens_has_the_type_and_the_bits_of_the_source(tmp_path, seed, dtype, target):
    write(tmp_path / "in.nc", dtype, seed)
    dest = tmp_path / "out.json"
    answer = frazil("convert", tmp_path / "in.nc", dest, *TARGETS[target], "--json")
    assert answer.code == 0, str(answer)
    stored = stored_values(dtype, seed)
    ours, theirs = decoded(dest, "kerchunk" if target == "kerchunk" else "zarr"), decoded(tmp_path / "in.nc", "netcdf4")
    wrong = []
    for name, want in theirs.items():
        got, marks = ours[name], name.split("_")[2]
        # xarray cuts the fractions off floats where an integer is their only factor, and that is of another size in JSON.
        if isinstance(want, str) or (np.dtype(dtype).kind == "f" and want.dtype.kind == "i" and got.dtype.kind == "i"):
            continue
        is_lost = np.zeros(N, bool)
        if marks in ("number", "both") and want.dtype.kind == "f":
            # It loses a mark that the type it decodes to cannot hold; netCDF's own reader does not, nor do we.
            is_lost = (stored == stored[5]) & ~np.isnan(want) & np.isnan(got)
        if isinstance(got, str) or got.dtype != want.dtype or not np.array_equal(got[~is_lost], want[~is_lost], equal_nan=want.dtype.kind == "f"):
            wrong.append((name, want.dtype, getattr(got, "dtype", got)))
    assert not wrong, f"{len(wrong)} of {len(theirs)}: {wrong[:12]}"
