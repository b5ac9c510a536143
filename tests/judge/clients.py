"""Where the clients of others lie: rclone, s5cmd, the AWS command, s3fs, gcsfs, adlfs, Azurite.

It promises the versions that `tests/requirements-clients.txt` pins, from the folder that `tests/run` made of it, or a
sentence why a test cannot have them. It does not know what they do.
"""

import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess

import pytest

from command import ROOT

# Read when the judges begin: later each of them has a cache of its own.
CACHES = pathlib.Path(
    os.environ.get("FRAZIL_TEST_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "frazil-tests"
)


def folder() -> pathlib.Path:
    """The Python environment of the clients."""
    return CACHES / hashlib.sha256((ROOT / "tests/requirements-clients.txt").read_bytes()).hexdigest()[:12]


def path_of(name: str) -> pathlib.Path | None:
    """The program `name`: `rclone`, `s5cmd`, `aws`, `python` (which has s3fs, gcsfs, adlfs, obstore), `azurite-blob`."""
    if name.startswith("azurite"):
        version = re.search(r"^azurite=(\S+)", (ROOT / "tests/run").read_text(), re.MULTILINE)
        found = CACHES / f"azurite-{version[1] if version else ''}" / "node_modules/.bin" / name
    else:
        found = folder() / "bin" / name
    return found if found.exists() else None


def client(name: str) -> str:
    """The same, as a word of a command; the test is skipped when it is not there."""
    found = path_of(name)
    if found is None:
        pytest.skip(f"{name} is not installed; `tests/run --only judges-tools` installs it")
    return str(found)


def asked(code: str, *words, env=None, timeout=120):
    """What Python with the clients prints as JSON. `words` are its `sys.argv[1:]`."""
    answer = subprocess.run(
        [client("python"), "-W", "ignore", "-c", code, *map(str, words)],
        capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})},
    )
    assert answer.returncode == 0, f"the client failed: {answer.stderr.strip()[-2000:]}"
    return json.loads(answer.stdout)


def rclone(*words, config: str, timeout=60, check=True) -> subprocess.CompletedProcess:
    """`rclone WORDS` with `config` as its only configuration."""
    read, write = os.pipe()
    os.write(write, config.encode())
    os.close(write)
    try:
        answer = subprocess.run(
            [client("rclone"), *map(str, words), "--config", f"/dev/fd/{read}"],
            capture_output=True, text=True, errors="surrogateescape", timeout=timeout, pass_fds=[read],
            env={name: value for name, value in os.environ.items() if not name.startswith(("RCLONE_", "AWS_"))},
        )
    finally:
        os.close(read)
    assert answer.returncode == 0 or not check, f"rclone {words}: {answer.stderr.strip()[-2000:]}"
    return answer


def rclone_s3(address: str, key: str, secret: str, name="ceph", **more) -> str:
    """The configuration of one S3 remote."""
    lines = {"type": "s3", "provider": "Ceph", "endpoint": address, "access_key_id": key, "secret_access_key": secret, "force_path_style": "true", **more}
    return f"[{name}]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


@functools.cache
def has_verb(verb: str) -> str | None:
    """None when the command under judgement knows `verb`; else why a test of it cannot run."""
    from command import frazil

    answer = frazil(verb, "--help", timeout=20)
    return None if answer.code == 0 and not answer.timed_out else f"this frazil has no `{verb}`"


def needs(*verbs: str):
    """Skips the test unless the command under judgement knows all these verbs."""
    for verb in verbs:
        if reason := has_verb(verb):
            pytest.skip(reason)


@functools.cache
def has_target(target: str) -> bool:
    """Whether `convert --to TARGET` is known: a command line that lacks sources is wrong in another way than an unknown word."""
    from command import frazil

    answer = frazil("convert", "/nonexistent/no.nc", "/nonexistent/dest", "--to", target, "--json", timeout=20)
    return answer.code != 2 and "panicked" not in answer.err


def needs_target(target: str):
    """Skips the test unless the command under judgement writes this."""
    if not has_target(target):
        pytest.skip(f"this frazil does not write `{target}`")
