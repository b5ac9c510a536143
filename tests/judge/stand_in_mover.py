#!/usr/bin/env python3
"""A stand-in for frazil that moves files with rclone: the judges of moving are tried with it.

`FRAZIL="python3 tests/judge/stand_in_mover.py"` puts it in frazil's place. It promises frazil's words and exit codes as
far as rclone can fill them, and only the simplest of the guards. `$STAND_IN` makes it wrong in one chosen way.
"""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

VERBS = ("ls", "cp", "sync", "rm")
FLAGS_WITH_VALUE = ("--profile", "--include", "--exclude", "--max-objects")
FAULT = os.environ.get("STAND_IN", "")
# The caches of the clients lie in the home of whoever runs the tests, which a test may have taken away.
CLIENTS = pathlib.Path(os.environ.get("STAND_IN_CLIENTS", "/nonexistent"))


def report(verb, code, message=None, items=()):
    problem = message and {"code": "stand-in.failed", "message": message, "cause": None, "hint": None, "exit": code}
    print(json.dumps({"schema": f"frazil.{verb}/1", "ok": code == 0, "dry_run": False, "seconds": 0.0, "totals": {}, "items": list(items), "warnings": [], "error": problem}))
    if message:
        print(f"error: {message}", file=sys.stderr)
    return code


def place(text):
    """A location as rclone writes it."""
    return "s3:" + text.removeprefix("s3://") if text.startswith("s3://") else str(pathlib.Path(text).absolute()) + "/" * text.endswith("/")


def is_folder(text):
    return text.endswith("/") or ("://" not in text and pathlib.Path(text).is_dir())


def main():
    words = sys.argv[1:]
    if words[0] not in VERBS:
        return 2
    if "--help" in words:
        print("usage")
        return 0
    verb, places, options, flags = words[0], [], {}, set()
    rest = iter(words[1:])
    for word in rest:
        if word in FLAGS_WITH_VALUE:
            options[word] = next(rest)
        elif word.startswith("-"):
            flags.add(word)
        else:
            places.append(word)
    environment = {
        **os.environ, "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "Ceph", "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG_S3_ENDPOINT": os.environ["AWS_ENDPOINT_URL"], "RCLONE_CONFIG_S3_ENCODING": "None", "RCLONE_LOCAL_ENCODING": "Slash",
    }
    tuned = ["--s3-no-check-bucket", "--transfers", "8", "--checkers", "8", "--retries", "2", "--low-level-retries", "6", "--timeout", "15s", "--contimeout", "5s",
             "--s3-upload-cutoff", "8M", "--s3-chunk-size", "5M", "--multi-thread-cutoff", "8M"]
    if "-n" in flags:
        tuned.append("--dry-run")
    if verb == "ls":
        command = ["lsjson", "-R", place(places[0])]
    elif verb == "cp":
        source, dest = places
        if dest.endswith("/") and not is_folder(source):
            dest += source.rsplit("/", 1)[-1]
        elif dest.endswith("/"):
            dest += source.rstrip("/").rsplit("/", 1)[-1]
        command = ["copy" if is_folder(source) else "copyto", place(source), place(dest)]
    elif verb == "sync":
        command = ["sync" if "--delete" in flags else "copy", *(["--checksum"] if "--checksum" in flags else []), *map(place, places)]
    else:
        if "--yes" not in flags or place(places[0]).rstrip("/").count("/") < 1:
            return report(verb, 1, "that needs a plan and `--yes`")
        command = ["delete" if is_folder(places[0]) else "deletefile", place(places[0])]
    answer = subprocess.run([CLIENTS / "rclone", *command, *tuned], capture_output=True, text=True, errors="replace", env=environment)
    if FAULT == "silent":
        return report(verb, 0)
    code = {0: 0, 3: 1, 4: 1}.get(answer.returncode, 4 if "InvalidAccessKeyId" in answer.stderr or "ExpiredToken" in answer.stderr else 5)
    if code:
        return report(verb, code, answer.stderr.strip()[-1500:] or f"rclone ended with {answer.returncode}")
    items = [{"path": item["Path"], "size_bytes": item["Size"]} for item in json.loads(answer.stdout)] if verb == "ls" else []
    return report(verb, 0, items=items)


if __name__ == "__main__":
    sys.exit(main())
