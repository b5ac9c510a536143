"""What all judges share: the option for the full campaigns, and a clear word when there is nothing to judge."""

import os
import pathlib
import shutil
import tempfile

import pytest

from command import CORPUS, binary


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="the full campaigns instead of a seeded sample")
    parser.addoption("--seed", type=int, default=20260101, help="the seed of every random choice")


def pytest_report_header():
    found = "found" if (CORPUS / "MANIFEST.tsv").exists() else "NOT THERE: tests that use it are skipped"
    return [f"frazil: {' '.join(binary())}", f"corpus: {CORPUS}, {found}"]


def pytest_sessionstart(session):
    # The index of scans lies in the user's cache; the tests keep one of their own.
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="frazil-test-cache-")
    if not (pathlib.Path(binary()[0]).exists() or shutil.which(binary()[0])):
        pytest.exit(f"there is no binary at {binary()[0]}; build it with `cargo build --release`", returncode=4)


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


def pytest_sessionfinish(session):
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if "frazil-test-cache-" in cache:
        shutil.rmtree(cache, ignore_errors=True)
