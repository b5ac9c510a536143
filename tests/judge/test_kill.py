"""Old or new, never half: kills, interrupts, full disks and bad disks. CI runs a seeded sample, `--soak` everything.

A failure names the instant or the syscall; `kill.killed_at(scene, NAME, K)` repeats it.
"""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import numpy as np
import pytest

import power
from command import frazil, start
from kill import (
    FIRST_POINTS, Scene, conversion, crash_points, failed_at, faults_after, injected, killed_after, killed_at, read_points, scene, sources,
    strays, trace, undisturbed, view,
)
from make import feedstock, make
from verdicts import tree, tree_differences

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
SCENES = [
    ("build", 3), ("extend", 3), ("replace", 3), ("extend", 2), ("convert", 3), ("convert", 2), ("overwrite", 3), ("overwrite", 2),
    ("shards", 3),
]


@pytest.fixture(scope="session", params=SCENES, ids=lambda param: f"{param[0]}-v{param[1]}")
def small(request, tmp_path_factory):
    kind, zarr_format = request.param
    return scene(tmp_path_factory.mktemp(kind), kind, zarr_format, threads="1")


@pytest.fixture(scope="session")
def points(small):
    return crash_points(small)


@pytest.fixture(scope="session", params=["build", "convert"])
def large(request, tmp_path_factory):
    """A run that takes long enough to be met in the middle: 60 MB of noise from 12 files."""
    folder = tmp_path_factory.mktemp("large")
    noise = np.random.default_rng(1).normal(size=(10, 180, 360)).astype("f4")
    lat, lon = np.linspace(-89.5, 89.5, 180), np.arange(360.0)
    for i in range(12):
        make(folder / f"in-{i:02}.nc", [10 * i + d for d in range(10)], lat=lat, lon=lon, stored=noise + i, zlib=True, complevel=1, chunksizes=(1, 180, 360))
    before = folder / "before"
    before.mkdir()
    recipe = feedstock(folder / "f", folder / "in-*.nc", chunks="{time: 120, lat: 20, lon: 20}")
    words = ["build", recipe, "--to", "STORE", "--threads", "1", "--json"]
    if request.param == "convert":
        words = conversion(folder, "in-*.nc", 3, "1", "time=120,lat=20,lon=20")
    return undisturbed(Scene(words, before, None, {}, {}, 0.0), folder)


def test_a_kill_at_any_instant_leaves_old_or_new(small, soak, seed):
    chance = random.Random(seed)
    for i in range(200 if soak else 8):
        seconds = chance.uniform(0, small.seconds * 1.05)
        wrong = killed_after(small, seconds)
        assert not wrong, f"kill {i} after {seconds:.4f} s (seed {seed}): " + "\n".join(wrong)


@needs_strace
def test_a_kill_at_any_syscall_leaves_old_or_new(small, points, soak):
    assert len(points) > 10, f"only {points} change the disk: that cannot be all"
    # The last ones publish; they are always looked at.
    chosen = points[:FIRST_POINTS] + points[-20:] if soak else points[::23] + points[-6:]
    for syscall, k in dict.fromkeys(chosen):
        wrong = killed_at(small, syscall, k)
        assert not wrong, f"killed at {syscall} number {k}: " + "\n".join(wrong)


@needs_strace
def test_a_power_cut_finds_all_safe_before_it_is_shown(small, tmp_path):
    store = small.fresh(tmp_path.resolve() / "k")
    wrong = power.faults(trace(small, store, power.CALLS), store)
    assert not wrong, "\n".join(wrong)


