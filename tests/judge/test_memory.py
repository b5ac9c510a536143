"""Memory is a number you set. CI takes a series several times the budget; `--soak` takes 4 GiB under 512 MB."""

import pathlib
import re
import sys

import numpy as np

from command import frazil
from make import days, make

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "bench"))


def test_the_peak_stays_under_the_budget(soak):
    size = (540, 720, 1440, 512 << 20) if soak else (150, 360, 720, 96 << 20)
    from memory import run

    failed = run(*size)
    assert not failed, "\n".join(failed)


def test_a_budget_that_cannot_hold_a_chunk_is_refused_with_the_figure_that_is_needed(tmp_path):
    lat, lon = np.arange(1000.0) / 20, np.arange(1000.0) / 10
    one = make(tmp_path / "one.nc", days("2000-01-01", 12), lat=lat, lon=lon, zlib=True, complevel=1, chunksizes=(12, 1000, 1000))
    answer = frazil("convert", one, tmp_path / "z", "--to", "zarr", "--memory", "8MB", "--json")
    assert answer.crash() is None and answer.code == 1, str(answer)
    assert not (tmp_path / "z" / "zarr.json").exists()
    assert re.search(r"\d+(\.\d+)? ?[MG]i?B", answer.text) and "memory" in answer.text, f"the figure that is needed is not named\n{answer}"
