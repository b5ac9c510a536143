"""No secret shows: not in what is said, not in what is kept, not in what other processes can see, whatever goes wrong.

Each secret holds the word `CANARY`. It is looked for on stdout and stderr, in Reports, in plans, journals, receipts and
stores on disk and in a bucket while a build is under way and after it was killed, in the cache, in words and variables of
processes, in panics and in dumps of memory. `--soak` damages more files of keys.
"""

import base64
import contextlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest

import ceph
from command import ROOT, binary, spawn
from homes import CANARY, Home, answering, keys_of, slowly

FILE = (ROOT / "examples/sea-surface/data/sst_200101.nc").read_bytes()
SOURCES = sorted((ROOT / "examples/sea-surface/data").glob("*.nc"))
CREDENTIALS, CONFIG, RCLONE, OWN = ".aws/credentials", ".aws/config", ".config/rclone/rclone.conf", ".config/frazil/profiles.conf"
ADC, TOKEN = ".config/gcloud/application_default_credentials.json", "CANARYtoken"
N_DAMAGES, SOAK_N_DAMAGES = 4, 60
NOWHERE = "http://127.0.0.1:9"
# A damaged file may have lost the server it is for, and the usual one must not be asked.
KEPT_HERE = {"ALL_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
# Encoded, a secret is a secret still.
SHAPES = [CANARY.encode(), base64.b64encode(b"CANARY")[:-2], CANARY.encode("utf-16-le")]


def shows(content: bytes) -> bool:
    return any(shape in content for shape in SHAPES)


def fixed(key=ceph.KEY, secret=ceph.SECRET):
    return f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"


@pytest.fixture(scope="module")
def data(gateway):
    name = ceph.fresh_bucket(gateway)
    for path in SOURCES:
        gateway.client().put_object(Bucket=name, Key=f"sst/{path.name}", Body=path.read_bytes())
    yield name
    ceph.discard(gateway, name)


def kept(folder: pathlib.Path, but=()) -> list[str]:
    """Files below a folder in which, or in whose names, a secret shows."""
    found = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name in but:
            continue
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            if shows(name.encode()) or (path.is_file() and shows(path.read_bytes())):
                found.append(name)
    return found


def kept_in(gateway, bucket, prefix="") -> list[str]:
    """Objects, and what is said of them, in which a secret shows."""
    client, found = gateway.client(), []
    for key in ceph.objects(gateway, bucket, prefix):
        with contextlib.suppress(client.exceptions.NoSuchKey):
            answer = client.get_object(Bucket=bucket, Key=key)
            said = json.dumps({name: value for name, value in answer["ResponseMetadata"]["HTTPHeaders"].items()}) + json.dumps(answer["Metadata"])
            if shows(key.encode()) or shows(said.encode()) or shows(answer["Body"].read()):
                found.append(key)
    return found + [key for key, _ in ceph.open_uploads(gateway, bucket) if shows(key.encode())]


# Outcomes, by what stands in the file of keys.
OUTCOMES = {"works": ceph.SECRET, "wrong secret": "CANARYwrong", "ended token": f"{ceph.SECRET}\naws_session_token = CANARYended"}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_no_verb_shows_a_secret_however_it_ends(gateway, data, bucket, tmp_path, outcome):
    files = {CREDENTIALS: f"[c]\n{fixed(secret=OUTCOMES[outcome])}", CONFIG: f"[profile c]\nendpoint_url = {gateway}\n"}
    home = Home(tmp_path, files)
    shutil.copy(SOURCES[0], tmp_path / "a.nc")
    home.write("recipe.yaml", f"recipe: 1\nid: sst\nsources: {{f: {{glob: 'c:{data}/sst/sst_*.nc', match: 'sst_(?P<month>\\d+)\\.nc'}}}}\ncombine: {{along: time}}\nwrite: {{zarr: {{codec: zstd:3}}}}\n")
    there = f"c:{bucket}/out"
    verbs = [
        ["ls", f"c:{data}/sst/"], ["ls", "c:"], ["cp", tmp_path / "a.nc", f"{there}/a.nc"], ["cp", f"c:{data}/sst/", f"{there}/copy"], ["sync", f"c:{data}/sst/", tmp_path / "down"],
        ["rm", f"{there}/a.nc", "--yes"], ["inspect", f"c:{data}/sst/*.nc"], ["convert", f"c:{data}/sst/*.nc", f"{there}/z.zarr", "--to", "zarr"],
        ["convert", f"c:{data}/sst/*.nc", tmp_path / "z.zarr", "--to", "zarr"], ["build", tmp_path / "recipe.yaml", "--to", f"{there}/b.zarr", "--plan-only"],
        ["build", tmp_path / "recipe.yaml", "--to", f"{there}/b.zarr"], ["verify", f"{there}/z.zarr"], ["profile", "list"], ["profile", "check", "c", f"{bucket}/"],
        ["profile", "explain", f"{there}/a.nc"], ["check", f"c:{data}/sst/", f"{there}/copy"],
        ["profile", "token", f"{there}/", "--mode", "read", "--role", "nobody", "--out", tmp_path / "token.json"], ["profile", "erase", "-n"], ["feedstock", "lint", tmp_path / "recipe.yaml"],
    ]
    for number, verb in enumerate(verbs):
        # At the most that is said, as text or as a Report.
        answer = home.frazil(*verb, "-v", *(["--json"] if number % 2 == 0 else []), code=None)
        touches = verb[0] not in ("profile", "feedstock")
        assert (answer.code == 0) == (outcome == "works") or not touches or verb[:2] == ["ls", "c:"], answer
        assert shows(answer.text.encode()) is False
    for verb in verbs[:3]:
        home.frazil(*verb, "--json", "-v", code=None)
    assert kept(tmp_path, but=[*files, "a.nc"]) == [] and kept_in(gateway, bucket) == []


def good(address) -> dict[str, tuple[dict, dict, str]]:
    """Files of keys of every kind, variables, and a place that they would open."""
    google = {"type": "authorized_user", "client_id": "c", "client_secret": "CANARYclient", "refresh_token": "CANARYrefresh", "token_uri": f"{address}/"}
    service = {"type": "service_account", "client_email": "a@b", "private_key_id": "k", "private_key": "-----BEGIN PRIVATE KEY-----\nCANARYCANARY\n-----END PRIVATE KEY-----\n", "token_uri": f"{address}/"}
    # As long as real ones are.
    secret, token, key = "CANARYsecret" + "k3J9" * 7, TOKEN + "k3J9" * 30, "CANARYkey" + "k3J9" * 19 + "xyz=="
    s3 = f"[c]\ntype = s3\nprovider = Ceph\naccess_key_id = key\nsecret_access_key = {secret}\nsession_token = {token}\nendpoint = {address}\nregion = here\n"
    return {
        "credentials": ({CREDENTIALS: f"[c]\n{fixed('key', secret)}aws_session_token = {token}\n", CONFIG: f"[profile c]\nendpoint_url = {address}\n"}, {}, "c:b/a.nc"),
        "config": ({CONFIG: f"[profile c]\n{fixed('key', secret)}endpoint_url = {address}\nregion = here\n"}, {}, "c:b/a.nc"),
        "role": ({CONFIG: f"[profile c]\nrole_arn = arn:aws:iam:::role/r\nexternal_id = CANARYexternal{'k3J9' * 8}\nsource_profile = c\n{fixed('key', secret)}endpoint_url = {address}\n"}, {}, "c:b/a.nc"),
        "program": ({CONFIG: f"[profile c]\ncredential_process = /bin/echo --password CANARYword\nendpoint_url = {address}\n"}, {}, "c:b/a.nc"),
        "rclone": ({RCLONE: s3}, {}, "c:b/a.nc"),
        "own": ({OWN: s3}, {}, "c:b/a.nc"),
        "web remote": ({RCLONE: f"[c]\ntype = http\nurl = {address.replace('//', '//me:CANARYword@')}/\nheaders = Authorization,\"Bearer {token}\",Cookie,a=CANARYcookie\n"}, {}, "c:a.nc"),
        "google remote": ({RCLONE: f"[c]\ntype = google cloud storage\nclient_id = c\nclient_secret = CANARYclient\ntoken = {{\"access_token\":\"{token}\",\"refresh_token\":\"CANARYrefresh\",\"expiry\":\"2001-01-01T00:00:00Z\"}}\ntoken_url = {address}/\nendpoint = {address}\n"}, {}, "c:b/a.nc"),
        "azure remote": ({RCLONE: f"[c]\ntype = azureblob\naccount = a\nkey = {key}\nendpoint = {address}\n"}, {}, "c:b/a.nc"),
        "azure signature": ({RCLONE: f"[c]\ntype = azureblob\nsas_url = {address}/b?sv=1&sig=CANARYsig\n"}, {}, "c:b/a.nc"),
        "netrc": ({".netrc": "machine 127.0.0.1 login me password CANARYword\n"}, {}, f"{address}/a.nc"),
        "google": ({ADC: json.dumps(google, indent=1)}, {"STORAGE_EMULATOR_HOST": address}, "gs://b/a.nc"),
        "service account": ({ADC: json.dumps(service, indent=1)}, {}, "gs://b/a.nc"),
        "configuration": ({".config/frazil/config.toml": "write_only_under = [\"s3://b/CANARY\"]\n"}, {}, "s3://b/a.nc"),
    }


def damaged(text: str, choices) -> str:
    """The text after an accident: torn, joined, shuffled, doubled, in another encoding, with a word where it does not belong."""
    lines = text.splitlines(keepends=True)
    at = choices.randrange(len(lines))
    kind = choices.choice(["cut", "join", "join", "drop", "double", "swap", "value", "key", "quote", "letter", "long", "equals", "section", "moved", "colon", "user"])
    if kind == "cut":
        return text[: choices.randrange(len(text))]
    if kind == "letter":
        where = choices.randrange(len(text))
        return text[:where] + choices.choice("\0\t\"'[]={}:,\\ü\n ") + text[where + 1 :]
    if kind == "swap":
        choices.shuffle(lines)
        return "".join(lines)
    if kind == "moved":
        # The values stand with each other's keys.
        pairs = [line.rstrip("\n").split(" = ", 1) for line in lines]
        values = [pair[1] for pair in pairs if len(pair) == 2]
        choices.shuffle(values)
        return "".join(f"{pair[0]} = {values.pop()}\n" if len(pair) == 2 else pair[0] + "\n" for pair in pairs)
    line = lines[at]
    lines[at] = {
        "join": line.rstrip("\n") + choices.choice(["", " ", ","]), "drop": "", "double": line * 2, "value": line.split("=")[-1], "key": line.replace("=", " "), "quote": line.replace("\n", "\"\n"),
        "long": line.rstrip("\n") + "x" * 5000 + "\n", "equals": line.replace(" = ", "=="), "section": f"[{line.strip()}]\n", "colon": line.replace("=", ":"), "user": line.replace("://", "://me:CANARYuser@"),
    }[kind]
    return "".join(lines)


@pytest.mark.parametrize("kind", good(NOWHERE))
def test_a_damaged_file_of_keys_shows_nothing_of_itself(tmp_path, soak, seed, kind):
    choices = random.Random(f"{seed} {kind}")
    with answering(lambda request: (403, [("Content-Type", "application/xml")], b"<Error><Code>SignatureDoesNotMatch</Code><Message>CANARY</Message><StringToSign>CANARY</StringToSign></Error>")) as server:
        files, variables, place = good(server.address)[kind]
        for number in range(SOAK_N_DAMAGES if soak else N_DAMAGES):
            home = Home(tmp_path / str(number), files)
            path = choices.choice([path for path in files if CANARY in files[path]])
            text = files[path] if number == 0 else damaged(files[path], choices)
            home.write(path, text)
            if number % 5 == 4:
                (home.folder / path).write_bytes(text.encode("utf-16" if number % 2 else "latin-1", "replace") + b"\xff\xfe")
            for words in (["inspect", place, "-v"], ["profile", "list", "-v"], ["profile", "explain", place, "--json"]):
                try:
                    home.frazil(*words, code=None, **variables, **KEPT_HERE)
                except AssertionError as error:
                    raise AssertionError(f"{words} with damage {number} of `{path}`:\n{text}\n{error}") from None
            assert kept(home.folder, but=files) == []


def test_an_address_that_is_signed_is_kept_without_its_signature(tmp_path):
    """What opens a file for a while stands in the address; it is no part of the file's name."""
    home = Home(tmp_path, {})
    with answering(lambda request: (200, [("ETag", '"one"')], FILE) if "CANARY" in request.path else (403, [], b"")) as server:
        place = f"{server.address}/a.nc?X-Amz-Signature=CANARYsig&X-Amz-Security-Token={TOKEN}"
        answer = home.frazil("cp", place, tmp_path / "a.nc", "-v", "--json", code=None)
        assert shows(answer.text.encode()) is False
    with ranges() as server:
        place = f"{server.address}/a.nc?X-Amz-Signature=CANARYsig&X-Amz-Security-Token={TOKEN}"
        home.write("recipe.yaml", f"recipe: 1\nid: sst\nsources: {{f: {{files: ['{place}']}}}}\nwrite: {{zarr: {{}}}}\n")
        for words in (["inspect", place], ["convert", place, tmp_path / "a.zarr", "--to", "zarr"], ["verify", tmp_path / "a.zarr"], ["build", tmp_path / "recipe.yaml", "--to", tmp_path / "b.zarr"]):
            home.frazil(*words, "-v", "--json", code=None)
            home.frazil(*words, "-v", code=None)
        assert (tmp_path / "a.zarr/zarr.json").exists()
        home.frazil("inspect", f"{server.address}/gone.nc?X-Amz-Signature=CANARYsig", "-v", code=None)
    assert kept(tmp_path, but=["recipe.yaml"]) == []


def ranges():
    import re

    def file(request):
        if "CANARY" not in request.path or "gone" in request.path:
            return 403, [], b"CANARY"
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        headers = [("ETag", '"one"'), ("Accept-Ranges", "bytes")]
        if part is None:
            return 200, headers, FILE
        first, last = int(part[1]), min(int(part[2]), len(FILE) - 1)
        return 206, [*headers, ("Content-Range", f"bytes {first}-{last}/{len(FILE)}")], FILE[first : last + 1]

    return answering(file)


def seen(process: subprocess.Popen) -> list[str]:
    """Words and variables of a process and of all that it started, in which a secret shows; its own variables are given."""
    found, waiting = [], [process.pid]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            if shows(words) and not words.startswith(b"env\0"):
                found.append(f"words of {pid}: {words!r}")
            if pid != process.pid and shows(pathlib.Path(f"/proc/{pid}/environ").read_bytes()):
                found.append(f"variables of {pid}, {words!r}")
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return found


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_a_build_under_way_and_one_that_was_killed_keep_no_secret(gateway, data, bucket, tmp_path, where):
    """Keys of a program, a token in a variable; looked at from outside all the while."""
    home = Home(tmp_path, {})
    home.write("keys", f"#!/bin/sh\nsleep 0.3\necho '{keys_of({'AccessKeyId': ceph.KEY, 'SecretAccessKey': ceph.SECRET})}'\n", mode=0o700)
    given = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "CANARYa", "AWS_SESSION_TOKEN": "CANARYb", "EARTHDATA_TOKEN": "CANARYc", "AZURE_STORAGE_KEY": "CANARYd", "RCLONE_CONFIG_X_TYPE": "s3", "RCLONE_CONFIG_X_SECRET_ACCESS_KEY": "CANARYe"}
    with slowly(str(gateway), 0.02) as server:
        files = {CONFIG: f"[profile c]\nendpoint_url = {server}\ncredential_process = {tmp_path}/keys\n", CREDENTIALS: "[other]\naws_access_key_id = o\naws_secret_access_key = CANARYother\n"}
        for path, text in files.items():
            home.write(path, text)
        store = tmp_path / "z.zarr" if where == "disk" else f"c:{bucket}/z.zarr"
        words = ["convert", f"c:{data}/sst/*.nc", store, "--to", "zarr", "--chunks", "time=6,lat=18,lon=18", "--threads", "2", "--no-index", "-v"]
        n_looks, next_look = 0, 0.0
        for killed_after in (0.9, 1.6, None):
            process, out = home.start(*words, **given)
            began, wrong = time.monotonic(), []
            while process.poll() is None:
                wrong += seen(process)
                if time.monotonic() > next_look:
                    wrong += kept(tmp_path, but=[*files, "keys", "out"]) if where == "disk" else kept_in(gateway, bucket)
                    next_look = time.monotonic() + 0.2
                n_looks += 1
                if killed_after and time.monotonic() - began > killed_after:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                time.sleep(0.02)
            out.seek(0)
            said = out.read()
            assert wrong == [] and not shows(said.encode()), (wrong, said)
            left = kept(tmp_path, but=[*files, "keys"]) + kept_in(gateway, bucket)
            assert left == [], f"after {killed_after}: {left}"
        assert process.returncode == 0 and n_looks > 20, said
    home.write(CONFIG, f"[profile c]\nendpoint_url = {gateway}\ncredential_process = {tmp_path}/keys\n")
    home.frazil("verify", store, "-v", "--json")


