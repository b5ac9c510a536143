"""What is sent and what is taken on outlives races, strangers in the inbox, wrong places and faults that pass.

What lies where is judged by hashlib on what the file system or boto3 give; stores by the libraries of their formats.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import zarr

import ceph
import moves
from moves import digests, make_tree, stored
from same import isolated

MANIFEST, RECORD, CLAIM = "frazil-delivery.json", "frazil-accepted.json", "frazil-push.json"
OWN = {MANIFEST, RECORD, CLAIM}
MAX_SECONDS = 60


class Inbox:
    """A place of deliveries, in a folder or in a bucket."""

    def __init__(self, kind, gateway, bucket, folder):
        self.kind, self.gateway, self.bucket, self.folder = kind, gateway, bucket, folder / "inbox"
        self.place = f"s3://{bucket}/inbox" if kind == "bucket" else str(self.folder)

    def files(self, name) -> dict:
        """The files of a delivery with their digests, without what it says of itself."""
        found = stored(self.gateway, self.bucket, f"inbox/{name}/") if self.kind == "bucket" else digests(self.folder / name)
        return {file: sum_ for file, sum_ in found.items() if file not in OWN}

    def names(self, name) -> set:
        found = ceph.objects(self.gateway, self.bucket, f"inbox/{name}/") if self.kind == "bucket" else digests(self.folder / name)
        return {file.removeprefix(f"inbox/{name}/") for file in found}

    def text(self, name, file):
        if self.kind == "bucket":
            return self.gateway.client().get_object(Bucket=self.bucket, Key=f"inbox/{name}/{file}")["Body"].read().decode()
        return (self.folder / name / file).read_text()

    def put(self, name, file, text):
        if self.kind == "bucket":
            return self.gateway.client().put_object(Bucket=self.bucket, Key=f"inbox/{name}/{file}", Body=text.encode())
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return (self.folder / name / file).write_text(text)


@pytest.fixture(params=["bucket", "folder"])
def inbox(request, gateway, bucket, tmp_path):
    return Inbox(request.param, gateway, bucket, tmp_path)


@pytest.fixture
def local(gateway, bucket, tmp_path):
    return Inbox("folder", gateway, bucket, tmp_path)


def another(mover, tmp_path, name, **variables):
    """Another sender: a home of its own, and so no journal of others."""
    (tmp_path / name).mkdir()
    return moves.Mover(tmp_path / name, mover.address, mover.key, mover.secret, {**mover.variables, **variables})


@contextlib.contextmanager
def running(mover, *words, out=subprocess.DEVNULL, err=subprocess.DEVNULL):
    process = mover.start(*words, out=out, err=err)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(true, what):
    end = time.monotonic() + MAX_SECONDS
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


# Sending


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
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
        with contextlib.ExitStack() as stack:
            copies = [stack.enter_context(running(mover, "cp", tmp_path / name, tmp_path / "d")) for name in "abcd"]
            assert [copy.wait(MAX_SECONDS) for copy in copies] == [0] * len(copies)
        assert len(digests(tmp_path / "d")) == 3 * len(copies)


# Taking on


def test_a_place_that_holds_the_inbox_or_lies_in_it_is_refused(mover, inbox, tmp_path):
    for name in ("a", "r2/a"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(b"x")
    mover("push", tmp_path / "src", "--to", inbox.place, "--as", "r2", code=0)
    places = [inbox.place, f"{inbox.place}/r2", f"{inbox.place}/r2/below"]
    if inbox.kind == "folder":
        (tmp_path / "link").symlink_to(inbox.folder)
        (tmp_path / "deep").symlink_to(inbox.folder / "r2")
        places += [tmp_path, tmp_path / "link", tmp_path / "deep", tmp_path / "deep/below"]
    for place in places:
        answer = mover("accept", f"{inbox.place}/r2", "--to", place)
        assert answer.code == 1 and inbox.files("r2") == digests(tmp_path / "src"), (place, answer)
    mover("accept", f"{inbox.place}/r2", "--to", tmp_path / "out", code=0)
    assert digests(tmp_path / "out") == digests(tmp_path / "src")


def test_a_forged_record_deletes_nothing(mover, inbox, tmp_path, seed):
    """Whoever may only put into an inbox may put that record, beside a delivery or beside what is left of one."""
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000, "b/c": 10})
    mover("push", tmp_path / "src", "--to", inbox.place, "--as", "victim", code=0)
    manifest = json.loads(inbox.text("victim", MANIFEST))
    for to in ("nowhere", f"{tmp_path}/arr/victim"):
        for cleared in (False, True):
            inbox.put("victim", RECORD, json.dumps({"frazil_accepted": 1, "manifest": manifest, "to": to, "cleared": cleared}))
            mover("accept", f"{inbox.place}/victim", "--to", tmp_path / "arr/victim", code=0)
            assert digests(tmp_path / "arr/victim") == wanted
            mover("cp", tmp_path / "arr/victim", tmp_path / "again", code=0)
            shutil.rmtree(tmp_path / "arr")
            if inbox.kind == "folder":
                shutil.rmtree(inbox.folder / "victim")
            else:
                mover("rm", f"{inbox.place}/victim/", "--yes", code=0)
            mover("push", tmp_path / "src", "--to", inbox.place, "--as", "victim", code=0)
    # Without a manifest all that there is says that it was accepted.
    mover("rm", f"{inbox.place}/victim/{MANIFEST}", "--yes", code=0)
    for to in ("nowhere", f"{tmp_path}/arr/victim"):
        inbox.put("victim", RECORD, json.dumps({"frazil_accepted": 1, "manifest": manifest, "to": to, "cleared": False}))
        assert mover("accept", f"{inbox.place}/victim", "--to", tmp_path / "arr/victim").code == 1
        assert inbox.files("victim") == wanted


def test_what_clearing_left_goes_only_where_every_file_is_at_the_place_that_was_typed(mover, local, tmp_path, seed):
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000, "b": 10})
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r", code=0)
    words = ["accept", local.folder / "r", "--to"]
    mover(*words, tmp_path / "d1", "--keep", code=0)
    record = json.loads(local.text("r", RECORD))
    # As if it was stopped while it cleared.
    local.put("r", RECORD, json.dumps({**record, "cleared": False}))
    (local.folder / "r" / MANIFEST).unlink()
    (local.folder / "r/b").unlink()
    answer = mover(*words, tmp_path / "d2", code=1)
    assert "d1" in answer.err and not (tmp_path / "d2").exists() and "a" in local.names("r"), answer
    dry = mover(*words, tmp_path / "d1", "-n", "--json", code=0).report
    assert dry["outcome"] == "would-clear" and "a" in local.names("r")
    held = (tmp_path / "d1/b").read_bytes()
    (tmp_path / "d1/b").unlink()
    assert mover(*words, tmp_path / "d1", code=1).err and "a" in local.names("r")
    (tmp_path / "d1/b").write_bytes(held)
    local.put("r", "a", "others")
    assert mover(*words, tmp_path / "d1", code=1).err and "a" in local.names("r")
    shutil.copy(tmp_path / "src/a", local.folder / "r/a")
    mover(*words, tmp_path / "d1", code=0)
    assert local.names("r") == {RECORD} and digests(tmp_path / "d1") == wanted


def test_what_was_kept_goes_to_a_second_place_and_is_cleared_in_the_end(mover, inbox, tmp_path, seed):
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000, "b": 10})
    mover("push", tmp_path / "src", "--to", inbox.place, "--as", "r", code=0)
    words = ["accept", f"{inbox.place}/r", "--json", "--to"]
    mover(*words, tmp_path / "d1", "--keep", code=0)
    assert mover(*words, tmp_path / "d1", "--keep", code=0).report["outcome"] == "already-accepted"
    mover(*words, tmp_path / "d2", "--keep", code=0)
    assert digests(tmp_path / "d1") == digests(tmp_path / "d2") == inbox.files("r") == wanted
    shutil.rmtree(tmp_path / "d2")
    mover(*words, tmp_path / "d2", "--keep", code=0)
    assert digests(tmp_path / "d2") == wanted
    mover(*words, tmp_path / "d2", code=0)
    assert inbox.names("r") == {RECORD} and digests(tmp_path / "d2") == wanted
    assert mover(*words, tmp_path / "d2", code=0).report["outcome"] == "already-accepted"
    assert mover(*words, tmp_path / "d3").code == 1 and not (tmp_path / "d3").exists()
    shutil.rmtree(tmp_path / "d2")
    assert mover(*words, tmp_path / "d2").code == 1


def test_a_record_that_is_none_does_not_block_a_whole_delivery(mover, inbox, tmp_path, seed):
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000})
    mover("push", tmp_path / "src", "--to", inbox.place, "--as", "r", code=0)
    inbox.put("r", RECORD, "{}")
    mover("accept", f"{inbox.place}/r", "--to", tmp_path / "d", code=0)
    assert digests(tmp_path / "d") == wanted and inbox.names("r") == {RECORD}


@pytest.mark.parametrize("way", ["a folder for a file", "a file for a folder", "a link for a folder", "same size and time"])
def test_whatever_is_in_the_way_is_seen_before_anything_is_copied(mover, local, tmp_path, way):
    make_tree(tmp_path / "src", 1, {"a": 5, "sub/b": 5, "z": 5})
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r", code=0)
    there = tmp_path / "d"
    there.mkdir()
    match way:
        case "a folder for a file":
            (there / "a").mkdir()
        case "a file for a folder":
            (there / "sub").write_bytes(b"mine")
        case "a link for a folder":
            (there / "sub").symlink_to(tmp_path / "src")
        case "same size and time":
            (there / "a").write_bytes(b"mine!")
            os.utime(there / "a", ns=(0, (local.folder / "r/a").stat().st_mtime_ns))
    before = digests(there)
    answer = mover("accept", local.folder / "r", "--to", there, code=1)
    assert "in the way" in answer.err and digests(there) == before and local.files("r") == digests(tmp_path / "src"), answer


def test_watch_takes_on_what_was_in_the_way_once_it_is_gone_and_tells_it_once(mover, local, tmp_path, seed):
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000})
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r", code=0)
    make_tree(tmp_path / "arr/r", seed + 1, {"a": 1000})
    with (tmp_path / "out").open("wb") as out, running(mover, "accept", "--watch", local.place, "--to", tmp_path / "arr", "--every", "1s", "--json", out=out) as watching:
        until(lambda: (tmp_path / "out").stat().st_size, "it is told")
        time.sleep(4)
        (tmp_path / "arr/r/a").unlink()
        until(lambda: RECORD in local.names("r"), "it is accepted")
        time.sleep(1.5)
        os.killpg(watching.pid, signal.SIGINT)
        watching.wait(10)
    *reports, last = map(json.loads, (tmp_path / "out").read_text().splitlines())
    assert [report["ok"] for report in reports] == [False, True] and last["totals"] == {"n_accepted": 1, "n_refused": 1}
    assert digests(tmp_path / "arr/r") == wanted


def test_what_strangers_put_under_the_name_of_a_manifest_is_not_waited_for(mover, local, tmp_path, seed):
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000})
    for name in ("pipe", "zero", "link", "sparse", "folder"):
        (local.folder / name).mkdir(parents=True)
    os.mkfifo(local.folder / "pipe" / MANIFEST)
    (local.folder / "zero" / MANIFEST).symlink_to("/dev/zero")
    (local.folder / "link" / MANIFEST).symlink_to(tmp_path / "src/a")
    (local.folder / "folder" / MANIFEST).mkdir()
    with (local.folder / "sparse" / MANIFEST).open("wb") as file:
        file.truncate(3 << 30)
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r", code=0)
    answer = mover("accept", "--list", local.place, "--json", code=0, timeout=20)
    assert {item["name"]: item["state"] for item in answer.report["items"]} == {**dict.fromkeys(["pipe", "zero", "link", "sparse", "folder"], "damaged"), "r": "whole"}
    assert all(item.get("message") for item in answer.report["items"] if item["state"] == "damaged")
    with running(mover, "accept", "--watch", local.place, "--to", tmp_path / "arr", "--every", "1s"):
        until(lambda: (tmp_path / "arr/r/a").exists(), "it is taken on")
    assert digests(tmp_path / "arr") == {f"r/{name}": sum_ for name, sum_ in wanted.items()}


def test_a_manifest_is_about_a_folder_that_is_there(mover, local, tmp_path, seed):
    make_tree(tmp_path / "src", seed, {"a": 1000})
    (tmp_path / "SUMS").write_text(f"{digests(tmp_path / 'src')['a']}  a\n")
    mover("verify", tmp_path / "src", "--manifest", tmp_path / "SUMS", code=0)
    for place in ("nosuch", "src/a"):
        answer = mover("verify", tmp_path / place, "--manifest", tmp_path / "SUMS", "--json", code=1)
        assert answer.report["error"]["code"] in ("transfer.nothing", "transfer.no-folder"), answer


def test_nothing_is_written_to_an_inbox_out_of_bounds(mover, local, tmp_path, seed):
    make_tree(tmp_path / "src", seed, {"a": 1000})
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r", code=0)
    (tmp_path / "config.toml").write_text(f'write_only_under = ["{tmp_path}/out/"]\n')
    before = digests(local.folder)
    answer = mover("accept", local.folder / "r", "--to", tmp_path / "out/r", "--config", tmp_path / "config.toml", code=1)
    assert "inbox" in answer.err and digests(local.folder) == before and not (tmp_path / "out").exists(), answer


def test_words_of_strangers_give_a_terminal_no_orders(mover, gateway, bucket, tmp_path, seed):
    make_tree(tmp_path / "src", seed, {"a": 1000})
    mover("push", tmp_path / "src", "--to", f"s3://{bucket}/inbox", "--as", "r", "--note", "x\x1b[31mRED\nline2", code=0)
    for name in ("\x1b[2Jx", "a\nfake  whole  9 TB"):
        gateway.client().put_object(Bucket=bucket, Key=f"inbox/{name}/{MANIFEST}", Body=b"{}")
    out = mover("accept", "--list", f"s3://{bucket}/inbox", code=0).out
    assert len(out.splitlines()) == 3 and not any(ord(letter) < 32 for letter in out.replace("\n", "")), repr(out)


def test_what_is_no_delivery_is_told_apart(mover, inbox, tmp_path, seed):
    make_tree(tmp_path / "src", seed, {"a": 1000})
    mover("push", tmp_path / "src", "--to", inbox.place, "--as", "r", code=0)
    codes = {name: mover("accept", f"{inbox.place}{name}", "--to", tmp_path / "d", "--json", code=1).report["error"]["code"] for name in ("/nosuch", "", "/r/a")}
    assert codes == {"/nosuch": "transfer.nothing", "": "delivery.many", "/r/a": "transfer.no-folder"}
    (tmp_path / "empty").mkdir()
    assert mover("push", tmp_path / "empty", "--to", inbox.place, "--as", "e", "--json", code=1).report["error"]["code"] == "delivery.no-files"
    for number in range(3):
        (tmp_path / f"src/link{number}").symlink_to("a")
    items = mover("push", tmp_path / "src", "--to", inbox.place, "--as", "l", "--json", code=1).report["items"]
    assert sorted(item["name"] for item in items) == ["link0", "link1", "link2"] and not inbox.names("l")


def test_an_inbox_that_may_only_be_read_says_where_the_files_are(mover, local, tmp_path, seed):
    """As nobody, who may write to `there` alone."""
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000})
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r", code=0)
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    (tmp_path / "there").mkdir()
    os.chmod(tmp_path / "there", 0o777)
    os.chmod(mover.home, 0o777)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != folder.parent and str(folder) != "/tmp":
            os.chmod(folder, os.stat(folder).st_mode | 0o055)
    words = mover.words(["accept", local.folder / "r", "--to", tmp_path / "there/r"])
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words], capture_output=True, text=True, timeout=60)
    error = next(line for line in done.stderr.splitlines() if line.startswith("error"))
    assert done.returncode == 1 and str(tmp_path / "there/r") in error and str(local.folder / "r") in error, done
    assert digests(tmp_path / "there/r") == wanted
