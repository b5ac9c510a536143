"""A real Ceph on this machine: one monitor, one store in memory and its S3 gateway, on loopback only.

It promises to end what it started, by process number. It knows one user; what is put there the tests know.
"""

import contextlib
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

PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"]
KEY, SECRET = "testkey", "CANARY0testsecret"
MAX_START_SECONDS = 60
MAX_STORE_STARTS = 10

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
mon data avail crit = 1
[mon.a]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
osd class update on start = false
memstore device bytes = 2147483648
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw dns name = localhost
"""


def missing() -> str | None:
    """What must be installed before a Ceph can be started, if anything."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(folder: pathlib.Path):
    """Starts it below `folder`; yields the address of its gateway."""
    for name in ("mon", "osd", "run", "log", "rgw"):
        (folder / name).mkdir(parents=True)
    monitor, port = free_port(), free_port()
    fsid, store = str(uuid.uuid4()), str(uuid.uuid4())
    config = folder / "ceph.conf"
    config.write_text(CONFIG.format(folder=folder, monitor=monitor, port=port, fsid=fsid))
    environment = {**os.environ, "CEPH_CONF": str(config)}

    def run(*words, **options):
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=MAX_START_SECONDS, **options)

    address = f"http://127.0.0.1:{port}"
    try:
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
        run("radosgw-admin", "-n", "client.rgw.a", "--keyring", "/dev/null", "user", "create", "--uid", "test", "--display-name", "test", "--access-key", KEY, "--secret-key", SECRET)
        yield address
    finally:
        # The gateway first: it hangs when the store is gone.
        for name in ("client.rgw.a", "osd.0", "mon.a"):
            stop(folder / "run" / f"{name}.pid")


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


def stop(pid_file):
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    for signal_number, n_times in ((signal.SIGTERM, 50), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        for _ in range(n_times):
            if not pathlib.Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.1)
