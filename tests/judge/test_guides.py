"""The guides, followed literally in an empty home by somebody who has an rclone remote and an AWS profile, nothing else."""

import json
import re
import shlex
import subprocess
import time

import pytest
import xarray

import ceph
import clients
import moves
from command import ROOT, binary, measured

GUIDE = ROOT / "docs/storage.md"
MOVES = "With what you have already"


def commands(text: str, title: str) -> list[list[str]]:
    """What is to be typed in one part of a guide."""
    part = text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [shlex.split(line.removeprefix("$ ")) for line in re.findall(r"^\$ frazil .*$", part, re.MULTILINE)]


@pytest.fixture
def newcomer(gateway, tmp_path):
    """A home with two files of other programs, and a folder to work in; answers who types."""
    home, work = tmp_path / "home", tmp_path / "work"
    (home / ".aws").mkdir(parents=True)
    (home / ".config/rclone").mkdir(parents=True)
    work.mkdir()
    (work / "examples").symlink_to(ROOT / "examples")
    (home / ".config/rclone/rclone.conf").write_text(f"[osn]\ntype = s3\nprovider = Ceph\naccess_key_id = {ceph.KEY}\nsecret_access_key = {ceph.SECRET}\nendpoint = {gateway}\n")
    (home / ".aws/credentials").write_text(f"[pod]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = {ceph.SECRET}\n")
    (home / ".aws/config").write_text(f"[profile pod]\nendpoint_url = {gateway}\n")

    def types(*words, home=home):
        answer = measured(["env", "-C", work, "-i", f"HOME={home}", "USER=jdoe", *types.variables, *binary(), *words])
        assert answer.crash() is None and "CANARY" not in answer.text, answer
        return answer

    def types_in_a_shell(script):
        bins = tmp_path / "bin"
        bins.mkdir()
        (bins / "frazil").write_text(f"#!/bin/sh\nexec {shlex.join(binary())} \"$@\"\n")
        (bins / "frazil").chmod(0o755)
        (bins / "aws").symlink_to(clients.client("aws"))
        answer = subprocess.run(["env", "-C", work, "-i", f"HOME={home}", f"PATH={bins}:/usr/bin:/bin", "bash", "-euc", script], capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, f"{script}\n{answer.stdout}{answer.stderr}"

    types.work, types.types_in_a_shell, types.variables = work, types_in_a_shell, []
    return types


def test_the_guide_of_storage_does_what_it_says(newcomer, gateway, bucket):
    assert newcomer("build", "examples/sea-surface", "--to", "sst.zarr").code == 0
    ours = xarray.open_dataset(newcomer.work / "sst.zarr", engine="zarr")
    typed = commands(GUIDE.read_text(), MOVES)
    assert len(typed) == 6, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket) for word in words[1:]))
        assert answer.code == 0, answer
    keys = ceph.objects(gateway, bucket)
    for name in ("sst.zarr", "sea-surface.zarr"):
        assert f"{name}/zarr.json" in keys
        answer = newcomer("cp", f"osn:{bucket}/{name}", f"back-{name}")
        assert answer.code == 0, answer
        xarray.testing.assert_identical(xarray.open_dataset(newcomer.work / f"back-{name}", engine="zarr"), ours)
    assert newcomer("ls", f"osn:{bucket}").out.count("zarr 3") == 2


def test_the_guide_from_a_laptop_does_what_it_says(newcomer, gateway, bucket):
    wanted = moves.make_tree(newcomer.work / "results", 1, {"a.nc": 1000, "sub/b.nc": 10})
    typed = commands((ROOT / "docs/guides/laptop-to-bucket.md").read_text(), "What to type")
    assert len(typed) == 4, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket) for word in words[1:]))
        assert answer.code == 0, answer
    assert moves.stored(gateway, bucket, "data/run7/") == wanted


def test_the_guide_from_a_node_does_what_it_says(newcomer, gateway, bucket):
    wanted = moves.make_tree(newcomer.work / "results", 1, {"a.nc": 1000, "sub/b.nc": 10})
    may = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], "Resource": [f"arn:aws:s3:::{bucket}/jdoe/*"]}
    token = newcomer.work / "token.json"
    token.write_text(json.dumps({"Credentials": gateway.assumed(f"node-{bucket}", may)}, default=lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
    token.chmod(0o600)
    guide = (ROOT / "docs/guides/hpc-to-inbox.md").read_text()
    typed = commands(guide, "What to type") + commands(guide, "On the other side")
    assert len(typed) == 4, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket).replace("SERVER", str(gateway)) for word in words[1:]))
        assert answer.code == 0, answer
    assert moves.digests(newcomer.work / "data/run7") == wanted
    assert not token.exists(), "the token is taken away again"


