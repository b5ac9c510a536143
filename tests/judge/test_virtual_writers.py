"""Virtual datasets that are written: twice is once, old or new after any kill, many writers lose nothing, and neither do
answers that get lost. icechunk-python says which versions there are."""

import multiprocessing
import os
import pathlib
import random
import shutil
import subprocess
import time

import pytest

import clients
import lies
import power
from bucket import Bucket
from command import frazil, start
from kill import FIRST_POINTS, crash_points, failed_at, killed_after, killed_at, trace
from lying import lying
from make import days
from verdicts import stamps
from virtual import FORMATS, convert, labels, make, place_in, recipe, repository, verdict_of, versions, view
from virtual_kill import GRID, contents, loose, virtual_scene

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
KINDS = [("convert", "icechunk"), ("extend", "icechunk"), ("overwrite", "icechunk"), ("convert", "kerchunk-json"), ("overwrite", "kerchunk-parquet"), ("extend", "kerchunk-parquet")]
N_PROCESSES, N_APPENDS, N_SOAK_APPENDS = 8, 3, 25
MAX_TRIES = 200


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


def series(folder, n=3):
    folder.mkdir(parents=True, exist_ok=True)
    return [make(folder / f"in-{i:03}.nc", days(f"{2000 + i}-01-01", 5), **GRID) for i in range(n)]


# Twice is once.

@pytest.mark.parametrize("form", FORMATS)
def test_a_second_convert_changes_nothing(tmp_path, form):
    sources, dest = series(tmp_path / "in"), place_in(tmp_path / "out", form)
    dest.parent.mkdir()
    assert convert(sources, dest, form).code == 0
    before = stamps(dest.parent)
    for order in (sources, sources[::-1]):
        answer = convert(order, dest, form)
        assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
        assert stamps(dest.parent) == before


@pytest.mark.parametrize("form", FORMATS)
def test_a_touched_source_changes_nothing(tmp_path, form):
    sources, dest = series(tmp_path / "in"), place_in(tmp_path / "out", form)
    dest.parent.mkdir()
    assert convert(sources, dest, form).code == 0
    seen = view(dest, form)
    os.utime(sources[1], (1e9, 1e9))
    answer = convert(sources, dest, form)
    assert answer.code == 0, str(answer)
    assert view(dest, form) == seen


@pytest.mark.parametrize("form", FORMATS)
def test_other_files_do_not_go_over_what_is_there(tmp_path, form):
    sources, dest = series(tmp_path / "in"), place_in(tmp_path / "out", form)
    dest.parent.mkdir()
    assert convert(sources[:2], dest, form).code == 0
    before = contents(dest)
    answer = convert(sources[1:], dest, form)
    assert answer.code == 1 and "--overwrite" in answer.text, str(answer)
    assert contents(dest) == before
    answer = convert(sources[1:], dest, form, "--overwrite")
    assert answer.code == 0, str(answer)
    assert verdict_of(sources[1:], dest, form) == "joined"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("there", ["a file", "a folder", "a Zarr store", "another format"])
def test_what_is_no_dataset_of_this_kind_is_not_touched(tmp_path, form, there):
    sources, dest = series(tmp_path / "in", 1), place_in(tmp_path / "out", form)
    dest.parent.mkdir()
    if there == "a file":
        dest.write_text("mine")
    elif there == "a folder":
        dest.mkdir()
        (dest / "mine").write_text("mine")
    elif there == "a Zarr store":
        assert frazil("convert", *sources, dest, "--to", "zarr").code == 0
    else:
        assert convert(sources, dest, FORMATS[FORMATS.index(form) - 1]).code == 0
    before = contents(dest)
    answer = convert(sources, dest, form)
    assert answer.crash() is None and answer.code in (1, 2), str(answer)
    assert contents(dest) == before, "something foreign was written over"


