#!/usr/bin/env python3
"""What frazil asks a web server for when it references files: requests and bytes of each, counted by the server.

It promises to count every request, whatever its kind, of a first run without any index, and of a second run; and that
the server takes 20 ms for each answer. It does not look at values: the judges do.

    bench/asked.py [--only NAME ...] [--log] [-- FLAGS OF CONVERT]

`--log` prints each request for the first file of a scene: its method, and its first and last byte.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/judge")]

import h5py  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
import server as judge_server  # noqa: E402
from command import binary, measured  # noqa: E402
from fields import DATA, series  # noqa: E402

DELAY_SECONDS = 0.02
MOST_REQUESTS, MOST_BYTES, MOST_SHARE = 3, 256 << 10, 0.01
VIRTUAL = ["--to", "virtual", "--format", "kerchunk-json"]


# Files, each as some program writes them.

def model(path, number, n_days=10, extra=lambda file: None, n_lat=90, n_lon=180, fields=("tas", "pr", "hurs", "ps"), chunks=(1, 45, 90)):
    """As a model writes: day after day, field after field, so that metadata lies between the values."""
    noise = np.random.default_rng(number)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("lat", n_lat), ("lon", n_lon), ("bnds", 2)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "days since 2000-01-01", "calendar": "standard", "bounds": "time_bnds"})
        file.createVariable("lat", "f8", ("lat",))[:] = np.linspace(-89, 89, n_lat)
        file.createVariable("lon", "f8", ("lon",))[:] = np.arange(n_lon) * 360 / n_lon
        bounds = file.createVariable("time_bnds", "f8", ("time", "bnds"))
        made = [file.createVariable(name, "f4", ("time", "lat", "lon"), zlib=True, complevel=1, chunksizes=chunks) for name in fields]
        for field in made:
            field.setncatts({"units": "1", "long_name": field.name, "cell_methods": "time: mean"})
        extra(file)
        for day in range(n_days):
            time[day] = n_days * number + day
            bounds[day] = n_days * number + day, n_days * number + day + 1
            for field in made:
                field[day] = noise.normal(size=(n_lat, n_lon))
        file.setncatts({"Conventions": "CF-1.8", "history": f"made as number {number}"})


def many_coordinates(file):
    """Two-dimensional latitudes and longitudes with their bounds, levels, a mapping, names of stations."""
    file.createDimension("lev", 30)
    file.createDimension("nv", 4)
    file.createDimension("station", 50)
    for name in ("lev", "a", "b"):
        file.createVariable(name, "f8", ("lev",))[:] = np.arange(30.0)
    for name in ("lat2d", "lon2d", "area"):
        file.createVariable(name, "f4", ("lat", "lon"))[:] = np.arange(90 * 180).reshape(90, 180)
    file.createVariable("lat_vertices", "f4", ("lat", "nv"))[:] = np.arange(360).reshape(90, 4)
    file.createVariable("crs", "i4", ()).setncatts({"grid_mapping_name": "latitude_longitude"})
    file.createVariable("name", str, ("station",))[:] = np.array([f"station {i}" for i in range(50)], dtype=object)
    file.createVariable("height", "f8", ())[...] = 2.0


def compound(file):
    """Attributes of compound, enumerated and variable-length types, and groups."""
    complex_type = file.createCompoundType(np.dtype([("r", "f8"), ("i", "f8")]), "complex_t")
    file.createVariable("c", complex_type, ("bnds",))[:] = np.zeros(2, complex_type.dtype)
    kind = file.createEnumType("u1", "cloud_t", {"clear": 0, "cumulus": 1})
    file.createVariable("cloud", kind, ("lat",), fill_value=0)[:] = np.zeros(90, "u1")
    file.setncatts({f"note_{i:02}": f"a note of some length, number {i}" for i in range(40)})
    for name in ("forecast", "analysis"):
        group = file.createGroup(name)
        group.createVariable("x", "f4", ("lat", "lon"))[:] = 0


def at_once(path, number):
    """Each variable written in one call, contiguous."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 24), ("lat", 180), ("lon", 360)):
            file.createDimension(name, size)
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = np.arange(size) + (24 * number if name == "time" else 0)
        file["time"].units = "hours since 2000-01-01"
        for name in ("u", "v"):
            file.createVariable(name, "f4", ("time", "lat", "lon"), contiguous=True)[:] = number


def day_by_day(path, number):
    model(path, number, n_days=1, n_lat=360, n_lon=720, chunks=(1, 180, 360))


def year(path, number):
    model(path, number, n_days=365, fields=("tas", "pr"), chunks=(1, 90, 180))


def classic(path, number):
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.createDimension("time", None)
        for name, size in (("lat", 90), ("lon", 180)):
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.arange(size)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "days since 2000-01-01"
        fields = [file.createVariable(name, "f4", ("time", "lat", "lon")) for name in ("tas", "pr")]
        for day in range(20):
            time[day] = 20 * number + day
            for field in fields:
                field[day] = day


def large(path, number):
    """64 MB in 4,096 chunks: the index of chunks lies between them."""
    noise = np.random.default_rng(1).normal(size=(256, 256, 256)).astype("f4")
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("lat", 256), ("lon", 256)):
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.arange(256) + (256 * number if name == "time" else 0)
        file["time"].units = "days since 2000-01-01"
        file.createVariable("sst", "f4", ("time", "lat", "lon"), chunksizes=(1, 64, 64))[:] = noise


