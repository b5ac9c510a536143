#!/usr/bin/env python3
"""Transfers, side by side in one run: frazil, s5cmd, rclone, aws-cli and s3fs on the same real Ceph on this machine.

It promises that all of them move the same files, each to a place of its own that is empty before; that what they moved
is counted and weighed, and some of it read, before their figures stand; and that who fails is shown as failed. `limit` is
`curl` on a bucket that asks for no signature: what this Ceph gives and takes on these cores, whoever asks. Ceph runs on the
same cores as the clients, so wall time is the time of both.

    bench/transfer.py [--small 2000x20000] [--large 2x64] [--keys 20000] [--rows small-up …] [--only frazil s5cmd …]
    bench/transfer.py --small 20000x20000 --large 8x256 --keys 1000000      what the aims are about
"""

import argparse
import concurrent.futures
import dataclasses
import json
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/judge")]

import ceph  # noqa: E402
import clients  # noqa: E402
from command import binary, measured  # noqa: E402
from fields import DATA  # noqa: E402

MIB = 1 << 20
MAX_WINDOW_BYTES = 64 * MIB
MAX_RSS_BYTES = 96_000_000 + MAX_WINDOW_BYTES
MAX_LISTING_RSS_BYTES = 300_000_000
MAX_RUN_SECONDS = 3600
N_READ = 20
MAKERS, PIPELINED = 8, 64
CONTESTANTS = ["limit", "s5cmd", "rclone", "rclone tuned", "aws-cli", "s3fs", "frazil"]
# Of small files and of large ones: to the server, from it, on it, again when nothing has changed, and whether both are the same.
ROWS = [f"{size}-{way}" for size in ("small", "large") for way in ("up", "down", "server-side", "again", "check")] + ["listing"]
# With what a contestant leaves the places as they are.
STILL = ("again", "check")
TUNED = ["--fast-list", "--checksum", "--transfers", "32", "--checkers", "32", "--s3-upload-concurrency", "8", "--s3-chunk-size", "16M", "--s3-no-check-bucket", "--s3-no-head", "--multi-thread-streams", "8"]
S3FS = """
import sys, s3fs
way, source, dest = sys.argv[1:4]
fs = s3fs.S3FileSystem(endpoint_url=sys.argv[4], config_kwargs={"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"})
if way == "up": fs.put(source + "/", dest + "/", recursive=True)
if way == "down": fs.get(source + "/", dest + "/", recursive=True)
if way == "server-side": fs.copy(source + "/", dest + "/", recursive=True)
if way == "listing": print("\\n".join(fs.find(source)))
"""


@dataclasses.dataclass
class Field:
    """The server and the places on it. `open` is a bucket that asks nobody for a signature."""

    gateway: ceph.Gateway
    bucket: str
    open: str
    work: pathlib.Path

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": ceph.KEY, "AWS_SECRET_ACCESS_KEY": ceph.SECRET, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": str(self.gateway),
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required", "AWS_CONFIG_FILE": "/dev/null",
            "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "Ceph", "RCLONE_CONFIG_S3_ENV_AUTH": "true", "RCLONE_CONFIG_S3_ENDPOINT": str(self.gateway),
            "HOME": str(self.work / "home"), "XDG_CACHE_HOME": str(self.work / "home/cache"),
        }


