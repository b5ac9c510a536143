"""Who may write to a place in a bucket, and how often its server is asked: claims, clocks, requests.

The clock is the server's; ours may say what it likes.
"""

import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest

import ceph
from bucket import Bucket
from command import frazil, start
from make import days, feedstock, make
from passing import door

OTHERS = "frazil claim 1\nplan \nbeat 3\nholder 00ff00ff00ff00ff 77 1234 another-boot pid:[1] elsewhere\n"


@pytest.fixture(scope="module")
def bucket(gateway):
    found = Bucket(gateway, ceph.fresh_bucket(gateway))
    yield found
    ceph.discard(gateway, found.name)


@pytest.fixture
def watched(bucket, gateway):
    """A door to the gateway, and the variables that lead through it."""
    with door(str(gateway)) as found:
        yield found, {**bucket.env, "AWS_ENDPOINT_URL": found.address}


@pytest.fixture
def source(tmp_path):
    return make(tmp_path / "a.nc", days("2001-01-01", 10))


def gone() -> str:
    """The claim of a process of this machine that is over."""
    child = subprocess.Popen(["true"])
    child.wait()
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    host = pathlib.Path("/proc/sys/kernel/hostname").read_text().strip()
    space = os.readlink("/proc/self/ns/pid")
    return f"frazil claim 1\nplan \nbeat 3\nholder 00ff {child.pid} 1 {boot} {space} {host}\n"


def test_a_claim_of_another_machine_is_respected_and_named(bucket, source):
    bucket.put("claimed.zarr/.frazil/lock", OTHERS.encode())
    answer = frazil("convert", source, bucket.place("claimed.zarr"), "--to", "zarr", env=bucket.env)
    assert answer.code == 5 and "elsewhere" in answer.err and bucket.place("claimed.zarr") in answer.err, str(answer)
    assert list(bucket.listed("claimed.zarr")) == [".frazil/lock"]
    assert bucket.get("claimed.zarr/.frazil/lock") == OTHERS.encode()


def test_a_claim_of_a_process_that_is_gone_is_taken_over(bucket, source):
    bucket.put("left.zarr/.frazil/lock", gone().encode())
    answer = frazil("convert", source, bucket.place("left.zarr"), "--to", "zarr", env=bucket.env)
    assert answer.code == 0, str(answer)
    assert ".frazil/lock" not in bucket.listed("left.zarr")


@pytest.mark.parametrize("claim", [OTHERS, "what is this?"])
@pytest.mark.parametrize(("ahead_seconds", "code"), [(0, 5), (540, 5), (660, 0)])
def test_a_claim_is_taken_over_after_ten_minutes_of_the_servers_clock(bucket, source, watched, claim, ahead_seconds, code):
    passing, env = watched
    passing.ahead_seconds = ahead_seconds
    key = f"aged-{ahead_seconds}-{len(claim)}.zarr"
    bucket.put(f"{key}/.frazil/lock", claim.encode())
    answer = frazil("convert", source, bucket.place(key), "--to", "zarr", env=env)
    assert answer.code == code, str(answer)
    assert (".frazil/lock" in bucket.listed(key)) == (code != 0)
    if ahead_seconds == 540 and claim == OTHERS:
        assert "taken over in" in answer.err, str(answer)


def test_parts_share_a_claim_and_others_do_not_come_in(bucket, tmp_path):
    for number in range(6):
        make(tmp_path / f"in-{number}.nc", days(f"2001-01-{1 + 4 * number:02}", 4))
    recipe = feedstock(tmp_path / "f", tmp_path / "in-*.nc", chunks="{time: 1, lat: 2, lon: 3}")
    words = ["build", recipe, "--to", bucket.place("shared.zarr"), "--json"]
    assert frazil(*words, "--plan-only", env=bucket.env).code == 0
    parts = [start([*words, "--part", f"{number}/6"], env=bucket.env, out=subprocess.DEVNULL) for number in range(1, 7)]
    assert [part.wait(timeout=60) for part in parts] == [0] * 6
    assert frazil(*words, "--finish", env=bucket.env).code == 0
    assert ".frazil/lock" not in bucket.listed("shared.zarr")


def test_a_writer_who_lost_its_claim_puts_nothing_more(bucket, tmp_path, soak):
    if not soak:
        pytest.skip("it takes a minute; --soak runs it")
    noise = np.random.default_rng(1).normal(size=(10, 180, 360)).astype("f4")
    lat, lon = np.linspace(-89.5, 89.5, 180), np.arange(360.0)
    for i in range(16):
        make(tmp_path / f"in-{i:02}.nc", [10 * i + d for d in range(10)], lat=lat, lon=lon, stored=noise + i)
    recipe = feedstock(tmp_path / "f", tmp_path / "in-*.nc", chunks="{time: 10, lat: 10, lon: 10}")
    words = ["build", recipe, "--to", bucket.place("lost.zarr"), "--threads", "1", "--json"]
    process = start(words, env=bucket.env, out=subprocess.PIPE, err=subprocess.DEVNULL)
    while process.poll() is None and len(bucket.listed("lost.zarr")) < 20:
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    bucket.put("lost.zarr/.frazil/lock", OTHERS.encode())
    time.sleep(95)
    before = set(bucket.listed("lost.zarr"))
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 5 and b"taken over" in out, out
    assert set(bucket.listed("lost.zarr")) - before == set(), "it went on to write"
    assert bucket.get("lost.zarr/.frazil/lock") == OTHERS.encode()


def test_few_requests_are_asked_and_none_for_each_chunk(bucket, source, watched):
    passing, env = watched
    words = ["convert", source, bucket.place("counted.zarr"), "--to", "zarr", "--chunks", "time=1,lat=2,lon=2"]
    assert frazil(*words, env=env).code == 0
    n_chunks = sum("/c/" in name for name in bucket.listed("counted.zarr"))
    asked = passing.counted()
    assert n_chunks > 60 and asked["PUT"] < n_chunks + 15 and asked["GET"] + asked["HEAD"] < 50, asked
    assert frazil(*words, env=env).code == 0
    asked = passing.counted()
    assert set(asked) <= {"GET", "HEAD"} and asked.total() < 30, f"typed again: {asked}"
    assert frazil("inspect", bucket.place("counted.zarr"), env=env).code == 0
    asked = passing.counted()
    assert asked["HEAD"] == 0 and asked["GET"] < 20, f"inspect: {asked}"
    assert frazil("verify", bucket.place("counted.zarr"), "--subset", "1%", env=env).code == 0
    asked = passing.counted()
    assert asked.total() < 30, f"verify: {asked}"
    assert frazil("verify", bucket.place("counted.zarr"), env=env).code == 0
    assert passing.counted().total() < n_chunks + 30
