"""What was asked wrongly is no difference of files: nothing is set apart for it. And what is set apart is opened by the lines
that are printed, in the stock reader of its format."""

import sys

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

import clients
from command import frazil
from make import days, make as small
from same import isolated
from virtual import FORMATS, is_there, make, pair, place_in, shown, shown_by, snippet_of, verdict_of

GRID = {"zlib": True, "chunksizes": (1, 60, 80)}


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


def to_virtual(sources, dest, form, *words):
    return frazil("convert", *sources, dest, "--to", "virtual", "--format", form, "--json", *words)


def refused(answer, dest, code, *words):
    assert answer.crash() is None and answer.code == 1, f"expected a refusal\n{answer}"
    assert answer.report["error"]["code"] == code, str(answer)
    assert all(word in answer.text for word in words), f"one of {words} is not named\n{answer}"
    assert not is_there(dest), "what was refused can be opened"


@pytest.mark.parametrize("along", ["tmie", "time,z"])
def test_a_dimension_that_no_file_has_is_named(tmp_path, form, along):
    sources, dest = pair(tmp_path, GRID, GRID), place_in(tmp_path, form)
    there = frazil("convert", *sources, tmp_path / "z", "--to", "zarr", "--json", "--along", along)
    answer = to_virtual(sources, dest, form, "--along", along)
    refused(answer, dest, "combine.no-dimension", along, "time", "lat")
    assert answer.report["error"]["message"] == there.report["error"]["message"]
    assert along != "tmie" or "did you mean `time`" in answer.report["error"]["hint"], str(answer)


def test_the_recipe_of_a_missing_tile_is_refused(tmp_path, form):
    """Four tiles of time and latitude, and one is gone."""
    for i, first in enumerate(("2000-01-01", "2000-01-06")):
        for j in (0, 1):
            make(tmp_path / f"t{i}{j}.nc", days(first, 5), lat=[10.0 * j, 10.0 * j + 1], lon=range(80), chunksizes=(1, 2, 80))
    feed = tmp_path / "feed"
    (feed / "feedstock").mkdir(parents=True)
    (feed / "feedstock/recipe.yaml").write_text(
        f'recipe: 1\nid: x\nsources: {{f: {{glob: "../t*.nc"}}}}\ncombine: {{along: [time, lat]}}\nwrite: {{virtual: {{format: {form}, inline: {{below: 1B}}}}}}\n'
    )
    dest = place_in(tmp_path, form)
    answer = frazil("build", feed, "--to", dest, "--json")
    assert answer.code == 0 and verdict_of([tmp_path / "t00.nc", tmp_path / "t10.nc"], dest, form) is not None, str(answer)
    again = place_in(tmp_path / "feed", form)
    (tmp_path / "t11.nc").unlink()
    refused(frazil("build", feed, "--to", again, "--json"), again, "combine.uncovered", "sst", "lat")


def test_a_file_that_is_skipped_leaves_no_group(tmp_path, form):
    for name in ("tas", "pr"):
        for number, first in enumerate(("2000-01-01", "2000-01-06", "2000-01-11")):
            if (name, number) != ("pr", 1):
                make(tmp_path / f"{name}_{number}.nc", days(first, 5), name=name, **GRID)
    feed = tmp_path / "feed"
    (feed / "feedstock").mkdir(parents=True)
    (feed / "feedstock/recipe.yaml").write_text(
        'recipe: 1\nid: x\nsources: {f: {url: "../{v}_{n}.nc", keys: {v: [tas, pr], n: 0..2}, missing: skip}}\n'
        f"combine: {{along: time, merge: v}}\nwrite: {{virtual: {{format: {form}}}}}\n"
    )
    dest = place_in(tmp_path, form)
    refused(frazil("build", feed, "--to", dest, "--json"), dest, "combine.absent", "pr", "tas_1.nc")


def test_files_that_differ_are_still_set_apart_and_the_lines_printed_open_them(tmp_path, form):
    sources, dest = pair(tmp_path, GRID, {**GRID, "dtype": "i2"}), place_in(tmp_path, form)
    answer = frazil("convert", *sources, dest, "--to", "virtual", "--format", form, "--if-incompatible", "split", "--inline", "1B")
    assert answer.code == 0 and "era-1, era-2" in answer.text, str(answer)
    assert verdict_of(sources, dest, form) == "split"
    snippet = snippet_of(answer)
    assert 'group="era-1"' in snippet, snippet
    found = shown_by(sys.executable, snippet)
    assert found == isolated(_shown, str(sources[0])) and "sst" in found, snippet
    again = frazil("convert", *sources, dest, "--to", "virtual", "--format", form, "--if-incompatible", "split", "--inline", "1B")
    assert again.code == 0 and "already" in again.text and snippet_of(again) == snippet, str(again)


def _shown(path):
    return shown(xr.open_dataset(path, engine="netcdf4"))


def test_a_dataset_with_arrays_at_its_root_is_opened_there(tmp_path, form):
    sources, dest = pair(tmp_path, GRID, GRID), place_in(tmp_path, form)
    answer = frazil("convert", *sources, dest, "--to", "virtual", "--format", form)
    assert answer.code == 0 and "group=" not in snippet_of(answer), str(answer)


def test_a_dimension_to_align_that_no_file_has_is_named(tmp_path, form):
    sources = [small(tmp_path / f"{name}.nc", days(first, 5)) for name, first in (("one", "2000-01-01"), ("two", "2000-01-06"))]
    dest = place_in(tmp_path, form)
    answer = to_virtual(sources, dest, form, "--align", "latt=1e-5")
    refused(answer, dest, "combine.no-dimension", "latt", "did you mean `lat`")