def commands(field: Field, way: str, source, dest) -> dict[str, list | None]:
    """The words of each contestant, or None where it has none. `source` and `dest` are a folder or a prefix without its slash."""
    program = {name: clients.path_of(name) for name in ("s5cmd", "rclone", "aws", "python")}
    there, here = f"s3://{field.bucket}/", str(field.gateway)

    def at(place, start, end=""):
        return f"{start}{field.bucket}/{place}{end}" if isinstance(place, str) else f"{place}{end}"

    rclone = ["sync" if way == "again" else "copy", at(source, "s3:"), at(dest, "s3:")]
    found = {
        "frazil": [*binary(), "sync" if way == "again" else "cp", at(source, "s3://", "/" if isinstance(source, str) else ""), at(dest, "s3://")],
        "s5cmd": ["--endpoint-url", here, *(["sync"] if way == "again" else ["cp"]), at(source, "s3://", "/*"), at(dest, "s3://", "/")],
        "rclone": rclone, "rclone tuned": [*rclone, *TUNED],
        "aws-cli": ["s3", "sync" if way == "again" else "cp", *([] if way == "again" else ["--recursive"]), "--only-show-errors", at(source, "s3://", "/"), at(dest, "s3://", "/")],
        "s3fs": None if way == "again" else ["-W", "ignore", "-c", S3FS, way, at(source, ""), at(dest, ""), here],
    }
    if way == "check":
        compared = ["check", at(source, "s3:"), at(dest, "s3:")]
        found = {**dict.fromkeys(found), "frazil": [*binary(), "check", at(source, "s3://"), at(dest, "s3://")], "rclone": compared, "rclone tuned": [*compared, "--fast-list", "--checkers", "32"]}
    if way == "listing":
        found = {
            "frazil": [*binary(), "ls", f"{there}{source}/"], "s5cmd": ["--endpoint-url", here, "ls", f"{there}{source}/*"],
            "rclone": ["lsf", "-R", f"s3:{field.bucket}/{source}"], "rclone tuned": ["lsf", "-R", "--fast-list", "--files-only", f"s3:{field.bucket}/{source}"],
            "aws-cli": ["s3", "ls", "--recursive", f"{there}{source}/"], "s3fs": ["-W", "ignore", "-c", S3FS, way, f"{field.bucket}/{source}", "", here],
        }
    of = {"s5cmd": "s5cmd", "rclone": "rclone", "rclone tuned": "rclone", "aws-cli": "aws", "s3fs": "python"}
    return {name: words if name == "frazil" or words is None else [program[of[name]] or f"{of[name]}-is-not-installed", *words] for name, words in found.items()}


def limit(field: Field, way: str, source, dest, names) -> list:
    """`curl`, many at once, with nothing signed. None where a signature is needed or nothing is to be moved."""
    base = f"{field.gateway}/{field.open}"
    if way not in ("up", "down"):
        return None
    lines = []
    for name in names:
        address = f"{base}/{dest if way == 'up' else source}/{urllib.parse.quote(name)}"
        lines.append(f'url = "{address}"\n' + (f'upload-file = "{source / name}"\n' if way == "up" else f'output = "{dest / name}"\n'))
    config = field.work / "curl.conf"
    config.write_text("".join(lines))
    return ["curl", "--silent", "--fail", "--fail-early", "--parallel", "--parallel-max", "32", "--create-dirs", "--config", config]


def make_files(folder: pathlib.Path, n: int, size: int) -> list[str]:
    """Files of `size` bytes that do not compress and are not alike, in folders of a thousand."""
    names = [f"{number // 1000:03}/{number:06}" for number in range(n)]
    if not (folder / names[-1]).exists() or (folder / names[-1]).stat().st_size != size:
        shutil.rmtree(folder, ignore_errors=True)
        block = random.Random(size).randbytes(min(size, MIB))
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("wb") as file:
                file.write(number.to_bytes(8, "big") + block[8:])
                for start in range(len(block), size, len(block)):
                    file.write(start.to_bytes(8, "big") + block[8 : min(len(block), size - start)])
    for name in names:
        (folder / name).read_bytes()
    return names


