"""The torture table for virtual datasets: files that differ, through each format. Joined with the right values, split into
right groups, written natively, or refused by name; never joined wrongly. Stock readers are the judge.

Where nothing that is stored stands against it, Icechunk must join: what cannot be referenced is written natively.
"""

import h5py
import numpy as np
import pytest

import clients
from make import MANY, counter, days
from virtual import FORMATS, assert_joined, assert_refused, assert_right, convert, make, pair, place_in, recipe, report_faults
from command import frazil

# Each format, policy and difference: all of them take ten minutes.
pytestmark = pytest.mark.one_in(3)
LAT, LON = MANY["lat"], MANY["lon"]
SHAPE = (5, 60, 80)
HALVES = {"scale_factor": 0.5, "add_offset": 100.0}
GRID = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": (1, 60, 80)}
FILES = ["one.nc", "two.nc"]
POLICIES = ["equivalent", "equivalent,split", "native,split", "equivalent,native,split"]


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


def packed(packing=None, start=0, **more):
    return {**GRID, "dtype": "i2", "stored": counter(SHAPE, start), "packing": packing or HALVES, "fill": -32768, **more}


# What files differ in: of the first, of the second, the variable, the rule that a refusal names.
DIFFERENT = {
    "scale_factor": (packed(), packed({"scale_factor": 0.25, "add_offset": 100.0}), "sst", "pack|scale_factor"),
    "scale_factor 0.01 and 0.1": (packed({"scale_factor": 0.01, "add_offset": 0.0}), packed({"scale_factor": 0.1, "add_offset": 0.0}), "sst", "pack|scale_factor"),
    "add_offset": (packed(), packed({"scale_factor": 0.5, "add_offset": 90.0}), "sst", "pack|add_offset"),
    "_FillValue": (packed(), packed(fill=-1), "sst", "fill"),
    "_FillValue that the other stores": (packed(fill=0), packed(fill=-1), "sst", "fill"),
    "dtype of integers": (packed(), packed(dtype="i4"), "sst", "type|pack"),
    "signed and unsigned": ({**GRID, "dtype": "i2"}, {**GRID, "dtype": "u2"}, "sst", "type"),
    "dtype of floats": (GRID, {**GRID, "dtype": "f8", "stored": counter(SHAPE) + 0.1}, "sst", "type"),
    "packed and not": (packed(), {**GRID, "dtype": "f4", "stored": counter(SHAPE, 1) * 0.5 + 100, "fill": -1e30}, "sst", "pack|type|scale_factor"),
    "packed in one only": ({**GRID, "dtype": "i2"}, packed(fill=None), "sst", "pack|scale_factor|add_offset"),
    "_Unsigned": ({**GRID, "dtype": "i1", "attributes": {"_Unsigned": "true"}}, {**GRID, "dtype": "i1"}, "sst", "unsigned|type"),
    "K and degC": (GRID, {**GRID, "attributes": {"units": "degC"}}, "sst", "units"),
    "standard_name": ({**GRID, "attributes": {"standard_name": "one"}}, {**GRID, "attributes": {"standard_name": "two"}}, "sst", "standard_name"),
    "cell_methods": ({**GRID, "attributes": {"cell_methods": "one"}}, {**GRID, "attributes": {"cell_methods": "two"}}, "sst", "cell_methods"),
    "calendar": (GRID, {**GRID, "calendar": "noleap", "times": [5, 6, 7, 8, 9]}, "time", "calendar"),
    "latitude off by 1e-6": (GRID, {**GRID, "lat": LAT + 1e-6}, "lat", "lat"),
    "latitude flipped": (GRID, {**GRID, "lat": LAT[::-1]}, "lat", "lat"),
    "latitude shorter": ({**GRID, "chunksizes": (1, 30, 80)}, {**GRID, "lat": LAT[:45], "stored": counter((5, 45, 80)), "chunksizes": (1, 30, 80)}, "lat", "lat"),
    "constant": ({**GRID, "constant": 1}, {**GRID, "constant": 2}, "crs", "equal|differ|along|time"),
    "another variable": (GRID, {**GRID, "name": "sss"}, None, "sst|sss"),
}


