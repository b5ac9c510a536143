"""Files that differ in what has no label: lengths, spellings, meanings. Stock xarray is the judge.

Where a lossless rule covers the case the right values are the only pass; elsewhere exit 1 names file, variable, rule.
"""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from make import LAT, days, feedstock, pair
from verdicts import assert_equal, assert_refused, convert
from command import frazil


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def zarr_format(request):
    return request.param


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


@pytest.mark.parametrize("types", [("f4", "f8"), ("f8", "f4"), ("i2", "f4"), ("i4", "f8"), ("i2", "i4")], ids=str)
def test_the_same_coordinate_in_two_types_is_one_if_that_is_wished_for(tmp_path, types, zarr_format):
    """`dtype: promote` is about numbers, and these are the same ones."""
    for number, dtype in enumerate(types):
        with netCDF4.Dataset(tmp_path / f"{number}.nc", "w") as file:
            file.createDimension("time", None)
            file.createDimension("z", 3)
            time, z, area, q = (file.createVariable(*words) for words in (("time", "f8", ("time",)), ("z", dtype, ("z",)), ("area", dtype, ("z",)), ("q", "f4", ("time", "z"))))
            time.units = "days since 2000-01-01"
            time[:], z[:], area[:], q[:] = [number], [1, 3, 7], [10, 20, 30], number
    sources = sorted(tmp_path.glob("*.nc"))
    answer = convert(sources, tmp_path / "no")
    assert answer.code == 1 and "--differ dtype=promote" in answer.text, answer
    answer = convert(sources, tmp_path / "z", "--differ", "dtype=promote", zarr_format=zarr_format)
    assert answer.code == 0, answer
    ours = xr.open_zarr(tmp_path / "z", consolidated=False).load()
    wanted = xr.open_mfdataset(sources, data_vars="minimal", compat="no_conflicts").load()
    xr.testing.assert_equal(ours, wanted)
    wide = np.result_type(*types) if types != ("i2", "f4") else np.dtype("f4")
    assert ours.z.dtype == wide and ours.area.dtype == wide


def test_another_coordinate_in_another_type_is_refused_all_the_same(tmp_path):
    for number, dtype in enumerate(("f4", "f8")):
        with netCDF4.Dataset(tmp_path / f"{number}.nc", "w") as file:
            file.createDimension("time", None)
            file.createDimension("z", 2)
            time, z, q = (file.createVariable(*words) for words in (("time", "f8", ("time",)), ("z", dtype, ("z",)), ("q", "f4", ("time", "z"))))
            time.units = "days since 2000-01-01"
            time[:], z[:], q[:] = [number], [0.1, 0.7], number
    assert_refused(convert(sorted(tmp_path.glob("*.nc")), tmp_path / "z", "--differ", "dtype=promote"), tmp_path / "z", "1.nc", "z", "largest difference")
