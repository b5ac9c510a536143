"""Azurite on this machine: the blobs of Azure, on loopback.

It promises to end what it started, and a container of its own to each who asks. Its one account and key are those that
Microsoft published for it.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time
import uuid

from ceph import free_port
from clients import client

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
MAX_START_SECONDS = 60


class Blobs(str):
    """The address of the account; `connection` is its connection string."""

    @property
    def connection(self) -> str:
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self};"

    def rclone(self, name="azure") -> str:
        """The configuration of a remote of rclone."""
        return f"[{name}]\ntype = azureblob\naccount = {ACCOUNT}\nkey = {KEY}\nendpoint = {self}\n"

    def container(self) -> str:
        """The name of a container that is not there yet."""
        return f"judge-{uuid.uuid4().hex[:16]}"


@contextlib.contextmanager
def running(folder: pathlib.Path):
    """Starts it below `folder`; yields its `Blobs`. Skips the test when it is not installed."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--silent", "--blobHost", "127.0.0.1", "--blobPort", port, "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([client("azurite-blob"), *map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            wait_for(port, process)
            yield Blobs(f"http://127.0.0.1:{port}/{ACCOUNT}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port, process):
    until = time.monotonic() + MAX_START_SECONDS
    while True:
        assert process.poll() is None, f"Azurite ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < until, "Azurite did not start"
            time.sleep(0.1)
