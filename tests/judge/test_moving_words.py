"""What moving commands say and do where a name is odd: slashes at the end of links, files and keys; a file where a folder must
be; names that a place does not take; and that no name moves the cursor of a terminal.

What lies where is judged by hashlib and boto3.
"""

import os
import re
import shlex

import pytest

from lying import lying
from moves import digests, make_tree, put_all, stored

KIB = 1 << 10
# Colours, a window's title, an end of line, a carriage return, a control of eight bits, another direction of reading.
OBEYED = ["a\x1b[31mred", "\x1b]0;title\x07", "line\nbreak", "over\rwrite", "eight\x9b31m", "turned\u202ecn."]


def obeyed_by_a_terminal(text: str) -> list[str]:
    """The letters of an answer that a terminal would obey, or that turn what is read."""
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


# Slashes at the end.


@pytest.fixture
def linked(tmp_path):
    """A folder, a link to it, a link to a file, and one that leads nowhere."""
    make_tree(tmp_path / "real", 1, {"f": 10, "sub/g": 20})
    for link, to in {"ln": "real", "to-file": "real/f", "nowhere": "absent"}.items():
        os.symlink(to, tmp_path / link)
    return tmp_path


@pytest.mark.parametrize("words", [["ln/"], ["ln/."], ["ln//"], ["nowhere/"], ["to-file/"], ["real/sub", "ln/"]])
def test_rm_of_a_link_with_a_slash_deletes_nothing(mover, linked, words):
    before = digests(linked)
    answer = mover("rm", *words, "--yes", cwd=linked, code=1)
    assert digests(linked) == before, answer
    assert "is a link" in answer.err and "nothing was deleted" in answer.err, answer
    assert mover("rm", *words, "-n", cwd=linked, code=1).report is None


def test_rm_of_a_link_says_how_to_delete_it_or_what_it_leads_to(mover, linked):
    answer = mover("rm", f"{linked}/ln/", "--yes", code=1)
    link, folder = re.search("`frazil rm (.*)` removes the link alone; for what it leads to, name `(.*)`", answer.err).groups()
    assert (link, folder) == (f"{linked}/ln", str(linked / "real"))
    mover("rm", link, "--yes", code=0)
    assert not os.path.lexists(link) and (linked / "real/sub/g").exists()
    mover("rm", folder, "--yes", code=0)
    assert not (linked / "real").exists()


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "ü;x"])
def test_a_command_that_is_shown_can_be_pasted(mover, tmp_path, name):
    (tmp_path / "real").mkdir()
    (tmp_path / name).symlink_to("real")
    answer = mover("rm", f"{name}/", "--yes", cwd=tmp_path, code=1)
    shown = re.search("`frazil (rm .*)` removes the link alone", answer.err).group(1)
    mover(*shlex.split(shown), "--yes", cwd=tmp_path, code=0)
    assert not os.path.lexists(tmp_path / name) and (tmp_path / "real").exists()


@pytest.mark.parametrize("verb", ["rm", "cp"])
def test_a_file_with_a_slash_is_no_folder(mover, tmp_path, verb):
    make_tree(tmp_path, 1, {"file": 10})
    words = {"rm": ["rm", "file/", "--yes"], "cp": ["cp", "file/", "other"]}[verb]
    answer = mover(*words, cwd=tmp_path, code=1)
    assert (tmp_path / "file").exists() and not (tmp_path / "other").exists()
    assert "is a file" in answer.err and "`file`" in answer.err, answer


# Keys that end with a slash.


def keys(gateway, bucket) -> list[str]:
    return sorted(stored(gateway, bucket))


@pytest.mark.parametrize("content", [b"", b"15 bytes of text"])
@pytest.mark.parametrize("place", ["only/", "only", "onl*", "only/*/"])
def test_rm_deletes_the_object_that_a_folder_is_marked_by(mover, gateway, bucket, content, place):
    """Whatever it says that it deleted is gone, and nothing else."""
    put_all(gateway, bucket, {"only/": content, "other/": b"", "onlyx": b"1", "top/": b""})
    before = keys(gateway, bucket)
    answer = mover("rm", f"s3://{bucket}/{place}", "--yes", "--max-objects", "5", "--json")
    gone = {"only/": ["only/"], "only": ["only/"], "onl*": ["only/", "onlyx"], "only/*/": []}[place]
    assert keys(gateway, bucket) == [key for key in before if key not in gone], answer
    totals = answer.report["totals"]
    if gone:
        sizes = {"only/": len(content), "onlyx": 1}
        assert (answer.code, totals["n_objects"], totals["n_bytes"], totals["n_left"]) == (0, len(gone), sum(sizes[key] for key in gone), 0), answer
    else:
        assert answer.code == 1 and answer.report["error"]["code"] == "transfer.nothing", answer


