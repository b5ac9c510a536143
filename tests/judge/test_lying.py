"""A server that lies, by a seeded plan: right bytes or a clear error, never silently wrong, and no deletion after a listing
that was not whole.

`--soak` runs each fault with each verb and five seeds; a sample of them is run otherwise. A failure prints its fault, its
verb and its seed; `-k` and `--seed` repeat it.
"""

import json
import pathlib
import random

import boto3.s3.transfer
import pytest

import ceph
import clients
import lies
from lying import lying
from moves import differences, digests, make_tree, put_tree, says_why, stored

VERBS = ["up", "down", "server-side", "sync", "rm", "ls"]
FAULTS = [fault for fault in lies.FAULTS if not fault.startswith("always")]
N_SEEDS, N_SAMPLED = 5, 1
PAGE_KEYS = 3
MAX_TRIES = 10
STALL_SECONDS, SOAK_STALL_SECONDS = 3.0, 40.0
MAX_SECONDS = 240
# With 24 MiB every client sends parts or reads ranges; the others are many enough for several pages.
SIZES = {"a": 10_000, "b/c": 0, "b/d": 1, "b/e": 70_000, "b/f ü+%": 300, "g": 1000, "h/i/j": 5000, "large": 24 << 20}


def verb_of(verb):
    return {"up": "cp", "down": "cp", "server-side": "cp"}.get(verb, verb)


@pytest.fixture(scope="module")
def source(tmp_path_factory, gateway, seed):
    """The same tree in a folder and in a bucket: folder, bucket, digests."""
    folder = tmp_path_factory.mktemp("lying") / "source"
    wanted = make_tree(folder, seed, SIZES)
    bucket = ceph.fresh_bucket(gateway)
    put_tree(gateway, bucket, "source/", folder)
    yield folder, bucket, wanted
    ceph.discard(gateway, bucket)


def runs():
    return [(fault, verb) for fault in FAULTS for verb in VERBS]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("fault,verb", runs(), ids=lambda word: word.replace(" ", "-"))
def test_right_bytes_or_a_clear_error(mover, gateway, bucket, source, tmp_path, soak, seed, fault, verb):
    clients.needs(verb_of(verb))
    first = random.Random(f"{seed} {fault} {verb}").randrange(1 << 20)
    for number in range(N_SEEDS if soak else N_SAMPLED):
        folder = tmp_path / str(number)
        with lying(gateway, fault, first + number, page_keys=PAGE_KEYS, stall_seconds=SOAK_STALL_SECONDS if soak else STALL_SECONDS) as liar:
            mover.address = liar.address
            wrong = SCENES[verb](mover, gateway, bucket, source, folder, liar, first + number)
            assert wrong == [], "\n".join([f"{verb}:", *map(str, wrong), str(liar)])


def judged(answer, liar) -> list[str]:
    """What is wrong with how it ended, whatever lies there now."""
    wrong = [] if answer.code == 0 or says_why(answer) else [f"it failed without a clear word\n{answer}"]
    if liar.most_tries() > MAX_TRIES:
        wrong.append(f"the same was asked for {liar.most_tries()} times")
    if liar.fault in ("429", "503", "500", "reset", "slow down inside") and answer.code != 0:
        wrong.append(f"a fault that passes after {lies.MAX_IN_A_ROW} requests is survived\n{answer}")
    if liar.fault == "keys rotated" and liar.n_lies and answer.code not in (3, 4):
        wrong.append(f"keys that are refused are exit 4\n{answer}")
    return wrong


def up(mover, gateway, bucket, source, folder, liar, seed):
    answer = mover("cp", source[0], f"s3://{bucket}/{seed}", "--json", timeout=MAX_SECONDS)
    found = stored(gateway, bucket, f"{seed}/")
    wrong = differences(source[2], found, may_lack=answer.code != 0)
    if answer.code == 0 and ceph.open_uploads(gateway, bucket):
        wrong.append("an upload was left open")
    return wrong + judged(answer, liar)


def down(mover, gateway, bucket, source, folder, liar, seed):
    answer = mover("cp", f"s3://{source[1]}/source/", folder / "dest", "--json", timeout=MAX_SECONDS)
    wrong = differences(source[2], digests(folder / "dest"), may_lack=answer.code != 0, unfinished=answer.code != 0)
    # A listing that says that nothing is there is believed, but that is no success.
    return wrong + judged(answer, liar)