def make_keys(gateway: ceph.Gateway, bucket: str, prefix: str, n: int):
    """Objects of one byte, cheaply: unsigned, and many requests in a row on each connection."""
    host, port = gateway.removeprefix("http://").split(":")

    def some(first):
        with socket.create_connection((host, int(port))) as connection:
            reader = connection.makefile("rb")
            for start in range(first, n, MAKERS * PIPELINED):
                numbers = range(start, min(start + PIPELINED, n))
                connection.sendall(b"".join(b"PUT /%s/%s/%08d HTTP/1.1\r\nHost: %s:%s\r\nContent-Length: 1\r\n\r\nx" % (bucket.encode(), prefix.encode(), k, host.encode(), port.encode()) for k in numbers))
                for _ in numbers:
                    status = reader.readline()
                    if b" 200 " not in status:
                        raise SystemExit(f"making keys: {status!r}")
                    n_bytes = 0
                    while line := reader.readline().strip():
                        if line.lower().startswith(b"content-length:"):
                            n_bytes = int(line.split(b":")[1])
                    reader.read(n_bytes)

    with concurrent.futures.ThreadPoolExecutor(MAKERS) as threads:
        list(threads.map(some, [maker * PIPELINED for maker in range(MAKERS)]))


def wrong_about(field: Field, bucket, dest, names, size, original) -> str | None:
    """Why what a contestant left at `dest` is not what it should be."""
    if isinstance(dest, pathlib.Path):
        found = {str(path.relative_to(dest)): path.stat().st_size for path in dest.rglob("*") if path.is_file()}
    else:
        found = {key.removeprefix(f"{dest}/"): n_bytes for key, (n_bytes, _) in ceph.objects(field.gateway, bucket, f"{dest}/").items() if not key.endswith("/")}
    if found != dict.fromkeys(names, size):
        return f"{len(found)} of {len(names)} files, {sum(found.values())} of {len(names) * size} bytes"
    for name in random.Random(1).sample(names, min(N_READ, len(names))):
        wanted = (original / name).read_bytes()
        content = (dest / name).read_bytes() if isinstance(dest, pathlib.Path) else field.gateway.client().get_object(Bucket=bucket, Key=f"{dest}/{name}")["Body"].read()
        if content != wanted:
            return f"other bytes in {name}"
    return None


def empty(field: Field, bucket: str, prefix: str):
    """Removes what lies below `prefix`, and waits until the memory is free."""
    client = field.gateway.client()
    keys = [{"Key": key} for key in ceph.objects(field.gateway, bucket, prefix)]
    with concurrent.futures.ThreadPoolExecutor(MAKERS) as threads:
        list(threads.map(lambda start: client.delete_objects(Bucket=bucket, Delete={"Objects": keys[start : start + 1000], "Quiet": True}), range(0, len(keys), 1000)))
    for key, name in ceph.open_uploads(field.gateway, bucket):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=name)
    field.gateway.admin("gc", "process", "--include-all")


class Table:
    """The figures of a row as they come, and what was missed."""

    def __init__(self):
        self.results, self.missed = [], []

    def row(self, title):
        print(f"\n{title}\n    {'':14}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}   ", flush=True)
        self.costs = {}

    def add(self, row, name, answer, problem):
        if problem:
            print(f"    {name:14}failed: {problem[:200]}", flush=True)
            self.results.append({"row": row, "name": name, "failed": problem})
            return
        self.costs[name] = answer
        print(f"    {name:14}{answer.seconds:9.2f}{answer.cpu_seconds:9.2f}{answer.rss_bytes / 1e6:9.0f}", flush=True)
        self.results.append({"row": row, "name": name, "wall": answer.seconds, "cpu": answer.cpu_seconds, "rss_bytes": answer.rss_bytes})

    def judge(self, row):
        ours = self.costs.get("frazil")
        others = {name: answer for name, answer in self.costs.items() if name not in ("frazil", "limit")}
        if ours is None or not others:
            return
        best = min(others, key=lambda name: others[name].seconds)
        ratio = ours.seconds / others[best].seconds
        limit_text = f", {ours.seconds / self.costs['limit'].seconds:.2f} x the limit" if "limit" in self.costs else ""
        print(f"    frazil takes {ratio:.2f} x the wall of the best ({best}){limit_text}", flush=True)
        self.missed += [f"{row}: wall {ratio:.2f} x {best}; 1 is the aim"] * (ratio > 1)
        if "s5cmd" in others:
            cpu = ours.cpu_seconds / max(others["s5cmd"].cpu_seconds, 0.01)
            self.missed += [f"{row}: CPU {cpu:.2f} x s5cmd; 1 is the aim"] * (cpu > 1)
        most = MAX_LISTING_RSS_BYTES if row == "listing" else MAX_RSS_BYTES
        self.missed += [f"{row}: peak {ours.rss_bytes / 1e6:.0f} MB; {most / 1e6:.0f} MB is the aim"] * (ours.rss_bytes > most)