def test_a_panic_shows_no_secret(gateway, data, tmp_path):
    """No thread can be had: Rust's own way to make one panics."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    home = Home(tmp_path, {CREDENTIALS: f"[c]\n{fixed()}", CONFIG: f"[profile c]\nendpoint_url = {gateway}\n"})
    n_panics = 0
    for trace in ("full", "0"):
        for more in ([], ["--json"]):
            words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3", "-e", "inject=clone,clone3:error=EAGAIN:when=2+", *binary(), "inspect", f"c:{data}/sst/*.nc", "--digest", "--threads", "2", "-v", *more]
            answer = subprocess.run([*home.environment({"RUST_BACKTRACE": trace}), *words], capture_output=True, timeout=60)
            said = answer.stdout + answer.stderr
            assert not shows(said), said
            n_panics += b"fault of frazil" in said or b"frazil.fault" in said
            assert b"RUST_BACKTRACE" not in said and answer.returncode != 101, said
    assert n_panics == 4, "nothing panicked"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGQUIT])
def test_no_memory_is_written_to_a_file_when_it_dies(gateway, data, tmp_path, number):
    home = Home(tmp_path, {CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\n"})
    with slowly(str(gateway), 1.0) as server:
        home.write(CONFIG, f"[profile c]\nendpoint_url = {server}\n")
        command = [*home.environment({}), *binary(), "inspect", "--no-index", f"c:{data}/sst/*.nc"]
        allow = "ulimit -c unlimited && exec \"$@\""
        process = spawn(["sh", "-c", allow, "sh", *command], cwd=tmp_path, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(0.5)
        limits = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if "core file" in line)
        assert line.split()[4:6] == ["1", "1"], line
        process.send_signal(number)
        assert process.wait(10) == -number
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    assert kept(tmp_path, but=[CREDENTIALS]) == [] and not list(tmp_path.glob("core*")), pattern
    # What would be there without that, so that the test can fail: a process of another kind in the same place.
    if not pattern.startswith(("|", "/")) and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        other = spawn(["sh", "-c", "ulimit -c unlimited && exec sleep 30"], cwd=tmp_path)
        time.sleep(0.2)
        other.send_signal(number)
        other.wait(10)
        assert list(tmp_path.glob(pattern.split("%")[0] + "*")), "no process leaves its memory here"