def server_side(mover, gateway, bucket, source, folder, liar, seed):
    answer = mover("cp", f"s3://{source[1]}/source/", f"s3://{bucket}/{seed}", "--json", timeout=MAX_SECONDS)
    return differences(source[2], stored(gateway, bucket, f"{seed}/"), may_lack=answer.code != 0) + judged(answer, liar)


def sync(mover, gateway, bucket, source, folder, liar, seed):
    """Up or down, with `--delete`: the other side holds something old, something changed, and something that is in the way."""
    is_up = seed % 2 == 0
    make_tree(folder / "dest", seed, {"a": SIZES["a"], "b/d": 7, "extra": 10, "extras/x": 20, "z/last": 30})
    (folder / "dest/a").write_bytes((source[0] / "a").read_bytes())
    extras = {"extra", "extras/x", "z/last"}
    if is_up:
        put_tree(gateway, bucket, f"{seed}/", folder / "dest")
        answer = mover("sync", source[0], f"s3://{bucket}/{seed}", "--delete", "--yes", "--json", timeout=MAX_SECONDS)
        found = stored(gateway, bucket, f"{seed}/")
    else:
        answer = mover("sync", f"s3://{source[1]}/source/", folder / "dest", "--delete", "--yes", "--json", timeout=MAX_SECONDS)
        found = digests(folder / "dest")
    old = {"b/d", *extras}
    wrong = [f"{name!r}: other bytes" for name in found if name in source[2] and found[name] != source[2][name] and name not in old]
    if answer.code == 0 and liar.fault != "listing empty":
        wrong += differences(source[2], found)
    is_harmed = liar.n_lies > 0 and liar.fault in lies.LISTING_FAULTS
    if is_harmed and extras - set(found) and not (answer.code == 0 and found == source[2]):
        wrong.append(f"deleted after a listing that was not whole: {sorted(extras - set(found))}")
    if is_harmed and not is_up and answer.code == 0 and set(source[2]) - set(found):
        wrong.append("exit 0, and files did not come")
    if answer.code != 0 and liar.n_lies and is_harmed and liar.deleted():
        wrong.append(f"deletions were asked for: {liar.deleted()}")
    return wrong + judged(answer, liar)


def rm(mover, gateway, bucket, source, folder, liar, seed):
    neighbours = {f"{seed}": 3, f"{seed}x": 4, f"{seed}-/y": 5}
    make_tree(folder / "gone", seed, {name: min(size, 1000) for name, size in SIZES.items()})
    make_tree(folder / "kept", seed, neighbours)
    put_tree(gateway, bucket, f"{seed}/", folder / "gone")
    put_tree(gateway, bucket, "", folder / "kept")
    answer = mover("rm", f"s3://{bucket}/{seed}/", "--yes", "--json", timeout=MAX_SECONDS)
    found = set(ceph.objects(gateway, bucket))
    left = {key for key in found if key.startswith(f"{seed}/")}
    wrong = [f"deleted, and was not named: {key}" for key in neighbours if key not in found]
    if answer.code == 0 and left and not (liar.fault == "listing empty" and len(left) == len(SIZES)):
        wrong.append(f"exit 0, and these are still there: {sorted(left)}")
    if liar.fault in lies.LISTING_FAULTS and liar.n_lies and liar.deleted() and left:
        wrong.append(f"deleted by a listing that was not whole: {liar.deleted()}")
    return wrong + judged(answer, liar)


def ls(mover, gateway, bucket, source, folder, liar, seed):
    answer = mover("ls", f"s3://{source[1]}/source/b/", "--json", timeout=MAX_SECONDS)
    names = {name.removeprefix("b/") for name in SIZES if name.startswith("b/")}
    missing = [name for name in names if answer.code == 0 and f"{name}" not in json.dumps(answer.report, ensure_ascii=False)]
    wrong = [f"exit 0, and not listed: {sorted(missing)}"] * bool(missing and not (liar.fault == "listing empty" and len(missing) == len(names)))
    return wrong + judged(answer, liar)