def test_the_guide_from_bucket_to_bucket_does_what_it_says(newcomer, gateway, bucket):
    wanted = moves.make_tree(newcomer.work / "data", 1, {"a.nc": 1000, "sub/b.nc": 10, "z.zarr/zarr.json": 20, "z.zarr/c": 10})
    moves.put_tree(gateway, bucket, "data/", newcomer.work / "data")
    typed = commands((ROOT / "docs/guides/bucket-to-bucket.md").read_text(), "What to type")
    assert len(typed) == 5, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket) for word in words[1:]))
        assert answer.code == 0, answer
    assert moves.stored(gateway, bucket, "copy/") == wanted
    gateway.client().put_object(Bucket=bucket, Key="copy/a.nc", Body=b"x" * 1000)
    answer = newcomer("check", f"osn:{bucket}/data", f"pod:{bucket}/copy")
    assert answer.code == 1 and "a.nc" in answer.out


def test_the_guide_for_a_collaborator_does_what_it_says(newcomer, gateway, bucket, tmp_path):
    guide = (ROOT / "docs/guides/token-for-a-collaborator.md").read_text().replace("my-bucket", bucket)
    # A role has its name for the whole server; here is only one server.
    guide = guide.replace("--role-name share", f"--role-name share-{bucket}").replace("--role share", f"--role share-{bucket}").replace("user/USER", "user/test")
    for name, content in re.findall(r"^```json (\S+)\n(.*?)\n```$", guide, re.MULTILINE | re.DOTALL):
        (newcomer.work / name).write_text(content)
    once = guide.split("## Once: a role\n", 1)[1].split("\n## ", 1)[0]
    typed = re.findall(r"^\$ (.*)$", once, re.MULTILINE)
    assert len(typed) == 3, typed
    newcomer.types_in_a_shell("\n".join(typed))
    wanted = moves.make_tree(newcomer.work / "results", 1, {"a.nc": 1000, "sub/b.nc": 10})
    make, erase = commands(guide, "Make a token")
    assert newcomer(*make[1:]).code == 0
    # It is sent to somebody in another home.
    (tmp_path / "collaborator").mkdir()
    token = newcomer.work / "token.json"
    content, secrets = token.read_text(), [json.loads(token.read_text())[name] for name in ("SecretAccessKey", "SessionToken")]
    assert newcomer(*erase[1:]).code == 0 and not token.exists()
    token.write_text(content)
    token.chmod(0o600)
    typed = commands(guide, "On the other side")
    assert len(typed) == 5, typed
    for words in typed:
        answer = newcomer(*words[1:], home=tmp_path / "collaborator")
        assert answer.code == 0, answer
    assert {name: sum_ for name, sum_ in moves.stored(gateway, bucket, "inbox/jdoe/run7/").items() if name not in ("frazil-delivery.json", "frazil-push.json")} == wanted
    left = [path for folder in (tmp_path / "collaborator", newcomer.work) for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and any(secret.encode() in path.read_bytes() for secret in secrets)]
    assert left == []


def test_the_commands_about_comparing_do_what_the_guide_of_storage_says(newcomer, gateway, bucket):
    moves.make_tree(newcomer.work / "sst.zarr", 1, {"zarr.json": 20, "c": 10})
    moves.put_tree(gateway, bucket, "sst.zarr/", newcomer.work / "sst.zarr")
    moves.put_tree(gateway, bucket, "run7/", newcomer.work / "sst.zarr")
    sums = "".join(f"{sum_}  {name}\n" for name, sum_ in moves.digests(newcomer.work / "sst.zarr").items())
    (newcomer.work / "SHA256SUMS").write_text(sums)
    typed = commands(GUIDE.read_text(), "Whether two places are the same") + commands((ROOT / "docs/credentials.md").read_text(), "Away again")
    assert len(typed) == 5, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket) for word in words[1:]))
        assert answer.code == 0, answer


def test_the_guide_of_usage_does_what_it_says(newcomer, gateway, bucket):
    for key in ("jdoe/a.nc", "kim/b.nc"):
        gateway.client().put_object(Bucket=bucket, Key=key, Body=b"12345")
    typed = [shlex.split(line.removeprefix("$ ")) for line in re.findall(r"^\$ frazil .*$", (ROOT / "docs/usage.md").read_text(), re.MULTILINE)]
    assert len(typed) == 4, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket) for word in words[1:]))
        assert answer.code == 0 and "10 B" in answer.out, answer


