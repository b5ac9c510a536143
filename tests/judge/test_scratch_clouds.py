"""Scratch at Google and Azure: the rule as Google has it, that Azure has none for whoever writes, and what is old."""

import datetime
import json
import time

from moves import make_tree
from test_clouds_moves import azure_cloud, blobs, cloud, google_cloud, run  # noqa: F401 (fixtures)
from test_scratch import moment

STORES = {f"{name}/{key}": 100 for name in ("jdoe/a.zarr", "kim/b.zarr") for key in ("zarr.json", "sst/zarr.json", "sst/c/0")}


def test_googles_rule_is_set_shown_and_taken_away(google_cloud, run, tmp_path):
    make_tree(tmp_path / "tree", 1, {"jdoe/a.zarr/zarr.json": 10, "jdoe/a.zarr/c/0": 10})
    run("cp", tmp_path / "tree/jdoe", f"{google_cloud.place}/tmp/jdoe", clouds=[google_cloud])
    run("cp", tmp_path / "tree/jdoe", f"{google_cloud.place}/stays", clouds=[google_cloud])
    others = [
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 30}},
        {"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefix": ["tmp/"], "matchesSuffix": [".part"]}},
    ]
    settings = google_cloud.server.settings
    settings[google_cloud.bucket] = {"lifecycle": {"rule": list(others)}, "metageneration": "5"}
    place = f"{google_cloud.place}/tmp"
    run("scratch", "rule", place, "--days", "7", "-n", clouds=[google_cloud])
    assert settings[google_cloud.bucket]["metageneration"] == "5", "it was only asked"
    for days in (3, 7):
        run("scratch", "rule", place, "--days", days, "--yes", clouds=[google_cloud])
        kinds = ("Delete", "AbortIncompleteMultipartUpload")
        ours = [{"action": {"type": kind}, "condition": {"age": days, "matchesPrefix": ["tmp/"]}} for kind in kinds]
        assert settings[google_cloud.bucket]["lifecycle"]["rule"] == others + ours
    report = run("scratch", "list", google_cloud.place, "--json", clouds=[google_cloud]).report
    told = {item["name"]: item["goes_from"] for item in report["items"]}
    written = google_cloud.server.buckets[google_cloud.bucket]
    oldest = min(stored.updated for name, stored in written.items() if name.startswith("tmp/"))
    expected = datetime.datetime.fromisoformat(oldest) + datetime.timedelta(days=7)
    assert abs(moment(told["tmp/jdoe/a.zarr"]) - expected) < datetime.timedelta(seconds=1) and told["stays/a.zarr"] is None, told
    assert "`tmp/…` goes after 7 days" in run("scratch", "rule", place, clouds=[google_cloud]).out
    run("scratch", "rule", place, "--off", clouds=[google_cloud])
    assert settings[google_cloud.bucket]["lifecycle"]["rule"] == others


def test_azure_says_that_it_takes_no_rule(azure_cloud, run, tmp_path):
    make_tree(tmp_path / "tree", 1, {"a.zarr/zarr.json": 10})
    run("cp", tmp_path / "tree/a.zarr", f"{azure_cloud.place}/jdoe/a.zarr", clouds=[azure_cloud])
    answer = run("scratch", "rule", azure_cloud.place, "--days", "7", "--yes", clouds=[azure_cloud], code=1)
    assert "whoever manages the account" in answer.err and "scratch expire" in answer.err, answer
    report = run("scratch", "list", azure_cloud.place, "--json", clouds=[azure_cloud]).report
    assert report["rules"] is None and report["warnings"][0]["code"] == "scratch.rules-unknown"


def test_what_is_old_goes_from_clouds_and_what_a_catalog_names_stays(cloud, run, tmp_path):
    make_tree(tmp_path / "tree", 1, STORES)
    run("cp", tmp_path / "tree", f"{cloud.place}/s", clouds=[cloud])
    time.sleep(4)
    words = ["scratch", "expire", f"{cloud.place}/s", "--older-than", "3s", "--yes", "--json"]
    young = run("scratch", "expire", f"{cloud.place}/s", "--older-than", "1h", "--yes", "--json", clouds=[cloud]).report
    assert young["totals"]["n_stores"] == 0
    (tmp_path / "catalog.json").write_text(json.dumps({"href": f"{cloud.place}/s/kim/b.zarr"}))
    report = run(*words, "--catalog", tmp_path / "catalog.json", clouds=[cloud]).report
    assert {item["name"]: item["outcome"] for item in report["items"]} == {"jdoe/a.zarr": "goes", "kim/b.zarr": "stays"}
    left = run("ls", f"{cloud.place}/s/", "--recursive", "--json", clouds=[cloud]).report["items"]
    assert sorted(item["name"] for item in left) == sorted(name for name in STORES if name.startswith("kim/"))
