"""The torture table, rows (g) and (h): adding to a published store, and replacing one. Stock xarray is the judge.

Whatever is refused, the published store keeps every byte.
"""

import os
import re

import h5py
import netCDF4
import numpy as np
import pytest

from command import frazil
from make import LAT, LON, MANY, counter, days, feedstock, make, spoil
from verdicts import assert_equal, convert, opens, stamps, tree, tree_differences


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def zarr_format(request):
    return request.param


class Published:
    """A store built with `mode: extend` from one file; `add` puts a second file beside it and builds again."""

    def __init__(self, folder, zarr_format, chunks="{time: 10, lat: 2, lon: 3}", **first):
        self.folder, self.dest = folder, folder / "store.zarr"
        self.sources = [make(folder / "data-01.nc", **{"times": days("2000-01-01", 31), **first})]
        self.recipe = feedstock(folder / "f", folder / "data-*.nc", mode="extend", zarr_format=zarr_format, chunks=chunks)
        answer = self.build()
        assert_equal(answer, self.sources, self.dest)
        self.before = tree(self.dest)

    def build(self, *flags):
        return frazil("build", self.recipe, "--to", self.dest, "--json", *flags)

    def add(self, **second):
        path = self.folder / f"data-{len(self.sources) + 1:02}.nc"
        self.sources.append(make(path, **{"times": days("2000-02-01", 28), **second}))
        return self.build()

    def assert_untouched(self, answer, rule, variable):
        """Refused by name, and the published store keeps every byte."""
        assert answer.crash() is None, f"{answer.crash()}\n{answer}"
        assert answer.code == 1, f"expected a refusal\n{answer}"
        error = (answer.report or {}).get("error") or {}
        words = str(error)
        assert error.get("code") and re.search(rule, words, re.I), f"the rule /{rule}/ is not named\n{answer}"
        assert variable is None or variable in words, f"`{variable}` is not named\n{answer}"
        assert any(source.name in words for source in self.sources[1:]), f"the file is not named\n{answer}"
        wrong = tree_differences(self.before, tree(self.dest))
        assert not wrong, f"a refused extend changed the store: {wrong[:5]}"


@pytest.mark.parametrize("chunks", ["{time: 10, lat: 2, lon: 3}", "{time: 31, lat: 4, lon: 6}", "{time: 1, lat: 4, lon: 6}", "{time: 1000, lat: 4, lon: 6}"])
def test_28_days_are_added_to_31(tmp_path, zarr_format, chunks):
    store = Published(tmp_path, zarr_format, chunks, zlib=True)
    for first in ("2000-02-01", "2000-02-29"):
        answer = store.add(times=days(first, 28), zlib=True)
        assert_equal(answer, store.sources, store.dest)


def test_an_extended_store_is_the_store_built_at_once(tmp_path, zarr_format):
    store = Published(tmp_path, zarr_format)
    assert store.add().code == 0
    at_once = tmp_path / "at-once.zarr"
    answer = frazil("build", store.recipe, "--to", at_once, "--json")
    assert_equal(answer, store.sources, at_once)
    assert opens(store.dest) == opens(at_once)


def test_a_packed_store_is_extended_in_its_packing(tmp_path, zarr_format):
    odd = {"dtype": "i2", "packing": {"scale_factor": 0.5, "add_offset": 100.0}, "fill": -32768}
    store = Published(tmp_path, zarr_format, **odd)
    assert_equal(store.add(**odd), store.sources, store.dest)


def test_another_packing_is_not_added(tmp_path, zarr_format):
    odd = {"dtype": "i2", "packing": {"scale_factor": 0.5, "add_offset": 100.0}, "fill": -32768}
    store = Published(tmp_path, zarr_format, **odd)
    answer = store.add(**{**odd, "packing": {"scale_factor": 0.25, "add_offset": 100.0}})
    store.assert_untouched(answer, "pack|scale_factor", "sst")


