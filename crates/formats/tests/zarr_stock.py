"""Opens a store that `zarr_documents.rs` wrote, with stock zarr-python and xarray. Usage: zarr_stock.py STORE"""

import math
import sys
import warnings

import numpy as np
import xarray as xr
import zarr

store = sys.argv[1]
is_v3 = "v3" in store
# Types and codecs that the v3 specification does not list yet are said to be so by zarr-python.
warned = ("coded_char", "coded_fixed", "coded_shuffle_zlib", "coded_fletcher32")
values = np.arange(24).reshape(4, 6)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    root = zarr.open_group(store, mode="r", use_consolidated=True)
    names = sorted(root.array_keys())
    attrs = dict(root.attrs)
assert attrs["title"] == 'é\u2028 "quoted" \\ NaN Infinity \n', attrs
assert attrs["texts"] == ["a", "b"] and attrs["none"] == []
assert math.isnan(attrs["nan"]) and attrs["bounds"] == [-math.inf, float(np.float32(0.1))]
assert attrs["large"] == 9007199254740993 and attrs["largest"] == 2**64 - 1
assert type(attrs["one"]) is float and attrs["tiny"] == [5e-324, 1e300]

for name in names:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if is_v3 and name in warned else "error")
        array = zarr.open_array(store, path=name, mode="r+")
        if name.startswith("coded_"):
            data = values.astype(array.dtype) if array.dtype.kind != "O" and array.dtype.kind != "T" else values.astype(str).astype(array.dtype)
            array[...] = data
            assert np.array_equal(array[...], data), name
        else:
            assert np.array_equal(array[...], values), name
            if name != "plain_big_endian" and name.startswith("plain_"):
                assert array.dtype.name == name[6:], (name, array.dtype)

if is_v3:
    bits = zarr.open_array(store, path="coded_fill_nan_bits", mode="r").fill_value.view("u4")
    assert bits == 0x7FC01234, hex(bits)
    assert zarr.open_array(store, path="coded_fill_infinity", mode="r").fill_value == -np.inf
    complex_fill = zarr.open_array(store, path="coded_fill_complex", mode="r").fill_value
    assert math.isnan(complex_fill.real) and complex_fill.imag == 1.5

dropped = [name for name in names if name in warned]
for consolidated in (True, False):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(store, consolidated=consolidated, chunks=None, drop_variables=dropped)
        sub = xr.open_zarr(store, group="sub", consolidated=consolidated, chunks=None)
        dataset.load()
    assert dataset.attrs["large"] == 9007199254740993
    assert np.array_equal(sub["inner"].values, values) and sub.attrs["kind"] == "sub" and sub["inner"].attrs["units"] == "m"
    for name, variable in dataset.variables.items():
        assert variable.dims == ("y", "x"), name
    masked = values.astype("f8")
    masked[0, 5] = np.nan
    assert dataset["masked_float"].dtype == "f4"
    assert np.array_equal(dataset["masked_float"].values, masked, equal_nan=True)
    assert np.array_equal(dataset["masked_int"].values, masked * 0.5, equal_nan=True)
    assert dataset["masked_float"].encoding["_FillValue"] == 5
    for name in dataset.variables:
        if name.startswith("plain_"):
            assert dataset[name].dtype.kind in "iuf" and np.array_equal(dataset[name].values, values), name
            assert "_FillValue" not in dataset[name].encoding, name
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    tree = xr.open_datatree(store, engine="zarr", chunks=None)
    assert np.array_equal(tree["sub/inner"].values, values)
print(f"{store}: {len(names)} arrays, as meant")
