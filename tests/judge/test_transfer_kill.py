"""A transfer that is killed at any moment goes on when it is typed again.

After each SIGKILL nothing lies under a final name but right bytes; the second run ends well, sends again no more than was
under way, and leaves no open upload behind. `--soak` kills a hundred times, with 2 GiB and 5,000 files.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

import ceph
import clients
from lying import lying
from moves import differences, digests, make_tree, put_all, put_tree, stored

MIB = 1 << 20
LARGE_BYTES, SOAK_LARGE_BYTES = 96 * MIB, 2048 * MIB
N_SMALL, SOAK_N_SMALL = 150, 5000
N_KILLS, SOAK_N_KILLS = 3, 17
SCENES = ["up", "down", "server-side", "small up", "small down", "small sync"]
# What a request costs here, so that a kill finds something under way.
DELAY_SECONDS = {"up": 0.1, "down": 0.1, "server-side": 0.05}
SMALL_DELAY_SECONDS = 0.01
MAX_SECONDS = 600
# Small files that are under way at most. The server cannot count them: what it has sent may still be on its way to the disk.
FILES_AT_A_TIME = 32
# Bytes that the machine holds between the server and who was killed.
MAX_BUFFERED_BYTES = 8 * MIB


@pytest.fixture(scope="module")
def source(tmp_path_factory, soak, seed):
    """One large file and a folder of small ones, with their digests."""
    folder = tmp_path_factory.mktemp("killed")
    small = {f"{number % 7}/{number:05}": 500 + number % 3000 for number in range(SOAK_N_SMALL if soak else N_SMALL)}
    large = make_tree(folder / "large", seed, {"file": 0})
    choices = random.Random(seed)
    with (folder / "large/file").open("wb") as file:
        for _ in range((SOAK_LARGE_BYTES if soak else LARGE_BYTES) // MIB):
            file.write(choices.randbytes(MIB))
        file.write(b"the end")
    large = digests(folder / "large")
    return folder, large, make_tree(folder / "small", seed, small)


class Scene:
    """A command through a proxy that counts, and what is there."""

    def __init__(self, kind, mover, gateway, bucket, source, folder):
        self.kind, self.mover, self.gateway, self.bucket, self.folder = kind, mover, gateway, bucket, folder
        self.is_small = kind.startswith("small")
        self.tree = source[0] / ("small" if self.is_small else "large")
        self.goes_down = kind.endswith("down")
        self.wanted = source[2 if self.is_small else 1]
        if self.is_small and not self.goes_down:
            self.wanted = {name: hashlib.md5((self.tree / name).read_bytes()).hexdigest() for name in self.wanted}
        if (self.goes_down or kind == "server-side") and not ceph.objects(gateway, bucket, "source/"):
            if self.is_small:
                put_tree(gateway, bucket, "source/", self.tree)
            else:
                gateway.client().upload_file(str(self.tree / "file"), bucket, "source/file")

    def words(self, number):
        there = f"s3://{self.bucket}/{number}"
        if self.kind == "small sync":
            return ["sync", self.tree, there, "--json"]
        if self.is_small:
            return ["cp", f"s3://{self.bucket}/source/", self.folder / str(number), "--json"] if self.goes_down else ["cp", self.tree, there, "--json"]
        if self.goes_down:
            return ["cp", f"s3://{self.bucket}/source/file", self.folder / str(number) / "file", "--json"]
        return ["cp", self.tree / "file" if self.kind == "up" else f"s3://{self.bucket}/source/file", f"{there}/file", "--json"]

    def there(self, number) -> dict[str, str]:
        if self.goes_down:
            return digests(self.folder / str(number))
        if not self.is_small:
            return stored(self.gateway, self.bucket, f"{number}/")
        # Thousands of objects, each put in one piece: the tag is the MD5 that Ceph made of what it has.
        start = f"{number}/"
        return {key.removeprefix(start): tag for key, (_, tag) in ceph.objects(self.gateway, self.bucket, start).items()}

    def lying(self):
        return lying(self.gateway, delay_seconds=SMALL_DELAY_SECONDS if self.is_small else DELAY_SECONDS[self.kind])

    def killed(self, number, seconds=None, at=None):
        """Runs it and kills it after `seconds`, or `at` a kind of request and a moment of it. Answers the counter."""
        with self.lying() as liar:
            self.mover.address = liar.address
            process = self.mover.start(*self.words(number), out=subprocess.DEVNULL, err=subprocess.DEVNULL)

            def kill(*_):
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

            if at is not None:
                liar.watch = lambda asked, moment: kill() if (asked.kind, moment) == at else None
                process.wait(MAX_SECONDS)
            else:
                time.sleep(seconds)
                kill()
                process.wait()
            # What was under way comes to its end upstream.
            time.sleep(0.3)
        return liar

    def again(self, number, first) -> list[str]:
        """What is wrong after a kill, and after the run that should go on."""
        found = self.there(number)
        wrong = [f"after the kill: {line}" for line in differences(self.wanted, found, may_lack=True, unfinished=True)]
        with self.lying() as liar:
            self.mover.address = liar.address
            answer = self.mover(*self.words(number), timeout=MAX_SECONDS)
        if answer.code != 0:
            wrong.append(f"typed again: {answer}")
        wrong += differences(self.wanted, self.there(number))
        if open_ := ceph.open_uploads(self.gateway, self.bucket):
            wrong.append(f"open uploads: {open_}")
        return wrong + self.sent_twice(first, liar)

    def sent_twice(self, first, second) -> list[str]:
        """Whether more was moved again than was under way when it was killed."""
        kinds = ("get",) if self.goes_down else ("put", "part")
        if self.kind == "server-side":
            return []
        if self.is_small:
            done = {asked.key for asked in first.of_kind(*kinds) if asked.status in (200, 206) and asked.ended}
            again = done & {asked.key for asked in second.of_kind(*kinds)}
            return [f"{len(again)} files moved again, {FILES_AT_A_TIME} are under way at most"] * (len(again) > FILES_AT_A_TIME)
        size = (self.tree / "file").stat().st_size
        moved = [asked for asked in first.of_kind(*kinds) if asked.status in (200, 206)]
        count = (lambda asked: asked.got_bytes) if self.goes_down else (lambda asked: asked.sent_bytes)
        n_bytes = sum(map(count, moved)) + sum(count(asked) for asked in second.of_kind(*kinds) if asked.status in (200, 206))
        window = (first.most_in_flight(*kinds) + 1) * max(map(count, moved), default=0) + MAX_BUFFERED_BYTES * self.goes_down
        return [f"{(n_bytes - size) / MIB:.0f} MiB moved again; what was under way is {window / MIB:.0f} MiB"] * (n_bytes - size > window)


@pytest.fixture
def scene_of(mover, gateway, bucket, source, tmp_path):
    clients.needs("cp", "sync")
    return lambda kind: Scene(kind, mover, gateway, bucket, source, tmp_path)


@pytest.mark.parametrize("kind", SCENES)
def test_killed_at_a_random_moment_it_goes_on(scene_of, soak, seed, kind):
    scene, choices = scene_of(kind), random.Random(f"{seed} {kind}")
    with scene.lying() as liar:
        scene.mover.address = liar.address
        answer = scene.mover(*scene.words("undisturbed"), code=0, timeout=MAX_SECONDS)
    assert differences(scene.wanted, scene.there("undisturbed")) == []
    for number in range(SOAK_N_KILLS if soak else N_KILLS):
        seconds = choices.uniform(0.05, answer.seconds)
        first = scene.killed(number, seconds=seconds)
        wrong = scene.again(number, first)
        assert wrong == [], "\n".join([f"{kind}, killed after {seconds:.2f} of {answer.seconds:.2f} s:", *map(str, wrong), str(first)])
        shutil.rmtree(scene.folder / str(number), ignore_errors=True)
        ceph.remove(scene.gateway, scene.bucket, f"{number}/")


@pytest.mark.parametrize("kind,request_kind,moment", [
    ("up", "initiate", "after"), ("up", "part", "after"), ("up", "complete", "before"), ("up", "complete", "after"),
    ("server-side", "copy part", "after"), ("server-side", "complete", "before"), ("server-side", "complete", "after"), ("server-side", "copy", "after"),
])
def test_killed_at_a_chosen_request_it_goes_on(scene_of, kind, request_kind, moment):
    scene = scene_of(kind)
    first = scene.killed("chosen", at=(request_kind, moment))
    if not first.of_kind(request_kind):
        pytest.skip(f"it does not ask so: there was no `{request_kind}`")
    wrong = scene.again("chosen", first)
    assert wrong == [], "\n".join([*map(str, wrong), str(first)])


def test_an_interrupt_says_how_to_go_on_and_leaves_nothing_open_after_it(scene_of):
    """SIGINT, as by Ctrl-C: soon, with 130, and the run that follows finds its way."""
    scene = scene_of("up")
    with scene.lying() as liar:
        liar.delay_seconds = 0.5
        scene.mover.address = liar.address
        process = scene.mover.start(*scene.words("interrupted"), out=subprocess.PIPE, err=subprocess.PIPE)
        until = time.monotonic() + 30
        while not liar.of_kind("part", "put") and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        asked = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - asked <= 5, "it does not stop"
    assert process.returncode == 130 and b"frazil cp" in out + err, (process.returncode, out, err)
    assert scene.again("interrupted", liar) == []


def test_what_somebody_else_began_is_left_alone(scene_of, gateway, bucket):
    """An upload that another program has open, under keys that are not ours, is not ours to end."""
    scene, client = scene_of("up"), gateway.client()
    strangers = {client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in ("strange", "mine", "mine/file2", "mine/other")}
    scene.mover.address = str(gateway)
    scene.mover(*scene.words("mine"), code=0, timeout=MAX_SECONDS)
    assert {name for _, name in ceph.open_uploads(gateway, bucket)} == strangers
    assert differences(scene.wanted, scene.there("mine")) == []


def test_a_source_that_changed_in_between_is_not_pieced_together(scene_of, gateway, bucket, tmp_path):
    """Killed in the middle; the file is another when it goes on: the object is the new file, whole."""
    scene = scene_of("up")
    changing = tmp_path / "changing"
    shutil.copytree(scene.tree, changing)
    scene.tree = changing
    scene.killed("changed", at=("part", "after"))
    with (changing / "file").open("r+b") as file:
        file.write(bytes(MIB))
    os.utime(changing / "file", (1, 1))
    scene.mover.address = str(gateway)
    scene.mover(*scene.words("changed"), code=0, timeout=MAX_SECONDS)
    assert scene.there("changed") == digests(changing) and ceph.open_uploads(gateway, bucket) == []


def test_an_object_that_changed_in_between_is_not_pieced_together(scene_of, gateway, bucket, tmp_path):
    scene = scene_of("down")
    with (scene.tree / "file").open("rb") as file:
        old = file.read(LARGE_BYTES)
    put_all(gateway, bucket, {"moving/file": old})
    with scene.lying() as liar:
        scene.mover.address = liar.address
        dest = tmp_path / "dest/file"
        process = scene.mover.start("cp", f"s3://{bucket}/moving/file", dest, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while not liar.of_kind("get") and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    new = bytes(3 * MIB) + old[3 * MIB :]
    put_all(gateway, bucket, {"moving/file": new})
    scene.mover.address = str(gateway)
    # A whole old file may lie there, which is then not overwritten unasked.
    scene.mover("cp", f"s3://{bucket}/moving/file", dest, "--overwrite", code=0, timeout=MAX_SECONDS)
    assert dest.read_bytes() == new
    assert set(digests(dest.parent)) == {"file"}, "something unfinished stays"
