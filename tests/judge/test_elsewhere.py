"""Values that a file says lie in other files: HDF5 external storage and virtual datasets, as h5py reads them.

A store holds what stock h5py reads, the receipt names every file that was read, and none outside the file's folder is.
"""

import json

import h5py
import numpy as np
import pytest
import xarray as xr

from command import frazil

RANDOM = np.random.default_rng(7)


def part(path, values, name="v", **more):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, **more)
    return path


def converted(source, store, *words, code=0):
    answer = frazil("convert", source, store, "--to", "zarr", "--json", *words)
    assert answer.code == code, str(answer)
    return answer


def same(source, store, name="v"):
    with h5py.File(source) as file:
        expected = file[name][...]
    found = xr.open_dataset(store, engine="zarr", consolidated=True, decode_cf=False)[name].values
    assert found.dtype == expected.dtype.newbyteorder("=") and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    assert expected.size
    compared = frazil("verify", store, "--sources")
    assert compared.code == 0, str(compared)


def receipt(store):
    return json.loads((store / ".frazil/receipt.json").read_text())


@pytest.mark.parametrize("dtype", [">i4", "<f8", "u1"])
def test_external_storage_over_several_files(tmp_path, dtype):
    values = (RANDOM.normal(size=(300, 40, 7)) * 100).astype(dtype)
    raw = values.tobytes()
    (tmp_path / "a.bin").write_bytes(b"head" + raw[:5000])
    (tmp_path / "b.bin").write_bytes(raw[5000:9000])
    (tmp_path / "c.bin").write_bytes(raw[9000:])
    rest = len(raw) - 9000
    with h5py.File(tmp_path / "m.h5", "w") as file:
        places = [("a.bin", 4, 5000), ("b.bin", 0, 4000), ("c.bin", 0, rest)]
        file.create_dataset("v", shape=values.shape, dtype=dtype, external=[(str(tmp_path / n), o, s) for n, o, s in places])
    store = tmp_path / "z"
    converted(tmp_path / "m.h5", store, "--chunks", "phony_dim_0=100")
    same(tmp_path / "m.h5", store)
    (named,) = receipt(store)["sources"]
    assert [(other["name"].rsplit("/")[-1], other["size_bytes"]) for other in named["others"]] == [
        ("a.bin", 5004), ("b.bin", 4000), ("c.bin", rest)
    ]


def test_an_external_file_of_more_than_a_piece(tmp_path):
    values = RANDOM.normal(size=(1500, 1000)).astype("f8")
    (tmp_path / "a.bin").write_bytes(values.tobytes())
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_dataset("v", shape=values.shape, dtype="f8", external=[(str(tmp_path / "a.bin"), 0, values.nbytes)])
    answer = converted(tmp_path / "m.h5", tmp_path / "z", "--memory", "64MB", "--chunks", "phony_dim_1=200")
    assert answer.rss_bytes < 128 << 20
    same(tmp_path / "m.h5", tmp_path / "z")


def concatenated(tmp_path, n=5, missing=()):
    layout = h5py.VirtualLayout(shape=(n * 20, 30, 8), dtype="f4")
    for number in range(n):
        values = RANDOM.normal(size=(20, 30, 8)).astype("f4")
        part(tmp_path / f"part{number}.h5", values, chunks=(7, 30, 4), compression="gzip", shuffle=True)
        layout[number * 20 : (number + 1) * 20] = h5py.VirtualSource(f"part{number}.h5", "v", shape=values.shape)
        if number in missing:
            (tmp_path / f"part{number}.h5").unlink()
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_virtual_dataset("v", layout, fillvalue=-7)
    return tmp_path / "m.h5"


@pytest.mark.parametrize("version", [3, 2])
def test_a_virtual_dataset_over_files_one_after_another(tmp_path, version):
    source = concatenated(tmp_path)
    converted(source, tmp_path / "z", "--zarr-format", version, "--chunks", "phony_dim_0=33,phony_dim_2=5")
    same(source, tmp_path / "z")
    (named,) = receipt(tmp_path / "z")["sources"]
    assert [other["name"] for other in named["others"]] == [f"part{number}.h5" for number in range(5)]
    assert all(len(other["structure"]) == 64 for other in named["others"])


