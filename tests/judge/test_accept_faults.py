"""What is taken on outlives strangers in the inbox, wrong places and faults that pass; nothing goes that is nowhere else.

What lies where is judged by hashlib on what the file system or boto3 give.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from inboxes import MANIFEST, RECORD, Inbox, running, until
from moves import as_nobody, digests, make_tree, stored


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


def two_names(mover, gateway, tmp_path):
    """Two remotes, `one:` and `two:`, for one server."""
    text = "".join(f"[{name}]\ntype = s3\nprovider = Ceph\naccess_key_id = {mover.key}\nsecret_access_key = {mover.secret}\nendpoint = {address}\n\n" for name, address in (("one", gateway), ("two", gateway.replace("127.0.0.1", "localhost"))))
    (tmp_path / "rclone.conf").write_text(text)
    os.chmod(tmp_path / "rclone.conf", 0o600)
    mover.variables["RCLONE_CONFIG"] = tmp_path / "rclone.conf"


@contextlib.contextmanager
def mounted(folder, at):
    at.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "--bind", folder, at], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


def twins(folder):
    """Files of which one is the other in a folder below."""
    for name, content in {"a": b"same", "sub/a": b"same", "b": b"other", "sub/b": b"other"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return digests(folder)


@pytest.mark.parametrize("below", ["/r1", ""])
def test_the_inbox_under_another_name_of_its_server_is_no_place_to_go(mover, gateway, bucket, tmp_path, seed, below):
    inbox = Inbox("bucket", gateway, bucket, tmp_path)
    make_tree(tmp_path / "src", seed, {"a": 1000, "r1/a": 1000})
    (tmp_path / "src/r1/a").write_bytes((tmp_path / "src/a").read_bytes())
    wanted = digests(tmp_path / "src")
    two_names(mover, gateway, tmp_path)
    mover("push", tmp_path / "src", "--to", f"one:{bucket}/inbox", "--as", "r1", code=0)
    answer = mover("accept", f"one:{bucket}/inbox/r1", "--to", f"two:{bucket}/inbox{below}", code=1)
    assert inbox.files("r1") == wanted and MANIFEST in inbox.names("r1"), answer
    mover("accept", f"one:{bucket}/inbox/r1", "--to", f"two:{bucket}/data", code=0)
    assert stored(gateway, bucket, "data/") == wanted and inbox.names("r1") == {RECORD}


@pytest.mark.parametrize("below", ["sub", "new"])
@pytest.mark.parametrize("way", ["server", "mount"])
def test_a_place_in_the_delivery_under_another_name_is_no_place_to_go(mover, gateway, bucket, tmp_path, way, below):
    inbox, wanted = Inbox("bucket" if way == "server" else "folder", gateway, bucket, tmp_path), twins(tmp_path / "src")
    two_names(mover, gateway, tmp_path)
    place = f"one:{bucket}/inbox" if way == "server" else inbox.place
    mover("push", tmp_path / "src", "--to", place, "--as", "r1", code=0)
    before = inbox.names("r1")
    if way == "server":
        answer = mover("accept", f"{place}/r1", "--to", f"two:{bucket}/inbox/r1/{below}", code=1)
    else:
        with mounted(inbox.folder / "r1/sub", tmp_path / "there"):
            answer = mover("accept", f"{place}/r1", "--to", tmp_path / "there" / ("" if below == "sub" else below), code=1)
    assert inbox.names("r1") == before and inbox.files("r1") == wanted and "lies in" in answer.err, answer
    if way == "mount":
        assert sorted(os.listdir(inbox.folder / "r1/sub")) == ["a", "b"]


@pytest.mark.parametrize("way", ["over the place", "within the place", "within the delivery"])
def test_what_is_mounted_shows_no_file_of_the_delivery_as_its_copy(mover, local, tmp_path, way):
    wanted = twins(tmp_path / "src")
    mover("push", tmp_path / "src", "--to", local.place, "--as", "r1", code=0)
    there = tmp_path / "top"
    shutil.copytree(tmp_path / "src", there)
    before = {name: sum_ for name, sum_ in digests(local.folder / "r1").items()}
    shown, at = {"over the place": ("r1", there), "within the place": ("r1", there / "sub"), "within the delivery": (None, local.folder / "r1/sub")}[way]
    with mounted(local.folder / shown if shown else there / "sub", at):
        mover("accept", local.folder / "r1", "--to", there, code=1)
    assert digests(local.folder / "r1") == before and digests(there) == wanted


@pytest.mark.parametrize("to", ["d", "elsewhere"])
def test_a_delivery_that_is_being_taken_on_is_left_to_whoever_has_it(mover, inbox, tmp_path, seed, to):
    wanted = make_tree(tmp_path / "src", seed, {f"{n:02}": 20_000 for n in range(20)})
    mover("push", tmp_path / "src", "--to", inbox.place, "--as", "r1", code=0)
    words, taken = ["accept", f"{inbox.place}/r1", "--to"], "delivery.being-accepted"
    if inbox.kind == "bucket":
        with running(mover, *words, tmp_path / "out/d", "--limit", "150kB") as first:
            until(lambda: any((tmp_path / "out").glob(".*")), "it has begun")
            assert mover(*words, tmp_path / "out" / to, "--json", code=5).report["error"]["code"] == taken
            assert first.wait(60) == 0
    else:
        (inbox.folder / "r1/.frazil").mkdir()
        with open(inbox.folder / "r1/.frazil/lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert mover(*words, tmp_path / "out" / to, "--json", code=5).report["error"]["code"] == taken
        mover(*words, tmp_path / "out/d", code=0)
    assert mover(*words, tmp_path / "out/d", "--json", code=0).report["outcome"] == "already-accepted"
    assert digests(tmp_path / "out") == {f"d/{name}": sum_ for name, sum_ in wanted.items()} and os.listdir(tmp_path / "out") == ["d"]
    assert inbox.names("r1") == {RECORD}


def test_of_two_who_take_one_delivery_on_at_once_one_does_it(mover, inbox, tmp_path, seed):
    wanted = make_tree(tmp_path / "src", seed, {f"{n:02}": 100_000 for n in range(30)})
    for name in ("r1", "r2", "r3"):
        mover("push", tmp_path / "src", "--to", inbox.place, "--as", name, code=0)
        words = ["accept", f"{inbox.place}/{name}", "--to", tmp_path / "out" / name]
        with running(mover, *words) as one, running(mover, *words) as two:
            codes = sorted([one.wait(60), two.wait(60)])
        assert codes in ([0, 5], [0, 0]) and digests(tmp_path / "out" / name) == wanted and inbox.names(name) == {RECORD}
    assert sorted(os.listdir(tmp_path / "out")) == ["r1", "r2", "r3"]


def test_two_watchers_of_one_inbox_share_the_work(mover, inbox, tmp_path, seed):
    wanted, names = make_tree(tmp_path / "src", seed, {f"{n:02}": 50_000 for n in range(30)}), [f"t{n}" for n in range(4)]
    words = ["accept", "--watch", inbox.place, "--to", tmp_path / "arr", "--every", "1s", "--json"]
    for name in names:
        mover("push", tmp_path / "src", "--to", inbox.place, "--as", name, code=0)
    told = []
    with (tmp_path / "one").open("wb") as out, (tmp_path / "two").open("wb") as other:
        with running(mover, *words, out=out) as one, running(mover, *words, out=other) as two:
            until(lambda: all(inbox.names(name) == {RECORD} for name in names), "all are accepted")
            time.sleep(2.5)
            for watcher in (one, two):
                os.killpg(watcher.pid, signal.SIGINT)
                watcher.wait(10)
    for name in ("one", "two"):
        told += map(json.loads, (tmp_path / name).read_text().splitlines())
    totals = [report["totals"] for report in told if "n_refused" in report["totals"]]
    assert sum(total["n_accepted"] for total in totals) == len(names) and not sum(total["n_refused"] for total in totals), told
    assert sorted(os.listdir(tmp_path / "arr")) == names and all(digests(tmp_path / "arr" / name) == wanted for name in names)


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


def test_watch_passes_nothing_over_because_a_record_says_so(mover, inbox, tmp_path, seed):
    """Whoever may only put into an inbox may say of a whole delivery that it was accepted."""
    wanted = make_tree(tmp_path / "src", seed, {"a": 1000, "b/c": 10})
    for name in ("forged", "elsewhere", "kept", "fresh"):
        mover("push", tmp_path / "src", "--to", inbox.place, "--as", name, code=0)
    for name, to in (("forged", tmp_path / "arr/forged"), ("elsewhere", "nowhere")):
        manifest = json.loads(inbox.text(name, MANIFEST))
        inbox.put(name, RECORD, json.dumps({"frazil_accepted": 1, "manifest": manifest, "to": str(to), "cleared": True}))
    mover("accept", f"{inbox.place}/kept", "--to", tmp_path / "arr/kept", "--keep", code=0)
    with (tmp_path / "out").open("wb") as out:
        with running(mover, "accept", "--watch", inbox.place, "--to", tmp_path / "arr", "--every", "1s", out=out):
            until(lambda: (tmp_path / "arr/fresh/a").exists(), "fresh was taken on")
            time.sleep(2.5)
    told = (tmp_path / "out").read_text().splitlines()
    assert sorted(line.split(":")[0] for line in told) == ["elsewhere", "forged", "fresh"], told
    assert all("refused" in line for line in told if not line.startswith("fresh")), told
    assert all(inbox.files(name) == wanted for name in ("forged", "elsewhere", "kept"))
    mover("accept", f"{inbox.place}/forged", "--to", tmp_path / "arr/forged", code=0)
    assert digests(tmp_path / "arr/forged") == wanted


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
    (tmp_path / "there").mkdir()
    os.chmod(tmp_path / "there", 0o777)
    done = as_nobody(mover, "accept", local.folder / "r", "--to", tmp_path / "there/r")
    error = next(line for line in done.stderr.splitlines() if line.startswith("error"))
    assert done.returncode == 1 and str(tmp_path / "there/r") in error and str(local.folder / "r") in error, done
    assert digests(tmp_path / "there/r") == wanted