@pytest.mark.parametrize("content", [b"", b"15 bytes of text"])
@pytest.mark.parametrize("place", ["dir", "dir/", "di*"])
def test_rm_counts_the_object_that_a_folder_is_marked_by(mover, gateway, bucket, content, place):
    put_all(gateway, bucket, {"dir/": content, "dir/x": b"x", "dir/sub/": b"", "dir/sub/y": b"yy", "dirs": b"1"})
    sizes = {"dir/": len(content), "dir/x": 1, "dir/sub/": 0, "dir/sub/y": 2, **({"dirs": 1} if place == "di*" else {})}
    planned = mover("rm", f"s3://{bucket}/{place}", "-n", "--json", code=0).report
    assert (planned["totals"]["n_objects"], planned["totals"]["n_bytes"]) == (len(sizes), sum(sizes.values())), planned
    assert sum(item["n_objects"] for item in planned["items"]) == len(sizes)
    assert sum(item["size_bytes"] for item in planned["items"]) == sum(sizes.values())
    mover("rm", f"s3://{bucket}/{place}", "--yes", "--max-objects", "9", code=0)
    assert keys(gateway, bucket) == ([] if place == "di*" else ["dirs"])


def test_a_folder_with_nothing_but_its_mark_is_an_empty_one(mover, gateway, bucket, tmp_path):
    put_all(gateway, bucket, {"only/": b"", "file": b"1"})
    answer = mover("ls", f"s3://{bucket}/only/", "--json", code=0)
    assert answer.report["items"] == []
    assert [item["kind"] for item in mover("ls", f"s3://{bucket}/only", "--json", code=0).report["items"]] == ["folder"]
    mover("cp", f"s3://{bucket}/only/", tmp_path / "down", code=0)
    assert digests(tmp_path / "down") == {}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/keep").write_bytes(b"1")
    mover("sync", f"s3://{bucket}/only/", tmp_path / "full", "--delete", "--yes", code=1)
    assert list(digests(tmp_path / "full")) == ["keep"]
    for absent in ("absent/", "file/"):
        assert "there is nothing" in mover("ls", f"s3://{bucket}/{absent}", code=1).err


# What is in the way.


def test_a_folder_where_a_file_must_be_is_named_as_the_cause(mover, tmp_path):
    make_tree(tmp_path / "src", 1, {"a": 10, "sub/b": 10, "fine": 10})
    make_tree(tmp_path / "dest", 2, {"a/x/keep": 5, "sub": 7})
    before = digests(tmp_path / "dest")
    answer = mover("cp", tmp_path / "src", tmp_path / "dest", "--overwrite", code=3)
    assert re.search("not moved: a: .*a folder has this name", answer.out) and re.search("not moved: sub/b: .*`sub` is a file", answer.out), answer
    assert "type the same command" not in answer.err and "move what is in the way" in answer.err, answer
    there = digests(tmp_path / "dest")
    assert there == {**before, "fine": there["fine"]}


def test_an_object_and_another_below_it_cannot_both_be_files(mover, gateway, bucket, tmp_path):
    put_all(gateway, bucket, {"s/a": b"1", "s/a/b": b"22", "s/c": b"333"})
    answer = mover("cp", f"s3://{bucket}/s", tmp_path / "d", code=3)
    assert re.search("`a` is a file|a folder has this name", answer.err) and "move what is in the way" in answer.err, answer
    assert len(digests(tmp_path / "d")) == 2


def test_a_link_where_a_folder_must_be_is_called_one(mover, tmp_path):
    make_tree(tmp_path / "src", 1, {"sub/b": 10})
    (tmp_path / "outside").mkdir()
    (tmp_path / "dest").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "dest/sub")
    answer = mover("cp", tmp_path / "src", tmp_path / "dest")
    assert answer.code in (1, 3) and "`sub` is a link" in answer.err and digests(tmp_path / "outside") == {}, answer


# What a place does not take.


@pytest.mark.parametrize("stage", ["-n", "all"])
def test_an_object_with_the_name_of_unfinished_files_is_named(mover, gateway, bucket, tmp_path, stage):
    """It would be cleared away with them. In a bucket it is an object like others."""
    put_all(gateway, bucket, {"s/.frazil/staging/x": b"1", "s/.frazil/other": b"22", "s/ok": b"333"})
    answer = mover("cp", f"s3://{bucket}/s", tmp_path / "d", "--json", *(["-n"] if stage == "-n" else []), code=3)
    passed = [item["name"] for item in answer.report["items"] if item["outcome"] == "passed-over"]
    assert passed == [".frazil/staging/x"], answer
    assert stage == "-n" or set(digests(tmp_path / "d")) == {".frazil/other", "ok"}
    mover("cp", f"s3://{bucket}/s", f"s3://{bucket}/again", code=0)
    assert stored(gateway, bucket, "again/") == stored(gateway, bucket, "s/")


@pytest.mark.parametrize("dest", ["d/", "d"])
def test_an_object_by_itself_that_can_be_no_file_is_named(mover, gateway, bucket, tmp_path, dest):
    put_all(gateway, bucket, {"s/..": b"1"})
    answer = mover("cp", f"s3://{bucket}/s/..", f"{tmp_path}/{dest}")
    if dest == "d":
        assert answer.code == 0 and set(digests(tmp_path)) == {"d"}
        return
    assert answer.code == 1 and "passed over: ..: " in answer.text and "everything else" not in answer.text, answer


