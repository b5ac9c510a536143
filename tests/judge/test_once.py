"""Twice is once; any number of threads, any memory, any parts: the same bytes."""

import os
import random
import signal
import subprocess
import tempfile
import time

import netCDF4
import numpy as np
import pytest

from command import frazil, start
from kill import scene
from make import days, feedstock, make
from verdicts import assert_equal, convert, is_visible, stamps, tree, tree_differences


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    packing = {"dtype": "i2", "packing": {"scale_factor": 0.5, "add_offset": 100.0}, "fill": -32768}
    firsts = ["2000-01-01", "2000-01-21", "2000-02-10", "2000-03-01"]
    return [make(folder / f"in-{i}.nc", days(first, 20), zlib=True, chunksizes=(3, 2, 4), **packing) for i, first in enumerate(firsts)]


@pytest.fixture(scope="module")
def recipe(sources, tmp_path_factory):
    return feedstock(tmp_path_factory.mktemp("f"), sources[0].parent / "in-*.nc", chunks="{time: 7, lat: 3, lon: 2}")


@pytest.fixture(scope="module")
def whole(recipe, sources, tmp_path_factory):
    """The tree that one process leaves."""
    dest = tmp_path_factory.mktemp("whole") / "z"
    assert_equal(frazil("build", recipe, "--to", dest, "--json"), sources, dest)
    return tree(dest)


@pytest.mark.parametrize("flags", [("--threads", "1"), ("--threads", "2"), ("--threads", "7"), ("--memory", "64MB"), ("--memory", "2GB")], ids=" ".join)
def test_threads_and_memory_do_not_change_a_byte(recipe, whole, tmp_path, flags):
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json", *flags)
    assert answer.code == 0, str(answer)
    assert not tree_differences(whole, tree(tmp_path / "z"))


def test_a_touched_source_does_not_change_a_byte(recipe, sources, whole, tmp_path):
    os.utime(sources[1], (1e9, 1e9))
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
    assert answer.code == 0, str(answer)
    assert not tree_differences(whole, tree(tmp_path / "z"))


@pytest.mark.parametrize("kind", ["build", "extend", "replace"])
def test_a_second_build_writes_nothing(tmp_path, kind):
    made = scene(tmp_path, kind)
    store = tmp_path / "undisturbed" / "store.zarr"
    before = stamps(store.parent)
    answer = frazil(*made.command(store))
    assert answer.code == 0, str(answer)
    assert stamps(store.parent) == before


def test_a_second_build_with_computed_variables_writes_nothing(tmp_path):
    for i, first in enumerate(["2000-01-01", "2000-01-11"]):
        make(tmp_path / f"in-{i}.nc", days(first, 10), lat=np.arange(40.0), lon=np.arange(60.0))
    recipe = feedstock(tmp_path / "f", tmp_path / "in-*.nc", each="each: [{calc: {double: 'sst * 2'}}]\n")
    assert frazil("build", recipe, "--to", tmp_path / "z", "--json").code == 0
    before = stamps(tmp_path / "z")
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
    assert answer.code == 0, str(answer)
    assert stamps(tmp_path / "z") == before


@pytest.mark.parametrize("zarr_format", ["2", "3"])
def test_a_second_convert_writes_nothing(sources, tmp_path, zarr_format):
    words = ["convert", *sources, tmp_path / "z", "--to", "zarr", "--zarr-format", zarr_format, "--json"]
    assert frazil(*words).code == 0
    before = stamps(tmp_path / "z")
    answer = frazil(*words)
    assert answer.code == 0, str(answer)
    assert stamps(tmp_path / "z") == before


def test_a_dry_run_writes_nothing(recipe, tmp_path):
    answer = frazil("build", recipe, "--to", tmp_path / "z", "-n", "--json")
    assert answer.code == 0 and answer.report["dry_run"] is True, str(answer)
    assert list(tmp_path.iterdir()) == []


def planned(recipe, dest):
    answer = frazil("build", recipe, "--to", dest, "--plan-only", "--json")
    assert answer.code == 0, str(answer)
    assert not is_visible(dest), "a plan is not a dataset"


