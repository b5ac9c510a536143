"""The torture table, rows (a) to (f): files that differ, and what must become of them. Stock xarray is the judge.

Where a lossless rule covers the case the right values are the only pass; elsewhere exit 1 names file, variable, rule.
"""

import numpy as np
import pytest

from make import LAT, counter, days, feedstock, make, pair
from verdicts import assert_equal, assert_equal_or_refused, assert_refused, convert
from command import frazil

SHAPE = (5, 4, 6)
CHUNKS = [(), ("--chunks", "time=3"), ("--chunks", "time=7,lat=3,lon=2"), ("--chunks", "time=1000")]
HALVES = {"scale_factor": 0.5, "add_offset": 100.0}


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def zarr_format(request):
    return request.param


def packed(packing=None, start=0, **more):
    return {"dtype": "i2", "stored": counter(SHAPE, start), "packing": packing or HALVES, "fill": -32768, **more}


# (a) packing

OTHER_PACKINGS = {
    "scale_factor": packed({"scale_factor": 0.25, "add_offset": 100.0}),
    "add_offset": packed({"scale_factor": 0.5, "add_offset": 90.0}),
    "scale_factor beyond the range of the first": packed({"scale_factor": 300.0, "add_offset": 100.0}),
    "scale_factor that does not divide": packed({"scale_factor": 0.3, "add_offset": 100.0}),
    "_FillValue": packed(fill=-1),
    "dtype": packed(dtype="i4"),
    "no packing": {"dtype": "f4", "stored": counter(SHAPE, 1) * 0.5 + 100, "fill": -1e30},
}
PACKING_RULE = r"pack|scale_factor|add_offset|fill|dtype|type"


@pytest.mark.parametrize("what", OTHER_PACKINGS)
def test_a_file_packed_otherwise_is_refused_by_default(tmp_path, what, zarr_format):
    sources = pair(tmp_path, packed(), OTHER_PACKINGS[what])
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "sst", PACKING_RULE)


@pytest.mark.parametrize("second", [
    packed({"scale_factor": 1.0, "add_offset": 100.0}), packed({"scale_factor": 0.5, "add_offset": 110.0}),
    packed({"scale_factor": 2.0, "add_offset": 0.0}, start=50),
], ids=["twice the step", "another offset", "both"])
@pytest.mark.parametrize("chunks", CHUNKS[:3], ids=str)
def test_integers_that_map_exactly_are_repacked(tmp_path, second, chunks, zarr_format):
    sources = pair(tmp_path, packed(), second)
    answer = convert(sources, tmp_path / "z", "--differ", "packing=repack", *chunks, zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


@pytest.mark.parametrize("what", ["scale_factor", "scale_factor beyond the range of the first", "scale_factor that does not divide"])
def test_integers_that_do_not_map_exactly_are_not_repacked(tmp_path, what, zarr_format):
    sources = pair(tmp_path, packed(), OTHER_PACKINGS[what])
    answer = convert(sources, tmp_path / "z", "--differ", "packing=repack", zarr_format=zarr_format)
    # Another file's packing may hold both exactly; then the values must be right.
    assert_equal_or_refused(answer, sources, tmp_path / "z", ["one.nc", "two.nc"], "sst", PACKING_RULE)


@pytest.mark.parametrize("what", [name for name in OTHER_PACKINGS if name not in ("_FillValue", "dtype", "no packing")])
@pytest.mark.parametrize("chunks", CHUNKS[:3], ids=str)
def test_files_packed_otherwise_can_be_decoded(tmp_path, what, chunks, zarr_format):
    sources = pair(tmp_path, packed(), OTHER_PACKINGS[what])
    answer = convert(sources, tmp_path / "z", "--differ", "packing=decode", *chunks, zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


@pytest.mark.parametrize("what", ["_FillValue", "dtype", "no packing"])
@pytest.mark.parametrize("policy", ["repack", "decode"])
def test_a_policy_for_packing_never_gives_other_values(tmp_path, what, policy, zarr_format):
    sources = pair(tmp_path, packed(), OTHER_PACKINGS[what])
    answer = convert(sources, tmp_path / "z", "--differ", f"packing={policy}", zarr_format=zarr_format)
    assert_equal_or_refused(answer, sources, tmp_path / "z", ["one.nc", "two.nc"], "sst", PACKING_RULE)


def test_missing_values_stay_missing_when_files_are_decoded(tmp_path, zarr_format):
    stored = counter(SHAPE)
    stored[1, 2] = -32768
    sources = pair(tmp_path, packed(stored=stored), packed({"scale_factor": 0.125, "add_offset": 3.0}, stored=stored))
    answer = convert(sources, tmp_path / "z", "--differ", "packing=decode", zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


def test_a_float_of_another_width_is_refused(tmp_path, zarr_format):
    sources = pair(tmp_path, {}, {"dtype": "f8", "stored": counter(SHAPE) + 0.1})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "sst", "type")


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "u1"])
@pytest.mark.parametrize("fill", [None, 0, 7])
def test_a_stored_zero_is_a_value_unless_the_file_says_it_is_missing(tmp_path, dtype, fill, zarr_format):
    stored = counter(SHAPE)
    stored[:, 0] = 0
    stored[0] = 0
    odd = {"dtype": dtype, "stored": stored, "fill": fill, "constant": 0, "chunksizes": (1, 4, 6)}
    sources = pair(tmp_path, odd, odd)
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


