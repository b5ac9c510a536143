"""What killed runs leave behind: all of it goes and only that, never what a run holds or what work goes on by."""

import fcntl
import json
import os
import random
import signal
import time

import pytest

import ceph
import lying
import moves
from command import ROOT
from test_scratch_faults import at_the_prompt

LARGE = 40 << 20


def items(report):
    return {(item["kind"], item["name"]): (item["outcome"], item["reason"]) for item in report["items"]}


def test_uploads_go_that_are_old_and_only_those(mover, gateway, bucket):
    client = gateway.client()
    client.put_object(Bucket=bucket, Key="a/there", Body=b"12345")
    begin = lambda key: client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    for key in ("a/one", "a/two ü+%", "b/other", "a/grows"):
        client.upload_part(Bucket=bucket, Key=key, UploadId=(upload := begin(key)), PartNumber=1, Body=bytes(5 << 20))
    time.sleep(4)
    # One that was begun long ago and still grows, and one that has just begun.
    client.upload_part(Bucket=bucket, Key="a/grows", UploadId=upload, PartNumber=2, Body=bytes(5 << 20))
    begin("a/young")
    words = ["gc", f"s3://{bucket}/a", "--older-than", "3s"]
    plan = mover(*words, "-n", "--json", code=0).report
    assert items(plan) == {
        ("upload", "one"): ("goes", None), ("upload", "two ü+%"): ("goes", None), ("upload", "grows"): ("stays", "young"), ("upload", "young"): ("stays", "young"),
    }
    assert plan["totals"]["n_uploads"] == 2 and plan["totals"]["n_bytes"] == 2 * (5 << 20)
    assert "--yes" in mover(*words, code=1).err and len(ceph.open_uploads(gateway, bucket)) == 5, "nobody said yes"
    mover(*words, "--yes", code=0)
    assert sorted(key for key, _ in ceph.open_uploads(gateway, bucket)) == ["a/grows", "a/young", "b/other"]
    assert set(ceph.objects(gateway, bucket)) == {"a/there"}


def test_after_kills_all_of_it_goes_and_nothing_else(mover, gateway, bucket, tmp_path, soak, seed):
    """Copies of a store with a large chunk are killed; what `gc` leaves is what the next copy needs, and no more."""
    sizes = {"s.zarr/zarr.json": 40, "s.zarr/sst/zarr.json": 40, "s.zarr/sst/c/0": LARGE, **{f"s.zarr/sst/c/{n}": 1000 for n in range(1, 30)}}
    wanted = moves.make_tree(tmp_path / "source", seed, sizes)
    chosen = random.Random(f"gc {seed}")
    moves.put_all(gateway, bucket, {"other/x": b"1", "other/.frazil/receipt.json": b"{}"})
    n_left = 0
    with lying.lying(gateway, delay_seconds=0.02) as liar:
        mover.address = liar.address
        for _ in range(12 if soak else 4):
            running = mover.start("cp", tmp_path / "source/s.zarr", f"s3://{bucket}/s.zarr")
            # However slow the machine is, something was begun.
            until = time.monotonic() + 30
            while running.poll() is None and "s.zarr/.frazil/lock" not in ceph.objects(gateway, bucket) and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(chosen.uniform(0, 1))
            running.kill()
            running.wait()
            n_left += len(ceph.open_uploads(gateway, bucket)) + ("s.zarr/.frazil/lock" in ceph.objects(gateway, bucket))
    mover.address = gateway
    assert n_left > 0, "no kill left anything: this test shows nothing"
    time.sleep(3)
    before = ceph.objects(gateway, bucket)
    mover("gc", f"s3://{bucket}", "--older-than", "2s", "--yes", code=0)
    assert ceph.open_uploads(gateway, bucket) == []
    assert ceph.objects(gateway, bucket) == {key: value for key, value in before.items() if key != "s.zarr/.frazil/lock"}
    mover("cp", tmp_path / "source/s.zarr", f"s3://{bucket}/s.zarr", code=0)
    assert {f"s.zarr/{key}": value for key, value in moves.stored(gateway, bucket, "s.zarr/").items()} == wanted
    assert mover("gc", f"s3://{bucket}", "--older-than", "1s", "--json", code=0).report["items"] == []