@needs_strace
def test_a_power_cut_after_a_resumed_run_finds_all_safe(large, tmp_path):
    store = large.fresh(tmp_path.resolve() / "k")
    process = start(large.command(store), out=subprocess.DEVNULL, err=subprocess.DEVNULL)
    time.sleep(large.seconds / 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if view(store) is not None:
        pytest.skip("it was done before it could be killed")
    before = {str(path.parent) for path in store.rglob("*") if path.is_file() and ".frazil" not in path.parts}
    log = trace(large, store, power.CALLS)
    calls = power.calls(log)
    shown = next(call for call in calls if call.name.startswith("rename") and call.paths[1] == str(store / "zarr.json"))
    synced = {call.paths[0] for call in calls if "sync" in call.name}
    # What the run that was killed had put is covered by a syncfs too, if it comes before the store is shown.
    synced |= before if any(call.name == "syncfs" and call.end < shown.start for call in calls) else set()
    lost = [*power.faults(log, store), *(f"{path} was not synced by the run that showed it" for path in before - synced)]
    assert not lost, "\n".join(lost)


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_of_the_disk_is_told_and_leaves_old_or_new(small, points, soak, error):
    chosen = points[:FIRST_POINTS] if soak else points[5::53] + points[-4:]
    for syscall, k in dict.fromkeys(chosen):
        wrong = failed_at(small, syscall, k, error)
        assert not wrong, f"{error} at {syscall} number {k}: " + "\n".join(wrong)


@needs_strace
def test_a_disk_that_cannot_be_read_is_named(small, tmp_path):
    points = read_points(small)
    assert points, "the sources are not read by any syscall that was traced"
    for i, (syscall, k) in enumerate([points[0], points[len(points) // 2], points[-1]]):
        store = small.fresh(tmp_path / str(i))
        answer = injected(small, store, syscall, k, "error=EIO", sources(small))
        assert answer.crash() is None, str(answer)
        if answer.code != 0:
            assert ".nc" in answer.text, f"the file is not named\n{answer}"
        wrong = faults_after(small, store)
        assert not wrong, f"EIO at {syscall} number {k}: " + "\n".join(wrong)


def test_a_kill_in_the_middle_of_a_long_build_is_resumed(large, soak, seed):
    chance = random.Random(seed)
    for _ in range(40 if soak else 3):
        seconds = chance.uniform(0.1, 0.98) * large.seconds
        wrong = killed_after(large, seconds)
        assert not wrong, f"killed after {seconds:.3f} of {large.seconds:.3f} s: " + "\n".join(wrong)


def test_many_kills_in_a_row_still_end_in_the_same_bytes(large, tmp_path):
    store = large.fresh(tmp_path / "k")
    for _ in range(6):
        process = start(large.command(store), out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(large.seconds / 4)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    wrong = faults_after(large, store)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupt_ends_within_two_seconds_and_says_how_to_resume(large, tmp_path, soak, number):
    interrupted = 0
    n_times = 25 if soak else 4
    for i in range(n_times):
        store = large.fresh(tmp_path / str(i))
        with tempfile.TemporaryFile() as err:
            process = start(large.command(store), out=err, err=err)
            time.sleep(large.seconds * (i + 0.5) / (n_times + 1))
            process.send_signal(number)
            asked = time.monotonic()
            code = process.wait(timeout=20)
            seconds = time.monotonic() - asked
            err.seek(0)
            words = err.read().decode("utf-8", "replace")
        assert seconds <= 2, f"it took {seconds:.1f} s to end"
        assert code in (0, 130), f"exit {code}\n{words}"
        if code == 130:
            interrupted += 1
            assert f"frazil {large.words[0]} {large.words[1]}" in words and str(store) in words, f"no command to resume:\n{words}"
        wrong = faults_after(large, store)
        assert not wrong, "\n".join(wrong)
    assert interrupted, "no interrupt met the build in the middle"


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many kilobytes and answers where it is; skips where that is not allowed."""
    mounted = []

    def mount(n_kilobytes):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_kilobytes}k", "tmpfs", place], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"a small file system cannot be made here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=False)


def test_a_full_disk_is_told_and_the_build_resumes_when_there_is_room(large, small_disk, soak):
    total = sum(path.stat().st_size for path in (large.start_folder.parent / "undisturbed").rglob("*") if path.is_file())
    parts = [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.995] if soak else [0.02, 0.5, 0.97]
    for part in parts:
        disk = small_disk(max(64, int(total * part / 1024)))
        store = large.fresh(disk / "k")
        answer = frazil(*large.command(store))
        assert answer.crash() is None and answer.code != 0, f"with {part} of the room it needs: {answer}"
        assert "space" in answer.text.lower(), f"the full disk is not named\n{answer}"
        assert view(store) is None
        subprocess.run(["mount", "-o", f"remount,size={int(total * 3 / 1024) + 4096}k", disk], check=True)
        wrong = faults_after(large, store)
        assert not wrong, f"with {part} of the room: " + "\n".join(wrong)


def test_a_folder_that_cannot_be_written_is_named(small, small_disk):
    disk = small_disk(4096)
    store = small.fresh(disk / "k")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    answer = frazil(*small.command(store))
    assert answer.crash() is None and answer.code != 0, str(answer)
    assert "store.zarr" in answer.text and "read-only" in answer.text.lower(), str(answer)
    assert view(store) == small.old


def test_two_writers_of_one_store_are_kept_apart(large, tmp_path, soak):
    for i in range(8 if soak else 3):
        store = large.fresh(tmp_path / str(i))
        with tempfile.TemporaryFile("w+") as out:
            writers = [start(large.command(store), out=out, err=out) for _ in range(3)]
            codes = sorted(writer.wait(timeout=120) for writer in writers)
            out.seek(0)
            words = out.read()
        assert codes[0] == 0, words
        assert set(codes) <= {0, 1, 5}, f"exits {codes}\n{words}"
        if codes[-1] != 0:
            assert "writ" in words or "lock" in words or "another" in words, words
        wrong = tree_differences(large.new_tree, tree(store)) + strays(store)
        assert not wrong, f"two writers, exits {codes}: {wrong[:5]}"


def test_a_reader_never_sees_a_mixture_while_an_extend_runs(tmp_path, soak):
    made = scene(tmp_path / "s", "extend")
    for i in range(20 if soak else 3):
        store = made.fresh(tmp_path / str(i))
        runs = []
        writer = threading.Thread(target=lambda: runs.append(frazil(*made.command(store))))
        writer.start()
        seen = []
        while writer.is_alive():
            seen.append(view(pathlib.Path(store)))
        writer.join()
        assert runs[0].code == 0, str(runs[0])
        assert all(found in (made.old, made.new) for found in seen), "a reader saw a mixture"
