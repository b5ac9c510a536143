"""A real Ceph on this machine: one monitor, one store in memory and its S3 gateway, on loopback only.

It promises to end what it started, by process number. It knows one user and who acts for him; what is put there the
tests know. The gateway answers over http and, with a certificate of its own authority, over https; it hands out
temporary keys.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import tls

PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"]
KEY, SECRET = "testkey", "CANARY0testsecret"
MAX_START_SECONDS = 60
MAX_STORE_STARTS = 10
MAX_STARTS = 3
DISCARD_THREADS = 16

CONFIG = """[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth_allow_insecure_global_id_reclaim = false
ms bind msgr2 = false
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
crash dir = {folder}/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
[mon.a]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
osd class update on start = false
memstore device bytes = {device_bytes}
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1{tls}
rgw data = {folder}/rgw
rgw dns name = localhost
rgw s3 auth use sts = true
rgw sts key = abcdefghijklmnop
rgw lc debug interval = {day_seconds}
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 5
"""


class Gateway(str):
    """The address of the gateway, which is all that most tests need; the rest hangs on it.

    `https` is its address with a certificate, `authority` the file that vouches for it (for `SSL_CERT_FILE`).
    """

    https: str | None
    authority: pathlib.Path | None
    folder: pathlib.Path

    def client(self, service="s3", **options):
        """A client of boto3 for the one user, or for who is named by `options`. It leaves out what Ceph does not know."""
        import boto3
        import botocore.config

        checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        return boto3.client(service, **{
            "endpoint_url": str(self), "aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1",
            "config": botocore.config.Config(max_pool_connections=32, s3={"addressing_style": "path"}, **checksums), **options,
        })

    def admin(self, *words):
        """`radosgw-admin WORDS`; answers what it prints."""
        environment = {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")}
        command = ["radosgw-admin", "-n", "client.rgw.a", "--keyring", "/dev/null", *words]
        return subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=MAX_START_SECONDS).stdout

    def assumed(self, role: str, *statements: dict, seconds=3600) -> dict:
        """Temporary keys of a role, made when there is none of that name, that may do what the `statements` of its policy
        say. Answers `AccessKeyId`, `SecretAccessKey`, `SessionToken` and `Expiration`.
        """
        anyone = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/test"]}, "Action": ["sts:AssumeRole"]}]}
        iam = self.client("iam")
        try:
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=compact(anyone))
        except iam.exceptions.ClientError as error:
            # boto3 does not find the code of an error where Ceph 16 puts it.
            if "EntityAlreadyExists" not in (error.response.get("Code"), error.response.get("Error", {}).get("Code")):
                raise
        iam.put_role_policy(RoleName=role, PolicyName="may", PolicyDocument=compact({"Version": "2012-10-17", "Statement": list(statements)}))
        answer = self.client("sts").assume_role(RoleArn=f"arn:aws:iam:::role/{role}", RoleSessionName="judge", DurationSeconds=seconds)
        return answer["Credentials"]


def compact(policy: dict) -> str:
    """JSON without a space: Ceph 16 takes one, which a form spells `+`, for a plus."""
    return json.dumps(policy, separators=(",", ":"))


def may_use(bucket: str, prefix: str) -> list[dict]:
    """The statements of a policy that lets its holder read, write and list below `prefix` of `bucket`, and nothing else."""
    return [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], "Resource": [f"arn:aws:s3:::{bucket}/{prefix}*"]},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"], "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}}},
    ]


def missing() -> str | None:
    """What must be installed before a Ceph can be started, if anything."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(folder: pathlib.Path, *, device_bytes=2 << 30, day_seconds=-1):
    """Starts it below `folder`, whose path must be short, for the names of its sockets; yields its `Gateway`.

    It holds at most `device_bytes`. With `day_seconds` a day of its lifecycle rules is that long.
    """
    for n_starts in range(MAX_STARTS):
        place = folder / str(n_starts)
        try:
            gateway = start(place, device_bytes, day_seconds)
            break
        except (subprocess.SubprocessError, OSError):
            # Somebody may have taken a port between its choice and its use.
            end(place)
            if n_starts + 1 == MAX_STARTS:
                raise
    try:
        yield gateway
    finally:
        end(place)


def end(folder):
    # The gateway first: it hangs when the store is gone. The store is killed: it would save its memory to the disk.
    for name in ("client.rgw.a", "osd.0", "mon.a"):
        stop(folder / "run" / f"{name}.pid", gently=name != "osd.0")


def start(folder: pathlib.Path, device_bytes, day_seconds) -> Gateway:
    for name in ("mon", "osd", "run", "log", "rgw"):
        (folder / name).mkdir(parents=True)
    monitor, port, tls_port = free_port(), free_port(), free_port()
    fsid, store = str(uuid.uuid4()), str(uuid.uuid4())
    config = folder / "ceph.conf"
    address, tls_words = Gateway(f"http://127.0.0.1:{port}"), ""
    address.https, address.authority, address.folder = None, None, folder
    if tls.missing() is None:
        address.authority = tls.authority(folder / "tls")
        certificate, key = tls.certificate(folder / "tls", "gateway")
        tls_words = f" ssl_endpoint=127.0.0.1:{tls_port} ssl_certificate={certificate} ssl_private_key={key}"
        address.https = f"https://127.0.0.1:{tls_port}"
    config.write_text(CONFIG.format(
        folder=folder, monitor=monitor, port=port, fsid=fsid, tls=tls_words, device_bytes=device_bytes, day_seconds=day_seconds,
    ))
    environment = {**os.environ, "CEPH_CONF": str(config)}

    def run(*words, **options):
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=MAX_START_SECONDS, **options)

    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{monitor}]", folder / "monmap")
    run("ceph-mon", "-i", "a", "--mkfs", "--monmap", folder / "monmap", "--keyring", "/dev/null")
    run("ceph-mon", "-i", "a")
    run("ceph", "osd", "new", store)
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store)
    # Right after it was made the monitor may not know of it yet; then it ends at once.
    for n_tries in range(MAX_STORE_STARTS):
        try:
            run("ceph-osd", "-i", "0")
            break
        except subprocess.CalledProcessError:
            if n_tries + 1 == MAX_STORE_STARTS:
                raise
            time.sleep(1)
    run("radosgw", "-n", "client.rgw.a", "--keyring", "/dev/null")
    wait_for(address)
    run("radosgw-admin", "-n", "client.rgw.a", "--keyring", "/dev/null", "user", "create", "--uid", "test", "--display-name", "test", "--access-key", KEY, "--secret-key", SECRET, "--caps", "roles=*;user-policy=*")
    return address


