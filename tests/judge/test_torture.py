"""The torture table, rows (a) to (f): files that differ, and what must become of them. Stock xarray is the judge.

Where a lossless rule covers the case the right values are the only pass; elsewhere exit 1 names file, variable, rule.
"""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from make import LAT, counter, days, feedstock, make
from verdicts import assert_equal, assert_equal_or_refused, assert_refused, convert
from command import frazil

SHAPE = (5, 4, 6)
CHUNKS = [(), ("--chunks", "time=3"), ("--chunks", "time=7,lat=3,lon=2"), ("--chunks", "time=1000")]
HALVES = {"scale_factor": 0.5, "add_offset": 100.0}


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def zarr_format(request):
    return request.param


def pair(folder, first=None, second=None):
    """Two files of five days each; the arguments make each one odd."""
    one = make(folder / "one.nc", **{"times": days("2000-01-01", 5), **(first or {})})
    two = make(folder / "two.nc", **{"times": days("2000-01-06", 5), **(second or {})})
    return [one, two]


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


# (g) what has no label: lengths, spellings, meanings

def plain(path, times, *, length=3, n=1, dtype="f4", stored=None, scaling=None, texts=None, static=False, group="/", file_format="NETCDF4", **time):
    """`v(time, y, x)` with dimensions `y` and `x` that have no coordinate."""
    with netCDF4.Dataset(path, "a" if path.exists() else "w", format=file_format) as file:
        here = file if group == "/" else file.createGroup(group)
        here.createDimension("time", None)
        here.createDimension("y", length)
        here.createDimension("x", n)
        labels = here.createVariable("time", "f8", ("time",))
        labels.setncatts({"units": "days since 2000-01-01", **time})
        labels[:] = times
        if texts is not None:
            here.createVariable("station", "S1", ("time", "y"))[:] = netCDF4.stringtochar(np.array(texts, f"S{length}"))
            return path
        variable = here.createVariable("v", dtype, ("y", "x") if static else ("time", "y", "x"))
        variable.set_auto_maskandscale(False)
        variable.setncatts(scaling or {})
        if stored is None:
            stored = np.arange(length)[None, :, None] + np.asarray(times)[:, None, None] * 1000 + np.zeros(n)
            stored = stored[0] if static else stored
        variable[:] = stored
    return path


@pytest.mark.parametrize("static", [False, True], ids=["joined", "constant"])
@pytest.mark.parametrize("n", [1, 400_000], ids=["small", "large"])
@pytest.mark.parametrize("file_format", ["NETCDF4", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize("lengths", [(5, 8), (8, 5)], ids=str)
def test_a_dimension_of_another_length_is_refused(tmp_path, lengths, file_format, n, static):
    sources = [
        plain(tmp_path / f"{name}.nc", [first, first + 1], length=length, n=n, static=static, file_format=file_format)
        for name, first, length in (("one", 0, lengths[0]), ("two", 2, lengths[1]))
    ]
    answer = convert(sources, tmp_path / "z")
    assert_refused(answer, tmp_path / "z", "two.nc", "v", f"combine.length.*one.nc|`y` of length {lengths[1]}.* {lengths[0]}")
    assert answer.report["error"]["code"] == "combine.length"


@pytest.mark.parametrize("lengths", [(3, 5), (5, 3)], ids=str)
def test_a_store_is_not_extended_by_another_length(tmp_path, lengths):
    plain(tmp_path / "0.nc", [0, 1], length=lengths[0])
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc", chunks="auto", mode="extend")
    assert frazil("build", recipe, "--to", tmp_path / "z", "--json").code == 0
    before = xr.open_zarr(tmp_path / "z").load()
    plain(tmp_path / "1.nc", [2, 3], length=lengths[1])
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
    assert answer.code == 1 and answer.report["error"]["code"] == "combine.length", str(answer)
    assert xr.open_zarr(tmp_path / "z").load().identical(before)


@pytest.mark.parametrize("order", [1, -1], ids=["longer after", "longer first"])
def test_texts_kept_as_characters_are_padded(tmp_path, order, zarr_format):
    sources = [
        plain(tmp_path / "one.nc", [0, 1], length=4, texts=["Oslo", "Rom"]),
        plain(tmp_path / "two.nc", [2, 3], length=8, texts=["Helsinki", "Madrid"]),
    ][::order]
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert answer.code == 0, str(answer)
    found = xr.open_zarr(tmp_path / "z").station.values.tolist()
    assert found == [b"Oslo", b"Rom", b"Helsinki", b"Madrid"]
    assert frazil("verify", tmp_path / "z", "--sources", *sources).code == 0


def test_a_store_is_not_extended_by_longer_texts(tmp_path):
    plain(tmp_path / "0.nc", [0, 1], length=4, texts=["Oslo", "Rom"])
    recipe = feedstock(tmp_path / "f", tmp_path / "*.nc", chunks="auto", mode="extend")
    assert frazil("build", recipe, "--to", tmp_path / "z", "--json").code == 0
    plain(tmp_path / "1.nc", [2, 3], length=8, texts=["Helsinki", "Madrid"])
    answer = frazil("build", recipe, "--to", tmp_path / "z", "--json")
    assert answer.code == 1, str(answer)
    assert "`/station`: dimension `y` has length 4 in the store, and would need 8" in str(answer.report["error"])
    assert xr.open_zarr(tmp_path / "z").station.values.tolist() == [b"Oslo", b"Rom"]


@pytest.mark.parametrize("spellings", [
    ("noleap", "365_day"), ("365_day", "NOLEAP"), ("all_leap", "366_day"), ("gregorian", "standard"), ("Standard", "gregorian"),
    ("standard", "proleptic_gregorian"), ("proleptic_gregorian", "standard"),
], ids=" ".join)
def test_one_calendar_in_two_spellings_is_joined(tmp_path, spellings, zarr_format):
    sources = [plain(tmp_path / f"{i}.nc", [60000 + 2 * i, 60001 + 2 * i], calendar=spelling) for i, spelling in enumerate(spellings)]
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert answer.code == 0, str(answer)
    wanted = [time for source in sources for time in xr.open_dataset(source).time.values]
    assert list(xr.open_zarr(tmp_path / "z").time.values) == wanted


def test_standard_and_proleptic_dates_before_the_reform_are_not_joined(tmp_path):
    calendars = ("standard", "proleptic_gregorian")
    sources = [
        plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], units="days since 1500-01-01", calendar=calendar)
        for i, calendar in enumerate(calendars)
    ]
    assert_refused(convert(sources, tmp_path / "z"), tmp_path / "z", "1.nc", "time", "combine.calendar")


