"""Each step of `each` against the same words in xarray: `frazil build` of a tiny feedstock, opened by stock xarray,
equals what xarray makes of the files itself.

What cannot be done is refused with the line of the recipe and the name of the file.
"""

import subprocess

import netCDF4
import numpy as np
import pytest
import xarray as xr

from command import binary

DAY = np.datetime64("2000-01-01")


def write(path, days=4, first=0, descending=True, extra=None):
    """A small file: `sst` packed, `wind` as float32 in chunks, times, bounds, a 2-D coordinate and a scalar."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        for name, length in (("y", 5), ("x", 6), ("nv", 2)):
            file.createDimension(name, length)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time.calendar, time.bounds = "days since 2000-01-01", "standard", "time_bnds"
        time[:] = np.arange(first, first + days)
        bounds = file.createVariable("time_bnds", "f8", ("time", "nv"))
        bounds[:] = np.stack([time[:], time[:] + 1], axis=1)
        y = file.createVariable("y", "f4", ("y",))
        y[:] = np.linspace(20, -20, 5) if descending else np.linspace(-20, 20, 5)
        x = file.createVariable("x", "f4", ("x",))
        x[:] = [0, 60, 120, 180, 240, 300]
        area = file.createVariable("area", "f4", ("y", "x"))
        area[:] = np.arange(30).reshape(5, 6)
        height = file.createVariable("height", "f8", ())
        height[:] = 2.0
        sst = file.createVariable("sst", "i2", ("time", "y", "x"), fill_value=-999, zlib=True, chunksizes=(2, 3, 4))
        sst.scale_factor, sst.add_offset, sst.units = 0.01, 20.0, "degC"
        sst.set_auto_maskandscale(False)
        counts = np.arange(days * 30).reshape(days, 5, 6) + 100 * first
        sst[:] = np.where(counts % 7 == 0, -999, counts)
        wind = file.createVariable("wind", "f4", ("time", "y", "x"), zlib=True, chunksizes=(1, 5, 3))
        wind[:] = np.sin(np.arange(days * 30).reshape(days, 5, 6) + first) * 10
        wind.units, wind.coordinates, wind.cell_methods = "m s-1", "area", "time: mean"
        flag = file.createVariable("flag", "u1", ("y", "x"))
        flag.set_auto_mask(False)
        flag[:] = np.arange(30).reshape(5, 6) * 8 + 15
        file.title, file.stamp, file.member = "small", "20000101T06", np.int32(first)
        if extra:
            extra(file)
    return path


def recipe(folder, each, url, keys="", combine="", parse="", expect="", chunks="{time: 3}"):
    (folder / "feedstock").mkdir(exist_ok=True)
    source = f'sources: {{f: {{glob: "{url}"{keys}{parse}}}}}'
    lines = ["recipe: 1", "id: small", source, "each:", *(f"  - {step}" for step in each), combine, expect]
    lines.append(f"write: {{zarr: {{chunks: {chunks}}}}}")
    (folder / "feedstock/recipe.yaml").write_text("\n".join(line for line in lines if line) + "\n")


def run(folder, *words):
    store = folder / "out.zarr"
    done = subprocess.run(
        [*binary(), "build", str(folder), "--to", str(store), *words], capture_output=True, text=True, timeout=120
    )
    return done, store


def built(folder, each, *words, url=None, **more):
    if url is None:
        write(folder / "a.nc")
        url = f"{folder}/a*.nc"
    recipe(folder, each, url, **more)
    done, store = run(folder, *words)
    assert done.returncode == 0, done.stderr + done.stdout
    return xr.open_dataset(store, engine="zarr", consolidated=True)


def source(folder, name="a.nc", **more):
    return xr.open_dataset(folder / name, **more)


def same(ours, theirs, dtype=True):
    """The same dataset: names, dimensions, coordinates, values, dtypes; attributes of variables, too."""
    assert set(ours.variables) == set(theirs.variables)
    assert set(ours.coords) == set(theirs.coords)
    for name in theirs.variables:
        a, b = ours[name], theirs[name]
        assert a.dims == b.dims, name
        if dtype:
            assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a.values, b.values, err_msg=name)
        assert {key: value for key, value in a.attrs.items()} == {
            key: value for key, value in b.attrs.items()
        }, name


def refused(folder, each, *words, **more):
    write(folder / "a.nc")
    recipe(folder, each, f"{folder}/a*.nc", **more)
    done, store = run(folder, *words)
    assert done.returncode in (1, 2), done.stderr
    assert not store.exists()
    return done.stderr


def test_keep_takes_what_is_needed_along(tmp_path):
    ours = built(tmp_path, ["keep: [wind]"])
    same(ours, source(tmp_path)[["wind", "time_bnds"]])


def test_keep_and_drop_know_wildcards(tmp_path):
    ours = built(tmp_path, ['keep: ["s*", "?ind", flag]', 'drop: ["*_bnds", none_such_*]'])
    same(ours, source(tmp_path)[["sst", "wind", "flag"]].reset_coords("area")[["sst", "wind", "flag", "area"]].set_coords("area"))


def test_rename_renames_what_names_it(tmp_path):
    ours = built(tmp_path, ["rename: {x: lon, y: lat, area: cells, time_bnds: tb, sst: temperature}"])
    theirs = source(tmp_path).rename(x="lon", y="lat", area="cells", time_bnds="tb", sst="temperature")
    theirs["time"].attrs["bounds"] = "tb"
    same(ours, theirs)


def test_two_names_change_places(tmp_path):
    ours = built(tmp_path, ["rename: {x: y, y: x}"])
    same(ours, source(tmp_path).rename(x="y", y="x"))


def test_set_coords(tmp_path):
    ours = built(tmp_path, ['set_coords: ["*_bnds", flag, height]'])
    same(ours, source(tmp_path).set_coords(["time_bnds", "flag", "height"]))


def test_subset_by_label_on_any_axis(tmp_path):
    ours = built(tmp_path, ["subset: {y: [-10, 15], x: 60/200, time: 2000-01-02/2000-01-03}"])
    same(ours, source(tmp_path).sel(y=slice(15, -10), x=slice(60, 200), time=slice("2000-01-02", "2000-01-03")))


def test_a_selection_on_the_command_line_is_a_subset(tmp_path):
    ours = built(tmp_path, ["drop: [flag]"], "--select", "time=2000-01-03,y=-20/0")
    same(ours, source(tmp_path).drop_vars("flag").sel(time=["2000-01-03"], y=slice(0, -20)))


def test_files_outside_the_selection_are_left_out(tmp_path):
    write(tmp_path / "a1.nc", first=0)
    write(tmp_path / "a2.nc", first=4)
    ours = built(tmp_path, ["keep: [sst]"], "--select", "time=2000-01-06/", url=f"{tmp_path}/a*.nc", combine="combine: {along: time}")
    same(ours, source(tmp_path, "a2.nc")[["sst", "time_bnds"]].drop_vars("area").sel(time=slice("2000-01-06", None)))


def test_squeeze_and_transpose(tmp_path):
    ours = built(tmp_path, ["subset: {time: 2000-01-02}", "squeeze: [time]", "transpose: [x, y]"], chunks="auto")
    same(ours, source(tmp_path).sel(time=["2000-01-02"]).squeeze("time").transpose("x", "y", ...))


def test_sort_ascending_and_into_a_new_order(tmp_path):
    def shuffled(file):
        file["x"][:] = [180, 60, 300, 0, 240, 120]

    write(tmp_path / "a.nc", extra=shuffled)
    ours = built(tmp_path, ["sort: [y, x]"], url=f"{tmp_path}/a*.nc")
    same(ours, source(tmp_path).sortby(["y", "x"]))


def test_longitudes_go_from_minus_180_to_180(tmp_path):
    ours = built(tmp_path, ['calc: {x: "(x + 180) % 360 - 180"}', "sort: [x]"])
    theirs = source(tmp_path)
    theirs = theirs.assign_coords(x=(theirs.x + 180) % 360 - 180).sortby("x")
    same(ours, theirs.assign_coords(x=theirs.x.astype("f8").drop_attrs()))


def test_dedup_keeps_the_first(tmp_path):
    def twice(file):
        file["time"][:] = [0, 1, 1, 2]

    write(tmp_path / "a.nc", extra=twice)
    ours = built(tmp_path, ["dedup: [time]"], url=f"{tmp_path}/a*.nc")
    same(ours, source(tmp_path).drop_duplicates("time"))


def test_cast_of_plain_and_packed_values(tmp_path):
    ours = built(tmp_path, ["cast: {wind: float64, sst: float32, flag: int32}"])
    theirs = source(tmp_path)
    theirs["wind"] = theirs.wind.astype("f8")
    theirs["sst"] = theirs.sst.astype("f4")
    theirs["flag"] = theirs.flag.astype("i4")
    same(ours, theirs)


def test_a_cast_that_does_not_fit_is_refused(tmp_path):
    write(tmp_path / "a.nc")
    recipe(tmp_path, ["cast: {wind: int16}"], f"{tmp_path}/a*.nc")
    done, store = run(tmp_path)
    assert done.returncode == 1
    assert "wind" in done.stderr and "int16" in done.stderr
    assert not store.exists()


def test_mask(tmp_path):
    ours = built(tmp_path, ["mask: {wind: {below: -5, above: 5}, sst: 20.01, flag: 255}"])
    theirs = source(tmp_path)
    theirs["wind"] = theirs.wind.where((theirs.wind >= -5) & (theirs.wind <= 5))
    theirs["sst"] = theirs.sst.where(theirs.sst != 20.01)
    theirs["flag"] = theirs.flag.where(theirs.flag != 255).astype("f4")
    same(ours, theirs)


def test_a_mask_without_a_way_to_say_missing_is_refused(tmp_path):
    error = refused(tmp_path, ["mask: {flag: {below: 100}}"])
    assert "flag" in error and "_FillValue" in error and "line 5" in error


def test_calc_in_chunks_and_over_broadcast(tmp_path):
    ours = built(tmp_path, ['calc: {speed: "sqrt(wind ** 2 + sst ** 2)", weighted: "wind * area + y", half: "speed / 2"}'])
    theirs = source(tmp_path)
    wide = theirs.astype("f8")
    theirs["speed"] = np.sqrt(wide.wind**2 + wide.sst**2)
    theirs["weighted"] = wide.wind * wide.area.astype("f8") + wide.y.astype("f8")
    theirs["half"] = theirs["speed"] / 2
    for name in ("speed", "weighted", "half"):
        theirs[name].attrs = {}
    assert set(ours.variables) == set(theirs.variables)
    for name in ("speed", "weighted", "half"):
        assert ours[name].dims == theirs[name].dims
        np.testing.assert_allclose(ours[name].values, theirs[name].values, rtol=1e-15)


def test_calc_after_a_subset_follows_the_files_own_axes(tmp_path):
    each = ["subset: {y: -10/20, x: 60/240}", "sort: [y]", "transpose: [x, time]", 'calc: {double: "wind * 2 + sst * 0"}']
    ours = built(tmp_path, each)
    theirs = source(tmp_path).sel(y=slice(20, -10), x=slice(60, 240)).sortby("y").transpose("x", "time", ...)
    np.testing.assert_array_equal(ours.double.values, (theirs.wind.astype("f8") * 2 + theirs.sst * 0).values)
    same(ours.drop_vars("double"), theirs)


def test_add_dim_from_a_key_a_number_and_a_text(tmp_path):
    for member in (1, 2):
        write(tmp_path / f"r{member}_a.nc", first=0)
    ours = built(
        tmp_path,
        ['add_dim: {member: "{member}"}', "drop: [flag]"],
        url=f"{tmp_path}/r*_a.nc",
        keys=", match: 'r(?P<member>\\d)_a\\.nc'",
        combine="combine: {along: member}",
    )
    # As xarray decodes with what describes others taken for coordinates, too.
    theirs = [source(tmp_path, f"r{member}_a.nc", decode_coords="all").drop_vars("flag").expand_dims(member=[member]) for member in (1, 2)]
    theirs = xr.concat(theirs, "member", coords="minimal", compat="override", combine_attrs="override").reset_coords("time_bnds")
    assert ours.sst.dims == ("member", "time", "y", "x")
    np.testing.assert_array_equal(ours.sst, theirs.sst)
    np.testing.assert_array_equal(ours.member, [1, 2])
    assert ours.time_bnds.dims == ("time", "nv")
    assert ours.height.dims == ("member",)


@pytest.mark.parametrize("written, label", [("5", np.int64(5)), ("0.5", 0.5), ("control", "control")])
def test_add_dim_with_a_label_of_the_recipe(tmp_path, written, label):
    ours = built(tmp_path, [f"add_dim: {{run: {written}}}"])
    assert ours.run.values[0] == label
    assert ours.wind.dims == ("run", "time", "y", "x")


def test_time_from_a_key(tmp_path):
    def timeless(path):
        with netCDF4.Dataset(path, "w") as file:
            file.createDimension("x", 3)
            file.createVariable("v", "f4", ("x",))[:] = [1, 2, 3]

    timeless(tmp_path / "v_20010203.nc")
    timeless(tmp_path / "v_20010304.nc")
    ours = built(
        tmp_path,
        ["time_from: {key: day}"],
        url=f"{tmp_path}/v_*.nc",
        keys=", match: 'v_(?P<day>\\d{8})\\.nc'",
        parse=', parse: {day: "%Y%m%d"}',
    )
    np.testing.assert_array_equal(ours.time, np.array(["2001-02-03", "2001-03-04"], "M8[ns]"))
    np.testing.assert_array_equal(ours.v, [[1, 2, 3], [1, 2, 3]])


def test_time_from_an_attribute_and_a_scalar(tmp_path):
    def timeless(path, hour):
        with netCDF4.Dataset(path, "w") as file:
            file.createDimension("x", 3)
            file.createVariable("v", "f4", ("x",))[:] = [hour, 2, 3]
            valid = file.createVariable("valid", "i4", ())
            valid.units = "hours since 2000-01-01"
            valid[:] = hour
            file.stamp = f"20000101T{hour:02}"

    timeless(tmp_path / "v6.nc", 6)
    timeless(tmp_path / "v3.nc", 3)
    wanted = np.array(["2000-01-01T03", "2000-01-01T06"], "M8[ns]")
    for number, step in enumerate(['time_from: {attribute: stamp, format: "%Y%m%dT%H"}', "time_from: {variable: valid}"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        drop = ["drop: [valid]"] if number == 0 else []
        ours = built(folder, [step, *drop], url=f"{tmp_path}/v*.nc")
        np.testing.assert_array_equal(ours.time, wanted)
        np.testing.assert_array_equal(ours.v[:, 0], [3, 6])


def test_attributes_and_what_is_mended_before_decoding(tmp_path):
    each = [
        "fix_before_decode: {flag: {_FillValue: 23}, time: {units: hours since 2000-01-01}}",
        "attrs: {wind: {units: knots, comment: mine}, global: {title: ~, source: here}}",
    ]
    ours = built(tmp_path, each)
    raw = source(tmp_path, decode_cf=False)
    raw["flag"].attrs["_FillValue"] = np.uint8(23)
    raw["time"].attrs["units"] = "hours since 2000-01-01"
    theirs = xr.decode_cf(raw)
    theirs["wind"].attrs |= {"units": "knots", "comment": "mine"}
    same(ours, theirs)
    assert "title" not in ours.attrs and ours.attrs["source"] == "here"


def test_units_of_times_are_not_set_after_decoding(tmp_path):
    error = refused(tmp_path, ["attrs: {time: {units: hours since 2000-01-01}}"])
    assert "fix_before_decode" in error


def test_promote_makes_a_scalar(tmp_path):
    ours = built(tmp_path, ["promote: {member: run, stamp: made}"])
    assert ours.run.values == 0 and ours.run.dtype == np.int32
    assert ours.made.values == "20000101T06"
    assert "member" not in ours.attrs


def groups(file):
    inner = file.createGroup("science").createGroup("grid")
    file["science"].title = "outer"
    inner.createDimension("lat", 3)
    inner.createVariable("lat", "f4", ("lat",))[:] = [1, 2, 3]
    value = inner.createVariable("value", "f4", ("lat",))
    value[:] = [4, 5, 6]
    value.coordinates = "lat"
    inner.version = "7"


def test_a_group_becomes_the_root(tmp_path):
    write(tmp_path / "a.nc", extra=groups)
    ours = built(tmp_path, ["group: /science/grid"], url=f"{tmp_path}/a*.nc", chunks="auto")
    theirs = source(tmp_path, group="/science/grid")
    same(ours, theirs)
    assert ours.attrs == theirs.attrs


def test_groups_are_flattened(tmp_path):
    write(tmp_path / "a.nc", extra=groups)
    ours = built(tmp_path, ["flatten_groups: true"], url=f"{tmp_path}/a*.nc")
    assert ours.science_grid_value.dims == ("science_grid_lat",)
    np.testing.assert_array_equal(ours.science_grid_lat, [1, 2, 3])
    np.testing.assert_array_equal(ours.science_grid_value, [4, 5, 6])
    assert ours.attrs["science_grid_version"] == "7" and "wind" in ours


@pytest.mark.parametrize(
    "step, said",
    [
        ("keep: [wnd]", ["wnd", "did you mean `wind`"]),
        ("drop: [flagg]", ["flagg", "did you mean `flag`"]),
        ("rename: {lat: y}", ["`lat`"]),
        ("rename: {x: y}", ["`y` already"]),
        ("subset: {tim: 2000}", ["did you mean `time`"]),
        ("subset: {time: 2031}", ["2031", "2000-01-01T00:00:00", "2000-01-04"]),
        ("subset: {time: 5}", ["`5`", "time"]),
        ("subset: {area: 5}", ["area", "2 dimensions"]),
        ("squeeze: [y]", ["`y`", "5 elements"]),
        ("group: /science", ["science"]),
        ('calc: {a: "wind + wnd"}', ["wnd", "did you mean `wind`"]),
        ("promote: {titel: t}", ["did you mean `title`"]),
        ("time_from: {attribute: stamp}", ["20000101T06", "stamp"]),
    ],
)
def test_what_cannot_be_done_names_the_line_and_the_file(tmp_path, step, said):
    error = refused(tmp_path, [step])
    for words in ["line 5", "a.nc", *said]:
        assert words in error, error


def convert(folder, *words):
    write(folder / "a.nc")
    store = folder / "out.zarr"
    done = subprocess.run(
        [*binary(), "convert", str(folder / "a.nc"), str(store), "--to", "zarr", *words], capture_output=True, text=True, timeout=120
    )
    return done, store


def test_convert_selects_by_label(tmp_path):
    done, store = convert(tmp_path, "--vars", "sst", "--select", "time=2000-01-02/,y=0")
    assert done.returncode == 0, done.stderr
    theirs = source(tmp_path)[["sst", "time_bnds"]].drop_vars("area").sel(time=slice("2000-01-02", None), y=[0])
    same(xr.open_zarr(store), theirs)


def test_convert_names_the_word_that_is_wrong(tmp_path):
    for words, said in [
        (["--select", "tim=2000"], ["--select", "did you mean `time`"]),
        (["--vars", "sts"], ["--vars", "did you mean `sst`"]),
        (["--drop", "sts"], ["--drop", "did you mean `sst`"]),
    ]:
        done, store = convert(tmp_path, *words)
        assert done.returncode in (1, 2) and not store.exists()
        for word in said:
            assert word in done.stderr, done.stderr
