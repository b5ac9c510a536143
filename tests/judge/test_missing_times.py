"""What is missing, and what has no sign, is so for frazil as it is for xarray: among times that are written anew and among labels.

xarray reads the files and what frazil makes of them.
"""

import itertools

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil

DAY = "days since 2000-01-01"
FORMATS = {"v3": ["--to", "zarr"], "v2": ["--to", "zarr", "--zarr-format", "2"]}


def file(path, times, *variables, dtype="i4", units=DAY, fill=None, **attributes):
    """A file of `time` and further variables: name, type, dimensions, stored numbers, fill value, attributes."""
    with netCDF4.Dataset(path, "w") as out:
        out.set_auto_maskandscale(False)
        out.createDimension("time", None)
        out.createDimension("nv", 2)
        for name, kind, dimensions, stored, mark, said in [("time", dtype, ("time",), times, fill, {"units": units, **attributes}), *variables]:
            stored = np.asarray(stored)
            for dimension, length in zip(dimensions, stored.shape):
                if dimension not in out.dimensions:
                    out.createDimension(dimension, length)
            variable = out.createVariable(name, kind, dimensions, fill_value=mark)
            variable.set_auto_maskandscale(False)
            variable.setncatts(said)
            variable[:] = stored.astype(kind)
    return path


def files(folder):
    return sorted(folder.glob("*.nc"))


def read(folder):
    parts = [xr.open_dataset(path, decode_timedelta=False).load() for path in files(folder)]
    return xr.concat(parts, "time", data_vars="all", coords="different", compat="equals", join="outer").sortby("time") if len(parts) > 1 else parts[0]


def times_of(array):
    """Instants to the microsecond; NaT where there is none."""
    return np.asarray(array.values).astype("datetime64[us]")


def converted(folder, *words, code=0, format="v3"):
    answer = frazil("convert", *files(folder), folder / "out.zarr", *FORMATS[format], *words)
    assert answer.crash() is None and answer.code == code, answer
    return xr.open_zarr(folder / "out.zarr", consolidated=False, decode_timedelta=False).load() if code == 0 else answer


