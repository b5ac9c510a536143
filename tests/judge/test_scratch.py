"""Places where things go after a while: the dates that are told are those that Ceph keeps to, what is kept arrives whole before
anything goes, and nothing is deleted by `expire` that is young, named, written to, or not wholly known."""

import datetime
import json
import pathlib
import random
import re
import time

import pytest

import ceph
import lies
import lying
import moves
from command import frazil, measured

DAY_SECONDS = 4
# How often Ceph looks, in those days, and what a loaded machine adds.
LATE_DAYS = 12
OLD = ["--older-than", "5s"]
OLD_SECONDS = 6


def store(name: str, n_chunks=4, size=1000) -> dict[str, bytes]:
    """What a small Zarr store holds, by key."""
    chunks = {f"{name}/sst/c/{n}": random.Random(f"{name} {n}").randbytes(size) for n in range(n_chunks)}
    return {f"{name}/zarr.json": b'{"zarr_format":3,"node_type":"group"}', f"{name}/sst/zarr.json": b"{}", **chunks}


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)


def items(report, key="name"):
    return {item[key]: item for item in report["items"]}


# What goes when.


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A Ceph whose days are short."""
    if ceph.missing():
        pytest.skip(f"a real Ceph: {ceph.missing()}")
    with ceph.running(pathlib.Path(tmp_path_factory.mktemp("quick")), day_seconds=DAY_SECONDS) as started:
        yield started


def test_ceph_deletes_what_was_predicted_when_it_was_predicted(quick, tmp_path):
    (tmp_path / "home").mkdir()
    mover, client, bucket = moves.Mover(tmp_path / "home", quick), quick.client(), ceph.fresh_bucket(quick)
    others = [
        {"ID": "off", "Filter": {"Prefix": "stays/"}, "Status": "Disabled", "Expiration": {"Days": 1}},
        {"ID": "quicker", "Filter": {"Prefix": "tmp/kim/"}, "Status": "Enabled", "Expiration": {"Days": 3}},
    ]
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": others})
    mover("scratch", "rule", f"s3://{bucket}/tmp", "--days", "7", "--yes", code=0)
    moves.put_all(quick, bucket, {**store("tmp/jdoe/a.zarr"), **store("tmp/kim/b.zarr"), **store("stays/c.zarr"), "tmpfile": b"x"})
    time.sleep(2 * DAY_SECONDS)
    moves.put_all(quick, bucket, store("tmp/jdoe/late.zarr"))
    written = {item["Key"]: item["LastModified"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]}
    told = items(mover("scratch", "list", f"s3://{bucket}", "--json", code=0).report)
    assert set(told) == {"tmp/jdoe/a.zarr", "tmp/kim/b.zarr", "tmp/jdoe/late.zarr", "stays/c.zarr", ""}

    # In the calendar's days, as the server itself says of an object.
    predicted = {}
    for name, item in told.items():
        key = f"{name}/zarr.json" if name else "tmpfile"
        said = re.search(r'expiry-date="([^"]*)"', client.head_object(Bucket=bucket, Key=key).get("Expiration", ""))
        assert (item["goes_from"] is None) == (said is None), (name, item, said)
        if said is None:
            assert item["n_staying"] == item["n_objects"]
            continue
        expiry = datetime.datetime.strptime(said[1], "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=datetime.UTC)
        assert moment(item["goes_from"]) == expiry == moment(item["gone_from"]), name
        predicted[name] = (expiry - written[key]) / datetime.timedelta(days=1)
    assert {name: int(days) for name, days in predicted.items()} == {"tmp/jdoe/a.zarr": 7, "tmp/jdoe/late.zarr": 7, "tmp/kim/b.zarr": 3}

    # In short days, what it does.
    gone, until = {}, time.monotonic() + (9 + LATE_DAYS) * DAY_SECONDS
    while time.monotonic() < until and len(gone) < sum(1 for key in written if key.startswith("tmp/")):
        there, now = ceph.objects(quick, bucket), datetime.datetime.now(datetime.UTC)
        for key in set(written) - set(there) - set(gone):
            gone[key] = (now - written[key]).total_seconds() / DAY_SECONDS
        time.sleep(0.5)
    assert set(gone) == {key for key in written if any(name and key.startswith(name) for name in predicted)}
    for key, days in gone.items():
        due = int(next(value for name, value in predicted.items() if key.startswith(name)))
        assert due - 0.3 <= days <= due + LATE_DAYS, (key, due, days)
    ceph.discard(quick, bucket)


def test_what_goes_soon_is_told_by_owner(mover, gateway, bucket):
    moves.put_all(gateway, bucket, {**store("jdoe/a.zarr"), **store("kim/b.zarr", 2), "kim/x.nc": bytes(50)})
    mover("scratch", "rule", f"s3://{bucket}", "--days", "7", "--yes", code=0)
    report = mover("scratch", "list", f"s3://{bucket}", "--within", "10d", "--json", code=0).report
    sizes = {key: size for key, (size, _) in ceph.objects(gateway, bucket).items()}
    wanted = {owner: (len(mine := [size for key, size in sizes.items() if key.startswith(owner)]), sum(mine)) for owner in ("jdoe/", "kim/")}
    assert {f"{soon['owner']}/": (soon["n_objects"], soon["size_bytes"]) for soon in report["soon"]} == wanted
    assert report["totals"]["soon_bytes"] == sum(sizes.values())
    assert mover("scratch", "list", f"s3://{bucket}", "--json", code=0).report["soon"] == [], "7 days are more than 48 hours"
    text = mover("scratch", "list", f"s3://{bucket}", "--within", "10d", code=0).out
    assert "everything goes after 7 days" in text and "in the next 10 days:" in text and "kim/ (files)" in text, text


def test_scratch_is_what_the_variable_names(mover, gateway, bucket):
    moves.put_all(gateway, bucket, {**store("jdoe/a.zarr"), **store("kim/b.zarr")})
    mover.variables["SCRATCH_BUCKET"] = f"s3://{bucket}/jdoe"
    assert set(items(mover("scratch", "list", "--json", code=0).report)) == {"a.zarr"}
    del mover.variables["SCRATCH_BUCKET"]
    assert "SCRATCH_BUCKET" in mover("scratch", "list", code=2).err


def test_whoever_may_not_see_the_rules_is_told_so(gateway, bucket, tmp_path):
    moves.put_all(gateway, bucket, store("jdoe/a.zarr"))
    may = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    keys = gateway.assumed(f"sees-{bucket}", may)
    (tmp_path / "home").mkdir()
    lister = moves.Mover(tmp_path / "home", gateway, keys["AccessKeyId"], keys["SecretAccessKey"], {"AWS_SESSION_TOKEN": keys["SessionToken"]})
    report = lister("scratch", "list", f"s3://{bucket}", "--json", code=0).report
    assert report["rules"] is None and [warning["code"] for warning in report["warnings"]] == ["scratch.rules-unknown"], report


# The rule.


def rules(gateway, bucket):
    try:
        return gateway.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except gateway.client().exceptions.ClientError as error:
        assert "NoSuchLifecycleConfiguration" in str(error), error
        return []


def test_a_rule_is_set_shown_and_taken_away_and_others_stay(mover, gateway, bucket):
    others = [
        {"ID": "a & b", "Filter": {"And": {"Prefix": "x/", "Tags": [{"Key": "k", "Value": "v<"}]}}, "Status": "Enabled", "Expiration": {"Days": 3}},
        {"ID": "old", "Filter": {"Prefix": "y/"}, "Status": "Disabled", "Expiration": {"Date": datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)}},
        {"ID": "uploads", "Filter": {"Prefix": ""}, "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 5}},
    ]
    gateway.client().put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": others})
    before = rules(gateway, bucket)
    key = lambda rule: rule["ID"]
    place = f"s3://{bucket}/tmp & more"
    mover("scratch", "rule", place, "--days", "7", "-n", code=0)
    refused = mover("scratch", "rule", place, "--days", "7", code=1)
    assert "--yes" in refused.err and rules(gateway, bucket) == before, "nobody said yes"
    for days in ("9", "7"):
        report = mover("scratch", "rule", place, "--days", days, "--yes", "--json", code=0).report
        now = rules(gateway, bucket)
        ours = [rule for rule in now if rule["ID"].startswith("frazil")]
        assert sorted((rule for rule in now if rule not in ours), key=key) == sorted(before, key=key)
        assert [(rule["Filter"], rule["Expiration"]["Days"], rule["Status"]) for rule in ours] == [({"Prefix": "tmp & more/"}, int(days), "Enabled")]
        assert int(days) in [rule["days"] for rule in report["items"]]
    shown = mover("scratch", "rule", place, code=0).out
    assert "`tmp & more/…` goes after 7 days, uploads that have not ended after 7 days" in shown, shown
    mover("scratch", "rule", place, "--off", code=0)
    assert sorted(rules(gateway, bucket), key=key) == sorted(before, key=key)


def test_the_only_rule_is_taken_away(mover, gateway, bucket):
    mover("scratch", "rule", f"s3://{bucket}", "--days", "3", "--yes", code=0)
    assert len(rules(gateway, bucket)) == 1
    mover("scratch", "rule", f"s3://{bucket}", "--off", code=0)
    assert rules(gateway, bucket) == []
    assert "no rule of the server deletes here" in mover("scratch", "rule", f"s3://{bucket}", code=0).out


def test_a_place_without_rules_says_so(tmp_path):
    answer = frazil("scratch", "rule", tmp_path, "--days", "7", "--yes")
    assert answer.code == 1 and "scratch expire" in answer.err, answer


# Keeping.


@pytest.fixture
def archive(gateway):
    name = ceph.fresh_bucket(gateway)
    yield name
    ceph.discard(gateway, name)


def test_a_store_is_kept_whole_and_goes_where_it_was(mover, gateway, bucket, archive, tmp_path):
    moves.put_all(gateway, bucket, {**store("jdoe/a.zarr"), **store("jdoe/a.zarr-2")})
    wanted = moves.stored(gateway, bucket, "jdoe/a.zarr/")
    mover("scratch", "keep", f"s3://{bucket}/jdoe/a.zarr", "--to", f"s3://{archive}/kept/", "-n", code=0)
    assert moves.stored(gateway, archive) == {}
    report = mover("scratch", "keep", f"s3://{bucket}/jdoe/a.zarr", "--to", f"s3://{archive}/kept/", "--json", code=0).report
    assert report["totals"]["n_compared"] == report["totals"]["n_removed"] == len(wanted)
    assert moves.stored(gateway, archive, "kept/a.zarr/") == wanted
    assert {key.split("/")[1] for key in ceph.objects(gateway, bucket)} == {"a.zarr-2"}
    mover("scratch", "keep", f"s3://{archive}/kept/a.zarr", "--to", tmp_path / "here.zarr", code=0)
    assert moves.digests(tmp_path / "here.zarr") == wanted and ceph.objects(gateway, archive) == {}


@pytest.mark.parametrize("what", ["part of a store", "other files in the way", "a place with a rule", "not there"])
def test_what_cannot_be_kept_is_left_as_it_is(mover, gateway, bucket, archive, what):
    moves.put_all(gateway, bucket, store("jdoe/a.zarr"))
    source, dest = f"s3://{bucket}/jdoe/a.zarr", f"s3://{archive}/a.zarr"
    if what == "part of a store":
        source += "/sst"
    elif what == "other files in the way":
        gateway.client().put_object(Bucket=archive, Key="a.zarr/sst/c/0", Body=b"other")
    elif what == "a place with a rule":
        mover("scratch", "rule", f"s3://{archive}", "--days", "7", "--yes", code=0)
    else:
        source = f"s3://{bucket}/jdoe/b.zarr"
    before = moves.stored(gateway, bucket), moves.stored(gateway, archive)
    answer = mover("scratch", "keep", source, "--to", dest)
    assert answer.code == 1 and moves.says_why(answer), answer
    assert (moves.stored(gateway, bucket), moves.stored(gateway, archive)) == before


def test_what_is_written_meanwhile_stops_it(mover, gateway, bucket, archive):
    moves.put_all(gateway, bucket, store("jdoe/a.zarr"))
    with lying.lying(gateway) as liar:
        def write(asked, when):
            if when == "after" and asked.kind == "copy":
                liar.watch = None
                gateway.client().put_object(Bucket=bucket, Key="jdoe/a.zarr/sst/c/0", Body=b"newer")

        liar.watch, mover.address = write, liar.address
        answer = mover("scratch", "keep", f"s3://{bucket}/jdoe/a.zarr", "--to", f"s3://{archive}/a.zarr", code=1)
    assert set(moves.stored(gateway, bucket, "jdoe/a.zarr/")) == {key.removeprefix("jdoe/a.zarr/") for key in store("jdoe/a.zarr")}, answer


@pytest.mark.parametrize("fault", ["bit flipped", "truncated", "answer lost", "listing empty", "listing cut", "500", "reset"])
def test_nothing_goes_that_has_not_arrived(mover, gateway, bucket, tmp_path, seed, fault):
    moves.put_all(gateway, bucket, store("jdoe/a.zarr", 12))
    wanted = moves.stored(gateway, bucket, "jdoe/a.zarr/")
    with lying.lying(gateway, fault, seed, page_keys=3) as liar:
        mover.address = liar.address
        answer = mover("scratch", "keep", f"s3://{bucket}/jdoe/a.zarr", "--to", tmp_path / "a.zarr")
    there, here = moves.stored(gateway, bucket, "jdoe/a.zarr/"), moves.digests(tmp_path / "a.zarr")
    if answer.code == 0:
        assert here == wanted and there == {}, liar
    else:
        assert moves.says_why(answer) and (there == wanted or all(here.get(key) == value for key, value in wanted.items() if key not in there)), liar


def test_kills_lose_nothing(mover, gateway, bucket, archive, soak, seed):
    chosen = random.Random(f"keep {seed}")
    moves.put_all(gateway, bucket, store("jdoe/a.zarr", 60, 20_000))
    wanted = moves.stored(gateway, bucket, "jdoe/a.zarr/")
    with lying.lying(gateway, delay_seconds=0.02) as liar:
        mover.address = liar.address
        words = ["scratch", "keep", f"s3://{bucket}/jdoe/a.zarr", "--to", f"s3://{archive}/a.zarr"]
        for _ in range(20 if soak else 4):
            running = mover.start(*words)
            time.sleep(chosen.uniform(0.05, 1.2))
            running.kill()
            running.wait()
            there, kept = moves.stored(gateway, bucket, "jdoe/a.zarr/"), moves.stored(gateway, archive, "a.zarr/")
            assert all(there.get(key) == value or kept.get(key) == value for key, value in wanted.items()), "a file is nowhere"
            if there == {}:
                break
        else:
            mover.address = gateway
            mover(*words, code=0)
    assert moves.stored(gateway, archive, "a.zarr/") == wanted and moves.stored(gateway, bucket) == {}


# What is old.


@pytest.fixture
def old(gateway, bucket):
    """Six stores and a file that are old enough by now; answers what lies there."""
    contents = {}
    for name in ("jdoe/a.zarr", "jdoe/b.zarr", "jdoe/deep/c.zarr", "kim/d.zarr", "kim/e.zarr", "kim/sst.zarr"):
        contents.update(store(name))
    contents["kim/notes.txt"] = b"x"
    moves.put_all(gateway, bucket, contents)
    time.sleep(OLD_SECONDS)
    return contents


def left(gateway, bucket) -> set:
    """The stores that are there, whole or not."""
    return {re.sub(r"(\.zarr)/.*", r"\1", key) for key in ceph.objects(gateway, bucket)}


ALL = {"jdoe/a.zarr", "jdoe/b.zarr", "jdoe/deep/c.zarr", "kim/d.zarr", "kim/e.zarr", "kim/sst.zarr", "kim/notes.txt"}


def test_whole_stores_go_that_are_old_and_nothing_else(mover, gateway, bucket, old, tmp_path):
    client = gateway.client()
    catalog = tmp_path / "catalog"
    (catalog / "sub").mkdir(parents=True)
    (catalog / "sub/entries.yaml").write_text(f"entries:\n  - title: d\n    store: osn:{bucket}/kim/d.zarr\n")
    (catalog / "c.json").write_text(json.dumps({"url": f"https://host/{bucket}/jdoe/deep/c.zarr/.zmetadata"}))

    def disturbed():
        """Newer inside, and an upload under way. The machine may be slow: each time anew."""
        client.put_object(Bucket=bucket, Key="jdoe/b.zarr/sst/c/1", Body=b"newer")
        client.create_multipart_upload(Bucket=bucket, Key="kim/e.zarr/sst/c/9")

    disturbed()
    words = ["scratch", "expire", f"s3://{bucket}", *OLD, "--catalog", catalog]
    before = moves.stored(gateway, bucket)
    plan = items(mover(*words, "-n", "--json", code=0).report)
    assert {name: (item["outcome"], item.get("reason")) for name, item in plan.items()} == {
        "jdoe/a.zarr": ("goes", None), "kim/sst.zarr": ("goes", None), "jdoe/b.zarr": ("stays", "young"), "kim/e.zarr": ("stays", "written-to"),
        "kim/d.zarr": ("stays", "in-catalog"), "jdoe/deep/c.zarr": ("stays", "in-catalog"),
    }
    refused = mover(*words, code=1)
    assert "--yes" in refused.err and moves.stored(gateway, bucket) == before
    assert mover(*words, "--yes", "--max-objects", "3", code=1) and moves.stored(gateway, bucket) == before
    disturbed()
    report = mover(*words, "--yes", "--json", code=0).report
    assert report["totals"]["n_stores"] == 2 and report["totals"]["n_loose"] == 1
    now = moves.stored(gateway, bucket)
    assert now == {key: value for key, value in before.items() if not key.startswith(("jdoe/a.zarr/", "kim/sst.zarr/"))}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("text, stay", [
    ("sst.zarr", {"kim/sst.zarr"}), ("s3://{bucket}/jdoe/", {"jdoe/a.zarr", "jdoe/b.zarr", "jdoe/deep/c.zarr"}), ("s3://other/nothing", set()),
    ('{{"a": ["s3:\\/\\/{bucket}\\/kim\\/\\u0064.zarr"]}}', {"kim/d.zarr"}),
    ("https://{bucket}.s3.amazonaws.com/kim/d.zarr", {"kim/d.zarr"}), ("https://data.example/kim/d.zarr/.zmetadata", {"kim/d.zarr"}),
    ("arn:aws:s3:::{bucket}/kim/d.zarr", {"kim/d.zarr"}), ("s3://{bucket}/kim/../jdoe/b.zarr", {"jdoe/b.zarr"}),
    ("[it](s3://{bucket}/kim/d.zarr), <a href='/kim/e.zarr?a=1&amp;b'>", {"kim/d.zarr", "kim/e.zarr"}),
    ("all: [s3://{bucket}/kim/d.zarr, kim/e.zarr] # two", {"kim/d.zarr", "kim/e.zarr"}),
    ("kim/*.zarr", {"kim/d.zarr", "kim/e.zarr", "kim/sst.zarr"}), ("kim/{{{{ name }}}}.zarr", {"kim/d.zarr", "kim/e.zarr", "kim/sst.zarr"}),
    ("kim/", {"kim/d.zarr", "kim/e.zarr", "kim/sst.zarr"}), ("root: s3://{bucket}", ALL - {"kim/notes.txt"}),
], ids=["a name", "a folder", "elsewhere", "escaped", "in a host", "at a host", "arn", "dots", "markup", "flow", "glob", "template", "folder alone", "all"])
def test_what_a_catalog_names_stays(mover, gateway, bucket, old, tmp_path, text, stay):
    (tmp_path / "catalog.txt").write_text(text.format(bucket=bucket))
    mover("scratch", "expire", f"s3://{bucket}", *OLD, "--catalog", tmp_path / "catalog.txt", "--yes", code=0)
    assert left(gateway, bucket) == stay | {"kim/notes.txt"}


@pytest.mark.parametrize("what", ["not there", "not readable", "empty folder"])
def test_a_catalog_that_cannot_be_read_means_no_deletion(mover, gateway, bucket, old, tmp_path, what):
    catalog = tmp_path / "catalog.json"
    if what == "empty folder":
        catalog.mkdir()
    elif what == "not readable":
        (tmp_path / "folder").mkdir()
        catalog = tmp_path / "folder"
        (catalog / "a.json").symlink_to(tmp_path / "nowhere.json")
    answer = mover("scratch", "expire", f"s3://{bucket}", *OLD, "--catalog", catalog, "--yes")
    assert answer.code == 1 and left(gateway, bucket) == ALL, answer


def says(status, code):
    return lies.Says(f"{status} {code}", status, code, lasting=True)


def a_page_of_the_web(content):
    return b"<html><body>Sign in</body></html>"


def another_key(content):
    return re.sub(rb"<Key>", b"<Key>elsewhere/", content, count=1)


def no_size(content):
    return re.sub(rb"<Size>\d+</Size>", b"", content, count=1)


class Cut(lies.Cuts):
    is_lasting = True


class Reset(lies.ResetsAfter):
    is_lasting = True


HARMS = {
    "403": lambda: says(403, "AccessDenied"), "404": lambda: says(404, "NoSuchBucket"), "400": lambda: says(400, "InvalidArgument"), "500": lambda: says(500, "InternalError"),
    "503": lambda: says(503, "SlowDown"), "torn": lambda: lies.Listing("torn", lies.torn), "no token": lambda: lies.Listing("no token", lies.without_token),
    "short of keys": lambda: lies.Listing("short of keys", lies.short_of_keys), "a page of the web": lambda: lies.Listing("web", a_page_of_the_web),
    "another key": lambda: lies.Listing("another key", another_key), "no size": lambda: lies.Listing("no size", no_size), "cut": lambda: Cut("cut"), "reset": lambda: Reset("reset"),
}
# A server that is slow to give up: a few of these are enough.
SLOW = ("500", "503", "cut", "reset")
FIRSTS = range(0, 22, 2)
FAULTS = [(harm, first) for harm in HARMS if harm not in SLOW for first in FIRSTS] + [(harm, 7 * n) for harm in SLOW for n in range(3)]


class From:
    """Harms every listing from the one of this number on."""

    def __init__(self, lie, first):
        self.lie, self.first, self.n = lie, first, 0
        lie.kinds = ("list",)

    def lie_for(self, asked):
        if asked.kind != "list":
            return None
        self.n += 1
        return self.lie if self.n > self.first else None


def test_one_listing_that_failed_means_no_deletion_at_all(mover, gateway, bucket, old, soak, seed):
    chosen = FAULTS if soak else random.Random(f"expire {seed}").sample([fault for fault in FAULTS if fault[0] not in SLOW], 16) + [("500", 7), ("reset", 14)]
    assert len(FAULTS) >= 100
    before, n_harmed = moves.stored(gateway, bucket), 0
    for harm, first in chosen:
        with lying.lying(gateway, page_keys=3) as liar:
            liar.plan, mover.address = From(HARMS[harm](), first), liar.address
            answer = mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes")
        assert liar.deleted() == [] and moves.stored(gateway, bucket) == before, (harm, first, answer, str(liar))
        # What only a later page could show was not harmed by the last one.
        assert liar.n_lies == 0 or (answer.code != 0 and moves.says_why(answer)), (harm, first, answer, str(liar))
        n_harmed += liar.n_lies > 0
        if liar.n_lies == 0:
            raise AssertionError(("nothing was harmed", harm, first, str(liar)))
    print(f"{n_harmed} of {len(chosen)} faults harmed a listing; nothing was deleted")
    mover.address = gateway
    mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", code=0)
    assert left(gateway, bucket) == {"kim/notes.txt"}, "without a fault they go"


def test_a_store_that_a_listing_hides_in_part_stays(mover, gateway, bucket, old):
    """The first listing leaves out the one chunk that is young, and counts right; the second has it."""
    gateway.client().put_object(Bucket=bucket, Key="jdoe/a.zarr/sst/c/2", Body=b"newer")

    def without_it(content):
        entries = re.findall(rb"<Contents>.*?</Contents>", content, re.DOTALL)
        young = [entry for entry in entries if lies.plain(lies.name_of(entry), b"<EncodingType>url" in content) == b"jdoe/a.zarr/sst/c/2"]
        for entry in young:
            content = content.replace(entry, b"")
        return re.sub(rb"<KeyCount>\d+", b"<KeyCount>%d" % (len(entries) - len(young)), content)

    hide = lies.Listing("hides", without_it)

    class Once:
        def lie_for(self, asked):
            return hide if asked.kind == "list" and "jdoe" not in asked.query.get("prefix", "") else None

    before = moves.stored(gateway, bucket)
    with lying.lying(gateway) as liar:
        liar.plan, mover.address = Once(), liar.address
        mover("scratch", "expire", f"s3://{bucket}", *OLD, "--yes", code=1)
        assert liar.n_lies > 0, liar
    assert moves.stored(gateway, bucket) == before