@pytest.mark.parametrize("unit, per_day", [("hours", 24), ("seconds", 86400), ("milliseconds", 86400000)])
@pytest.mark.parametrize("time_dtype", ["i4", "i8", "f8"])
def test_whole_days_in_other_units_are_added_as_days(tmp_path, unit, per_day, time_dtype, zarr_format):
    store = Published(tmp_path, zarr_format, time_dtype=time_dtype)
    answer = store.add(units=f"{unit} since 2000-02-01", times=[per_day * i for i in range(28)], time_dtype="i8")
    assert_equal(answer, store.sources, store.dest)


@pytest.mark.parametrize("unit, step", [("hours", 6), ("milliseconds", 1)])
def test_times_that_whole_days_cannot_hold_are_refused(tmp_path, unit, step, zarr_format):
    store = Published(tmp_path, zarr_format, time_dtype="i4")
    answer = store.add(units=f"{unit} since 2000-02-01", times=[step * (i + 1) for i in range(28)], time_dtype="i8")
    store.assert_untouched(answer, "exact|hold|unit|whole|integer", "time")


def test_six_hours_are_added_to_float_days_or_refused_but_never_rounded(tmp_path, zarr_format):
    store = Published(tmp_path, zarr_format, time_dtype="f8")
    answer = store.add(units="hours since 2000-02-01", times=[6 * i for i in range(28)], time_dtype="i8")
    if answer.code == 0:
        assert_equal(answer, store.sources, store.dest)
    else:
        store.assert_untouched(answer, "exact|hold|unit", "time")


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_another_calendar_is_not_added(tmp_path, calendar, zarr_format):
    store = Published(tmp_path, zarr_format)
    answer = store.add(calendar=calendar, times=list(range(40, 68)))
    store.assert_untouched(answer, "calendar", "time")


@pytest.mark.parametrize("lat", [LAT[::-1], LAT + 1e-6, LAT[:3]], ids=["reversed", "off by 1e-6", "shorter"])
def test_another_latitude_is_not_added(tmp_path, lat, zarr_format):
    store = Published(tmp_path, zarr_format)
    answer = store.add(lat=lat, stored=counter((28, len(lat), 6)))
    store.assert_untouched(answer, "lat", "lat")


def test_the_same_data_twice_changes_nothing(tmp_path, zarr_format):
    store = Published(tmp_path, zarr_format)
    before = stamps(store.dest)
    answer = store.build()
    assert answer.code == 0, str(answer)
    assert stamps(store.dest) == before, "a second run touched the store"
    assert store.add().code == 0
    before = stamps(store.dest)
    answer = store.build()
    assert answer.code == 0, str(answer)
    assert stamps(store.dest) == before, "a second run touched the extended store"


@pytest.mark.parametrize("stored", [None, counter((31, 4, 6), 77)], ids=["same values", "other values"])
def test_labels_that_are_already_there_under_another_name_are_refused(tmp_path, stored, zarr_format):
    store = Published(tmp_path, zarr_format)
    answer = store.add(times=days("2000-01-01", 31), stored=stored)
    store.assert_untouched(answer, "already|twice|duplicat|label|revise|both", "time")


def test_a_published_source_that_changed_is_refused_by_name(tmp_path, zarr_format):
    store = Published(tmp_path, zarr_format)
    make(store.sources[0], days("2000-01-01", 31), stored=counter((31, 4, 6), 5))
    store.sources.append(store.sources[0])
    store.assert_untouched(store.build(), "chang|revise|re-?issue", None)


# Of many values only reading them again shows that they are others.

def rewritten(path, variable="sst", keep_times=True):
    """Other bytes in the same places: the same size, the same structure, and the same time of change, if that can be."""
    status = path.stat()
    with h5py.File(path) as file:
        offset = file[variable].id.get_offset() or file[variable].id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as file:
        file.seek(offset + 4000)
        file.write(bytes(255 - byte for byte in path.read_bytes()[offset + 4000 : offset + 4100]))
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("keep_times", [True, False], ids=["time of change set back", "new time of change"])
def test_a_source_rewritten_in_its_places_is_refused_by_name(tmp_path, which, keep_times):
    store = Published(tmp_path, 3, **MANY)
    for first in ("2000-02-01", "2000-02-29"):
        answer = store.add(times=days(first, 28), **MANY)
        assert answer.code == 0, str(answer)
    store.before = tree(store.dest)
    store.sources = [None, store.sources[which]]
    rewritten(store.sources[1], keep_times=keep_times)
    store.assert_untouched(store.build(), "changed since", None)
    assert which == 0 or "data-01.nc" not in store.build().text


