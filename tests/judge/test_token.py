"""A token that `profile token` makes opens one folder, for one kind of work and for a while, and nothing else.

boto3 tries what it should not do, on a real Ceph; frazil itself does with it all that it should. What it was made of shows
nowhere, and after `profile erase` nothing is left of it in the home.
"""

import datetime
import json
import shutil
import time
import uuid

import botocore.exceptions
import pytest
import xarray

import ceph
from command import ROOT
from homes import CANARY, Home
from moves import digests, make_tree, put_all, put_tree, stored

MODES = ["read", "write", "read-write", "deliver"]
FOLDER = "jdoe/"
MANIFEST = "frazil-delivery.json"
REFUSED = ("AccessDenied", "403", "401", "Forbidden", "InvalidAccessKeyId", "ExpiredToken", "SignatureDoesNotMatch", "MethodNotAllowed")
LEAST_SECONDS = 900


@pytest.fixture
def folder(gateway, bucket):
    """What lies in the folder that is opened, and beside it."""
    put_all(gateway, bucket, {f"{FOLDER}a": b"mine", f"{FOLDER}b": b"mine", "jdoes/a": b"others", "other/a": b"others", "a": b"others"})
    return bucket


@pytest.fixture
def keeper(gateway, folder, tmp_path):
    """Who keeps the bucket, and has a role that may do all with it."""
    gateway.assumed(f"share-{folder}", {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]})
    remote = f"[osn]\ntype = s3\nprovider = Ceph\nendpoint = {gateway}\naccess_key_id = {ceph.KEY}\nsecret_access_key = {ceph.SECRET}\n"
    home = Home(tmp_path / "keeper", {".config/rclone/rclone.conf": remote})
    home.token = lambda mode, *words, place=f"osn:{folder}/{FOLDER}", code=0: home.frazil(
        "profile", "token", place, "--mode", mode, "--role", f"share-{folder}", *words, code=code
    )
    return home


@pytest.fixture
def guest(gateway, keeper, folder, tmp_path):
    """Gives a token of a mode to somebody who has nothing else; answers the home, and a client of boto3 with it."""

    def given(mode):
        home = Home(tmp_path / f"guest-{mode}", {})
        home.folder.mkdir(exist_ok=True)
        out = home.folder / "token.json"
        keeper.token(mode, "--for", "15m", "--out", out)
        assert out.stat().st_mode & 0o777 == 0o600
        home.token = json.loads(out.read_text())
        home.frazil("profile", "import", "guest", out)
        home.client = client_of(gateway, home.token)
        return home

    return given


def client_of(gateway, token):
    return gateway.client(aws_access_key_id=token["AccessKeyId"], aws_secret_access_key=token["SecretAccessKey"], aws_session_token=token["SessionToken"])


