"""HDF5 filters whose files h5py can write here and whose decoders are ours: each value as h5py reads it."""

import os
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
import zarr

from command import frazil

SHAPE = (97, 131)


def images(dtype):
    """What coders of images find easy and hard: noise, slopes, flat and nearly flat areas, steps."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    chance, limits = np.random.default_rng(1), np.iinfo(dtype)
    return {
        "noise": chance.integers(limits.min, limits.max, SHAPE, dtype=dtype, endpoint=True),
        "slopes": ((np.sin(x / 9) * np.cos(y / 7) * 0.4 + 0.5) * limits.max).astype(dtype),
        "flat": np.full(SHAPE, 7, dtype),
        "nearly flat": (chance.random(SHAPE) > 0.97).astype(dtype) * (limits.max // 3),
        "steps": ((x // 13 + y // 5) * 3).astype(dtype),
        "noisy slopes": ((np.sin(x / 9) * 0.4 + 0.5) * limits.max * 0.9 + chance.integers(0, 9, SHAPE)).astype(dtype),
    }


def write(path, values, chunks):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, **hdf5plugin.FciDecomp())
    with h5py.File(path) as file:
        masks = [file["x"].id.get_chunk_info(i).filter_mask for i in range(file["x"].id.get_num_chunks())]
        return file["x"][:], masks


def assert_same(path, expected):
    answer = frazil("convert", path, path.with_suffix(".zarr"), "--to", "zarr")
    assert answer.code == 0, str(answer)
    found = zarr.open_group(path.with_suffix(".zarr"), mode="r")["x"][:]
    assert found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
@pytest.mark.parametrize("what", images("u1"))
def test_images_of_imagers_on_satellites(tmp_path, what, dtype):
    expected, masks = write(tmp_path / "in.h5", images(dtype)[what], (40, 50))
    assert 0 in masks
    assert_same(tmp_path / "in.h5", expected)


@pytest.mark.parametrize("shape", [(3, 20, 30), (4, 2, 64), (1, 97, 4)])
def test_images_of_several_components(tmp_path, shape):
    expected, masks = write(tmp_path / "in.h5", np.random.default_rng(2).integers(0, 300, shape).astype("i2"), shape)
    assert masks == [0]
    assert_same(tmp_path / "in.h5", expected)


def test_chunks_that_the_filter_could_not_take(tmp_path):
    expected, masks = write(tmp_path / "in.h5", np.arange(1000, dtype="i2").reshape(5, 10, 20), (5, 10, 20))
    assert masks == [1], "five components are too many for it"
    assert_same(tmp_path / "in.h5", expected)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_images_are_refused_or_read_and_never_worse(tmp_path, seed):
    """The format has no checksum: a damaged sample may be another one, but nothing ends, hangs or fills the memory."""
    chance = np.random.default_rng(seed)
    write(tmp_path / "in.h5", images("u2")["noisy slopes"], SHAPE)
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        _, stored = file["x"].id.read_direct_chunk((0, 0))
        damaged = bytearray(stored)
        if seed % 4 == 0:
            damaged = damaged[: int(chance.integers(0, len(damaged)))] or bytearray(b"\xff")
        else:
            # The beginning holds sizes and parameters.
            most = 40 if seed % 4 == 1 else len(damaged)
            for at in chance.integers(0, most, 1 + seed % 5):
                damaged[at] = int(chance.integers(0, 256))
        file["x"].id.write_direct_chunk((0, 0), bytes(damaged))
    answer = frazil("convert", tmp_path / "in.h5", tmp_path / "out.zarr", "--to", "zarr", timeout=20)
    assert answer.code in (0, 1) and not answer.crash(), str(answer)
    assert answer.rss_bytes < 200e6
    if answer.code == 0:
        assert zarr.open_group(tmp_path / "out.zarr", mode="r")["x"].shape == SHAPE
    else:
        assert "fcidecomp" in answer.text
        with pytest.raises((FileNotFoundError, zarr.errors.GroupNotFoundError)):
            zarr.open_group(tmp_path / "out.zarr", mode="r")


CNAMES = ("lz4hc", "blosclz", "lz4", "zlib", "zstd", "snappy")
KEPT = [*(f"blosc-{cname}-{shuffle}" for cname in CNAMES for shuffle in (0, 1, 2)), "blosc2", "bitshuffle", "lz4", "zstd", "bzip2",
        "lzf", "szip", "zfp", "scaleoffset", "deflate"]
WRITE = """
import sys, h5py, hdf5plugin as p, numpy as np
others = {"blosc2": p.Blosc2(), "bitshuffle": p.Bitshuffle(), "lz4": p.LZ4(), "zstd": p.Zstd(), "bzip2": p.BZip2(),
          "lzf": {"compression": "lzf"}, "szip": {"compression": "szip"}, "zfp": p.Zfp(reversible=True),
          "scaleoffset": {"scaleoffset": 2}, "deflate": {"compression": "gzip", "shuffle": True, "fletcher32": True}}
for name in sys.argv[2:]:
    kind, *words = name.split("-")
    for chunks in ((5, 5), (10, 7)):
        path = f"{sys.argv[1]}/{name}-{chunks[0]}"
        with h5py.File(path + ".h5", "w") as file:
            words_of = p.Blosc(cname=words[0], shuffle=int(words[1])) if words else others[kind]
            file.create_dataset("x", data=np.arange(250, dtype="f4").reshape(25, 10), chunks=chunks, **words_of)
        with h5py.File(path + ".h5") as file:
            np.save(path, file["x"][:])
"""


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    """Files of all filters, and what h5py reads: in a process that knows nothing of netCDF4, which brings plugins of its own."""
    folder = tmp_path_factory.mktemp("filtered")
    env = {name: value for name, value in os.environ.items() if name != "HDF5_PLUGIN_PATH"}
    subprocess.run([sys.executable, "-c", WRITE, str(folder), *KEPT], check=True, timeout=120, env=env)
    return folder


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunks", [5, 10], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", KEPT)
def test_any_filter_may_be_kept(filtered, tmp_path, name, chunks, zarr_format):
    """Chunks that cannot stay as they are, at ragged edges and of filters that Zarr has not, are written in another way."""
    source, expected = filtered / f"{name}-{chunks}.h5", np.load(filtered / f"{name}-{chunks}.npy")
    answer = frazil("convert", source, tmp_path / "z", "--to", "zarr", "--zarr-format", zarr_format, "--codec", "keep")
    assert answer.code == 0, str(answer)
    found = zarr.open_group(tmp_path / "z", mode="r")["x"][:]
    assert found.dtype == expected.dtype and np.array_equal(found, expected)