@pytest.mark.parametrize("form", FORMATS)
def test_a_dry_run_writes_nothing(tmp_path, form):
    sources = series(tmp_path / "in")
    (tmp_path / "out").mkdir()
    answer = convert(sources, place_in(tmp_path / "out", form), form, "-n")
    assert answer.code == 0 and answer.report["dry_run"] is True, str(answer)
    assert answer.report["totals"]["references"] >= 15, answer.report["totals"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("form", ["kerchunk-json", "kerchunk-parquet"])
def test_two_clean_runs_give_the_same_bytes(tmp_path, form):
    sources = series(tmp_path / "in", 6)
    trees = []
    for number, threads in enumerate(("1", "2", "7")):
        dest = place_in(tmp_path / str(number), form)
        dest.parent.mkdir()
        answer = convert(sources, dest, form, "--threads", threads)
        assert answer.code == 0, str(answer)
        trees.append(contents(dest))
    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize("form", FORMATS)
def test_new_files_are_added_and_nothing_else_is(tmp_path, form):
    series(tmp_path / "in", 2)
    made, dest = recipe(tmp_path / "f", tmp_path / "in" / "*.nc", form), place_in(tmp_path, form)
    assert frazil("build", made, "--to", dest, "--json").code == 0
    before = versions(dest) if form == "icechunk" else []
    answer = frazil("build", made, "--to", dest, "--json")
    assert answer.code == 0 and answer.report["outcome"] in ("already-there", "nothing-new"), str(answer)
    # The old files stay as they are: the version before is pinned to their times.
    for path in series(tmp_path / "more", 4)[2:]:
        shutil.copy2(path, tmp_path / "in" / path.name)
    sources = [tmp_path / "in" / f"in-{i:03}.nc" for i in range(4)]
    answer = frazil("build", made, "--to", dest, "--json")
    assert answer.code == 0, str(answer)
    assert verdict_of(sources, dest, form) == "joined"
    if form == "icechunk":
        after = versions(dest)
        assert after[1:] == before, "the versions before stay"
        assert len(after) == len(before) + 1, "one commit"
        assert loose(dest) == []
        # Who holds the old version reads what was there.
        assert view_of_version(dest, before[0][0]) == 10


def view_of_version(place, snapshot):
    from same import isolated

    return isolated(_length_of_version, str(place), snapshot)


def _length_of_version(place, snapshot):
    import xarray

    data = xarray.open_dataset(repository(place).readonly_session(snapshot_id=snapshot).store, engine="zarr", consolidated=False).load()
    return data.sizes["time"]


def test_a_source_that_was_issued_again_is_refused_by_name(tmp_path):
    series(tmp_path / "in", 2)
    made, dest = recipe(tmp_path / "f", tmp_path / "in" / "*.nc"), place_in(tmp_path, "icechunk")
    assert frazil("build", made, "--to", dest, "--json").code == 0
    before = versions(dest)
    make(tmp_path / "in" / "in-001.nc", days("2001-01-01", 5), **{**GRID, "constant": None, "attributes": {"long_name": "again"}}, stored=__import__("numpy").ones((5, 60, 80)))
    answer = frazil("build", made, "--to", dest, "--json")
    assert answer.code == 1 and "in-001.nc" in answer.text, str(answer)
    assert versions(dest) == before


# Killed at any moment.

@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def small(request, tmp_path_factory):
    clients.needs_target("virtual")
    return virtual_scene(tmp_path_factory.mktemp("-".join(request.param)), *request.param)


def test_a_kill_at_any_instant_leaves_old_or_new(small, soak, seed):
    chance = random.Random(seed)
    for i in range(200 if soak else 5):
        seconds = chance.uniform(0, small.seconds * 1.05)
        wrong = killed_after(small, seconds)
        assert not wrong, f"kill {i} after {seconds:.4f} s (seed {seed}): " + "\n".join(wrong)


@needs_strace
def test_a_kill_at_any_syscall_leaves_old_or_new(small, soak):
    points = crash_points(small)
    assert len(points) > 3, f"only {points} change the disk: that cannot be all"
    chosen = points[:FIRST_POINTS] + points[-20:] if soak else points[::17] + points[-5:]
    for syscall, k in dict.fromkeys(chosen):
        wrong = killed_at(small, syscall, k)
        assert not wrong, f"killed at {syscall} number {k}: " + "\n".join(wrong)


@needs_strace
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_of_the_disk_is_told_and_leaves_old_or_new(small, soak, error):
    points = [point for point in crash_points(small) if "unlink" not in point[0] and "rmdir" not in point[0]]
    for syscall, k in points[:FIRST_POINTS] if soak else points[::23] + points[-3:]:
        wrong = failed_at(small, syscall, k, error)
        assert not wrong, f"{error} at {syscall} number {k}: " + "\n".join(wrong)


@needs_strace
def test_all_is_safe_on_the_disk_before_it_is_shown(small, tmp_path):
    store = small.fresh(tmp_path.resolve() / "k")
    wrong = power.faults(trace(small, store, power.CALLS), store)
    assert not wrong, "\n".join(wrong)


# Many writers.

def appender(number, folder, words, n_appends, turn, done, env):
    """One of many: puts the next file into the folder, and builds until its label is there. Notes every exit."""
    for _ in range(n_appends):
        with turn:
            at = len(list((folder / "in").glob("*.nc")))
            fresh = make(folder / f"fresh-{number}", [10 * at + day for day in range(2)], **GRID)
            fresh.rename(folder / "in" / f"in-{at:04}.nc")
        codes = []
        for _ in range(MAX_TRIES):
            answer = frazil(*words, env={**env, "XDG_CACHE_HOME": str(folder / f"cache-{number}")})
            codes.append(answer.code)
            if answer.code != 5:
                break
            time.sleep(random.Random(f"{number} {len(codes)}").uniform(0, 0.05))
        done.put((at, codes, "" if codes[-1] == 0 else str(answer)))


def appended_by_many(folder, dest, n_appends, env):
    """What `N_PROCESSES` processes, each with `n_appends` files, leave: faults."""
    (folder / "in").mkdir(parents=True)
    make(folder / "in" / "in-0000.nc", [0, 1], **GRID)
    words = ["build", str(recipe(folder / "f", folder / "in" / "*.nc")), "--to", str(dest), "--json"]
    answer = frazil(*words, env=env)
    assert answer.code == 0, str(answer)
    methods = multiprocessing.get_context("fork")
    turn, done = methods.Lock(), methods.Queue()
    processes = [methods.Process(target=appender, args=(i, folder, words, n_appends, turn, done, env)) for i in range(N_PROCESSES)]
    for process in processes:
        process.start()
    told = [done.get(timeout=900) for _ in range(N_PROCESSES * n_appends)]
    for process in processes:
        process.join()
    wrong = [f"file {at}: exits {codes}\n{words}" for at, codes, words in told if codes[-1] != 0 or set(codes) - {0, 5}]
    n_files = N_PROCESSES * n_appends + 1
    found, expected = labels(dest, env or None), [10.0 * at + day for at in range(n_files) for day in range(2)]
    if found != expected:
        wrong.append(f"{len(found)} labels instead of {len(expected)}; lost: {sorted(set(expected) - set(found))[:10]}, twice: {len(found) - len(set(found))}")
    if len(versions(dest, env or None)) > n_files + 1:
        wrong.append(f"{len(versions(dest, env or None))} versions of {n_files} files")
    return wrong, sum(codes.count(5) for _, codes, _ in told)


def test_many_appenders_on_a_disk_lose_nothing(tmp_path, soak):
    dest = place_in(tmp_path, "icechunk")
    wrong, _ = appended_by_many(tmp_path / "w", dest, N_SOAK_APPENDS if soak else N_APPENDS, {})
    assert not wrong, "\n".join(wrong)
    assert loose(dest) == []
    assert frazil("verify", dest, "--json").code == 0


def test_many_appenders_in_a_bucket_lose_nothing(gateway, bucket, tmp_path, soak):
    held = Bucket(gateway, bucket)
    dest = held.place("many.icechunk")
    wrong, _ = appended_by_many(tmp_path / "w", dest, N_SOAK_APPENDS if soak else N_APPENDS, held.env)
    assert not wrong, "\n".join(wrong)
    assert held.uploads("many.icechunk") == []


# Answers that get lost.

class OneInFive:
    """Of all that changes the bucket each fifth, by chance, is done and not answered."""

    def __init__(self, choices):
        self.choices, self.lie, self.n = choices, lies.LosesAnswer("answer lost"), 0

    def lie_for(self, asked):
        if not self.lie.fits(asked) or self.choices.random() >= 0.2:
            return None
        self.n += 1
        return self.lie


def test_lost_answers_neither_double_nor_lose_a_version(gateway, bucket, tmp_path, soak, seed):
    held = Bucket(gateway, bucket)
    n_commits, sources = 200 if soak else 25, tmp_path / "in"
    sources.mkdir()
    made, dest = recipe(tmp_path / "f", sources / "*.nc"), held.place("lossy.icechunk")
    with lying(gateway) as liar:
        liar.plan = OneInFive(random.Random(seed))
        env = {**held.env, "AWS_ENDPOINT_URL": liar.address}
        for at in range(n_commits):
            make(sources / f"in-{at:04}.nc", [10 * at, 10 * at + 1], **GRID)
            answer = frazil("build", made, "--to", dest, "--json", env=env)
            assert answer.code == 0, f"commit {at} (seed {seed}): one writer alone has nobody to be in conflict with\n{answer}\n{liar}"
        n_lies = liar.plan.n
    assert n_lies >= n_commits // 5, "too few answers were lost"
    found = versions(dest, held.env)
    assert len(found) == n_commits + 1, f"{len(found)} versions, expected {n_commits} and the first one (seed {seed}); {n_lies} answers were lost"
    assert labels(dest, held.env) == [10.0 * at + day for at in range(n_commits) for day in range(2)]


# Repositories that icechunk-python reads are read by it while they are written.

def test_a_reader_never_sees_a_mixture_while_an_extend_runs(tmp_path, soak):
    made = virtual_scene(tmp_path / "s", "extend", "icechunk")
    for i in range(10 if soak else 2):
        store = made.fresh(tmp_path / str(i))
        process = start(made.command(store), out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        seen = []
        while process.poll() is None:
            seen.append(view(store, "icechunk"))
        assert process.wait() == 0
        assert all(found in (made.old, made.new) for found in [*seen, view(pathlib.Path(store), "icechunk")]), "a reader saw a mixture"


def test_a_repository_on_a_disk_and_in_a_bucket_hold_the_same(gateway, bucket, tmp_path):
    held = Bucket(gateway, bucket)
    sources = series(tmp_path / "in")
    assert convert(sources, place_in(tmp_path, "icechunk"), "icechunk").code == 0
    answer = convert(sources, held.place("same.icechunk"), "icechunk", env=held.env)
    assert answer.code == 0, str(answer)
    here = {name.split(" ", 1)[1]: digest for name, digest in view(place_in(tmp_path, "icechunk"), "icechunk").items()}
    there = {name.split(" ", 1)[1]: digest for name, digest in view(held.place("same.icechunk"), "icechunk", held.env).items()}
    assert here == there
    assert loose(held.place("same.icechunk"), held.env) == []
