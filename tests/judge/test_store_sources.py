"""Zarr stores as sources: what comes out opens as what went in, and what changed or is lost does not go unseen."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

import ceph
from bucket import Bucket
from command import CORPUS, frazil
from same import differences, open_store
from server import serving
from verdicts import convert, is_visible, stamps, tree, tree_differences

# Large enough that values are read chunk by chunk, and not along with the metadata.
SHAPE = (60, 30, 40)


def dataset(first="2000-01-01", n=SHAPE[0], start=0):
    """Days of packed and plain values with a hole, a scalar and texts."""
    values = (np.arange(n * 1200).reshape(n, 30, 40) % 251 + start).astype("f4")
    values[3, 2, 1] = np.nan
    time = np.datetime64(first, "ns") + np.arange(n) * np.timedelta64(1, "D")
    return xr.Dataset(
        {
            "sst": (("time", "lat", "lon"), values, {"units": "K", "standard_name": "sea_surface_temperature"}),
            "count": (("time", "lat", "lon"), (np.arange(n * 1200).reshape(n, 30, 40) % 30000).astype("i2"), {"long_name": "n"}),
            "crs": ((), np.int32(4326), {"grid_mapping_name": "latitude_longitude"}),
            "name": (("lat",), np.array([f"row {i}" for i in range(30)], dtype=object)),
        },
        coords={
            "time": ("time", time),
            "lat": ("lat", np.linspace(-50, 50, 30), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(0, 351, 40), {"units": "degrees_east"}),
        },
        attrs={"title": "a store", "levels": [1.5, 2.5]},
    )


CHUNKS = {"sst": {"chunks": (14, 10, 40)}, "count": {"chunks": (21, 30, 20)}, "time": {"chunks": (5,), "units": "hours since 1990-01-01"}}


def write(data, path, kind):
    """A store as other programs make it: `v2`, `v3`, in shards, or without one document for all."""
    encoding = {name: dict(words) for name, words in CHUNKS.items()}
    if kind == "shards":
        encoding["sst"] |= {"shards": (28, 30, 40)}
    zarr_format = 2 if kind.startswith("v2") else 3
    data.to_zarr(path, zarr_format=zarr_format, consolidated="plain" not in kind, encoding=encoding)
    return path


def assert_same(expected, store):
    with open_store(store) as found:
        wrong = differences(expected.load(), found.load(), set())
    assert not wrong, wrong


@pytest.mark.parametrize("kind", ["v2", "v3", "shards", "v2 plain", "v3 plain"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_becomes_another_with_the_same_values(tmp_path, kind, zarr_format):
    source = write(dataset(), tmp_path / "in.zarr", kind)
    answer = convert([source], tmp_path / "z", "--chunks", "time=11,lat=20,lon=13", zarr_format=zarr_format)
    assert answer.code == 0, str(answer)
    with xr.open_zarr(source, consolidated="plain" not in kind) as expected:
        assert_same(expected, tmp_path / "z")
    assert zarr.open(tmp_path / "z" / "sst", mode="r").chunks == (11, 20, 13)
    assert frazil("verify", tmp_path / "z", "--sources", source).code == 0


@pytest.mark.parametrize("codec", ["keep", "zstd:3"])
def test_there_and_back_is_the_same(tmp_path, codec):
    source = write(dataset(), tmp_path / "in.zarr", "v2")
    for number, (before, zarr_format) in enumerate([(source, 3), (tmp_path / "z0", 2), (tmp_path / "z1", 3)]):
        answer = convert([before], tmp_path / f"z{number}", "--codec", codec, zarr_format=zarr_format)
        assert answer.code == 0, str(answer)
        with open_store(source) as expected:
            assert_same(expected, tmp_path / f"z{number}")


def test_stores_are_joined_along_time(tmp_path):
    parts = [dataset("2000-01-01", 60), dataset("2000-03-01", 29, 3), dataset("2000-03-30", 31, 5)]
    kinds = ["v2", "shards", "v3"]
    sources = [write(part, tmp_path / f"in{i}.zarr", kind) for i, (part, kind) in enumerate(zip(parts, kinds))]
    answer = convert(sources, tmp_path / "z", "--along", "time", "--chunks", "time=16")
    assert answer.code == 0, str(answer)
    with open_store(tmp_path / "z") as found:
        for name in ["sst", "count"]:
            expected = np.concatenate([part[name].values for part in parts])
            assert found[name].dtype == expected.dtype
            np.testing.assert_array_equal(found[name].values, expected)
        np.testing.assert_array_equal(found["time"].values, np.concatenate([part["time"].values for part in parts]))


def test_steps_are_done_to_stores(tmp_path):
    write(dataset(), tmp_path / "one.zarr", "v3")
    write(dataset("2000-03-01"), tmp_path / "two.zarr", "v2")
    (tmp_path / "recipe.yaml").write_text(
        f"recipe: 1\nid: steps\nsources: {{f: {{glob: '{tmp_path}/*.zarr'}}}}\n"
        "each:\n  - keep: [sst]\n  - rename: {sst: temperature}\n  - subset: {lat: 0/60}\n"
        "combine: {along: time}\nwrite: {zarr: {chunks: {time: 10}}}\n"
    )
    answer = frazil("build", tmp_path / "recipe.yaml", "--to", tmp_path / "z", "--json")
    assert answer.code == 0, str(answer)
    expected = np.concatenate([dataset()["sst"].sel(lat=slice(0, 60)).values] * 2)
    with open_store(tmp_path / "z") as found:
        np.testing.assert_array_equal(found["temperature"].values, expected)
    assert frazil("verify", tmp_path / "z", "--feedstock", tmp_path / "recipe.yaml").code == 0


def test_twice_is_once_and_a_changed_chunk_is_seen(tmp_path):
    source = write(dataset(), tmp_path / "in.zarr", "v2")
    assert convert([source], tmp_path / "z").code == 0
    before = stamps(tmp_path / "z")
    answer = convert([source], tmp_path / "z")
    assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
    assert stamps(tmp_path / "z") == before
    array = zarr.open(source / "sst", mode="r+")
    array[0, 0, 0] = 17.0
    answer = convert([source], tmp_path / "z")
    assert answer.code == 1 and "changed" in answer.text, str(answer)
    assert frazil("verify", tmp_path / "z", "--sources", source).code == 1


def test_the_bytes_do_not_depend_on_where_the_store_lies(tmp_path):
    source = write(dataset(), tmp_path / "a" / "in.zarr", "shards")
    shutil.copytree(source, tmp_path / "b" / "in.zarr")
    for folder in ["a", "b"]:
        assert convert([tmp_path / folder / "in.zarr"], tmp_path / f"z-{folder}").code == 0
    assert not tree_differences(tree(tmp_path / "z-a"), tree(tmp_path / "z-b"))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_lost_chunk_of_a_store_with_an_inventory_is_an_error(tmp_path, zarr_format):
    source = write(dataset(), tmp_path / "in.zarr", "v3")
    assert convert([source], tmp_path / "ours", "--chunks", "time=30", zarr_format=zarr_format).code == 0
    lost = tmp_path / "ours" / ("sst/c/1/0/0" if zarr_format == 3 else "sst/1.0.0")
    content = lost.read_bytes()
    lost.unlink()
    answer = convert([tmp_path / "ours"], tmp_path / "z")
    assert answer.code == 1 and str(lost.relative_to(tmp_path / "ours")) in answer.text, str(answer)
    assert not is_visible(tmp_path / "z")
    lost.write_bytes(content[:-1])
    assert convert([tmp_path / "ours"], tmp_path / "z2").code == 1
    # A part that the lost chunk is none of can be had.
    answer = frazil("convert", f"{tmp_path}/ours?count", tmp_path / "z3", "--to", "zarr")
    assert answer.code == 0, str(answer)
    lost.write_bytes(content)
    answer = convert([tmp_path / "ours"], tmp_path / "z4")
    assert answer.code == 0 and not answer.report["warnings"], str(answer)


def test_a_missing_chunk_of_another_store_is_fill_and_counted(tmp_path):
    source = write(dataset(), tmp_path / "in.zarr", "v2")
    for lost in ["sst/1.0.0", "sst/4.1.0", "count/0.0.1"]:
        (source / lost).unlink()
    answer = convert([source], tmp_path / "z")
    assert answer.code == 0, str(answer)
    counted = [warning for warning in answer.report["warnings"] if warning["code"] == "source.missing-objects"]
    assert counted and "3 " in counted[0]["message"], str(answer)
    with open_store(source) as expected:
        assert_same(expected, tmp_path / "z")


def test_a_web_server_gives_what_the_folder_gives(tmp_path):
    source = write(dataset(), tmp_path / "data" / "in.zarr", "shards")
    write(dataset(), tmp_path / "data" / "v2.zarr", "v2")
    with serving(tmp_path / "data") as server:
        for name in ["in.zarr", "v2.zarr/"]:
            answer = convert([f"{server.address}/{name}"], tmp_path / f"z-{name[:2]}")
            assert answer.code == 0, str(answer)
            with open_store(source) as expected:
                assert_same(expected, tmp_path / f"z-{name[:2]}")
    assert frazil("inspect", tmp_path / "data" / "in.zarr").code == 0


def test_a_store_that_a_web_server_cannot_list_is_refused_not_empty(tmp_path):
    write(dataset(), tmp_path / "data" / "in.zarr", "v3 plain")
    with serving(tmp_path / "data") as server:
        answer = convert([f"{server.address}/in.zarr"], tmp_path / "z")
    assert answer.code == 1 and "list" in answer.text, str(answer)


def test_a_store_is_not_written_into_itself(tmp_path):
    source = write(dataset(), tmp_path / "in.zarr", "v3")
    before = tree(source)
    for dest in [source / "new.zarr", source]:
        answer = convert([source], dest, "--overwrite")
        assert answer.code in (1, 2), str(answer)
        assert tree(source) == before
    (tmp_path / "out").mkdir()
    shutil.copytree(source, tmp_path / "out" / "in.zarr")
    assert convert([tmp_path / "out" / "in.zarr"], tmp_path / "out", "--overwrite").code == 1
    assert tree(tmp_path / "out" / "in.zarr") == before


def test_groups_come_along(tmp_path):
    path = tmp_path / "in.zarr"
    data = dataset()
    data.to_zarr(path, zarr_format=3)
    data[["sst", "lat"]].to_zarr(path, group="inner/deep", mode="a", zarr_format=3)
    zarr.consolidate_metadata(path)
    answer = convert([path], tmp_path / "z")
    assert answer.code == 0, str(answer)
    with open_store(path, group="inner/deep") as expected, open_store(tmp_path / "z", group="inner/deep") as found:
        assert not differences(expected.load(), found.load(), set())


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_stores_of_the_corpus_are_read(tmp_path, version):
    source = CORPUS / f"zarr/manzt-zarrita.js/{version}/data.zarr"
    answer = convert([source], tmp_path / "z")
    assert answer.crash() is None and answer.code in (0, 3), str(answer)
    unread = {item["path"].strip("/") for item in answer.report["items"] if "unread" in item}
    found = zarr.open_group(tmp_path / "z", mode="r")
    compared = 0
    for name in sorted(path.name for path in source.iterdir() if path.is_dir()):
        try:
            array = zarr.open_array(source / name, mode="r")
        except Exception:
            # The reference knows fewer codecs.
            continue
        if name in unread:
            continue
        expected, there = array[...], found[name][...]
        if expected.dtype.kind in "OSUT":
            assert [str(one) for one in np.asarray(expected).ravel()] == [str(one) for one in np.asarray(there).ravel()], name
        else:
            np.testing.assert_array_equal(expected, there, name)
        compared += 1
    assert compared >= 10, json.dumps(sorted(unread))


def test_stores_extend_a_store(tmp_path):
    write(dataset(), tmp_path / "one.zarr", "v3")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"recipe: 1\nid: grows\nsources: {{f: {{glob: '{tmp_path}/*.zarr'}}}}\n"
        "combine: {along: time}\nwrite: {zarr: {chunks: {time: 25}, mode: extend}}\n"
    )
    assert frazil("build", recipe, "--to", tmp_path / "z", "--json").code == 0
    write(dataset("2000-03-01", 29), tmp_path / "two.zarr", "shards")
    assert frazil("build", recipe, "--to", tmp_path / "z", "--json").code == 0
    before = stamps(tmp_path / "z")
    assert frazil("build", recipe, "--to", tmp_path / "z", "--json").code == 0
    assert stamps(tmp_path / "z") == before
    assert frazil("verify", tmp_path / "z", "--feedstock", recipe).code == 0
    expected = np.concatenate([dataset()["sst"].values, dataset("2000-03-01", 29)["sst"].values])
    with open_store(tmp_path / "z") as found:
        np.testing.assert_array_equal(found["sst"].values, expected)


def test_a_bucket_gives_what_the_folder_gives(gateway, tmp_path):
    bucket = Bucket(gateway, ceph.fresh_bucket(gateway))
    try:
        for kind in ["v2", "shards", "v3 plain"]:
            source, name = write(dataset(), tmp_path / f"{kind[:2]}.zarr", kind), kind[:2]
            there = f"s3://{bucket.name}/{name}.zarr"
            assert frazil("cp", source, there, env=bucket.env).code == 0
            assert convert([source], tmp_path / f"here-{name}").code == 0
            answer = convert([there], tmp_path / f"there-{name}", env=bucket.env)
            assert answer.code == 0, str(answer)
            assert not tree_differences(data_of(tmp_path / f"here-{name}"), data_of(tmp_path / f"there-{name}"))
            answer = convert([there], tmp_path / f"there-{name}", env=bucket.env)
            assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
    finally:
        ceph.discard(gateway, bucket.name)


def data_of(store):
    """What does not depend on how sources are called."""
    return {name: digest for name, digest in tree(store).items() if not name.startswith(".frazil")}
