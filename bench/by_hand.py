#!/usr/bin/env python3
"""The other rival: two processes, h5py, one buffer per block of days, each source chunk read once, by hand.

    by_hand.py CHUNKS CODEC DEST FILES...        CHUNKS like 30,720,1440
"""

import itertools
import multiprocessing
import pathlib
import sys
import zlib

import h5py
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec


def block(task):
    """Days `first` to `last` of one variable: read, scatter, encode, write."""
    dest, name, files, first, chunks, codec = task
    with h5py.File(files[0]) as file:
        dtype, shape = file[name].dtype, file[name].shape[1:]
    folder = pathlib.Path(dest) / name
    if codec == "keep":
        for day, path in enumerate(files, first):
            with h5py.File(path) as file:
                _, content = file[name].id.read_direct_chunk((0, 0, 0))
            assert len(zlib.decompress(content)) == dtype.itemsize * shape[0] * shape[1]
            (folder / f"{day}.0.0").write_bytes(content)
        return
    buffer = np.empty((len(files), *shape), dtype)
    for day, path in enumerate(files):
        with h5py.File(path) as file:
            file[name].read_direct(buffer, np.s_[0:1], np.s_[day : day + 1])
    blosc = codec.startswith("blosc")
    encoder = numcodecs.Blosc("zstd", 3, numcodecs.Blosc.SHUFFLE) if blosc else numcodecs.Zstd(3)
    numcodecs.blosc.use_threads = False
    for at in itertools.product(*(range(-(-n // c)) for n, c in zip(shape, chunks[1:]))):
        place = tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, chunks[1:]))
        # An edge chunk is stored whole, filled up.
        whole = np.zeros(chunks, dtype)
        part = buffer[(slice(None), *place)]
        whole[tuple(slice(0, n) for n in part.shape)] = part
        target = folder / "c" / str(first // chunks[0]) / str(at[0]) / str(at[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoder.encode(whole))


def main():
    chunks, codec, dest, *files = sys.argv[1:]
    chunks = tuple(map(int, chunks.split(",")))
    zarr_format = 2 if codec == "keep" else 3
    root = zarr.open_group(dest, mode="w", zarr_format=zarr_format)
    tasks = []
    with h5py.File(files[0]) as file:
        names = [name for name in file if file[name].ndim == 3]
        for name in names:
            size, shape = file[name].dtype.itemsize, (len(files), *file[name].shape[1:])
            if codec == "keep":
                how = {"filters": [numcodecs.Shuffle(size)], "compressors": [numcodecs.Zlib(4)], "fill_value": None}
            elif codec.startswith("blosc"):
                how = {"compressors": [BloscCodec(typesize=size, cname="zstd", clevel=3, shuffle="shuffle")]}
            else:
                how = {"compressors": [ZstdCodec(level=3)]}
            names_v3 = {} if zarr_format == 2 else {"dimension_names": ["time", "lat", "lon"]}
            array = root.create_array(name, shape=shape, chunks=chunks, dtype=file[name].dtype, **how, **names_v3)
            if zarr_format == 2:
                array.attrs["_ARRAY_DIMENSIONS"] = ["time", "lat", "lon"]
            for first in range(0, len(files), chunks[0]):
                tasks.append((dest, name, files[first : first + chunks[0]], first, chunks, codec))
        for axis in ("lat", "lon"):
            names_v3 = {} if zarr_format == 2 else {"dimension_names": [axis]}
            array = root.create_array(axis, data=file[axis][:], **names_v3)
            if zarr_format == 2:
                array.attrs["_ARRAY_DIMENSIONS"] = [axis]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for _ in pool.imap_unordered(block, tasks, chunksize=1):
            pass
    zarr.consolidate_metadata(dest)


if __name__ == "__main__":
    main()
