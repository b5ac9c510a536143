#!/usr/bin/env python3
"""Virtual datasets, side by side in one run: frazil, kerchunk, VirtualiZarr, and a bare walk over the chunks with h5py.

It promises that all of them reference the same files, from this disk and from a server that takes 20 ms for each answer,
that no index of an earlier scan helps frazil, and that what frazil wrote is opened by stock readers and compared, shape
and values at points that a seed chooses. Inputs are read once before. What was asked of the server stands beside it.

    bench/virtual.py [--only daily small large] [--where local web] [--without kerchunk] [--references 10000000] [--repeat 3]

`--references N` combines and writes as many references instead, which the aims give 60 s and 1 GB; 0 leaves it out.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/judge")]

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from command import binary, measured  # noqa: E402
from fields import DATA, series  # noqa: E402
from server import serving  # noqa: E402

DELAY_SECONDS = 0.02
MAX_SECONDS, MAX_BYTES, N_REFERENCES = 60, 10**9, 10_000_000
MAX_REQUESTS_A_FILE = 3
TIMEOUT = 1800
RIVALS = [("h5py", "none"), ("kerchunk", "json"), ("kerchunk", "parquet"), ("virtualizarr", "json"), ("virtualizarr", "parquet"), ("virtualizarr", "icechunk")]
FORMATS = {"icechunk": "icechunk", "json": "kerchunk-json", "parquet": "kerchunk-parquet"}


# Inputs.

def copies(folder: pathlib.Path, n_files: int, write) -> list[pathlib.Path]:
    """Files that differ in the values of `time` alone: one is written by `write`, the others are copies with another axis."""
    paths = [folder / f"f-{i:05}.nc" for i in range(n_files)]
    if paths[-1].exists():
        return paths
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder / "first")
    with h5py.File(folder / "first") as file:
        steps, at = file["time"][:], file["time"].id.get_offset()
    content = bytearray((folder / "first").read_bytes())
    for i, path in enumerate(paths):
        content[at : at + steps.nbytes] = (steps + i * len(steps)).tobytes()
        path.with_suffix(".part").write_bytes(content)
        path.with_suffix(".part").rename(path)
    (folder / "first").unlink()
    return paths


def write_grid(path, n_steps, n_lat, n_lon, chunks, names, packed=True):
    """One file with fields of `(time, lat, lon)`; every chunk is put as it lies, which is fast for very many."""
    import zlib

    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        axes = {"time": np.arange(n_steps, dtype="f8"), "lat": np.linspace(-80, 80, n_lat), "lon": np.arange(n_lon) * 360 / n_lon}
        for name, values in axes.items():
            axis = file.create_dataset(name, data=values)
            axis.make_scale(name)
            axis.attrs["units"] = np.bytes_({"time": "days since 2000-01-01", "lat": "degrees_north", "lon": "degrees_east"}[name])
        for name in names:
            options = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if packed else {}
            field = file.create_dataset(name, (n_steps, n_lat, n_lon), "f4", chunks=chunks, **options)
            field.attrs["units"] = np.bytes_("K")
            for number, axis in enumerate(axes):
                field.dims[number].attach_scale(file[axis])
            number = 0
            for start in np.ndindex(*(-(-n // c) for n, c in zip(field.shape, chunks))):
                values = (np.arange(np.prod(chunks), dtype="f4") + number).view("u1")
                content = zlib.compress(values.reshape(-1, 4).T.tobytes(), 1) if packed else values.tobytes()
                field.id.write_direct_chunk(tuple(i * c for i, c in zip(start, chunks)), content)
                number += 1


def daily():
    return series(180, 360, 720)


def small():
    return copies(DATA / "virtual-small-2000", 2000, lambda path: write_grid(path, 1, 45, 90, (1, 45, 45), ("tas", "pr", "hurs")))


def large():
    return copies(DATA / "virtual-large-1", 1, lambda path: write_grid(path, 2500, 24, 48, (1, 12, 12), ("tas",)))


INPUTS = {"daily": ("180 daily files", daily), "small": ("2,000 small files", small), "large": ("one file of 20,000 chunks", large)}


def millions(n_references):
    """100 files, each with as many chunks of one value."""
    side = round((n_references / 1000) ** 0.5)
    return copies(DATA / f"virtual-{side}x{side}-100", 100, lambda path: write_grid(path, 10, side, side, (1, 1, 1), ("tas",), packed=False))


# Contestants.

def by_frazil(form, dest, files, flags=()):
    return [*binary(), "convert", *files, dest, "--to", "virtual", "--format", FORMATS[form], "--json", *flags]


CHECK = """
import json, sys, numpy as np, xarray as xr
form, place, files = sys.argv[1], sys.argv[2], open(sys.argv[3]).read().split("\\n")
if form == "icechunk":
    import icechunk
    at = icechunk.local_filesystem_storage(place)
    prefixes = icechunk.Repository.fetch_config(at).virtual_chunk_containers
    repository = icechunk.Repository.open(at, authorize_virtual_chunk_access=icechunk.containers_credentials({p: None for p in prefixes}))
    store, words = repository.readonly_session("main").store, {}