SCENES = {"up": up, "down": down, "server-side": server_side, "sync": sync, "rm": rm, "ls": ls}


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_is_always_busy_is_left_alone_soon(mover, gateway, bucket, source, tmp_path, seed, verb):
    clients.needs(verb_of(verb))
    with lying(gateway, "always 503", seed) as liar:
        mover.address = liar.address
        wrong = SCENES[verb](mover, gateway, bucket, source, tmp_path / "x", liar, seed)
        answered = [asked for asked in liar.asked if asked.status == 503]
    assert wrong == [] and answered, f"{wrong}\n{liar}"


@pytest.mark.parametrize("verb", ["down", "sync", "rm", "ls"])
def test_nothing_is_deleted_or_left_out_when_there_is_no_listing(mover, gateway, bucket, source, tmp_path, seed, verb):
    clients.needs(verb_of(verb))
    with lying(gateway, "always 500 on listing", seed) as liar:
        mover.address = liar.address
        wrong = SCENES[verb](mover, gateway, bucket, source, tmp_path / "x", liar, seed)
        assert wrong == [] and liar.deleted() == [], f"{wrong}\n{liar}"


@pytest.mark.parametrize("verb", ["down", "server-side", "sync", "rm", "ls"])
def test_a_listing_that_ends_too_early_is_asked_for_its_rest(mover, gateway, bucket, source, tmp_path, verb):
    """Every page says that it is the last one, with the right number of keys beside it: all the same nothing is left out."""
    clients.needs(verb_of(verb))
    seed = next(seed for seed in range(0, 1000, 2) if lies.Plan("listing cut", random.Random(f"listing cut {seed}")).lie.name == "said to be whole")
    with lying(gateway, "listing cut", seed, page_keys=PAGE_KEYS) as liar:
        mover.address = liar.address
        wrong = SCENES[verb](mover, gateway, bucket, source, tmp_path / "x", liar, seed)
        asked = liar.of_kind("list")
    assert wrong == [] and liar.n_lies, f"{wrong}\n{liar}"
    assert any("start-after" in one.query for one in asked), str(liar)
    if verb in ("down", "server-side", "sync"):
        found = digests(tmp_path / "x/dest") if verb == "down" else stored(gateway, bucket, f"{seed}/")
        assert differences(source[2], found) == [], str(liar)


def test_a_listing_of_one_page_is_asked_for_its_rest_once(mover, gateway, source):
    """One question more for a listing, whatever it holds."""
    with lying(gateway) as liar:
        mover.address = liar.address
        mover("ls", "-r", f"s3://{source[1]}/source/", code=0)
        queries = [asked.query for asked in liar.of_kind("list")]
    assert len(queries) == 2 and "start-after" in queries[1], str(liar)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("fault", ["bit flipped", "truncated", "reset", "stall", "range wrong", "range ignored", "503"])
def test_a_file_that_comes_in_parts_comes_right_or_not_at_all(mover, gateway, bucket, tmp_path, seed, fault):
    """Parts of two sizes, as two programs have sent them; none of what is wrong stays to be taken for right later."""
    clients.needs("cp")
    wanted = make_tree(tmp_path / "source", seed, {"ours": 50 << 20, "theirs": (33 << 20) + 5})
    for name, part_bytes in (("ours", 16 << 20), ("theirs", 9 << 20)):
        gateway.client().upload_file(str(tmp_path / "source" / name), bucket, f"source/{name}", Config=boto3.s3.transfer.TransferConfig(multipart_chunksize=part_bytes))
    with lying(gateway, fault, seed, stall_seconds=STALL_SECONDS) as liar:
        mover.address = liar.address
        answer = mover("cp", f"s3://{bucket}/source/", tmp_path / "dest", "--json", timeout=MAX_SECONDS)
        wrong = differences(wanted, digests(tmp_path / "dest"), may_lack=answer.code != 0, unfinished=answer.code != 0)
        if fault == "bit flipped":
            # A digest of parts that does not fit may be one of parts of another size: it is said that it could not be compared.
            wrong = [] if answer.code != 0 or "transfer.unverified" in answer.text else [*wrong, "nobody said a word"]
        assert wrong + judged(answer, liar) == [] and liar.n_lies, f"{wrong}\n{answer}\n{liar}"
    if fault != "bit flipped":
        mover.address = str(gateway)
        mover("cp", f"s3://{bucket}/source/", tmp_path / "dest", code=0)
        assert differences(wanted, digests(tmp_path / "dest")) == []


