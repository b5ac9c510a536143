"""Kills a build or an extend at a chosen instant or at a chosen syscall, looks with a reader's eyes, and runs it again.

It promises that after each kill a reader saw the old dataset or the new one, that the second run ended with the bytes
of an undisturbed run, and that nothing else lies around. It does not know how frazil writes, only what it leaves.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import numpy as np

from command import Answer, frazil, start
from make import LAT, LON, counter, days, feedstock, make
from verdicts import is_visible, opens, tree, tree_differences

# Every syscall by which a program changes what is on the disk.
CHANGES = (
    "write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,fsync,fdatasync,sync_file_range,rename,renameat,"
    "renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlinkat,ftruncate,truncate,fallocate"
)
FIRST_POINTS = 300
# Where syscalls are counted, no run may know from an earlier one what it need not read.
FORGETFUL = {"FRAZIL_CACHE": ""}


@dataclasses.dataclass
class Scene:
    """A command, the state it starts from, and what an undisturbed run of it leaves."""

    words: list
    start_folder: pathlib.Path
    old: dict | None
    new: dict
    new_tree: dict
    seconds: float

    def fresh(self, folder: pathlib.Path) -> pathlib.Path:
        """The state before the command, at a place of its own. The store is `folder/store.zarr`."""
        shutil.copytree(self.start_folder, folder, symlinks=True)
        return folder / "store.zarr"

    def command(self, store) -> list:
        return [str(store) if word == "STORE" else str(word) for word in self.words]

    def is_not_whole(self, store) -> list[str]:
        return tree_differences(self.new_tree, tree(store))


def view(store) -> dict | None:
    """What a reader sees: nothing, or each variable's bytes."""
    # Stock readers of v2 look for `.zgroup` first; without it there is nothing to see.
    store = pathlib.Path(store)
    is_half_v2 = (store / ".zmetadata").exists() and not (store / ".zgroup").exists()
    return opens(store) if is_visible(store) and not is_half_v2 else None


def conversion(folder, pattern: str, zarr_format=3, threads="2", chunks="time=10,lat=2,lon=3", *flags) -> list:
    """The words of a `frazil convert` of the files in `folder`, as they are when it is called."""
    sources = sorted(pathlib.Path(folder).glob(pattern))
    return ["convert", *sources, "STORE", "--to", "zarr", "--zarr-format", zarr_format, "--chunks", chunks, "--threads", threads, "--json", *flags]


def scene(folder, kind: str, zarr_format=3, n_days=31, threads="2") -> Scene:
    """`build`: from nothing. `extend`: 28 days after 31 in chunks of 10. `shards`: the same in shards that are not
    full. `replace`: another series in its place.
    `convert` and `overwrite` are `build` and `replace` without a recipe."""
    folder = pathlib.Path(folder)
    before = folder / "before"
    before.mkdir(parents=True)
    # In shards, values too many to be loaded along with the structure: the chunk at the edge is read from the store.
    grid = {"lat": np.linspace(-45, 45, 40), "lon": np.arange(60) * 6.0} if kind == "shards" else {"lat": LAT, "lon": LON}
    form = {"zlib": True, "chunksizes": (1, len(grid["lat"]), len(grid["lon"])), **grid}
    first = make(folder / "in-01.nc", days("2000-01-01", n_days), **form)
    if kind in ("convert", "overwrite"):
        old = None
        if kind == "overwrite":
            words = conversion(folder, "in-*.nc", zarr_format, threads)
            answer = frazil(*[before / "store.zarr" if word == "STORE" else word for word in words])
            assert answer.code == 0, str(answer)
            old = view(before / "store.zarr")
        make(folder / "other-01.nc", days("2001-01-01", n_days), zlib=True, stored=counter((n_days, 4, 6), 9))
        make(folder / "other-02.nc", days("2001-02-01", 28), zlib=True)
        words = conversion(folder, "other-*.nc", zarr_format, threads, "time=10,lat=2,lon=3", *["--overwrite"] * (old is not None))
        return undisturbed(Scene(words, before, old, {}, {}, 0.0), folder)
    mode = "extend" if kind in ("extend", "shards") else "create"
    cuts = {"chunks": "{time: 10, lat: 20, lon: 30}", "write": "shards: {time: 40, lat: 40, lon: 60}"} if kind == "shards" else {}
    build = feedstock(folder / "f", folder / "in-*.nc", zarr_format=zarr_format, mode=mode, **cuts)
    words = ["build", build, "--to", "STORE", "--threads", threads, "--json"]
    if kind in ("extend", "shards", "replace"):
        answer = frazil(*[before / "store.zarr" if word == "STORE" else word for word in words])
        assert answer.code == 0, str(answer)
    old = view(before / "store.zarr")
    if kind == "replace":
        make(folder / "other-01.nc", days("2001-01-01", n_days), zlib=True, stored=counter((n_days, 4, 6), 9))
        words[1] = feedstock(folder / "g", folder / "other-*.nc", zarr_format=zarr_format, mode="replace")
    else:
        make(folder / "in-02.nc", days("2000-02-01", 28), **form)
    assert first.exists()
    return undisturbed(Scene(words, before, old, {}, {}, 0.0), folder)


