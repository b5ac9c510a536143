"""What somebody does meanwhile, other names of one place, and what is not what it seems: nothing goes that must not."""

import os
import pathlib
import pty
import subprocess
import time

import pytest

import ceph
import lying
import moves
from test_scratch import OLD, OLD_SECONDS, items, store

PROMPT = b"to delete them: "


def at_the_prompt(mover, words, meanwhile):
    """Types `yes` where it is asked for, after `meanwhile`. Answers how it ended and what it said."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(mover.words(words), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said, is_asked = b"", False
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        said += piece
        if not is_asked and said.endswith(PROMPT):
            is_asked = True
            meanwhile()
            os.write(ours, b"yes\n")
    os.close(ours)
    assert is_asked, said
    return process.wait(60), said.decode()


def put_local(place: pathlib.Path, contents: dict[str, bytes]):
    for key, content in contents.items():
        (place / key).parent.mkdir(parents=True, exist_ok=True)
        (place / key).write_bytes(content)


@pytest.fixture
def disk(tmp_path):
    """Two old stores of a user, and something of hers elsewhere."""
    place = tmp_path / "scratch"
    put_local(place, {**store("zoe/a.zarr"), **store("zoe/b.zarr")})
    put_local(tmp_path / "home/zoe", {**store("a.zarr"), **store("b.zarr"), "thesis.tex": b"years"})
    time.sleep(OLD_SECONDS)
    return place


def reasons(report):
    return {name: (item["outcome"], item.get("reason")) for name, item in items(report).items()}


# Expiring.


def test_what_is_written_at_the_prompt_stays(mover, disk):
    def meanwhile():
        put_local(disk, {"zoe/a.zarr/sst/c/new": b"newer"})

    code, said = at_the_prompt(mover, ["scratch", "expire", disk, *OLD], meanwhile)
    assert code == 3 and "deleted 1 store" in said and "written to meanwhile" in said, said
    assert moves.digests(disk / "zoe/a.zarr").keys() == {name.removeprefix("zoe/a.zarr/") for name in [*store("zoe/a.zarr"), "zoe/a.zarr/sst/c/new"]}
    assert not (disk / "zoe/b.zarr").exists()


def test_what_is_written_to_a_bucket_at_the_prompt_stays(mover, gateway, bucket):
    moves.put_all(gateway, bucket, {**store("zoe/a.zarr"), **store("zoe/b.zarr")})
    time.sleep(OLD_SECONDS)

    def meanwhile():
        gateway.client().put_object(Bucket=bucket, Key="zoe/a.zarr/sst/c/1", Body=b"newer")

    code, said = at_the_prompt(mover, ["scratch", "expire", f"s3://{bucket}", *OLD], meanwhile)
    assert code == 3 and "deleted 1 store" in said, said
    assert set(ceph.objects(gateway, bucket)) == set(store("zoe/a.zarr"))


@pytest.mark.parametrize("verb", [["scratch", "expire"], ["rm"]])
def test_a_folder_that_became_a_link_leads_nowhere(mover, disk, tmp_path, verb):
    home = moves.digests(tmp_path / "home/zoe")

    def meanwhile():
        (disk / "zoe").rename(disk / "zoe.old")
        (disk / "zoe").symlink_to(tmp_path / "home/zoe")

    words = [*verb, disk, *OLD] if verb[0] == "scratch" else [*verb, disk / "zoe/a.zarr"]
    code, said = at_the_prompt(mover, words, meanwhile)
    assert code == 3 and moves.digests(tmp_path / "home/zoe") == home, said
    assert (disk / "zoe.old/a.zarr/zarr.json").exists(), said


def test_a_place_that_is_a_link_is_not_followed(mover, disk, tmp_path):
    links = {"s.zarr": "zoe/a.zarr", "l": "zoe"}
    for link, to in links.items():
        (disk / link).symlink_to(to)
    put_local(disk, {"zoe/.frazil-clock-1": b"", "zoe/a.zarr/.frazil-clock-1": b""})
    os.utime(disk / "zoe/.frazil-clock-1", (1e9, 1e9))
    os.utime(disk / "zoe/a.zarr/.frazil-clock-1", (1e9, 1e9))
    time.sleep(OLD_SECONDS)
    before = moves.digests(disk)
    for words in (["scratch", "expire", *OLD, "--yes"], ["scratch", "keep", "--to", tmp_path / "kept"], ["gc", *OLD, "--yes"]):
        for link in links:
            for end in ("", "/"):
                answer = mover(*words, f"{disk / link}{end}", code=1)
                assert "is not followed" in answer.err and moves.digests(disk) == before and (disk / link).is_symlink(), (words, answer)
    assert not (tmp_path / "kept").exists()


@pytest.fixture(params=["the same file system", "another one"])
def mounted(request, disk, tmp_path):
    """A folder of others within an old store."""
    inner = disk / "zoe/a.zarr/mnt"
    inner.mkdir()
    (tmp_path / "others").mkdir()
    how = ["mount", "--bind", tmp_path / "others", inner] if request.param == "the same file system" else ["mount", "-t", "tmpfs", "none", inner]
    if subprocess.run(how, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    (inner / "zarr.json").write_bytes(b"{}")
    yield inner
    subprocess.run(["umount", inner], check=True)


@pytest.mark.parametrize("verb", [["scratch", "expire"], ["rm", "-r"], ["scratch", "keep"]])
def test_what_is_mounted_in_a_store_is_not_emptied(mover, disk, mounted, verb, tmp_path):
    match verb:
        case ["scratch", "expire"]:
            time.sleep(OLD_SECONDS)
            report = mover(*verb, disk, *OLD, "--yes", "--json", code=0).report
            assert reasons(report) == {"zoe/a.zarr": ("stays", "not-known"), "zoe/b.zarr": ("goes", None)}
        case ["scratch", "keep"]:
            assert "mounted" in mover(*verb, disk / "zoe/a.zarr", "--to", tmp_path / "kept", code=1).err
        case _:
            assert "mounted" in mover("rm", disk / "zoe/a.zarr", "--yes", code=1).err
    assert (mounted / "zarr.json").exists() and (disk / "zoe/a.zarr/sst/c/0").exists()


def test_what_was_copied_with_its_old_date_is_young(mover, tmp_path):
    place = tmp_path / "scratch"
    put_local(place, store("zoe/a.zarr"))
    for path in place.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert reasons(mover("scratch", "expire", place, "--older-than", "1d", "--yes", "--json", code=0).report) == {"zoe/a.zarr": ("stays", "young")}
    assert (place / "zoe/a.zarr/zarr.json").exists()


@pytest.mark.parametrize("odd", ["thesis.tex", "runs/2020", "a.zarr/notes.md"])
def test_what_only_looks_like_a_store_stays(mover, gateway, bucket, odd):
    contents = {**store("zoe/a.zarr"), "zoe/zarr.json": b'{"zarr_format":3,"node_type":"group"}', f"zoe/{odd}": b"years"}
    moves.put_all(gateway, bucket, contents)
    time.sleep(OLD_SECONDS)
    report = mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", "--json", code=0).report
    assert reasons(report) == {"zoe": ("stays", "not-known")} and odd in report["items"][0]["message"]
    assert set(ceph.objects(gateway, bucket)) == set(contents)


def test_an_upload_that_was_begun_long_ago_and_goes_on_keeps_its_store(mover, gateway, bucket):
    moves.put_all(gateway, bucket, {**store("zoe/a.zarr"), **store("zoe/b.zarr")})
    client = gateway.client()
    uploads = [client.create_multipart_upload(Bucket=bucket, Key=f"zoe/{name}.zarr/sst/c/9")["UploadId"] for name in "ab"]
    time.sleep(OLD_SECONDS)
    client.upload_part(Bucket=bucket, Key="zoe/a.zarr/sst/c/9", UploadId=uploads[0], PartNumber=1, Body=b"x" * 100)
    report = mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", "--json", code=0).report
    assert reasons(report) == {"zoe/a.zarr": ("stays", "written-to"), "zoe/b.zarr": ("goes", None)}


def test_where_uploads_are_not_told_nothing_is_known(mover, gateway, bucket, tmp_path):
    moves.put_all(gateway, bucket, store("zoe/a.zarr"))
    time.sleep(OLD_SECONDS)
    keys = gateway.assumed(f"narrow-{bucket}", *ceph.may_use(bucket, "zoe/"))
    (tmp_path / "narrow").mkdir()
    narrow = moves.Mover(tmp_path / "narrow", gateway, keys["AccessKeyId"], keys["SecretAccessKey"], {"AWS_SESSION_TOKEN": keys["SessionToken"]})
    report = narrow("scratch", "expire", f"s3://{bucket}/zoe", *OLD, "--yes", "--json", code=0).report
    assert reasons(report) == {"a.zarr": ("stays", "not-known")} and "upload" in report["items"][0]["message"]
    assert set(ceph.objects(gateway, bucket)) == set(store("zoe/a.zarr"))


def test_the_mark_of_a_folder_does_not_stop_it(mover, gateway, bucket):
    moves.put_all(gateway, bucket, {**store("zoe/a.zarr"), "zoe/a.zarr/": b"", "zoe/a.zarr/sst/": b""})
    time.sleep(OLD_SECONDS)
    report = mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", "--json", code=0).report
    assert report["totals"]["n_deleted"] == 1 and ceph.objects(gateway, bucket) == {}


def test_one_that_failed_is_not_counted(mover, gateway, bucket, seed):
    moves.put_all(gateway, bucket, {**store("zoe/a.zarr"), **store("zoe/b.zarr")})
    time.sleep(OLD_SECONDS)
    with lying.lying(gateway) as liar:
        def refuse(asked, when):
            if when == "before" and asked.kind == "delete":
                liar.watch = None
                gateway.client().put_object(Bucket=bucket, Key="zoe/b.zarr/sst/c/1", Body=b"newer")

        liar.watch, mover.address = refuse, liar.address
        report = mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", "--json", code=3).report
    assert report["totals"]["n_deleted"] == 1 and report["totals"]["n_left"] == 1
    assert set(ceph.objects(gateway, bucket)) == set(store("zoe/b.zarr"))


def test_files_in_no_store_are_not_told_to_go_by_age(mover, gateway, bucket):
    moves.put_all(gateway, bucket, {**store("zoe/a.zarr"), "zoe/notes.txt": b"x"})
    time.sleep(OLD_SECONDS)
    listed = items(mover("scratch", "list", f"s3://{bucket}", *OLD, "--json", code=0).report)
    assert listed["zoe/a.zarr"]["goes_from"] and listed["zoe"]["goes_from"] is None and listed["zoe"]["n_staying"] == 1


# Keeping.


@pytest.fixture
def two_names(mover, gateway, bucket):
    """Two profiles for one server."""
    port, mover.address = gateway.rpartition(":")[2], ""
    (mover.home / ".aws").mkdir()
    (mover.home / ".aws/config").write_text("".join(f"[profile {name}]\nendpoint_url = http://{host}:{port}\nregion = us-east-1\n" for name, host in (("one", "127.0.0.1"), ("two", "localhost"))))
    (mover.home / ".aws/credentials").write_text("".join(f"[{name}]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = {ceph.SECRET}\n" for name in ("one", "two")))
    moves.put_all(gateway, bucket, {**store("zoe/a.zarr"), "zoe/notes.txt": b"x"})
    return bucket


@pytest.mark.parametrize("name, to", [("zoe/a.zarr", "zoe/a.zarr"), ("zoe/a.zarr", "zoe/"), ("zoe/notes.txt", "zoe/notes.txt"), ("zoe/notes.txt", "zoe/")])
def test_a_place_is_not_kept_at_itself_under_another_name(mover, gateway, two_names, name, to):
    before = ceph.objects(gateway, two_names)
    answer = mover("scratch", "keep", f"one:{two_names}/{name}", "--to", f"two:{two_names}/{to}", code=1)
    assert ceph.objects(gateway, two_names) == before, answer


@pytest.mark.parametrize("first, second", [("one", "two"), ("one", "one")])
def test_what_is_kept_above_itself_is_no_copy_of_its_own_files(mover, gateway, two_names, first, second):
    """Each file is there already, as another file of what would go."""
    twins = {"a": b"same", "sub/a": b"same", "b": b"other", "sub/b": b"other"}
    moves.put_all(gateway, two_names, {f"k/{above}{name}": content for above in ("", "sub/") for name, content in twins.items()})
    before = ceph.objects(gateway, two_names)
    answer = mover("scratch", "keep", f"{first}:{two_names}/k/sub", "--to", f"{second}:{two_names}/k", code=1)
    assert ceph.objects(gateway, two_names) == before, answer


def test_what_was_kept_by_a_run_that_was_killed_is_kept_by_the_next(mover, gateway, two_names):
    archive = ceph.fresh_bucket(gateway)
    moves.put_all(gateway, archive, store("zoe/a.zarr"))
    mover("scratch", "keep", f"one:{two_names}/zoe/a.zarr", "--to", f"two:{archive}/zoe/a.zarr", code=0)
    assert set(ceph.objects(gateway, archive)) == set(store("zoe/a.zarr")) and set(ceph.objects(gateway, two_names)) == {"zoe/notes.txt"}
    ceph.discard(gateway, archive)


def test_a_mount_is_no_other_place(mover, disk, tmp_path):
    other = tmp_path / "mount"
    other.mkdir()
    if subprocess.run(["mount", "--bind", disk, other], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        before = moves.digests(disk)
        mover("scratch", "keep", disk / "zoe/a.zarr", "--to", other / "zoe/a.zarr", code=1)
        assert moves.digests(disk) == before
    finally:
        subprocess.run(["umount", other], check=True)


def test_a_rule_of_the_new_place_counts_for_what_is_there_already(mover, gateway, bucket):
    archive = ceph.fresh_bucket(gateway)
    moves.put_all(gateway, bucket, store("a.zarr"))
    moves.put_all(gateway, archive, store("a.zarr"))
    mover("scratch", "rule", f"s3://{archive}", "--days", "1", "--yes", code=0)
    assert "rule" in mover("scratch", "keep", f"s3://{bucket}/a.zarr", "--to", f"s3://{archive}/a.zarr", code=1).err
    assert set(ceph.objects(gateway, bucket)) == set(store("a.zarr"))
    ceph.discard(gateway, archive)
