"""Deliveries are sent whole or not at all, with a token that may neither list nor delete, whatever kills the sender.

The bytes are judged by hashlib on what boto3 reads; the manifest by what its documentation says of it.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
import warnings

import pytest

import ceph
import far_host
import make
import moves
from moves import digests, make_tree, stored

MANIFEST, CLAIM = "frazil-delivery.json", "frazil-push.json"
N_KILLS, SOAK_N_KILLS = 5, 20
N_SMALL, SOAK_N_SMALL = 60, 5000
LARGE_BYTES, SOAK_LARGE_BYTES = 70 << 20, 2 << 30
MAX_SECONDS = 900
LINK_BYTES_PER_SECOND = 20_000_000


def may_put(bucket, prefix):
    """A policy that lets its holder write and read below `prefix`: no listing, no deleting."""
    actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    return [{"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{bucket}/{prefix}*"]}]


@pytest.fixture
def sender(gateway, bucket, tmp_path):
    """Who may only put and read below `inbox/`."""
    keys = gateway.assumed(f"sender-{bucket}", *may_put(bucket, "inbox/"))
    (tmp_path / "sender").mkdir()
    return moves.Mover(tmp_path / "sender", gateway, keys["AccessKeyId"], keys["SecretAccessKey"], {"AWS_SESSION_TOKEN": keys["SessionToken"], "USER": "jdoe"})


@pytest.fixture
def tree(tmp_path, seed):
    folder = tmp_path / "results"
    return folder, make_tree(folder, seed, {"a.nc": 100_000, "sub/b.nc": 1, "sub/empty": 0, "z.zarr/zarr.json": 50, "z.zarr/c/0": 70_000})


def manifest_in(found: dict) -> dict:
    return {file["name"]: file["sha256"] for file in found["files"]}


def test_a_token_that_may_not_list_sends_a_whole_delivery(sender, tree, gateway, bucket):
    folder, wanted = tree
    words = ["push", folder, "--to", f"s3://{bucket}/inbox", "--as", "run7", "--note", "the first"]
    assert sender("ls", f"s3://{bucket}/inbox/").code == 4, "the token may list, so this shows nothing"
    planned = sender(*words, "-n", "--json", code=0).report
    assert planned["totals"]["n_planned"] == len(wanted) and not ceph.objects(gateway, bucket)
    sender(*words, code=0)
    found = stored(gateway, bucket, "inbox/run7/")
    del found[MANIFEST], found[CLAIM]
    assert found == wanted
    manifest = json.loads(gateway.client().get_object(Bucket=bucket, Key=f"inbox/run7/{MANIFEST}")["Body"].read())
    assert manifest_in(manifest) == wanted
    assert {file["name"]: file["size_bytes"] for file in manifest["files"]} == {name: (folder / name).stat().st_size for name in wanted}
    assert manifest["note"] == "the first" and manifest["who"].startswith("jdoe") and manifest["clock"] == "server"
    before = ceph.objects(gateway, bucket)
    again = sender(*words, "--json", code=0).report
    assert again["outcome"] == "already-there" and again["totals"]["n_sent"] == 0 and ceph.objects(gateway, bucket) == before
    (folder / "a.nc").write_bytes(b"others")
    answer = sender(*words, code=1)
    assert "a.nc" in answer.err and ceph.objects(gateway, bucket) == before, answer


def test_what_is_at_a_place_already_is_asked_for_without_a_journal(sender, tree, gateway, bucket):
    folder, wanted = tree
    sender.variables["XDG_STATE_HOME"] = sender.home / "state"
    words = ["push", folder, "--to", f"s3://{bucket}/inbox", "--as", "run7", "--json"]
    sender(*words, code=0)
    gateway.client().delete_object(Bucket=bucket, Key=f"inbox/run7/{MANIFEST}")
    (sender.home / "state/frazil").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(sender.home / "state")
    again = sender(*words, code=0).report
    assert again["totals"]["n_same"] == len(wanted) and again["totals"]["n_sent"] == 0


@pytest.fixture
def far_sender(sender, gateway):
    """The sender on another host, on a link of 20 MB/s; where there can be none, on this one, held to that pace."""
    words = sender.words
    if why := far_host.missing():
        warnings.warn(f"not on another host: {why}", stacklevel=1)
        sender.words = lambda typed: words([*typed, "--limit", LINK_BYTES_PER_SECOND])
        yield sender
        return
    with far_host.far_host(gateway, LINK_BYTES_PER_SECOND) as host:
        sender.address = host.address
        sender.words = lambda typed: [*host.words, *words(typed)]
        yield sender


def test_killed_at_random_on_a_slow_link_it_goes_on_and_no_byte_is_wrong(far_sender, mover, gateway, bucket, tmp_path, soak, seed):
    folder, choices = tmp_path / "many", random.Random(seed)
    sizes = {f"{number % 7}/{number:05}": 500 + number % 3000 for number in range(SOAK_N_SMALL if soak else N_SMALL)}
    make_tree(folder, seed, sizes)
    with (folder / "large").open("wb") as file:
        for _ in range((SOAK_LARGE_BYTES if soak else LARGE_BYTES) >> 20):
            file.write(choices.randbytes(1 << 20))
    # What was written just now may change without a trace; that is another test.
    past = time.time() - 100
    for path in folder.rglob("*"):
        os.utime(path, (past, past))
    wanted = digests(folder)
    words = ["push", folder, "--to", f"s3://{bucket}/inbox", "--as", "run7"]
    n_kills, n_killed, sizes_seen = SOAK_N_KILLS if soak else N_KILLS, 0, {}
    while n_killed < n_kills:
        process = far_sender.start(*words, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(choices.uniform(0.2, 8 if soak else 1.5))
        kill_all(process)
        if process.wait() == 0:
            break
        n_killed += 1
        there = ceph.objects(gateway, bucket, "inbox/run7/")
        assert f"inbox/run7/{MANIFEST}" not in there, "a manifest before all was sent"
        # Under a final name lies what was sent, or nothing; what was read before and has its tag still is not read again.
        fresh = {key: about for key, about in there.items() if sizes_seen.get(key) != about}
        for name, sum_ in moves.stored_keys(gateway, bucket, fresh, "inbox/run7/").items():
            assert name == CLAIM or wanted[name] == sum_, name
        sizes_seen |= fresh
    assert n_killed == n_kills, "it was over before it was killed often enough"
    far_sender(*words, code=0, timeout=MAX_SECONDS)
    found = stored(gateway, bucket, "inbox/run7/")
    del found[MANIFEST], found[CLAIM]
    assert found == wanted
    # Its token may not look for an upload that was begun and not noted before a kill: whoever accepts may.
    assert len(ceph.open_uploads(gateway, bucket)) <= n_kills
    for n_killed in range(n_kills):
        process = mover.start("accept", f"s3://{bucket}/inbox/run7", "--to", f"s3://{bucket}/there", out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(choices.uniform(0.05, 3 if soak else 0.6))
        kill_all(process)
        if process.wait() == 0:
            break
        for name, sum_ in stored(gateway, bucket, "there/").items() if not soak or n_killed % 5 == 0 else ():
            assert wanted[name] == sum_, name
    mover("accept", f"s3://{bucket}/inbox/run7", "--to", f"s3://{bucket}/there", code=0, timeout=MAX_SECONDS)
    assert stored(gateway, bucket, "there/") == wanted
    assert ceph.open_uploads(gateway, bucket) == []


def kill_all(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_the_limit_holds(sender, gateway, bucket, tmp_path, seed):
    limit, n_bytes = 12_000_000, 60_000_000
    make_tree(tmp_path / "one", seed, {"large": n_bytes - 10_000_000, **{f"small{number}": 1_000_000 for number in range(10)}})
    answer = sender("push", tmp_path / "one", "--to", f"s3://{bucket}/inbox", "--as", "slow", "--limit", "12MB", code=0)
    wanted = n_bytes / limit
    assert wanted / 1.25 <= answer.seconds <= wanted * 1.25 + 1, f"{n_bytes / answer.seconds / 1e6:.1f} MB/s\n{answer}"


def test_a_file_that_changes_meanwhile_is_refused_by_name(sender, gateway, bucket, tmp_path, seed):
    make_tree(tmp_path / "one", seed, {"growing.nc": 40 << 20, "still.nc": 10})
    words = ["push", tmp_path / "one", "--to", f"s3://{bucket}/inbox", "--as", "moving", "--limit", "10MB"]
    process = sender.start(*words, out=subprocess.PIPE, err=subprocess.PIPE)
    time.sleep(1.5)
    with (tmp_path / "one/growing.nc").open("r+b") as file:
        file.write(b"others")
    out, err = process.communicate(timeout=60)
    assert process.returncode in (1, 3) and b"growing.nc" in err, (process.returncode, out, err)
    assert f"inbox/moving/{MANIFEST}" not in ceph.objects(gateway, bucket)


def test_from_folder_to_folder(mover, tree, tmp_path):
    folder, wanted = tree
    words = ["push", folder, "--to", tmp_path / "inbox", "--as", "run7"]
    mover(*words, code=0)
    found = digests(tmp_path / "inbox/run7")
    manifest = json.loads((tmp_path / "inbox/run7" / MANIFEST).read_text())
    del found[MANIFEST], found[CLAIM]
    assert found == wanted == manifest_in(manifest)
    assert mover(*words, "--json", code=0).report["outcome"] == "already-there"
    (folder / "new").write_bytes(b"1")
    assert "new" in mover(*words, code=1).err


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", ""])
def test_a_name_that_leads_elsewhere_is_refused(mover, tree, tmp_path, name):
    mover("push", tree[0], "--to", tmp_path / "inbox", "--as", name, code=2)
    assert not (tmp_path / "inbox").exists()


def test_a_store_that_is_still_being_made_is_no_delivery(mover, tmp_path):
    """Whoever gets it would have chunks without a store."""
    make.make(tmp_path / "a.nc", make.days("2001-01-01", 10))
    (tmp_path / "f/feedstock").mkdir(parents=True)
    (tmp_path / "f/feedstock/recipe.yaml").write_text(f"recipe: 1\nid: made\nsources: {{a: {{glob: '{tmp_path}/a.nc'}}}}\nwrite: {{zarr: {{}}}}\n")
    build = ["build", tmp_path / "f", "--to", tmp_path / "src/s.zarr"]
    mover(*build, "--plan-only", code=0)
    (tmp_path / "src/other").write_bytes(b"x")
    answer = mover("push", tmp_path / "src", "--to", tmp_path / "inbox", "--as", "run", code=1)
    assert "s.zarr/.frazil/plan.json" in answer.err and "still being made" in answer.err and not (tmp_path / "inbox").exists(), answer
    mover("push", tmp_path / "src", "--to", tmp_path / "inbox", "--as", "rest", "--exclude", "s.zarr", code=0)
    mover(*build, code=0)
    mover("push", tmp_path / "src", "--to", tmp_path / "inbox", "--as", "run", code=0)