@pytest.mark.parametrize("name, values", [
    ("flag_meanings", ("good bad", "bad good")), ("flag_values", ([0, 1], [1, 0])), ("flag_masks", ([1, 2], [2, 1])),
    ("valid_range", ([0.0, 1.0], [0.0, 2.0])), ("coordinates", ("here", "there")), ("dtype", ("bool", "int8")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_attributes_that_readers_decode_with_must_agree(tmp_path, name, values):
    sources = [plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], scaling={name: value}) for i, value in enumerate(values)]
    assert_refused(convert(sources, tmp_path / "z"), tmp_path / "z", "1.nc", "v", f"combine.meaning.*{name}")


def test_coordinates_named_in_one_file_only_stay_coordinates(tmp_path, zarr_format):
    sources = []
    for i, names in enumerate(("lat", "lon lat")):
        path = plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], scaling={"coordinates": names})
        with netCDF4.Dataset(path, "a") as file:
            for name in ("lat", "lon"):
                file.createVariable(name, "f4", ("y",))[:] = [1, 2, 3]
        sources.append(path)
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert answer.code == 0, str(answer)
    assert {"lat", "lon"} <= set(xr.open_zarr(tmp_path / "z").v.coords)


@pytest.mark.parametrize("scaling", [
    {"_Unsigned": "true"}, {"scale_factor": np.float32(0.1)}, {"scale_factor": np.float32(0.1), "add_offset": np.float32(3)},
    {"scale_factor": 0.1}, {"_Unsigned": "true", "scale_factor": 0.5}, {},
], ids=lambda scaling: " ".join(scaling) or "plain")
def test_a_wider_type_keeps_what_counts_mean(tmp_path, scaling, zarr_format):
    stored = np.array([-17, 5]).reshape(2, 1, 1)
    sources = [
        plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], length=1, dtype=dtype, stored=stored, scaling=scaling)
        for i, dtype in enumerate(("i1", "i2"))
    ]
    answer = convert(sources, tmp_path / "z", "--differ", "dtype=promote", zarr_format=zarr_format)
    assert_equal(answer, sources, tmp_path / "z")


def test_counts_in_attributes_are_widened_as_the_values_are(tmp_path):
    sources = []
    for i, (dtype, mark) in enumerate((("u1", 200), ("i2", 200))):
        scaling = {"_Unsigned": "true", "missing_value": np.array(mark, dtype), "flag_values": np.array([3, mark], dtype)}
        stored = np.array([mark, 5]).reshape(2, 1, 1)
        sources.append(plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], length=1, dtype=dtype, stored=stored, scaling=scaling))
    answer = convert(sources, tmp_path / "z", "--differ", "dtype=promote")
    assert answer.code == 0, str(answer)
    store = xr.open_zarr(tmp_path / "z").v
    np.testing.assert_array_equal(store.values.ravel(), [np.nan, 5, np.nan, 5])
    assert list(store.attrs["flag_values"]) == [3, 200] and "_Unsigned" not in store.attrs


def test_an_unsigned_fill_that_means_a_value_elsewhere_is_refused(tmp_path):
    stored = np.array([-1, 5]).reshape(2, 1, 1)
    sources = []
    for i, dtype in enumerate(("i1", "i2")):
        scaling = {"_Unsigned": "true", "missing_value": np.array(-1, dtype)}
        sources.append(plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], length=1, dtype=dtype, stored=stored, scaling=scaling))
    answer = convert(sources, tmp_path / "z", "--differ", "dtype=promote")
    assert_refused(answer, tmp_path / "z", "1.nc", "v", "combine.dtype")
    assert "promote" not in answer.report["error"]["hint"]