def test_what_a_run_holds_stays(mover, gateway, bucket, tmp_path, seed):
    sizes = {"s.zarr/zarr.json": 40, "s.zarr/sst/c/0": LARGE, **{f"s.zarr/sst/c/{n}": 1000 for n in range(1, 30)}}
    wanted = moves.make_tree(tmp_path / "source", seed, sizes)
    with lying.lying(gateway, delay_seconds=0.1) as liar:
        mover.address = liar.address
        running = mover.start("cp", tmp_path / "source/s.zarr", f"s3://{bucket}/s.zarr")
        until = time.monotonic() + 60
        while not ceph.open_uploads(gateway, bucket) and time.monotonic() < until:
            time.sleep(0.02)
        # It stands still for a while, as on a laptop whose lid is closed.
        os.killpg(running.pid, signal.SIGSTOP)
        try:
            mover.address = gateway
            time.sleep(2.1)
            plan = mover("gc", f"s3://{bucket}", "--older-than", "1s", "--yes", "--json", code=0).report
        finally:
            os.killpg(running.pid, signal.SIGCONT)
        assert items(plan) and all(outcome == "stays" and reason in ("held", "young") for outcome, reason in items(plan).values()), plan
        assert "held" in [reason for _, reason in items(plan).values()], plan
        assert running.wait() == 0
    assert {f"s.zarr/{key}": value for key, value in moves.stored(gateway, bucket, "s.zarr/").items()} == wanted


@pytest.mark.parametrize("fault", ["always 500 on listing", "listing cut", "keys rotated"])
def test_a_listing_that_failed_means_that_nothing_goes(mover, gateway, bucket, seed, fault):
    client = gateway.client()
    moves.put_all(gateway, bucket, {f"a/{n}": b"x" for n in range(20)})
    client.put_object(Bucket=bucket, Key="a/.frazil/lock", Body=b"frazil claim 1\nplan \nbeat 0\n")
    client.create_multipart_upload(Bucket=bucket, Key="a/one")
    time.sleep(3)
    before = ceph.objects(gateway, bucket)
    with lying.lying(gateway, fault, seed, page_keys=3) as liar:
        mover.address = liar.address
        answer = mover("gc", f"s3://{bucket}", "--older-than", "2s", "--yes")
    if answer.code != 0:
        assert ceph.objects(gateway, bucket) == before and len(ceph.open_uploads(gateway, bucket)) == 1, (answer, str(liar))
    else:
        assert liar.n_lies == 0 or set(before) - set(ceph.objects(gateway, bucket)) == {"a/.frazil/lock"}, (answer, str(liar))


def aged(folder, days=3):
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2, follow_symlinks=False)


