"""What is sent outlives races, killed tries and files that change; stores in it are whole.

What lies where is judged by hashlib on what the file system or boto3 give; stores by the libraries of their formats.
"""

import contextlib
import os
import shutil
import subprocess
import time

import numpy as np
import pytest
import zarr

import ceph
import moves
from inboxes import MANIFEST, MAX_SECONDS, RECORD, Inbox, another, running, until
from moves import digests, make_tree, stored
from same import isolated


@pytest.mark.parametrize("same_home", [True, False])
def test_of_two_pushes_under_one_name_one_is_refused_and_the_other_whole(mover, inbox, tmp_path, seed, same_home):
    wanted = make_tree(tmp_path / "a", seed, {"big": 40_000_000, "x": 10})
    make_tree(tmp_path / "b", seed + 1, {"big": 40_000_000, "z": 20})
    other = mover if same_home else another(mover, tmp_path, "other home")
    with running(mover, "push", tmp_path / "a", "--to", inbox.place, "--as", "two", "--limit", "20MB") as first:
        until(lambda: inbox.names("two"), "the first push writes")
        answer = other("push", tmp_path / "b", "--to", inbox.place, "--as", "two")
        assert answer.code in (1, 5) and "two" in answer.err, answer
        assert first.wait(MAX_SECONDS) == 0
    assert inbox.files("two") == wanted
    assert other("push", tmp_path / "b", "--to", inbox.place, "--as", "two").code == 1 and inbox.files("two") == wanted
    mover("accept", f"{inbox.place}/two", "--to", tmp_path / "there", code=0)
    assert digests(tmp_path / "there") == wanted


