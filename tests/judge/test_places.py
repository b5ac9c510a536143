"""Odd places to write to, and odd states to begin from: nothing that is not frazil's own is ever touched."""

import shutil
import subprocess

import pytest

from command import frazil, start
from make import counter, days, make
from verdicts import convert, is_visible, opens, stamps, tree, tree_differences


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    return make(tmp_path / "in" / "a.nc", days("2000-01-01", 20), zlib=True, chunksizes=(7, 4, 6))


@pytest.fixture
def other(tmp_path, source):
    return make(source.with_name("b.nc"), days("2001-01-01", 20), zlib=True, stored=counter((20, 4, 6), 5))


@pytest.fixture
def expected(source, tmp_path):
    answer = convert([source], tmp_path / "expected")
    assert answer.code == 0, str(answer)
    return tree(tmp_path / "expected")


def refused(answer, *words):
    assert answer.crash() is None and answer.code == 1, str(answer)
    for word in words:
        assert str(word) in answer.text, f"{word} is not named\n{answer}"


@pytest.mark.parametrize("name", ["with space", "żółw-冰", "100%25", "a#1", "-dash", ".hidden", "x" * 230, "new\nline", "deep/er/still"])
def test_a_place_of_any_name_is_written_and_replaced(source, other, expected, tmp_path, name):
    store = tmp_path / "out" / name
    assert convert([source], store).code == 0
    assert not tree_differences(expected, tree(store))
    answer = convert([other], store, "--overwrite")
    assert answer.code == 0, str(answer)
    assert [path.name for path in store.parent.iterdir()] == [store.name]
    assert tree(store) != expected