def test_what_was_not_done_is_not_said_to_be(mover, tmp_path):
    """Of links, which are passed over."""
    make_tree(tmp_path / "some", 1, {"f": 10})
    (tmp_path / "none").mkdir()
    for folder in ("some", "none"):
        os.symlink("f", tmp_path / folder / "link")
    for words, code, said in [
        (["some", "d", "-n"], 3, "everything else would be there"),
        (["some", "d"], 3, "everything else is there"),
        (["none", "e", "-n"], 1, ""),
        (["none", "e"], 1, ""),
    ]:
        answer = mover("cp", *words, cwd=tmp_path, code=code)
        assert said in answer.err and "was copied" not in answer.err and "--exclude" in answer.err, answer
        assert said or "everything else" not in answer.err, answer


def test_a_refused_sync_names_a_word_that_sync_has(mover, tmp_path):
    zarr = '{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    for store, extra in (("one", []), ("two", ["c/1"])):
        for name in ["zarr.json", "c/0", *extra]:
            path = tmp_path / store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(zarr if name == "zarr.json" else {"one": "1", "two": "22"}[store])
    answer = mover("sync", "one", "two", cwd=tmp_path)
    assert answer.code in (1, 3), answer
    words = re.findall("`(--[a-z-]+)`", answer.err)
    assert words and "--overwrite" not in answer.err, answer
    mover("sync", "one", "two", *words, "--yes", cwd=tmp_path, code=0)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


# What arrives, and what is read.


def test_bytes_that_were_damaged_on_the_way_here_are_called_that(mover, gateway, bucket, tmp_path):
    put_all(gateway, bucket, {"s/file": bytes(100 * KIB)})
    with lying(gateway, "bit flipped") as liar:
        liar.plan.first, liar.plan.n = 0, 1 << 30
        mover.address = liar.address
        answer = mover("cp", f"s3://{bucket}/s/file", tmp_path / "file", code=5)
        assert liar.n_lies, answer
    assert "arrived damaged" in answer.err and "than were sent" not in answer.err and "in place of" not in answer.err, answer
    assert "fetched once more" in answer.err and not (tmp_path / "file").exists(), answer


def test_a_file_that_holds_more_than_its_size_says_is_not_sent_cut(mover, gateway, bucket):
    """Files of /proc have a size of 0."""
    answer = mover("cp", "/proc/self/status", f"s3://{bucket}/status", "--json", code=1)
    assert answer.report["error"]["code"] == "store.changed" and keys(gateway, bucket) == [], answer


# Names on a terminal.


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_no_name_moves_the_cursor(mover, gateway, bucket, tmp_path, kind):
    """What `ls` escapes is escaped everywhere, and the words of one name are told alike."""
    here = tmp_path / "here"
    for name in OBEYED:
        path = here / "deep" / name / "file"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
        (here / "deep" / name / "other").write_bytes(b"2")
        (here / f"{name} linked").symlink_to("deep")
    place, above = here / "deep", here
    if kind == "bucket":
        put_all(gateway, bucket, {f"deep/{name}/{file}": b"1" for name in OBEYED for file in ("file", "other", "..")})
        place, above = f"s3://{bucket}/deep", f"s3://{bucket}/deep"
    (tmp_path / "in the way").mkdir()
    for name in OBEYED:
        (tmp_path / "in the way" / name).write_bytes(b"a file, and no folder")
        (tmp_path / "differs" / name).mkdir(parents=True)
        (tmp_path / "differs" / name / "file").write_bytes(b"something else")
    first = f"{place}/{OBEYED[0]}"
    rows = [
        ["ls", place], ["ls", place, "-r"], ["cp", place, tmp_path / "new", "-n"], ["cp", above, tmp_path / "new"], ["cp", place, tmp_path / "new2"],
        ["cp", place, tmp_path / "differs", "-n"], ["cp", place, tmp_path / "differs"], ["cp", place, tmp_path / "in the way", "--overwrite"],
        ["cp", f"{first}/file", tmp_path / "x\x1b[31m", "-n"], ["cp", f"{first}/file", tmp_path / "y\x1b[31m"], ["sync", place, tmp_path / "differs", "-n", "--delete"],
        ["sync", tmp_path / "differs", place, "--delete", "-n"], ["check", place, tmp_path / "in the way"], ["check", above, tmp_path / "differs"],
        ["du", place, "--by", "folder"], ["rm", first, "-n"], ["rm", f"{place}/*", "-n"], ["rm", first, "--yes"],
    ]
    for words in rows:
        answer = mover(*words)
        assert answer.text.strip(), answer
        assert not obeyed_by_a_terminal(answer.text), (words, answer)
        assert not any(line in ("break", "write") or line.startswith("break") for line in answer.text.splitlines()), answer
    for words in (["cp", place, tmp_path / "new3", "-n"], ["rm", f"{place}/{OBEYED[1]}", "-n"]):
        assert "\\u{1b}" in mover(*words, code=None).out, words