@pytest.mark.parametrize("odd", ["packed", "derived", "twice", "selected", "sorted", "small"])
def test_what_was_added_in_several_steps_is_known_again(tmp_path, odd):
    """However much of a file was read when it was added, and whatever it was added to."""
    first, each, combine = {"times": days("2000-01-01", 31), **MANY}, "", ""
    if odd == "packed":
        first |= {"dtype": "i4", "packing": {"scale_factor": 0.1, "add_offset": 1.0}, "fill": -999}
    if odd == "derived":
        each = "each: [{calc: {double: 'sst * 2', one: 'double + sst'}}]\n"
    if odd == "selected":
        each = "each: [{subset: {lat: -20/20}}]\n"
    if odd == "sorted":
        first["lon"], each = first["lon"][::-1], "each: [{sort: [lon]}]\n"
    if odd == "small":
        first |= {"lat": LAT, "lon": MANY["lon"][:6], "dtype": "i2", "packing": {"scale_factor": 0.1, "add_offset": 1.0}, "fill": -999}
    if odd == "twice":
        combine = "duplicates: last"
    make(tmp_path / "data-01.nc", **first)
    overlapping = days("2000-01-21", 31) if odd == "twice" else days("2000-02-01", 20)
    make(tmp_path / "data-02.nc", **{**first, "times": overlapping})
    recipe = feedstock(tmp_path / "f", tmp_path / "data-*.nc", mode="extend", each=each, combine=combine)
    dest = tmp_path / "store.zarr"
    for step in range(3):
        answer = frazil("build", recipe, "--to", dest, "--json")
        assert answer.code == 0 and answer.report["outcome"] == "written", str(answer)
        before = stamps(dest)
        for path in tmp_path.glob("data-*.nc"):
            os.utime(path)
        answer = frazil("build", recipe, "--to", dest, "--json")
        assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
        assert stamps(dest) == before, "a second run touched the store"
        make(tmp_path / f"data-{step + 3:02}.nc", **{**first, "times": days(f"2001-0{step + 1}-01", 28)})
    if odd != "small":
        rewritten(tmp_path / "data-03.nc")
        answer = frazil("build", recipe, "--to", dest, "--json")
        assert answer.code == 1 and "data-03.nc" in answer.text and "changed since" in answer.text, str(answer)


def test_an_extend_that_meets_a_spoiled_chunk_leaves_the_old_data_readable(tmp_path, zarr_format):
    store = Published(tmp_path, zarr_format, zlib=True)
    before = opens(store.dest)
    path = make(tmp_path / "data-02.nc", days("2000-02-01", 28), zlib=True, fletcher32=True)
    spoil(path)
    answer = store.build()
    assert answer.crash() is None and answer.code == 1, str(answer)
    assert "data-02.nc" in answer.text and "sst" in answer.text
    assert opens(store.dest) == before, "readers see something other than the old data"
    # With the file mended the same command completes.
    answer = store.add(zlib=True, fletcher32=True)
    assert_equal(answer, store.sources, store.dest)


# Shards that are not full get more chunks.

def shard_index(path, n_chunks):
    """Offset and length of each chunk, as the last bytes of a shard say, by the Zarr specification."""
    return np.frombuffer(path.read_bytes()[-(n_chunks * 16 + 4) : -4], "<u8").reshape(n_chunks, 2)


BOX = "lat: 30, lon: 40"


def in_shards(folder, shards, chunks="{time: 10, " + BOX + "}", flags=(), **first):
    """As `Published`, in shards, of more values than are loaded along with the structure."""
    made = Published.__new__(Published)
    made.folder, made.dest = folder, folder / "store.zarr"
    made.build = lambda: frazil("build", made.recipe, "--to", made.dest, "--json", *flags)
    made.sources = [make(folder / "data-01.nc", **{"times": days("2000-01-01", 31), **MANY, **first})]
    made.recipe = feedstock(folder / "f", folder / "data-*.nc", mode="extend", chunks=chunks, write=f"shards: {shards}")
    assert_equal(made.build(), made.sources, made.dest)
    made.before = tree(made.dest)
    return made