def test_files_that_are_set_apart_are_aligned_where_they_can_be(tmp_path, form):
    """One kind of file has the dimension, the other has not."""
    one = small(tmp_path / "one.nc", days("2000-01-01", 5), dtype="f8")
    two = small(tmp_path / "two.nc", days("2000-01-06", 5), dtype="f8", lat=[-45.0, -15.0, 15.0, 45.0 + 1e-9])
    with netCDF4.Dataset(tmp_path / "three.nc", "w") as file:
        file.createDimension("time", None)
        file.createVariable("time", "f8", ("time",)).units = "days since 2000-01-01"
        file["time"][:] = range(10, 15)
        file.createVariable("sst", "f8", ("time",))[:] = range(5)
    answer = to_virtual([one, two, tmp_path / "three.nc"], place_in(tmp_path, form), form, "--align", "lat=1e-5", "--along", "time")
    assert answer.code == 0 and "era-2" in answer.text, str(answer)


def in_units(path, first, units):
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createVariable("time", "f8", ("time",)).units = "days since 2001-01-01"
        file["time"][:] = [first, first + 1]
        file.createVariable("t", "f4", ("time",), chunksizes=(2,)).units = units
        file["t"][:] = [first + 0.5, first + 1.5]
    return path


@pytest.fixture
def apart(tmp_path, form):
    """Files of two kinds, made into a group each; the answer and the place."""
    sources = [in_units(tmp_path / f"a{n}.nc", 2 * n, units) for n, units in enumerate(["K", "degC", "K"])]
    dest = place_in(tmp_path, form)
    answer = to_virtual(sources, dest, form, "--inline", "1B")
    assert answer.code == 0, str(answer)
    return sources, dest, answer


def test_the_reason_for_setting_apart_is_named_and_so_is_each_group(apart):
    sources, _, answer = apart
    said = next(warning["message"] for warning in answer.report["warnings"] if warning["code"] == "virtual.split")
    for word in ("units", "`/t`", "degC", "K", "era-1", "era-2", "a1.nc"):
        assert word in said, said


def test_all_groups_are_in_the_lines_that_open_one(tmp_path, form):
    sources = [in_units(tmp_path / f"a{n}.nc", 2 * n, units) for n, units in enumerate(["K", "degC"])]
    answer = frazil("convert", *sources, place_in(tmp_path, form), "--to", "virtual", "--format", form)
    assert answer.code == 0 and "era-1, era-2" in snippet_of(answer), str(answer)


@pytest.mark.parametrize("order", [None, [0, 1, 2], [1, 2, 0]])
def test_what_is_set_apart_is_compared_group_by_group(apart, order):
    sources, dest, _ = apart
    given = [] if order is None else [sources[number] for number in order]
    answer = frazil("verify", dest, "--json", "--sources", *given)
    assert answer.code == 0 and answer.report["totals"]["values_compared"] == 12, str(answer)


def test_another_value_in_a_file_that_is_set_apart_is_named(apart, tmp_path):
    """Each file in turn has another value: its own group and element are named, and no other."""
    sources, dest, _ = apart
    for number, path, place in ((0, "/era-1/t", "0:1"), (1, "/era-2/t", "0:1"), (2, "/era-1/t", "2:3")):
        folder = tmp_path / f"other{number}"
        folder.mkdir()
        given = [folder / source.name for source in sources]
        for source, copy in zip(sources, given):
            copy.write_bytes(source.read_bytes())
        with netCDF4.Dataset(given[number], "a") as file:
            file["t"][0] = -7.0
        answer = frazil("verify", dest, "--json", "--sources", *given)
        found = [item for item in answer.report["items"] if "array" in item]
        assert answer.code == 1 and [item["array"] for item in found] == [path], str(answer)
        assert place in found[0]["region"] and "-7" in found[0]["problem"], str(answer)


def test_other_files_than_those_that_were_set_apart_are_refused(apart):
    sources, dest, _ = apart
    answer = frazil("verify", dest, "--sources", sources[0], sources[2])
    assert answer.code == 1 and not answer.crash() and "2 groups" in answer.text, str(answer)


def test_what_a_format_has_no_place_for_is_not_missed_when_values_are_compared(tmp_path, form):
    """Zarr v2, which Kerchunk is, has no compounds in compounds."""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["x"] = np.arange(6.0)
        file["deep"] = np.zeros(3, [("a", "i4"), ("b", [("c", "f4"), ("d", "i2")])])
    dest = place_in(tmp_path, form)
    made = to_virtual([tmp_path / "in.h5"], dest, form, "--inline", "1B")
    assert made.code in (0, 3), str(made)
    answer = frazil("verify", dest, "--json", "--sources")
    assert answer.code == 0 and answer.report["totals"]["values_compared"] >= 6, str(answer)


def test_an_array_that_was_never_written_is_compared_whatever_its_size(tmp_path):
    """Its one chunk would have four petabytes. Kerchunk has no name for it."""
    for name in ("in.h5", "other.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            fill = 5 if name == "in.h5" else 6
            file.create_dataset("x", (1 << 25, 1 << 25), "i4", fillvalue=fill)
            file["y"] = np.arange(6.0)
    dest = place_in(tmp_path, "icechunk")
    made = to_virtual([tmp_path / "in.h5"], dest, "icechunk")
    assert made.code == 0, str(made)
    same = frazil("verify", dest, "--sources", tmp_path / "in.h5")
    assert same.code == 0 and same.rss_bytes < 500e6, str(same)
    other = frazil("verify", dest, "--json", "--sources", tmp_path / "other.h5")
    assert other.code == 1 and [item["array"] for item in other.report["items"] if "array" in item] == ["/x"], str(other)
