"""Files put together along several dimensions, with holes, or with files that are not there: what xarray makes of the
same files, by label.
"""

import itertools
import pathlib

import numpy as np
import pytest
import xarray as xr

from command import frazil

RANDOM = np.random.default_rng(3)


def piece(path, coords, names=("v",), dtype="f4", size=1, fill=None, **attrs):
    """A file with the variables `names` over `coords` and a last dimension `x`; `size` makes them large."""
    dims = {name: np.asarray(values) for name, values in coords.items()} | {"x": np.arange(3.0 * size)}
    shape = tuple(len(values) for values in dims.values())
    variables = {}
    for name in names:
        values = RANDOM.normal(size=shape).astype("f4") if dtype.startswith("f") else RANDOM.integers(0, 99, shape)
        variables[name] = (tuple(dims), values.astype(dtype), attrs)
    found = xr.Dataset(variables, coords=dims)
    encoding = {name: {"_FillValue": fill, "zlib": True} for name in names}
    if "time" in dims and np.issubdtype(dims["time"].dtype, np.datetime64):
        encoding["time"] = {"units": "days since 1990-01-01", "dtype": "i4"}
    found.to_netcdf(path, encoding=encoding)
    return path


def days(first, n):
    return np.datetime64(first, "ns") + np.arange(n) * np.timedelta64(1, "D")


def build(folder, source, combine, *words, each="", chunks="{time: 3}"):
    (folder / "feedstock").mkdir(exist_ok=True)
    text = f"recipe: 1\nid: small\nsources: {{f: {source}}}\n{each}\ncombine: {combine}\nwrite: {{zarr: {{chunks: {chunks}}}}}\n"
    (folder / "feedstock/recipe.yaml").write_text(text)
    return frazil("build", folder, "--to", folder / "out.zarr", "--json", *words)


def built(folder, source, combine, **more):
    answer = build(folder, source, combine, **more)
    assert answer.code == 0, str(answer)
    return xr.open_dataset(folder / "out.zarr", engine="zarr", consolidated=True)


def same(ours, theirs):
    assert set(ours.variables) == set(theirs.variables)
    for name in theirs.variables:
        a, b = ours[name], theirs[name].transpose(*ours[name].dims)
        assert a.dtype == b.dtype, (name, a.dtype, b.dtype)
        np.testing.assert_array_equal(a.values, b.values, err_msg=name)


def opened(folder, pattern="*.nc"):
    return [xr.open_dataset(path) for path in sorted(pathlib.Path(folder).glob(pattern))]


@pytest.mark.parametrize("size", [1, 4000])
def test_the_labels_of_all_files_with_holes_where_a_file_has_none(tmp_path, size):
    piece(tmp_path / "a.nc", {"time": days("2000-01-01", 3), "lat": [10.0, 20, 40]}, size=size)
    piece(tmp_path / "b.nc", {"time": days("2000-01-04", 2), "lat": [20.0, 30]}, size=size)
    piece(tmp_path / "c.nc", {"time": days("2000-01-06", 4), "lat": [5.0, 10, 20, 30, 40, 50]}, size=size)
    ours = built(tmp_path, f'{{glob: "{tmp_path}/*.nc"}}', "{along: time, align: {lat: outer}}", chunks="{time: 2, lat: 4}")
    same(ours, xr.concat(opened(tmp_path), dim="time", join="outer", data_vars="all"))
    assert ours.sizes == {"time": 9, "lat": 6, "x": 3 * size}


@pytest.mark.parametrize("version", [3, 2])
def test_counts_with_a_fill_value_have_holes_too(tmp_path, version):
    piece(tmp_path / "a.nc", {"time": days("2000-01-01", 3), "lat": [20.0, 40]}, dtype="i2", fill=-9)
    piece(tmp_path / "b.nc", {"time": days("2000-01-04", 2), "lat": [30.0]}, dtype="i2", fill=-9)
    words = ["--along", "time", "--align", "lat=outer", "--zarr-format", version]
    answer = frazil("convert", tmp_path / "a.nc", tmp_path / "b.nc", tmp_path / "z", "--to", "zarr", *words)
    assert answer.code == 0, str(answer)
    ours = xr.open_dataset(tmp_path / "z", engine="zarr", consolidated=True)
    same(ours, xr.concat(opened(tmp_path), dim="time", join="outer", data_vars="all"))
    assert ours.v.encoding["dtype"] == np.dtype("i2")


def test_counts_without_one_are_refused_by_name(tmp_path):
    piece(tmp_path / "a.nc", {"time": days("2000-01-01", 3), "lat": [20.0, 40]}, dtype="i2")
    piece(tmp_path / "b.nc", {"time": days("2000-01-04", 2), "lat": [30.0]}, dtype="i2")
    answer = build(tmp_path, f'{{glob: "{tmp_path}/*.nc"}}', "{along: time, align: {lat: outer}}")
    assert answer.code == 1 and "`/v`" in answer.out and "_FillValue" in answer.out, str(answer)