BASES = {"the second": (DAY, "hours since 2000-01-02"), "both": ("hours since 2000-01-01", "minutes since 2000-01-01 00:30"), "finer": ("days since 2000-01-01", "hours since 2000-01-01 05:00")}
MARKS = {
    "integer": ("i4", -99, {}), "float": ("f8", -9999.0, {}), "nan": ("f8", np.nan, {}), "no time": ("f8", 9.969209968386869e36, {}), "no time, integer": ("i8", -9223372036854775806, {}),
    "missing_value": ("i4", None, {"missing_value": np.int32(-99)}), "both marks": ("i2", -99, {"missing_value": np.int16(-98)}), "short": ("f4", -999.0, {}),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bases", BASES)
@pytest.mark.parametrize("marks", MARKS)
def test_a_missing_time_stays_missing(tmp_path, marks, bases, format):
    dtype, fill, said = MARKS[marks]
    missing = fill if fill is not None else said["missing_value"]
    for name, times, units in (("a", [0, 1], BASES[bases][0]), ("b", [2, 3], BASES[bases][1])):
        file(tmp_path / f"{name}.nc", times, ("reftime", dtype, ("time",), np.array([5, missing]), fill, {"units": units, **said}))
    ours, wanted = converted(tmp_path, format=format), read(tmp_path)
    np.testing.assert_array_equal(times_of(ours.reftime), times_of(wanted.reftime))
    assert np.isnat(times_of(ours.reftime)).sum() == 2


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", ["i4", "f8", "i1"])
def test_a_time_does_not_become_missing(tmp_path, kind, format):
    """What is counted anew may be just what stood for missing."""
    for name, times, units in (("a", [0, 1], "hours since 2000-01-01"), ("b", [2, 3], "hours since 2000-01-02")):
        file(tmp_path / f"{name}.nc", times, ("reftime", kind, ("time",), [5, 6], 29, {"units": units}))
    ours, wanted = converted(tmp_path, format=format), read(tmp_path)
    np.testing.assert_array_equal(times_of(ours.reftime), times_of(wanted.reftime))
    assert not np.isnat(times_of(ours.reftime)).any()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("fill,stored", [(-9999.0, [[0, -9999.0], [1, 2]]), (2.0, [[0, 1], [1, 3]]), (31.0, [[0, 1], [1, 31.0]])])
def test_bounds_are_times_like_those_of_their_coordinate(tmp_path, fill, stored, format):
    for name, units in (("a", DAY), ("b", "days since 2000-01-03")):
        file(tmp_path / f"{name}.nc", [0, 1], ("tb", "f8", ("time", "nv"), stored, fill, {}), units=units, bounds="tb")
    ours, wanted = converted(tmp_path, format=format), read(tmp_path)
    np.testing.assert_array_equal(times_of(ours.tb), times_of(wanted.tb))


def test_the_growing_time_itself_does_not_become_missing(tmp_path):
    for name, units in (("a", DAY), ("b", "days since 2000-02-01")):
        file(tmp_path / f"{name}.nc", [0, 1], dtype="f8", units=units, missing_value=31.0)
    np.testing.assert_array_equal(times_of(converted(tmp_path).time), times_of(read(tmp_path).time))


@pytest.mark.parametrize("extra", [[], ["--select", "time=2000-01-01/2000-12-31"]])
def test_a_missing_label_of_what_grows_is_refused_by_name(tmp_path, extra):
    file(tmp_path / "a.nc", [0, 1], missing_value=np.int32(1))
    file(tmp_path / "b.nc", [2, 3], missing_value=np.int32(1))
    if not extra:
        answer = converted(tmp_path, "--along", "time", code=1)
        assert "a label is missing" in answer.err and "--select time=FIRST/LAST" in answer.err, answer
    else:
        np.testing.assert_array_equal(times_of(converted(tmp_path, *extra).time), times_of(read(tmp_path).time.dropna("time")))


def test_one_file_with_a_missing_label_is_copied_as_it_is(tmp_path):
    file(tmp_path / "a.nc", [0, 1], missing_value=np.int32(1))
    np.testing.assert_array_equal(times_of(converted(tmp_path).time), times_of(read(tmp_path).time))


UNSIGNED = {"_Unsigned": "true"}
AXES = {
    "unsigned": ("i1", [100, 120, -100], None, UNSIGNED), "unsigned at the top": ("i1", [-3, -2, -1], None, UNSIGNED), "unsigned, one missing": ("i1", [100, -1, -100], -1, UNSIGNED),
    "missing": ("f8", [1, 2, -999], -999.0, {}), "missing integer": ("i4", [7, -999, 3], -999, {}), "packed": ("i2", [2, 4, 7], None, {"scale_factor": 0.5}),
    "packed in float32": ("i2", [2, -99, 4], -99, {"scale_factor": np.float32(0.1), "add_offset": np.float32(3.0)}), "unsigned and packed": ("i1", [-3, 2, -100], None, {**UNSIGNED, "scale_factor": 0.25}),
}


def axis(folder, kind):
    dtype, stored, fill, said = AXES[kind]
    q = np.arange(2 * len(stored), dtype="f4").reshape(2, -1)
    file(folder / "a.nc", [0, 1], ("z", dtype, ("z",), stored, fill, said), ("q", "f4", ("time", "z"), q, None, {}))
    return xr.open_dataset(folder / "a.nc").load()


@pytest.mark.parametrize("kind", AXES)
def test_a_range_of_labels_is_of_those_that_are_meant(tmp_path, kind):
    source = axis(tmp_path, kind)
    there = np.sort(source.z.values[~np.isnan(source.z.values.astype("f8"))])
    for number, (low, high) in enumerate(itertools.combinations_with_replacement(there, 2)):
        target = tmp_path / f"out{number}.zarr"
        answer = frazil("convert", tmp_path / "a.nc", target, "--to", "zarr", "--select", f"z={low}/{high}")
        assert answer.code == 0, answer
        wanted = source.isel(z=(source.z.values >= low) & (source.z.values <= high))
        xr.testing.assert_equal(xr.open_zarr(target, consolidated=False).load(), wanted)


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("kind", AXES)
def test_labels_are_sorted_as_they_are_meant(tmp_path, kind, order):
    source = axis(tmp_path, kind)
    (tmp_path / "f/feedstock").mkdir(parents=True)
    (tmp_path / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: sorted\nsources: {{a: {{glob: '{tmp_path}/a.nc'}}}}\neach: [{{sort: {{z: {order}}}}}]\nwrite: {{zarr: {{}}}}\n")
    answer = frazil("build", tmp_path / "f", "--to", tmp_path / "out.zarr")
    assert answer.code == 0, answer
    wanted = source.sortby("z", ascending=order == "ascending")
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "out.zarr", consolidated=False).load(), wanted)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype,said,parts", [
    ("i1", UNSIGNED, ([-3, -2], [1, 2])), ("i2", {"scale_factor": 0.5}, ([0, 1, 2], [3, 4, 5])), ("i2", {"scale_factor": 0.5, "add_offset": 10.0}, ([3, 4], [0, 1])), ("u1", {"_Unsigned": "false"}, ([254, 255], [1, 2])),
])
def test_files_are_joined_in_the_order_that_their_times_mean(tmp_path, dtype, said, parts, format):
    for name, times in zip("ab", parts):
        file(tmp_path / f"{name}.nc", times, ("v", "f4", ("time",), times, None, {}), dtype=dtype, **said)
    ours, wanted = converted(tmp_path, format=format), read(tmp_path)
    np.testing.assert_array_equal(times_of(ours.time), times_of(wanted.time))
    np.testing.assert_array_equal(ours.v, wanted.v)


