"""Makes small deterministic files and feedstocks, each with exactly one oddity.

It promises the same bytes of data for the same arguments: values come from a counter, not from chance. It does not
know which oddities may be joined; the tests say that.
"""

import datetime
import pathlib

import netCDF4
import numpy as np

LAT = np.array([-45.0, -15.0, 15.0, 45.0])
LON = np.array([0.0, 60.0, 120.0, 180.0, 240.0, 300.0])
# A grid of values too many to be loaded along with the structure of a file.
MANY = {"lat": np.linspace(-45, 45, 60), "lon": np.arange(80) * 4.5}


def counter(shape, start=0, modulus=251) -> np.ndarray:
    """Small whole numbers that differ from cell to cell and from file to file."""
    return (np.arange(int(np.prod(shape)), dtype="i8").reshape(shape) * 7 + start * 13) % modulus


def days(first: str, n: int, step_hours: float = 24) -> list[datetime.datetime]:
    start = datetime.datetime.fromisoformat(first)
    return [start + datetime.timedelta(hours=step_hours * i) for i in range(n)]


def make(
    path, times, *, name="sst", units="days since 2000-01-01", calendar="standard", time_dtype="f8", lat=LAT, lon=LON,
    dtype="f4", stored=None, packing=None, fill=None, attributes=None, time_attributes=None, order=("time", "lat", "lon"),
    file_format="NETCDF4", unlimited=True, file_attributes=None, constant=None, **storage,
) -> pathlib.Path:
    """One file with `name(time, lat, lon)`. `times` are datetimes, or numbers in `units`. `stored` are the integers
    or floats as they lie in the file; `packing` is `{"scale_factor": …, "add_offset": …}`."""
    path = pathlib.Path(path)
    sizes = {"time": len(times), "lat": len(lat), "lon": len(lon)}
    with netCDF4.Dataset(path, "w", format=file_format) as file:
        file.set_auto_maskandscale(False)
        for dimension in ("time", "lat", "lon"):
            file.createDimension(dimension, None if dimension == "time" and unlimited else sizes[dimension])
        time = file.createVariable("time", time_dtype, ("time",))
        time.setncatts({"units": units, "calendar": calendar, "standard_name": "time", **(time_attributes or {})})
        if isinstance(times[0], datetime.datetime):
            times = netCDF4.date2num(times, units, calendar)
        time[:] = np.asarray(times).astype(time_dtype)
        for axis, values, unit in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")):
            variable = file.createVariable(axis, "f8", (axis,))
            variable.units = unit
            variable[:] = values
        variable = file.createVariable(name, dtype, order, fill_value=fill if fill is not None else False, **storage)
        variable.set_auto_maskandscale(False)
        variable.setncatts({"units": "K", "long_name": "made for a test", **(packing or {}), **(attributes or {})})
        if stored is None:
            stored = counter(tuple(sizes[d] for d in ("time", "lat", "lon")), start=sum(map(ord, path.stem)))
        natural = np.asarray(stored).astype(np.dtype(dtype))
        variable[:] = natural.transpose([("time", "lat", "lon").index(d) for d in order])
        if constant is not None:
            scalar = file.createVariable("crs", "i4", ())
            scalar.setncatts({"grid_mapping_name": "latitude_longitude"})
            scalar[...] = constant
        file.setncatts({"title": "a test", "history": f"made as {path.name}", **(file_attributes or {})})
    return path


def spoil(path, variable="sst") -> None:
    """Overwrites the middle of the last compressed chunk: the metadata stays readable, the chunk does not."""
    import h5py

    with h5py.File(path) as file:
        data = file[variable]
        info = data.id.get_chunk_info(data.id.get_num_chunks() - 1)
    with open(path, "r+b") as file:
        file.seek(info.byte_offset + info.size // 3)
        file.write(b"\xff" * max(8, info.size // 3))


def feedstock(folder, glob, *, chunks="{time: 10, lat: 2, lon: 3}", mode="create", zarr_format=3, combine="", each="", write="") -> pathlib.Path:
    """A feedstock of one recipe over local files. `combine`, `each` and `write` are further lines of YAML."""
    folder = pathlib.Path(folder)
    (folder / "feedstock").mkdir(parents=True, exist_ok=True)
    text = f"""recipe: 1
id: made
sources:
  f: {{glob: "{glob}"}}
{each}combine: {{along: time{", " + combine if combine else ""}}}
write:
  zarr: {{format: {zarr_format}, chunks: {chunks}, mode: {mode}{", " + write if write else ""}}}
"""
    (folder / "feedstock" / "recipe.yaml").write_text(text, encoding="utf-8")
    return folder


def pair(folder, first=None, second=None):
    """Two files of five days each; the arguments make each one odd."""
    one = make(folder / "one.nc", **{"times": days("2000-01-01", 5), **(first or {})})
    two = make(folder / "two.nc", **{"times": days("2000-01-06", 5), **(second or {})})
    return [one, two]
