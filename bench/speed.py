#!/usr/bin/env python3
"""Speed, side by side in one run: frazil, tuned dask, a hand-tuned loop, and the limit that the codecs set.

It promises that all of them read the same files and write the same chunks with the same codec, that what frazil wrote
is compared with what the loop wrote, and that nothing else is measured than the commands. Inputs are read once before,
so that reading them from the disk is in nobody's figures. frazil alone has every byte on the disk when it returns; what
one plain write of as many bytes and one sync take stands beside it as `disk`. `--work /dev/shm` leaves the disk out.

    bench/speed.py [--files 180] [--only 1 3] [--repeat 3] [--without dask] [--work DIR]
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/judge")]

from command import binary, measured  # noqa: E402
from fields import DATA, series  # noqa: E402

# The chunk shape (days, lat, lon; 0 means all) and the codec of each target.
TARGETS = {
    1: ("maps, plain zstd-3", (30, 0, 0), "zstd:3"),
    2: ("maps, shuffle + zstd-3", (30, 0, 0), "blosc:zstd:3"),
    3: ("time series 180x90x90", (180, 90, 90), "zstd:3"),
    4: ("same grid, codec kept", (1, 0, 0), "keep"),
}
MAX_CPU_RATIO = 1.2
MAX_WALL_OF_CPU = 0.62
MEMORY = "512MB"


def commands(chunks, codec, dest, files, limit, memory):
    """The words of each contestant. `CMD` of `--limit` gets CHUNKS CODEC DEST FILES."""
    shape = ",".join(map(str, chunks))
    words = [shape, codec, dest, *files]
    named = f"time={chunks[0]},lat={chunks[1]},lon={chunks[2]}"
    found = {
        "frazil": [*binary(), "convert", *files, dest, "--to", "zarr", "--chunks", named, "--codec", codec, "--memory", memory, "--threads", "2", "--json"],
        "dask": [sys.executable, HERE / "with_dask.py", *words],
        "by hand": [sys.executable, HERE / "by_hand.py", *words],
    }
    if codec == "keep":
        found["frazil"] += ["--zarr-format", "2"]
    if limit:
        found["limit"] = [*shlex.split(limit), *words]
    return found


def codec_limit() -> str:
    """The bare loop of `crates/engine/examples/limit.rs`, built now: what no program that uses these codecs can beat."""
    root = HERE.parent
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "frazil-engine", "--example", "limit"], cwd=root, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return shlex.quote(str(target / "release/examples/limit"))


def disk_seconds(folder, n_bytes) -> float:
    """What writing and syncing as many bytes takes, in one file and nothing else done."""
    path, block = folder / "disk", os.urandom(1 << 20)
    start = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(max(1, n_bytes >> 20)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def same_values(one, two) -> str:
    """Stored values of a few days of each variable, in both stores."""
    code = (
        "import sys, zarr, numpy as np\n"
        "a, b = (zarr.open_group(path, mode='r') for path in sys.argv[1:3])\n"
        "names = [n for n, x in b.arrays() if x.ndim == 3]\n"
        "for n in names:\n"
        "    for day in sorted({0, a[n].shape[0] // 2, a[n].shape[0] - 1}):\n"
        "        assert np.array_equal(a[n][day], b[n][day]), (n, day)\n"
        "print('equal in', len(names), 'variables')\n"
    )
    answer = measured([sys.executable, "-W", "ignore", "-c", code, one, two])
    return answer.out.strip() if answer.code == 0 else "DIFFERENT: " + answer.err.strip().splitlines()[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description="speed, side by side")
    parser.add_argument("--files", type=int, default=180)
    parser.add_argument("--lat", type=int, default=720)
    parser.add_argument("--lon", type=int, default=1440)
    parser.add_argument("--only", type=int, nargs="*", default=sorted(TARGETS))
    parser.add_argument("--without", nargs="*", default=[], help="contestants to leave out")
    parser.add_argument("--limit", help="another codec-only limit: a command that takes CHUNKS CODEC DEST FILES")
    parser.add_argument("--memory", default=MEMORY)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--work", type=pathlib.Path, default=DATA / "work", help="where the stores are written")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if "limit" not in arguments.without:
        arguments.limit = arguments.limit or codec_limit()
    files = series(arguments.files, arguments.lat, arguments.lon)
    for path in files:
        path.read_bytes()
    work = arguments.work / "frazil-speed"
    results, failed = [], []
    for target in arguments.only:
        title, chunks, codec = TARGETS[target]
        chunks = tuple(min(c or n, n) for c, n in zip(chunks, (arguments.files, arguments.lat, arguments.lon)))
        print(f"\n({target}) {title}: chunks {chunks}, codec {codec}, {arguments.files} files", flush=True)
        print(f"    {'':10}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'CPU/limit':>11}{'wall/CPU':>10}{'store MB':>10}", flush=True)
        costs = {}
        shutil.rmtree(work, ignore_errors=True)
        names = commands(chunks, codec, "", [], arguments.limit, arguments.memory)
        for name in sorted(names, key=["limit", "by hand", "dask", "frazil"].index):
            if name in arguments.without:
                continue
            best = None
            for _ in range(arguments.repeat):
                dest = work / name.replace(" ", "-")
                shutil.rmtree(dest, ignore_errors=True)
                dest.parent.mkdir(parents=True, exist_ok=True)
                answer = measured(commands(chunks, codec, dest, files, arguments.limit, arguments.memory)[name])
                if answer.code != 0:
                    print(f"    {name:10} failed with exit {answer.code}: {answer.err.strip()[-300:]}")
                    failed.append(f"({target}) {name}")
                    break
                best = min(best or answer, answer, key=lambda a: a.seconds)
            if best is None or answer.code != 0:
                continue
            costs[name] = best.cpu_seconds
            stored = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file())
            ratio = best.cpu_seconds / costs["limit"] if "limit" in costs else float("nan")
            share = best.seconds / best.cpu_seconds if best.cpu_seconds else float("nan")
            print(f"    {name:10}{best.seconds:8.2f}{best.cpu_seconds:8.2f}{best.rss_bytes / 1e6:9.0f}{ratio:11.2f}{share:10.2f}{stored / 1e6:10.0f}", flush=True)
            results.append({"target": target, "name": name, "wall": best.seconds, "cpu": best.cpu_seconds, "rss_bytes": best.rss_bytes, "ratio": ratio, "stored_bytes": stored})
            if name == "frazil":
                disk = disk_seconds(dest.parent, stored)
                print(f"    {'disk':10}{disk:8.2f}", flush=True)
                failed += [f"({target}) CPU {ratio:.2f} x the limit; {MAX_CPU_RATIO} is the aim"] * (ratio > MAX_CPU_RATIO)
                failed += [f"({target}) wall {share:.2f} x CPU and {best.seconds / disk:.2f} x the disk; {MAX_WALL_OF_CPU} x CPU is the aim"] * (
                    best.seconds > max(MAX_WALL_OF_CPU * best.cpu_seconds, disk)
                )
                failed += [f"({target}) peak {best.rss_bytes / 1e6:.0f} MB; under 512 MB is the aim"] * (target == 3 and best.rss_bytes > 512e6)
        if (work / "frazil").exists() and (work / "by-hand").exists():
            verdict = same_values(work / "frazil", work / "by-hand")
            print(f"    values: {verdict}")
            failed += [f"({target}) {verdict}"] * verdict.startswith("DIFFERENT")
    shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        print(json.dumps(results))
    print("\n" + ("\n".join(f"missed: {line}" for line in failed) or "every aim was met"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