def outside_of_prefix(client, bucket, other) -> dict:
    """Operations that no token of the folder may do, whatever its mode."""
    from_outside = {"Bucket": bucket, "Key": "other/a"}
    return {
        "get": lambda: client.get_object(Bucket=bucket, Key="other/a"),
        "get of the top": lambda: client.get_object(Bucket=bucket, Key="a"),
        "get of a longer name": lambda: client.get_object(Bucket=bucket, Key="jdoes/a"),
        "head": lambda: client.head_object(Bucket=bucket, Key="other/a"),
        "put": lambda: client.put_object(Bucket=bucket, Key="other/new", Body=b"x"),
        "put over": lambda: client.put_object(Bucket=bucket, Key="jdoes/a", Body=b"x"),
        "put of the folder's name": lambda: client.put_object(Bucket=bucket, Key="jdoe", Body=b"x"),
        "delete": lambda: client.delete_object(Bucket=bucket, Key="other/a"),
        "copy in": lambda: client.copy_object(Bucket=bucket, Key=f"{FOLDER}stolen", CopySource=from_outside),
        "copy out": lambda: client.copy_object(Bucket=bucket, Key="other/out", CopySource={"Bucket": bucket, "Key": f"{FOLDER}a"}),
        "begin": lambda: client.create_multipart_upload(Bucket=bucket, Key="other/large"),
        "list": lambda: client.list_objects_v2(Bucket=bucket, Prefix="other/"),
        "list of a longer name": lambda: client.list_objects_v2(Bucket=bucket, Prefix="jdoes"),
        "list all": lambda: client.list_objects_v2(Bucket=bucket),
        "list as of old": lambda: client.list_objects(Bucket=bucket, Delimiter="/"),
        "list uploads": lambda: client.list_multipart_uploads(Bucket=bucket),
        "get elsewhere": lambda: client.get_object(Bucket=other, Key="a"),
        "put elsewhere": lambda: client.put_object(Bucket=other, Key=f"{FOLDER}a", Body=b"x"),
        "list elsewhere": lambda: client.list_objects_v2(Bucket=other, Prefix=FOLDER),
        "buckets": lambda: client.list_buckets(),
        "make a bucket": lambda: client.create_bucket(Bucket=f"{bucket}-more"),
        "delete the bucket": lambda: client.delete_bucket(Bucket=bucket),
        "read the policy": lambda: client.get_bucket_policy(Bucket=bucket),
        "set the policy": lambda: client.put_bucket_policy(Bucket=bucket, Policy=ceph.compact({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:*"], "Resource": ["*"]}]})),
        "open to all": lambda: client.put_bucket_acl(Bucket=bucket, ACL="public-read-write"),
        "rules": lambda: client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": []}),
    }


def outside_of_mode(client, bucket, mode) -> dict:
    """Operations inside the folder that a token of this mode may not do."""
    key, new = f"{FOLDER}a", f"{FOLDER}new"
    reading = {
        "get": lambda: client.get_object(Bucket=bucket, Key=key),
        "head": lambda: client.head_object(Bucket=bucket, Key=key),
        "part": lambda: client.get_object(Bucket=bucket, Key=key, Range="bytes=0-1"),
        "copy": lambda: client.copy_object(Bucket=bucket, Key=new, CopySource={"Bucket": bucket, "Key": key}),
    }
    listing = {
        "list": lambda: client.list_objects_v2(Bucket=bucket, Prefix=FOLDER),
        "list as of old": lambda: client.list_objects(Bucket=bucket, Prefix=FOLDER),
        "list versions": lambda: client.list_object_versions(Bucket=bucket, Prefix=FOLDER),
        "list uploads": lambda: client.list_multipart_uploads(Bucket=bucket, Prefix=FOLDER),
    }
    writing = {
        "put": lambda: client.put_object(Bucket=bucket, Key=new, Body=b"x"),
        "put over": lambda: client.put_object(Bucket=bucket, Key=key, Body=b"x"),
        "begin": lambda: client.create_multipart_upload(Bucket=bucket, Key=new),
        "copy": reading["copy"],
    }
    deleting = {"delete": lambda: client.delete_object(Bucket=bucket, Key=key)}
    opening = {
        "open to all": lambda: client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read"),
        "read who may": lambda: client.get_object_acl(Bucket=bucket, Key=key),
    }
    return {"read": writing | deleting, "write": reading | deleting, "read-write": {}, "deliver": listing | deleting}[mode] | opening


def succeeded(operations: dict) -> list[str]:
    """The names of those that the server did not refuse."""
    done = []
    for name, operation in operations.items():
        try:
            operation()
        except botocore.exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code") or error.response.get("Code"))
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code in REFUSED or status in (401, 403):
                continue
        done.append(name)
    return done


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_open_but_its_folder_in_its_mode(guest, gateway, folder, mode):
    home = guest(mode)
    other = ceph.fresh_bucket(gateway)
    put_all(gateway, other, {"a": b"others", f"{FOLDER}a": b"others"})
    try:
        before = {name: ceph.objects(gateway, name) for name in (folder, other)}
        operations = outside_of_prefix(home.client, folder, other) | {f"{name} inside": one for name, one in outside_of_mode(home.client, folder, mode).items()}
        assert len(operations) >= 28
        # The same with keys of the bucket's own would be done: that a server refuses everybody shows nothing.
        assert succeeded({"get": lambda: gateway.client().get_object(Bucket=other, Key="a")}) == ["get"]
        assert succeeded(operations) == []
        assert {name: ceph.objects(gateway, name) for name in (folder, other)} == before
        assert ceph.open_uploads(gateway, folder) == []
    finally:
        ceph.discard(gateway, other)


def test_what_is_open_is_open(guest, folder):
    """The other half: what a mode is for can be done, as boto3 does it."""
    key, new = f"{FOLDER}a", f"{FOLDER}new"
    for mode in MODES:
        client = guest(mode).client
        may = {
            "get": lambda: client.get_object(Bucket=folder, Key=key),
            "list": lambda: client.list_objects_v2(Bucket=folder, Prefix=FOLDER),
            "put": lambda: client.put_object(Bucket=folder, Key=new, Body=b"x"),
            "delete": lambda: client.delete_object(Bucket=folder, Key=new),
        }
        wanted = {"read": ["get", "list"], "write": ["list", "put"], "read-write": [*may], "deliver": ["get", "put"]}
        assert succeeded(may) == wanted[mode], mode


def test_all_of_ours_works_inside_by_reading_and_writing(guest, gateway, folder, tmp_path, seed):
    home = guest("read-write")
    place, frazil = f"guest:{folder}/{FOLDER}", home.frazil
    wanted = make_tree(tmp_path / "tree", seed, {"a.nc": 100_000, "sub/b": 1, "large": 40 << 20})
    assert "a" in frazil("ls", place).out
    frazil("ls", place, "-r")
    frazil("cp", tmp_path / "tree", f"{place}tree")
    assert stored(gateway, folder, f"{FOLDER}tree/") == wanted
    frazil("cp", f"{place}tree/", tmp_path / "back")
    assert digests(tmp_path / "back") == wanted
    frazil("cp", f"{place}tree", f"{place}copied")
    (tmp_path / "tree/sub/b").unlink()
    frazil("sync", tmp_path / "tree", f"{place}tree", "--delete", "--yes")
    assert f"{FOLDER}tree/sub/b" not in ceph.objects(gateway, folder)
    frazil("push", tmp_path / "tree", "--to", f"{place}inbox", "--as", "run7")
    frazil("accept", f"{place}inbox/run7", "--to", f"{place}accepted/run7")
    frazil("build", ROOT / "examples/sea-surface", "--to", f"{place}sst.zarr")
    frazil("verify", f"{place}sst.zarr")
    frazil("inspect", f"{place}sst.zarr")
    frazil("convert", f"{place}sst.zarr", f"{place}v2.zarr", "--to", "zarr", "--zarr-format", "2")
    frazil("cp", f"{place}v2.zarr", tmp_path / "v2.zarr")
    assert xarray.open_dataset(tmp_path / "v2.zarr", engine="zarr").sizes
    frazil("rm", f"{place}copied", "--yes")
    said = frazil("profile", "check", "guest", f"{folder}/{FOLDER}").out
    assert "left" in said
    assert {"other/a", "jdoes/a", "a"} <= set(ceph.objects(gateway, folder))


def test_all_of_ours_works_inside_by_reading(guest, gateway, folder, tmp_path):
    ours = tmp_path / "sst.zarr"
    home = guest("read")
    home.frazil("build", ROOT / "examples/sea-surface", "--to", ours)
    put_tree(gateway, folder, f"{FOLDER}sst.zarr/", ours)
    place, frazil = f"guest:{folder}/{FOLDER}", home.frazil
    assert "zarr 3" in frazil("ls", place).out
    frazil("cp", f"{place}sst.zarr", tmp_path / "back.zarr")
    frazil("sync", place, tmp_path / "all")
    assert digests(tmp_path / "back.zarr") == digests(ours) == digests(tmp_path / "all/sst.zarr")
    frazil("verify", f"{place}sst.zarr")
    frazil("inspect", f"{place}sst.zarr", "--digest")
    frazil("convert", f"{place}sst.zarr", tmp_path / "again.zarr", "--to", "zarr")
    # What it may not is said to be so, and nothing is half done.
    before = ceph.objects(gateway, folder)
    frazil("cp", tmp_path / "back.zarr", f"{place}new.zarr", code=4)
    assert frazil("rm", f"{place}a", "--yes", code=None).code in (1, 3, 4)
    assert ceph.objects(gateway, folder) == before


def test_all_of_ours_works_inside_by_writing(guest, gateway, folder, tmp_path, seed):
    home = guest("write")
    place, frazil = f"guest:{folder}/{FOLDER}", home.frazil
    wanted = make_tree(tmp_path / "tree", seed, {"a.nc": 100_000, "sub/b": 1, "large": 40 << 20})
    frazil("ls", place)
    frazil("cp", tmp_path / "tree", f"{place}tree")
    frazil("sync", tmp_path / "tree", f"{place}synced")
    assert stored(gateway, folder, f"{FOLDER}tree/") == stored(gateway, folder, f"{FOLDER}synced/") == wanted
    (tmp_path / "tree/sub/b").write_bytes(b"2")
    frazil("sync", tmp_path / "tree", f"{place}synced")
    assert stored(gateway, folder, f"{FOLDER}synced/") == digests(tmp_path / "tree")
    assert frazil("cp", f"{place}tree/a.nc", tmp_path / "x", code=None).code == 4
    assert not (tmp_path / "x").exists()


def test_a_delivery_goes_with_the_least_of_all(guest, keeper, gateway, folder, tmp_path, seed):
    home = guest("deliver")
    wanted = make_tree(tmp_path / "tree", seed, {"a.nc": 100_000, "sub/b": 1, "large": 40 << 20})
    words = ["push", tmp_path / "tree", "--to", f"guest:{folder}/{FOLDER}", "--as", "run7"]
    home.frazil(*words)
    assert home.frazil(*words, "--json").report["outcome"] == "already-there"
    found = stored(gateway, folder, f"{FOLDER}run7/")
    assert found.pop(MANIFEST) and found.pop("frazil-push.json") and found == wanted
    keeper.frazil("accept", f"osn:{folder}/{FOLDER}run7", "--to", tmp_path / "there")
    assert digests(tmp_path / "there") == wanted
    home.frazil("ls", f"guest:{folder}/{FOLDER}", code=4)
    # What it tries out it cannot take away again, and names it.
    before = set(ceph.objects(gateway, folder))
    report = home.frazil("profile", "check", "guest", f"{folder}/{FOLDER}", "--json").report
    (left,) = set(ceph.objects(gateway, folder)) - before
    assert [warning["message"] for warning in report["warnings"] if warning["code"] == "profile.probe-left" and left in warning["message"]]
    assert {item["what"]: item["can"] for item in report["items"]} == {
        "list buckets": False, "list": False, "write": True, "read": True, "write only if nothing is there": True, "write only if unchanged": True, "write in parts": True, "delete": False,
    }


def test_it_ends_when_it_says(guest, keeper, gateway, folder, tmp_path, soak):
    before = time.time()
    home = guest("read-write")
    ends = datetime.datetime.fromisoformat(home.token["Expiration"]).timestamp()
    assert before + LEAST_SECONDS - 2 <= ends <= time.time() + LEAST_SECONDS + 2
    report = home.frazil("profile", "check", "guest", f"{folder}/{FOLDER}", "--json").report
    assert report["ends"] == home.token["Expiration"] and 0 <= report["left_seconds"] - (ends - time.time()) < 30
    assert any(warning["code"] == "profile.ends" for warning in report["warnings"]), "it ends soon"
    # The role lasts an hour at most; nothing is handed on for longer.
    out = tmp_path / "long.json"
    assert "--for" in keeper.token("read", "--for", "2h", "--out", out, code=1).err and not out.exists()
    keeper.token("read", "--for", "5m", "--out", out, code=2)
    if not soak:
        return
    time.sleep(max(0, ends - time.time()) + 5)
    key = f"{FOLDER}a"
    inside = {
        "get": lambda: home.client.get_object(Bucket=folder, Key=key),
        "head": lambda: home.client.head_object(Bucket=folder, Key=key),
        "part": lambda: home.client.get_object(Bucket=folder, Key=key, Range="bytes=0-1"),
        "list": lambda: home.client.list_objects_v2(Bucket=folder, Prefix=FOLDER),
        "list as of old": lambda: home.client.list_objects(Bucket=folder, Prefix=FOLDER),
        "put": lambda: home.client.put_object(Bucket=folder, Key=key, Body=b"x"),
        "copy": lambda: home.client.copy_object(Bucket=folder, Key=f"{FOLDER}c", CopySource={"Bucket": folder, "Key": key}),
        "begin": lambda: home.client.create_multipart_upload(Bucket=folder, Key=key),
        "delete": lambda: home.client.delete_object(Bucket=folder, Key=key),
        "buckets": lambda: home.client.list_buckets(),
    }
    assert succeeded(inside) == []
    answer = home.frazil("ls", f"guest:{folder}/{FOLDER}", code=4)
    assert "ended" in answer.text and "import" in answer.text


def test_a_token_is_not_handed_on_where_it_shows(keeper, gateway, folder):
    import subprocess

    from command import binary

    words = [*keeper.environment({}), *binary(), "profile", "token", f"osn:{folder}/{FOLDER}", "--mode", "read", "--role", f"share-{folder}"]
    piped = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert piped.returncode == 0 and CANARY not in piped.stderr
    token = json.loads(piped.stdout)
    assert succeeded({"get": lambda: client_of(gateway, token).get_object(Bucket=folder, Key=f"{FOLDER}a")}) == ["get"]
    for word in (token["SecretAccessKey"], token["SessionToken"]):
        assert word not in piped.stderr
    imported = subprocess.run([*keeper.environment({}), *binary(), "profile", "import", "piped"], input=piped.stdout, capture_output=True, text=True, timeout=60)
    assert imported.returncode == 0, imported.stderr
    keeper.frazil("ls", f"piped:{folder}/{FOLDER}")
    assert keeper.token("read", "--json", code=2).report["error"]["code"] == "profile.nowhere"
    out = keeper.folder / "token.json"
    report = keeper.token("deliver", "--json", "--out", out).report
    token = json.loads(out.read_text())
    said = json.dumps(report)
    assert token["SessionToken"] not in said and token["SecretAccessKey"] not in said
    assert report["items"][0]["opens"] == f"{folder}/{FOLDER}" and report["items"][0]["expires"] == token["Expiration"]


def test_no_token_is_made_for_a_pattern_nor_without_a_role(keeper, folder):
    out = keeper.folder / "token.json"
    for place in (f"osn:{folder}/j*", f"osn:{folder}/${{aws:username}}/", f"osn:{folder}/a?"):
        assert "pattern" in keeper.token("read", "--out", out, place=place, code=1).err
    answer = keeper.frazil("profile", "token", f"osn:{folder}/{FOLDER}", "--mode", "read", "--out", out, code=1)
    assert "--role" in answer.err
    answer = keeper.frazil("profile", "token", f"osn:{folder}/{FOLDER}", "--mode", "read", "--role", "nobody", "--out", out, code=1)
    assert "nobody" in answer.err
    keeper.frazil("profile", "token", str(keeper.folder), "--mode", "read", "--out", out, code=2)
    assert not out.exists()


def test_a_server_that_takes_no_notice_of_the_policy_gets_no_token_handed_on(gateway, folder, keeper, tmp_path):
    """Between frazil and Ceph stands one that forgets the policy on the way, as servers do that know none."""
    import urllib.parse
    import urllib.request

    from homes import answering

    keys = gateway.assumed(f"share-{folder}", {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]})
    said = (
        f"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{keys['AccessKeyId']}</AccessKeyId><SecretAccessKey>{keys['SecretAccessKey']}</SecretAccessKey>"
        f"<SessionToken>{keys['SessionToken']}</SessionToken><Expiration>{keys['Expiration']:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
    asked = []

    def forgetful(request):
        asked.append(urllib.parse.parse_qs(request.body.decode()))
        return 200, [], said.encode()

    with answering(forgetful) as sts:
        out = keeper.folder / "token.json"
        answer = keeper.frazil("profile", "token", f"osn:{folder}/{FOLDER}", "--mode", "read", "--role", "x", "--out", out, code=1, AWS_ENDPOINT_URL_STS=sts.address)
    assert asked and "jdoe/" in asked[0]["Policy"][0]
    assert "no notice" in answer.err and not out.exists()


@pytest.mark.parametrize("mode", ["read-write", "deliver"])
def test_after_erase_nothing_is_left_in_the_home(guest, gateway, folder, tmp_path, seed, mode):
    home = guest(mode)
    make_tree(home.folder / "tree", seed, {"a.nc": 1000})
    home.frazil("push", home.folder / "tree", "--to", f"guest:{folder}/{FOLDER}", "--as", "run8")
    for form in ("aws", "rclone", "env", "storage-options", "obstore"):
        home.frazil("profile", "export", "guest", "--to", form, "--out", home.folder / f"for.{form}")
    # A copy that frazil was not told of by its own commands, but is now.
    shutil.copy(home.folder / "token.json", home.folder / "copy.json")
    secrets = [home.token["SecretAccessKey"].encode(), home.token["SessionToken"].encode()]

    def holding():
        files = [path for path in home.folder.rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(home.folder)) for path in files if any(secret in path.read_bytes() for secret in secrets))

    before = holding()
    assert len(before) == 8, before
    planned = home.frazil("profile", "erase", "-n", "--json").report
    assert {item["outcome"] for item in planned["items"]} == {"would erase"} and len(planned["items"]) == 7 and holding() == before
    home.frazil("profile", "erase", code=1)
    assert holding() == before, "nobody said yes"
    home.frazil("profile", "erase", home.folder / "copy.json", "--yes")
    # Whoever holds a file open finds nothing in it: it is overwritten, not only unlinked.
    held = (home.folder / "token.json").open("rb")
    home.frazil("profile", "erase", "--yes")
    assert holding() == [] and not any(secret in held.read() for secret in secrets)
    assert "nothing is left" in home.frazil("profile", "erase", "-n").out
    home.frazil("ls", f"guest:{folder}/", code=None)


def test_erase_takes_nothing_that_does_not_end(tmp_path):
    home = Home(tmp_path, {".aws/credentials": f"[c]\naws_access_key_id = K\naws_secret_access_key = {CANARY}\n", "thesis.txt": "my thesis", "key.json": json.dumps({"type": "service_account", "private_key": CANARY})})
    home.write("given", f"AWS_ACCESS_KEY_ID=K\nAWS_SECRET_ACCESS_KEY={CANARY}\n")
    home.frazil("profile", "import", "lasting", home.folder / "given")
    before = digests(home.folder)
    report = home.frazil("profile", "erase", "--yes", "--json").report
    assert {item["outcome"] for item in report["items"]} == {"stays"} and digests(home.folder) == before
    for told in (".aws/credentials", "thesis.txt", "key.json", "given", "nowhere"):
        home.frazil("profile", "erase", home.folder / told, "--yes", code=1)
    (home.folder / "link").symlink_to(home.folder / "given")
    home.frazil("profile", "erase", home.folder / "link", "--yes", code=1)
    after = digests(home.folder)
    after.pop("link")
    assert after == before
    # Who names it means it: what frazil was given goes, what it was given from stays.
    home.frazil("profile", "erase", "lasting", "--yes")
    assert not (home.folder / ".config/frazil/profiles.conf").exists() and (home.folder / "given").exists()


def test_a_token_that_would_open_nothing_is_not_handed_on_and_one_for_all_is_named(keeper, gateway, folder, tmp_path):
    other = f"other-{uuid.uuid4().hex[:8]}"
    gateway.client().create_bucket(Bucket=other)
    try:
        out = tmp_path / "token.json"
        gateway.assumed(f"one-{folder}", {"Effect": "Allow", "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{folder}", f"arn:aws:s3:::{folder}/*"]})
        words = ["--mode", "read", "--role", f"one-{folder}", "--out", out]
        answer = keeper.frazil("profile", "token", f"osn:{other}/{FOLDER}", *words, code=1)
        assert "nothing" in answer.err and "--role" in answer.err and not out.exists(), answer
        answer = keeper.frazil("profile", "token", f"osn:{folder}", *words, code=0)
        assert "all of" in answer.err and "folder" in answer.err, answer
    finally:
        gateway.client().delete_bucket(Bucket=other)
