"""Scenes for `kill.py` whose result is virtual: what readers saw, what the next run leaves, what lies around.

It promises for Icechunk that after the next run each file of the repository is one that icechunk-python reaches from
branch `main`, and that the branch has exactly the versions of an undisturbed run. Names and moments in a repository
differ from run to run, so that its bytes are not compared; those of references are.
"""

import dataclasses
import datetime
import hashlib
import pathlib
import shutil

from command import frazil
from kill import Scene, strays
from make import days
from same import isolated
from verdicts import tree, tree_differences
from virtual import make, recipe, repository, suffix, versions, view

GRID = {"zlib": True, "chunksizes": (1, 60, 80)}


@dataclasses.dataclass
class VirtualScene(Scene):
    """`old`, `new` are views; `n_versions` how many snapshots an undisturbed run leaves."""

    form: str = "icechunk"
    n_versions: int = 0

    def fresh(self, folder: pathlib.Path) -> pathlib.Path:
        shutil.copytree(self.start_folder, folder, symlinks=True)
        return folder / f"store.{suffix(self.form)}"

    def is_not_whole(self, store) -> list[str]:
        if self.form != "icechunk":
            return tree_differences(self.new_tree, contents(store))
        return [] if view(store, self.form) == self.new else ["a reader sees something else"]

    def faults_after(self, store) -> list[str]:
        wrong = []
        try:
            seen = view(store, self.form)
            if seen not in (self.old, self.new):
                wrong.append(f"a reader sees {'nothing' if seen is None else 'a mixture'}")
        except AssertionError as error:
            wrong.append(f"a reader cannot open it: {str(error)[:600]}")
        answer = frazil(*self.command(store))
        if answer.code != 0:
            return [*wrong, f"the command typed again: {answer}"]
        if view(store, self.form) != self.new:
            wrong.append("after the command was typed again a reader sees something else than after an undisturbed run")
        wrong += [f"beside it: {name}" for name in strays(store)]
        if self.form != "icechunk":
            return wrong + tree_differences(self.new_tree, contents(store))[:5]
        found = versions(store)
        if len(found) != self.n_versions:
            wrong.append(f"{len(found)} versions instead of {self.n_versions}: {found}")
        return wrong + loose(store)


def contents(place) -> dict[str, str]:
    place = pathlib.Path(place)
    return {"": hashlib.sha256(place.read_bytes()).hexdigest()} if place.is_file() else tree(place)


def loose(place, env=None) -> list[str]:
    """What icechunk-python would collect as garbage, and files in a repository that are none of its own."""
    found = isolated(_loose, str(place), env)
    if env is None:
        known = ("config.yaml", "chunks", "manifests", "snapshots", "transactions", "refs", "overwritten")
        found += [f"not of Icechunk: {path.name}" for path in pathlib.Path(place).iterdir() if path.name not in known and path.name != ".frazil"]
        found += [f"unfinished: {path}" for path in pathlib.Path(place).rglob("*") if "#" in path.name or path.name.endswith((".tmp", ".part", ".new"))]
    return found


def _loose(place, env):
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    summary = repository(place, env).garbage_collect(tomorrow, dry_run=True)
    counts = {name: getattr(summary, name) for name in ("chunks_deleted", "manifests_deleted", "snapshots_deleted", "transaction_logs_deleted", "attributes_deleted")}
    return [f"garbage: {n} {name.removesuffix('_deleted')}" for name, n in counts.items() if n]


def virtual_scene(folder, kind: str, form: str) -> VirtualScene:
    """`convert`: two files from nothing. `extend`: a second file after the first, by a recipe. `overwrite`: others in their
    place. The second file is packed otherwise by zlib and shuffle, so that Icechunk must write chunks of its own."""
    folder = pathlib.Path(folder)
    before = folder / "before"
    before.mkdir(parents=True)
    odd = {**GRID, "shuffle": False} if form == "icechunk" else GRID
    make(folder / "in-01.nc", days("2000-01-01", 31), **GRID)
    place = before / f"store.{suffix(form)}"
    if kind == "extend":
        words = ["build", recipe(folder / "f", folder / "in-*.nc", form), "--to", "STORE", "--json"]
    else:
        words = ["convert", folder / "in-01.nc", folder / "in-02.nc", "STORE", "--to", "virtual", "--format", form, "--inline", "1B", "--json"]
    if kind != "convert":
        first = words if kind == "extend" else ["convert", folder / "in-01.nc", "STORE", "--to", "virtual", "--format", form, "--inline", "1B", "--json"]
        answer = frazil(*[place if word == "STORE" else word for word in first])
        assert answer.code == 0, str(answer)
        words += ["--overwrite"] * (kind == "overwrite")
    old = view(place, form)
    make(folder / "in-02.nc", days("2000-02-01", 28), **odd)
    made = VirtualScene(words, before, old, {}, {}, 0.0, form)
    store = made.fresh(folder / "undisturbed")
    answer = frazil(*made.command(store))
    assert answer.code == 0, str(answer)
    made.new, made.new_tree, made.seconds = view(store, form), contents(store), answer.seconds
    made.n_versions = len(versions(store)) if form == "icechunk" else 0
    assert made.new is not None and made.new != made.old, "the scene changes nothing, so it can show nothing"
    assert form != "icechunk" or loose(store) == [], "an undisturbed run leaves something behind"
    return made