@pytest.mark.parametrize("shards, chunks", [
    ("{time: 40, lat: 60, lon: 80}", "{time: 10, lat: 30, lon: 40}"), ("{time: 1000, lat: 60, lon: 80}", "{time: 10, lat: 30, lon: 40}"),
    ("{time: 62, lat: 60, lon: 40}", "{time: 31, lat: 30, lon: 40}"), ("{time: 31, lat: 60, lon: 80}", "{time: 31, lat: 30, lon: 40}"),
    ("{time: 30, lat: 60, lon: 80}", "{time: 1, lat: 60, lon: 80}"), ("{time: 64, lat: 60, lon: 80}", "{time: 64, lat: 60, lon: 80}"),
])
@pytest.mark.parametrize("grid, memory", [(MANY, "2GB"), (MANY, "48MB"), ({}, "2GB")], ids=["many", "many in rounds", "few"])
def test_shards_that_are_not_full_are_filled(tmp_path, shards, chunks, grid, memory):
    if not grid:
        shards, chunks = (text.replace("60", "4").replace("80", "6").replace("30}", "2}").replace("lat: 30", "lat: 2").replace("lon: 40", "lon: 3") for text in (shards, chunks))
        grid = {"lat": LAT, "lon": LON}
    store = in_shards(tmp_path, shards, chunks, flags=("--memory", memory), **grid)
    for first in ("2000-02-01", "2000-02-29", "2000-03-28"):
        answer = store.add(times=days(first, 28), **grid)
        assert_equal(answer, store.sources, store.dest)
    answer = frazil("verify", store.dest, "--sources", *store.sources, "--json")
    assert answer.code == 0, str(answer)
    at_once = tmp_path / "at-once.zarr"
    answer = frazil("build", store.recipe, "--to", at_once, "--json")
    assert answer.code == 0, str(answer)
    assert opens(store.dest) == opens(at_once)
    there, here = ([name for name in tree(dest) if name.startswith("sst/")] for dest in (store.dest, at_once))
    assert there == here


def test_a_reader_with_the_old_index_finds_what_was_there(tmp_path):
    store = in_shards(tmp_path, "{time: 40, lat: 60, lon: 80}")
    path = store.dest / "sst" / "c" / "0" / "0" / "0"
    old, index = path.read_bytes(), shard_index(path, 16)
    assert_equal(store.add(**MANY), store.sources, store.dest)
    new, now = path.read_bytes(), shard_index(path, 16)
    assert new.startswith(old), "what was there has moved"
    whole = slice(0, 12)  # The chunks of days 0 to 29 were full.
    assert (now[whole] == index[whole]).all()
    assert (now[12:, 0] >= len(old)).all(), "a chunk that was completed keeps its old bytes as well"


def test_chunks_that_no_source_wrote_stay_out_of_a_shard(tmp_path):
    """A whole shard, and parts of one, that hold nothing but fill."""

    def sparse(path, first, days_written):
        make(path, days(first, 30), name="other", unlimited=False, **MANY)
        with netCDF4.Dataset(path, "r+") as file:
            variable = file.createVariable("sst", "f4", ("time", "lat", "lon"), fill_value=-1.0, chunksizes=(1, 30, 40))
            for day in days_written:
                variable[day, :30, :40] = day
        return path

    sources = [sparse(tmp_path / "data-01.nc", "2000-01-01", [])]
    shards = "shards: {time: 100, lat: 30, lon: 80}"
    recipe = feedstock(tmp_path / "f", tmp_path / "data-*.nc", mode="extend", chunks="{time: 10, lat: 30, lon: 40}", write=shards)
    dest = tmp_path / "store.zarr"
    for first, days_written in [("2000-01-31", []), ("2000-03-01", [3, 25]), ("2000-03-31", []), ("2000-04-30", [0])]:
        assert_equal(frazil("build", recipe, "--to", dest, "--json"), sources, dest)
        sources.append(sparse(tmp_path / f"data-{len(sources) + 1:02}.nc", first, days_written))
    assert_equal(frazil("build", recipe, "--to", dest, "--json"), sources, dest)
    answer = frazil("verify", dest, "--sources", *sources, "--json")
    assert answer.code == 0, str(answer)
    assert not (dest / "sst" / "c" / "0" / "1").exists(), "no source wrote anything there"


