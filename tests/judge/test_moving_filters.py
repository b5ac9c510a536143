"""What a filter leaves out is left out everywhere: it is not read, and it does not go. A store is one thing for it.

What lies where is judged by hashlib on what the file system gives.
"""

import os
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from moves import as_nobody, digests, make_tree, stored

VERBS = ["cp", "sync", "push", "check"]


@pytest.fixture
def mine(tmp_path):
    """A folder with one in it that only root may read, and a place that all may write to."""
    make_tree(tmp_path / "src", 1, {"ok/a": 10, "secret/b": 10, "deep/secret/c": 10})
    for folder in ("src/secret", "src/deep/secret"):
        os.chmod(tmp_path / folder, 0o700)
    (tmp_path / "out").mkdir()
    os.chmod(tmp_path / "out", 0o777)
    return tmp_path


def words_of(verb, folder):
    if verb == "check":
        shutil.copytree(folder / "src", folder / "out/src", ignore=shutil.ignore_patterns("secret"))
    return {
        "cp": ["cp", folder / "src", folder / "out/src"],
        "sync": ["sync", folder / "src", folder / "out/src", "--delete", "--yes"],
        "push": ["push", folder / "src", "--to", folder / "out", "--as", "src"],
        "check": ["check", folder / "src", folder / "out/src"],
    }[verb]


@pytest.mark.parametrize("pattern", ["secret", "**/secret/**"])
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_left_out_need_not_be_readable(mover, mine, verb, pattern):
    done = as_nobody(mover, *words_of(verb, mine), "--exclude", pattern)
    assert done.returncode == 0, done
    there = {name for name in digests(mine / "out/src") if not name.startswith("frazil-")}
    assert there - {"deep"} == {"ok/a"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("pattern", [None, "secret/*.nc", "deep/**"])
def test_what_is_meant_must_be_readable(mover, mine, verb, pattern):
    done = as_nobody(mover, *words_of(verb, mine), *(["--exclude", pattern] if pattern else []))
    assert done.returncode == 1 and re.search("src/(deep/)?secret` was refused", done.stderr) and "--exclude" in done.stderr, done
    assert verb == "check" or not digests(mine / "out")


@pytest.mark.parametrize("verb", ["cp", "push"])
def test_a_part_of_a_store_that_may_not_be_read_is_not_left_out(mover, tmp_path, verb):
    """A store without its chunks opens, and is full of fill values."""
    xr.Dataset({"t": ("x", np.arange(10))}).to_zarr(tmp_path / "src/s.zarr", zarr_format=3, consolidated=False)
    chunks = next(path for path in (tmp_path / "src/s.zarr/t").iterdir() if path.is_dir())
    os.chmod(chunks, 0o700)
    (tmp_path / "out").mkdir()
    os.chmod(tmp_path / "out", 0o777)
    done = as_nobody(mover, *words_of(verb, tmp_path), "--exclude", chunks.name)
    assert done.returncode == 1 and str(chunks) in done.stderr and not digests(tmp_path / "out"), done


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", ["folder", "bucket"])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("pattern", ["zarr.json", ".z*", "t", "old.zarr/t/**", "*.zarr"])
def test_sync_deletes_a_store_whole_or_leaves_it_whole(mover, gateway, bucket, tmp_path, kind, version, pattern):
    """Whatever a pattern says of its parts: one that only the destination has, too."""
    make_tree(tmp_path / "src", 1, {"a": 10})
    xr.Dataset({"t": ("x", np.arange(10))}).to_zarr(tmp_path / "dest/old.zarr", zarr_format=version)
    make_tree(tmp_path / "dest", 1, {"plain": 10})
    whole = {name: sum_ for name, sum_ in digests(tmp_path / "dest").items() if name.startswith("old.zarr/")}
    dest = tmp_path / "dest"
    if kind == "bucket":
        mover("cp", dest, f"s3://{bucket}/dest", code=0)
        dest = f"s3://{bucket}/dest"
    mover("sync", tmp_path / "src", dest, "--delete", "--yes", "--exclude", pattern, code=0)
    there = stored(gateway, bucket, "dest/") if kind == "bucket" else digests(dest)
    is_kept = pattern == "*.zarr"
    assert there == {"a": digests(tmp_path / "src")["a"], **(whole if is_kept else {})}
