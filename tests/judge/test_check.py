"""`check` tells every difference between two places by name, and `verify --manifest` every file that is not what its sums say.

rclone, sha256sum and md5sum are the witnesses; both sides are on disks, in buckets of a real Ceph and on the double of Google. Nothing
is written, and size and time prove nothing.
"""

import json
import os
import random
import shutil
import subprocess

import pytest

import ceph
import clients
import google
from homes import Home
from moves import digests, make_tree, put_tree, stored

SIZES = {"a.nc": 100_000, "sub/b.nc": 1, "sub/empty": 0, "sub/deep/c d.txt": 300, "z.zarr/zarr.json": 50, "z.zarr/sst/c/0": 70_000, "z.zarr/sst/c/1": 70_000}
LARGE_BYTES, PART_BYTES = 22 << 20, (7 << 20) + 77
N_MUTATIONS, SOAK_N_MUTATIONS = 40, 200
WORDS = {"+": {"missing"}, "-": {"extra"}, "*": {"size", "bytes"}}


@pytest.fixture
def other(gateway):
    """A second bucket."""
    name = ceph.fresh_bucket(gateway)
    yield name
    ceph.discard(gateway, name)


@pytest.fixture
def home(gateway, tmp_path):
    remote = f"[osn]\ntype = s3\nprovider = Ceph\nendpoint = {gateway}\naccess_key_id = {ceph.KEY}\nsecret_access_key = {ceph.SECRET}\n"
    return Home(tmp_path / "home", {".config/rclone/rclone.conf": remote})


@pytest.fixture
def rclone(gateway):
    config = clients.rclone_s3(str(gateway), ceph.KEY, ceph.SECRET, name="osn")

    def check(a, b, *words):
        """What `rclone check` says: the names by their sign."""
        answer = clients.rclone("check", a, b, "--combined", "-", *words, config=config, check=False)
        found = {}
        for line in answer.stdout.splitlines():
            found.setdefault(line[0], set()).add(line[2:])
        return found

    return check


def told(report) -> dict:
    return {(item["name"], item["outcome"]) for item in report["items"]}