def fresh_bucket(gateway: Gateway) -> str:
    """A new bucket with a name that nobody else has."""
    name = f"judge-{uuid.uuid4().hex[:16]}"
    gateway.client().create_bucket(Bucket=name)
    return name


def objects(gateway: Gateway, bucket: str, prefix="") -> dict[str, tuple[int, str]]:
    """Every key below `prefix`, with its length and entity tag, as boto3 sees them."""
    pages = gateway.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"]: (item["Size"], item["ETag"].strip('"')) for page in pages for item in page.get("Contents", [])}


def open_uploads(gateway: Gateway, bucket: str) -> list[tuple[str, str]]:
    """Keys and names of the uploads in parts that nobody finished."""
    return [(upload["Key"], upload["UploadId"]) for upload in gateway.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def discard(gateway: Gateway, bucket: str):
    """Removes the bucket and all that is in it."""
    client = gateway.client()
    for key, name in open_uploads(gateway, bucket):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=name)
    remove(gateway, bucket)
    client.delete_bucket(Bucket=bucket)


def remove(gateway: Gateway, bucket: str, prefix=""):
    """Removes every object below `prefix`."""
    client = gateway.client()
    # One by one: the XML of a request for many cannot hold every key.
    with concurrent.futures.ThreadPoolExecutor(DISCARD_THREADS) as threads:
        list(threads.map(lambda key: client.delete_object(Bucket=bucket, Key=key), objects(gateway, bucket, prefix)))


def wait_for(address):
    until = time.monotonic() + MAX_START_SECONDS
    while True:
        try:
            urllib.request.urlopen(address, timeout=2).read()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def stop(pid_file, *, gently):
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    for signal_number, n_times in ((signal.SIGTERM, 50 * gently), (signal.SIGKILL, 10)):
        if n_times == 0:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        for _ in range(n_times):
            if not pathlib.Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.1)