def test_on_this_machine_work_goes_on_and_the_rest_goes(mover, tmp_path):
    place = tmp_path / "place"
    for name, content in {
        "done.zarr/zarr.json": "{}", "done.zarr/.frazil/receipt.json": "{}", "done.zarr/.frazil/inventory.tsv": "", "done.zarr/.frazil/lock": "", "done.zarr/.frazil/staging/1-0": "half",
        "work.zarr/.frazil/plan.json": "{}", "work.zarr/.frazil/journal/whole": "{}", "work.zarr/.frazil/staging/1-1": "half", "work.zarr/.frazil/lock": "", "work.zarr/sst/c/0": "x",
        "held.zarr/.frazil/lock": "", "held.zarr/.frazil/staging/1-2": "half", ".sst.zarr.frazil-new/.frazil/plan.json": "{}", "orphan.zarr/.frazil/journal/whole": "{}",
        ".frazil-clock-12": "", "notes.txt": "x", "frazil/staging/x": "not ours", "x.frazil/lock": "not ours",
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    assert mover("gc", place, "-n", "--json", code=0).report["totals"]["n_going"] == 0, "all of it is young"
    aged(place)
    before = set(moves.digests(place))
    with open(place / "held.zarr/.frazil/lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = mover("gc", place, "--yes", "--json", code=0).report
    gone = {"done.zarr/.frazil/lock", "done.zarr/.frazil/staging/1-0", "work.zarr/.frazil/staging/1-1", "work.zarr/.frazil/lock", "orphan.zarr/.frazil/journal/whole", ".frazil-clock-12"}
    assert set(moves.digests(place)) == before - gone, report
    assert not (place / "orphan.zarr/.frazil").exists() and not (place / "done.zarr/.frazil/staging").exists(), "empty folders of ours go, too"


def test_a_place_that_is_not_there_is_named_with_what_to_do(mover, tmp_path):
    answer = mover("gc", tmp_path / "none", "--json", code=1)
    assert "none" in answer.report["error"]["message"] and "frazil ls" in answer.report["error"]["hint"]


def test_a_build_that_was_killed_goes_on_after_gc(mover, tmp_path, seed):
    chosen = random.Random(f"gc build {seed}")
    words = ["build", ROOT / "examples/sea-surface", "--to", tmp_path / "whole.zarr"]
    mover(*words, code=0)
    wanted = {name: value for name, value in moves.digests(tmp_path / "whole.zarr").items() if not name.startswith(".frazil")}
    words[-1] = tmp_path / "killed.zarr"
    for _ in range(6):
        running = mover.start(*words)
        time.sleep(chosen.uniform(0.005, 0.12))
        running.kill()
        running.wait()
        if (tmp_path / "killed.zarr").exists():
            aged(tmp_path / "killed.zarr")
            mover("gc", tmp_path, "--yes", code=0)
            assert not any((tmp_path / "killed.zarr/.frazil/staging").glob("*"))
    mover(*words, code=0)
    assert {name: value for name, value in moves.digests(tmp_path / "killed.zarr").items() if not name.startswith(".frazil")} == wanted


def test_a_delivery_that_did_not_arrive_goes_once_nobody_brings_it(mover, bucket, tmp_path, seed):
    """Its folder is left by a run that was killed, and held by one that is at work."""
    wanted = moves.make_tree(tmp_path / "src", seed, {f"{n:02}/x": 30_000 for n in range(20)})
    for name in ("killed", "held"):
        mover("push", tmp_path / "src", "--to", f"s3://{bucket}/inbox", "--as", name, code=0)
    words = lambda name: ["accept", f"s3://{bucket}/inbox/{name}", "--to", tmp_path / "arr" / name, "--limit", "100kB"]
    folder = lambda name: next((tmp_path / "arr").glob(f".{name}.*"), None)
    runs = {}
    for name in ("killed", "held"):
        runs[name] = mover.start(*words(name))
        until = time.monotonic() + 30
        while not (folder(name) and any(folder(name).rglob("x"))) and time.monotonic() < until:
            time.sleep(0.02)
        # The other one stands still for a while.
        os.killpg(runs[name].pid, signal.SIGKILL if name == "killed" else signal.SIGSTOP)
    try:
        time.sleep(3)
        gc = ["gc", tmp_path / "arr", "--older-than", "1s", "--json"]
        killed, held = folder("killed").name, folder("held").name
        assert items(mover(*gc, "-n", code=0).report) == {("arriving", killed): ("goes", None), ("arriving", held): ("stays", "held")}
        mover(*gc, "--yes", code=0)
        assert os.listdir(tmp_path / "arr") == [held]
    finally:
        os.killpg(runs["held"].pid, signal.SIGCONT)
    assert runs["held"].wait(60) == 0
    mover(*words("killed")[:-2], code=0)
    assert all(moves.digests(tmp_path / "arr" / name) == wanted for name in ("killed", "held"))


def test_notes_of_pushes_go_when_they_are_old(mover, gateway, bucket, tmp_path):
    notes = mover.home / ".local/state/frazil/push"
    notes.mkdir(parents=True)
    (notes / "a.journal").write_text(json.dumps({}))
    (notes / "b.journal").write_text(json.dumps({}))
    os.utime(notes / "a.journal", (time.time() - 40 * 86400,) * 2)
    mover("gc", "--older-than", "4w", "--yes", code=0)
    assert os.listdir(notes) == ["b.journal"]


@pytest.mark.parametrize("what", ["part", "staged"])
def test_what_is_written_to_while_the_question_waits_stays(mover, gateway, bucket, tmp_path, what):
    client = gateway.client()
    if what == "part":
        upload = client.create_multipart_upload(Bucket=bucket, Key="a/one")["UploadId"]
        part = lambda number: client.upload_part(Bucket=bucket, Key="a/one", UploadId=upload, PartNumber=number, Body=bytes(5 << 20))
        part(1)
        place, write = f"s3://{bucket}", lambda: part(2)
    else:
        staged = tmp_path / "place/s.zarr/.frazil/staging/1-0"
        staged.parent.mkdir(parents=True)
        staged.write_bytes(b"a")
        place, write = tmp_path / "place", lambda: staged.write_bytes(b"b")
    time.sleep(4)
    code, answer = at_the_prompt(mover, ["gc", place, "--older-than", "3s"], write)
    assert code == 3 and "stays" in answer and (staged.exists() if what == "staged" else ceph.open_uploads(gateway, bucket)), answer
