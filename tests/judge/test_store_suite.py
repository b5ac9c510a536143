"""Files of every size and name go to a bucket and back, byte for byte, or are refused by name.

boto3, rclone and s3fs are the witnesses. What cannot be a file stays where it is; the rest comes all the same, and
nothing is ever written outside the chosen folder.
"""

import pathlib

import pytest

import ceph
import clients
import hostile_keys
from hostile_keys import KEYS, bytes_of, clashes, is_path, named
from moves import differences, digests, make_tree, put_all, put_tree, stored

MIB = 1 << 20
SIZES = {"empty": 0, "one": 1, "odd": 65_537, "below a part": 5 * MIB - 1, "a part": 5 * MIB, "above a part": 5 * MIB + 1, "sub/parts": 33 * MIB + 7}
SOAK_SIZES = {"hundred": 100 * MIB, "above": 257 * MIB + 3}
MAX_REFUSAL_SECONDS = 20
# One of each kind, where each key costs a run of the command.
FEW = ["plus+", "per%cent", "%2e%2e/x", "a//b", "/absolute", "tail/", "../up", "..", "new\nline", "u\u0308", "*", "q?a=1&b=2#frag", "[a-z]{x}", "d/" * 500 + "deep"]


@pytest.fixture(autouse=True)
def with_verbs():
    clients.needs("cp", "rm")


@pytest.fixture(scope="module")
def tree(tmp_path_factory, soak, seed):
    """A folder with files of every size, and their digests."""
    folder = tmp_path_factory.mktemp("sizes") / "tree"
    return folder, make_tree(folder, seed, {**SIZES, **(SOAK_SIZES if soak else {})})


@pytest.fixture
def hostile(gateway, bucket):
    """A bucket with every hostile key in it."""
    put_all(gateway, bucket, {key: bytes_of(key) for key in KEYS})
    assert set(ceph.objects(gateway, bucket)) == set(KEYS)
    return bucket


def rclone_agrees(gateway, bucket, prefix, folder):
    config = clients.rclone_s3(gateway, ceph.KEY, ceph.SECRET)
    clients.rclone("check", "--download", folder, f"ceph:{bucket}/{prefix}", config=config)


def test_files_of_every_size_go_up(mover, gateway, bucket, tree):
    folder, wanted = tree
    mover("cp", folder, f"s3://{bucket}/up", code=0)
    assert differences(wanted, stored(gateway, bucket, "up/")) == []
    rclone_agrees(gateway, bucket, "up", folder)
    assert ceph.open_uploads(gateway, bucket) == []


def test_s3fs_reads_what_went_up(mover, gateway, bucket, tree):
    folder, wanted = tree
    mover("cp", folder, f"s3://{bucket}/up", code=0)
    found = clients.asked(
        "import sys, json, hashlib, s3fs\n"
        "fs = s3fs.S3FileSystem(key=sys.argv[2], secret=sys.argv[3], endpoint_url=sys.argv[1])\n"
        "root = sys.argv[4] + '/up/'\n"
        "print(json.dumps({n[len(root):]: hashlib.sha256(fs.cat_file(n)).hexdigest() for n in fs.find(root)}))\n",
        gateway, ceph.KEY, ceph.SECRET, bucket, env={"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"},
    )
    assert differences(wanted, found) == []


@pytest.mark.parametrize("writer", ["boto3", "rclone"])
def test_files_of_every_size_come_down(mover, gateway, bucket, tree, tmp_path, writer):
    folder, wanted = tree
    if writer == "boto3":
        put_tree(gateway, bucket, "down/", folder)
    else:
        clients.rclone("copy", folder, f"ceph:{bucket}/down", "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M", config=clients.rclone_s3(gateway, ceph.KEY, ceph.SECRET))
    mover("cp", f"s3://{bucket}/down/", tmp_path / "dest", code=0)
    assert differences(wanted, digests(tmp_path / "dest")) == []


