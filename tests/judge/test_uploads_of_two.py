"""Uploads that somebody else ends: two copies of one file at once, or a tidy neighbour.

The right bytes are at the key in the end, and that is success; only where an upload is ended again and again does the
command give up, and says that trying later may help.
"""

import hashlib
import random

import pytest

import ceph
from moves import Mover
from passing import door

SIZE = 48 << 20


@pytest.fixture
def source(tmp_path, seed):
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(seed).randbytes(SIZE))
    return path


def digest(content):
    return hashlib.sha256(content).hexdigest()


def at(gateway, bucket, key="large.bin"):
    return digest(gateway.client().get_object(Bucket=bucket, Key=key)["Body"].read())


def ended(gateway, bucket):
    """Ends every upload that is open, as `rclone cleanup` does."""
    for key, upload in ceph.open_uploads(gateway, bucket):
        gateway.client().abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


class Neighbour:
    """Does something before a part, or before the end, of the first uploads."""

    def __init__(self, does, n_times, moment):
        self.does, self.left, self.moment = does, n_times, moment

    def __call__(self, method, path, headers):
        is_moment = {"part": method == "PUT" and "partNumber=2" in path, "end": method == "POST" and "uploadId=" in path}[self.moment]
        if is_moment and self.left:
            self.left -= 1
            self.does()


@pytest.fixture
def mover(gateway, tmp_path):
    (tmp_path / "home").mkdir()
    return Mover(tmp_path / "home", str(gateway))


@pytest.mark.parametrize("moment", ["part", "end"])
@pytest.mark.parametrize("there", ["nothing", "the same", "the same in other parts", "another"])
def test_the_right_bytes_are_there_in_the_end(gateway, bucket, mover, source, moment, there):
    content = source.read_bytes()

    def does():
        ended(gateway, bucket)
        client = gateway.client()
        if there == "the same":
            client.put_object(Bucket=bucket, Key="large.bin", Body=content)
        elif there == "the same in other parts":
            import boto3.s3.transfer

            client.upload_file(str(source), bucket, "large.bin", Config=boto3.s3.transfer.TransferConfig(multipart_threshold=1, multipart_chunksize=8 << 20))
        elif there == "another":
            client.put_object(Bucket=bucket, Key="large.bin", Body=content[:-1] + bytes([content[-1] ^ 1]))

    with door(str(gateway)) as between:
        between.refusal = Neighbour(does, 1, moment)
        mover.address = between.address
        mover("cp", source, f"s3://{bucket}/large.bin", code=0)
        n_begun = sum(method == "POST" and path.endswith("uploads=") for method, path in between.asked)
    assert between.refusal.left == 0, "nothing was ended"
    assert at(gateway, bucket) == digest(content) and not ceph.open_uploads(gateway, bucket)
    assert n_begun == (2 if there in ("nothing", "another") else 1), f"{n_begun} uploads were begun"


def test_whoever_ends_every_upload_is_told_of(gateway, bucket, mover, source):
    with door(str(gateway)) as between:
        between.refusal = Neighbour(lambda: ended(gateway, bucket), 100, "part")
        mover.address = between.address
        answer = mover("cp", source, f"s3://{bucket}/large.bin", "--json", code=5)
    error = answer.report["error"]
    assert "upload" in error["message"] and "large.bin" in error["message"] and error["hint"], answer
    assert not ceph.objects(gateway, bucket)


def test_two_at_once_both_succeed(gateway, bucket, mover, source):
    for number in range(3):
        key = f"two{number}"
        running = [mover.start("cp", source, f"s3://{bucket}/{key}") for _ in range(2)]
        assert [process.wait(120) for process in running] == [0, 0]
        assert at(gateway, bucket, key) == digest(source.read_bytes())
    assert not ceph.open_uploads(gateway, bucket)