# Stored otherwise, but numbers all the same: who writes natively may join them, if every decoded value is right.
NUMBERS = [what for what in DIFFERENT if DIFFERENT[what][3].startswith(("pack", "type", "fill"))]


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_must_not_be_joined_is_split_or_refused(tmp_path, what, form):
    first, second, variable, rule = DIFFERENT[what]
    sources = pair(tmp_path, first, second)
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    found = assert_right(answer, sources, dest, form, FILES, variable, rule)
    assert found in ("split", "refused") or what in NUMBERS and answer.report["totals"]["native_chunks"] > 0, f"{what}: {found}"


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_is_neither_made_natively_nor_split_is_refused_or_split(tmp_path, what, form):
    first, second, variable, rule = DIFFERENT[what]
    sources = pair(tmp_path, first, second)
    for policy in ("equivalent,split", "native,split", "split"):
        dest = place_in(tmp_path / policy, form)
        dest.parent.mkdir()
        answer = convert(sources, dest, form, "--if-incompatible", policy)
        found = assert_right(answer, sources, dest, form, FILES, variable, rule)
        assert found in ("split", "refused") or what in NUMBERS and "native" in policy, f"{what} with {policy}: {found}"


@pytest.mark.parametrize("what", DIFFERENT)
def test_without_a_policy_that_allows_more_it_is_refused(tmp_path, what, form):
    first, second, variable, rule = DIFFERENT[what]
    sources = pair(tmp_path, first, second)
    dest = place_in(tmp_path, form)
    assert_refused(convert(sources, dest, form, "--if-incompatible", "equivalent"), dest, FILES, variable, rule)


# No decoded value differs. Those that `EQUAL` names are referenced side by side, by every format.
LAYOUTS = {
    "zlib 6": {**GRID, "complevel": 6}, "zlib 9": {**GRID, "complevel": 9},
    "no shuffle": {**GRID, "shuffle": False}, "no zlib": {"chunksizes": (1, 60, 80)}, "fletcher32": {**GRID, "fletcher32": True},
    "chunk shape": {**GRID, "chunksizes": (2, 30, 50)}, "one chunk": {**GRID, "chunksizes": (5, 60, 80)}, "big-endian": {**GRID, "endian": "big"},
    "contiguous": {"unlimited": False, "contiguous": True}, "netCDF-3": {"file_format": "NETCDF3_CLASSIC"},
    "64-bit offset": {"file_format": "NETCDF3_64BIT_OFFSET"}, "CDF-5": {"file_format": "NETCDF3_64BIT_DATA"},
    "order": {"order": ("lat", "lon", "time"), "chunksizes": (60, 80, 1), "zlib": True}, "order and chunks": {"order": ("lat", "time", "lon"), "zlib": True, "chunksizes": (20, 2, 40)},
    "zstd": {"chunksizes": (1, 60, 80), "compression": "zstd"}, "bzip2": {"chunksizes": (1, 60, 80), "compression": "bzip2"},
}
EQUAL = ("zlib 6", "zlib 9")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_that_differs_changes_nothing(tmp_path, layout, policy, form):
    sources = pair(tmp_path, GRID, LAYOUTS[layout])
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form, "--if-incompatible", policy)
    if layout in EQUAL and "equivalent" in policy or "native" in policy and form == "icechunk":
        assert_joined(answer, sources, dest, form)
        assert report_faults(answer) == []
    else:
        assert_right(answer, sources, dest, form, FILES, "sst", "codec|filter|compress|zlib|shuffle|fletcher|checksum|chunk|layout|contiguous|endian|byte order|order|dimension|grid|cut|zstd|bzip2")


@pytest.mark.parametrize("layout", EQUAL)
def test_what_decodes_alike_is_referenced(tmp_path, layout, form):
    sources = pair(tmp_path, GRID, LAYOUTS[layout])
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    assert_joined(answer, sources, dest, form)
    item = next(item for item in answer.report["items"] if item.get("path", "").strip("/") == "sst")
    assert item["how"] == "referenced" and item["native_share"] == 0, item
    assert answer.report["totals"]["references"] >= 10 and answer.report["totals"]["native_chunks"] == 0, answer.report["totals"]


