"""Compounds: h5py's structured arrays, through every format, field by field against h5py."""

import json

import h5py
import numpy as np
import pytest
import zarr

from command import frazil
from same import isolated
from virtual import FORMATS, Virtual, convert, place_in

N = 60
INNER = np.dtype([("i", "<i2"), ("j", "<i4")], align=True)
TYPES = {
    "tight": np.dtype([("x", "<f4"), ("y", "<f8")]),
    "padded": np.dtype([("flag", "u1"), ("x", "<f4"), ("n", "<i2"), ("y", "<f8")], align=True),
    "big": np.dtype([("x", ">f4"), ("n", ">i8"), ("m", "<u2")]),
    "text": np.dtype([("name", "S5"), ("letter", "S1"), ("x", "<f8")]),
    "gaps": np.dtype({"names": ["b", "a"], "formats": ["<f8", "<i4"], "offsets": [16, 3], "itemsize": 40}),
    "complex": np.dtype([("z", "<c8"), ("ok", "?")]),
    "nested": np.dtype([("place", INNER), ("x", ">f8")]),
}
ALIKE = [name for name in TYPES if name != "nested"]


def filled(dtype, seed):
    """Every bit of every field and gap has a value, but texts and flags are such."""
    bits = np.random.default_rng(seed).integers(0, 256, (N, dtype.itemsize), dtype="u1")
    values = np.ascontiguousarray(bits).view(dtype).reshape(N)
    for name in dtype.names:
        if dtype[name].kind == "S":
            values[name] = [f"{(i + seed) % 1000}"[: dtype[name].itemsize] for i in range(N)]
        elif dtype[name].kind == "b":
            values[name] = np.arange(N) % 3 == 0
        elif dtype[name].kind in "fc":
            values[name] = np.arange(N) * 1.25 + seed
    return values


def write(path, dtype, seed, chunks=True, start=0):
    values = filled(dtype, seed)
    with h5py.File(path, "w") as file:
        time = file.create_dataset("time", data=np.arange(start, start + N, dtype="f8"), maxshape=(None,), chunks=(N,))
        time.attrs["units"] = np.bytes_("days since 2000-01-01")
        time.make_scale("time")
        options = {"chunks": (25,), "maxshape": (None,), "shuffle": True, "compression": "gzip"} if chunks else {}
        field = file.create_dataset("record", data=values, **options)
        field.dims[0].attach_scale(time)
        field.attrs["long_name"] = np.bytes_("a record")
    return values


def native(dtype):
    """The same fields, tight and little-endian: what a structured type of Zarr is."""
    def of(one):
        return np.dtype([(name, of(one[name])) for name in one.names]) if one.names else one.newbyteorder("<")

    return of(dtype)


def same(one, two):
    if one.dtype.names is None:
        return one.dtype.newbyteorder("<") == two.dtype and one.astype(two.dtype).tobytes() == two.tobytes()
    return one.dtype.names == two.dtype.names and all(same(one[name], two[name]) for name in one.dtype.names)


def read(path):
    with h5py.File(path) as file:
        return file["record"][:]


@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "contiguous"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_record_is_a_structured_type_of_zarr_v3(tmp_path, kind, chunks):
    write(tmp_path / "in.nc", TYPES[kind], 1, chunks)
    answer = frazil("convert", tmp_path / "in.nc", tmp_path / "out.zarr", "--to", "zarr")
    assert answer.code == 0, str(answer)
    found = zarr.open_group(tmp_path / "out.zarr", mode="r")["record"][:]
    assert found.dtype == native(TYPES[kind]) and same(read(tmp_path / "in.nc"), found)
    assert frazil("verify", tmp_path / "out.zarr", "--sources").code == 0


@pytest.mark.parametrize("kind", ALIKE)
def test_a_record_is_a_structured_type_of_zarr_v2(tmp_path, kind):
    write(tmp_path / "in.nc", TYPES[kind], 1)
    answer = frazil("convert", tmp_path / "in.nc", tmp_path / "out.zarr", "--to", "zarr", "--zarr-format", "2")
    assert answer.code == 0, str(answer)
    found = zarr.open_group(tmp_path / "out.zarr", mode="r")["record"][:]
    assert found.dtype == native(TYPES[kind]) and same(read(tmp_path / "in.nc"), found)


def test_records_in_records_are_left_out_of_zarr_v2_by_name(tmp_path):
    write(tmp_path / "in.nc", TYPES["nested"], 1)
    answer = frazil("convert", tmp_path / "in.nc", tmp_path / "out.zarr", "--to", "zarr", "--zarr-format", "2", "--json")
    assert answer.code == 3 and "records inside records" in json.dumps(answer.report), str(answer)
    assert "time" in zarr.open_group(tmp_path / "out.zarr", mode="r")