@pytest.mark.parametrize("order", [[1], [2, 1], [3, 1, 2], [5, 2, 4, 1, 3]], ids=str)
def test_parts_in_any_order_give_the_bytes_of_one_process(recipe, whole, tmp_path, order):
    dest = tmp_path / "z"
    planned(recipe, dest)
    for part in order:
        answer = frazil("build", recipe, "--to", dest, "--part", f"{part}/{len(order)}", "--json")
        assert answer.code == 0, str(answer)
        assert not is_visible(dest), "visible before it is finished"
    answer = frazil("build", recipe, "--to", dest, "--finish", "--json")
    assert answer.code == 0, str(answer)
    assert not tree_differences(whole, tree(dest))


def test_parts_at_the_same_time_and_killed_ones_give_the_bytes_of_one_process(recipe, whole, tmp_path, soak, seed):
    chance = random.Random(seed)
    for i in range(20 if soak else 3):
        dest = tmp_path / str(i) / "z"
        dest.parent.mkdir()
        planned(recipe, dest)
        words = [["build", recipe, "--to", dest, "--part", f"{part}/3", "--json"] for part in (2, 3, 1)]
        running = [start(w, out=subprocess.DEVNULL, err=subprocess.DEVNULL) for w in words]
        time.sleep(chance.uniform(0, 0.05))
        try:
            os.killpg(running[i % 3].pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        codes = [process.wait(timeout=60) for process in running]
        assert all(code in (0, -signal.SIGKILL) for code in codes), codes
        for w in words:
            answer = frazil(*w)
            assert answer.code == 0, str(answer)
        answer = frazil("build", recipe, "--to", dest, "--finish", "--json")
        assert answer.code == 0, str(answer)
        assert not tree_differences(whole, tree(dest))


def test_an_absent_part_cannot_be_finished(recipe, tmp_path):
    dest = tmp_path / "z"
    planned(recipe, dest)
    assert frazil("build", recipe, "--to", dest, "--part", "1/3", "--json").code == 0
    answer = frazil("build", recipe, "--to", dest, "--finish", "--json")
    assert answer.crash() is None and answer.code in (1, 3), str(answer)
    assert not is_visible(dest)


def test_a_source_that_changed_after_the_plan_is_refused(tmp_path):
    for i, first in enumerate(["2000-01-01", "2000-01-11"]):
        make(tmp_path / f"in-{i}.nc", days(first, 10), zlib=True)
    recipe = feedstock(tmp_path / "f", tmp_path / "in-*.nc")
    planned(recipe, tmp_path / "z")
    make(tmp_path / "in-1.nc", days("2000-01-11", 10), zlib=True, stored=np.ones((10, 4, 6)))
    answers = [frazil("build", recipe, "--to", tmp_path / "z", "--part", f"{part}/2", "--json") for part in (1, 2)]
    answers.append(frazil("build", recipe, "--to", tmp_path / "z", "--finish", "--json"))
    assert any(answer.code == 1 and "in-1.nc" in answer.text and "chang" in answer.text for answer in answers), str(answers[-1])
    assert not is_visible(tmp_path / "z")


# What earlier runs noted about files in the user's cache saves work and decides nothing.

def series(folder, n=3):
    """Files of many values, so that these are not loaded along with the structure, of a while ago."""
    folder.mkdir()
    for i in range(n):
        make(folder / f"in-{i}.nc", days(f"200{i}-01-01", 20), lat=np.arange(60.0), lon=np.arange(80.0))
    # Times are relied on once they are older than the coarsest tick of any file system.
    time.sleep(2.1)
    return sorted(folder.iterdir())


def opened(words, env):
    """How many times the command reads from its sources in any way."""
    with tempfile.NamedTemporaryFile("r") as log:
        answer = frazil(*words, env=env, before=["strace", "-f", "-y", "-o", log.name, "-e", "trace=read,pread64,readv,preadv"])
        lines = [line for line in log.read().splitlines() if ".nc>" in line]
    return answer, len(lines)


@pytest.fixture
def cache(tmp_path):
    return {"FRAZIL_CACHE": str(tmp_path / "cache")}


def test_the_index_does_not_change_a_byte(tmp_path, cache):
    sources = series(tmp_path / "in")
    trees = []
    for number, (env, flags) in enumerate([({"FRAZIL_CACHE": ""}, []), (cache, []), (cache, []), (cache, ["--no-index"])]):
        dest = tmp_path / f"z{number}"
        answer = convert(sources, dest, *flags, env=env)
        assert answer.code == 0, str(answer)
        trees.append(tree(dest))
    assert (tmp_path / "cache" / "scans").is_dir() and (tmp_path / "cache" / "known").is_dir()
    assert all(not tree_differences(trees[0], other) for other in trees[1:])


@pytest.mark.parametrize("kind", ["convert", "build", "extend", "overwrite", "parts"])
def test_a_second_run_reads_nothing_of_unchanged_files(tmp_path, cache, kind):
    sources, dest = series(tmp_path / "in"), tmp_path / "z"
    words = ["convert", *sources, dest, "--to", "zarr", "--json"]
    if kind in ("build", "extend", "parts"):
        words = ["build", feedstock(tmp_path / "f", tmp_path / "in" / "*.nc", mode="extend" if kind == "extend" else "create"), "--to", dest, "--json"]
    if kind == "overwrite":
        assert convert(sources[:1], dest, env=cache).code == 0
        words.append("--overwrite")
    stages = [["--plan-only"], ["--part", "1/2"], ["--part", "2/2"], ["--finish"]] if kind == "parts" else [[]]
    for stage in stages:
        answer, n_reads = opened([*words, *stage], cache)
        assert answer.code == 0, str(answer)
    answer, n_reads = opened(words, cache)
    assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
    assert n_reads == 0
    # One that was touched is read once more, without alarm, and then known again.
    os.utime(sources[1], (1e9, 1e9))
    time.sleep(2.1)
    answer, n_reads = opened(words, cache)
    assert answer.code == 0 and answer.report["outcome"] == "already-there" and n_reads > 0, str(answer)
    answer, n_reads = opened(words, cache)
    assert answer.code == 0 and n_reads == 0, str(answer)
    # What is gone or damaged is as good as nothing.
    for path in (tmp_path / "cache").rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-1])
    answer, n_reads = opened(words, cache)
    assert answer.code == 0 and answer.report["outcome"] == "already-there" and n_reads > 0, str(answer)


