"""What all judges share: the option for the full campaigns, and a clear word when there is nothing to judge."""

import os
import pathlib
import shutil
import signal
import tempfile
import zlib

import pytest

import ceph
import clients
import inboxes
import moves
from command import CORPUS, binary


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="the full campaigns instead of a seeded sample")
    parser.addoption("--seed", type=int, default=20260101, help="the seed of every random choice")


def pytest_report_header():
    found = "found" if (CORPUS / "MANIFEST.tsv").exists() else "NOT THERE: tests that use it are skipped"
    return [f"frazil: {' '.join(binary())}", f"corpus: {CORPUS}, {found}"]


def pytest_sessionstart(session):
    # Whoever ends the tests ends what they started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell lets what it starts in the background ignore it; what is judged is to be as it is in a terminal.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    # The stand-in for moving starts with an environment of its own, and must still find rclone.
    os.environ["STAND_IN_CLIENTS"] = str(clients.folder() / "bin")
    # The index of scans lies in the user's cache; the tests keep one of their own.
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="frazil-test-cache-")
    if not (pathlib.Path(binary()[0]).exists() or shutil.which(binary()[0])):
        pytest.exit(f"there is no binary at {binary()[0]}; build it with `cargo build --release`", returncode=4)


def pytest_configure(config):
    config.addinivalue_line("markers", "one_in(n): a large table, of which the seed chooses one row in n")


def pytest_collection_modifyitems(config, items):
    """Of a large table, which is marked `one_in(n)`, one row in `n` is judged, as the seed chooses; the campaigns judge all."""
    if config.getoption("--soak"):
        return
    seed = config.getoption("--seed")

    def is_chosen(item):
        mark = item.get_closest_marker("one_in")
        return mark is None or zlib.crc32(f"{seed} {item.nodeid}".encode()) % mark.args[0] == 0

    left_out = [item for item in items if not is_chosen(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if is_chosen(item)]


@pytest.fixture(scope="session")
def soak(request):
    return request.config.getoption("--soak")


@pytest.fixture(scope="session")
def seed(request):
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def corpus():
    if not (CORPUS / "MANIFEST.tsv").exists():
        pytest.skip(f"no corpus at {CORPUS}")
    return CORPUS


@pytest.fixture(scope="session")
def gateway(tmp_path_factory, soak):
    """One Ceph for all judges: it takes 12 s to start. Each test has a bucket of its own."""
    if ceph.missing():
        pytest.skip(f"a real Ceph: {ceph.missing()}")
    # It is memory that it holds, and only as much as lies there.
    with ceph.running(pathlib.Path(tmp_path_factory.mktemp("ceph")), device_bytes=(14 if soak else 6) << 30) as started:
        yield started


@pytest.fixture
def bucket(gateway, request):
    """The name of an empty bucket that this test alone uses. What is in it goes when the test is over: it lies in memory."""
    name = ceph.fresh_bucket(gateway)
    yield name
    ceph.discard(gateway, name)


@pytest.fixture
def mover(gateway, tmp_path):
    """The command, with a home of its own and keys for the shared Ceph."""
    (tmp_path / "home").mkdir()
    return moves.Mover(tmp_path / "home", gateway)


@pytest.fixture(params=["bucket", "folder"])
def inbox(request, gateway, bucket, tmp_path):
    """A place of deliveries, once in a bucket and once in a folder."""
    return inboxes.Inbox(request.param, gateway, bucket, tmp_path)


@pytest.fixture
def local(gateway, bucket, tmp_path):
    """A place of deliveries in a folder."""
    return inboxes.Inbox("folder", gateway, bucket, tmp_path)


def pytest_sessionfinish(session):
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if "frazil-test-cache-" in cache:
        shutil.rmtree(cache, ignore_errors=True)
