"""The rules of moving: where things go, what counts as changed, what a store is, what is only said and not done.

What is asked of the server is counted by a proxy that changes nothing.
"""

import fcntl
import os
import signal
import time

import pytest

import ceph
import clients
from lying import lying
from moves import Mover, differences, digests, make_tree, put_all, put_tree, stored

WRITES = ("put", "part", "initiate", "complete", "copy", "copy part", "delete", "delete many", "abort")
N_FILES = 40
# A few questions about the place itself are no question per file.
MAX_HEADS = 16
MAX_LISTS = 6
NODE = '{"zarr_format": 3, "node_type": "group", "attributes": {}%s}'
ARRAY = (
    '{"zarr_format": 3, "node_type": "array", "shape": [6], "data_type": "int8", "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, '
    '"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": 0, "codecs": [{"name": "bytes"}], "attributes": {}}'
)
STORES = {
    "v3": {"zarr.json": NODE % "", "sst/zarr.json": ARRAY, "zz/zarr.json": ARRAY, **{f"{name}/c/{number}": str(number) for name in ("sst", "zz") for number in range(6)}},
    "v2": {
        ".zgroup": '{"zarr_format": 2}', ".zattrs": "{}", ".zmetadata": '{"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}}}',
        "sst/.zarray": '{"zarr_format": 2, "shape": [6], "chunks": [1], "dtype": "|i1", "compressor": null, "fill_value": 0, "order": "C", "filters": null}',
        **{f"sst/{number}": str(number) for number in range(6)},
    },
}
ROOTS = {"v3": {"zarr.json"}, "v2": {".zgroup", ".zmetadata"}}


@pytest.fixture(autouse=True)
def with_verbs():
    clients.needs("ls", "cp", "sync", "rm")


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    return folder, make_tree(folder, 1, {f"{number % 3}/{number:02}": 100 + number for number in range(N_FILES)})


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("slash", ["", "/"], ids=["plain", "slash"])
@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("way", ["up", "down", "server-side", "local"])
def test_a_slash_at_the_end_puts_it_inside_whether_that_is_there_or_not(mover, gateway, bucket, tmp_path, way, what, slash, is_there):
    make_tree(tmp_path / "from/folder", 1, {"a": 10, "b/c": 20})
    make_tree(tmp_path / "from", 2, {"file": 30})
    put_tree(gateway, bucket, "from/", tmp_path / "from")
    wanted = {name.removeprefix(what + "/"): mark for name, mark in digests(tmp_path / "from").items() if name == what or name.startswith(what + "/")}
    inside = f"{what}/" if slash else ""
    wanted = {f"{inside}{name}" if what == "folder" else f"dest/{what}" if slash else "dest": mark for name, mark in wanted.items()}
    wanted = {f"dest/{name}" if what == "folder" else name: mark for name, mark in wanted.items()}
    goes_up = way in ("up", "server-side")
    if is_there and (slash or what == "folder"):
        make_tree(tmp_path / "old/dest", 3, {"old": 5})
        if goes_up:
            put_tree(gateway, bucket, "to/", tmp_path / "old")
        else:
            make_tree(tmp_path / "to/dest", 3, {"old": 5})
        wanted["dest/old"] = digests(tmp_path / "old")["dest/old"]
    source = f"s3://{bucket}/from/{what}" if way in ("down", "server-side") else tmp_path / "from" / what
    dest = f"s3://{bucket}/to/dest{slash}" if goes_up else f"{tmp_path}/to/dest{slash}"
    mover("cp", source, dest, code=0)
    assert differences(wanted, stored(gateway, bucket, "to/") if goes_up else digests(tmp_path / "to")) == []


def places(way, bucket, tree, tmp_path):
    return {"up": (tree, f"s3://{bucket}/up"), "down": (f"s3://{bucket}/source/", tmp_path / "down"), "server-side": (f"s3://{bucket}/source/", f"s3://{bucket}/copy")}[way]