def test_different_variables_on_different_labels(tmp_path):
    piece(tmp_path / "a.nc", {"lat": [20.0, 40]}, names=["one"])
    piece(tmp_path / "b.nc", {"lat": [40.0, 60, 80]}, names=["two"])
    ours = built(tmp_path, f'{{glob: "{tmp_path}/*.nc"}}', "{align: outer}", chunks="{lat: 2}")
    same(ours, xr.merge(opened(tmp_path), join="outer"))


@pytest.mark.parametrize("size", [1, 9000])
def test_files_are_the_quarters_of_one_array(tmp_path, size):
    for number, lev in itertools.product(range(3), range(2)):
        coords = {"time": days(f"2000-01-0{1 + number * 2}", 2), "lev": [lev * 10.0, lev * 10 + 5]}
        piece(tmp_path / f"t{2 - number}l{lev}.nc", coords, size=size)
    ours = built(tmp_path, f'{{glob: "{tmp_path}/*.nc"}}', "{along: [time, lev]}", chunks="{time: 3, lev: 3}")
    same(ours, xr.combine_by_coords(opened(tmp_path)))
    (tmp_path / "t1l1.nc").unlink()
    answer = build(tmp_path, f'{{glob: "{tmp_path}/*.nc"}}', "{along: [time, lev]}", "--overwrite")
    assert answer.code == 1 and "combine.uncovered" in answer.out and "2000-01-03" in answer.out, str(answer)


def variables_and_years(tmp_path, size=1, years=range(1980, 1984), without=()):
    for name, year in itertools.product(["pottmp", "salt", "ucur"], years):
        if (name, year) not in without:
            piece(tmp_path / f"{name}.{year}.nc", {"time": days(f"{year}-01-01", 12), "level": [5.0, 15]}, names=[name], size=size)
    keys = f"{{variable: [pottmp, salt, ucur], year: {years[0]}..{years[-1]}}}"
    return f'{{url: "{tmp_path}/{{variable}}.{{year}}.nc", keys: {keys}, missing: MISSING}}'


def merged(tmp_path, names=("pottmp", "salt", "ucur")):
    return xr.merge([xr.concat(opened(tmp_path, f"{name}.*.nc"), dim="time") for name in names], join="outer")


@pytest.mark.parametrize("size", [1, 3000])
def test_a_file_for_each_variable_and_year(tmp_path, size):
    source = variables_and_years(tmp_path, size).replace("MISSING", "error")
    ours = built(tmp_path, source, "{merge: variable, along: {time: year}}", chunks="{time: 36, level: 2}")
    same(ours, merged(tmp_path))


@pytest.mark.parametrize("size", [1, 3000])
def test_what_a_missing_file_would_bring_is_filled(tmp_path, size):
    source = variables_and_years(tmp_path, size, without=[("salt", 1981), ("ucur", 1983)])
    combine = "{merge: variable, along: {time: year}}"
    answer = build(tmp_path, source.replace("MISSING", "skip"), combine)
    assert answer.code == 1 and "combine.absent" in answer.out, str(answer)
    answer = build(tmp_path, source.replace("MISSING", "fill"), combine)
    assert answer.code == 0 and "salt.1981.nc" in str(answer.report["warnings"]), str(answer)
    same(xr.open_dataset(tmp_path / "out.zarr", engine="zarr", consolidated=True), merged(tmp_path))


def test_days_that_are_missing_are_labelled_by_their_names(tmp_path):
    there = [1, 2, 4, 5, 8]
    for day in there:
        time = np.array([f"2000-02-0{day}T12"], "datetime64[ns]")
        piece(tmp_path / f"sst.2000020{day}.nc", {"time": time}, size=2000)
    keys = "{time: {start: 2000-02-01, end: 2000-02-08, step: 1d}}"
    source = f'{{url: "{tmp_path}/sst.{{time:%Y%m%d}}.nc", keys: {keys}, missing: fill}}'
    ours = built(tmp_path, source, "{along: time, gaps: {expect: 1d, otherwise: error}}")
    theirs = xr.concat(opened(tmp_path), dim="time")
    times = np.datetime64("2000-02-01T12", "ns") + np.arange(8) * np.timedelta64(1, "D")
    same(ours, theirs.reindex(time=times))


def test_labels_that_nothing_tells_are_not_guessed(tmp_path):
    for year in (1980, 1982):
        piece(tmp_path / f"v.{year}.nc", {"time": days(f"{year}-01-01", 12)})
    source = f'{{url: "{tmp_path}/v.{{year}}.nc", keys: {{year: 1980..1982}}, missing: fill}}'
    answer = build(tmp_path, source, "{along: {time: year}}")
    assert answer.code == 1 and "combine.absent-labels" in answer.out and "v.1981.nc" in answer.out, str(answer)


def test_a_dimension_that_no_file_has_gets_its_labels_from_names(tmp_path):
    for member in (1, 2, 10):
        piece(tmp_path / f"run.{member}.nc", {"time": days("2000-01-01", 3)})
    source = f'{{glob: "{tmp_path}/*.nc", match: \'run\\.(?P<member>\\d+)\\.nc\'}}'
    ours = built(tmp_path, source, "{along: {member: member}}")
    found = [xr.open_dataset(tmp_path / f"run.{member}.nc") for member in (1, 2, 10)]
    same(ours, xr.concat(found, dim=xr.DataArray(np.array([1, 2, 10]), dims="member", name="member")))
