"""What `inspect` says that many files can become is what `convert` then plans, and does or refuses."""

import json
import re

import numpy as np
import pytest

import clients
from command import CORPUS, frazil
from make import days, make
from sweep import series_sources
from virtual import FORMATS

AMOUNTS = ["references", "referenced_bytes", "native_chunks", "native_bytes", "inline_chunks", "inline_bytes"]


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


def mixtures(folder) -> dict[str, list]:
    """Series that differ in ways of which some can be referenced, some must be copied and some cannot be joined."""
    lat, lon = np.linspace(-45, 45, 40), np.arange(60) * 6.0
    form = {"lat": lat, "lon": lon, "zlib": True, "chunksizes": (1, 40, 60)}

    def pair(name, **second):
        folder.joinpath(name).mkdir()
        return [make(folder / name / f"{i}.nc", days(f"2000-0{i + 1}-01", 28), **{**form, **(second if i else {})}) for i in range(2)]

    return {
        "alike": pair("alike"),
        "other level": pair("level", complevel=6),
        "other chunks": pair("chunks", chunksizes=(28, 20, 30)),
        "other grid": pair("grid", lat=lat + 1),
    }


def verdicts(sources) -> list[dict]:
    return json.loads(frazil("inspect", *sources, "--json").out)["targets"]


def judge(sources, folder):
    found = verdicts(sources)
    assert [(target["target"], target.get("format")) for target in found] == [*(("virtual", form) for form in FORMATS), ("zarr", None)]
    for number, target in enumerate(found):
        words = ["--to", target["target"], *(["--format", target["format"]] if "format" in target else [])]
        for flags, dest in ((["-n"], "planned"), ([], "made")):
            answer = frazil("convert", *sources, folder / f"{dest}-{number}", *words, *flags, "--json")
            assert (answer.code in (0, 6)) == target["possible"], f"{target}\n{answer}"
            report = json.loads(answer.out)
            if not target["possible"]:
                assert report["error"]["code"] == target["code"], (report["error"], target)
            elif target["target"] == "virtual":
                assert {name: report["totals"][name] for name in AMOUNTS} == {name: target[name] for name in AMOUNTS}
                native = {item["path"] for item in report["items"] if item.get("how") in ("native", "hybrid")}
                assert {made["path"] for made in target["made"]} == native and all(made["why"] for made in target["made"])
            else:
                assert all(report["totals"][name] == target[name] for name in ("read_bytes", "decoded_bytes"))
    return found


@pytest.mark.parametrize("series", series_sources())
def test_the_verdicts_on_a_series_come_true(series, tmp_path):
    judge(sorted((CORPUS / series).iterdir()), tmp_path)


def test_the_verdicts_on_files_that_differ_come_true(tmp_path):
    found = {name: judge(sources, tmp_path / "to" / name) for name, sources in mixtures(tmp_path).items()}
    made = {name: [target.get("native_chunks") for target in targets] for name, targets in found.items()}
    assert made["alike"] == made["other level"] == [0, 0, 0, None] and made["other chunks"][0] > 0
    assert found["other grid"][0]["n_groups"] == 2 and not found["other grid"][3]["possible"]


def test_the_text_names_each_target_and_what_must_be_copied(tmp_path):
    answer = frazil("inspect", *mixtures(tmp_path)["other chunks"])
    for name in ("virtual icechunk", "virtual kerchunk-json", "virtual kerchunk-parquet", "zarr"):
        assert re.search(rf"^  {name} +\S", answer.out, re.M), answer.out
    assert re.search(r"must be copied \(.*\): /sst: its chunks have another shape", answer.out), answer.out