def mutate(folder, choices) -> None:
    """One change that a copy may suffer, without a trace in sizes or times where that is possible."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    path = folder / choices.choice([name for name in names if (folder / name).stat().st_size > 0])
    kind = choices.choice(["flip", "flip", "swap", "cut", "grow", "remove", "add"])
    before = path.stat()
    content = bytearray(path.read_bytes())
    if kind == "flip":
        content[choices.randrange(len(content))] ^= 1 << choices.randrange(8)
    elif kind == "swap":
        content = bytearray(choices.randbytes(len(content)))
    elif kind == "cut":
        content = content[:-1]
    elif kind == "grow":
        content.append(0)
    if kind == "remove":
        path.unlink()
    elif kind == "add":
        (path.parent / "added").write_bytes(b"x")
    else:
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("sides", ["folder folder", "folder bucket", "bucket folder", "bucket bucket"])
def test_every_difference_is_told_by_name_as_rclone_tells_it(home, rclone, gateway, bucket, other, tmp_path, seed, soak, sides):
    choices = random.Random(f"{seed} {sides}")
    a, b = tmp_path / "a", tmp_path / "b"
    make_tree(a, seed, SIZES)
    kind_a, kind_b = sides.split()
    for number in range((SOAK_N_MUTATIONS if soak else N_MUTATIONS) // 4):
        shutil.rmtree(b, ignore_errors=True)
        shutil.copytree(a, b)
        for _ in range(choices.randrange(0, 4)):
            mutate(b, choices)
        places = []
        for kind, folder, name in ((kind_a, a, bucket), (kind_b, b, other)):
            if kind == "bucket":
                ceph.remove(gateway, name, "t/")
                put_tree(gateway, name, "t/", folder)
            places.append(str(folder) if kind == "folder" else f"osn:{name}/t")
        answer = home.frazil("check", *places, "--json", code=None)
        wanted = rclone(*places, "--download")
        found = told(answer.report)
        for sign, words in WORDS.items():
            assert {name for name, outcome in found if outcome in words} == wanted.get(sign, set()), (number, answer.report, wanted)
        assert answer.report["totals"]["n_same"] == len(wanted.get("=", ()))
        assert answer.code == (1 if found else 0)
        # Said to people, the same.
        text = home.frazil("check", *places, code=None)
        assert text.code == answer.code and all(name in text.out for name, _ in found if not name.startswith("z.zarr/"))


def test_what_was_sent_in_parts_is_compared_whatever_their_size(home, gateway, bucket, other, tmp_path, seed):
    """Parts of no whole MiB on one side and one object on the other have no digest in common: both are read."""
    make_tree(tmp_path / "a", seed, {"large": LARGE_BYTES})
    content = bytearray((tmp_path / "a/large").read_bytes())

    def put_in_parts(name, key, content):
        client = gateway.client()
        upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(content), PART_BYTES), 1):
            tag = client.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=number, Body=bytes(content[start : start + PART_BYTES]))["ETag"]
            parts.append({"ETag": tag, "PartNumber": number})
        client.complete_multipart_upload(Bucket=name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})

    put_tree(gateway, bucket, "t/", tmp_path / "a")
    put_in_parts(other, "t/large", content)
    for places in ([tmp_path / "a", f"osn:{other}/t"], [f"osn:{bucket}/t", f"osn:{other}/t"]):
        report = home.frazil("check", *places, "--json").report
        assert report["totals"]["n_same"] == report["totals"]["n_read"] == 1
    assert home.frazil("check", tmp_path / "a", f"osn:{bucket}/t", "--json").report["totals"]["n_read"] == 0, "an MD5 is enough"
    assert home.frazil("check", tmp_path / "a", f"osn:{bucket}/t", "--read", "--json").report["totals"]["n_read"] == 1
    content[-1] ^= 1
    put_in_parts(other, "t/large", content)
    for places in ([tmp_path / "a", f"osn:{other}/t"], [f"osn:{bucket}/t", f"osn:{other}/t"]):
        assert told(home.frazil("check", *places, "--json", code=1).report) == {("large", "bytes")}


def test_buckets_of_two_clouds_are_compared(home, gateway, bucket, tmp_path, seed):
    make_tree(tmp_path / "a", seed, SIZES)
    put_tree(gateway, bucket, "t/", tmp_path / "a")
    with google.serving() as double:
        variables = {"STORAGE_EMULATOR_HOST": double.address, "CLOUDSDK_AUTH_ACCESS_TOKEN": double.sign_in.token()}
        name = double.bucket()
        for path in (tmp_path / "a").rglob("*"):
            if path.is_file():
                double.put(name, f"t/{path.relative_to(tmp_path / 'a')}", path.read_bytes())
        words = ["check", f"osn:{bucket}/t", f"gs://{name}/t", "--json"]
        assert home.frazil(*words, **variables).report["totals"]["n_same"] == len(SIZES)
        double.put(name, "t/a.nc", b"x" * SIZES["a.nc"])
        double.put(name, "t/more", b"x")
        assert told(home.frazil(*words, code=1, **variables).report) == {("a.nc", "bytes"), ("more", "extra")}


def test_a_store_is_told_of_as_one_thing(home, gateway, bucket, tmp_path, seed):
    make_tree(tmp_path / "a", seed, {**SIZES, "y.zarr/zarr.json": 10, "y.zarr/c": 10})
    put_tree(gateway, bucket, "t/", tmp_path / "a")
    gateway.client().put_object(Bucket=bucket, Key="t/z.zarr/sst/c/0", Body=b"x" * 70_000)
    gateway.client().delete_object(Bucket=bucket, Key="t/z.zarr/sst/c/1")
    ceph.remove(gateway, bucket, "t/y.zarr/")
    answer = home.frazil("check", tmp_path / "a", f"osn:{bucket}/t", code=1)
    lines = answer.out.splitlines()
    assert [line.split(":")[0].strip() + line.split(":")[1] for line in lines if "(store)" in line] == ["missing y.zarr (store)", "differs z.zarr (store)"], answer
    report = home.frazil("check", tmp_path / "a", f"osn:{bucket}/t", "--json", code=1).report
    assert {(item["name"], item["store"]) for item in report["items"]} == {("y.zarr/zarr.json", "y.zarr"), ("y.zarr/c", "y.zarr"), ("z.zarr/sst/c/0", "z.zarr"), ("z.zarr/sst/c/1", "z.zarr")}
    assert report["totals"]["n_stores"] == 2
    # The same of a store by itself, and of one that a lock is in.
    (tmp_path / "a/y.zarr/.frazil").mkdir()
    (tmp_path / "a/y.zarr/.frazil/lock").touch()
    home.frazil("cp", tmp_path / "a/y.zarr", f"osn:{bucket}/y.zarr")
    home.frazil("check", tmp_path / "a/y.zarr", f"osn:{bucket}/y.zarr")


def test_words_of_check(home, gateway, bucket, tmp_path, seed):
    make_tree(tmp_path / "a", seed, SIZES)
    before = digests(tmp_path)
    put_tree(gateway, bucket, "t/", tmp_path / "a")
    gateway.client().put_object(Bucket=bucket, Key="t/more.nc", Body=b"x")
    there = ceph.objects(gateway, bucket)
    a, b = str(tmp_path / "a"), f"osn:{bucket}/t"
    assert told(home.frazil("check", a, b, "--json", code=1).report) == {("more.nc", "extra")}
    home.frazil("check", a, b, "--one-way")
    home.frazil("check", a, b, "--exclude", "more.nc")
    home.frazil("check", a, b, "--include", "sub")
    home.frazil("check", f"{a}/a.nc", f"{b}/a.nc")
    home.frazil("check", f"{a}/a.nc", f"{b}/")
    assert told(home.frazil("check", f"{a}/a.nc", f"{b}/more.nc", "--json", code=1).report) == {("", "size")}
    home.frazil("check", a, f"osn:{bucket}/nowhere", code=1)
    home.frazil("check", tmp_path / "nowhere", b, code=1)
    (tmp_path / "a/link").symlink_to("a.nc")
    linked = home.frazil("check", a, b, "--one-way", "--json", code=3).report
    assert told(linked) == {("link", "not-compared")} and linked["error"]["code"] == "check.not-compared"
    home.frazil("check", a, b, "--one-way", "--exclude", "link")
    (tmp_path / "a/link").unlink()
    assert {name: sum_ for name, sum_ in digests(tmp_path).items() if not name.startswith("home")} == {name: sum_ for name, sum_ in before.items() if not name.startswith("home")}
    assert ceph.objects(gateway, bucket) == there
    # Whoever may list but not read is told so, and nothing counts as the same but what has no bytes.
    keys = gateway.assumed(f"lists-{bucket}", {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"]})
    words = {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"], "AWS_SESSION_TOKEN": keys["SessionToken"], "AWS_ENDPOINT_URL": gateway}
    refused = home.frazil("check", f"s3://{bucket}/t/", f"s3://{bucket}/t/", "--read", "--json", code=4, **words).report
    assert refused["totals"]["n_same"] == 1 and refused["totals"]["n_not_compared"] == len(SIZES)


NAMES = {"a.nc": 1000, "sub/b c.nc": 10, "sub/back\\slash": 10, "sub/two\nlines": 10, " leads": 5, "*star": 5, "empty": 0, "ünï": 7}


@pytest.mark.parametrize("program, words", [("sha256sum", []), ("md5sum", []), ("sha256sum", ["--tag"]), ("md5sum", ["--binary"])])
def test_a_folder_is_verified_by_what_the_core_utilities_print(home, gateway, bucket, tmp_path, seed, program, words):
    folder, choices = tmp_path / "a", random.Random(f"{seed} {program} {words}")
    make_tree(folder, seed, NAMES)
    sums = subprocess.run(f"find . -type f -print0 | sort -z | xargs -0 {program} {' '.join(words)}", shell=True, cwd=folder, check=True, capture_output=True).stdout
    (tmp_path / "SUMS").write_bytes(sums)
    put_tree(gateway, bucket, "t/", folder)
    for place in (folder, f"osn:{bucket}/t"):
        report = home.frazil("verify", place, "--manifest", tmp_path / "SUMS", "--json").report
        assert report["totals"]["n_same"] == len(NAMES) and report["totals"]["problems"] == 0
    for _ in range(6):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        for _ in range(choices.randrange(1, 3)):
            mutate(copy, choices)
        checked = subprocess.run([program, "-c", "--quiet", tmp_path / "SUMS"], cwd=copy, capture_output=True)
        answer = home.frazil("verify", copy, "--manifest", tmp_path / "SUMS", "--json", "--one-way", code=None)
        assert (answer.code == 0) == (checked.returncode == 0), (answer, checked)
        named = {item["name"] for item in answer.report["items"]}
        assert len(named) == checked.stdout.count(b": FAILED"), (named, checked.stdout)
        wanted, there = digests(folder), digests(copy)
        assert named == {name for name in wanted if there.get(name) != wanted[name]}
        extra = {item["name"] for item in home.frazil("verify", copy, "--manifest", tmp_path / "SUMS", "--json", code=None).report["items"] if item["outcome"] == "extra"}
        assert extra == set(there) - set(wanted)
    # The sums may lie among what they are about, on disks and in buckets.
    (folder / "SUMS").write_bytes(sums)
    home.frazil("verify", folder, "--manifest", folder / "SUMS")
    gateway.client().put_object(Bucket=bucket, Key="t/SUMS", Body=sums)
    home.frazil("verify", f"osn:{bucket}/t", "--manifest", f"osn:{bucket}/t/SUMS")


def test_a_folder_is_verified_by_the_manifest_of_its_delivery(home, gateway, bucket, tmp_path, seed):
    wanted = make_tree(tmp_path / "a", seed, {"a.nc": 1000, "sub/b.nc": 10})
    home.frazil("push", tmp_path / "a", "--to", f"osn:{bucket}/inbox", "--as", "run7")
    inbox = f"osn:{bucket}/inbox/run7"
    home.frazil("verify", inbox, "--manifest", f"{inbox}/frazil-delivery.json")
    home.frazil("accept", inbox, "--to", f"osn:{bucket}/data/run7")
    words = ["verify", f"osn:{bucket}/data/run7", "--manifest", f"{inbox}/frazil-accepted.json", "--json"]
    assert home.frazil(*words).report["totals"]["n_same"] == len(wanted)
    client = gateway.client()
    client.put_object(Bucket=bucket, Key="data/run7/a.nc", Body=b"x" * 1000)
    client.put_object(Bucket=bucket, Key="data/run7/more", Body=b"x")
    client.delete_object(Bucket=bucket, Key="data/run7/sub/b.nc")
    assert told(home.frazil(*words, code=1).report) == {("a.nc", "sha256"), ("more", "extra"), ("sub/b.nc", "missing")}
    # One that somebody altered is no manifest.
    record = json.loads(client.get_object(Bucket=bucket, Key="inbox/run7/frazil-accepted.json")["Body"].read())
    record["manifest"]["files"][0]["size_bytes"] = 1
    (tmp_path / "altered.json").write_text(json.dumps(record))
    assert "seal" in home.frazil("verify", tmp_path / "a", "--manifest", tmp_path / "altered.json", code=1).err


@pytest.mark.parametrize("text", ["", "no sums\n", "d41d8cd98f00b204e9800998ecf8427e  ../outside\n", "d41d8cd98f00b204e9800998ecf8427e  /etc/passwd\n", "da39a3ee5e6b4b0d3255bfef95601890afd80709  sha1\n", "{}", "\\d41d8cd98f00b204e9800998ecf8427e  a\\q\n"])
def test_what_is_no_manifest_is_refused(home, tmp_path, text):
    (tmp_path / "SUMS").write_text(text)
    (tmp_path / "a").mkdir()
    answer = home.frazil("verify", tmp_path / "a", "--manifest", tmp_path / "SUMS", code=1)
    assert "manifest" in answer.err
    home.frazil("verify", tmp_path / "a", "--manifest", tmp_path / "nowhere", code=1)
    home.frazil("verify", tmp_path / "a", "--one-way", code=2)