def test_what_no_file_brings_holds_the_fill_value(tmp_path):
    source = concatenated(tmp_path, missing=(1, 3))
    converted(source, tmp_path / "z")
    same(source, tmp_path / "z")
    assert [other["structure"] == "absent" for other in receipt(tmp_path / "z")["sources"][0]["others"]] == [
        False, True, False, True, False
    ]


def test_selections_with_strides_and_turned_dimensions(tmp_path):
    values = np.arange(40 * 60, dtype="i4").reshape(40, 60)
    part(tmp_path / "a.h5", values)
    source = h5py.VirtualSource("a.h5", "v", shape=values.shape)
    layout = h5py.VirtualLayout(shape=(3, 20, 30), dtype="i4")
    layout[0] = source[::2, 30:]
    layout[1, ::2] = source[5:15, ::2]
    layout[2, 3:7, 4:10] = source[10:40:8, 1:60:10]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_virtual_dataset("v", layout, fillvalue=9)
    converted(tmp_path / "m.h5", tmp_path / "z", "--chunks", "phony_dim_1=7,phony_dim_2=11")
    same(tmp_path / "m.h5", tmp_path / "z")


def test_virtual_datasets_of_virtual_datasets_and_of_the_file_itself(tmp_path):
    concatenated(tmp_path)
    layout = h5py.VirtualLayout(shape=(50, 8), dtype="f4")
    layout[:] = h5py.VirtualSource("m.h5", "v", shape=(100, 30, 8))[25:75, 3, :]
    own = h5py.VirtualLayout(shape=(4, 4), dtype="i2")
    with h5py.File(tmp_path / "top.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
        file["plain"] = np.arange(16, dtype="i2").reshape(4, 4)
        own[:] = h5py.VirtualSource(file["plain"])
        file.create_virtual_dataset("own", own)
    converted(tmp_path / "top.h5", tmp_path / "z")
    same(tmp_path / "top.h5", tmp_path / "z")
    same(tmp_path / "top.h5", tmp_path / "z", "own")


def endless(path, maps, shape, dtype="f4", fill=0):
    """A virtual dataset of the low-level interface: `maps` are (file, to, from) with regular selections."""
    limit = (h5py.h5s.UNLIMITED, *shape[1:])
    space = h5py.h5s.create_simple(shape, limit)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_fill_value(np.array(fill, dtype))
    for file, target, source, source_shape, source_limit in maps:
        there = h5py.h5s.create_simple(shape, limit)
        there.select_hyperslab(*target)
        from_space = h5py.h5s.create_simple(source_shape, source_limit)
        if source:
            from_space.select_hyperslab(*source)
        creation.set_virtual(there, file, b"v", from_space)
    with h5py.File(path, "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"v", h5py.h5t.py_create(np.dtype(dtype)), space, creation)
    return path


def test_numbered_files_up_to_the_first_that_is_missing(tmp_path):
    for number in (0, 1, 2, 4):
        part(tmp_path / f"f-{number}.h5", RANDOM.normal(size=(5, 10)).astype("f4"))
    target = ((0, 0), (h5py.h5s.UNLIMITED, 1), (5, 1), (5, 10))
    source = endless(tmp_path / "m.h5", [(b"f-%b.h5", target, None, (5, 10), (5, 10))], (5, 10))
    converted(source, tmp_path / "z")
    same(source, tmp_path / "z")
    answer = frazil("inspect", source, "--digest", "--json")
    assert answer.code == 0 and answer.report["items"][0]["shape"] == [15, 10], str(answer)


def test_sources_that_grow_are_taken_as_they_are_now(tmp_path):
    unlimited = h5py.h5s.UNLIMITED
    maps = []
    for column, (name, length) in enumerate((("a", 9), ("b", 12), ("c", 4))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("v", data=RANDOM.normal(size=(length, 3)).astype("f4"), maxshape=(None, 3), chunks=(4, 3))
        target = ((0, column * 3), (1, 1), (1, 1), (unlimited, 3))
        maps.append((f"{name}.h5".encode(), target, ((0, 0), (1, 1), (1, 1), (unlimited, 3)), (1, 3), (unlimited, 3)))
    source = endless(tmp_path / "m.h5", maps, (1, 9), fill=-5)
    converted(source, tmp_path / "z")
    same(source, tmp_path / "z")
    with h5py.File(source) as file:
        assert file["v"].shape == (12, 9)


def test_one_whose_files_are_all_missing_is_named(tmp_path):
    target = ((0, 0), (h5py.h5s.UNLIMITED, 1), (5, 1), (5, 10))
    source = endless(tmp_path / "m.h5", [(b"f-%b.h5", target, None, (5, 10), (5, 10))], (5, 10))
    answer = converted(source, tmp_path / "z", code=1)
    assert "f-%b.h5" in answer.out and "none of them is there" in answer.out


def test_no_file_outside_the_folder_is_opened(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    part(tmp_path / "secret.h5", np.arange(12.0))
    (tmp_path / "secret.bin").write_bytes(np.arange(12.0).tobytes())
    layout = h5py.VirtualLayout(shape=(12,), dtype="f8")
    layout[:] = h5py.VirtualSource("../secret.h5", "v", shape=(12,))
    with h5py.File(inside / "m.h5", "w") as file:
        file.create_virtual_dataset("mapped", layout)
        file.create_dataset("raw", shape=(12,), dtype="f8", external=[(str(tmp_path / "secret.bin"), 0, 96)])
        file["plain"] = np.arange(3)
    answer = converted(inside / "m.h5", tmp_path / "z", code=3)
    left = {item["path"]: item["unread"] for item in answer.report["items"] if "unread" in item}
    assert set(left) == {"/mapped", "/raw"} and all("outside its folder" in reason for reason in left.values()), str(answer)
    assert set(xr.open_zarr(tmp_path / "z").variables) == {"plain"}


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_a_file_that_changed_is_noticed(tmp_path, kind):
    values = RANDOM.normal(size=(200, 100))
    if kind == "external":
        (tmp_path / "a.bin").write_bytes(values.tobytes())
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("v", shape=values.shape, dtype="f8", external=[(str(tmp_path / "a.bin"), 0, values.nbytes)])
    else:
        part(tmp_path / "a.h5", values)
        layout = h5py.VirtualLayout(shape=values.shape, dtype="f8")
        layout[:] = h5py.VirtualSource("a.h5", "v", shape=values.shape)
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_virtual_dataset("v", layout)
    assert converted(tmp_path / "m.h5", tmp_path / "z").report["outcome"] == "written"
    assert converted(tmp_path / "m.h5", tmp_path / "z").report["outcome"] == "already-there"
    place = tmp_path / ("a.bin" if kind == "external" else "a.h5")
    held = bytearray(place.read_bytes())
    held[-100] ^= 1
    place.write_bytes(held)
    answer = frazil("convert", tmp_path / "m.h5", tmp_path / "z", "--to", "zarr")
    assert answer.code == 1 and "sources have changed" in answer.err, str(answer)
    assert frazil("verify", tmp_path / "z", "--sources").code == 1


def test_files_that_all_name_each_other_come_to_an_end(tmp_path):
    names = [f"n{number}.h5" for number in range(40)]
    for name in names:
        with h5py.File(tmp_path / name, "w") as file:
            file["own"] = np.arange(6.0) + int(name[1:-3])
            for other in names:
                if other == name:
                    continue
                layout = h5py.VirtualLayout(shape=(6,), dtype="f8")
                # Back in an earlier file, it leads to this one again.
                layout[:] = h5py.VirtualSource(other, "own" if other > name else name, shape=(6,))
                file.create_virtual_dataset(other, layout)
    answer = frazil("convert", tmp_path / "n20.h5", tmp_path / "z", "--to", "zarr", "--json", timeout=60)
    assert answer.crash() is None and answer.seconds < 10 and answer.rss_bytes < 512 << 20, str(answer)
    assert answer.code == 0, str(answer)
    found = xr.open_zarr(tmp_path / "z")
    np.testing.assert_array_equal(found["n39.h5"], np.arange(6.0) + 39)
    np.testing.assert_array_equal(found["n1.h5"], np.arange(6.0) + 20)