def best_of(n, run):
    """The fastest of `n` runs, or the first that failed: (answer, problem)."""
    best = None
    for _ in range(n):
        answer, problem = run()
        if problem:
            return answer, problem
        best = min(best or answer, answer, key=lambda a: a.seconds)
    return best, None


def why(answer) -> str | None:
    if answer.timed_out or answer.code != 0:
        return f"exit {answer.code}: {' '.join(answer.err.strip().splitlines()[-2:])[-180:]}"
    return None


def move_rows(field: Field, size_name, n, size, arguments, table: Table):
    """The rows of `n` files of `size` bytes."""
    folder = DATA / f"transfer-{n}x{size}"
    names = make_files(folder, n, size)
    source = f"{size_name}-source"
    rows = [row for row in arguments.rows if row.startswith(size_name)]
    if rows:
        first = measured(commands(field, "up", folder, source)["rclone tuned"], env=field.environment())
        assert first.code == 0 and wrong_about(field, field.bucket, source, names, size, folder) is None, f"the source could not be laid: {first}"
    for row in rows:
        way = row.removeprefix(f"{size_name}-")
        table.row(f"{row}: {n} files of {size:,} bytes")
        for name in arguments.only:
            dest = field.work / "down" if way == "down" else source if way in STILL else f"{size_name}-{way}-{name.replace(' ', '-')}"
            bucket = field.open if name == "limit" else field.bucket
            start = source if way in ("down", "server-side") else folder
            if name == "limit" and way == "down":
                words = limit(field, "up", folder, source, names)
                measured(words, timeout=MAX_RUN_SECONDS)
            words = limit(field, way, start, dest, names) if name == "limit" else commands(field, way, start, dest)[name]
            if words is None:
                print(f"    {name:14}has none", flush=True)
                continue

            def run():
                if isinstance(dest, pathlib.Path):
                    shutil.rmtree(dest, ignore_errors=True)
                    dest.mkdir(parents=True)
                elif way not in STILL:
                    empty(field, bucket, f"{dest}/")
                answer = measured(words, env=field.environment(), timeout=MAX_RUN_SECONDS, cwd=field.work)
                return answer, why(answer) or wrong_about(field, bucket, dest, names, size, folder)

            table.add(row, name, *best_of(arguments.repeat, run))
            if isinstance(dest, str) and way not in STILL:
                empty(field, bucket, f"{dest}/")
            if name == "limit" and way == "down":
                empty(field, field.open, f"{source}/")
            shutil.rmtree(field.work / "down", ignore_errors=True)
        table.judge(row)
    if rows:
        empty(field, field.bucket, f"{source}/")


def listing_row(field: Field, n, arguments, table: Table):
    started = time.monotonic()
    make_keys(field.gateway, field.open, "keys", n)
    print(f"\n{n} keys made in {time.monotonic() - started:.0f} s", flush=True)
    table.row(f"listing: {n} keys, flat")
    place = dataclasses.replace(field, bucket=field.open)
    for name in arguments.only:
        words = [sys.executable, "-c", LIST_LOOP, str(field.gateway), field.open] if name == "limit" else commands(place, "listing", "keys", None)[name]

        def run():
            answer = listed(words, field)
            return answer, why(answer) or (None if answer.n_lines >= n else f"{answer.n_lines} of {n} keys")

        table.add("listing", name, *best_of(arguments.repeat, run))
    table.judge("listing")


