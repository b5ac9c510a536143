#!/usr/bin/env python3
"""The rival: `open_mfdataset(...).to_zarr(...)` on dask threads, with the options that people who know it choose.

    with_dask.py CHUNKS CODEC DEST FILES...        CHUNKS like 30,720,1440
"""

import sys
import warnings

import dask
import numcodecs
import xarray as xr
from zarr.codecs import BloscCodec, ZstdCodec

warnings.simplefilter("ignore")


def encodings(data, chunks, codec):
    found = {}
    for name, variable in data.data_vars.items():
        shape = tuple(min(c, n) for c, n in zip(chunks, variable.shape))
        variable.encoding.clear()
        if codec == "keep":
            size = variable.dtype.itemsize
            found[name] = {"chunks": shape, "filters": [numcodecs.Shuffle(size)], "compressors": [numcodecs.Zlib(4)]}
        elif codec.startswith("blosc"):
            found[name] = {"chunks": shape, "compressors": [BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")]}
        else:
            found[name] = {"chunks": shape, "compressors": [ZstdCodec(level=3)]}
    return found


def main():
    chunks, codec, dest, *files = sys.argv[1:]
    chunks = tuple(map(int, chunks.split(",")))
    with dask.config.set(scheduler="threads", num_workers=2):
        data = xr.open_mfdataset(
            files, engine="netcdf4", combine="nested", concat_dim="time", data_vars="minimal", coords="minimal",
            compat="override", join="override", combine_attrs="override", mask_and_scale=False, decode_times=False, chunks={},
        )
        data = data.chunk(dict(zip(("time", "lat", "lon"), chunks)))
        zarr_format = 2 if codec == "keep" else 3
        data.to_zarr(dest, mode="w", zarr_format=zarr_format, consolidated=True, encoding=encodings(data, chunks, codec))


if __name__ == "__main__":
    main()