def test_files_of_every_size_are_copied_by_the_server(mover, gateway, bucket, tree):
    folder, wanted = tree
    put_tree(gateway, bucket, "from/", folder)
    other = ceph.fresh_bucket(gateway)
    try:
        mover("cp", f"s3://{bucket}/from/", f"s3://{bucket}/to", code=0)
        mover("cp", f"s3://{bucket}/from/", f"s3://{other}/to", code=0)
        assert differences(wanted, stored(gateway, bucket, "to/")) == []
        assert differences(wanted, stored(gateway, other, "to/")) == []
    finally:
        ceph.discard(gateway, other)


def test_a_single_file_of_each_size_goes_up_and_comes_down(mover, gateway, bucket, tree, tmp_path):
    folder, wanted = tree
    for name, digest in wanted.items():
        mover("cp", folder / name, f"s3://{bucket}/one/{name}", code=0)
        mover("cp", f"s3://{bucket}/one/{name}", tmp_path / "one" / name, code=0)
    assert differences(wanted, stored(gateway, bucket, "one/")) == []
    assert differences(wanted, digests(tmp_path / "one")) == []


def test_https_with_a_known_authority_works_and_with_an_unknown_one_does_not(mover, gateway, bucket, tree, tmp_path):
    if gateway.https is None:
        pytest.skip("a certificate: openssl not installed")
    folder, wanted = tree
    mover.address = gateway.https
    answer = mover("cp", folder / "one", f"s3://{bucket}/one")
    assert answer.code != 0 and answer.seconds < MAX_REFUSAL_SECONDS and ceph.objects(gateway, bucket) == {}, f"it trusts whoever comes, or tries for long\n{answer}"
    mover.variables["SSL_CERT_FILE"] = gateway.authority
    mover("cp", folder, f"s3://{bucket}/tls", code=0)
    assert differences(wanted, stored(gateway, bucket, "tls/")) == []
    mover("cp", f"s3://{bucket}/tls/", tmp_path / "dest", code=0)
    assert differences(wanted, digests(tmp_path / "dest")) == []


def around(tmp_path) -> set[str]:
    """Everything that lies beside the chosen folder, where a hostile key would like to be."""
    beside = {str(path) for path in (tmp_path / "out").iterdir() if path.name != "dest"}
    return beside | {str(path) for path in pathlib.Path("/tmp").glob("judge-*") if path.name in ("judge-escape", "judge-absolute")}


