"""Who uses how much: the sums are those of the server's own account, and of `du`; what is not counted is said."""

import concurrent.futures
import contextlib
import datetime
import email.utils
import http.client
import http.server
import json
import os
import random
import subprocess
import threading
import time
import urllib.parse

import pytest

import ceph
import lying
import moves
from command import frazil

MOST_RSS_BYTES = 300_000_000


def filled(gateway, bucket, seed):
    """Puts files of three owners, with a Zarr store and an Icechunk repository; answers sizes by key."""
    sizes, chosen = {}, random.Random(seed)
    for key in [
        "jdoe/sst.zarr/zarr.json", "jdoe/sst.zarr/sst/zarr.json", *(f"jdoe/sst.zarr/sst/c/{n}" for n in range(40)), "jdoe/notes.txt", "jdoe/deep/a/b/c.nc",
        "röda/repo/refs/branch.main/ref.json", "röda/repo/chunks/AAAA", "röda/repo/manifests/B", "jd/x.nc", "at the top.nc", "pipe|name*/x",
    ]:
        sizes[key] = chosen.randrange(0, 60_000)
    client = gateway.client()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=bytes(sizes[key])), sizes))
    return sizes


def by(sizes, name_of):
    sums = {}
    for key, size in sizes.items():
        n_objects, n_bytes = sums.get(name_of(key), (0, 0))
        sums[name_of(key)] = (n_objects + 1, n_bytes + size)
    return sums


def items(report):
    return {item["name"]: (item["n_objects"], item["size_bytes"]) for item in report["items"]}


def store_of(key):
    for root in ("jdoe/sst.zarr", "röda/repo"):
        if key.startswith(root + "/"):
            return root
    return key.split("/")[0] + "/" if "/" in key else ""


@pytest.mark.parametrize("words, name_of", [
    (["--by", "folder"], lambda key: key.rpartition("/")[0].split("/")[0]), (["--by", "owner"], lambda key: key.rpartition("/")[0].split("/")[0]),
    (["--depth", "2"], lambda key: "/".join(key.split("/")[:-1][:2])), (["--by", "store"], store_of), (["--by", "age"], lambda key: "< 7 days"),
], ids=["folder", "owner", "depth", "store", "age"])
def test_the_sums_are_those_of_the_server(mover, gateway, bucket, seed, words, name_of):
    sizes = filled(gateway, bucket, seed)
    report = mover("du", f"s3://{bucket}", *words, "--json", code=0).report
    kept = {key: size for key, (size, _) in ceph.objects(gateway, bucket).items()}
    assert kept == sizes
    assert items(report) == by(kept, name_of)
    assert report["totals"]["n_bytes"] == sum(kept.values()) and report["totals"]["n_objects"] == len(kept)


def test_the_bytes_are_those_of_the_servers_own_account(mover, gateway, bucket, seed):
    filled(gateway, bucket, seed)
    account = json.loads(gateway.admin("bucket", "stats", f"--bucket={bucket}"))["usage"]["rgw.main"]
    totals = mover("du", f"s3://{bucket}", "--json", code=0).report["totals"]
    assert (totals["n_bytes"], totals["n_objects"]) == (account["size_actual"] if "size" not in account else account["size"], account["num_objects"])


def test_open_uploads_are_told(mover, gateway, bucket):
    client = gateway.client()
    client.put_object(Bucket=bucket, Key="a/there", Body=b"12345")
    for n_parts, key in ((1, "a/one"), (2, "a/two"), (1, "b/other")):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        for number in range(1, n_parts + 1):
            client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=bytes(5 << 20))
    for place, n_uploads, n_parts in ((bucket, 3, 4), (f"{bucket}/a", 2, 3)):
        report = mover("du", f"s3://{place}", "--json", code=0).report
        assert report["totals"]["n_open_uploads"] == n_uploads and report["totals"]["open_upload_bytes"] == n_parts * (5 << 20)
        assert report["totals"]["n_bytes"] == 5, "what nobody sees is no part of the sum"
        assert report["oldest_open_upload"]


