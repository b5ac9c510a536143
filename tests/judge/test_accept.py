"""Deliveries are taken on whole: every bit as it was sent, or refused by name with nothing copied."""

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest
import xarray as xr

import ceph
from command import ROOT
from make import days, feedstock, make
from moves import as_nobody, digests, make_tree, stored

MANIFEST, RECORD = "frazil-delivery.json", "frazil-accepted.json"
N_KILLS, SOAK_N_KILLS = 4, 20


@pytest.fixture
def sent(mover, bucket, tmp_path, seed):
    """A delivery in a bucket, and the digests of its files."""
    wanted = make_tree(tmp_path / "results", seed, {"a.nc": 100_000, "sub/b.nc": 1, "sub/empty": 0, **{f"many/{n:03}": 1000 + n for n in range(30)}})
    mover("push", tmp_path / "results", "--to", f"s3://{bucket}/inbox", "--as", "run7", "--note", "the first", code=0)
    return wanted


def states(mover, inbox, *words, code=0):
    return {item["name"]: item["state"] for item in mover("accept", "--list", inbox, *words, "--json", code=code).report["items"]}


def test_a_whole_delivery_moves_to_its_place(mover, sent, gateway, bucket):
    inbox, there = f"s3://{bucket}/inbox", f"s3://{bucket}/data/run7"
    assert states(mover, inbox) == {"run7": "whole"} and "the first" in mover("accept", "--list", inbox, code=0).out
    mover("accept", f"{inbox}/run7", "--to", there, "-n", code=0)
    assert not ceph.objects(gateway, bucket, "data/")
    mover("accept", f"{inbox}/run7", "--to", there, code=0)
    assert stored(gateway, bucket, "data/run7/") == sent
    assert set(ceph.objects(gateway, bucket, "inbox/")) == {f"inbox/run7/{RECORD}"}
    assert states(mover, inbox) == {"run7": "accepted"}
    assert mover("accept", f"{inbox}/run7", "--to", there, "--json", code=0).report["outcome"] == "already-accepted"


@pytest.mark.parametrize("harm", ["bit", "missing", "extra", "size"])
def test_a_delivery_that_was_altered_is_refused_by_name(mover, sent, gateway, bucket, harm):
    client, key = gateway.client(), "inbox/run7/many/017"
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    match harm:
        case "bit":
            client.put_object(Bucket=bucket, Key=key, Body=bytes([body[0] ^ 1]) + body[1:])
        case "missing":
            client.delete_object(Bucket=bucket, Key=key)
        case "extra":
            key = "inbox/run7/many/stranger"
            client.put_object(Bucket=bucket, Key=key, Body=b"x")
        case "size":
            client.put_object(Bucket=bucket, Key=key, Body=body + b"x")
    before = ceph.objects(gateway, bucket)
    answer = mover("accept", f"s3://{bucket}/inbox/run7", "--to", f"s3://{bucket}/data/run7", "--json", code=1)
    assert [item["name"] for item in answer.report["items"]] == [key.removeprefix("inbox/run7/")], answer
    assert ceph.objects(gateway, bucket) == before, "something was copied or deleted"
    assert states(mover, f"s3://{bucket}/inbox", "--check", code=1) == {"run7": "damaged"}


def test_an_altered_manifest_is_no_manifest(mover, sent, gateway, bucket):
    client, key = gateway.client(), f"inbox/run7/{MANIFEST}"
    text = client.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    client.put_object(Bucket=bucket, Key=key, Body=text.replace("the first", "the tenth").encode())
    answer = mover("accept", f"s3://{bucket}/inbox/run7", "--to", f"s3://{bucket}/data/run7", code=1)
    assert "seal" in answer.err and not ceph.objects(gateway, bucket, "data/")


def test_what_is_in_the_way_stays(mover, sent, gateway, bucket):
    gateway.client().put_object(Bucket=bucket, Key="data/run7/a.nc", Body=b"mine")
    before = ceph.objects(gateway, bucket)
    answer = mover("accept", f"s3://{bucket}/inbox/run7", "--to", f"s3://{bucket}/data/run7", code=1)
    assert "a.nc" in answer.err and ceph.objects(gateway, bucket) == before


