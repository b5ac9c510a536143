"""Catalogs on this machine: every file of them is read or it is an error, and whatever names a store keeps it."""

import gzip
import json
import time

import pytest

from test_scratch import OLD, OLD_SECONDS


CATALOGS = {
    ".csv": lambda text: text.encode(), ".JSON": lambda text: json.dumps([text]).encode(), ".ipynb": lambda text: json.dumps({"cells": [text]}).encode(),
    ".json.gz": lambda text: gzip.compress(json.dumps([text]).encode()), ".bom": lambda text: b"\xef\xbb\xbf" + text.encode(),
    ".utf16": lambda text: text.encode("utf-16"), ".utf32": lambda text: text.encode("utf-32"), ".gz": lambda text: gzip.compress(b"one ") + gzip.compress(text.encode()),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("ending", CATALOGS)
def test_every_file_of_a_catalog_is_read(mover, tmp_path, ending):
    """Beside a text of a usual name, and on a disk whose place is written as one that has no name."""
    stores = old_stores(tmp_path / "scratch", "kim/a.zarr", "kim/année 1.zarr", "lee/b.zarr")
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog/README.md").write_text("what there is")
    (tmp_path / "catalog/logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / f"catalog/entries{ending}").write_bytes(CATALOGS[ending](f"{stores[0]}\n{stores[1]}"))
    mover("scratch", "expire", ".", *OLD, "--catalog", "../catalog", "--yes", code=0, cwd=tmp_path / "scratch")
    assert [store.exists() for store in stores] == [True, True, False]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("place", [".", "./", "../scratch", "other/.", "kim/.."])
def test_a_place_may_be_written_in_any_way(mover, tmp_path, place):
    stores = old_stores(tmp_path / "scratch", "kim/a.zarr", "lee/b.zarr")
    (tmp_path / "scratch/other").symlink_to(tmp_path / "scratch")
    (tmp_path / "catalog.json").write_text(json.dumps([str(stores[0])]))
    words = ["scratch", "expire", place, *OLD, "--catalog", tmp_path / "catalog.json", "--yes"]
    mover(*words, code=0, cwd=tmp_path / "scratch")
    assert [store.exists() for store in stores] == [True, False]


def old_stores(place, *names):
    for name in names:
        (place / name).mkdir(parents=True)
        (place / name / "zarr.json").write_text("{}")
    # A file is as old as its last change of any kind.
    time.sleep(OLD_SECONDS)
    return [place / name for name in names]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("content", [
    b"PK\x03\x04 a.zarr", b"PAR1 a.zarr", b"a.zarr\0", gzip.compress(b"a.zarr" * 99)[:-9], "a.zarr é".encode("latin-1"), "a.zarr".encode("utf-16-le"), b"", b'{"all": ["kim/a.za',
], ids=["zip", "parquet", "binary", "torn gzip", "latin", "no mark", "empty", "torn json"])
def test_a_catalog_that_is_no_text_means_no_deletion(mover, tmp_path, content):
    (store,) = old_stores(tmp_path / "scratch", "kim/a.zarr")
    (tmp_path / "catalog.json").write_bytes(content)
    answer = mover("scratch", "expire", tmp_path / "scratch", *OLD, "--catalog", tmp_path / "catalog.json", "--yes", code=1)
    assert store.exists() and "catalog.json" in answer.err


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_in_a_catalog_means_no_deletion(mover, tmp_path, content):
    """Whoever wrote it may have been killed."""
    (store,) = old_stores(tmp_path / "scratch", "kim/a.zarr")
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs/1.json").write_text('{"a": "x.zarr"}')
    (tmp_path / "catalogs/2.json").write_text(content)
    answer = mover("scratch", "expire", tmp_path / "scratch", *OLD, "--catalog", tmp_path / "catalogs", "--yes", code=1)
    assert store.exists() and "2.json" in answer.err


def test_a_store_that_holds_a_named_one_stays(mover, tmp_path):
    old_stores(tmp_path / "scratch", "kim/nested", "kim/nested/inner.zarr", "kim/nested/g", "kim/nested/g/deep.zarr", "kim/nested/time", "kim/rain.zarr")
    (tmp_path / "scratch/latest.zarr").symlink_to("kim/nested/inner.zarr")
    words = ["scratch", "expire", tmp_path / "scratch", *OLD, "--catalog", tmp_path / "catalog.txt", "--json"]
    for text, stays in {
        "inner.zarr": True, "s3://b/inner.zarr": True, "{user}/inner.zarr": True, "kim/nested/g/deep.zarr/sst": True, "s3://b/nested/g/": True, "deep.zarr": True, "s3://b/g/": True, "latest.zarr": True,
        "units of time g": False, "s3://b/other/inner.zarr": False, "other.zarr": False, "(inner.zarr": True,
    }.items():
        (tmp_path / "catalog.txt").write_text(text)
        outcomes = {item["name"]: item["outcome"] for item in mover(*words, "-n", code=0).report["items"]}
        assert outcomes == {"kim/nested": "stays" if stays else "goes", "kim/rain.zarr": "goes"}, text
    mover(*words, "--yes", code=0)
    assert (tmp_path / "scratch/kim/nested/g/deep.zarr/zarr.json").exists() and not (tmp_path / "scratch/kim/rain.zarr").exists()


def test_a_store_that_is_named_by_a_link_stays(mover, tmp_path):
    stores = old_stores(tmp_path / "scratch", "kim/v3.zarr", "lee/x/a.zarr", "lee/y/a.zarr", "zoe/b.zarr")
    (tmp_path / "scratch/kim/latest.zarr").symlink_to("v3.zarr")
    (tmp_path / "scratch/current").symlink_to(tmp_path / "scratch/lee/x")
    (tmp_path / "catalog.yaml").write_text("all: [/data/scratch/kim/latest.zarr, /data/scratch/current/a.zarr]")
    words = ["scratch", "expire", tmp_path / "scratch", *OLD, "--catalog", tmp_path / "catalog.yaml", "--yes"]
    mover(*words, code=0)
    assert [store.exists() for store in stores] == [True, True, False, False]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("text, stays", [
    ('url = "{place}/kim/year=2001.zarr"', ["kim/year=2001.zarr"]), ("all: [{place}/kim/run 1.zarr, b.zarr]", ["kim/run 1.zarr"]), ("at: {place}/kim/run 1.zarr # old", ["kim/run 1.zarr"]),
    ("[x](s3://b/kim/year=2001.zarr)", ["kim/year=2001.zarr"]), ("kim/anne\u0301e.zarr", ["kim/année.zarr"]), ('{{"u": "kim/ann\\u00e9e.zarr"}}', ["kim/année.zarr"]),
    ("year={{{{ year }}}}.zarr", ["kim/year=2001.zarr"]), ("<a href=kim/run%201.zarr>", ["kim/run 1.zarr"]), ("nothing", []),
])
def test_names_that_texts_write_in_other_ways_are_found(mover, tmp_path, text, stays):
    names = ["kim/année.zarr", "kim/run 1.zarr", "kim/year=2001.zarr", "lee/other.zarr"]
    stores = old_stores(tmp_path / "scratch", *names)
    (tmp_path / "catalog.txt").write_text(text.format(place=tmp_path / "scratch"))
    words = ["scratch", "expire", tmp_path / "scratch", *OLD, "--catalog", tmp_path / "catalog.txt", "--yes"]
    mover(*words, code=0)
    assert [name for name, store in zip(names, stores) if store.exists()] == stays
