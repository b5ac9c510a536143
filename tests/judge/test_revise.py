"""A published store while several try to extend it, and files of it that are issued again. Stock xarray is the judge."""

import shutil
import subprocess

import netCDF4
import pytest

import kill
from command import frazil, start
from make import LAT, LON, MANY, counter, days, feedstock, make
from verdicts import assert_equal, stamps, tree, tree_differences

SHARDS = "shards: {time: 40, lat: 60, lon: 80}"


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def zarr_format(request):
    return request.param


def three(folder, write="", zarr_format=3, grid=MANY, **odd):
    """A store of three files, and the words that build it."""
    folder.mkdir(exist_ok=True)
    firsts = ["2000-01-01", "2000-02-01", "2000-02-29"]
    sources = [make(folder / f"data-{i}.nc", days(first, 28), **{**grid, **odd}) for i, first in enumerate(firsts)]
    sources[0] = make(sources[0], days("2000-01-01", 31), **{**grid, **odd})
    box = ", ".join(f"{name}: {len(grid[name]) // 2}" for name in ("lat", "lon"))
    recipe = feedstock(folder / "f", folder / "data-*.nc", mode="extend", zarr_format=zarr_format, chunks="{time: 10, " + box + "}", write=write)
    dest = folder / "store.zarr"
    words = ["build", recipe, "--to", dest, "--json"]
    assert frazil(*words).code == 0
    return sources, dest, words


@pytest.mark.parametrize("write", ["", SHARDS], ids=["chunks", "shards"])
def test_one_extends_while_others_try_and_the_store_is_what_one_would_make(tmp_path, write):
    sources, dest, words = three(tmp_path, write)
    for first in ("2000-03-28", "2000-04-25"):
        sources.append(make(tmp_path / f"data-{len(sources)}.nc", days(first, 28), **MANY))
        running = [start(words, out=subprocess.DEVNULL, err=subprocess.DEVNULL) for _ in range(5)]
        codes = [process.wait(timeout=120) for process in running]
        assert 0 in codes and set(codes) <= {0, 5}, codes
        assert frazil(*words).code == 0
    assert_equal(frazil(*words), sources, dest)
    answer = frazil("verify", dest, "--sources", *sources, "--json")
    assert answer.code == 0, str(answer)
    alone = tmp_path / "alone"
    _, other, again = three(alone, write)
    for path in sources[3:]:
        shutil.copy(path, alone)
        assert frazil(*again).code == 0
    wrong = [line for line in tree_differences(tree(other), tree(dest)) if "receipt" not in line]
    assert not wrong, wrong[:5]


def reissue(path, first="2000-02-01", n=28, grid=MANY, **odd):
    return make(path, days(first, n), stored=counter((n, len(grid["lat"]), len(grid["lon"])), 99), **{**grid, **odd})


@pytest.mark.parametrize("write", ["", SHARDS], ids=["chunks", "shards"])
@pytest.mark.parametrize("how", ["other values", "another codec", "fill only"])
def test_a_file_that_is_issued_again_is_revised_when_that_is_asked_for(tmp_path, write, how):
    sources, dest, words = three(tmp_path, write)
    before = tree(dest)
    if how == "fill only":
        make(sources[1], days("2000-02-01", 28), name="other", unlimited=False, **MANY)
        with netCDF4.Dataset(sources[1], "r+") as file:
            file.renameVariable("other", "sst")
    else:
        reissue(sources[1], **({"zlib": True, "chunksizes": (7, 60, 80)} if how == "another codec" else {}))
    answer = frazil(*words)
    assert answer.code == 1 and "data-1.nc" in answer.text and "--revise" in answer.text, str(answer)
    assert not tree_differences(before, tree(dest))
    answer = frazil(*words, "--revise")
    assert_equal(answer, sources, dest)
    answer = frazil("verify", dest, "--sources", *sources, "--json")
    assert answer.code == 0, str(answer)
    before = stamps(dest)
    for flags in ([], ["--revise"]):
        answer = frazil(*words, *flags)
        assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
    assert stamps(dest) == before