@pytest.mark.parametrize("verb", ["cp", "sync"])
@pytest.mark.parametrize("way", ["up", "down", "server-side"])
def test_a_second_run_asks_for_listings_only(mover, gateway, bucket, tree, tmp_path, way, verb):
    put_tree(gateway, bucket, "source/", tree[0])
    source, dest = places(way, bucket, tree[0], tmp_path)
    mover(verb, source, dest, code=0)
    with lying(gateway) as counter:
        mover.address = counter.address
        mover(verb, source, dest, code=0)
        n_written, n_read = len(counter.of_kind(*WRITES)), len(counter.of_kind("get"))
    assert (n_written, n_read) == (0, 0), str(counter)
    assert len(counter.of_kind("head")) <= MAX_HEADS and len(counter.of_kind("list")) <= MAX_LISTS, str(counter)


@pytest.mark.parametrize("writer", ["boto3", "rclone"])
def test_what_another_program_has_put_there_is_not_moved_again(mover, gateway, bucket, tree, writer):
    if writer == "boto3":
        put_tree(gateway, bucket, "up/", tree[0])
    else:
        clients.rclone("copy", tree[0], f"ceph:{bucket}/up", config=clients.rclone_s3(gateway, ceph.KEY, ceph.SECRET))
    with lying(gateway) as counter:
        mover.address = counter.address
        mover("sync", tree[0], f"s3://{bucket}/up", "--checksum", code=0)
        assert counter.of_kind("put", "part") == [], str(counter)