@pytest.fixture
def blind(gateway, bucket, tmp_path):
    """Who may only put objects below `inbox/`, and read nothing."""
    statement = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:AbortMultipartUpload"], "Resource": [f"arn:aws:s3:::{bucket}/inbox/*"]}
    keys = gateway.assumed(f"blind-{bucket}", statement)
    (tmp_path / "blind").mkdir()
    return moves.Mover(tmp_path / "blind", gateway, keys["AccessKeyId"], keys["SecretAccessKey"], {"AWS_SESSION_TOKEN": keys["SessionToken"]})


def test_a_token_that_may_only_put_sends_goes_on_and_never_harms_what_is_whole(blind, mover, gateway, bucket, tmp_path, seed):
    inbox = Inbox("bucket", gateway, bucket, tmp_path)
    make_tree(tmp_path / "b", seed, {"x": 500_000, **{f"n{number}": 200_000 for number in range(20)}})
    past = time.time() - 100
    for path in (tmp_path / "b").iterdir():
        os.utime(path, (past, past))
    wanted = digests(tmp_path / "b")
    words = ["push", tmp_path / "b", "--to", inbox.place, "--as", "r"]
    with running(blind, *words, "--limit", "1MB"):
        until(lambda: len(inbox.names("r")) > 4, "some files are there")
    report = blind(*words, "--json", code=0).report
    assert report["totals"]["n_same"] > 0 and inbox.files("r") == wanted
    before = ceph.objects(gateway, bucket)
    again = blind(*words, "--json", code=0).report
    assert again["outcome"] == "already-there" and again["totals"]["n_sent"] == 0 and ceph.objects(gateway, bucket) == before
    (tmp_path / "b/x").write_bytes(b"others")
    for sender in (blind, another(blind, tmp_path, "another")):
        answer = sender(*words)
        assert answer.code == 1 and "--as" in answer.err and ceph.objects(gateway, bucket) == before, answer
    assert inbox.files("r") == wanted


def test_a_push_whose_delivery_was_accepted_meanwhile_does_not_call_what_it_left_whole(mover, inbox, tmp_path, seed):
    """The same command twice, as when a job is put into the queue again on another node."""
    wanted = make_tree(tmp_path / "a", seed, {"a": 1000, "big": 24_000_000})
    other = another(mover, tmp_path, "other node")
    with running(other, "push", tmp_path / "a", "--to", inbox.place, "--as", "r", "--limit", "4MB") as slow:
        until(lambda: "a" in inbox.names("r"), "the slow push writes")
        mover("push", tmp_path / "a", "--to", inbox.place, "--as", "r", code=0)
        mover("accept", f"{inbox.place}/r", "--to", tmp_path / "there", code=0)
        assert digests(tmp_path / "there") == wanted and slow.poll() is None, "the slow push was too fast to show anything"
        slow.wait(MAX_SECONDS)
    assert MANIFEST not in inbox.names("r") and RECORD in inbox.names("r")


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_a_file_that_vanished_meanwhile_is_missed_before_the_manifest(mover, gateway, bucket, tmp_path, seed, kind):
    inbox = Inbox(kind, gateway, bucket, tmp_path)
    wanted = make_tree(tmp_path / "a", seed, {"a": 1000, "big": 24_000_000})
    words = ["push", tmp_path / "a", "--to", inbox.place, "--as", "r"]
    with running(mover, *words, "--limit", "8MB", err=subprocess.PIPE) as push:
        until(lambda: "a" in inbox.names("r"), "the push writes")
        if kind == "bucket":
            gateway.client().delete_object(Bucket=bucket, Key="inbox/r/a")
        else:
            (inbox.folder / "r/a").unlink()
        _, err = push.communicate(timeout=MAX_SECONDS)
    assert push.returncode == 1 and "`a`" in err.decode() and MANIFEST not in inbox.names("r"), err
    mover(*words, code=0)
    assert inbox.files("r") == wanted and MANIFEST in inbox.names("r")


def test_files_that_a_killed_push_left_and_that_are_not_sent_any_more_are_refused_early(mover, inbox, tmp_path, seed):
    make_tree(tmp_path / "st", seed, {"a": 1000, "b": 24_000_000})
    words = ["push", tmp_path / "st", "--to", inbox.place, "--as", "r"]
    with running(mover, *words, "--limit", "4MB"):
        until(lambda: "a" in inbox.names("r"), "a is there")
    (tmp_path / "st/a").unlink()
    (tmp_path / "st/c").write_bytes(b"new")
    answer = mover(*words, code=1)
    assert "`a`" in answer.err and "--as" in answer.err and MANIFEST not in inbox.names("r"), answer
    wanted = digests(tmp_path / "st")
    mover(*words[:-1], "other", code=0)
    mover("accept", f"{inbox.place}/other", "--to", tmp_path / "there", code=0)
    assert digests(tmp_path / "there") == wanted
    # Or whoever keeps the inbox takes it away.
    mover("rm", f"{inbox.place}/r/a", "--yes", code=0)
    mover(*words, code=0)
    assert inbox.files("r") == wanted


def test_a_file_that_changed_since_an_unfinished_push_is_sent_as_it_is_now(mover, inbox, tmp_path, seed):
    make_tree(tmp_path / "st", seed, {"a": 1000, "b": 24_000_000})
    words = ["push", tmp_path / "st", "--to", inbox.place, "--as", "r"]
    with running(mover, *words, "--limit", "4MB"):
        until(lambda: "a" in inbox.names("r"), "a is there")
    (tmp_path / "st/a").write_bytes(b"as it is now")
    mover(*words, code=0)
    assert inbox.files("r") == digests(tmp_path / "st")


def test_same_size_and_time_are_no_proof(mover, tmp_path):
    for folder, text in ((tmp_path / "a", b"right"), (tmp_path / "inbox/r", b"wrong")):
        folder.mkdir(parents=True)
        (folder / "f").write_bytes(text)
        os.utime(folder / "f", (1_000_000_000, 1_000_000_000))
    answer = mover("push", tmp_path / "a", "--to", tmp_path / "inbox", "--as", "r")
    assert answer.code == 1 and "`f`" in answer.err and not (tmp_path / "inbox/r" / MANIFEST).exists(), answer
    assert (tmp_path / "inbox/r/f").read_bytes() == b"wrong"


def make_store(path, form=3):
    group = zarr.open_group(path, mode="w", zarr_format=form)
    group.create_array("t", data=np.arange(4000.0).reshape(40, 100), chunks=(1, 100))


def make_repository(path):
    import icechunk

    session = icechunk.Repository.create(icechunk.local_filesystem_storage(path)).writable_session("main")
    zarr.group(session.store).create_array("t", data=np.random.default_rng(1).random((60, 20_000)), chunks=(1, 20_000))
    session.commit("first")


def read_repository(path):
    import icechunk

    session = icechunk.Repository.open(icechunk.local_filesystem_storage(path)).readonly_session("main")
    return float(zarr.open_group(session.store, mode="r")["t"][:].sum())


@pytest.mark.parametrize("form", [2, 3])
def test_a_store_can_be_a_delivery_and_none_goes_into_a_store(mover, inbox, tmp_path, form):
    isolated(make_store, str(tmp_path / "s.zarr"), form)
    wanted = digests(tmp_path / "s.zarr")
    mover("push", tmp_path / "s.zarr", "--to", inbox.place, "--as", "s.zarr", code=0)
    mover("accept", f"{inbox.place}/s.zarr", "--to", tmp_path / "out.zarr", code=0)
    assert digests(tmp_path / "out.zarr") == wanted
    for place in (tmp_path / "out.zarr", tmp_path / "out.zarr/t"):
        assert mover("push", tmp_path / "s.zarr/t", "--to", place, "--as", "inb").code == 1
    assert digests(tmp_path / "out.zarr") == wanted


def test_patterns_are_about_a_store_as_one_thing(mover, local, tmp_path):
    isolated(make_store, str(tmp_path / "a/s.zarr"))
    wanted = digests(tmp_path / "a")
    (tmp_path / "a/x.tmp").write_bytes(b"x")
    mover("push", tmp_path / "a", "--to", local.place, "--as", "r", "--exclude", "s.zarr/t/**", "--exclude", "*.tmp", code=0)
    assert local.files("r") == wanted
    mover("push", tmp_path / "a", "--to", local.place, "--as", "without", "--exclude", "s.zarr", code=0)
    assert set(local.files("without")) == {"x.tmp"}


def test_a_reader_of_icechunk_sees_all_of_a_repository_or_none(mover, gateway, bucket, tmp_path):
    isolated(make_repository, str(tmp_path / "made/ice"))
    total = isolated(read_repository, str(tmp_path / "made/ice"))
    there, seen = tmp_path / "data", []
    # A folder that is there already shows file by file.
    there.mkdir()
    mover("push", tmp_path / "made", "--to", f"s3://{bucket}/inbox", "--as", "r", code=0)
    with running(mover, "accept", f"s3://{bucket}/inbox/r", "--to", there, "--limit", "4MB") as copying:
        while copying.poll() is None:
            if (there / "ice/refs/branch.main/ref.json").exists():
                seen.append(isolated(read_repository, str(there / "ice")))
            time.sleep(0.02)
        assert copying.returncode == 0
    assert isolated(read_repository, str(there / "ice")) == total and all(one == total for one in seen)


def test_a_repository_of_icechunk_is_copied_and_replaced_with_its_branches_last(mover, gateway, bucket, tmp_path):
    """Told by the clock of the server. What takes the place of another is hidden meanwhile, and is not the other one then."""
    for name in ("one", "two"):
        isolated(make_repository, str(tmp_path / name))
    for name, words in (("one", []), ("two", ["--overwrite"])):
        mover("cp", tmp_path / name, f"s3://{bucket}/ice", *words, code=0)
        pages = gateway.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="ice/")
        times = {found["Key"]: found["LastModified"] for page in pages for found in page["Contents"]}
        assert times.pop("ice/refs/branch.main/ref.json") >= max(times.values())
        assert stored(gateway, bucket, "ice/") == digests(tmp_path / name)


def test_those_that_write_below_one_folder_do_not_disturb_each_other(mover, tmp_path, seed):
    for name in "abcd":
        make_tree(tmp_path / name, seed, {f"{name}{number}": 100 for number in range(3)})
    for _ in range(40):
        shutil.rmtree(tmp_path / "there", ignore_errors=True)
        with contextlib.ExitStack() as stack:
            copies = [stack.enter_context(running(mover, "cp", tmp_path / name, tmp_path / "there", err=subprocess.PIPE)) for name in "abcd"]
            said = [copy.communicate(timeout=MAX_SECONDS)[1].decode() for copy in copies]
            assert [copy.returncode for copy in copies] == [0] * len(copies), said
        assert len(digests(tmp_path / "there")) == 3 * len(copies)
