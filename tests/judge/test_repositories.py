"""Icechunk repositories where commands of storage see them: one line of `ls`, and verified as what they are in buckets too."""

import pytest

import clients
from bucket import Bucket
from command import frazil
from make import days
from virtual import convert, make

GRID = {"zlib": True, "complevel": 4, "chunksizes": (1, 60, 80)}
STARTS = {"one": "2000-01-01", "two": "2000-01-06", "three": "2000-01-11"}


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


@pytest.fixture
def held(gateway, bucket, tmp_path):
    """A repository in a bucket whose sources lie there too."""
    found = Bucket(gateway, bucket)
    (tmp_path / "in").mkdir()
    for name, first in STARTS.items():
        make(tmp_path / "in" / f"{name}.nc", days(first, 5), **GRID)
        found.put(f"in/{name}.nc", (tmp_path / "in" / f"{name}.nc").read_bytes())
    answer = convert([found.place(f"in/{name}.nc") for name in STARTS], found.place("v.icechunk"), "icechunk", env=found.env)
    assert answer.code == 0, str(answer)
    return found


def verified(held, *words):
    answer = frazil("verify", held.place("v.icechunk"), *words, "--json", env=held.env)
    assert answer.crash() is None, str(answer)
    return answer


@pytest.mark.parametrize("words", [[], ["--sources"], ["--sources", "PLACES"]])
def test_one_in_a_bucket_is_verified_with_its_sources(held, words):
    places = [held.place(f"in/{name}.nc") for name in STARTS]
    words = [word for given in words for word in (places if given == "PLACES" else [given])]
    answer = verified(held, *words)
    assert answer.code == 0, str(answer)
    assert (answer.report["totals"].get("values_compared", 0) >= 15 * 4800) == bool(words), str(answer)


def test_other_values_at_the_places_that_are_named_are_found(held, tmp_path):
    for name, first in STARTS.items():
        odd = {"constant": 3} if name == "two" else {}
        made = make(tmp_path / f"other-{name}.nc", days(first, 5), **GRID, **odd)
        held.put(f"other/{name}.nc", made.read_bytes())
    answer = verified(held, "--sources", *(held.place(f"other/{name}.nc") for name in STARTS))
    assert answer.code == 1 and answer.report["totals"]["problems"] >= 1, str(answer)


def test_all_sources_that_are_gone_or_changed_are_named(held):
    held.delete("in/one.nc")
    held.put("in/two.nc", held.get("in/two.nc") + b"\0")
    answer = verified(held)
    assert answer.code == 1, str(answer)
    said = {item["source"].rsplit("/", 1)[-1]: item["problem"] for item in answer.report["items"]}
    assert set(said) == {"one.nc", "two.nc"} and said["one.nc"] == "it is gone" and "changed" in said["two.nc"], str(answer)
    held.delete("in/three.nc")
    assert len(verified(held).report["items"]) == 3


@pytest.mark.parametrize("where", ["bucket", "folder"])
def test_a_repository_is_one_line(held, tmp_path, where):
    held.put("of2/repo", b"x")
    held.put("of2/snapshots/A", b"x")
    held.put("of1/refs/tag.v1/ref.json", b"{}")
    held.put("of1/snapshots/A", b"x")
    # What only looks like one.
    held.put("runs/repo", b"x")
    held.put("git/refs/heads/main", b"x")
    held.put("git/snapshots/A", b"x")
    place, env = held.place("").rstrip("/"), held.env
    if where == "folder":
        frazil("cp", place, tmp_path / "all", env=env)
        place = tmp_path / "all"
    answer = frazil("ls", place, "--json", env=env)
    kinds = {item["name"].rstrip("/"): (item["kind"], item.get("icechunk_format")) for item in answer.report["items"]}
    assert kinds == {"in": ("folder", None), "v.icechunk": ("store", 1), "of1": ("store", 1), "of2": ("store", 2), "runs": ("folder", None), "git": ("folder", None)}, str(answer)
    lines = frazil("ls", place, env=env).out.splitlines()
    assert sum(line.startswith("icechunk ") for line in lines) == 3, lines
    assert len({line.index(name) for line in lines for name in kinds if line.rstrip("/").endswith(" " + name)}) == 1, "names stand in a column"
