#!/usr/bin/env python3
"""Scan: `frazil inspect` of a folder with ten thousand small netCDF-4 files, twice.

It promises that the files differ (each has its own day and its own values) and that the first scan starts with no
index. The aims: under 30 s at first, under 2 s again, on two cores.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/judge")]

import h5py  # noqa: E402
import netCDF4  # noqa: E402
import numpy as np  # noqa: E402
from command import binary, measured  # noqa: E402
from fields import DATA  # noqa: E402

MAX_FIRST_SECONDS = 30
MAX_AGAIN_SECONDS = 2


def template(path: pathlib.Path) -> dict[str, tuple[int, int]]:
    """One file with four variables; where the bytes of its time and of one field lie."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 1), ("lat", 45), ("lon", 90)):
            file.createDimension(name, size)
        for name in ("time", "lat", "lon"):
            axis = file.createVariable(name, "f8", (name,))
            axis.units = {"time": "days since 2000-01-01", "lat": "degrees_north", "lon": "degrees_east"}[name]
            axis[:] = np.arange(axis.size)
        values = np.arange(45 * 90, dtype="f4").reshape(1, 45, 90)
        for name in ("tas", "pr", "hurs"):
            variable = file.createVariable(name, "f4", ("time", "lat", "lon"), zlib=True, shuffle=True, chunksizes=(1, 45, 45))
            variable.setncatts({"units": "K", "long_name": name, "standard_name": name, "cell_methods": "time: mean"})
            variable[:] = values
        plain = file.createVariable("orog", "f4", ("lat", "lon"))
        plain[:] = values[0]
    with h5py.File(path) as file:
        return {name: (file[name].id.get_offset(), file[name].id.get_storage_size()) for name in ("time", "orog")}


def make(folder: pathlib.Path, n_files: int) -> None:
    """Copies of the template whose day and whose field are their own: far faster than ten thousand netCDF writes."""
    if (folder / f"{n_files - 1:05}.nc").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    places = template(folder / "template")
    content = bytearray((folder / "template").read_bytes())
    (folder / "template").unlink()
    for i in range(n_files):
        at, _ = places["time"]
        content[at : at + 8] = np.float64(i).tobytes()
        at, _ = places["orog"]
        content[at : at + 4] = np.float32(i).tobytes()
        (folder / f"{i:05}.nc").write_bytes(content)


def main() -> int:
    parser = argparse.ArgumentParser(description="scan many small files, twice")
    parser.add_argument("--files", type=int, default=10_000)
    arguments = parser.parse_args()
    folder = DATA / f"small-{arguments.files}"
    make(folder, arguments.files)
    failed = []
    with tempfile.TemporaryDirectory(prefix="frazil-scan-") as cache:
        for name, most in (("first", MAX_FIRST_SECONDS), ("again", MAX_AGAIN_SECONDS)):
            answer = measured([*binary(), "inspect", folder, "--json"], env={"XDG_CACHE_HOME": cache})
            n_items = len((answer.report or {}).get("items") or [])
            print(f"{name:6} {answer.seconds:7.2f} s  {answer.cpu_seconds:7.2f} CPU s  {answer.rss_bytes / 1e6:6.0f} MB  exit {answer.code}  {n_items} items  {answer.seconds / arguments.files * 1e3:.2f} ms a file")
            if answer.code != 0:
                failed.append(f"{name}: {answer.err.strip()[-300:]}")
            elif answer.seconds > most * max(1, arguments.files / 10_000):
                failed.append(f"{name}: {answer.seconds:.1f} s; {most} s is the aim")
    print("\n".join(f"missed: {line}" for line in failed) or "every aim was met")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
