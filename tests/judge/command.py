"""Runs the frazil command and measures what it costs.

It promises an answer whatever the command does: a crash, a hang and an endless output all come back as an `Answer`.
It does not know what the words of the command mean.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = pathlib.Path(os.environ.get("FRAZIL_CORPUS", ROOT / "../shared/corpus")).resolve()


def binary() -> list[str]:
    """The command under judgement: `$FRAZIL` (several words are allowed), else the release build."""
    if "FRAZIL" in os.environ:
        return shlex.split(os.environ["FRAZIL"])
    return [str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/frazil")]


@dataclasses.dataclass
class Answer:
    """What one run said and cost. `code` is negative for a signal; `timed_out` wins over it."""

    words: list[str]
    code: int
    out: str
    err: str
    seconds: float
    cpu_seconds: float
    rss_bytes: int
    timed_out: bool

    @property
    def report(self) -> dict | None:
        """The Report on stdout, or None if stdout is not exactly one JSON object."""
        try:
            found = json.loads(self.out)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    @property
    def text(self) -> str:
        return self.out + "\n" + self.err

    def crash(self) -> str | None:
        """Why this run counts as a crash, if it does: a signal, a panic, a hang, an unknown exit code."""
        if self.timed_out:
            return f"did not end within {self.seconds:.0f} s"
        if self.code < 0:
            return f"died of {signal.Signals(-self.code).name}"
        if self.code == 101 or "panicked at" in self.err:
            line = next((line for line in self.err.splitlines() if "panicked" in line), "exit code 101")
            return f"panic: {line[:200]}"
        if self.code not in (0, 1, 2, 3, 4, 5, 130):
            return f"unknown exit code {self.code}"
        return None

    def __str__(self) -> str:
        end = "\n".join(self.err.strip().splitlines()[-15:])
        return f"$ {shlex.join(self.words)}\nexit {self.code} after {self.seconds:.2f} s\n{end[-3000:]}\n{self.out[-1500:]}"


# Linux counts the memory of the process that forked into the peak of the one that was executed, and a test process
# with numpy in it is large. So a small process stands in between; it writes code, CPU seconds and peak to its file.
_MEASURE = """
import os, sys
pid = os.fork()
if pid == 0:
    try:
        os.execvp(sys.argv[2], sys.argv[2:])
    finally:
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * 1024}")
"""


def wait(process: subprocess.Popen, timeout: float) -> bool:
    """Waits for `process`; kills its whole group after `timeout` seconds. Says whether it had to."""
    try:
        process.wait(timeout)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def start(words, **options) -> subprocess.Popen:
    """Starts frazil in a process group of its own."""
    return spawn([*binary(), *words], **options)


def spawn(words, *, before=(), cwd=None, env=None, out=None, err=None) -> subprocess.Popen:
    """Starts any command so. `before` are words before it, such as strace and its flags."""
    return subprocess.Popen(
        [*map(str, before), *map(str, words)],
        stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, start_new_session=True,
        env={**os.environ, "RUST_BACKTRACE": "0", "NO_COLOR": "1", **(env or {})},
    )


def measured(words, *, timeout=3600, before=(), cwd=None, env=None) -> Answer:
    """Runs any command to its end, or to `timeout` seconds, and measures it alone."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.NamedTemporaryFile("r") as cost:
        started = time.monotonic()
        measure = [sys.executable, "-I", "-S", "-c", _MEASURE, cost.name, *before]
        timed_out = wait(spawn(words, before=measure, cwd=cwd, env=env, out=out, err=err), timeout)
        seconds = time.monotonic() - started
        code, cpu_seconds, rss_bytes = (cost.read() or "-9 0 0").split()
        texts = []
        for stream in (out, err):
            stream.seek(0)
            # A report of a large corpus is a few megabytes; more than this is itself a finding.
            texts.append(stream.read(64 << 20).decode("utf-8", "replace"))
    return Answer(
        list(map(str, words)), int(code), texts[0], texts[1], seconds, float(cpu_seconds), int(rss_bytes), timed_out
    )


def frazil(*words, timeout=120, before=(), cwd=None, env=None) -> Answer:
    """Runs `frazil WORDS` to its end, or to `timeout` seconds, and measures it alone."""
    answer = measured([*binary(), *words], timeout=timeout, before=before, cwd=cwd, env=env)
    answer.words = ["frazil", *map(str, words)]
    return answer
