#!/usr/bin/env python3
"""Makes the inputs of the benchmarks, once: `bench/data` keeps them, git does not.

It promises the same values for the same sizes. The fields are smooth with noise on top, so that they compress as
real ones do: about 2:1 for the float32, about 2:1 for the packed int16.
"""

import argparse
import pathlib
import zlib

import h5py
import numpy as np

DATA = pathlib.Path(__file__).parent / "data"


def field(day: int, lat: np.ndarray, lon: np.ndarray, seed: int) -> np.ndarray:
    """One day of a smooth wave that moves, with noise of one hundredth of it, as float32."""
    noise = np.random.default_rng([seed, day]).standard_normal((lat.size, lon.size), dtype="f4")
    wave = np.cos(np.radians(lat))[:, None] * np.sin(np.radians(lon * (2 + seed) + day * 3))[None, :]
    return (280 + 20 * wave + 0.2 * noise).astype("f4")


def write_chunk(variable, day_index: int, values: np.ndarray, level: int) -> None:
    """One chunk through shuffle and deflate by hand: half the time of letting HDF5 do it."""
    shuffled = values.view("u1").reshape(-1, values.dtype.itemsize).T.tobytes()
    variable.id.write_direct_chunk((day_index, 0, 0), zlib.compress(shuffled, level))


def daily(path: pathlib.Path, first_day: int, n_days: int, n_lat: int, n_lon: int, level: int, floats=("tas", "pr"), packed=("hurs",)) -> None:
    """One netCDF-4 file of `n_days`, a chunk a day, as archives write them."""
    lat, lon = np.linspace(-90 + 90 / n_lat, 90 - 90 / n_lat, n_lat), np.arange(n_lon) * 360.0 / n_lon
    part = path.with_suffix(".part")
    with h5py.File(part, "w", libver=("earliest", "v108"), track_order=True) as file:
        file.attrs.update({"Conventions": "CF-1.8", "title": "made for a benchmark"})
        scales = {"time": np.arange(first_day, first_day + n_days, dtype="f8"), "lat": lat, "lon": lon}
        units = {"time": "days since 2000-01-01", "lat": "degrees_north", "lon": "degrees_east"}
        for name, values in scales.items():
            axis = file.create_dataset(name, data=values, chunks=(n_days,) if name == "time" else None, maxshape=(None,) if name == "time" else None)
            axis.make_scale(name)
            axis.attrs["units"] = np.bytes_(units[name])
        file["time"].attrs["calendar"] = np.bytes_("standard")
        for seed, name in enumerate([*floats, *packed]):
            kind = "i2" if name in packed else "f4"
            variable = file.create_dataset(
                name, (n_days, n_lat, n_lon), kind, chunks=(1, n_lat, n_lon), maxshape=(None, n_lat, n_lon),
                shuffle=True, compression="gzip", compression_opts=level, fillvalue=np.array(-32768 if kind == "i2" else 1e20, kind),
            )
            variable.attrs["units"] = np.bytes_("K")
            variable.attrs["_FillValue"] = np.array([-32768 if kind == "i2" else 1e20], kind)
            if kind == "i2":
                variable.attrs["scale_factor"], variable.attrs["add_offset"] = 0.01, 280.0
            for index, dimension in enumerate(("time", "lat", "lon")):
                variable.dims[index].attach_scale(file[dimension])
            for day in range(n_days):
                values = field(first_day + day, lat, lon, seed)
                if kind == "i2":
                    values = np.round((values - 280) * 100).astype("i2")
                write_chunk(variable, day, np.ascontiguousarray(values), level)
    part.rename(path)


def _task(arguments):
    daily(*arguments)


def series(n_files: int, n_lat: int, n_lon: int, days_per_file=1, level=4, floats=("tas", "pr"), packed=("hurs",)) -> list[pathlib.Path]:
    """The files of one series, made now if they are not there, by two processes."""
    import multiprocessing

    folder = DATA / f"{n_files}x{days_per_file}x{n_lat}x{n_lon}-{len(floats)}f{len(packed)}p-z{level}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"day-{i:05}.nc" for i in range(n_files)]
    todo = [(path, i * days_per_file, days_per_file, n_lat, n_lon, level, floats, packed) for i, path in enumerate(paths) if not path.exists()]
    if todo:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            for _ in pool.imap_unordered(_task, todo, chunksize=max(1, len(todo) // 64)):
                pass
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description="makes the inputs of the benchmarks")
    parser.add_argument("--files", type=int, default=180)
    parser.add_argument("--lat", type=int, default=720)
    parser.add_argument("--lon", type=int, default=1440)
    arguments = parser.parse_args()
    paths = series(arguments.files, arguments.lat, arguments.lon)
    print(f"{len(paths)} files, {sum(path.stat().st_size for path in paths) / 1e6:.0f} MB, in {paths[0].parent}")


if __name__ == "__main__":
    main()