def test_without_a_manifest_nothing_is_taken(mover, sent, gateway, bucket):
    gateway.client().delete_object(Bucket=bucket, Key=f"inbox/run7/{MANIFEST}")
    assert states(mover, f"s3://{bucket}/inbox") == {"run7": "unfinished"}
    mover("accept", f"s3://{bucket}/inbox/run7", "--to", f"s3://{bucket}/data/run7", code=1)
    assert not ceph.objects(gateway, bucket, "data/")


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_killed_at_random_it_goes_on(mover, sent, gateway, bucket, tmp_path, soak, seed, kind):
    choices, inbox = random.Random(f"{seed} {kind}"), f"s3://{bucket}/inbox"
    there = f"s3://{bucket}/data/run7" if kind == "bucket" else tmp_path / "data/run7"
    words = ["accept", f"{inbox}/run7", "--to", there]
    for _ in range(SOAK_N_KILLS if soak else N_KILLS):
        process = mover.start(*words, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(choices.uniform(0.02, 0.5))
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if process.wait() == 0:
            break
    mover(*words, code=0)
    assert (stored(gateway, bucket, "data/run7/") if kind == "bucket" else digests(there)) == sent
    assert set(ceph.objects(gateway, bucket, "inbox/")) == {f"inbox/run7/{RECORD}"}


def test_a_reader_never_sees_a_store_that_lacks_chunks(mover, gateway, bucket, tmp_path):
    mover("build", ROOT / "examples/sea-surface", "--to", tmp_path / "made/sst.zarr", code=0)
    ours = xr.open_dataset(tmp_path / "made/sst.zarr", engine="zarr").load()
    mover("push", tmp_path / "made", "--to", f"s3://{bucket}/inbox", "--as", "sea", code=0)
    wanted = {f"data/sea/{path.relative_to(tmp_path / 'made')}" for path in (tmp_path / "made").rglob("*") if path.is_file()}
    torn, stop = [], threading.Event()

    def read():
        client = gateway.client()
        while not stop.is_set():
            try:
                client.head_object(Bucket=bucket, Key="data/sea/sst.zarr/zarr.json")
            except client.exceptions.ClientError:
                continue
            torn.extend(wanted - set(ceph.objects(gateway, bucket, "data/")))
            return

    reader = threading.Thread(target=read)
    reader.start()
    mover("accept", f"s3://{bucket}/inbox/sea", "--to", f"s3://{bucket}/data/", code=0)
    stop.wait(1)
    stop.set()
    reader.join()
    assert not torn
    mover("cp", f"s3://{bucket}/data/sea/sst.zarr", tmp_path / "back.zarr", code=0)
    xr.testing.assert_identical(xr.open_dataset(tmp_path / "back.zarr", engine="zarr").load(), ours)


def test_watch_takes_each_once_and_stops_calmly(mover, sent, gateway, bucket, tmp_path):
    inbox = f"s3://{bucket}/inbox"
    make_tree(tmp_path / "bad", 1, {"x": 10})
    mover("push", tmp_path / "bad", "--to", inbox, "--as", "bad", code=0)
    gateway.client().put_object(Bucket=bucket, Key="inbox/bad/x", Body=b"otherbytes")
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = mover.start("accept", "--watch", inbox, "--to", tmp_path / "arrived", "--every", "1s", "--json", out=out, err=err)
        try:
            until = time.monotonic() + 60
            while not (tmp_path / "arrived/run7/a.nc").exists() and time.monotonic() < until:
                time.sleep(0.1)
            make_tree(tmp_path / "late", 2, {"y": 10})
            mover("push", tmp_path / "late", "--to", inbox, "--as", "late", code=0)
            while not (tmp_path / "arrived/late/y").exists() and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(2.5)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(10)
    assert code == 0, (tmp_path / "err").read_text()
    *reports, last = map(json.loads, (tmp_path / "out").read_text().splitlines())
    assert sorted((report["name"], report["ok"]) for report in reports) == [("bad", False), ("late", True), ("run7", True)]
    assert last["totals"] == {"n_accepted": 2, "n_refused": 1}
    assert digests(tmp_path / "arrived/run7") == sent and not (tmp_path / "arrived/bad").exists()


def test_a_build_that_fails_leaves_the_delivery_where_it_is(mover, tmp_path):
    results, there, recipe = tmp_path / "results", tmp_path / "data/run7", tmp_path / "f/feedstock/recipe.yaml"
    results.mkdir()
    files = [make(results / f"{month}.nc", days(f"2000-0{month}-01", 28)) for month in (1, 2)]
    mover("push", results, "--to", tmp_path / "inbox", "--as", "run7", code=0)
    words = ["accept", tmp_path / "inbox/run7", "--to", there, "--build", tmp_path / "f", "--json"]
    feedstock(tmp_path / "f", there / "nothing-*.nc")
    answer = mover(*words, cwd=tmp_path)
    assert answer.code != 0 and answer.report["error"], answer
    assert (tmp_path / "inbox/run7" / MANIFEST).exists() and not (tmp_path / "made.zarr").exists()
    assert mover(*words[:-2], tmp_path / "no feedstock", cwd=tmp_path).code != 0 and (tmp_path / "inbox/run7" / MANIFEST).exists()
    recipe.write_text(recipe.read_text().replace("nothing-*", "*"))
    mover(*words, code=0, cwd=tmp_path)
    # Where a recipe says no place, its store is made in the folder that the command was typed in.
    found = xr.open_zarr(tmp_path / "made.zarr")
    for file in files:
        wanted = xr.open_dataset(file)
        assert found.sel(time=wanted.time).load().equals(wanted.load())
    assert not (tmp_path / "inbox/run7" / MANIFEST).exists()


def test_each_delivery_has_the_feedstock_of_its_name(mover, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    wanted = xr.open_dataset(make(results / "1.nc", days("2000-01-01", 28)))
    feedstock(tmp_path / "feedstocks/run7", tmp_path / "data/run7/*.nc")
    for name in ("run7", "other"):
        mover("push", results, "--to", tmp_path / "inbox", "--as", name, code=0)
        report = mover("accept", tmp_path / "inbox" / name, "--to", f"{tmp_path}/data/", "--build", f"{tmp_path}/feedstocks/{{name}}", "--json", code=0, cwd=tmp_path).report
        assert ("build" in report) == (name == "run7") and [warning["code"] for warning in report["warnings"]] == ["accept.no-feedstock"] * (name == "other")
    assert xr.open_zarr(tmp_path / "made.zarr").load().equals(wanted.load())


def test_a_folder_shows_the_whole_delivery_or_nothing(mover, sent, gateway, bucket, tmp_path):
    """Whoever looks sees nothing at the place, or all of it; also if it is killed again and again."""
    there, choices, seen = tmp_path / "data/run7", random.Random(3), []
    words = ["accept", f"s3://{bucket}/inbox/run7", "--to", there, "--limit", "150kB", "--keep"]

    def look():
        while not stop.is_set():
            if there.exists():
                seen.append(set(digests(there)))
                return

    stop = threading.Event()
    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(4):
        process = mover.start(*words, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(choices.uniform(0.5, 1.6))
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() != 0 and not there.exists(), "it was over before it was killed, so this shows nothing"
    mover(*words[:-3], "--keep", code=0)
    looker.join(10)
    stop.set()
    assert seen == [set(sent)] and digests(there) == sent
    assert os.listdir(there.parent) == ["run7"]


def test_what_somebody_makes_at_the_place_meanwhile_stays(mover, sent, bucket, tmp_path):
    there = tmp_path / "data/run7"
    process = mover.start("accept", f"s3://{bucket}/inbox/run7", "--to", there, "--limit", "150kB", out=subprocess.DEVNULL, err=subprocess.PIPE)
    time.sleep(1.4)
    assert not there.exists()
    there.mkdir(parents=True)
    (there / "mine").write_bytes(b"mine")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and str(there) in err.decode(), err
    assert digests(there) == {"mine": hashlib.sha256(b"mine").hexdigest()}
    mover("accept", f"s3://{bucket}/inbox/run7", "--to", there, code=0)
    assert digests(there) == {**sent, "mine": hashlib.sha256(b"mine").hexdigest()}


def test_what_is_kept_of_a_delivery_cannot_have_others_deleted(mover, sent, gateway, bucket, tmp_path):
    """Whoever may write to an inbox may write that record, too."""
    mover("push", tmp_path / "results", "--to", tmp_path / "inbox", "--as", "run7", code=0)
    other = tmp_path / "inbox/other"
    other.write_bytes(b"mine")
    manifest = json.loads((tmp_path / "inbox/run7" / MANIFEST).read_text())
    manifest["files"] = [{"name": "../other", "size_bytes": 4, "sha256": hashlib.sha256(b"mine").hexdigest()}]
    head = "".join(f"{manifest[name] or ''}\0" for name in ("name", "who", "when", "clock", "note", "frazil"))
    line = f"../other\x004\0{manifest['files'][0]['sha256']}\n"
    manifest["seal"] = hashlib.sha256(f"{head}{manifest['frazil_delivery']} {manifest['size_bytes']}\n{line}".encode()).hexdigest()
    (tmp_path / "inbox/run7" / RECORD).write_text(json.dumps({"frazil_accepted": 1, "manifest": manifest, "to": "elsewhere", "cleared": False}))
    (tmp_path / "inbox/run7" / MANIFEST).unlink()
    answer = mover("accept", tmp_path / "inbox/run7", "--to", tmp_path / "there", code=1)
    assert "../other" in answer.err and other.read_bytes() == b"mine", answer


def test_what_cannot_be_read_this_time_is_not_called_damaged_and_hides_no_other(mover, tmp_path):
    for name in ("one", "two", "three"):
        make_tree(tmp_path / "s", 1, {"a": 10})
        mover("push", tmp_path / "s", "--to", tmp_path / "inbox", "--as", name, code=0)
    (tmp_path / "inbox/one" / MANIFEST).chmod(0)
    (tmp_path / "inbox/two/a").chmod(0)
    for path in (tmp_path / "inbox").rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    answer = as_nobody(mover, "accept", "--list", tmp_path / "inbox", "--check", "--json")
    told = {item["name"]: item["state"] for item in json.loads(answer.stdout)["items"]}
    assert told == {"one": "not known", "two": "not known", "three": "whole"}, answer
    assert answer.returncode == 1 and "refused" in answer.stderr + answer.stdout, answer


def test_a_key_that_the_server_does_not_know_is_said_by_the_exit_code(mover, sent, bucket):
    answer = dataclasses.replace(mover, key="nobody")("accept", "--list", f"s3://{bucket}/inbox", code=4)
    assert "key" in answer.err, answer