def test_growth_is_the_difference_of_two_reports(mover, gateway, bucket, tmp_path):
    client = gateway.client()
    for key, size in (("a/x", 100), ("b/x", 200), ("c/x", 300)):
        client.put_object(Bucket=bucket, Key=key, Body=bytes(size))
    mover("du", f"s3://{bucket}", "--save", tmp_path / "before.json", code=0)
    client.put_object(Bucket=bucket, Key="a/y", Body=bytes(50))
    client.put_object(Bucket=bucket, Key="d/x", Body=bytes(7))
    client.put_object(Bucket=bucket, Key="b/x", Body=bytes(20))
    client.delete_object(Bucket=bucket, Key="c/x")
    report = mover("du", f"s3://{bucket}", "--since", tmp_path / "before.json", "--json", code=0).report
    assert {item["name"]: item["grown_bytes"] for item in report["items"]} == {"a": 50, "b": -180, "c": -300, "d": 7}
    assert report["totals"]["grown_bytes"] == 50 - 180 - 300 + 7 and report["since"]
    text = mover("du", f"s3://{bucket}", "--since", tmp_path / "before.json", "--markdown", code=0).out
    assert "gone: c, -300 B" in text and "· -423 B since " in text, text
    refused = mover("du", f"s3://{bucket}", "--by", "age", "--since", tmp_path / "before.json")
    assert refused.code == 1 and "counted by the same" in refused.err, refused


def test_the_message_is_a_table_of_markdown_whatever_names_say(mover, gateway, bucket, seed):
    filled(gateway, bucket, seed)
    text = mover("du", f"s3://{bucket}", "--markdown", "--limit-of", "1GB", code=0).out
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 5, text
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}, text
    assert "pipe\\|name\\*" in text and "0% of 1.0 GB used" in text


@pytest.mark.parametrize("fault", ["listing empty", "listing cut", "truncated", "500", "stall", "keys rotated", "always 503"])
def test_a_listing_that_is_not_whole_is_no_smaller_number(gateway, bucket, tmp_path, seed, fault):
    sizes = filled(gateway, bucket, seed)
    (tmp_path / "home").mkdir()
    with lying.lying(gateway, fault, seed, page_keys=10) as liar:
        # A bucket that seems empty may be so; a folder of which nothing is listed is not there.
        answer = moves.Mover(tmp_path / "home", liar.address)("du", f"s3://{bucket}/jdoe/", "--json")
    assert liar.n_lies, liar
    sizes = {key: size for key, size in sizes.items() if key.startswith("jdoe/")}
    assert answer.report["ok"] is False or answer.report["totals"]["n_bytes"] == sum(sizes.values()), answer