CHANGES = {
    "other bytes of the same length": lambda path: path.write_bytes(b"x" * path.stat().st_size),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", ["up", "down", "server-side"])
def test_what_changed_is_moved_and_nothing_else(mover, gateway, bucket, tree, tmp_path, way, change):
    put_tree(gateway, bucket, "source/", tree[0])
    source, dest = places(way, bucket, tree[0], tmp_path)
    mover("sync", source, dest, code=0)
    # Times in a listing may be whole seconds.
    time.sleep(1.1)
    CHANGES[change](tree[0] / "1/07")
    if way != "up":
        put_all(gateway, bucket, {"source/1/07": (tree[0] / "1/07").read_bytes()})
    with lying(gateway) as counter:
        mover.address = counter.address
        mover("sync", source, dest, code=0)
        moved = {asked.key.split("/", 1)[1] for asked in counter.of_kind("put", "get", "copy") if asked.key.count("/") > 1}
    found = digests(tmp_path / "down") if way == "down" else stored(gateway, bucket, "up/" if way == "up" else "copy/")
    assert differences(digests(tree[0]), found) == [] and moved <= {"1/07"}, str(counter)


def test_a_change_that_time_and_length_hide_is_seen_with_checksum(mover, gateway, bucket, tree):
    mover("sync", tree[0], f"s3://{bucket}/up", code=0)
    path = tree[0] / "2/05"
    before = path.stat()
    path.write_bytes(b"y" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    mover("sync", tree[0], f"s3://{bucket}/up", "--checksum", code=0)
    assert differences(digests(tree[0]), stored(gateway, bucket, "up/")) == []


@pytest.mark.parametrize("way", ["up", "down", "server-side"])
def test_what_is_there_and_differs_is_left_and_named_unless_overwriting_is_wished_for(mover, gateway, bucket, tree, tmp_path, way):
    put_tree(gateway, bucket, "source/", tree[0])
    source, dest = places(way, bucket, tree[0], tmp_path)
    if way == "down":
        make_tree(tmp_path / "down", 9, {"0/00": 7, "mine": 8})
    else:
        put_all(gateway, bucket, {f"{'up' if way == 'up' else 'copy'}/{name}": b"mine" for name in ("0/00", "mine")})

    def found():
        return digests(tmp_path / "down") if way == "down" else stored(gateway, bucket, "up/" if way == "up" else "copy/")

    mine = {name: mark for name, mark in found().items()}
    answer = mover("cp", source, dest)
    assert answer.code in (1, 3) and "0/00" in answer.text, answer
    assert all(found()[name] == mark for name, mark in mine.items())
    mover("cp", source, dest, "--overwrite", code=0)
    assert found() == {**tree[1], "mine": mine["mine"]}


@pytest.mark.parametrize("verb", ["cp", "sync", "rm"])
def test_a_dry_run_says_what_and_does_nothing(mover, gateway, bucket, tree, tmp_path, verb):
    put_tree(gateway, bucket, "source/", tree[0])
    words = {"cp": ["cp", tree[0], f"s3://{bucket}/up"], "sync": ["sync", tree[0], f"s3://{bucket}/source/0", "--delete", "--yes"], "rm": ["rm", f"s3://{bucket}/source/", "--yes"]}[verb]
    before = stored(gateway, bucket)
    with lying(gateway) as counter:
        mover.address = counter.address
        answer = mover(*words, "-n", "--json", code=0)
        assert counter.of_kind(*WRITES) == [] and stored(gateway, bucket) == before, str(counter)
    assert answer.report["dry_run"] is True and str(N_FILES) in answer.text, answer


@pytest.mark.parametrize("verb", ["cp", "sync"])
def test_filters_choose_by_name(mover, gateway, bucket, tree, verb):
    mover(verb, tree[0], f"s3://{bucket}/one", "--include", "1/**", code=0)
    mover(verb, tree[0], f"s3://{bucket}/two", "--exclude", "1/**", code=0)
    mover(verb, tree[0], f"s3://{bucket}/three", "--include", "1/**", "--exclude", "*7", code=0)
    ones = {name: mark for name, mark in tree[1].items() if name.startswith("1/")}
    assert stored(gateway, bucket, "one/") == ones
    assert stored(gateway, bucket, "two/") == {name: mark for name, mark in tree[1].items() if name not in ones}
    assert stored(gateway, bucket, "three/") == {name: mark for name, mark in ones.items() if not name.endswith("7")}


@pytest.mark.parametrize("version", STORES)
@pytest.mark.parametrize("way", ["up", "server-side"])
def test_the_metadata_of_a_store_comes_last(mover, gateway, bucket, tmp_path, way, version):
    for name, text in STORES[version].items():
        path = tmp_path / "s.zarr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    put_tree(gateway, bucket, "s.zarr/", tmp_path / "s.zarr")
    with lying(gateway) as counter:
        mover.address = counter.address
        mover("cp", tmp_path / "s.zarr" if way == "up" else f"s3://{bucket}/s.zarr", f"s3://{bucket}/to/t.zarr", code=0)
        order = [asked.key.removeprefix("to/t.zarr/") for asked in sorted(counter.of_kind("put", "copy"), key=lambda asked: asked.when)]
    assert set(order) >= set(STORES[version]) and stored(gateway, bucket, "to/t.zarr/") == digests(tmp_path / "s.zarr")
    roots = {order.index(name) for name in ROOTS[version]}
    assert min(roots) >= max(index for index, name in enumerate(order) if name in STORES[version] and name not in ROOTS[version] and not name.startswith(".z")), order


@pytest.mark.parametrize("version", STORES)
def test_the_metadata_of_a_store_goes_first(mover, gateway, bucket, version):
    put_all(gateway, bucket, {f"s.zarr/{name}": text.encode() for name, text in STORES[version].items()})
    with lying(gateway) as counter:
        mover.address = counter.address
        mover("rm", f"s3://{bucket}/s.zarr", "--yes", code=0)
        asked = sorted(counter.of_kind("delete", "delete many"), key=lambda asked: asked.when)
    assert ceph.objects(gateway, bucket) == {}
    assert {key.removeprefix("s.zarr/") for key in asked[0].deletes} <= {name for name in STORES[version] if "/" not in name}, str(counter)
    assert any(root in {key.removeprefix("s.zarr/") for key in asked[0].deletes} for root in ROOTS[version]), str(counter)


def test_from_one_server_to_another(mover, gateway, bucket, tree):
    """Two remotes of rclone, which are two servers as far as anyone can tell."""
    other = ceph.fresh_bucket(gateway)
    put_tree(gateway, bucket, "source/", tree[0])
    (mover.home / ".config/rclone").mkdir(parents=True)
    try:
        with lying(gateway) as one, lying(gateway) as two:
            config = "".join(clients.rclone_s3(server.address, ceph.KEY, ceph.SECRET, name=name) for name, server in (("one", one), ("two", two)))
            (mover.home / ".config/rclone/rclone.conf").write_text(config)
            mover("cp", f"one:{bucket}/source/", f"two:{other}/dest", code=0)
            assert one.of_kind("get") and not one.of_kind(*WRITES) and two.of_kind("put"), f"{one}\n{two}"
        assert differences(tree[1], stored(gateway, other, "dest/")) == []
    finally:
        ceph.discard(gateway, other)


def test_keys_that_were_lent_work_under_their_prefix_and_are_refused_elsewhere(mover, gateway, bucket, tree, tmp_path):
    keys = gateway.assumed("judge-prefix", *ceph.may_use(bucket, "mine/"))
    put_all(gateway, bucket, {"theirs/x": b"x"})
    lent = Mover(mover.home, gateway, keys["AccessKeyId"], keys["SecretAccessKey"], {"AWS_SESSION_TOKEN": keys["SessionToken"]})
    lent("cp", tree[0], f"s3://{bucket}/mine/tree", code=0)
    assert differences(tree[1], stored(gateway, bucket, "mine/tree/")) == []
    lent("cp", f"s3://{bucket}/mine/tree/", tmp_path / "back", code=0)
    lent("sync", tree[0], f"s3://{bucket}/mine/tree", code=0)
    lent("ls", f"s3://{bucket}/mine/tree/", code=0)
    lent("rm", f"s3://{bucket}/mine/tree/0/", "--yes", code=0)
    assert digests(tmp_path / "back") == tree[1]
    for words in (["cp", tree[0], f"s3://{bucket}/theirs/tree"], ["cp", f"s3://{bucket}/theirs/x", tmp_path / "x"], ["ls", f"s3://{bucket}/theirs/"], ["rm", f"s3://{bucket}/theirs/x", "--yes"], ["sync", tree[0], f"s3://{bucket}/theirs", "--delete", "--yes"]):
        answer = lent(*words)
        assert answer.code in (3, 4) and "403" in answer.text, answer
    assert set(ceph.objects(gateway, bucket, "theirs/")) == {"theirs/x"} and not (tmp_path / "x").exists()


@pytest.mark.parametrize("key,secret", [(ceph.KEY, "CANARYwrong"), ("nobody", "CANARYwrong")])
def test_wrong_keys_are_refused_with_their_own_exit_code(mover, gateway, bucket, tree, key, secret):
    mover.key, mover.secret = key, secret
    for words in (["ls", f"s3://{bucket}/"], ["cp", tree[0], f"s3://{bucket}/x"], ["sync", tree[0], f"s3://{bucket}/x"], ["rm", f"s3://{bucket}/x/", "--yes"]):
        answer = mover(*words)
        assert answer.code in (3, 4) and "403" in answer.text, answer
    assert ceph.objects(gateway, bucket) == {}


def make_store(folder, fill):
    make_tree(folder, fill, {f"sst/c/{number}": 5000 for number in range(24)})
    for name in ("zarr.json", "sst/zarr.json"):
        (folder / name).write_text(STORES["v3"][name].replace("{}", '{"of": %d}' % fill))
    return digests(folder)


@pytest.mark.parametrize("second", ["cp", "sync"])
@pytest.mark.parametrize("way", ["up", "down", "server-side"])
def test_two_copies_onto_one_store_are_kept_apart(mover, gateway, bucket, tmp_path, way, second):
    """The second is told so by its own exit code and changes nothing; the first ends whole, and nothing of the lock stays."""
    wanted = {number: make_store(tmp_path / f"store{number}", number) for number in (1, 2)}
    for number in wanted:
        put_tree(gateway, bucket, f"store{number}/", tmp_path / f"store{number}")
    sources = {number: tmp_path / f"store{number}" if way == "up" else f"s3://{bucket}/store{number}/" for number in wanted}
    dest = tmp_path / "out" if way == "down" else f"s3://{bucket}/out"
    words = {"cp": ["cp", "--overwrite"], "sync": ["sync", "--delete", "--yes"]}[second]
    with lying(gateway, delay_seconds=0.4) as slow:
        first = Mover(tmp_path / "other-home", slow.address).start("cp", sources[1], dest)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if (tmp_path / "out/.frazil/lock").exists() if way == "down" else any(asked.key == "out/.frazil/lock" and asked.kind == "put" and asked.status == 200 for asked in slow.asked):
                break
            time.sleep(0.02)
        answer = mover(*words, sources[2], dest, code=5)
        assert first.poll() is None, f"the first was done too early for this test\n{slow}"
        assert first.wait(60) == 0
    assert "another frazil process" in answer.text and "out" in answer.text, answer
    assert (digests(tmp_path / "out") if way == "down" else stored(gateway, bucket, "out/")) == wanted[1]
    # Once the first is done the second may.
    mover(*words, sources[2], dest, code=0)
    assert (digests(tmp_path / "out") if way == "down" else stored(gateway, bucket, "out/")) == wanted[2]


def test_a_store_that_another_program_has_locked_is_left_alone(mover, tmp_path):
    """The lock is the operating system's: whoever holds it keeps a copy out, and what no one holds does not."""
    make_store(tmp_path / "from", 1)
    (tmp_path / "out/.frazil").mkdir(parents=True)
    with (tmp_path / "out/.frazil/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another frazil process" in mover("cp", tmp_path / "from", tmp_path / "out", code=5).text
        assert set(digests(tmp_path / "out")) == {".frazil/lock"}
    mover("cp", tmp_path / "from", tmp_path / "out", code=0)
    assert digests(tmp_path / "out") == digests(tmp_path / "from")


def test_a_copy_that_is_stopped_says_what_stays_and_how_it_goes_on(mover, gateway, bucket, tmp_path):
    """Parts that have arrived stay in an open upload, seen by nobody; the same command uses them and leaves none open."""
    wanted = make_tree(tmp_path / "from", 1, {"large": 96 << 20})
    with lying(gateway, delay_seconds=0.5) as slow:
        with (tmp_path / "said").open("w") as said:
            first = Mover(tmp_path / "other-home", slow.address).start("cp", tmp_path / "from", f"s3://{bucket}/out", err=said)
        until = time.monotonic() + 60
        while not any(asked.status == 200 for asked in slow.of_kind("part")) and time.monotonic() < until:
            time.sleep(0.02)
        first.send_signal(signal.SIGINT)
        assert first.wait(20) == 130
    text = (tmp_path / "said").read_text()
    assert "interrupted" in text and f"cp {tmp_path / 'from'} s3://{bucket}/out" in text, text
    assert ceph.open_uploads(gateway, bucket) and f"s3://{bucket}/out" in text.split("hint")[0], text
    with lying(gateway) as counter:
        mover.address = counter.address
        mover("cp", tmp_path / "from", f"s3://{bucket}/out", code=0)
        assert counter.sent_bytes() < 96 << 20, str(counter)
    assert stored(gateway, bucket, "out/") == wanted and ceph.open_uploads(gateway, bucket) == []
