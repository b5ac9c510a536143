"""Twice is once; any number of threads, any memory, any parts: the same bytes."""

import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest

from command import frazil, start
from kill import scene
from make import days, feedstock, make
from verdicts import assert_equal, is_visible, stamps, tree, tree_differences


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