def test_a_folder_takes_what_du_says(tmp_path):
    place = tmp_path / "place"
    for name, size in (("a/x", 100), ("a/y", 100_000), ("b/deep/z", 5), ("top", 12345)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(bytes(size))
    os.link(place / "a/y", place / "b/same as y")
    (place / "link").symlink_to("/usr")
    with open(place / "a/hole", "wb") as file:
        file.truncate(50_000_000)
    # An empty page of a file may wait for its block.
    os.sync()
    report = frazil("du", place, "--json").report
    for key, word in (("n_bytes", "--block-size=1"), ("apparent_bytes", "-b")):
        said = subprocess.run(["du", "-sx", word, place], check=True, capture_output=True, text=True).stdout
        assert report["totals"][key] == int(said.split()[0]), key
    answer = frazil("du", place, "--limit-of", "100kB")
    assert answer.code == 0 and "of 100 kB used" in answer.out, answer
    answer = frazil("du", place, "--by", "owner", "--limit-of", "100kB", "--json")
    assert answer.report["totals"]["n_over_limit"] == 1, "a has more than that, and b has not"


@pytest.mark.skipif(os.geteuid() != 0 and not os.access("/proc/1/fd", os.R_OK), reason="needs a mount")
def test_another_file_system_is_named_and_not_entered():
    answer = frazil("du", "/dev", "--json")
    if answer.report["totals"] and answer.code == 0:
        said = subprocess.run(["du", "-sx", "--block-size=1", "/dev"], check=True, capture_output=True, text=True).stdout
        assert abs(answer.report["totals"]["n_bytes"] - int(said.split()[0])) <= 8192
        mounted = [line.split()[1] for line in open("/proc/mounts") if line.split()[1].startswith("/dev/")]
        warned = " ".join(warning["message"] for warning in answer.report["warnings"])
        assert all(name.removeprefix("/dev/") in warned for name in mounted), warned


class Many(http.server.BaseHTTPRequestHandler):
    """A bucket of so many keys, as S3 lists them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return email.utils.format_datetime(self.server.now, usegmt=True) if self.server.now else super().date_time_string(timestamp)

    def do_HEAD(self):
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        n_keys = self.server.n_keys
        if "uploads" in query:
            text = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
        else:
            after = query.get("continuation-token", "")
            first = int(after) + 1 if after else number(query["start-after"]) + 1 if "start-after" in query else 0
            last = min(first + 1000, n_keys)
            rows = "".join(
                f"<Contents><Key>{self.server.key(n)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{n:032x}&quot;</ETag><Size>{n}</Size></Contents>" for n in range(first, last)
            )
            more = last < n_keys
            token = f"<NextContinuationToken>{last - 1}</NextContinuationToken>" if more else ""
            text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>{token}{rows}</ListBucketResult>"
        self.send_response(200)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def key(n):
    return f"owner-{n // 2000:06d}/sst.zarr/c/{n:09d}"


def deep_key(n):
    """Each chunk in a folder of its own; the document that makes it a store comes last."""
    return f"owner-{n // 2000:06d}/sst.zarr/zarr.json" if n % 2000 == 1999 else f"owner-{n // 2000:06d}/sst.zarr/c/{n:09d}/0"


def number(key):
    owner, _, name = key.removeprefix("owner-").partition("/sst.zarr/")
    return int(owner) * 2000 + 1999 if name == "zarr.json" else int(name.split("/")[1])


@contextlib.contextmanager
def many(n_keys, now=None, deep=False):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Many)
    server.daemon_threads, server.n_keys, server.now = True, n_keys, now
    server.key = deep_key if deep else key
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_whoever_may_not_list_uploads_is_told_the_sums(gateway, bucket, tmp_path):
    gateway.client().put_object(Bucket=bucket, Key="a/x", Body=b"12345")
    upload = gateway.client().create_multipart_upload(Bucket=bucket, Key="a/open")["UploadId"]
    may = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}
    keys = gateway.assumed(f"lists-{bucket}", may)
    (tmp_path / "home").mkdir()
    lister = moves.Mover(tmp_path / "home", gateway, keys["AccessKeyId"], keys["SecretAccessKey"], {"AWS_SESSION_TOKEN": keys["SessionToken"]})
    report = lister("du", f"s3://{bucket}", "--json", code=0).report
    assert report["totals"]["n_bytes"] == 5 and "n_open_uploads" not in report["totals"], report
    assert [warning["code"] for warning in report["warnings"]] == ["du.passed-over"], report
    gateway.client().abort_multipart_upload(Bucket=bucket, Key="a/open", UploadId=upload)


@pytest.mark.parametrize("shift_days", [0, 20, 60, 3650, -3650])
def test_ages_are_told_by_the_clock_of_the_server(tmp_path, shift_days):
    """The double says a moment of its own; the machine's clock says another one."""
    (tmp_path / "home").mkdir()
    # The keys of the double are of 2026-01-01.
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(days=max(shift_days, 0), hours=1)
    with many(10, now) as address:
        items = moves.Mover(tmp_path / "home", address)("du", "s3://many", "--by", "age", "--json", code=0).report["items"]
    expected = {0: "< 7 days", 20: "< 30 days", 60: "< 90 days", 3650: "older", -3650: "< 7 days"}[shift_days]
    assert [item["name"] for item in items] == [expected]


@pytest.mark.parametrize("how", ["owner", "store"])
def test_a_million_keys_need_no_room(tmp_path, soak, how):
    n_keys = 1_000_000 if soak else 100_000
    (tmp_path / "home").mkdir()
    with many(n_keys, deep=how == "store") as address:
        started = time.monotonic()
        answer = moves.Mover(tmp_path / "home", address)("du", "s3://many", "--by", how, "--json", code=0, timeout=600)
    print(f"{n_keys} keys by {how}: {answer.rss_bytes / 1e6:.0f} MB, {time.monotonic() - started:.1f} s")
    assert answer.report["totals"]["n_objects"] == n_keys and answer.report["totals"]["n_bytes"] == sum(range(n_keys))
    assert len(answer.report["items"]) == n_keys // 2000
    assert answer.rss_bytes <= MOST_RSS_BYTES * (1 if soak else 0.3)


def fill_openly(address, bucket, mine):
    """Puts objects of a given length by plain requests that nobody signs; answers how many bytes."""
    host = urllib.parse.urlsplit(address)
    connection, n_bytes = http.client.HTTPConnection(host.hostname, host.port), 0
    for number in mine:
        connection.request("PUT", f"/{bucket}/owner{number % 500:03}/{number % 7}/{number:07}", body=b"x" * (number % 40))
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        n_bytes += number % 40
    return n_bytes


def test_a_million_real_objects_are_those_of_the_servers_account(tmp_path, gateway, soak):
    n_keys, n_makers = 1_000_000 if soak else 10_000, 8
    bucket = ceph.fresh_bucket(gateway)
    anybody = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*"}]}
    gateway.client().put_bucket_policy(Bucket=bucket, Policy=ceph.compact(anybody))
    with concurrent.futures.ProcessPoolExecutor(n_makers) as makers:
        n_bytes = sum(makers.map(fill_openly, [str(gateway)] * n_makers, [bucket] * n_makers, [range(maker, n_keys, n_makers) for maker in range(n_makers)]))
    (tmp_path / "home").mkdir()
    answer = moves.Mover(tmp_path / "home", gateway)("du", f"s3://{bucket}", "--json", code=0, timeout=1200)
    print(f"{n_keys} real objects: {answer.rss_bytes / 1e6:.0f} MB, {answer.seconds:.1f} s")
    account = json.loads(gateway.admin("bucket", "stats", f"--bucket={bucket}"))["usage"]["rgw.main"]
    totals = answer.report["totals"]
    assert (totals["n_bytes"], totals["n_objects"]) == (account["size"], account["num_objects"]) == (n_bytes, n_keys)
    assert items(answer.report)["owner007"] == (n_keys // 500, sum(number % 40 for number in range(7, n_keys, 500)))
    assert answer.rss_bytes <= MOST_RSS_BYTES * (1 if soak else 0.3)
    if soak:
        # A million deletions take longer than all else; what lies in memory goes with the server.
        return
    ceph.discard(gateway, bucket)


def kept(path, **changed):
    """A Report with something else in it: in its first item, its totals, or itself."""
    report = json.loads(path.read_text())
    for name, value in changed.items():
        where, _, name = name.rpartition("__")
        {"item": report["items"][0], "totals": report["totals"], "": report}[where][name] = value
    return report


@pytest.mark.parametrize("changed, says", [
    ({"item__size_bytes": -5}, "`size_bytes` of `a`"), ({"item__size_bytes": 1e300}, "`size_bytes` of `a`"), ({"item__size_bytes": "x"}, "`size_bytes` of `a`"),
    ({"item__size_bytes": 2**64 - 1}, "`size_bytes` of `a`"), ({"item__size_bytes": None}, "`size_bytes` of `a`"), ({"item__name": 5}, "item 0"),
    ({"totals__n_bytes": -1}, "`totals.n_bytes`"), ({"at": "\x1b[31mred 2026-11-30T"}, "`at`"), ({"at": 5}, "`at`"),
])
def test_an_earlier_report_that_makes_no_sense_is_refused(mover, tmp_path, changed, says):
    (tmp_path / "place/a").mkdir(parents=True)
    (tmp_path / "place/a/x").write_bytes(bytes(5000))
    mover("du", tmp_path / "place", "--save", tmp_path / "before.json", code=0)
    (tmp_path / "before.json").write_text(json.dumps(kept(tmp_path / "before.json", **changed)))
    refused = mover("du", tmp_path / "place", "--since", tmp_path / "before.json", code=1)
    assert says in refused.err and "\x1b" not in refused.text, refused


def test_no_other_file_is_replaced_by_a_report(mover, tmp_path):
    (tmp_path / "place/a").mkdir(parents=True)
    for text in ("my thesis", json.dumps({"schema": "frazil.ls/1"}), json.dumps({"a": 1})):
        (tmp_path / "thesis.txt").write_text(text)
        assert mover("du", tmp_path / "place", "--save", tmp_path / "thesis.txt", code=1) and (tmp_path / "thesis.txt").read_text() == text
    # The first week of the line in the guide, and the second.
    for n_warnings in (1, 0):
        words = ["du", tmp_path / "place", "--since", tmp_path / "last.json", "--save", tmp_path / "this.json"]
        assert len(mover(*words, "--json", code=0).report["warnings"]) == n_warnings
        (tmp_path / "this.json").replace(tmp_path / "last.json")
    mover("du", tmp_path / "place", "--save", tmp_path / "last.json", code=0)
    assert "--save" in mover("du", tmp_path / "place", "--since", tmp_path / "none.json", code=1).err


def test_items_come_a_line_each_and_names_stay_in_order(mover, tmp_path):
    for name in ("a", "evil\u202erraz", "$x$"):
        (tmp_path / "place" / name).mkdir(parents=True)
        (tmp_path / "place" / name / "x").write_bytes(bytes(5000))
    *items, report = map(json.loads, mover("du", tmp_path / "place", "--json=lines", code=0).out.splitlines())
    assert {item["name"] for item in items} - {""} == {"a", "evil\u202erraz", "$x$"} and report["items"] == []
    for words in ([], ["--markdown"]):
        said = mover("du", tmp_path / "place", *words, code=0).out
        assert "\u202e" not in said and "evil" in said
    assert "\\$x\\$" in said