def undisturbed(made: Scene, folder: pathlib.Path) -> Scene:
    """Runs the command once in peace and notes what it leaves."""
    store = made.fresh(folder / "undisturbed")
    answer = frazil(*made.command(store))
    assert answer.code == 0, str(answer)
    made.new, made.new_tree, made.seconds = view(store), tree(store), answer.seconds
    assert made.new is not None, "the undisturbed run left nothing to open"
    assert made.new != made.old, "the scene changes nothing, so it can show nothing"
    return made


def strays(store: pathlib.Path) -> list[str]:
    """What lies beside the store and should not."""
    return sorted(path.name for path in store.parent.iterdir() if path != store)


def faults_after(scene: Scene, store: pathlib.Path, allow_none=False) -> list[str]:
    """What is wrong after a run that was disturbed, and after the run that should mend it."""
    if hasattr(scene, "faults_after"):
        return scene.faults_after(store)
    wrong = []
    try:
        seen = view(store)
        if seen != scene.new and seen != scene.old and not (allow_none and seen is None):
            wrong.append(f"a reader sees {'nothing' if seen is None else 'a mixture'}")
    except AssertionError as error:
        wrong.append(f"a reader cannot open the store: {str(error)[:300]}")
    answer = frazil(*scene.command(store))
    if answer.code != 0:
        return [*wrong, f"the command typed again: {answer}"]
    different = tree_differences(scene.new_tree, tree(store))
    wrong += different[:5]
    wrong += [f"beside the store: {name}" for name in strays(store)]
    return wrong


def killed_after(scene: Scene, seconds: float) -> list[str]:
    """SIGKILL to the whole process group after `seconds`."""
    with tempfile.TemporaryDirectory(prefix="frazil-kill-") as folder:
        store = scene.fresh(pathlib.Path(folder) / "k")
        process = start(scene.command(store), out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(seconds)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        return faults_after(scene, store)


def injected(scene: Scene, store, syscall: str, k: int, what: str, only=()) -> Answer:
    """Runs the command; strace does `what` at the k-th `syscall` of any thread, of those on the files `only`."""
    flags = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={syscall}", "-e", f"inject={syscall}:{what}:when={k}"]
    flags += [word for path in only for word in ("-P", path)]
    return frazil(*scene.command(store), before=flags, env=FORGETFUL)


def crash_points(scene: Scene) -> list[tuple[str, int]]:
    """The syscalls of an undisturbed run that change something: (name, how many of that name in its thread so far)."""
    return points_of(traced(scene, CHANGES))


def read_points(scene: Scene) -> list[tuple[str, int]]:
    """The syscalls by which an undisturbed run reads its sources."""
    return points_of(traced(scene, "read,pread64,readv,preadv,preadv2", sources(scene)))


def sources(scene: Scene) -> list[pathlib.Path]:
    return sorted(scene.start_folder.parent.glob("*.nc"))


def traced(scene: Scene, syscalls: str, only=()) -> str:
    """What strace writes about these syscalls of an undisturbed run, of those on the files `only`."""
    with tempfile.TemporaryDirectory(prefix="frazil-points-") as folder:
        return trace(scene, scene.fresh(pathlib.Path(folder).resolve() / "k"), syscalls, only)


def trace(scene: Scene, store: pathlib.Path, syscalls: str, only=()) -> str:
    """Runs the command on `store` and answers what strace writes about these syscalls."""
    with tempfile.TemporaryDirectory(prefix="frazil-trace-") as folder:
        log = pathlib.Path(folder) / "strace"
        answer = frazil(*scene.command(store), before=[
            "strace", "-f", "-y", "-s", "4096", "-o", log, "-e", f"trace={syscalls}", *(word for path in only for word in ("-P", path)),
        ], env=FORGETFUL)
        assert answer.code == 0, str(answer)
        return log.read_text(errors="replace")


def points_of(log: str, only: str = "") -> list[tuple[str, int]]:
    counts, points = {}, []
    for line in log.splitlines():
        match = re.match(r"(\d+)\s+(\w+)\((\S*)", line)
        if not match:
            continue
        thread, name, argument = match.groups()
        counts[thread, name] = counts.get((thread, name), 0) + 1
        # Talk to the terminal and between threads changes nothing on the disk.
        if re.match(r"(1|2)<|\d+<(pipe|anon_inode|socket|/dev/)", argument) or not re.match(only, argument):
            continue
        point = (name, counts[thread, name])
        if point not in points:
            points.append(point)
    return points


def killed_at(scene: Scene, syscall: str, k: int) -> list[str]:
    """SIGKILL as the k-th `syscall` begins."""
    with tempfile.TemporaryDirectory(prefix="frazil-kill-") as folder:
        store = scene.fresh(pathlib.Path(folder) / "k")
        injected(scene, store, syscall, k, "signal=SIGKILL")
        return faults_after(scene, store)


def failed_at(scene: Scene, syscall: str, k: int, error: str) -> list[str]:
    """The k-th `syscall` answers `error`: the run must say so, or get round it without harm."""
    with tempfile.TemporaryDirectory(prefix="frazil-fail-") as folder:
        store = scene.fresh(pathlib.Path(folder) / "k")
        answer = injected(scene, store, syscall, k, f"error={error}")
        wrong = []
        if answer.crash():
            wrong.append(str(answer))
        elif answer.code == 0 and scene.is_not_whole(store):
            wrong.append(f"exit 0, and the store is not whole: {scene.is_not_whole(store)[:3]}")
        elif answer.code != 0 and not (answer.report or {}).get("error") and answer.err.count("error:") == 0:
            wrong.append(f"failed without a word\n{answer}")
        return wrong + faults_after(scene, store)
