"""Virtual datasets that are extended from wherever their feedstock is named: relative, from inside, through a link, with `..`.
One file is one file under every spelling of its path. Stock readers are the judges of the values."""

import itertools
import os
import pathlib
import shutil

import netCDF4
import pytest

import clients
from command import frazil
from make import days
from virtual import FORMATS, assert_joined, make, place_in, recipe

GRID = {"zlib": True, "chunksizes": (1, 60, 80)}
# From a working folder, the words that name the feedstock and the dataset in it.
SPELLINGS = {
    "whole": lambda root, name: (root, root / "feed", root / "feed" / name),
    "relative": lambda root, name: (root, "feed", f"feed/{name}"),
    "inside": lambda root, name: (root / "feed", ".", name),
    "dots": lambda root, name: (root, root / "other/../feed", root / "feed" / name),
    "relative dots": lambda root, name: (root / "other", "../feed", f"../feed/{name}"),
    "link": lambda root, name: (root, root / "link", root / "link" / name),
    "behind a link": lambda root, name: (root, "deep/../feed", f"feed/{name}"),
}


@pytest.fixture(autouse=True)
def needs_virtual():
    clients.needs_target("virtual")


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


class Feed:
    """A feedstock with its data in it, two folders from which it can be named, and links to it."""

    def __init__(self, folder, form):
        self.root, self.form = folder.resolve(), form
        self.dest = place_in(self.root / "feed", form)
        recipe(self.root / "feed", "data/**/*.nc", form)
        for name in ("other", "elsewhere/inner"):
            (self.root / name).mkdir(parents=True)
        (self.root / "link").symlink_to(self.root / "feed")
        # `deep/..` is `elsewhere`, whatever its letters say.
        (self.root / "deep").symlink_to(self.root / "elsewhere/inner")
        (self.root / "elsewhere/feed").symlink_to(self.root / "feed")
        self.add("2000/a.nc", "2000-01-01")
        self.add("2000/b.nc", "2000-01-06")

    def add(self, name, first):
        path = self.root / "feed/data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(path, days(first, 5), **GRID)

    def files(self):
        return sorted((self.root / "feed/data").glob("**/*.nc"))

    def build(self, spelling, *flags):
        folder, feedstock, dest = SPELLINGS[spelling](self.root, self.dest.name)
        return frazil("build", feedstock, "--to", dest, "--json", *flags, cwd=folder)

    def assert_whole(self, answer):
        assert_joined(answer, self.files(), self.dest, self.form)
        answer = frazil("verify", self.dest, "--json", "--sources")
        assert answer.code == 0, str(answer)


PAIRS = [("whole", then) for then in SPELLINGS] + [(first, "link") for first in SPELLINGS if first not in ("whole", "link")]


@pytest.mark.parametrize("form, first, then", [("icechunk", *pair) for pair in PAIRS] + [(form, *pair) for form in FORMATS[1:] for pair in itertools.permutations(["whole", "relative", "link"], 2)])
def test_a_dataset_goes_on_under_another_spelling(tmp_path, form, first, then):
    feed = Feed(tmp_path, form)
    feed.assert_whole(feed.build(first))
    again = feed.build(then)
    assert again.code == 0 and again.report["outcome"] == "nothing-new", str(again)
    feed.add("2001/c.nc", "2000-01-11")
    feed.assert_whole(feed.build(then))
    feed.add("2001/d.nc", "2000-01-16")
    feed.assert_whole(feed.build(first))
    again = feed.build(then)
    assert again.code == 0 and again.report["outcome"] == "nothing-new", str(again)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_dataset_that_is_there_is_there_under_every_spelling(tmp_path, form, spelling):
    feed = Feed(tmp_path, form)
    recipe(feed.root / "feed", "data/**/*.nc", form, mode="create")
    assert feed.build("whole").code == 0
    again = feed.build(spelling)
    assert again.code == 0 and again.report["outcome"] == "already-there", str(again)


@pytest.mark.parametrize("spelling", ["relative", "link", "dots"])
def test_a_file_that_changed_is_refused_and_revised_under_every_spelling(tmp_path, form, spelling):
    feed = Feed(tmp_path, form)
    feed.assert_whole(feed.build("whole"))
    with netCDF4.Dataset(feed.files()[1], "a") as file:
        file["sst"][:] = 77
    answer = feed.build(spelling)
    assert answer.code == 1 and answer.report["error"]["code"] == "virtual.stale" and "b.nc" in answer.text, str(answer)
    feed.assert_whole(feed.build(spelling, "--revise"))


def test_references_keep_the_way_that_their_author_named(tmp_path, form):
    """A link may be what others have in common: what is added later leads through it as well, and no reference has `..`."""
    feed = Feed(tmp_path, form)
    assert feed.build("link").code == 0
    feed.add("2001/c.nc", "2000-01-11")
    answer = feed.build("whole")
    assert answer.code == 0, str(answer)
    assert len(answer.report["leads_to"]) == 1 and "/link/data/" in answer.report["leads_to"][0], answer.report["leads_to"]
    shutil.rmtree(feed.dest) if feed.dest.is_dir() else os.remove(feed.dest)
    answer = feed.build("behind a link")
    assert answer.code == 0 and all(".." not in pathlib.Path(place).parts for place in answer.report["leads_to"]), str(answer)
    feed.assert_whole(answer)