@pytest.mark.parametrize("format", FORMATS)
def test_times_without_a_sign_are_counted_anew_as_they_are_meant(tmp_path, format):
    file(tmp_path / "a.nc", [-3, -2], dtype="i1", **UNSIGNED)
    file(tmp_path / "b.nc", [1, 2], dtype="i1", units="days since 2001-01-01", **UNSIGNED)
    np.testing.assert_array_equal(times_of(converted(tmp_path, format=format).time), times_of(read(tmp_path).time))


PACKED = {
    "halves": [("i2", None, {"scale_factor": 0.5}), ("i2", None, {"scale_factor": 0.5})],
    "short factors": [("i2", None, {"scale_factor": np.float32(0.25)}), ("i2", None, {"scale_factor": np.float32(0.25)})],
    "moved": [("i4", None, {"add_offset": 10.0}), ("i4", None, {"add_offset": 20.5})],
    "tenths": [("i4", None, {"scale_factor": 0.1}), ("i4", None, {"scale_factor": 0.1})],
    "marked": [("i2", 4, {"scale_factor": 0.5, "add_offset": 1.0}), ("i2", 2, {"scale_factor": 0.25})],
    "only the first": [("i2", -99, {"scale_factor": 0.5}), ("i4", 2, {})],
    "only the second": [("i4", 2, {}), ("u1", None, {"scale_factor": 0.125})],
    "without a sign": [("i1", -1, {"_Unsigned": "true", "scale_factor": 2.0}), ("i1", None, {"_Unsigned": "true", "scale_factor": 2.0})],
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("second", ["days since 2001-01-01", "hours since 2000-06-01 03:00"])
@pytest.mark.parametrize("kinds", PACKED)
def test_packed_times_that_count_from_other_dates_are_those_they_stand_for(tmp_path, kinds, second, format):
    for name, units, (dtype, fill, said) in zip("ab", (DAY, second), PACKED[kinds]):
        file(tmp_path / f"{name}.nc", [0, 1], ("reftime", dtype, ("time",), [2, 4], fill, {"units": units, **said}), units=DAY if name == "a" else "days since 2001-01-01")
    got, want = converted(tmp_path, format=format), read(tmp_path)
    np.testing.assert_array_equal(times_of(got.reftime), times_of(want.reftime))
    np.testing.assert_array_equal(times_of(got.time), times_of(want.time))


@pytest.mark.parametrize("kinds", ["halves", "moved", "tenths"])
def test_what_grows_may_be_packed_and_count_from_other_dates(tmp_path, kinds):
    for name, units, (dtype, _, said) in zip("ab", (DAY, "days since 2001-01-01"), PACKED[kinds]):
        file(tmp_path / f"{name}.nc", [2, 5], ("sst", "f4", ("time",), [1, 2], None, {}), dtype=dtype, units=units, **said)
    got, want = converted(tmp_path), read(tmp_path)
    np.testing.assert_array_equal(times_of(got.time), times_of(want.time))
    np.testing.assert_array_equal(got.sst, want.sst)


@pytest.mark.parametrize("marks", [(-999.0, None), (None, -999.0), (-999.0, -1.0), (3.0, None), (None, 21.0)])
@pytest.mark.parametrize("missing", [False, True])
def test_marks_of_times_may_differ_where_the_dates_agree(tmp_path, marks, missing):
    for name, first, mark in zip("ab", (0, 20), marks):
        stored = [first + 2, mark if missing and mark is not None else first + 3]
        file(tmp_path / f"{name}.nc", [first, first + 1], ("reftime", "f8", ("time",), stored, mark, {"units": DAY}), units=DAY)
    np.testing.assert_array_equal(times_of(converted(tmp_path).reftime), times_of(read(tmp_path).reftime))


def test_a_store_is_extended_by_files_that_lack_times(tmp_path):
    """Its own mark stays, whatever the next file counts from."""
    (tmp_path / "data").mkdir()
    (tmp_path / "f/feedstock").mkdir(parents=True)
    (tmp_path / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: extended\nsources: {{a: {{glob: '{tmp_path}/data/*.nc'}}}}\ncombine: {{along: time}}\nwrite: {{zarr: {{chunks: {{time: 2}}, mode: extend}}}}\n")
    for number, name in enumerate("abc"):
        units = f"hours since 2000-01-{1 + number:02}"
        file(tmp_path / f"data/{name}.nc", [2 * number, 2 * number + 1], ("reftime", "i4", ("time",), [5 + number, -99], -99, {"units": units}))
        answer = frazil("build", tmp_path / "f", "--to", tmp_path / "out.zarr")
        assert answer.code == 0, answer
        ours = xr.open_zarr(tmp_path / "out.zarr", consolidated=False, decode_timedelta=False).load()
        np.testing.assert_array_equal(times_of(ours.reftime), times_of(read(tmp_path / "data").reftime))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype,fill", [("i2", -99), ("i4", 48), ("f4", -999.0)])
@pytest.mark.parametrize("has_hole", [False, True], ids=["whole", "a hole"])
def test_times_in_tiles_are_counted_anew_with_what_is_missing(tmp_path, dtype, fill, has_hole, format):
    tiles = [(t, z) for t in (0, 1) for z in (0, 1)][: 3 if has_hole else 4]
    for t, z in tiles:
        stored = np.array([[10 * t + z, fill], [fill, 30]])
        units = f"seconds since 2000-01-0{1 + t} 00:00:0{z}"
        axis = ("z", "f8", ("z",), [10 * z, 10 * z + 5], None, {})
        file(tmp_path / f"{t}{z}.nc", [2 * t, 2 * t + 1], axis, ("reftime", dtype, ("time", "z"), stored, fill, {"units": units}))
    (tmp_path / "f/feedstock").mkdir(parents=True)
    align = ", align: {z: outer, time: outer}" if has_hole else ""
    (tmp_path / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: tiles\nsources: {{a: {{glob: '{tmp_path}/*.nc'}}}}\ncombine: {{along: [time, z]{align}}}\nwrite: {{zarr: {{format: {format[1]}}}}}\n")
    answer = frazil("build", tmp_path / "f", "--to", tmp_path / "out.zarr")
    assert answer.code == 0, answer
    ours = xr.open_zarr(tmp_path / "out.zarr", consolidated=False, decode_timedelta=False).load()
    parts = [xr.open_dataset(tmp_path / f"{t}{z}.nc").load() for t, z in tiles]
    wanted = xr.combine_by_coords(parts, join="outer", data_vars="all", coords="minimal", compat="override") if not has_hole else None
    wanted = wanted if wanted is not None else xr.merge([xr.concat(parts[:2], "z", data_vars="all"), parts[2]], join="outer", compat="no_conflicts")
    np.testing.assert_array_equal(times_of(ours.reftime), times_of(wanted.reftime))