@pytest.mark.parametrize("n_files", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_one_layout(tmp_path, layout, n_files, form):
    sources = pair(tmp_path, LAYOUTS[layout], LAYOUTS[layout])[:n_files]
    dest = place_in(tmp_path, form)
    found = assert_right(convert(sources, dest, form), sources, dest, form, FILES, "sst", "chunk|grid|codec|filter|edge|whole|zstd|bzip2|fletcher|byte order|endian")
    assert found == "joined" or form != "icechunk", found


def test_references_hold_little_that_is_native(tmp_path):
    """A document of references has no chunks of its own: what is made natively stands in it, or is refused."""
    sources = pair(tmp_path, GRID, LAYOUTS["no shuffle"])
    for form in FORMATS[1:]:
        dest = place_in(tmp_path, form)
        answer = convert(sources, dest, form, "--if-incompatible", "native")
        assert_right(answer, sources, dest, form, FILES, "sst", "native|shuffle|filter|codec")


def test_a_policy_that_is_none_is_named(tmp_path, form):
    answer = convert(pair(tmp_path), place_in(tmp_path, form), form, "--if-incompatible", "equivalent,guess")
    assert answer.code == 2 and "guess" in answer.text, str(answer)


# Times: each file may count as it likes.

@pytest.mark.parametrize("second", [
    {"units": "days since 1999-12-01"}, {"units": "hours since 2000-01-01", "time_dtype": "i4"}, {"units": "seconds since 1970-01-01", "time_dtype": "i8"},
    {"units": "days since 2000-01-06", "time_dtype": "i4"}, {"units": "milliseconds since 2000-01-01", "time_dtype": "i8"}, {"units": "days since 2000-01-01 00:00:00 +06:00"},
], ids=lambda second: second["units"])
def test_time_units_that_differ_give_the_same_times(tmp_path, second, form):
    sources = pair(tmp_path, {**GRID, "time_dtype": second.get("time_dtype", "f8")}, {**GRID, **second})
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    if form == "icechunk":
        assert_joined(answer, sources, dest, form)
    else:
        # References may hold the times inline, or be two groups.
        assert_right(answer, sources, dest, form, FILES, "time", "units|epoch|time")


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "all_leap", "julian", "proleptic_gregorian"])
def test_one_calendar_of_any_kind_with_two_epochs(tmp_path, calendar, form):
    first = {**GRID, "calendar": calendar, "times": [55, 56, 57, 58, 59]}
    second = {**GRID, "calendar": calendar, "times": [60 * 24 + 12 * i for i in range(5)], "units": "hours since 2000-01-01"}
    sources = pair(tmp_path, first, second)
    dest = place_in(tmp_path, form)
    found = assert_right(convert(sources, dest, form), sources, dest, form, FILES, "time", "units|epoch|calendar|time")
    assert found == "joined" or form != "icechunk", found


# Places: order, doubles, gaps, lengths.

def test_files_out_of_order_are_sorted_by_label(tmp_path, form):
    sources = [make(tmp_path / f"{name}.nc", days(first, 5), **GRID) for name, first in (("c", "2000-01-01"), ("a", "2000-01-11"), ("b", "2000-01-06"))]
    for order in (sources, sources[::-1]):
        dest = place_in(tmp_path / f"to-{order[0].stem}", form)
        dest.parent.mkdir()
        assert_joined(convert(order, dest, form), sources, dest, form)


@pytest.mark.parametrize("stored", [None, counter(SHAPE, 99)], ids=["same values", "other values"])
def test_a_day_that_comes_twice_is_refused(tmp_path, stored, form):
    sources = pair(tmp_path, GRID, {**GRID, "times": days("2000-01-05", 5), "stored": stored})
    dest = place_in(tmp_path, form)
    assert_refused(convert(sources, dest, form), dest, FILES, "time", "twice|duplicat|overlap|both|already")


def test_a_missing_day_shifts_nothing(tmp_path, form):
    sources = pair(tmp_path, GRID, {**GRID, "times": days("2000-01-07", 5)})
    dest = place_in(tmp_path, form)
    assert_joined(convert(sources, dest, form), sources, dest, form)


@pytest.mark.parametrize("lengths", [(5, 5), (4, 5), (5, 4), (3, 3), (6, 6), (1, 2)], ids=str)
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_files_that_do_not_end_with_a_whole_chunk(tmp_path, lengths, chunk, form):
    layout = {"zlib": True, "chunksizes": (chunk, 35, 40)}
    sources = [
        make(tmp_path / "one.nc", days("2000-01-01", lengths[0]), **layout), make(tmp_path / "two.nc", days("2000-01-11", lengths[1]), **layout),
        make(tmp_path / "three.nc", days("2000-01-21", lengths[0]), **layout),
    ]
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    if form == "icechunk" or lengths[0] % chunk == 0 and lengths[1] % chunk == 0:
        assert_joined(answer, sources, dest, form)
    else:
        assert_right(answer, sources, dest, form, [*FILES, "three.nc"], "sst", "chunk|whole|edge|grid")