def test_small_values_and_both_formats_are_revised_and_what_is_new_is_added(tmp_path, zarr_format):
    grid = {"lat": LAT, "lon": LON}
    sources, dest, words = three(tmp_path, "", zarr_format, grid)
    reissue(sources[0], "2000-01-01", 31, grid)
    reissue(sources[2], "2000-02-29", 28, grid)
    sources.append(make(tmp_path / "data-3.nc", days("2000-03-28", 28), **grid))
    assert_equal(frazil(*words, "--revise"), sources, dest)
    answer = frazil("verify", dest, "--sources", *sources, "--json")
    assert answer.code == 0, str(answer)
    assert frazil(*words).report["outcome"] == "already-there"


@pytest.mark.parametrize("odd", ["fewer labels", "other labels", "no neighbour", "another latitude", "another type"])
def test_what_cannot_take_the_place_of_the_old_file_is_refused(tmp_path, odd):
    sources, dest, words = three(tmp_path)
    before = tree(dest)
    reissue(sources[1], n=20 if odd == "fewer labels" else 28)
    if odd == "other labels":
        reissue(sources[1], "2000-02-02")
    if odd == "no neighbour":
        sources[0].unlink()
    if odd == "another latitude":
        reissue(sources[1], grid={**MANY, "lat": MANY["lat"] + 0.25})
    if odd == "another type":
        reissue(sources[1], dtype="f8")
    answer = frazil(*words, "--revise")
    assert answer.crash() is None and answer.code == 1 and (answer.report or {}).get("error"), str(answer)
    assert not tree_differences(before, tree(dest))


def test_a_recipe_that_does_not_extend_revises_nothing(tmp_path):
    make(tmp_path / "in.nc", days("2000-01-01", 3))
    recipe = feedstock(tmp_path / "f", tmp_path / "in.nc")
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--revise", "--json")
    assert answer.code == 2 and "extend" in answer.text, str(answer)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("write", ["", SHARDS], ids=["chunks", "shards"])
def test_a_revision_that_was_killed_is_never_taken_for_finished(tmp_path, write, soak):
    sources, dest, words = three(tmp_path / "start", write)
    words = [*words, "--threads", "1"]
    reissued = reissue(tmp_path / "reissued.nc").read_bytes()
    original = sources[1].read_bytes()
    sources[1].write_bytes(reissued)
    shutil.copytree(dest, tmp_path / "whole.zarr")
    here = ["build", words[1], "--to", tmp_path / "whole.zarr", *words[4:]]
    made = kill.Scene([*here[:3], "STORE", *here[4:], "--revise"], dest, None, {}, {}, 0.0)
    shutil.copytree(dest, tmp_path / "traced.zarr")
    points = kill.points_of(kill.trace(made, tmp_path / "traced.zarr", kill.CHANGES))
    assert frazil(*here, "--revise").code == 0
    whole = tree(tmp_path / "whole.zarr")
    assert not tree_differences(whole, tree(tmp_path / "traced.zarr"))
    n_half = 0
    for number, (syscall, k) in enumerate(points if soak else points[2::5] + points[-6:]):
        store = tmp_path / "killed.zarr"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(dest, store)
        sources[1].write_bytes(reissued)
        here[3] = store
        kill.injected(made, store, syscall, k, "signal=SIGKILL")
        # Without being told to revise it goes on with nothing, and says nothing false.
        answer = frazil(*here)
        seen = tree(store)
        if answer.code == 0:
            assert not tree_differences(whole, seen), f"{syscall} number {k}: taken for finished"
        else:
            assert answer.code == 1 and "data-1.nc" in answer.text, str(answer)
            n_half += answer.report["error"]["code"] == "extend.half-revised"
        if number % 3 == 2:
            # The old file came back: it takes its place again.
            sources[1].write_bytes(original)
            answer = frazil(*here)
            if answer.code == 0:
                assert answer.report["outcome"] == "already-there"
        answer = frazil(*here, "--revise")
        assert answer.code == 0, f"{syscall} number {k}: {answer}"
        assert_equal(answer, sources, store)
        if number % 3 != 2:
            assert not tree_differences(whole, tree(store)), f"{syscall} number {k}"
        answer = frazil("verify", store, "--json")
        assert answer.code == 0, f"{syscall} number {k}: {answer}"
    assert n_half > 0, "no kill met it in the middle"
