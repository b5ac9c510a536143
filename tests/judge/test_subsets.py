"""Parts of datasets, named behind a question mark: what xarray selects is what is copied."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr

from command import frazil
from same import differences, open_store
from server import serving
from verdicts import convert, is_visible


def dataset(lon=None, lat=None):
    lon = np.arange(0, 360, 30.0) if lon is None else lon
    lat = np.arange(-75, 76, 15.0) if lat is None else lat
    time = np.datetime64("2000-01-01", "ns") + np.arange(0, 1000, 10) * np.timedelta64(1, "D")
    shape = (len(time), len(lat), len(lon))
    return xr.Dataset(
        {
            "sst": (("time", "y", "x"), np.arange(np.prod(shape)).reshape(shape).astype("f4"), {"units": "K"}),
            "ice": (("time", "y", "x"), np.arange(np.prod(shape)).reshape(shape).astype("f8")),
        },
        coords={
            "time": time,
            "y": ("y", lat, {"units": "degrees_north", "standard_name": "latitude"}),
            "x": ("x", lon, {"units": "degrees_east", "standard_name": "longitude"}),
        },
    )


@pytest.fixture(params=["v2", "v3", "nc"])
def source(request, tmp_path):
    data = dataset()
    if request.param == "nc":
        data.to_netcdf(tmp_path / "in.nc")
        return tmp_path / "in.nc"
    data.to_zarr(tmp_path / "in.zarr", zarr_format=int(request.param[1]), encoding={"sst": {"chunks": (7, 4, 5)}})
    return tmp_path / "in.zarr"


def opened(source):
    return xr.open_dataset(source) if source.suffix == ".nc" else open_store(source)


def assert_same(expected, store):
    with open_store(store) as found:
        wrong = differences(expected.load(), found.load(), set())
    assert not wrong, wrong


@pytest.mark.parametrize("verb", ["cp", "convert"])
def test_variables_labels_and_a_box_are_taken(source, tmp_path, verb):
    words = ["--to", "zarr"] if verb == "convert" else []
    answer = frazil(verb, f"{source}?sst&time=2001&bbox=60,-20,200,45", tmp_path / "z", "--json", *words)
    assert answer.code == 0, str(answer)
    with opened(source) as data:
        assert_same(data[["sst"]].sel(time="2001", y=slice(-20, 45), x=slice(60, 200)), tmp_path / "z")


def test_a_copy_of_a_part_is_cut_and_packed_as_its_source(tmp_path):
    for zarr_format in [2, 3]:
        place = tmp_path / f"in{zarr_format}.zarr"
        dataset().to_zarr(place, zarr_format=zarr_format, encoding={"sst": {"chunks": (7, 4, 5)}})
        answer = frazil("cp", f"{place}?sst&time=2001", f"{tmp_path}/out{zarr_format}/", "--json")
        assert answer.code == 0, str(answer)
        made = zarr.open(tmp_path / f"out{zarr_format}" / place.name / "sst", mode="r")
        assert (made.chunks, made.metadata.zarr_format) == ((7, 4, 5), zarr_format)
        assert made.compressors == zarr.open(place / "sst", mode="r").compressors


def test_it_is_remembered_and_verified(source, tmp_path):
    place = f"{source}?ice&time=2000/2001-06&bbox=0,-90,90,90"
    assert frazil("cp", place, tmp_path / "z", "--json").code == 0
    answer = frazil("cp", place, tmp_path / "z", "--json")
    assert answer.code == 0 and answer.report["outcome"] == "already-there", str(answer)
    assert frazil("verify", tmp_path / "z", "--sources", source).code == 0
    answer = frazil("cp", f"{source}?ice", tmp_path / "z", "--json")
    assert answer.code == 1, str(answer)


@pytest.mark.parametrize(
    ("lon", "bbox", "taken"),
    [
        (np.arange(-180, 180, 30.0), (-60, 60), slice(-60, 60)),
        (np.arange(0, 360, 30.0), (-120, -30), slice(240, 330)),
        (np.arange(0, 360, 30.0), (170, -150), slice(170, 210)),
        (np.arange(-180, 180, 30.0), (240, 330), slice(-120, -30)),
        (np.arange(0, 360, 30.0), (-180, 180), slice(0, 360)),
        (np.arange(0, 360, 0.1, dtype="f4"), (0.1, 0.3), slice(np.float32(0.1), np.float32(0.3))),
    ],
    ids=str,
)
def test_longitudes_are_compared_around_the_circle(tmp_path, lon, bbox, taken):
    dataset(lon=lon, lat=np.array([60.0, 0.0, -60.0])).to_zarr(tmp_path / "in.zarr")
    west, east = bbox
    answer = frazil("cp", f"{tmp_path}/in.zarr?sst&bbox={west},-90,{east},90", tmp_path / "z", "--json")
    assert answer.code == 0, str(answer)
    with open_store(tmp_path / "in.zarr") as data:
        assert_same(data[["sst"]].sel(x=taken), tmp_path / "z")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("sst&bbox=-60,-90,60,90", "over its edge"),
        ("sst&bbox=0,-90,400,90", "longitudes"),
        ("sst&bbox=0,10,10,0", "south to north"),
        ("sst&bbox=1,1,2,2", "nothing lies in the box"),
        ("salt", "salt"),
        ("sst&time=1850", "1850"),
        ("sst&depth=5", "depth"),
        ("sst&time", "time"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(tmp_path, part, words):
    dataset().to_zarr(tmp_path / "in.zarr")
    answer = frazil("cp", f"{tmp_path}/in.zarr?{part}", tmp_path / "z", "--json")
    assert answer.crash() is None and answer.code in (1, 2) and words in answer.text, str(answer)
    assert not is_visible(tmp_path / "z")


def test_a_grid_without_axes_of_latitude_is_refused(tmp_path):
    data = dataset().rename(y="row", x="column")
    for name in ["row", "column"]:
        data[name].attrs = {}
    data.to_zarr(tmp_path / "none.zarr")
    plane = xr.DataArray(np.zeros((11, 12)), dims=("row", "column"), attrs={"units": "degrees_north"})
    data.drop_vars(["row", "column"]).assign_coords(lat=plane).to_zarr(tmp_path / "curved.zarr")
    for name in ["none", "curved"]:
        answer = frazil("cp", f"{tmp_path}/{name}.zarr?sst&bbox=0,0,10,10", tmp_path / "z", "--json")
        assert answer.code == 1 and "latitude" in answer.text, str(answer)


def test_options_say_the_same(source, tmp_path):
    answer = convert([source], tmp_path / "z", "--vars", "sst", "--select", "time=2001", "--bbox", "60,-20,200,45")
    assert answer.code == 0, str(answer)
    with opened(source) as data:
        assert_same(data[["sst"]].sel(time="2001", y=slice(-20, 45), x=slice(60, 200)), tmp_path / "z")
    assert convert([f"{source}?sst"], tmp_path / "y", "--vars", "ice").code in (1, 2)


def test_names_with_a_question_mark_are_names(tmp_path):
    dataset().to_netcdf(tmp_path / "in?sst.nc")
    answer = convert([tmp_path / "in?sst.nc"], tmp_path / "z")
    assert answer.code == 0, str(answer)
    with open_store(tmp_path / "z") as found:
        assert {"sst", "ice"} <= set(found.data_vars)


def test_a_part_of_a_store_on_a_web_server_costs_its_part(tmp_path):
    data = dataset(lon=np.arange(0, 360, 5.0), lat=np.arange(-87.5, 90, 5.0))
    data.to_zarr(tmp_path / "in.zarr", encoding={"sst": {"chunks": (10, 36, 72)}, "ice": {"chunks": (1, 36, 72)}})
    with serving(tmp_path) as server:
        answer = frazil("cp", f"{server.address}/in.zarr?sst&time=2001-02", tmp_path / "z", "--json")
        assert answer.code == 0, str(answer)
        asked = {path for path in server.requests if "/c/" in path and "/time/" not in path and "/x/" not in path and "/y/" not in path}
    assert not any("/ice/" in path for path in asked), asked
    assert len(asked) <= 2, asked
    with open_store(tmp_path / "in.zarr") as data:
        assert_same(data[["sst"]].sel(time="2001-02"), tmp_path / "z")


@pytest.mark.parametrize("calendar,first,last", [
    ("360_day", "2000-02-30", "2000-03-01"), ("360_day", "2000-02-28", "2000-02-29T06:00"), ("360_day", "2000-02", "2000-02"), ("360_day", "2001-02-29", "2001-02-30"),
    ("all_leap", "2001-02-29", "2001-03-01"), ("julian", "1900-02-29", "1900-03-02"), ("noleap", "2000-02-28", "2000-03-01"),
])
def test_dates_of_other_calendars_are_dates(tmp_path, calendar, first, last):
    year = first[:4]
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("time", None)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time.calendar, time[:] = f"days since {year}-01-25", calendar, np.arange(80) / 2 + 10
        file.createVariable("v", "f4", ("time",))[:] = np.arange(80)
    assert frazil("convert", tmp_path / "a.nc", tmp_path / "out", "--to", "zarr", "--select", f"time={first}/{last}").code == 0
    coder = xr.coders.CFDatetimeCoder(use_cftime=True)
    want = xr.open_dataset(tmp_path / "a.nc", decode_times=coder).sel(time=slice(first, last))
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "out", consolidated=False).v, want.v)
    assert want.sizes["time"] > 0