def test_a_damaged_shard_is_not_extended(tmp_path):
    store = in_shards(tmp_path, "{time: 40, lat: 60, lon: 80}")
    path = store.dest / "sst" / "c" / "0" / "0" / "0"
    whole = path.read_bytes()
    path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    answer = store.add(**MANY)
    assert answer.crash() is None and answer.code == 1 and "sst/c/0/0/0" in answer.text, str(answer)
    path.unlink()
    answer = store.build()
    assert answer.crash() is None and answer.code == 1 and "sst/c/0/0/0" in answer.text, str(answer)
    path.write_bytes(whole)
    assert_equal(store.build(), store.sources, store.dest)


# (h) replace

def replaced(tmp_path, zarr_format):
    """A published store, and a recipe with `mode: replace` whose second source is spoiled."""
    old = make(tmp_path / "old-01.nc", days("1999-01-01", 12), zlib=True)
    dest = tmp_path / "store.zarr"
    first = feedstock(tmp_path / "first", tmp_path / "old-*.nc", mode="create", zarr_format=zarr_format)
    assert_equal(frazil("build", first, "--to", dest, "--json"), [old], dest)
    new = [make(tmp_path / f"new-{i:02}.nc", days(f"2000-0{i}-01", 28), zlib=True, fletcher32=True) for i in (1, 2)]
    recipe = feedstock(tmp_path / "second", tmp_path / "new-*.nc", mode="replace", zarr_format=zarr_format)
    return old, new, dest, recipe


def test_a_replace_puts_the_new_store_in_the_place_of_the_old(tmp_path, zarr_format):
    _, new, dest, recipe = replaced(tmp_path, zarr_format)
    assert_equal(frazil("build", recipe, "--to", dest, "--json"), new, dest)
    assert sorted(path.name for path in tmp_path.glob("*store*")) == ["store.zarr"], "a stray sibling remains"


def test_a_replace_that_fails_half_way_leaves_the_old_store_as_it_was(tmp_path, zarr_format):
    old, new, dest, recipe = replaced(tmp_path, zarr_format)
    before = tree(dest)
    spoil(new[1])
    answer = frazil("build", recipe, "--to", dest, "--json")
    assert answer.crash() is None and answer.code == 1, str(answer)
    assert "new-02.nc" in answer.text and "sst" in answer.text
    assert not tree_differences(before, tree(dest))
    make(new[1], days("2000-02-01", 28), zlib=True, fletcher32=True)
    assert_equal(frazil("build", recipe, "--to", dest, "--json"), new, dest)
    assert sorted(path.name for path in tmp_path.glob("*store*")) == ["store.zarr"], "a stray sibling remains"


def test_convert_overwrites_only_when_told_to(tmp_path, zarr_format):
    one = make(tmp_path / "one.nc", days("2000-01-01", 5))
    two = make(tmp_path / "two.nc", days("2000-01-06", 5))
    dest = tmp_path / "z"
    assert_equal(convert([one], dest, zarr_format=zarr_format), [one], dest)
    before = tree(dest)
    answer = convert([two], dest, zarr_format=zarr_format)
    assert answer.code == 1 and "--overwrite" in answer.text, str(answer)
    assert not tree_differences(before, tree(dest))
    assert_equal(convert([two], dest, "--overwrite", zarr_format=zarr_format), [two], dest)


def test_convert_does_not_overwrite_what_is_no_store(tmp_path):
    one = make(tmp_path / "one.nc", days("2000-01-01", 5))
    dest = tmp_path / "thesis"
    dest.mkdir()
    (dest / "chapter.txt").write_text("years of work")
    answer = convert([one], dest)
    assert answer.code == 1, str(answer)
    assert tree(dest).keys() == {"chapter.txt"}
