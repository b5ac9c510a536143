"""Nothing is lost: no file goes unseen, nothing that is not frazil's is removed, no damage counts as done."""

import os
import pathlib
import subprocess

import pytest
import xarray

from command import frazil, start
from make import days, make


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, day in enumerate(("2001-01-01", "2001-01-11", "2001-01-21")):
        make(folder / f"{number}.nc", days(day, 10))
    return folder


def convert(*words, code=0):
    answer = frazil("convert", *words, "--to", "zarr")
    assert answer.crash() is None and answer.code == code, answer
    return answer


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "not data": lambda path: path.write_bytes(b"<html>not found</html>"),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("gone")),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("way", ["folder", "pattern"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_a_folder_does_not_go_unseen(folder, tmp_path, damage, way):
    DAMAGES[damage](folder / "1.nc")
    answer = convert(folder if way == "folder" else folder / "*.nc", tmp_path / "z", code=1)
    assert "1.nc" in answer.err and not (tmp_path / "z/zarr.json").exists(), answer


def test_a_name_that_is_no_text_is_refused(folder, tmp_path):
    os.rename(folder / "1.nc", os.fsencode(folder) + b"/\xff.nc")
    assert "UTF-8" in convert(folder, tmp_path / "z", code=1).err


def test_folders_behind_links_are_looked_into_once(folder, tmp_path):
    (folder / "more").mkdir()
    (folder / "2.nc").rename(folder / "more/2.nc")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/a").symlink_to(folder)
    (folder / "circle").symlink_to(folder)
    convert(tmp_path / "links", tmp_path / "z")
    assert xarray.open_dataset(tmp_path / "z", engine="zarr").sizes["time"] == 30


def test_a_store_in_the_folder_of_its_files_is_none_of_them(folder):
    convert(folder, folder / "z.zarr")
    assert "already" in convert(folder, folder / "z.zarr").out


STRANGERS = {
    "a file with a telling name": {"zarr.json": '{"a": 1}', "chapter1.txt": "x"},
    "an empty document": {"zarr.json": "", "chapter1.txt": "x"},
    "the old format": {".zgroup": "x", "chapter1.txt": "x"},
    "a plan that is none": {".frazil/notes": "x", "chapter1.txt": "x"},
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_overwriting_removes_no_folder_that_is_no_store(folder, tmp_path, kind):
    for name, text in STRANGERS[kind].items():
        path = tmp_path / "t" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    convert(folder, tmp_path / "t", "--overwrite", code=1)
    assert (tmp_path / "t/chapter1.txt").read_text() == "x"


def test_overwriting_removes_no_file_that_somebody_put_into_a_store(folder, tmp_path):
    convert(folder, tmp_path / "z")
    (tmp_path / "z/notes.txt").write_text("mine")
    assert "notes.txt" in convert(folder / "0.nc", tmp_path / "z", "--overwrite", code=1).err
    assert (tmp_path / "z/notes.txt").read_text() == "mine"


def test_a_folder_beside_the_store_is_left_alone(folder, tmp_path):
    convert(folder, tmp_path / "z")
    (tmp_path / ".z.frazil-new").mkdir()
    (tmp_path / ".z.frazil-new/mine.txt").write_text("mine")
    convert(folder / "0.nc", tmp_path / "z", "--overwrite", code=1)
    convert(folder, tmp_path / "z")
    assert (tmp_path / ".z.frazil-new/mine.txt").read_text() == "mine"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["lost", "flipped", "no root"])
def test_a_damaged_store_is_made_again_as_verify_says(folder, tmp_path, damage):
    convert(folder, tmp_path / "z")
    whole = {path: path.read_bytes() for path in sorted((tmp_path / "z").rglob("*")) if path.is_file()}
    chunk = next(path for path in whole if "sst/c" in str(path))
    {"lost": pathlib.Path.unlink, "flipped": flip, "no root": lambda _: (tmp_path / "z/zarr.json").unlink()}[damage](chunk)
    assert "--overwrite" in frazil("verify", tmp_path / "z").err
    if damage != "flipped":
        convert(folder, tmp_path / "z", code=1)
    convert(folder, tmp_path / "z", "--overwrite")
    assert {path: path.read_bytes() for path in sorted((tmp_path / "z").rglob("*")) if path.is_file()} == whole


def recipe(folder, mode="create"):
    (folder.parent / "recipe.yaml").write_text(
        f"recipe: 1\nid: sst\nsources: {{f: {{glob: 'data/*.nc'}}}}\ncombine: {{along: time}}\nwrite: {{zarr: {{chunks: {{time: 5}}, mode: {mode}}}}}\n"
    )
    return folder.parent / "recipe.yaml"


def test_finishing_looks_at_every_object(folder, tmp_path):
    build = ["build", recipe(folder), "--to", tmp_path / "z"]
    for step in (["--plan-only"], ["--part", "1/2"], ["--part", "2/2"]):
        assert frazil(*build, *step).code == 0
    (tmp_path / "z/sst/c/3/0/0").unlink()
    assert frazil(*build, "--finish").code == 1 and not (tmp_path / "z/zarr.json").exists()
    for step in (["--part", "1/2"], ["--part", "2/2"], ["--finish"]):
        assert frazil(*build, *step).code == 0
    assert frazil("verify", tmp_path / "z", "--sources", folder).code == 0


def test_a_plan_is_saved_anew_after_its_sources_were_touched(folder, tmp_path):
    build = ["build", recipe(folder), "--to", tmp_path / "z"]
    assert frazil(*build, "--plan-only").code == 0
    os.utime(folder / "1.nc")
    assert "--plan-only" in frazil(*build, "--part", "1/1").err
    for step in (["--plan-only"], ["--part", "1/1"], ["--finish"]):
        assert frazil(*build, *step).code == 0


def test_overwriting_does_not_shorten_a_store_that_its_recipe_extends(folder, tmp_path):
    build = ["build", recipe(folder, "extend"), "--to", tmp_path / "z"]
    assert frazil(*build).code == 0
    (folder / "0.nc").unlink()
    assert frazil(*build, "--overwrite").code == 1
    assert xarray.open_dataset(tmp_path / "z", engine="zarr").sizes["time"] == 30


def test_a_dry_run_looks_at_the_target(folder, tmp_path):
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy/x").write_text("x")
    assert "in the way" in convert(folder, tmp_path / "busy", "-n", code=1).err
    convert(folder, tmp_path / "z")
    assert "already" in convert(folder, tmp_path / "z", "-n").out


def test_a_small_subset_is_at_least_one_object(folder, tmp_path):
    convert(folder, tmp_path / "z")
    answer = frazil("verify", tmp_path / "z", "--subset", "0.01%", "--json")
    assert answer.code == 0 and answer.report["totals"]["objects_read"] >= 1
    assert frazil("verify", tmp_path / "z", "--subset", "0%").code == 2


def test_the_plan_is_said_before_the_work(folder, tmp_path):
    answer = convert(folder, tmp_path / "z")
    assert answer.err.startswith("plan: 3 files") and "wrote" in answer.out


def test_sources_are_known_by_their_names_from_whichever_folder(folder, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    build = ["build", recipe(folder, "extend"), "--to", tmp_path / "out/z"]
    assert frazil(*build).code == 0
    make(more / "3.nc", days("2001-01-31", 10))
    (tmp_path / "recipe.yaml").write_text((tmp_path / "recipe.yaml").read_text().replace("data/*", "more/*"))
    assert frazil(*build).code == 0
    answer = frazil("verify", tmp_path / "out/z", "--sources", folder, more)
    assert answer.code == 0 and "all equal" in answer.out, answer
    answer = frazil("verify", tmp_path / "out/z", "--sources")
    assert answer.code == 1 and "--sources FOLDER" in answer.err, answer


def test_an_answer_that_cannot_be_written_is_no_success(folder, tmp_path):
    with open("/dev/full", "w") as full:
        process = start(["convert", folder, tmp_path / "z", "--to", "zarr", "--json"], out=full, err=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and b"could not be written" in err