# (b) time

@pytest.mark.parametrize("units, dtype", [
    ("days since 1999-12-01", "f8"), ("hours since 2000-01-01", "i4"), ("hours since 1900-01-01 00:00:0.0", "f4"),
    ("seconds since 1970-01-01", "i8"), ("minutes since 2000-01-01T12:00:00Z", "f8"), ("milliseconds since 2000-01-01", "i8"),
    ("days since 2000-01-01 00:00:00 +06:00", "f8"),
])
@pytest.mark.parametrize("chunks", [CHUNKS[0], CHUNKS[2]], ids=str)
def test_time_units_that_differ_give_the_same_times(tmp_path, units, dtype, chunks, zarr_format):
    sources = pair(tmp_path, {}, {"units": units, "time_dtype": dtype})
    answer = convert(sources, tmp_path / "z", *chunks, zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


def test_each_file_counting_from_its_own_first_day_gives_the_same_times(tmp_path, zarr_format):
    first = {"units": "days since 2000-01-01", "time_dtype": "i4"}
    sources = pair(tmp_path, first, {"units": "days since 2000-01-06", "time_dtype": "i4"})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "julian"])
def test_another_calendar_is_refused(tmp_path, calendar, zarr_format):
    sources = pair(tmp_path, {}, {"calendar": calendar, "times": [5, 6, 7, 8, 9]})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "time", "calendar")


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "all_leap", "julian", "proleptic_gregorian"])
def test_one_calendar_of_any_kind_with_two_epochs_is_joined(tmp_path, calendar, zarr_format):
    first = {"calendar": calendar, "times": [55, 56, 57, 58, 59]}
    second = {"calendar": calendar, "times": [60 * 24 + 12 * i for i in range(5)], "units": "hours since 2000-01-01"}
    sources = pair(tmp_path, first, second)
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


# (c) layout: no decoded value differs, so the right values are the only pass

LAYOUTS = {
    "zlib": {"zlib": True, "complevel": 9}, "no shuffle": {"zlib": True, "shuffle": False},
    "fletcher32": {"zlib": True, "fletcher32": True}, "chunk shape": {"zlib": True, "chunksizes": (2, 3, 5)},
    "one chunk": {"zlib": True, "chunksizes": (5, 4, 6)}, "big-endian": {"endian": "big"},
    "contiguous": {"unlimited": False, "contiguous": True}, "netCDF-3": {"file_format": "NETCDF3_CLASSIC"},
    "CDF-5": {"file_format": "NETCDF3_64BIT_DATA"}, "order": {"order": ("lat", "lon", "time")},
    "order and chunks": {"order": ("lat", "time", "lon"), "zlib": True, "chunksizes": (2, 2, 4)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_layout_that_differs_changes_nothing(tmp_path, layout, chunks, zarr_format):
    first = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": (1, 4, 6)}
    sources = pair(tmp_path, first, LAYOUTS[layout])
    answer = convert(sources, tmp_path / "z", *chunks, zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


@pytest.mark.parametrize("codec", ["zstd:3", "blosc:zstd:3", "gzip:6", "none", "keep"])
@pytest.mark.parametrize("layout", ["zlib", "no shuffle", "fletcher32", "big-endian", "chunk shape", "order"])
def test_every_codec_gives_the_same_values(tmp_path, codec, layout, zarr_format):
    first = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": (1, 4, 6)}
    sources = pair(tmp_path, first, {"chunksizes": (1, 4, 6), **LAYOUTS[layout]})
    answer = convert(sources, tmp_path / "z", "--codec", codec, zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


@pytest.mark.parametrize("chunks, shards", [("time=1,lat=2,lon=3", "time=4,lat=4,lon=6"), ("time=2", "time=6")])
def test_shards_give_the_same_values(tmp_path, chunks, shards):
    sources = pair(tmp_path, {"zlib": True}, {"chunksizes": (2, 3, 5)})
    answer = convert(sources, tmp_path / "z", "--chunks", chunks, "--shards", shards)
    assert_equal(answer, sources, tmp_path / "z")


@pytest.mark.parametrize("chunks", [(), ("--chunks", "time=100"), ("--chunks", "time=366,lat=1")], ids=str)
def test_years_of_366_and_365_days_are_joined(tmp_path, chunks, zarr_format):
    sources = []
    for year, n in ((2000, 366), (2001, 365), (2002, 365)):
        unit = f"days since {year}-01-01"
        sources.append(make(tmp_path / f"{year}.nc", list(range(n)), units=unit, zlib=True, chunksizes=(n, 2, 3)))
    answer = convert(sources, tmp_path / "z", *chunks, zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


def test_years_without_leap_days_are_joined(tmp_path, zarr_format):
    sources = []
    for year in (2000, 2001):
        unit = f"days since {year}-01-01"
        sources.append(make(tmp_path / f"{year}.nc", list(range(365)), units=unit, calendar="noleap", chunksizes=(73, 4, 6)))
    answer = convert(sources, tmp_path / "z", "--chunks", "time=100", zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


# (d) and (e) coordinates and units

@pytest.mark.parametrize("lat", [LAT + 1e-6, LAT[::-1], LAT[:3], np.append(LAT, 75.0)], ids=["off by 1e-6", "flipped", "shorter", "longer"])
def test_another_latitude_is_refused(tmp_path, lat, zarr_format):
    second = {"lat": lat, "stored": counter((5, len(lat), 6))}
    sources = pair(tmp_path, {}, second)
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "lat", "lat")


def test_kelvin_and_celsius_are_not_joined(tmp_path, zarr_format):
    sources = pair(tmp_path, {}, {"attributes": {"units": "degC"}})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "sst", "units")


@pytest.mark.parametrize("attribute", ["standard_name", "cell_methods", "grid_mapping"])
def test_attributes_that_change_the_meaning_must_agree(tmp_path, attribute, zarr_format):
    sources = pair(tmp_path, {"attributes": {attribute: "one"}}, {"attributes": {attribute: "two"}})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "sst", attribute)


def test_a_constant_that_differs_is_refused(tmp_path, zarr_format):
    sources = pair(tmp_path, {"constant": 1}, {"constant": 2})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "crs", "equal|differ|along|time")


def test_a_variable_that_one_file_lacks_is_refused(tmp_path, zarr_format):
    sources = pair(tmp_path, {}, {"name": "sss"})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], None, "sst|sss")


