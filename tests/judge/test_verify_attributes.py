"""Attributes that JSON has no word for: a store that holds them is what was written, and damage to it is found all the same."""

import netCDF4
import numpy as np
import pytest

from command import frazil
from same import compare_file

NAN, INF = float("nan"), float("inf")
ODD = {
    "missing_value": np.float32(NAN),
    "valid_range": np.array([-INF, INF], "f4"),
    "valid_min": np.float64(-INF),
    "levels": np.array([1, NAN, INF]),
}


def source(folder, **attributes):
    path = folder / "odd.nc"
    with netCDF4.Dataset(path, "w") as data:
        data.quality = NAN
        data.createDimension("x", 3)
        values = data.createVariable("v", "f4", ("x",))
        values[:] = [1, 2, 3]
        for name, value in attributes.items():
            values.setncattr(name, value)
    return path


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("names", [[], *([name] for name in ODD), list(ODD)], ids=lambda names: "+".join(names) or "of the file")
def test_a_store_with_numbers_that_are_not_finite_is_what_was_written(tmp_path, version, names):
    path = source(tmp_path, **{name: ODD[name] for name in names})
    words = ["convert", path, tmp_path / "odd.zarr", "--to", "zarr", "--zarr-format", version]
    assert frazil(*words).code == 0
    whole = frazil("verify", tmp_path / "odd.zarr", "--json")
    assert whole.code == 0 and whole.report["totals"]["problems"] == 0, str(whole)
    again = frazil(*words, "--json")
    assert again.code == 0 and again.report["outcome"] == "already-there", str(again)
    assert str(compare_file(path, tmp_path / "odd.zarr")) == "equal"


@pytest.mark.parametrize("version, document", [("2", "v/.zattrs"), ("3", "v/zarr.json")])
def test_another_number_in_its_place_is_found(tmp_path, version, document):
    path = source(tmp_path, **ODD)
    assert frazil("convert", path, tmp_path / "odd.zarr", "--to", "zarr", "--zarr-format", version).code == 0
    damaged = tmp_path / "odd.zarr" / document
    text = damaged.read_text()
    # Of the same length, so that the digest and the comparison must see it.
    assert "-Infinity" in text
    damaged.write_text(text.replace("-Infinity", " Infinity"))
    answer = frazil("verify", tmp_path / "odd.zarr", "--json")
    assert answer.code == 1
    problems = {item["problem"] for item in answer.report["items"] if item["key"] == document}
    assert len(problems) == 2, f"the bytes are others, and the documents differ: {problems}"