def test_a_relative_place_and_the_present_folder_are_written(source, expected, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    assert convert([source], "z", cwd=here).code == 0
    assert not tree_differences(expected, tree(here / "z"))
    empty = tmp_path / "empty"
    empty.mkdir()
    answer = convert([source], ".", cwd=empty)
    assert answer.code == 0, str(answer)
    assert not tree_differences(expected, tree(empty))


def test_a_link_to_a_folder_stays_a_link_when_its_store_is_replaced(source, other, expected, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    assert convert([source], link).code == 0
    assert not tree_differences(expected, tree(tmp_path / "real"))
    assert convert([other], link, "--overwrite").code == 0
    assert link.is_symlink() and tree(tmp_path / "real") != expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "in", "link", "real"]


@pytest.mark.parametrize("flags", [(), ("--overwrite",)], ids=["create", "replace"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling", "sources", "below-a-file"])
def test_what_is_no_store_is_never_touched(source, tmp_path, kind, flags):
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("a thesis")
    elif kind == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("a thesis")
    elif kind == "dangling":
        place.symlink_to("nowhere")
    elif kind == "sources":
        place = source.parent
    else:
        place.write_text("a thesis")
        place = place / "z"
    before = stamps(tmp_path)
    answer = convert([source], place, *flags)
    refused(answer, place)
    assert stamps(tmp_path) == before


def test_a_store_that_holds_its_own_source_is_not_replaced(source, other, tmp_path):
    store = tmp_path / "z"
    assert convert([source], store).code == 0
    inside = shutil.copy(other, store / "b.nc")
    before = stamps(store)
    refused(convert([inside], store, "--overwrite"), "b.nc")
    assert stamps(store) == before


def test_a_store_of_another_program_is_replaced_only_on_request(source, expected, tmp_path):
    import xarray

    store = tmp_path / "z"
    xarray.Dataset({"x": ("t", [1.0, 2.0])}).to_zarr(store, zarr_format=3, consolidated=True)
    before = stamps(store)
    refused(convert([source], store), "--overwrite")
    assert stamps(store) == before
    assert convert([source], store, "--overwrite").code == 0
    assert not tree_differences(expected, tree(store))


def test_a_damaged_receipt_is_said_and_the_store_can_be_replaced(source, expected, tmp_path):
    store = tmp_path / "z"
    assert convert([source], store).code == 0
    receipt = store / ".frazil" / "receipt.json"
    receipt.write_bytes(receipt.read_bytes().replace(b"a.nc", b"c.nc"))
    refused(convert([source], store), "receipt")
    assert convert([source], store, "--overwrite").code == 0
    assert not tree_differences(expected, tree(store))


def begun(store, source, *flags):
    """Leaves the work of one plan unfinished: the disk is full after a few files."""
    words = ["convert", source, store, "--to", "zarr", "--json", *flags]
    answer = frazil(*words, before=["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=rename", "-e", "inject=rename:error=ENOSPC:when=3+"])
    assert answer.crash() is None and answer.code == 1, str(answer)
    assert (store / ".frazil" / "plan.json").exists() and not is_visible(store)


def test_work_of_another_plan_is_named_and_can_be_discarded(source, other, expected, tmp_path):
    store = tmp_path / "z"
    begun(store, other)
    refused(convert([source], store), "another plan", "--overwrite")
    assert convert([source], store, "--overwrite").code == 0
    assert not tree_differences(expected, tree(store))


@pytest.mark.parametrize("harm", ["torn", "zeros", "noise", "empty", "lies"])
def test_a_journal_that_a_power_cut_damaged_changes_nothing(source, expected, tmp_path, harm):
    store = tmp_path / "z"
    begun(store, source)
    journals = [path for path in (store / ".frazil" / "journal").iterdir()]
    for path in journals:
        content = path.read_bytes()
        path.write_bytes({
            "torn": content[:-7], "zeros": content + b"\0" * 4096, "noise": bytes(range(256)) * 8, "empty": b"",
            "lies": content.replace(b'"length":', b'"length":1'),
        }[harm])
    answer = convert([source], store)
    assert answer.code == 0, str(answer)
    assert not tree_differences(expected, tree(store))


def test_chunks_that_changed_behind_the_journal_are_written_again(source, expected, tmp_path):
    store = tmp_path / "z"
    begun(store, source)
    for path in store.rglob("c/**/*"):
        if path.is_file():
            path.write_bytes(b"other bytes")
    assert convert([source], store).code == 0
    assert not tree_differences(expected, tree(store))


def test_a_source_that_changed_under_unfinished_work_is_not_mixed(tmp_path):
    values = counter((20, 40, 60)).astype("f4")
    axes = {"lat": [float(i) for i in range(40)], "lon": [float(i) for i in range(60)]}
    source = make(tmp_path / "a.nc", days("2000-01-01", 20), stored=values, chunksizes=(5, 40, 60), **axes)
    begun(tmp_path / "z", source, "--chunks", "time=5,lat=40,lon=60")
    make(source, days("2000-01-01", 20), stored=values + 1, chunksizes=(5, 40, 60), **axes)
    words = ("--chunks", "time=5,lat=40,lon=60")
    assert convert([source], tmp_path / "y", *words).code == 0
    answer = convert([source], tmp_path / "z", *words)
    assert answer.code == 0 or "another plan" in answer.text, str(answer)
    if answer.code == 0:
        assert not tree_differences(tree(tmp_path / "y"), tree(tmp_path / "z"))


def test_files_larger_than_the_user_may_write_are_named(source, expected, tmp_path):
    store = tmp_path / "z"
    answer = convert([source], store, before=["bash", "-c", 'ulimit -f 1; exec env --default-signal=XFSZ "$@"', "bash"])
    refused(answer, store, "too large")
    assert not is_visible(store)
    assert convert([source], store).code == 0
    assert not tree_differences(expected, tree(store))


def test_too_few_open_files_is_an_error_with_words(source, expected, tmp_path):
    store = tmp_path / "z"
    for n_files in (4, 5, 6, 7, 8):
        answer = convert([source], store, before=["bash", "-c", f'ulimit -n {n_files}; exec "$@"', "bash"])
        assert answer.crash() is None or answer.code == 127, str(answer)
    assert convert([source], store).code == 0
    assert not tree_differences(expected, tree(store))


def test_replacements_at_the_same_time_leave_one_whole_store(source, other, tmp_path, soak):
    store = tmp_path / "z"
    trees = []
    for one in (source, other):
        assert convert([one], store, "--overwrite").code == 0
        trees.append(tree(store))
    for _ in range(20 if soak else 4):
        words = [["convert", one, store, "--to", "zarr", "--zarr-format", "3", "--json", "--overwrite"] for one in (source, other, source)]
        running = [start(w, out=subprocess.DEVNULL, err=subprocess.DEVNULL) for w in words]
        while any(process.poll() is None for process in running):
            seen = opens(store)
            assert seen
        codes = [process.wait(timeout=60) for process in running]
        assert set(codes) <= {0, 5} and 0 in codes, codes
        assert tree(store) in trees
        assert [path.name for path in tmp_path.iterdir() if path.name not in ("in", "z")] == []