@pytest.mark.parametrize("kind", ["convert", "extend"])
def test_a_rewritten_file_is_seen_though_its_time_was_set_back(tmp_path, cache, kind):
    sources, dest = series(tmp_path / "in"), tmp_path / "z"
    words = ["convert", *sources, dest, "--to", "zarr", "--json"]
    if kind == "extend":
        words = ["build", feedstock(tmp_path / "f", tmp_path / "in" / "*.nc", mode="extend"), "--to", dest, "--json"]
    assert frazil(*words, env=cache).code == 0
    assert frazil(*words, env=cache).code == 0
    status, before = sources[1].stat(), tree(dest)
    with netCDF4.Dataset(sources[1], "r+") as file:
        file["sst"][:] = file["sst"][:][::-1, ::-1]
    os.utime(sources[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    answer = frazil(*words, env=cache)
    assert answer.code == 1 and "changed" in answer.text, str(answer)
    assert not tree_differences(before, tree(dest))


def test_a_file_that_is_young_is_not_relied_on(tmp_path, cache):
    source = make(tmp_path / "young.nc", days("2000-01-01", 20), lat=np.arange(60.0), lon=np.arange(80.0))
    assert convert([source], tmp_path / "z", env=cache).code == 0
    assert not list((tmp_path / "cache").rglob("*.index")) + list((tmp_path / "cache").rglob("*.known"))


def test_a_verifier_neither_uses_nor_notes_anything(tmp_path, cache):
    sources = series(tmp_path / "in")
    assert convert(sources, tmp_path / "z", env={"FRAZIL_CACHE": ""}).code == 0
    words = ["verify", tmp_path / "z", "--sources", *sources, "--json"]
    answer, n_reads = opened(words, cache)
    assert answer.code == 0 and not (tmp_path / "cache").exists(), str(answer)
    assert convert(sources, tmp_path / "y", env=cache).code == 0
    answer, again = opened(words, cache)
    assert answer.code == 0 and again == n_reads, str(answer)


def test_runs_at_the_same_time_share_one_record(tmp_path, cache):
    sources = series(tmp_path / "in", n=6)
    words = [["convert", *sources, tmp_path / f"z{i}", "--to", "zarr", "--json"] for i in range(4)]
    for _ in range(2):
        running = [start(w, out=subprocess.DEVNULL, err=subprocess.DEVNULL, env=cache) for w in words]
        assert [process.wait(timeout=120) for process in running] == [0] * 4
    first = tree(tmp_path / "z0")
    assert all(not tree_differences(first, tree(tmp_path / f"z{i}")) for i in range(4))
    assert not list((tmp_path / "cache").rglob("*.new"))
    answer, n_reads = opened(words[0], cache)
    assert answer.code == 0 and n_reads == 0, str(answer)