# Page after page over one connection, with nothing read but the token of the next: no listing is faster than its pages.
LIST_LOOP = """
import http.client, re, sys, urllib.parse
server = http.client.HTTPConnection(sys.argv[1].removeprefix("http://"))
token = ""
while True:
    server.request("GET", f"/{sys.argv[2]}?list-type=2&prefix=keys/" + (f"&continuation-token={urllib.parse.quote(token)}" if token else ""))
    body = server.getresponse().read()
    print("\\n" * (body.count(b"<Contents>") - 1))
    found = re.search(rb"<NextContinuationToken>(.*?)<", body)
    if not found:
        break
    token = found[1].decode()
"""


def listed(words, field):
    """Runs it with its answer in a file, of which the lines are counted: a million of them are no text to hold."""
    out = field.work / "listed"
    # The shell adds nothing to the figures of what it becomes.
    answer = measured(["bash", "-c", 'exec "$@" >"$0"', out, *words], env=field.environment(), timeout=MAX_RUN_SECONDS)
    with out.open("rb") as file:
        answer.n_lines = sum(block.count(b"\n") for block in iter(lambda: file.read(MIB), b""))
    out.unlink()
    return answer


def pair(text) -> tuple[int, int]:
    n, _, size = text.partition("x")
    return int(n), int(size)


def main() -> int:
    parser = argparse.ArgumentParser(description="transfers, side by side")
    parser.add_argument("--small", type=pair, default=(2000, 20_000), help="how many x bytes each")
    parser.add_argument("--large", type=pair, default=(2, 64), help="how many x MiB each")
    parser.add_argument("--keys", type=int, default=20_000, help="how many keys are listed")
    parser.add_argument("--rows", nargs="*", default=ROWS, choices=ROWS)
    parser.add_argument("--only", nargs="*", default=CONTESTANTS, choices=CONTESTANTS)
    parser.add_argument("--without", nargs="*", default=[], choices=CONTESTANTS)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--device-gib", type=int, help="what Ceph may hold, in memory; else four times what is moved, and two")
    parser.add_argument("--work", type=pathlib.Path, default=DATA / "work", help="where downloads are written")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.only = [name for name in CONTESTANTS if name in arguments.only and name not in arguments.without]
    # Whoever ends this ends the server that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if ceph.missing():
        raise SystemExit(f"no Ceph: {ceph.missing()}")
    moved = max(arguments.small[0] * arguments.small[1], arguments.large[0] * arguments.large[1] * MIB)
    # An object costs Ceph some kilobytes beside its bytes.
    device_bytes = (arguments.device_gib << 30) if arguments.device_gib else 4 * moved + arguments.keys * 8192 + (2 << 30)
    work = arguments.work / "frazil-transfer"
    shutil.rmtree(work, ignore_errors=True)
    (work / "home").mkdir(parents=True)
    table = Table()
    with tempfile.TemporaryDirectory(prefix="frazil-ceph-") as folder, ceph.running(pathlib.Path(folder) / "c", device_bytes=device_bytes) as gateway:
        field = Field(gateway, ceph.fresh_bucket(gateway), "judge-open", work)
        gateway.client().create_bucket(Bucket=field.open, ACL="public-read-write")
        anyone = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{field.open}/*"]}
        gateway.client().put_bucket_policy(Bucket=field.open, Policy=json.dumps({"Version": "2012-10-17", "Statement": [anyone]}))
        # The server's own first requests are slow; they are in nobody's figures.
        make_keys(gateway, field.open, "warm", 200)
        move_rows(field, "small", *arguments.small, arguments, table)
        move_rows(field, "large", arguments.large[0], arguments.large[1] * MIB, arguments, table)
        if "listing" in arguments.rows:
            listing_row(field, arguments.keys, arguments, table)
    shutil.rmtree(work, ignore_errors=True)
    if arguments.json:
        print(json.dumps(table.results))
    failed = [f"{result['row']}: frazil failed: {result['failed'][:120]}" for result in table.results if result["name"] == "frazil" and "failed" in result]
    missed = table.missed + failed
    print("\n" + ("\n".join(f"missed: {line}" for line in missed) or "every aim was met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
