"""Files that a store knows by name, in archives that grow a folder, lose one or are renamed: what was added is added once, and
what is there is known again. Stock xarray is the judge of the values."""

import shutil

import pytest

from command import frazil
from make import counter, days, make
from verdicts import assert_equal, tree, tree_differences

GLOB = 'glob: "{}"'
URL = 'url: "data/{{y}}/{{m:02}}.nc", keys: {{y: {}, m: 1..2}}, missing: skip'


class Archive:
    """An archive of a folder a year, with files of the same names in each, and a store that follows it."""

    def __init__(self, folder, source=GLOB.format("data/**/*.nc")):
        self.folder, self.dest = folder / "feed", folder / "store.zarr"
        (self.folder / "feedstock").mkdir(parents=True)
        self.says(source)

    def says(self, source, mode="extend"):
        text = f"recipe: 1\nid: years\nsources: {{f: {{{source}}}}}\ncombine: {{along: time}}\nwrite: {{zarr: {{chunks: {{time: 10}}, mode: {mode}}}}}\n"
        (self.folder / "feedstock/recipe.yaml").write_text(text)

    def month(self, year, month, start=0):
        path = self.folder / f"data/{year}/{month:02}.nc"
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(path, days(f"{year}-{month:02}-01", 28), stored=counter((28, 4, 6), year + month + start))

    def files(self):
        return sorted(self.folder.glob("data/**/*.nc"))

    def build(self, *flags):
        return frazil("build", self.folder, "--to", self.dest, "--json", *flags)

    def assert_whole(self, answer, files=None):
        """The store holds what these files hold, its verifier agrees, and typed again nothing is written."""
        assert_equal(answer, files or self.files(), self.dest)
        again = self.build()
        assert again.code == 0 and again.report["outcome"] == "already-there", str(again)
        if files is None:
            answer = frazil("verify", self.dest, "--feedstock", self.folder, "--json")
            assert answer.code == 0 and answer.report["totals"]["values_compared"] > 0, str(answer)


@pytest.mark.parametrize("source", [GLOB.format("data/**/*.nc"), GLOB.format("data/*/*.nc"), URL.format("[2000, 2001, 2002]"), GLOB.format("data")])
def test_an_archive_grows_a_folder(tmp_path, source):
    archive = Archive(tmp_path, source)
    archive.month(2000, 1)
    archive.assert_whole(archive.build())
    for year, month in ((2000, 2), (2001, 1), (2001, 2), (2002, 1)):
        archive.month(year, month)
        archive.assert_whole(archive.build())


def test_a_list_grows_a_folder(tmp_path):
    archive = Archive(tmp_path)
    listed = []
    for year, month in ((2000, 1), (2000, 2), (2001, 1)):
        archive.month(year, month)
        listed.append(f"data/{year}/{month:02}.nc")
        archive.says(f"list: [{', '.join(listed)}]")
        archive.assert_whole(archive.build())


def test_the_keys_of_a_recipe_grow(tmp_path):
    archive = Archive(tmp_path, URL.format("[2000]"))
    for month in (1, 2):
        archive.month(2000, month)
    archive.assert_whole(archive.build())
    archive.month(2001, 1)
    archive.says(URL.format("[2000, 2001]"))
    archive.assert_whole(archive.build())


def test_an_old_year_is_moved_away(tmp_path):
    archive = Archive(tmp_path)
    files = [archive.month(*when) for when in ((2000, 1), (2000, 2), (2001, 1))]
    archive.assert_whole(archive.build())
    kept = tmp_path / "kept"
    shutil.copytree(archive.folder / "data", kept)
    shutil.rmtree(archive.folder / "data/2000")
    archive.month(2001, 2)
    shutil.copy(archive.folder / "data/2001/02.nc", kept / "2001")
    archive.assert_whole(archive.build(), sorted(kept.glob("*/*.nc")))
    # And it comes back.
    shutil.copytree(kept / "2000", archive.folder / "data/2000")
    assert files[0].exists()
    archive.assert_whole(archive.build())


@pytest.mark.parametrize("moved", ["deeper", "renamed"])
def test_a_store_goes_on_whose_names_are_others(tmp_path, moved):
    """Names of the receipt are below `data/2000`; then the recipe names a folder above, or below."""
    archive = Archive(tmp_path, GLOB.format("data/2000/*.nc"))
    for month in (1, 2):
        archive.month(2000, month)
    archive.assert_whole(archive.build())
    archive.says(GLOB.format("data/**/*.nc"))
    if moved == "renamed":
        (archive.folder / "data/2000").rename(archive.folder / "data/of-2000")
    archive.assert_whole(archive.build())
    for month in (1, 2):
        # A name that the receipt has, of another file.
        archive.month(2001, month)
        archive.assert_whole(archive.build())
    before = tree(archive.dest)
    path = archive.files()[0 if moved == "deeper" else -2]
    make(path, days("2000-01-01", 28), stored=counter((28, 4, 6), 77))
    answer = archive.build()
    assert answer.code == 1 and "01.nc" in answer.text and "changed" in answer.text and "--revise" in answer.text, str(answer)
    assert not tree_differences(before, tree(archive.dest))
    archive.assert_whole(archive.build("--revise"))


def test_another_file_of_the_same_name_and_labels_is_not_taken_for_the_first(tmp_path):
    archive = Archive(tmp_path, GLOB.format("data/2000/*.nc"))
    first = archive.month(2000, 1)
    archive.assert_whole(archive.build())
    before = tree(archive.dest)
    for name in ("a", "b"):
        (archive.folder / f"data/{name}").mkdir()
        make(archive.folder / f"data/{name}/01.nc", days("2000-01-01", 28), stored=counter((28, 4, 6), 5))
    first.unlink()
    archive.says(GLOB.format("data/?/*.nc"))
    answer = archive.build()
    assert answer.code == 1 and "01.nc" in answer.text and "another file" in answer.text, str(answer)
    assert not tree_differences(before, tree(archive.dest))


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_sources_are_known_from_wherever_they_are_named(tmp_path, where):
    archive = Archive(tmp_path)
    for when in ((2000, 1), (2001, 1)):
        archive.month(*when)
    assert archive.build().code == 0
    given = {"outside": [archive.folder / "data"], "inside": ["2000/01.nc", "2001/../2001/01.nc"]}[where]
    answer = frazil("verify", archive.dest, "--json", "--sources", *given, cwd=archive.folder / "data" if where == "inside" else None)
    assert answer.code == 0 and answer.report["totals"]["values_compared"] > 0, str(answer)
