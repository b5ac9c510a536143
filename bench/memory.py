#!/usr/bin/env python3
"""Memory is a number you set: time slices to time series, under `--memory`, with the peak as the kernel counts it.

It promises a series that is many times larger than the budget, decoded, and a look at what the plan had said. The aim:
a peak of at most 1.25 times the budget, for kind and for unkind target chunks.
"""

import argparse
import json
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/judge")]

from command import binary, measured  # noqa: E402
from fields import DATA, series  # noqa: E402

MAX_OF_BUDGET = 1.25
# Days, lat, lon; 0 means all. The second cuts every source chunk into thousands of pieces.
CHUNKS = [(180, 90, 90), (0, 8, 8), (7, 720, 1440)]


def numbers_of(report, word) -> dict[str, float]:
    """Every number of the Report whose key holds `word`, by its path."""
    found = {}

    def walk(value, path):
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value[:1000]):
                walk(inner, f"{path}[{index}]")
        elif isinstance(value, int | float) and not isinstance(value, bool) and word in path.lower():
            found[path] = value

    walk(report, "")
    return found


def check(files, shape, chunks, budget_bytes, dest, decoded_bytes) -> tuple[list[str], str]:
    """Failures, and one line of figures."""
    chunks = tuple(min(c or n, n) for c, n in zip(chunks, shape))
    named = f"time={chunks[0]},lat={chunks[1]},lon={chunks[2]}"
    words = [*binary(), "convert", *files, dest, "--to", "zarr", "--chunks", named, "--memory", f"{budget_bytes >> 20}MB", "--json"]
    # The program counts a megabyte as it likes, 10^6 or 2^20; the larger is what it may use.
    most = int(budget_bytes * MAX_OF_BUDGET)
    shutil.rmtree(dest, ignore_errors=True)
    plan = measured([*words, "-n"])
    failed, said = [], numbers_of(plan.report or {}, "memory")
    if plan.code != 0:
        return [f"{named}: the plan: exit {plan.code}: {plan.err.strip()[-300:]}"], ""
    if not said:
        failed.append(f"{named}: the plan does not say how much memory it needs")
    elif max(said.values()) > budget_bytes * 1.05:
        failed.append(f"{named}: the plan says {max(said.values()) / 1e6:.0f} MB, more than it was given")
    answer = measured(words)
    if answer.code != 0:
        failed.append(f"{named}: exit {answer.code}: {answer.err.strip()[-300:]}")
    if answer.rss_bytes > most:
        failed.append(f"{named}: peak {answer.rss_bytes >> 20} MiB of a budget of {budget_bytes >> 20}; {most >> 20} is the most")
    line = (
        f"{named:28} {decoded_bytes / 2**30:5.2f} GiB decoded  {answer.seconds:7.1f} s  {answer.cpu_seconds:7.1f} CPU s  "
        f"peak {answer.rss_bytes >> 20} MiB of {budget_bytes >> 20}  plan said {json.dumps(said)[:120]}"
    )
    shutil.rmtree(dest, ignore_errors=True)
    return failed, line


def run(n_files, n_lat, n_lon, budget_bytes, chunks_list=tuple(CHUNKS)) -> list[str]:
    files = series(n_files, n_lat, n_lon, level=1, packed=())
    decoded_bytes = n_files * n_lat * n_lon * 4 * 2
    failed = []
    for chunks in chunks_list:
        wrong, line = check(files, (n_files, n_lat, n_lon), chunks, budget_bytes, DATA / "work" / "memory", decoded_bytes)
        print(line, flush=True)
        failed += wrong
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description="the peak of memory under a budget")
    parser.add_argument("--files", type=int, default=540, help="540 of the full size hold 4.2 GiB")
    parser.add_argument("--lat", type=int, default=720)
    parser.add_argument("--lon", type=int, default=1440)
    parser.add_argument("--memory", type=int, default=512, help="the budget in MB")
    arguments = parser.parse_args()
    failed = run(arguments.files, arguments.lat, arguments.lon, arguments.memory << 20)
    print("\n".join(f"missed: {line}" for line in failed) or "every aim was met")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
