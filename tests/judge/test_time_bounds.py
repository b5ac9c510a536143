"""Bounds count as their coordinate does, however files differ in dates they count from, types, calendars and attributes.

xarray opens the files one by one, and what frazil makes of them.
"""

import itertools

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import frazil

FORMATS = {"zarr": ["--to", "zarr"], "kerchunk": ["--to", "virtual", "--format", "kerchunk-json"]}
# Of the first file and of the second; the first date is the earlier one.
DATES = {"one": ("days since 2001-01-01", "days since 2001-01-01"), "two": ("days since 2000-02-01", "days since 2001-03-01"), "finer": ("days since 2000-02-01", "hours since 2001-03-01")}
TYPES = ["i4", "i2", "f4", "f8"]
# What the bounds say of themselves in each file.
SAID = {"nothing": ("", ""), "units": ("units", "units"), "all": ("both", "both"), "one": ("units", ""), "the other": ("", "both")}


def write(path, times, kinds, units, calendar, said, shift=0.0):
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("nv", 2)
        time = file.createVariable("time", kinds[0], ("time",))
        time.setncatts({"units": units, "bounds": "time_bnds", **({"calendar": calendar} if calendar else {})})
        time[:] = times
        bounds = file.createVariable("time_bnds", kinds[1], ("time", "nv"))
        bounds.setncatts({name: value for name, value in {"units": units if said else None, "calendar": calendar if said == "both" else None}.items() if value})
        bounds[:] = np.stack([np.asarray(times) - shift, np.asarray(times) + 1], axis=1)
        file.createVariable("sst", "f4", ("time",))[:] = np.arange(len(times))


def instants(array):
    return [[str(one)[:26] for one in row] for row in np.atleast_2d(array.values)]


def both(folder, format="zarr"):
    """The joined dataset, and what the files hold one by one."""
    files = sorted(folder.glob("*.nc"))
    answer = frazil("convert", *files, folder / "out.json", *FORMATS[format], "--differ", "dtype=promote")
    assert answer.code == 0, answer
    return xr.open_dataset(str(folder / "out.json"), engine=format, chunks=None).load(), [xr.open_dataset(path).load() for path in files]


def assert_same(ours, theirs):
    for name in ("time", "time_bnds"):
        want = sum((instants(one[name]) if name == "time_bnds" else instants(one[name])[0] for one in theirs), [])
        got = instants(ours[name]) if name == "time_bnds" else instants(ours[name])[0]
        assert got == want, name


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("calendar", [None, "noleap", "360_day"])
@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("said", SAID)
def test_bounds_are_counted_as_their_coordinate(tmp_path, calendar, dates, said, format):
    for name, units, own in zip("ab", DATES[dates], SAID[said]):
        write(tmp_path / f"{name}.nc", [0, 1] if name == "a" else [30, 31], ("f8", "f8"), units, calendar, own)
    assert_same(*both(tmp_path, format))


@pytest.mark.one_in(20)
@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize("said", ["nothing", "units"])
@pytest.mark.parametrize("kinds", list(itertools.product(TYPES, repeat=4)), ids="-".join)
def test_types_that_differ_do_not_part_them(tmp_path, kinds, dates, said):
    """Fractions, wherever a type has them: what holds the coordinate may not hold its bounds."""
    for name, units, own, (time, bounds) in zip("ab", DATES[dates], SAID[said], (kinds[:2], kinds[2:])):
        times = np.asarray([0, 1] if name == "a" else [30, 31]) + (0.25 if time[0] == "f" else 0)
        write(tmp_path / f"{name}.nc", times, (time, bounds), units, None, own, shift=0.125 if bounds[0] == "f" else 0)
    assert_same(*both(tmp_path))


@pytest.mark.parametrize("bounds", TYPES)
@pytest.mark.parametrize("time", TYPES)
def test_a_store_is_extended_by_bounds_of_another_type_than_their_time(tmp_path, time, bounds):
    (tmp_path / "data").mkdir()
    (tmp_path / "f/feedstock").mkdir(parents=True)
    (tmp_path / "f/feedstock/recipe.yaml").write_text(
        f"recipe: 1\nid: extended\nsources: {{a: {{glob: '{tmp_path}/data/*.nc'}}}}\ncombine: {{along: time}}\nwrite: {{zarr: {{chunks: {{time: 2}}, mode: extend}}}}\n")
    for number, (name, units) in enumerate([("a", "days since 2001-01-01"), ("b", "hours since 2001-01-01")]):
        write(tmp_path / f"data/{name}.nc", np.asarray([0, 1]) if number == 0 else np.asarray([240, 264]), (time, bounds), units, None, "")
        with netCDF4.Dataset(tmp_path / f"data/{name}.nc", "a") as file:
            file["time_bnds"][:] = np.asarray([[0, 1], [1, 2]]) * (1 if number == 0 else 24) + (0 if number == 0 else 240)
        answer = frazil("build", tmp_path / "f", "--to", tmp_path / "out")
        assert answer.code == 0, answer
    assert_same(xr.open_zarr(tmp_path / "out").load(), [xr.open_dataset(path).load() for path in sorted((tmp_path / "data").glob("*.nc"))])