def test_the_guide_of_who_uses_what_does_what_it_says(newcomer, gateway, bucket):
    for key in ("jdoe/a.nc", "kim/b.nc"):
        gateway.client().put_object(Bucket=bucket, Key=key, Body=b"12345")
        path = newcomer.work / "homes" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(b"12345")
    guide, out = (ROOT / "docs/guides/who-uses-what.md").read_text(), {}
    typed = [words for title in ("Now", "Each week", "Home directories") for words in commands(guide, title)]
    assert len(typed) == 7, typed
    for words in typed:
        answer = newcomer(*(word.replace("my-bucket", bucket) for word in words[1:]))
        assert answer.code == 0, answer
        out[" ".join(words[2:])] = answer.out
    assert "| owner |" in out["osn:my-bucket --by owner --since week-1.json --save week-2.json --markdown"]
    assert "0 of 2 have more than 50 GB" in out["homes --by owner --limit-of 50GB"] and "of 50 GB used" in out["homes/jdoe --limit-of 50GB"]


def test_the_guide_of_scratch_does_what_it_says(newcomer, gateway, bucket):
    archive = ceph.fresh_bucket(gateway)
    tree = {"sst.zarr/zarr.json": 40, "sst.zarr/sst/c/0": 1000}
    moves.make_tree(newcomer.work / "local", 1, tree)
    moves.put_tree(gateway, bucket, "jdoe/", newcomer.work / "local")
    wanted = moves.stored(gateway, bucket, "jdoe/sst.zarr/")
    moves.make_tree(newcomer.work / "scratch-disk/kim", 1, {"old.zarr/zarr.json": 40, "named.zarr/zarr.json": 40})
    (newcomer.work / "catalog.json").write_text('{"stores": ["scratch-disk/kim/named.zarr"]}')
    newcomer.variables = [f"SCRATCH_BUCKET=osn:{bucket}/jdoe"]
    guide = (ROOT / "docs/guides/scratch.md").read_text()
    typed = [words for title in ("What goes when", "Keep what you need", "If you run the place", "Where nothing goes by itself", "What killed runs left") for words in commands(guide, title)]
    assert len(typed) == 12, typed
    for words in typed:
        # No test can wait for a month, nor make a file of this machine that old.
        words = [word.replace("30d", "3s") for word in words]
        if "expire" in words and not (newcomer.work / "scratch-disk/kim/young.zarr").exists():
            time.sleep(4)
        if "expire" in words:
            moves.make_tree(newcomer.work / "scratch-disk/kim", 1, {"young.zarr/zarr.json": 40})
        answer = newcomer(*(word.replace("my-archive", archive).replace("my-scratch", bucket) for word in words[1:]))
        assert answer.code == 0, answer
    assert moves.stored(gateway, archive, "jdoe/sst.zarr/") == wanted and moves.stored(gateway, bucket) == {}
    assert sorted(path.name for path in (newcomer.work / "scratch-disk/kim").iterdir()) == ["named.zarr", "young.zarr"]
    assert gateway.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["Expiration"]["Days"] == 7
    ceph.discard(gateway, archive)


def test_no_command_writes_outside_the_places_that_the_configuration_names(newcomer, gateway, bucket):
    config = newcomer.work.parent / "home/.config/frazil/config.toml"
    config.parent.mkdir()
    config.write_text('write_only_under = "osn:%s/{user}/"\n' % bucket)
    (newcomer.work / "a.txt").write_text("a")
    for words in (
        ["cp", "a.txt", f"osn:{bucket}/a.txt"],
        ["cp", "a.txt", f"osn:{bucket}/jdoes/a.txt"],
        ["cp", "a.txt", f"pod:{bucket}/jdoe/a.txt"],
        ["sync", "examples/sea-surface/data", f"osn:{bucket}/data"],
        ["build", "examples/sea-surface", "--to", f"osn:{bucket}/sea.zarr"],
        ["rm", f"osn:{bucket}/jdoes", "--yes"],
        ["gc", f"osn:{bucket}", "--yes"],
        ["scratch", "rule", f"osn:{bucket}", "--days", "7", "--yes"],
        ["scratch", "expire", f"osn:{bucket}", "--older-than", "7d", "--yes"],
        ["scratch", "keep", f"osn:{bucket}/jdoes", "--to", "here"],
    ):
        answer = newcomer(*words)
        assert answer.code == 1 and "must not be written" in answer.err, answer
    assert not ceph.objects(gateway, bucket)
    assert newcomer("cp", "a.txt", f"osn:{bucket}/jdoe/a.txt").code == 0
    assert newcomer("cp", "a.txt", "b.txt").code == 0, "files of this machine are not meant"
    config.write_text('write_only_udner = "osn:x/"\n')
    answer = newcomer("ls", ".")
    assert answer.code == 2 and "config.toml" in answer.err, "a guard that is misspelt is none"