@pytest.mark.parametrize("layout", [{"unlimited": False, "contiguous": True}, {"file_format": "NETCDF3_CLASSIC"}, {"file_format": "NETCDF3_CLASSIC", "unlimited": False}], ids=["contiguous", "records", "fixed"])
@pytest.mark.parametrize("dtype", ["f4", "i2", "i1"])
def test_months_of_uncompressed_files(tmp_path, layout, dtype, form):
    lon = LON[:75]
    sources = [make(tmp_path / f"{first}.nc", days(first, n), dtype=dtype, lon=lon, stored=counter((n, 60, 75), n, 100), **layout) for first, n in (("2000-01-01", 31), ("2000-02-01", 29), ("2000-03-01", 31))]
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    if form == "icechunk":
        assert_joined(answer, sources, dest, form)
    else:
        assert_right(answer, sources, dest, form, [path.name for path in sources], "sst", "chunk|whole|edge|grid")


# Values: zero, fill, scalars, what was never written.

@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i4", "u1"])
@pytest.mark.parametrize("fill", [None, 0, 7])
def test_a_stored_zero_is_a_value_unless_the_file_says_it_is_missing(tmp_path, dtype, fill, form):
    stored = counter(SHAPE)
    stored[:, 0] = 0
    stored[0] = 0
    odd = {**GRID, "dtype": dtype, "stored": stored, "fill": fill, "constant": 0}
    sources = pair(tmp_path, odd, odd)
    dest = place_in(tmp_path, form)
    assert_joined(convert(sources, dest, form), sources, dest, form)


def hdf5(path, first_day, values, *, fill=None, filter_mask=None, skip=(), **storage):
    """One file written by h5py: chunks of one day; those in `skip` are never written, `filter_mask` is put on the last."""
    with h5py.File(path, "w") as file:
        scales = {"time": np.arange(first_day, first_day + len(values), dtype="f8"), "lat": LAT, "lon": LON}
        for name, scale in scales.items():
            axis = file.create_dataset(name, data=scale)
            axis.make_scale(name)
            axis.attrs["units"] = np.bytes_({"time": "days since 2000-01-01", "lat": "degrees_north", "lon": "degrees_east"}[name])
        data = file.create_dataset("sst", values.shape, values.dtype, chunks=(1, 60, 80), fillvalue=fill, **storage)
        data.attrs["units"] = np.bytes_("K")
        for number, scale in enumerate(scales):
            data.dims[number].attach_scale(file[scale])
        for day in range(len(values)):
            if day not in skip:
                data[day] = values[day]
        if filter_mask is not None:
            data.id.write_direct_chunk((len(values) - 1, 0, 0), np.ascontiguousarray(values[-1]).tobytes(), filter_mask=filter_mask)
    return path


@pytest.mark.parametrize("fills", [(0, 0), (7, 7), (0, 7), (None, 7)], ids=str)
def test_chunks_that_were_never_written_hold_their_own_fill(tmp_path, fills, form):
    values = (counter(SHAPE) + 1).astype("f4")
    sources = [
        hdf5(tmp_path / "one.nc", 0, values, fill=fills[0], skip=(1, 4), compression="gzip"),
        hdf5(tmp_path / "two.nc", 5, values + 1, fill=fills[1], skip=(0, 3), compression="gzip"),
    ]
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    found = assert_right(answer, sources, dest, form, FILES, "sst", "fill|never written|unallocated")
    assert found == "joined" or fills[0] != fills[1], found


