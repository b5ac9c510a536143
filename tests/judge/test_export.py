"""An identity that was exported is one for other programs: the AWS command, rclone, s3fs, obstore and xarray read and write a real
Ceph with it, by the line that frazil prints and with nothing else said.

No secret is on a command line, in what is said, or where others could read it.
"""

import json
import os
import pty
import re
import select
import shlex
import subprocess

import pytest
import xarray

import azurite
import ceph
import clients
from command import ROOT, binary
from homes import CANARY, Home
from moves import put_tree

FORMS = ["aws", "rclone", "env", "storage-options", "obstore"]
STORE = "data/sst.zarr"


@pytest.fixture(scope="module")
def store(gateway, tmp_path_factory):
    """A bucket with a store in it, and the same store as xarray has it."""
    from command import frazil

    folder = tmp_path_factory.mktemp("store") / "sst.zarr"
    assert frazil("build", str(ROOT / "examples/sea-surface"), "--to", str(folder)).code == 0
    name = ceph.fresh_bucket(gateway)
    put_tree(gateway, name, STORE + "/", folder)
    yield name, xarray.open_dataset(folder, engine="zarr")
    ceph.discard(gateway, name)


@pytest.fixture(params=["temporary", "role"])
def home(request, gateway, store, tmp_path):
    """A home whose profile `osn` has a token, or is a role that has to be taken on first."""
    bucket, _ = store
    keys = gateway.assumed(f"export-{bucket}", *ceph.may_use(bucket, "data/"))
    fixed = f"[base]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = {ceph.SECRET}\n"
    temporary = f"[osn]\naws_access_key_id = {keys['AccessKeyId']}\naws_secret_access_key = {keys['SecretAccessKey']}\naws_session_token = {keys['SessionToken']}\n"
    role = f"[profile osn]\nendpoint_url = {gateway}\nrole_arn = arn:aws:iam:::role/export-{bucket}\nsource_profile = base\n"
    files = {
        "temporary": {".aws/credentials": temporary, ".aws/config": f"[profile osn]\nendpoint_url = {gateway}\n"},
        "role": {".aws/credentials": fixed, ".aws/config": role},
    }
    home = Home(tmp_path / "home", files[request.param])
    home.is_role = request.param == "role"
    return home


def shell(home, script, *, code=0, **variables):
    """What a shell with the clients and frazil says; it knows nothing but its home."""
    frazil = " ".join(map(shlex.quote, binary()))
    bins = home.folder / "bin"
    bins.mkdir(exist_ok=True)
    (bins / "frazil").write_text(f"#!/bin/sh\nexec {frazil} \"$@\"\n")
    (bins / "frazil").chmod(0o755)
    variables = {"HOME": home.folder, "PATH": f"{bins}:{clients.folder() / 'bin'}:/usr/bin:/bin", "PYTHONWARNINGS": "ignore", "AWS_EC2_METADATA_DISABLED": "true", **variables}
    answer = subprocess.run(
        ["env", "-i", *(f"{name}={value}" for name, value in variables.items()), "bash", "-euc", script],
        capture_output=True, text=True, timeout=120, cwd=home.folder,
    )
    assert answer.returncode == code, f"{script}\n{answer.stdout[-2000:]}\n{answer.stderr[-3000:]}"
    return answer


def python(home, code, **variables):
    (home.folder / "client.py").write_text(code)
    return json.loads(shell(home, "python client.py", **variables).stdout)


def sums(dataset) -> dict:
    """What is compared: the values of every variable, as bytes."""
    import hashlib

    return {str(name): hashlib.sha256(dataset[name].values.tobytes()).hexdigest() for name in dataset.variables}


# The same, in a client of its own.
SUMS = """
import hashlib, json, sys, xarray
def sums(dataset):
    return {str(name): hashlib.sha256(dataset[name].values.tobytes()).hexdigest() for name in dataset.variables}
"""


