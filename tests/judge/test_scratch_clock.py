"""Scratch places and clocks: what is old is told by the clock of the place, whatever this machine's says; what a run holds stays."""

import fcntl
import os
import shutil
import time

import pytest

import ceph
import moves
from test_scratch import OLD, OLD_SECONDS, items, store

# Between what is old and what is young, on a loaded machine too.
YOUNG_SECONDS = 12
SKEWS = ["-1d", "+1d", "-3650d", "+3650d"]


def skewed(mover, skew):
    """The same command by a machine whose clock is wrong."""
    words = mover.words

    def with_clock(typed):
        at = words(typed)
        # After `env -i NAME=…` comes the program.
        first = next(n for n, word in enumerate(at) if n > 1 and "=" not in word)
        return [*at[:first], "faketime", "-f", skew, *at[first:]]

    return with_clock


@pytest.mark.one_in(2)
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("skew", SKEWS)
def test_a_wrong_clock_changes_nothing_in_a_bucket(mover, gateway, bucket, skew):
    moves.put_all(gateway, bucket, store("jdoe/a.zarr"))
    time.sleep(OLD_SECONDS)
    moves.put_all(gateway, bucket, store("jdoe/young.zarr"))
    honest = mover("scratch", "expire", f"s3://{bucket}", "--older-than", "3600s", "-n", "--json", code=0).report
    listed = mover("scratch", "list", f"s3://{bucket}", "--older-than", "1d", "--json", code=0).report
    mover.words = skewed(mover, skew)
    for words, expected in ((("expire", f"s3://{bucket}", "--older-than", "3600s", "-n"), honest), (("list", f"s3://{bucket}", "--older-than", "1d"), listed)):
        assert mover("scratch", *words, "--json", code=0).report["items"] == expected["items"]
    before = moves.stored(gateway, bucket)
    mover("scratch", "expire", f"s3://{bucket}", "--older-than", "3600s", "--yes", code=0)
    assert moves.stored(gateway, bucket) == before
    time.sleep(OLD_SECONDS)
    mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", code=0)
    assert moves.stored(gateway, bucket) == {}


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("skew", SKEWS)
def test_a_wrong_clock_does_not_stop_a_role_or_a_transfer(mover, gateway, bucket, tmp_path, skew):
    """Signatures have a moment in them, also those by which keys of a role are asked for."""
    gateway.assumed(f"clock-{bucket}", *ceph.may_use(bucket, "inbox/"))
    (mover.home / ".aws").mkdir()
    (mover.home / ".aws/config").write_text(f"[profile role]\nrole_arn = arn:aws:iam:::role/clock-{bucket}\nsource_profile = base\nendpoint_url = {gateway}\nregion = us-east-1\n")
    (mover.home / ".aws/credentials").write_text(f"[base]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = {ceph.SECRET}\n")
    wanted = moves.make_tree(tmp_path / "tree", 1, {"a": 1000, "large": 20 << 20})
    mover.words = skewed(mover, skew)
    mover("cp", tmp_path / "tree", f"s3://{bucket}/plain", code=0)
    assert moves.stored(gateway, bucket, "plain/") == wanted
    answer = mover("cp", tmp_path / "tree", f"role:{bucket}/inbox", code=0)
    assert moves.stored(gateway, bucket, "inbox/") == wanted, answer


@pytest.mark.one_in(2)
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("skew", [None, *SKEWS])
def test_a_wrong_clock_changes_nothing_in_a_folder(mover, tmp_path, skew):
    place = tmp_path / "scratch"

    def put(names):
        for key, content in {key: content for name in names for key, content in store(name).items()}.items():
            (place / key).parent.mkdir(parents=True, exist_ok=True)
            (place / key).write_bytes(content)

    put(["jdoe/old.zarr", "kim/mixed.zarr"])
    time.sleep(YOUNG_SECONDS)
    put(["jdoe/young.zarr"])
    (place / "kim/mixed.zarr/sst/c/0").write_bytes(b"newer")
    if skew:
        mover.words = skewed(mover, skew)
    report = mover("scratch", "expire", place, "--older-than", f"{YOUNG_SECONDS - 2}s", "--yes", "--json", code=0).report
    assert {name for name, item in items(report).items() if item["outcome"] == "goes"} == {"jdoe/old.zarr"}
    assert sorted(path.name for path in place.glob("*/*")) == ["mixed.zarr", "young.zarr"], report


def test_what_a_run_holds_or_a_link_is_in_stays(mover, tmp_path):
    place = tmp_path / "scratch"
    for name in ("held.zarr", "free.zarr", "linked.zarr"):
        for key, content in store(name).items():
            (place / key).parent.mkdir(parents=True, exist_ok=True)
            (place / key).write_bytes(content)
    for name in ("held.zarr", "free.zarr"):
        (place / name / ".frazil").mkdir()
        (place / name / ".frazil/lock").write_text("")
    (place / "linked.zarr/elsewhere").symlink_to(tmp_path)
    time.sleep(OLD_SECONDS)
    with open(place / "held.zarr/.frazil/lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        report = mover("scratch", "expire", place, *OLD, "--yes", "--json", code=0).report
    assert {name: item.get("reason") for name, item in items(report).items()} == {"free.zarr": None, "held.zarr": "written-to", "linked.zarr": "not-known"}
    assert sorted(os.listdir(place)) == ["held.zarr", "linked.zarr"]
