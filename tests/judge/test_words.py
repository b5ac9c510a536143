"""The contract of the command line: one Report on stdout, talk on stderr, exit codes, and what the flags select."""

import pytest
import xarray as xr

from command import frazil
from make import counter, make
from same import isolated, open_store
from verdicts import convert


@pytest.fixture
def year(tmp_path):
    return make(tmp_path / "in.nc", list(range(366 + 365)), units="days since 2000-01-01", zlib=True, chunksizes=(31, 4, 6), constant=1)


def store_of(path):
    return isolated(lambda: open_store(path).load())


REPORT = {"schema": str, "ok": bool, "dry_run": bool, "seconds": float | int, "totals": dict, "items": list, "warnings": list}


@pytest.mark.parametrize("words, schema", [
    (["inspect", "in.nc"], "frazil.inspect/1"), (["convert", "in.nc", "z", "--to", "zarr"], "frazil.convert/1"),
    (["convert", "in.nc", "z", "--to", "zarr", "-n"], "frazil.convert/1"), (["inspect", "absent.nc"], "frazil.inspect/1"),
], ids=str)
def test_json_is_exactly_one_report(year, tmp_path, words, schema):
    answer = frazil(*words, "--json", cwd=tmp_path)
    report = answer.report
    assert report is not None and report["schema"] == schema, str(answer)
    for key, kind in REPORT.items():
        assert isinstance(report[key], kind), f"{key}: {report.get(key)!r}"
    assert report["ok"] == (answer.code == 0) == (report["error"] is None)
    assert report["dry_run"] == ("-n" in words)
    if report["error"]:
        assert {"code", "message", "cause", "hint", "location", "exit"} <= set(report["error"])
        assert report["error"]["exit"] == answer.code


@pytest.mark.parametrize("words", [["conver"], ["convert", "in.nc"], ["convert", "in.nc", "z", "--to", "gold"], ["inspect", "--wrong"],
                                   ["convert", "in.nc", "z", "--to", "zarr", "--memory", "lots"], ["convert", "in.nc", "z", "--to", "zarr", "--chunks", "time=0"]], ids=str)
def test_a_wrong_command_line_is_exit_2_and_touches_nothing(year, tmp_path, words):
    answer = frazil(*words, cwd=tmp_path)
    assert answer.code == 2 and answer.err, str(answer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.nc"]


def test_people_read_error_cause_hint(tmp_path):
    answer = frazil("inspect", tmp_path / "absent.nc")
    assert answer.code == 1 and answer.err.startswith("error:") and "absent.nc" in answer.err and answer.out == "", str(answer)


def test_a_closed_pipe_is_no_panic(year):
    import subprocess

    from command import binary

    done = subprocess.run(["sh", "-c", '"$@" | head -c 1', "sh", *binary(), "inspect", str(year), "--json"], capture_output=True, text=True)
    assert "panicked" not in done.stderr, done.stderr


def test_vars_keeps_what_the_kept_variable_needs(tmp_path):
    path = tmp_path / "in.nc"

    def write():
        data = xr.Dataset({"sst": (("time", "x"), counter((3, 4)).astype("f4")), "other": (("time", "x"), counter((3, 4))),
                           "time_bnds": (("time", "n"), counter((3, 2)).astype("f8")), "crs": ((), 1), "area": (("x",), counter((4,)))},
                          {"time": ("time", [0.0, 1.0, 2.0]), "name": ("x", counter((4,)))})
        data["time"].attrs = {"units": "days since 2000-01-01", "bounds": "time_bnds"}
        data["sst"].attrs = {"grid_mapping": "crs", "cell_measures": "area: area", "coordinates": "name"}
        data["sst"].encoding["coordinates"] = data["sst"].attrs.pop("coordinates")
        data.to_netcdf(path, engine="netcdf4")

    isolated(write)
    answer = convert([path], tmp_path / "z", "--vars", "sst")
    assert answer.code == 0, str(answer)
    assert set(store_of(tmp_path / "z").variables) == {"sst", "time", "time_bnds", "crs", "area", "name"}


def test_an_absent_variable_is_named_with_a_suggestion(year, tmp_path):
    answer = convert([year], tmp_path / "z", "--vars", "sts")
    assert answer.code in (1, 2) and "sts" in answer.text and "sst" in answer.text, str(answer)


@pytest.mark.parametrize("select, expected", [("time=2000-02/2000-03", slice("2000-02", "2000-03")), ("time=2001/2001", slice("2001", "2001"))])
@pytest.mark.parametrize("zarr_format", [3, 2])
def test_select_cuts_by_label(year, tmp_path, select, expected, zarr_format):
    answer = convert([year], tmp_path / "z", "--select", select, zarr_format=zarr_format)
    assert answer.code == 0, str(answer)
    found, source = store_of(tmp_path / "z"), isolated(lambda: xr.open_dataset(year).load())
    assert found.equals(source.sel(time=expected))


def test_inspect_reads_back_what_convert_wrote(year, tmp_path):
    assert convert([year], tmp_path / "z").code == 0
    digests = []
    for place in (year, tmp_path / "z"):
        answer = frazil("inspect", place, "--digest", "--json")
        assert answer.code == 0, str(answer)
        digests.append({item["path"]: item.get("digest") for item in answer.report["items"]})
    assert digests[0] == digests[1] and all(digests[0].values())
