"""Places of deliveries in folders and in buckets, seen by the file system and by boto3; and what runs beside a judge."""

import contextlib
import os
import signal
import subprocess
import time

import ceph
import moves
from moves import digests, stored

MANIFEST, RECORD, CLAIM = "frazil-delivery.json", "frazil-accepted.json", "frazil-push.json"
OWN = {MANIFEST, RECORD, CLAIM}
MAX_SECONDS = 60


class Inbox:
    """A place of deliveries, in a folder or in a bucket."""

    def __init__(self, kind, gateway, bucket, folder):
        self.kind, self.gateway, self.bucket, self.folder = kind, gateway, bucket, folder / "inbox"
        self.place = f"s3://{bucket}/inbox" if kind == "bucket" else str(self.folder)

    def files(self, name) -> dict:
        """The files of a delivery with their digests, without what it says of itself."""
        found = stored(self.gateway, self.bucket, f"inbox/{name}/") if self.kind == "bucket" else digests(self.folder / name)
        return {file: sum_ for file, sum_ in found.items() if file not in OWN}

    def names(self, name) -> set:
        found = ceph.objects(self.gateway, self.bucket, f"inbox/{name}/") if self.kind == "bucket" else digests(self.folder / name)
        return {file.removeprefix(f"inbox/{name}/") for file in found}

    def text(self, name, file):
        if self.kind == "bucket":
            return self.gateway.client().get_object(Bucket=self.bucket, Key=f"inbox/{name}/{file}")["Body"].read().decode()
        return (self.folder / name / file).read_text()

    def put(self, name, file, text):
        if self.kind == "bucket":
            return self.gateway.client().put_object(Bucket=self.bucket, Key=f"inbox/{name}/{file}", Body=text.encode())
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return (self.folder / name / file).write_text(text)


def another(mover, tmp_path, name, **variables):
    """Another sender: a home of its own, and so no journal of others."""
    (tmp_path / name).mkdir()
    return moves.Mover(tmp_path / name, mover.address, mover.key, mover.secret, {**mover.variables, **variables})


@contextlib.contextmanager
def running(mover, *words, out=subprocess.DEVNULL, err=subprocess.DEVNULL):
    process = mover.start(*words, out=out, err=err)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(true, what):
    end = time.monotonic() + MAX_SECONDS
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