@pytest.mark.parametrize("n", [1, 400_000], ids=["small", "large"])
def test_a_label_in_two_files_is_refused_at_any_size(tmp_path, n):
    sources = [plain(tmp_path / f"{i}.nc", [i, i + 1], n=n) for i in (0, 1)]
    assert_refused(convert(sources, tmp_path / "z"), tmp_path / "z", "1.nc", "time", "combine.duplicate.*2000-01-02")


def test_a_group_with_labels_of_its_own_is_refused(tmp_path):
    sources = []
    for i in (0, 1):
        path = plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], group="A")
        sources.append(plain(path, [0, 1], group="B"))
    assert_refused(convert(sources, tmp_path / "z"), tmp_path / "z", "1.nc", "time", "combine.group-labels.*/B")


def test_groups_with_the_same_labels_are_joined(tmp_path):
    sources = []
    for i in (0, 1):
        path = plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1], group="A")
        sources.append(plain(path, [48 * i, 48 * i + 24], group="B", units="hours since 2000-01-01"))
    answer = convert(sources, tmp_path / "z")
    assert answer.code == 0, str(answer)
    for group in "AB":
        wanted = [time for source in sources for time in xr.open_dataset(source, group=group).time.values]
        assert list(xr.open_zarr(tmp_path / "z", group=group).time.values) == wanted


@pytest.mark.parametrize("hours, is_joined", [(24, True), (25, False)])
def test_one_time_counted_from_two_dates_is_the_same(tmp_path, hours, is_joined):
    sources = [plain(tmp_path / f"{i}.nc", [2 * i, 2 * i + 1]) for i in (0, 1)]
    for source, units, value in zip(sources, ("days since 2000-01-01", "hours since 2000-01-01"), (1, hours)):
        with netCDF4.Dataset(source, "a") as file:
            reference = file.createVariable("reference", "f8", ())
            reference.units = units
            reference[...] = value
    answer = convert(sources, tmp_path / "z")
    if is_joined:
        assert answer.code == 0, str(answer)
        assert xr.open_zarr(tmp_path / "z").reference.values == np.datetime64("2000-01-02")
    else:
        assert_refused(answer, tmp_path / "z", "1.nc", "reference", "2000-01-02T01:00:00 against 2000-01-02T00:00:00")


def test_zero_and_negative_zero_are_one_label(tmp_path):
    sources = pair(tmp_path, {"lat": [0.0, 1, 2, 3]}, {"lat": [-0.0, 1, 2, 3]})
    assert convert(sources, tmp_path / "z").code == 0


def test_a_tolerance_is_not_offered_for_a_coordinate_that_runs_the_other_way(tmp_path):
    sources = pair(tmp_path, {}, {"lat": LAT[::-1]})
    answer = convert(sources, tmp_path / "z")
    assert_refused(answer, tmp_path / "z", "two.nc", "lat", "other way")
    assert "--align" not in answer.report["error"]["hint"]


@pytest.mark.parametrize("second, rule, avoid", [
    ({"dtype": "i2", "scaling": {"_Unsigned": "true"}}, "combine.packing.*_Unsigned", "dtypes"),
    ({"dtype": "i4", "scaling": {"missing_value": np.int32(-1)}}, "combine.dtype.*int32.*int16", "fill values"),
    ({"dtype": "f8", "scaling": {"missing_value": -1.0}}, "combine.dtype.*float64.*int16", "fill values"),
], ids=["_Unsigned", "a wider fill", "a float fill"])
def test_the_message_names_what_really_differs(tmp_path, second, rule, avoid):
    first = {} if "_Unsigned" in second["scaling"] else {"missing_value": np.int16(-1)}
    sources = [
        plain(tmp_path / "one.nc", [0, 1], dtype="i2", scaling=first, stored=1), plain(tmp_path / "two.nc", [2, 3], stored=1, **second),
    ]
    answer = convert(sources, tmp_path / "z")
    assert_refused(answer, tmp_path / "z", "two.nc", "v", rule)
    assert avoid not in answer.report["error"]["message"]


@pytest.mark.parametrize("dtype", ["i4", "f4"])
def test_times_that_need_a_wider_type_are_there(tmp_path, dtype, zarr_format):
    first = {"time_dtype": dtype, "units": "days since 2000-01-01"}
    second = {"time_dtype": "f8", "times": days("2000-01-06", 5, 25), "units": "minutes since 1970-01-01"}
    sources = pair(tmp_path, first, second)
    assert_equal(convert(sources, tmp_path / "z", zarr_format=zarr_format), sources, tmp_path / "z")


def test_files_side_by_side_share_their_labels(tmp_path, zarr_format):
    sources = pair(tmp_path, {"name": "sst"}, {"name": "sss", "times": days("2000-01-01", 5)})
    answer = convert(sources, tmp_path / "z", zarr_format=zarr_format)
    assert answer.code == 0, str(answer)
    store = xr.open_zarr(tmp_path / "z")
    assert store.sizes["time"] == 5 and {"sst", "sss"} <= set(store)