@pytest.mark.parametrize("form", FORMS)
def test_clients_read_and_write_with_what_was_exported(home, store, gateway, form):
    clients.client("aws")
    bucket, ours = store
    out = home.folder / "handed.file"
    said = home.frazil("profile", "export", "osn", "--to", form, "--out", out)
    assert out.stat().st_mode & 0o777 == 0o600
    usage = re.search(r"^use it: (.*)$", said.out, re.MULTILINE)[1].replace("BUCKET/STORE.zarr", f"{bucket}/{STORE}").replace("BUCKET", bucket)
    text = out.read_text()
    # What only describes a key must be got: the other program is told of no role.
    assert "role_arn" not in text and "source_profile" not in text and (ceph.SECRET not in text or not home.is_role)
    key = f"data/by-{form}-{home.is_role}"
    if form == "aws":
        listed = shell(home, usage + f"{STORE}/")
        assert "zarr.json" in listed.stdout
        (home.folder / "big").write_bytes(os.urandom(20 << 20))
        copied = usage.split(" s3 ls ")[0] + f" s3 cp big s3://{bucket}/{key}"
        shell(home, copied)
        assert ceph.objects(gateway, bucket, key)[key][0] == 20 << 20
        assert re.search(r"until \d{4}-", text) if home.is_role else True
    elif form == "rclone":
        assert "zarr.json" in shell(home, usage + f"/{STORE}").stdout
        (home.folder / "big").write_bytes(os.urandom(20 << 20))
        remote = shlex.split(usage)
        shell(home, shlex.join([*remote[:3], "copyto", "--s3-upload-cutoff", "6M", "--s3-chunk-size", "6M", "big", f"osn:{bucket}/{key}"]))
        assert ceph.objects(gateway, bucket, key)[key][0] == 20 << 20
    elif form == "env":
        script = f"{usage}\naws s3 ls s3://{bucket}/{STORE}/\nfrazil ls s3://{bucket}/data/\nfrazil cp s3://{bucket}/{STORE} back.zarr\necho word > word\nfrazil cp word s3://{bucket}/{key}\nfrazil profile list"
        answer = shell(home, script)
        assert answer.stdout.count("zarr.json") >= 1 and "zarr 3" in answer.stdout and key in ceph.objects(gateway, bucket)
        assert sums(xarray.open_dataset(home.folder / "back.zarr", engine="zarr")) == sums(ours)
        code = f"{SUMS}\nfirst = sums(xarray.open_zarr('s3://{bucket}/{STORE}'))\nimport obstore.store, zarr.storage\nstore = zarr.storage.ObjectStore(obstore.store.S3Store('{bucket}', prefix='{STORE}'), read_only=True)\nprint(json.dumps([first, sums(xarray.open_zarr(store))]))"
        (home.folder / "client.py").write_text(code)
        assert json.loads(shell(home, f"{usage}\npython client.py").stdout) == [sums(ours)] * 2
    elif form == "storage-options":
        code = f"{SUMS}\ndataset = {usage}\nprint(json.dumps(sums(dataset)))\nimport s3fs\nfs = s3fs.S3FileSystem(**json.load(open({str(out)!r})))\nfs.pipe('{bucket}/{key}', b'word')\nassert fs.cat('{bucket}/{key}') == b'word'"
        assert python(home, code) == sums(ours) and key in ceph.objects(gateway, bucket)
    else:
        code = f"{SUMS}\nimport obstore, obstore.store, zarr.storage\nstore = {usage}\nobstore.put(store, '{key}', b'word')\nassert bytes(obstore.get(store, '{key}').bytes()) == b'word'\ninner = obstore.store.S3Store('{bucket}', prefix='{STORE}', **json.load(open({str(out)!r})))\nprint(json.dumps(sums(xarray.open_zarr(zarr.storage.ObjectStore(inner, read_only=True)))))"
        assert python(home, code) == sums(ours) and key in ceph.objects(gateway, bucket)
    # It is no more than its role: what lies beside the prefix stays closed.
    home.frazil("profile", "erase", "--yes")
    assert not out.exists()


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """An Azurite with the store in a container."""
    from command import frazil

    with azurite.running(tmp_path_factory.mktemp("azurite")) as started:
        folder = tmp_path_factory.mktemp("store") / "sst.zarr"
        assert frazil("build", str(ROOT / "examples/sea-surface"), "--to", str(folder)).code == 0
        container = started.container()
        remote = {"RCLONE_CONFIG_A_TYPE": "azureblob", "RCLONE_CONFIG_A_ACCOUNT": azurite.ACCOUNT, "RCLONE_CONFIG_A_KEY": azurite.KEY, "RCLONE_CONFIG_A_ENDPOINT": str(started)}
        subprocess.run([clients.client("rclone"), "copy", folder, f"A:{container}/{STORE}"], env={**os.environ, "RCLONE_CONFIG": "/dev/null", **remote}, check=True, timeout=120)
        yield started, container, xarray.open_dataset(folder, engine="zarr")