@pytest.mark.parametrize("verb", ["cp", "sync"])
def test_hostile_keys_come_down_inside_the_folder_or_are_refused_by_name(mover, gateway, hostile, tmp_path, verb):
    clients.needs(verb)
    dest = tmp_path / "out/dest"
    (tmp_path / "out").mkdir()
    answer = mover(verb, f"s3://{hostile}/", dest, "--json")
    assert around(tmp_path) == set()
    # Of a file and a folder with one name, one may win.
    clashing = clashes(KEYS)
    possible = {key for key in KEYS if is_path(key)}
    found = {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {name for name, content in found.items() if name not in possible or content != bytes_of(name)} == set()
    assert possible - clashing - set(found) == set(), f"these could have come\n{answer}"
    unnamed = [key for key in KEYS if key not in found and not named(answer.text, key)]
    assert unnamed == [], f"these did not come, and nothing says so\n{answer}"
    assert answer.code in (1, 3), "what was left out is no success"


def test_hostile_keys_are_copied_by_the_server_byte_for_byte(mover, gateway, hostile):
    other = ceph.fresh_bucket(gateway)
    try:
        answer = mover("cp", f"s3://{hostile}/", f"s3://{other}", code=0)
        found = ceph.objects(gateway, other)
        assert set(KEYS) - set(found) == set() and set(found) - set(KEYS) == set(), answer
        assert {key: tag for key, (_, tag) in found.items()} == {key: tag for key, (_, tag) in ceph.objects(gateway, hostile).items()}
    finally:
        ceph.discard(gateway, other)


def test_files_with_hostile_names_go_up_byte_for_byte(mover, gateway, bucket, tmp_path):
    names = hostile_keys.local(tmp_path / "tree")
    mover("cp", tmp_path / "tree", f"s3://{bucket}", code=0)
    found = stored(gateway, bucket)
    assert differences(digests(tmp_path / "tree"), found) == [] and set(found) == set(names)


def test_a_name_that_is_no_text_is_refused_and_the_rest_goes_up(mover, gateway, bucket, tmp_path):
    make_tree(tmp_path / "tree", 1, {"a": 10, "b": 20})
    (tmp_path / "tree" / b"\xff\xfe".decode(errors="surrogateescape")).write_bytes(b"x")
    answer = mover("cp", tmp_path / "tree", f"s3://{bucket}/t")
    assert set(ceph.objects(gateway, bucket)) == {"t/a", "t/b"} and answer.code in (1, 3), answer
    assert "UTF-8" in answer.text or "\\xff" in answer.text or "\ufffd" in answer.text, answer


def test_single_objects_of_hostile_names_are_put_got_and_deleted(mover, gateway, bucket, tmp_path, soak):
    (tmp_path / "file").write_bytes(b"content")
    others = {f"neighbour {number}": b"x" for number in range(3)}
    put_all(gateway, bucket, others)
    wrong = []
    for number, key in enumerate(KEYS if soak else FEW):
        # What ends in `/` is a folder, and the file goes inside; whatever is refused changes nothing.
        put = mover("cp", tmp_path / "file", f"s3://{bucket}/{key}")
        there = set(ceph.objects(gateway, bucket)) - set(others)
        inside = {key + "file"} if key.endswith("/") else {key}
        if (put.code == 0) != (there == inside) or (put.code != 0 and there):
            wrong.append(f"put {key!r}: exit {put.code}, there is {sorted(there)}")
        # A pattern means what it matches; no single place is spelled so.
        if there == {key} and not set("*[{") & set(key):
            get = mover("cp", f"s3://{bucket}/{key}", tmp_path / f"back{number}")
            if get.code != 0 or (tmp_path / f"back{number}").read_bytes() != b"content":
                wrong.append(f"get {key!r}: {get}")
            remove = mover("rm", f"s3://{bucket}/{key}", "--yes")
            if remove.code != 0 or key in ceph.objects(gateway, bucket):
                wrong.append(f"delete {key!r}: {remove}")
        for left in set(ceph.objects(gateway, bucket)) - set(others):
            gateway.client().delete_object(Bucket=bucket, Key=left)
    assert wrong == [] and set(ceph.objects(gateway, bucket)) == set(others), "\n".join(wrong)


def test_a_prefix_of_hostile_keys_is_deleted_and_its_neighbours_are_not(mover, gateway, bucket):
    short = [key for key in KEYS if len(key.encode()) < 1000]
    neighbours = {"h": b"1", "h2/x": b"2", "hx": b"3", "H/x": b"4", "../h/x": b"5", "/h/x": b"6", "h.": b"7"}
    put_all(gateway, bucket, {**{f"h/{key}": b"x" for key in short}, **neighbours})
    mover("rm", f"s3://{bucket}/h/", "--yes", "--max-objects", "1000", code=0)
    assert set(ceph.objects(gateway, bucket)) == set(neighbours)


def test_hostile_keys_are_listed_as_they_are(mover, gateway, hostile):
    clients.needs("ls")
    items = mover("ls", f"s3://{hostile}/", "--recursive", "--json", code=0).report["items"]
    assert sorted(item["name"] for item in items) == sorted(KEYS)
    assert all(item["size_bytes"] == len(bytes_of(item["name"])) for item in items)
    # Without that word a listing shows the first segment of each key: the key itself, or the folder that it is in.
    items = mover("ls", f"s3://{hostile}/", "--json", code=0).report["items"]
    wanted = {(key.split("/")[0], "folder" if "/" in key else "file") for key in KEYS}
    assert {(item["name"], item["kind"]) for item in items} == wanted