@pytest.mark.parametrize("mask", [1, 2, 3])
def test_a_chunk_that_skipped_a_filter(tmp_path, mask, form):
    """The last chunk of one file went past shuffle (1), deflate (2) or both. What it holds is written so."""
    values = counter(SHAPE).astype("f4")
    plain = hdf5(tmp_path / "one.nc", 0, values, shuffle=True, compression="gzip")
    odd = hdf5(tmp_path / "two.nc", 5, values + 1, shuffle=True, compression="gzip")
    with h5py.File(odd, "r+") as file:
        raw = values[-1] + 1
        shuffled = np.frombuffer(raw.tobytes(), "u1").reshape(-1, 4).T.tobytes()
        import zlib

        content = {1: zlib.compress(raw.tobytes()), 2: shuffled, 3: raw.tobytes()}[mask]
        file["sst"].id.write_direct_chunk((4, 0, 0), content, filter_mask=mask)
    sources = [plain, odd]
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    if form == "icechunk":
        assert_joined(answer, sources, dest, form)
    else:
        assert_right(answer, sources, dest, form, "two.nc", "sst", "filter|mask|codec")


@pytest.mark.parametrize("storage", [
    {"fletcher32": True}, {"fletcher32": True, "compression": "gzip"}, {"fletcher32": True, "shuffle": True, "compression": "gzip"},
    {"scaleoffset": 2}, {"compression": "szip"},
], ids=str)
def test_filters_of_hdf5(tmp_path, storage, form):
    if storage.get("compression") == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this h5py has no szip")
    values = counter(SHAPE).astype("f4")
    try:
        sources = [hdf5(tmp_path / "one.nc", 0, values, **storage), hdf5(tmp_path / "two.nc", 5, values + 1, **storage)]
    except ValueError as error:
        pytest.skip(f"h5py cannot write it: {error}")
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form)
    if form == "icechunk":
        assert_joined(answer, sources, dest, form)
    else:
        assert_right(answer, sources, dest, form, FILES, "sst", "filter|codec|szip|scale|fletcher|checksum")


def test_a_spoiled_checksum_is_not_hidden(tmp_path, form):
    """Where a reader would not check it any more, the chunk is checked before it is referenced, or by `verify --sources`."""
    from make import spoil

    source = make(tmp_path / "one.nc", days("2000-01-01", 5), **{**GRID, "fletcher32": True})
    spoil(source)
    dest = place_in(tmp_path, form)
    answer = convert([source], dest, form)
    assert answer.crash() is None, str(answer)
    if answer.code == 0:
        checked = frazil("verify", dest, "--sources", source, "--json")
        assert checked.code == 1 and "sst" in checked.text, str(checked)


@pytest.mark.parametrize("size", ["0", "1B", "1KB", "1MB"])
def test_any_threshold_of_inlining_gives_the_same_values(tmp_path, size, form):
    sources = pair(tmp_path, {**GRID, "constant": 3}, {**GRID, "constant": 3})
    dest = place_in(tmp_path, form)
    answer = convert(sources, dest, form, "--inline", size)
    assert_joined(answer, sources, dest, form)
    if size == "1MB":
        assert answer.report["totals"]["inline_bytes"] > 0, answer.report["totals"]


def test_a_recipe_says_what_the_words_say(tmp_path, form):
    sources = pair(tmp_path, GRID, {**GRID, "units": "days since 2000-01-06", "time_dtype": "f8"})
    policy = "[equivalent, native, split]" if form == "icechunk" else "[equivalent, split]"
    made = recipe(tmp_path / "f", tmp_path / "*.nc", form, "create", f"inline: {{below: 1KB, coords: true}}, if_incompatible: {policy}")
    dest = place_in(tmp_path, form)
    answer = frazil("build", made, "--to", dest, "--json")
    assert_right(answer, sources, dest, form, FILES, "time", "units|time")


def test_twelve_files_of_three_eras(tmp_path, form):
    """Three packings, turn by turn: each era is a group, or all is refused."""
    sources = []
    for i in range(12):
        scale = {"scale_factor": [0.5, 0.25, 0.1][i // 4], "add_offset": 100.0}
        sources.append(make(tmp_path / f"f{i:02}.nc", [5 * i + d for d in range(5)], **packed(scale, start=i)))
    dest = place_in(tmp_path, form)
    assert_right(convert(sources, dest, form), sources, dest, form, [path.name for path in sources], "sst", "pack|scale_factor")
    # Numbers may be joined natively; a policy that allows no copy leaves groups.
    other = place_in(tmp_path / "other", form)
    other.parent.mkdir()
    found = assert_right(convert(sources, other, form, "--if-incompatible", "equivalent,split"), sources, other, form, [path.name for path in sources], "sst", "pack|scale_factor")
    assert found in ("split", "refused")