@pytest.mark.parametrize("kind", TYPES)
def test_files_are_joined_and_go_on_from_store_to_store(tmp_path, kind):
    """Two files, rechunked; then the store, as a source, in another version and sharded."""
    paths = [tmp_path / f"in-{i}.nc" for i in range(2)]
    for number, path in enumerate(paths):
        write(path, TYPES[kind], number, start=number * N)
    expected = np.concatenate([read(path) for path in paths])
    answer = frazil("convert", *paths, tmp_path / "one.zarr", "--to", "zarr", "--chunks", "time=50")
    assert answer.code == 0, str(answer)
    assert same(expected, zarr.open_group(tmp_path / "one.zarr", mode="r")["record"][:])
    answer = frazil("convert", tmp_path / "one.zarr", tmp_path / "two.zarr", "--to", "zarr", "--chunks", "time=7", "--shards", "time=70")
    assert answer.code == 0, str(answer)
    found = zarr.open_group(tmp_path / "two.zarr", mode="r")
    assert same(expected, found["record"][:])
    # zarr-python 3.1 reads no records in shards, and the run says so.
    assert "not in shards" in answer.text
    assert found["record"].shards is None and found["record"].chunks == (7,)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ALIKE)
def test_a_record_by_reference_reads_as_in_the_file(tmp_path, kind, form):
    paths = [tmp_path / f"in-{i}.nc" for i in range(2)]
    for number, path in enumerate(paths):
        write(path, TYPES[kind], number, start=number * N)
    dest = place_in(tmp_path, form)
    answer = convert(paths, dest, form)
    assert answer.code == 0, str(answer)
    found = isolated(values_of, str(dest), form)
    assert found.dtype == native(TYPES[kind]) and same(np.concatenate([read(path) for path in paths]), found)
    item = next(item for item in answer.report["items"] if item.get("path") == "/record")
    # 60 is no multiple of 25: the ragged edge is made natively in any case.
    is_as_zarr_has_it = TYPES[kind] == native(TYPES[kind])
    assert 0 < item["native_share"] < 1 if is_as_zarr_has_it else item["native_share"] == 1, item


def values_of(dest, form):
    import xarray

    opened, words = Virtual(dest, form).opened("/")
    return xarray.open_dataset(opened, engine="zarr", **words)["record"].values


def test_other_fields_are_another_type(tmp_path):
    write(tmp_path / "a.nc", TYPES["tight"], 0)
    write(tmp_path / "b.nc", TYPES["padded"], 0, start=N)
    answer = frazil("convert", tmp_path / "a.nc", tmp_path / "b.nc", tmp_path / "out.zarr", "--to", "zarr", "--json")
    assert answer.code == 1 and "record" in answer.report["error"]["message"], str(answer)
    assert not (tmp_path / "out.zarr").exists()


def test_what_lies_behind_the_end_of_a_text_is_not_seen(tmp_path):
    """HDF5 lets the cell of a text hold anything behind its NUL; h5py shows what is before."""
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, 12)
    text = h5py.h5t.C_S1.copy()
    text.set_size(4)
    text.set_strpad(h5py.h5t.STR_NULLTERM)
    kind.insert(b"name", 0, text)
    kind.insert(b"x", 4, h5py.h5t.IEEE_F64BE)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        space = h5py.h5s.create_simple((2,))
        data = h5py.h5d.create(file.id, b"record", kind, space)
        memory = np.array([(b"ab\0z", 1.5), (b"wxyz", 2.5)], dtype=[("name", "S4"), ("x", ">f8")])
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, memory, kind)
    answer = frazil("convert", tmp_path / "in.h5", tmp_path / "out.zarr", "--to", "zarr")
    assert answer.code == 0, str(answer)
    found = zarr.open_group(tmp_path / "out.zarr", mode="r")["record"][:]
    assert found["name"].tolist() == read(tmp_path / "in.h5")["name"].tolist() and found["x"].tolist() == [1.5, 2.5]


def test_what_every_chunk_left_out_does_not_count(tmp_path):
    """A writer may leave out an optional filter chunk by chunk: then the chunks are plain. (In the corpus: JPEG-LS.)"""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 8))
        plist.set_shuffle()
        plist.set_deflate(4)
        data = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((8, 8)), plist)
        for row in (0, 4):
            data.write_direct_chunk((row, 0), (np.arange(32, dtype="f4") + row).tobytes(), 0b11)
    with h5py.File(tmp_path / "in.h5") as file:
        expected = file["x"][:]
    for form in FORMATS:
        dest = place_in(tmp_path, form)
        answer = convert([tmp_path / "in.h5"], dest, form, "--inline", "1B")
        assert answer.code == 0, str(answer)
        item = next(item for item in answer.report["items"] if item.get("path") == "/x")
        assert item["native_share"] == 0, item
        assert np.array_equal(isolated(plain_values, str(dest), form), expected)


def plain_values(dest, form):
    import xarray

    opened, words = Virtual(dest, form).opened("/")
    return xarray.open_dataset(opened, engine="zarr", **words)["x"].values