@pytest.mark.parametrize("form", [form for form in FORMS if form != "aws"])
def test_an_identity_of_azure_is_one_for_other_programs(blobs, tmp_path, form):
    address, container, ours = blobs
    home = Home(tmp_path / "home", {".config/rclone/rclone.conf": address.rclone("osn")})
    out = home.folder / "handed.file"
    said = home.frazil("profile", "export", "osn", "--to", form, "--out", out)
    usage = re.search(r"^use it: (.*)$", said.out, re.MULTILINE)[1].replace("CONTAINER/STORE.zarr", f"{container}/{STORE}").replace("CONTAINER", container).replace("BUCKET", container)
    key = f"data/by-{form}"
    if form == "rclone":
        assert "zarr.json" in shell(home, usage + f"/{STORE}").stdout
    elif form == "env":
        script = f"{usage}\nfrazil cp az://{container}/{STORE} back.zarr\necho word > word\nfrazil cp word az://{container}/{key}\nfrazil ls az://{container}/data/"
        assert f"by-{form}" in shell(home, script).stdout
        assert sums(xarray.open_dataset(home.folder / "back.zarr", engine="zarr")) == sums(ours)
    elif form == "storage-options":
        assert python(home, f"{SUMS}\nprint(json.dumps(sums({usage})))") == sums(ours)
    else:
        code = f"{SUMS}\nimport obstore, obstore.store, zarr.storage\nstore = {usage}\nobstore.put(store, '{key}', b'word')\nassert bytes(obstore.get(store, '{key}').bytes()) == b'word'\ninner = obstore.store.AzureStore('{container}', prefix='{STORE}', **json.load(open({str(out)!r})))\nprint(json.dumps(sums(xarray.open_zarr(zarr.storage.ObjectStore(inner, read_only=True)))))"
        assert python(home, code) == sums(ours)


def test_a_shell_takes_it_from_stdout_and_a_terminal_does_not(home, store):
    bucket, _ = store
    script = f'eval "$(frazil profile export osn --to env)"\nfrazil ls s3://{bucket}/data/'
    answer = shell(home, script)
    assert "sst.zarr" in answer.stdout and CANARY not in answer.stderr and "until" in answer.stderr or not home.is_role
    for form in FORMS:
        words = [*home.environment({}), *binary(), "profile", "export", "osn", "--to", form]
        if form != "env":
            assert home.frazil("profile", "export", "osn", "--to", form, code=2).out == ""
        assert home.frazil("profile", "export", "osn", "--to", form, "--json", code=2).report["error"]["code"] == "profile.nowhere"
        leader, follower = pty.openpty()
        process = subprocess.Popen(words, stdout=follower, stderr=follower, stdin=follower)
        os.close(follower)
        seen = b""
        while process.poll() is None or select.select([leader], [], [], 0.2)[0]:
            try:
                seen += os.read(leader, 4096)
            except OSError:
                break
        os.close(leader)
        assert process.wait() == 2 and b"secret" not in seen.lower().replace(b"a secret is not shown", b"") and b"aws_" not in seen.lower(), (form, seen)


def test_what_lies_there_is_replaced_only_if_frazil_wrote_it(home):
    out = home.folder / "file"
    out.write_text("my thesis")
    home.frazil("profile", "export", "osn", "--to", "rclone", "--out", out, code=1)
    assert out.read_text() == "my thesis"
    out.unlink()
    home.frazil("profile", "export", "osn", "--to", "rclone", "--out", out)
    home.frazil("profile", "export", "osn", "--to", "obstore", "--out", out)
    json.loads(out.read_text())
    with out.open("a") as file:
        file.write("\n")
    home.frazil("profile", "export", "osn", "--to", "rclone", "--out", out, code=1)
    link = home.folder / "link"
    link.symlink_to(home.folder / "elsewhere")
    home.frazil("profile", "export", "osn", "--to", "rclone", "--out", link, code=1)
    assert not (home.folder / "elsewhere").exists()


def test_a_profile_that_signs_nothing_is_not_exported(home):
    for words in (["nobody"], ["broken"]):
        home.write(".config/rclone/rclone.conf", "[broken]\ntype = s3\nprovider = Ceph\nendpoint = 127.0.0.1:9\n")
        answer = home.frazil("profile", "export", *words, "--to", "rclone", "--out", home.folder / "x", code=4)
        assert not (home.folder / "x").exists() and answer.err