def test_retry_after_is_waited_for(mover, gateway, bucket, source, seed):
    clients.needs("cp")
    with lying(gateway, "429", seed) as liar:
        mover.address = liar.address
        answer = mover("cp", source[0] / "a", f"s3://{bucket}/a", code=0)
    assert liar.n_lies, str(liar)
    for harmed in (asked for asked in liar.asked if asked.lie):
        same = [asked.when for asked in liar.asked if (asked.method, asked.key, asked.query) == (harmed.method, harmed.key, harmed.query) and asked.when > harmed.when]
        assert not same or min(same) - harmed.when >= 0.9, f"it did not wait the second that the server asked for\n{answer}\n{liar}"


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_lost_answer_is_no_second_object_and_no_error(mover, gateway, bucket, source, tmp_path, cut):
    """What was done and not heard of is seen to be done, and no upload in parts stays behind."""
    clients.needs("cp")
    for seed in range(6):
        with lying(gateway, "answer lost" if cut == "after" else "reset", seed) as liar:
            mover.address = liar.address
            mover("cp", source[0] / "large", f"s3://{bucket}/{cut}{seed}", code=0)
            assert differences({f"{cut}{seed}": source[2]["large"]}, stored(gateway, bucket, f"{cut}{seed}") and {f"{cut}{seed}": stored(gateway, bucket, f"{cut}{seed}")[""]}) == [], str(liar)
    assert ceph.open_uploads(gateway, bucket) == []


def test_the_same_seed_does_the_same_harm(gateway, bucket):
    """The judge itself: two rounds of the same requests are harmed alike."""
    client = gateway.client()
    for number in range(8):
        client.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x" * 1000)
    rounds = []
    for _ in range(2):
        with lying(gateway, "listing cut", 3, page_keys=PAGE_KEYS) as liar:
            through = gateway.client(endpoint_url=liar.address)
            found = []
            try:
                for page in through.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                    found += [item["Key"] for item in page.get("Contents", [])]
            except Exception as error:
                found.append(type(error).__name__)
            rounds.append((found, [asked.lie for asked in liar.asked]))
    assert rounds[0] == rounds[1] and any(rounds[0][1])


def test_who_asks_honestly_gets_everything_through_it(gateway, bucket, source, tmp_path):
    """The judge itself: without a fault nothing is changed, and pages are whole."""
    with lying(gateway, page_keys=PAGE_KEYS) as liar:
        config = clients.rclone_s3(liar.address, ceph.KEY, ceph.SECRET)
        clients.rclone("copy", f"ceph:{source[1]}/source", tmp_path / "dest", config=config)
        clients.rclone("copy", source[0], f"ceph:{bucket}/x", config=config)
        listed = liar.of_kind("list")
    assert digests(tmp_path / "dest") == source[2] == stored(gateway, bucket, "x/")
    assert any("continuation-token" in asked.query or "marker" in asked.query for asked in listed)


def test_a_clock_that_is_wrong_by_an_hour_serves_who_follows_it(gateway, bucket):
    """The judge itself: the same request is refused by our clock and served by the server's."""
    import datetime
    import urllib.error
    import urllib.request
    from unittest import mock

    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials

    def signed(address, hours):
        request = botocore.awsrequest.AWSRequest("PUT", f"{address}/{bucket}/x", data=b"content")
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=hours)
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: now):
            botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(ceph.KEY, ceph.SECRET), "s3", "us-east-1").add_auth(request)
        return urllib.request.Request(request.url, data=b"content", method="PUT", headers=dict(request.headers.items()))

    with lying(gateway, "clock", 0) as liar:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(signed(liar.address, 0), timeout=20)
        assert refused.value.code == 403 and b"RequestTimeTooSkewed" in refused.value.read()
        assert urllib.request.urlopen(signed(liar.address, 1), timeout=20).status == 200
    assert pathlib.PurePath(next(iter(ceph.objects(gateway, bucket)))).name == "x"