else:
    from kerchunk.utils import refs_as_store
    store, words = refs_as_store(place), {"zarr_format": 2}
data = xr.open_dataset(store, engine="zarr", consolidated=False, decode_cf=False, **words)
chance, at, n = np.random.default_rng(1), 0, 0
wanted = set(chance.choice(len(files), min(4, len(files)), replace=False).tolist())
for number, path in enumerate(files):
    if number in wanted or number + 1 == len(files):
        with xr.open_dataset(path, engine="netcdf4", decode_cf=False) as source:
            names = [name for name in source.data_vars if source[name].ndim == 3]
            steps = source.sizes["time"]
            base = number * steps
            for name in names:
                for _ in range(3):
                    t, y, x = (int(chance.integers(m)) for m in source[name].shape)
                    one, two = source[name][t, y, x].values, data[name][base + t, y, x].values
                    assert one == two or one != one and two != two, (name, path, t, y, x, one, two)
                    n += 1
            assert data.sizes["time"] == steps * len(files), data.sizes
            assert np.array_equal(source["time"].values.astype("f8"), data["time"].values[base:base + steps].astype("f8")), path
print(n, "values equal")
"""


def checked(form, dest, local_files) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(map(str, local_files)))
        listed.flush()
        answer = measured([sys.executable, "-W", "ignore", "-c", CHECK, form, dest, listed.name], timeout=TIMEOUT, env={"ICECHUNK_LOG": "error"})
    return answer.out.strip() if answer.code == 0 else "DIFFERENT: " + (answer.err.strip().splitlines() or ["?"])[-1][:300]


def stored(dest) -> int:
    dest = pathlib.Path(dest)
    return dest.stat().st_size if dest.is_file() else sum(path.stat().st_size for path in dest.rglob("*") if path.is_file())


def discard(dest):
    if dest.is_dir():
        shutil.rmtree(dest)
    dest.unlink(missing_ok=True)


def best_of(words, dest, repeat):
    """The fastest of `repeat` runs, each without an index and from nothing."""
    best = None
    for _ in range(repeat):
        discard(dest)
        with tempfile.TemporaryDirectory(prefix="frazil-virtual-") as cache:
            answer = measured(words, timeout=TIMEOUT, env={"XDG_CACHE_HOME": cache, "ICECHUNK_LOG": "error"})
        if answer.code != 0:
            return answer
        best = min(best or answer, answer, key=lambda a: a.seconds)
    return best


HEAD = f"    {'':24}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'x frazil':>10}{'MB out':>8}{'requests':>10}{'MB asked':>10}"


def run(title, files, local_files, server, arguments, work) -> tuple[list, list]:
    """One scene: figures and failures."""
    print(f"\n{title}: {len(files)} files\n{HEAD}", flush=True)
    results, failed, base = [], [], {}
    listed = work / "files"
    listed.write_text("\n".join(map(str, files)))
    contestants = [("frazil", form) for form in FORMATS] + [rival for rival in RIVALS if rival[0] not in arguments.without and (server is None or rival[0] != "h5py")]
    for name, form in contestants:
        dest = work / f"{name}.{form}"
        words = by_frazil(form, dest, files) if name == "frazil" else [sys.executable, HERE / "with_references.py", name, form, dest, f"@{listed}"]
        before = (sum(server.requests.values()), server.sent_bytes) if server else (0, 0)
        answer = best_of(words, dest, arguments.repeat if name == "frazil" or server is None else 1)
        label = f"{name} {form}" if form != "none" else f"{name} walk"
        if answer.code != 0:
            print(f"    {label:24} failed with exit {answer.code} after {answer.seconds:.1f} s: {answer.err.strip()[-200:]!r}", flush=True)
            failed += [f"{title}: {label}: exit {answer.code}: {answer.err.strip()[-300:]}"] * (name == "frazil")
            continue
        n_runs = arguments.repeat if name == "frazil" or server is None else 1
        asked = ((sum(server.requests.values()) - before[0]) // n_runs, (server.sent_bytes - before[1]) // n_runs) if server else (0, 0)
        if name == "frazil":
            base[form] = answer.seconds
        ratio = answer.seconds / base.get(form, min(base.values(), default=float("nan")))
        size = stored(dest) if form != "none" else 0
        results.append({"scene": title, "name": name, "format": form, "wall": answer.seconds, "cpu": answer.cpu_seconds, "rss_bytes": answer.rss_bytes, "ratio": ratio, "stored_bytes": size, "requests": asked[0], "asked_bytes": asked[1]})
        print(f"    {label:24}{answer.seconds:8.2f}{answer.cpu_seconds:8.2f}{answer.rss_bytes / 1e6:9.0f}{ratio:10.1f}{size / 1e6:8.1f}{asked[0]:10}{asked[1] / 1e6:10.1f}", flush=True)
        if name == "frazil":
            verdict = checked(form, dest, local_files)
            of_a_file = f"; {asked[0] / len(files):.1f} requests and {asked[1] / len(files) / 1024:.0f} KiB of each file" if server else ""
            print(f"    {'':24} {verdict}{of_a_file}", flush=True)
            failed += [f"{title}: {label}: {verdict}"] * verdict.startswith("DIFFERENT")
            if server and len(files) > 1 and asked[0] / len(files) > MAX_REQUESTS_A_FILE:
                failed.append(f"{title}: {label}: {asked[0] / len(files):.1f} requests a file; {MAX_REQUESTS_A_FILE} is the aim")
        discard(dest)
    others = [result for result in results if result["name"] not in ("frazil", "h5py")]
    for form, seconds in base.items():
        fastest = min((result["wall"] for result in others if result["format"] == form), default=None)
        if fastest is not None and seconds > fastest:
            failed.append(f"{title}: {form}: {seconds:.2f} s; another takes {fastest:.2f} s")
    return results, failed


def run_millions(n_references, work) -> list[str]:
    files = millions(n_references)
    print(f"\n{n_references:,} references from {len(files)} files\n{HEAD}", flush=True)
    failed = []
    for form in ("icechunk", "parquet"):
        dest = work / f"millions.{form}"
        answer = best_of(by_frazil(form, dest, files, ("--inline", "1B")), dest, 1)
        if answer.code != 0:
            failed.append(f"{n_references:,} references, {form}: exit {answer.code}: {answer.err.strip()[-300:]}")
            continue
        n_found = ((answer.report or {}).get("totals") or {}).get("references", 0)
        print(f"    {'frazil ' + form:24}{answer.seconds:8.2f}{answer.cpu_seconds:8.2f}{answer.rss_bytes / 1e6:9.0f}{'':10}{stored(dest) / 1e6:8.1f}", flush=True)
        verdict = checked(form, dest, files)
        print(f"    {'':24} {verdict}; {n_found:,} references", flush=True)
        failed += [f"{form}: {verdict}"] * verdict.startswith("DIFFERENT")
        failed += [f"{form}: {n_found:,} references said, {n_references:,} are there"] * (n_found < n_references)
        failed += [f"{form}: {answer.seconds:.0f} s; {MAX_SECONDS} s is the aim"] * (answer.seconds > MAX_SECONDS)
        failed += [f"{form}: {answer.rss_bytes / 1e6:.0f} MB; {MAX_BYTES / 1e6:.0f} MB is the aim"] * (answer.rss_bytes > MAX_BYTES)
        discard(dest)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description="virtual datasets, side by side")
    parser.add_argument("--only", nargs="*", default=list(INPUTS), choices=list(INPUTS))
    parser.add_argument("--where", nargs="*", default=["local", "web"], choices=["local", "web"])
    parser.add_argument("--without", nargs="*", default=[], help="contestants to leave out")
    parser.add_argument("--port", type=int, default=80, help="of the server 20 ms away")
    parser.add_argument("--references", type=int, default=N_REFERENCES)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results, failed = [], []
    work = DATA / "work" / "virtual"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name in arguments.only:
        title, make = INPUTS[name]
        files = make()
        for path in files:
            path.read_bytes()
        for where in arguments.where:
            if where == "local":
                found = run(f"{title}, on this disk", files, files, None, arguments, work)
            else:
                # Readers of Icechunk 1.1 know no port but the usual one.
                with serving(files[0].parent, delay_seconds=DELAY_SECONDS, port=arguments.port) as server:
                    urls = [f"{server.address}/{path.name}" for path in files]
                    found = run(f"{title}, {DELAY_SECONDS * 1000:.0f} ms away", urls, files, server, arguments, work)
            results += found[0]
            failed += found[1]
    if arguments.references:
        failed += run_millions(arguments.references, work)
    shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        print(json.dumps(results))
    print("\n" + ("\n".join(f"missed: {line}" for line in failed) or "every aim was met"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