# (f) days

def test_files_out_of_order_are_sorted_by_label(tmp_path, zarr_format):
    sources = [make(tmp_path / f"{name}.nc", days(first, 5)) for name, first in (("c", "2000-01-01"), ("a", "2000-01-11"), ("b", "2000-01-06"))]
    for order in (sources, sources[::-1]):
        dest = tmp_path / f"z{order[0].stem}"
        answer = convert(order, dest, "--chunks", "time=4", zarr_format=zarr_format)
        assert_equal(answer, sources, dest)


@pytest.mark.parametrize("stored", [None, counter(SHAPE, 99)], ids=["same values", "other values"])
def test_a_day_that_comes_twice_is_refused(tmp_path, stored, zarr_format):
    sources = pair(tmp_path, {}, {"times": days("2000-01-05", 5), "stored": stored})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "time", "twice|duplicat|overlap|both|already")


def test_a_missing_day_shifts_nothing(tmp_path, zarr_format):
    sources = pair(tmp_path, {}, {"times": days("2000-01-07", 5)})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_equal_or_refused(answer, sources, tmp_path / "z", ["one.nc", "two.nc"], "time", "gap|missing")


def test_a_missing_day_is_an_error_when_the_recipe_expects_every_day(tmp_path):
    pair(tmp_path, {}, {"times": days("2000-01-07", 5)})
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc", combine="gaps: {expect: 1d, otherwise: error}")
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "time", "gap|missing|2000-01-06")


def test_a_file_whose_days_run_backwards_never_gives_other_values(tmp_path, zarr_format):
    sources = pair(tmp_path, {"times": days("2000-01-01", 5)[::-1]}, {})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    # Placed by label, each day has one place whichever way its file runs.
    assert_equal_or_refused(answer, sources, tmp_path / "z", ["one.nc", "two.nc"], "time", "order|monoton|descend|backward|direction|increas")


def test_a_spoiled_chunk_is_refused_by_name(tmp_path, zarr_format):
    from make import spoil

    sources = pair(tmp_path, {"zlib": True}, {"zlib": True, "fletcher32": True})
    spoil(sources[1])
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert_refused(answer, tmp_path / "z", "two.nc", "sst", "checksum|fletcher|inflate|deflate|zlib|corrupt|decode|chunk")


def test_other_time_units_are_refused_where_that_is_asked_for(tmp_path):
    sources = pair(tmp_path, {}, {"times": list(range(5)), "units": "days since 2000-01-06"})
    answer = convert(sources, tmp_path / "z", "--differ", "time=error")
    assert_refused(answer, tmp_path / "z", ["one.nc", "two.nc"], "time", "units")
    assert_equal(convert(sources, tmp_path / "z"), sources, tmp_path / "z")
