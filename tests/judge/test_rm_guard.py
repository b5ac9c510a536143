"""Words that would delete too much delete nothing, and links lead nowhere outside.

Each dangerous command runs with every unlink and rename of local files held back by strace, so that a fault here harms
nobody. Nothing is changed but what a row says may change.
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time

import pytest

import ceph
import clients
from command import binary, measured
from moves import digests, make_tree, put_all, put_tree, stored

ZARR = '{"zarr_format": 3, "node_type": "group", "attributes": {}}'
ARRAY = (
    '{"zarr_format": 3, "node_type": "array", "shape": [2], "data_type": "int8", "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, '
    '"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": 0, "codecs": [{"name": "bytes"}], "attributes": {}}'
)
STORE = {"zarr.json": ZARR, "sst/zarr.json": ARRAY, "sst/c/0": "a", "sst/c/1": "b"}
OBJECTS = {
    "folder/a": "1", "folder/b/c": "2", "folder/b/d": "3", "folder": "4", "folder2/a": "5", "folders/x": "6", "prefix1/a": "7", "prefix2/a": "8", "top": "9", "/lead": "10",
    "*": "11", "folder/../up": "12", "./dot": "13", "~": "14", **{f"store.zarr/{name}": text for name, text in STORE.items()},
}
# What must never be done to local files while these run: strace answers for the kernel.
HELD = "unlink,unlinkat,rmdir,rename,renameat,renameat2"

# Name: (words, the beginnings of keys that may go or come). BUCKET and the folders are filled in.
RM = {
    "a bucket": (["rm", "s3://BUCKET"], ()),
    "a bucket and yes": (["rm", "s3://BUCKET", "--yes"], ()),
    "a bucket with a slash and yes": (["rm", "s3://BUCKET/", "--yes"], ()),
    "no bucket": (["rm", "s3://", "--yes"], ()),
    "no bucket, three slashes": (["rm", "s3:///", "--yes"], ()),
    "no bucket, a key": (["rm", "s3:///folder/", "--yes"], ()),
    "two slashes after the bucket": (["rm", "s3://BUCKET//", "--yes"], ("/",)),
    "a remote": (["rm", "pod:", "--yes"], ()),
    "a bucket of a remote": (["rm", "pod:BUCKET", "--yes"], ()),
    "a bucket of a remote with a slash": (["rm", "pod:BUCKET/", "--yes"], ()),
    "a folder without yes": (["rm", "s3://BUCKET/folder/"], ()),
    "a folder, tried only": (["rm", "s3://BUCKET/folder/", "-n", "--yes"], ()),
    "the beginning of names": (["rm", "s3://BUCKET/prefix", "--yes"], ()),
    "the beginning of a folder": (["rm", "s3://BUCKET/fold", "--yes"], ()),
    "a folder without its slash": (["rm", "s3://BUCKET/folder", "--yes"], ("folder", "folder/")),
    "everything by a pattern": (["rm", "s3://BUCKET/*", "--yes"], ("*",)),
    "some by a pattern without yes": (["rm", "s3://BUCKET/prefix*"], ()),
    "some by a pattern": (["rm", "s3://BUCKET/prefix*", "--yes"], ("prefix1/", "prefix2/")),
    "all below by a pattern": (["rm", "s3://BUCKET/**", "--yes"], ()),
    "more than so many": (["rm", "s3://BUCKET/folder/", "--yes", "--max-objects", "2"], ()),
    "up from a folder": (["rm", "s3://BUCKET/folder/../", "--yes"], ("folder/../",)),
    "a dot": (["rm", "s3://BUCKET/./", "--yes"], ("./",)),
    "a chunk of a store": (["rm", "s3://BUCKET/store.zarr/sst/c/0", "--yes"], ()),
    "an array of a store": (["rm", "s3://BUCKET/store.zarr/sst/", "--yes"], ()),
    "the metadata of a store": (["rm", "s3://BUCKET/store.zarr/zarr.json", "--yes"], ()),
    "nothing": (["rm", "", "--yes"], ()),
    "a space": (["rm", " ", "--yes"], ()),
    "a slash": (["rm", "/", "--yes"], ()),
    "two slashes": (["rm", "//", "--yes"], ()),
    "the home": (["rm", "HOME", "--yes"], ()),
    "the home with a slash": (["rm", "HOME/", "--yes"], ()),
    "here": (["rm", ".", "--yes"], ()),
    "above": (["rm", "..", "--yes"], ()),
    "above by a detour": (["rm", "HERE/tree/../..", "--yes"], ()),
    "a tilde": (["rm", "~", "--yes"], ()),
    "what is on the web": (["rm", "http://127.0.0.1:9/x", "--yes"], ()),
    "a bucket that is not there": (["rm", "s3://not-there-BUCKET/folder/", "--yes"], ()),
    "no place": (["rm", "--yes"], ()),
}
SYNC = {
    "an empty folder over a full one": (["sync", "HERE/empty", "s3://BUCKET/folder", "--delete", "--yes"], ()),
    "a folder that is not there": (["sync", "HERE/absent", "s3://BUCKET/folder", "--delete", "--yes"], ()),
    "an empty prefix over a full folder": (["sync", "s3://BUCKET/absent/", "HERE/tree", "--delete", "--yes"], ()),
    "over a whole bucket": (["sync", "HERE/tree", "s3://BUCKET", "--delete", "--yes"], ()),
    "without yes": (["sync", "HERE/tree", "s3://BUCKET/folder", "--delete"], ()),
    "tried only": (["sync", "HERE/tree", "s3://BUCKET/folder", "--delete", "--yes", "-n"], ()),
    "onto itself": (["sync", "HERE/tree", "HERE/tree", "--delete", "--yes"], ()),
    "a folder into itself": (["sync", "HERE/tree", "HERE/tree/sub", "--delete", "--yes"], ()),
    "a folder over what holds it": (["sync", "HERE/tree/sub", "HERE/tree", "--delete", "--yes"], ()),
    "a prefix into itself": (["sync", "s3://BUCKET/folder/", "s3://BUCKET/folder/b", "--delete", "--yes"], ()),
    "a prefix over what holds it": (["sync", "s3://BUCKET/folder/b/", "s3://BUCKET/folder", "--delete", "--yes"], ()),
    "a file over a folder": (["sync", "HERE/tree/a", "s3://BUCKET/folder/", "--delete", "--yes"], ("folder/a",)),
    "over a part of a store": (["sync", "HERE/tree", "s3://BUCKET/store.zarr/sst", "--delete", "--yes"], ()),
    "over the home": (["sync", "s3://BUCKET/folder/", "HOME", "--delete", "--yes"], ()),
    "over the root": (["sync", "s3://BUCKET/folder/", "/", "--delete", "--yes", "-n"], ()),
    "a file into a store": (["cp", "HERE/tree/a", "s3://BUCKET/store.zarr/zarr.json", "--overwrite"], ()),
    "a folder over a store": (["cp", "HERE/tree", "s3://BUCKET/store.zarr", "--overwrite"], ()),
    "a file over another": (["cp", "HERE/tree/a", "s3://BUCKET/top"], ()),
}


@pytest.fixture
def scene(mover, gateway, bucket, tmp_path):
    """A bucket and a folder with things to lose."""
    put_all(gateway, bucket, {key: text.encode() for key, text in OBJECTS.items()})
    make_tree(tmp_path / "here/tree", 1, {"a": 10, "sub/b": 20, "sub/deep/c": 30})
    (tmp_path / "here/empty").mkdir()
    (mover.home / "precious").write_text("mine")
    (mover.home / ".config/rclone").mkdir(parents=True)
    (mover.home / ".config/rclone/rclone.conf").write_text(clients.rclone_s3(gateway, ceph.KEY, ceph.SECRET, name="pod"))
    return tmp_path / "here"


@pytest.mark.parametrize("name", [*RM, *SYNC])
def test_what_is_dangerous_changes_nothing(mover, gateway, bucket, scene, tmp_path, name):
    words, may_change = {**RM, **SYNC}[name]
    clients.needs(words[0])
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    words = [word.replace("BUCKET", bucket).replace("HOME", str(mover.home)).replace("HERE", str(scene)) for word in words]
    before, files, home = ceph.objects(gateway, bucket), digests(scene), digests(mover.home)
    log = tmp_path / "held"
    hold = ["strace", "-f", "-qqq", "-o", log, "-e", f"trace={HELD}", "-e", f"inject={HELD}:error=EPERM"]
    answer = measured(mover.words(words), timeout=60, before=hold, cwd=scene)
    after = ceph.objects(gateway, bucket)
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert [key for key in sorted(changed) if not any(key == start or (start.endswith("/") and key.startswith(start)) for start in may_change)] == [], answer
    held = [line for line in log.read_text(errors="replace").splitlines() if re.search(r'"', line) and not re.search(r"cache|/tmp/frazil|/home/\.", line)]
    assert held == [], f"it tried to remove local files\n{answer}"
    assert digests(scene) == files and {name: mark for name, mark in digests(mover.home).items() if not name.startswith(("cache/", "."))}.keys() == {"precious"}, answer
    assert home.keys() - digests(mover.home).keys() == set(), answer
    assert answer.crash() is None, answer
    if "-n" not in words and not changed:
        assert answer.code != 0 and answer.err.strip(), f"it did nothing, and calls that a success\n{answer}"


def test_what_is_harmless_works_when_held_back(mover, gateway, bucket, scene, tmp_path):
    """The judge itself: a refusal above is one of the command, not of how it was called."""
    clients.needs("cp", "rm")
    hold = ["strace", "-f", "-qqq", "-o", tmp_path / "held", "-e", f"trace={HELD}", "-e", f"inject={HELD}:error=EPERM"]
    for words in (["cp", scene / "tree/a", f"s3://{bucket}/new"], ["rm", f"s3://{bucket}/new", "--yes"]):
        answer = measured(mover.words(words), timeout=60, before=hold, cwd=scene)
        assert answer.code == 0 and ("new" in ceph.objects(gateway, bucket)) == (words[0] == "cp"), answer


def test_the_plan_is_shown_before_the_question(mover, gateway, bucket, scene):
    clients.needs("rm")
    answer = mover("rm", f"s3://{bucket}/folder/", "-n", code=0)
    assert re.search(r"\b4 objects\b", answer.text), answer
    assert "--yes" in mover("rm", f"s3://{bucket}/folder/").text


def test_a_folder_that_is_named_goes_and_nothing_else(mover, gateway, bucket, scene):
    clients.needs("rm")
    mover("rm", f"s3://{bucket}/folder/", "--yes", code=0)
    assert set(ceph.objects(gateway, bucket)) == {key for key in OBJECTS if not key.startswith("folder/")}


def test_a_store_goes_as_one(mover, gateway, bucket, scene):
    clients.needs("rm")
    mover("rm", f"s3://{bucket}/store.zarr", "--yes", code=0)
    assert set(ceph.objects(gateway, bucket)) == {key for key in OBJECTS if not key.startswith("store.zarr/")}


def test_inside_a_store_only_when_that_is_said(mover, gateway, bucket, scene):
    clients.needs("rm")
    mover("rm", f"s3://{bucket}/store.zarr/sst/c/0", "--yes", "--inside-store", code=0)
    assert set(OBJECTS) - set(ceph.objects(gateway, bucket)) == {"store.zarr/sst/c/0"}


def test_what_a_filter_leaves_out_is_not_deleted(mover, gateway, bucket, scene):
    clients.needs("sync")
    mover("sync", scene / "tree", f"s3://{bucket}/folder", "--delete", "--yes", "--exclude", "b/**", code=0)
    assert {"folder/b/c", "folder/b/d"} <= set(ceph.objects(gateway, bucket)) and "folder/a" in ceph.objects(gateway, bucket)


# Links. `outside` is what nobody chose.

DOWN = {"x": "new x", "sub/y": "new y", "sub/deep/z": "new z", "plain": "new"}


def links(dest: pathlib.Path, outside: pathlib.Path, layout: str):
    """Lays a link into `dest`, where the keys of `DOWN` will come."""
    relative = os.path.relpath(outside, dest)
    match layout:
        case "a folder is a link outside":
            (dest / "sub").symlink_to(outside)
        case "a folder is a relative link outside":
            (dest / "sub").symlink_to(relative)
        case "a deeper folder is a link outside":
            (dest / "sub").mkdir()
            (dest / "sub/deep").symlink_to(outside)
        case "a file is a link outside":
            (dest / "x").symlink_to(outside / "x")
        case "a file is a link to nothing outside":
            (dest / "x").symlink_to(outside / "not there")
        case "a file is another name of one outside":
            os.link(outside / "x", dest / "x")
        case "a folder is a link to itself":
            (dest / "sub").symlink_to("sub")
        case "a folder is a link above":
            (dest / "sub").symlink_to("..")
        case "a chain of links leads outside":
            (dest / "sub").symlink_to("next")
            (dest / "next").symlink_to(relative)
        case "what is not in the source is a link outside":
            (dest / "extra").symlink_to(outside)
        case "a folder is a link into the process":
            (dest / "sub").symlink_to(f"/proc/self/cwd/{relative}")


LAYOUTS = [
    "a folder is a link outside", "a folder is a relative link outside", "a deeper folder is a link outside", "a file is a link outside", "a file is a link to nothing outside",
    "a file is another name of one outside", "a folder is a link to itself", "a folder is a link above", "a chain of links leads outside",
    "what is not in the source is a link outside", "a folder is a link into the process",
]


@pytest.mark.parametrize("verb", ["cp", "sync"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_written_or_deleted_through_a_link(mover, gateway, bucket, tmp_path, layout, verb):
    clients.needs(verb)
    dest, outside = tmp_path / "out/dest", tmp_path / "out/outside"
    dest.mkdir(parents=True)
    before = make_tree(outside, 1, {"x": 10, "y": 20, "deep/z": 30, "z": 40})
    links(dest, outside, layout)
    put_all(gateway, bucket, {f"down/{key}": text.encode() for key, text in DOWN.items()})
    flags = ["--overwrite"] if verb == "cp" else ["--delete", "--yes"]
    answer = mover(verb, f"s3://{bucket}/down/", dest, *flags, cwd=tmp_path)
    assert digests(outside) == before, f"something changed outside\n{answer}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dest", "outside"], answer
    assert answer.code == 0 or answer.err.strip(), answer
    if answer.code == 0:
        assert {name: (dest / name).read_text() for name in DOWN} == DOWN, answer
        assert all((dest / name).resolve().is_relative_to(dest.resolve()) for name in DOWN), answer


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(mover, gateway, bucket, tmp_path):
    clients.needs("cp")
    dest, outside, stop = tmp_path / "out/dest", tmp_path / "out/outside", threading.Event()
    (dest / "sub").mkdir(parents=True)
    before = make_tree(outside, 1, {"y": 20})
    put_all(gateway, bucket, {f"down/sub/{number:03}": b"new" for number in range(150)})

    def swap():
        while not stop.is_set():
            for step in (lambda: os.rename(dest / "sub", dest / "aside"), lambda: os.symlink(outside, dest / "sub"), lambda: os.unlink(dest / "sub"), lambda: os.rename(dest / "aside", dest / "sub")):
                try:
                    step()
                except OSError:
                    pass

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(3):
            mover("cp", f"s3://{bucket}/down/", dest, "--overwrite")
    finally:
        stop.set()
        thread.join()
    assert digests(outside) == before


@pytest.mark.parametrize("layout", ["a folder", "a file", "a chain"])
def test_what_a_link_outside_shows_is_not_sent(mover, gateway, bucket, tmp_path, layout):
    clients.needs("cp")
    make_tree(tmp_path / "tree", 1, {"a": 10, "sub/b": 20})
    make_tree(tmp_path / "outside", 2, {"secret": 30})
    link = tmp_path / "tree/link"
    link.symlink_to(tmp_path / "outside" / ("secret" if layout == "a file" else ""))
    if layout == "a chain":
        (tmp_path / "tree/again").symlink_to("link")
    answer = mover("cp", tmp_path / "tree", f"s3://{bucket}/up")
    secret = digests(tmp_path / "outside")["secret"]
    found = stored(gateway, bucket, "up/")
    assert secret not in found.values(), f"it followed the link\n{answer}"
    assert {"a", "sub/b"} <= set(found), answer
    assert "link" in answer.text, f"it does not say what it left out\n{answer}"


def test_deleting_a_folder_deletes_its_links_and_not_what_they_show(mover, gateway, bucket, tmp_path):
    clients.needs("rm")
    make_tree(tmp_path / "tree", 1, {"a": 10})
    before = make_tree(tmp_path / "outside", 2, {"x": 30, "deep/y": 3})
    (tmp_path / "tree/link").symlink_to(tmp_path / "outside")
    (tmp_path / "tree/file").symlink_to(tmp_path / "outside/x")
    mover("rm", tmp_path / "tree", "--yes")
    assert digests(tmp_path / "outside") == before
    (tmp_path / "way").symlink_to(tmp_path / "outside")
    mover("rm", tmp_path / "way", "--yes")
    mover("rm", f"{tmp_path}/way/", "--yes")
    assert digests(tmp_path / "outside") == before


def test_nothing_shows_how_it_is_called_that_should_not(mover, gateway, bucket, scene):
    """The judge itself: the command under judgement gets the home and the keys of this test, and no others."""
    words = mover.words(["x"])
    assert words[:2] == ["env", "-i"] and f"HOME={mover.home}" in words and words[-1] == "x" and words[-1 - len(binary()) : -1] == binary()
    put_tree(gateway, bucket, "again/", scene / "tree")
    assert stored(gateway, bucket, "again/") == digests(scene / "tree")


def typed(mover, line, *words):
    """The command at a terminal of its own, at which this line is typed."""
    own, its = os.openpty()
    process = subprocess.Popen(mover.words(words), stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    os.write(own, line.encode() + b"\n")
    said = b""
    with contextlib.suppress(OSError):  # a terminal that nobody has open any more
        while piece := os.read(own, 4096):
            said += piece
    os.close(own)
    return process.wait(timeout=60), said.decode()


@pytest.mark.parametrize("line,goes", [("", False), ("yes", False), ("{place}", True)])
def test_the_root_of_a_bucket_is_not_confirmed_by_enter(mover, gateway, bucket, line, goes):
    put_all(gateway, bucket, {"u/s.zarr/zarr.json": ARRAY.encode(), **{f"u/s.zarr/c/{n}": b"x" for n in range(120)}})
    place = f"s3://{bucket}/"
    time.sleep(2)
    code, said = typed(mover, line.format(place=place), "scratch", "expire", place, "--older-than", "1s")
    assert "Type" in said and (code == 0) == goes, said
    assert len(stored(gateway, bucket)) == (0 if goes else 121)