def latest(path, number):
    """Of the newest form of HDF5: fixed and extensible arrays instead of B-trees."""
    with h5py.File(path, "w", libver="latest") as file:
        for name, size in (("time", 40), ("lat", 90), ("lon", 180)):
            file[name] = np.arange(size, dtype="f8") + (40 * number if name == "time" else 0)
            file[name].make_scale(name)
        file["time"].attrs["units"] = "days since 2000-01-01"
        for name, limit in (("tas", None), ("pr", 40)):
            field = file.create_dataset(name, (40, 90, 180), "f4", chunks=(1, 45, 90), maxshape=(limit, 90, 180), compression="gzip", compression_opts=1)
            field[:] = np.random.default_rng(number).normal(size=(40, 90, 180))
            for axis, dimension in enumerate(("time", "lat", "lon")):
                field.dims[axis].attach_scale(file[dimension])


SCENES = {
    "model": ("as a model writes, 10 days", lambda path, i: model(path, i), 12),
    "coordinates": ("with many coordinates", lambda path, i: model(path, i, extra=many_coordinates), 6),
    "compound": ("compound attributes, groups", lambda path, i: model(path, i, extra=compound), 6),
    "day": ("one day, 360 x 720", day_by_day, 12),
    "year": ("a year, a chunk a day", year, 3),
    "contiguous": ("contiguous variables", at_once, 6),
    "large": ("64 MB in 4,096 chunks", large, 1),
    "latest": ("newest form of HDF5", latest, 6),
    "classic": ("netCDF-3", classic, 6),
    "daily": ("180 daily files", None, 180),
}


def files_of(name):
    _, write, n_files = SCENES[name]
    if write is None:
        return series(n_files, 360, 720)
    folder = DATA / f"requests-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"f-{i:03}.nc" for i in range(n_files)]
    for number, path in enumerate(paths):
        if not path.exists():
            write(path.with_suffix(".part"), number)
            path.with_suffix(".part").rename(path)
    return paths


class Logging(judge_server.Handler):
    """Notes what is asked for."""

    log: list = []

    def answer(self, body):
        self.log.append((self.path.lstrip("/"), self.command, self.headers.get("Range", "all").removeprefix("bytes=")))
        super().answer(body)


def asked(files, words, cache, work):
    """One run: requests and bytes of each file, in order, seconds, and the requests themselves."""
    Logging.log = []
    with judge_server.serving(files[0].parent, delay_seconds=DELAY_SECONDS) as server:
        server.RequestHandlerClass = Logging
        # The index knows a file by its address: both runs must see the same.
        urls = [f"{server.address}/{path.name}" for path in files]
        dest = work / "out.json"
        dest.unlink(missing_ok=True)
        command = [*binary(), "convert", *urls, dest, *words]
        runs = []
        for _ in range(2):
            before, sent, log = server.requests.copy(), server.sent.copy(), len(Logging.log)
            answer = measured(command, timeout=600, env={"XDG_CACHE_HOME": str(cache)})
            if answer.code != 0:
                raise SystemExit(str(answer))
            requests = [server.requests[path.name] - before[path.name] for path in files]
            n_bytes = [server.sent[path.name] - sent[path.name] for path in files]
            runs.append((requests, n_bytes, answer.seconds, Logging.log[log:]))
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description="requests and bytes of virtual conversions")
    parser.add_argument("--only", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--log", action="store_true")
    own = sys.argv[1:]
    flags = own[own.index("--") + 1 :] if "--" in own else []
    arguments = parser.parse_args(own[: own.index("--")] if "--" in own else own)
    failed = []
    print(f"{'':32}{'files':>6}{'MB each':>9}{'requests':>10}{'most':>6}{'KiB each':>10}{'% at most':>11}{'seconds':>9}{'again':>7}")
    for name in arguments.only:
        files = files_of(name)
        for inline in ([], ["--inline", "1B"]):
            with tempfile.TemporaryDirectory(prefix="frazil-requests-") as folder:
                folder = pathlib.Path(folder)
                first, second = asked(files, [*VIRTUAL, *inline, *flags], folder / "cache", folder)
            sizes = [path.stat().st_size for path in files]
            requests, n_bytes, seconds, log = first
            share = max(got / size for got, size in zip(n_bytes, sizes))
            title = f"{SCENES[name][0]}{' (inline 1B)' if inline else ''}"
            print(
                f"{title:32.32}{len(files):6}{statistics.mean(sizes) / 1e6:9.1f}{statistics.median(requests):10.1f}{max(requests):6}"
                f"{statistics.mean(n_bytes) / 1024:10.1f}{100 * share:11.2f}{seconds:9.2f}{max(second[0]):7}",
                flush=True,
            )
            is_many = statistics.median(requests) > MOST_REQUESTS
            is_much = any(got > max(MOST_BYTES, size * MOST_SHARE) for got, size in zip(n_bytes, sizes))
            failed += [f"{title}: requests"] * is_many + [f"{title}: bytes"] * is_much
            if arguments.log:
                for path, method, part in log:
                    if path == files[-1].name:
                        print(f"      {method:5} {part}")
    print("\n" + ("\n".join(f"missed: {line}" for line in failed) or "every aim was met"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
