"""Moving files with the command under judgement: how it is called, trees to move, and what lies where afterwards.

It promises that the command sees nothing of the caller's environment but what is given, and that no secret shows in
anything it says. It does not know how things are moved.
"""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import random
import subprocess

import pytest

import ceph
from command import Answer, binary, measured, spawn

SECRETS = ("CANARY",)
THREADS = 8


@dataclasses.dataclass
class Mover:
    """The command with a home and a server of its own."""

    home: pathlib.Path
    address: str
    key: str = ceph.KEY
    secret: str = ceph.SECRET
    variables: dict = dataclasses.field(default_factory=dict)

    def words(self, words) -> list[str]:
        variables = {
            "PATH": os.environ["PATH"], "HOME": self.home, "XDG_CACHE_HOME": self.home / "cache", "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "us-east-1", "RUST_BACKTRACE": "0", "NO_COLOR": "1", **self.variables,
            **{name: value for name, value in os.environ.items() if name.startswith("STAND_IN")},
        }
        return ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *binary(), *map(str, words)]

    def __call__(self, *words, code=None, timeout=120, cwd=None) -> Answer:
        """Runs it to its end. With `code` that must be how it ends."""
        answer = measured(self.words(words), timeout=timeout, cwd=cwd)
        answer.words = ["frazil", *map(str, words)]
        assert answer.crash() is None, f"{answer.crash()}\n{answer}"
        assert not any(secret in answer.text for secret in SECRETS), f"a secret shows\n{answer}"
        assert code is None or answer.code == code, answer
        return answer

    def start(self, *words, **options):
        """Starts it in a process group of its own."""
        return spawn(self.words(words), **options)


def says_why(answer: Answer) -> bool:
    """Whether a failure is a clear one: a code that means something, and words."""
    return answer.code in (1, 2, 3, 4, 5, 130) and bool(answer.err.strip() or (answer.report or {}).get("error"))


def as_nobody(mover, *words) -> subprocess.CompletedProcess:
    """The command as a user who owns nothing, from a home that all may write to. Only root can be somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    os.chmod(mover.home, 0o777)
    for folder in (mover.home, *mover.home.parents):
        if folder.is_relative_to("/tmp") and str(folder) != "/tmp":
            os.chmod(folder, os.stat(folder).st_mode | 0o055)
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *mover.words(words)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def make_tree(folder: pathlib.Path, seed: int, sizes: dict[str, int]) -> dict[str, str]:
    """Files of these sizes with bytes that the seed chooses; answers what `digests` does."""
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(f"{seed} {name}").randbytes(size))
    return digests(folder)


def digests(folder: pathlib.Path) -> dict[str, str]:
    """The sha256 of each file below `folder`, by its name from there. A link is named with where it points to."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.exists() else []:
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def stored(gateway, bucket: str, prefix="") -> dict[str, str]:
    """The sha256 of each object below `prefix`, by its key from there, as boto3 reads it."""
    return stored_keys(gateway, bucket, ceph.objects(gateway, bucket, prefix), prefix)


def stored_keys(gateway, bucket: str, keys, prefix="") -> dict[str, str]:
    """The same of these keys only."""
    client = gateway.client()

    def digest(key):
        sum_ = hashlib.sha256()
        for piece in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
            sum_.update(piece)
        return key.removeprefix(prefix), sum_.hexdigest()

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        return dict(threads.map(digest, keys))


def put_tree(gateway, bucket: str, prefix: str, folder: pathlib.Path):
    """Puts every file below `folder` there, by boto3."""
    client = gateway.client()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda path: client.put_object(Bucket=bucket, Key=prefix + str(path.relative_to(folder)), Body=path.read_bytes()), [p for p in folder.rglob("*") if p.is_file()]))


def put_all(gateway, bucket: str, contents: dict[str, bytes]):
    client = gateway.client()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda item: client.put_object(Bucket=bucket, Key=item[0], Body=item[1]), contents.items()))


def is_unfinished(name: str) -> bool:
    """Whether this is the name of a file that frazil has not finished, and that nobody takes for the file itself."""
    return any(segment.startswith(".") and "frazil" in segment for segment in name.split("/"))


def differences(wanted: dict, found: dict, *, may_lack=False, unfinished=False) -> list[str]:
    """How `found` differs from `wanted`, a line each."""
    wrong = [f"{name!r}: other bytes" for name in wanted if name in found and found[name] != wanted[name]]
    wrong += [] if may_lack else [f"{name!r}: not there" for name in wanted if name not in found]
    return wrong + [f"{name!r}: should not be there" for name in found if name not in wanted and not (unfinished and is_unfinished(name))]
