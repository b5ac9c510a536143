"""Keys as they lie about: every spelling of rclone remotes, AWS profiles and variables, on a real Ceph.

Each way works or says why not; keys that have ended, are wrong, reach only below a prefix or are rotated under a running
command behave; and no secret shows anywhere.
"""

import datetime
import hashlib
import json
import pathlib
import shlex
import time

import pytest

import ceph
from command import ROOT
from homes import Home, answering, keys_of, slowly

FILE = (ROOT / "examples/sea-surface/data/sst_200101.nc").read_bytes()
ROLE = "arn:aws:iam:::role/reader"
N_FILES = 24


@pytest.fixture(scope="module")
def data(gateway):
    """A bucket with a file below each of two prefixes."""
    name = ceph.fresh_bucket(gateway)
    for key in ("mine/a.nc", "theirs/a.nc", *(f"many/{number:03}.nc" for number in range(N_FILES))):
        gateway.client().put_object(Bucket=name, Key=key, Body=FILE)
    yield name
    ceph.discard(gateway, name)


@pytest.fixture(scope="module")
def assumed(gateway, data):
    """Temporary keys that reach below `mine/` only."""
    return gateway.assumed("reader", *ceph.may_use(data, "mine/"))


def fixed(key=ceph.KEY, secret=ceph.SECRET):
    return f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"


def temporary(keys):
    return fixed(keys["AccessKeyId"], keys["SecretAccessKey"]) + f"aws_session_token = {keys['SessionToken']}\n"


S3 = f"type = s3\nprovider = Ceph\naccess_key_id = {ceph.KEY}\nsecret_access_key = {ceph.SECRET}\n"
CREDENTIALS, CONFIG, RCLONE = ".aws/credentials", ".aws/config", ".config/rclone/rclone.conf"
KEYS = {"AWS_ACCESS_KEY_ID": ceph.KEY, "AWS_SECRET_ACCESS_KEY": ceph.SECRET}
REMOTE = {"RCLONE_CONFIG_POD_TYPE": "s3", "RCLONE_CONFIG_POD_PROVIDER": "Ceph", "RCLONE_CONFIG_POD_ENDPOINT": "@", "RCLONE_CONFIG_POD_ACCESS_KEY_ID": ceph.KEY, "RCLONE_CONFIG_POD_SECRET_ACCESS_KEY": ceph.SECRET}

# Files, variables, words, and what is said if it does not work; `@` is the server, `%` the bucket, `~` the home.
WAYS = {
    # The AWS tools.
    "profile default": ({CREDENTIALS: f"[default]\n{fixed()}", CONFIG: "[default]\nendpoint_url = @\n"}, {}, "s3://%/mine/a.nc"),
    "profile by word": ({CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {}, "s3://%/mine/a.nc --profile c"),
    "profile by variable": ({CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {"AWS_PROFILE": "c"}, "s3://%/mine/a.nc"),
    "profile as door": ({CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {}, "c:%/mine/a.nc"),
    "keys in config": ({CONFIG: f"[profile c]\n{fixed()}endpoint_url = @\n"}, {"AWS_PROFILE": "c"}, "s3://%/mine/a.nc"),
    "files elsewhere": ({"x": f"[c]\n{fixed()}", "y": "[profile c]\nendpoint_url = @\n"}, {"AWS_PROFILE": "c", "AWS_SHARED_CREDENTIALS_FILE": "~/x", "AWS_CONFIG_FILE": "~/y"}, "s3://%/mine/a.nc"),
    "endpoint of s3": ({CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\ns3 =\n  endpoint_url = @\n"}, {}, "c:%/mine/a.nc"),
    "endpoint of a service": ({CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\nservices = here\n[services here]\ns3 =\n  endpoint_url = @\n"}, {}, "c:%/mine/a.nc"),
    "endpoint by variable": ({CREDENTIALS: f"[c]\n{fixed()}"}, {"AWS_ENDPOINT_URL_S3": "@"}, "c:%/mine/a.nc"),
    "path style said": ({CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\nendpoint_url = @\ns3 =\n  addressing_style = path\n"}, {}, "c:%/mine/a.nc"),
    "keys of variables": ({}, {**KEYS, "AWS_ENDPOINT_URL": "@"}, "s3://%/mine/a.nc"),
    "keys of variables, server of a profile": ({CONFIG: "[default]\nendpoint_url = @\n"}, KEYS, "s3://%/mine/a.nc"),
    "program": ({CONFIG: "[profile c]\nendpoint_url = @\ncredential_process = ~/keys 'CANARY word'\n"}, {}, "c:%/mine/a.nc"),
    "role": ({CREDENTIALS: f"[base]\n{fixed()}", CONFIG: f"[profile c]\nendpoint_url = @\nrole_arn = {ROLE}\nsource_profile = base\nrole_session_name = me\nduration_seconds = 900\n"}, {}, "c:%/mine/a.nc"),
    "role by keys of variables": ({CONFIG: f"[profile c]\nendpoint_url = @\nrole_arn = {ROLE}\ncredential_source = Environment\n"}, KEYS, "c:%/mine/a.nc"),
    "role with its own keys": ({CONFIG: f"[profile c]\nendpoint_url = @\nrole_arn = {ROLE}\nsource_profile = c\n{fixed()}"}, {}, "c:%/mine/a.nc"),
    "role by a program": ({CONFIG: f"[profile c]\nendpoint_url = @\nrole_arn = {ROLE}\nsource_profile = p\n[profile p]\ncredential_process = ~/keys\n"}, {}, "c:%/mine/a.nc"),
    # rclone.
    "remote": ({RCLONE: f"[pod]\n{S3}endpoint = @\n"}, {}, "pod:%/mine/a.nc"),
    "remote with path style": ({RCLONE: f"[pod]\n{S3}endpoint = @\nforce_path_style = true\nregion = us-east-1\n"}, {}, "pod:%/mine/a.nc"),
    "remote of type Other": ({RCLONE: f"[pod]\n{S3}endpoint = @\n".replace("Ceph", "Other")}, {}, "pod:%/mine/a.nc"),
    "remote elsewhere": ({"r.conf": f"[pod]\n{S3}endpoint = @\n"}, {"RCLONE_CONFIG": "~/r.conf"}, "pod:%/mine/a.nc"),
    "remote in the XDG folder": ({"c/rclone/rclone.conf": f"[pod]\n{S3}endpoint = @\n"}, {"XDG_CONFIG_HOME": "~/c"}, "pod:%/mine/a.nc"),
    "remote of old": ({".rclone.conf": f"[pod]\n{S3}endpoint = @\n"}, {}, "pod:%/mine/a.nc"),
    "remote as profile": ({RCLONE: f"[pod]\n{S3}endpoint = @\n"}, {}, "s3://%/mine/a.nc --profile pod"),
    "remote of variables": ({}, REMOTE, "pod:%/mine/a.nc"),
    "remote with a server by variable": ({RCLONE: f"[pod]\n{S3}"}, {"RCLONE_S3_ENDPOINT": "@"}, "pod:%/mine/a.nc"),
    "alias": ({RCLONE: f"[pod]\n{S3}endpoint = @\n[mine]\ntype = alias\nremote = pod:%/mine\n"}, {}, "mine:a.nc"),
    "alias of an alias": ({RCLONE: f"[pod]\n{S3}endpoint = @\n[all]\ntype = alias\nremote = pod:%\n[mine]\ntype = alias\nremote = all:mine\n"}, {}, "mine:a.nc"),
    "remote by an AWS profile": ({RCLONE: "[pod]\ntype = s3\nenv_auth = true\nprofile = c\n", CREDENTIALS: f"[c]\n{fixed()}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {}, "pod:%/mine/a.nc"),
    "remote by an AWS profile, server its own": ({RCLONE: "[pod]\ntype = s3\nenv_auth = true\nprofile = c\nendpoint = @\n", CREDENTIALS: f"[c]\n{fixed()}"}, {}, "pod:%/mine/a.nc"),
    "remote by a file elsewhere": ({RCLONE: "[pod]\ntype = s3\nenv_auth = true\nprofile = c\nshared_credentials_file = ~/x\nendpoint = @\n", "x": f"[c]\n{fixed()}"}, {}, "pod:%/mine/a.nc"),
    "remote by keys of variables": ({RCLONE: "[pod]\ntype = s3\nenv_auth = true\nendpoint = @\n"}, KEYS, "pod:%/mine/a.nc"),
    "remote by a program": ({RCLONE: "[pod]\ntype = s3\nenv_auth = true\nprofile = c\nendpoint = @\n", CONFIG: "[profile c]\ncredential_process = ~/keys\n"}, {}, "pod:%/mine/a.nc"),
    "remote by a role": ({RCLONE: "[pod]\ntype = s3\nenv_auth = true\nprofile = c\nendpoint = @\n", CREDENTIALS: f"[base]\n{fixed()}", CONFIG: f"[profile c]\nendpoint_url = @\nrole_arn = {ROLE}\nsource_profile = base\n"}, {}, "pod:%/mine/a.nc"),
}

REFUSALS = {
    "nobody": ({}, {}, "s3://%/mine/a.nc", "there are no keys"),
    "half a key": ({}, {"AWS_ACCESS_KEY_ID": "A"}, "s3://%/mine/a.nc", "`AWS_SECRET_ACCESS_KEY` is not"),
    "no such profile": ({}, {"AWS_PROFILE": "gone"}, "s3://%/mine/a.nc", "`gone`"),
    "metadata": ({CONFIG: "[profile c]\nendpoint_url = @\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n"}, {}, "c:%/mine/a.nc", "metadata address"),
    "code of a device": ({CONFIG: "[profile c]\nendpoint_url = @\nrole_arn = r\nsource_profile = c\nmfa_serial = x\n"}, {}, "c:%/mine/a.nc", "mfa_serial"),
    "role that is not there": ({CREDENTIALS: f"[base]\n{fixed()}", CONFIG: "[profile c]\nendpoint_url = @\nrole_arn = arn:aws:iam:::role/gone\nsource_profile = base\n"}, {}, "c:%/mine/a.nc", "could not be taken on"),
    "program that fails": ({CONFIG: "[profile c]\nendpoint_url = @\ncredential_process = ~/fails CANARY\n"}, {}, "c:%/mine/a.nc", "ended with code 7"),
    "program whose keys have ended": ({CONFIG: "[profile c]\nendpoint_url = @\ncredential_process = ~/ended\n"}, {}, "c:%/mine/a.nc", "have ended already"),
    "sign-on never made": ({CONFIG: "[profile c]\nendpoint_url = @\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = x\n"}, {}, "c:%/mine/a.nc", "aws sso login --profile c"),
    "wrong secret": ({CREDENTIALS: f"[c]\n{fixed(secret='CANARY1wrong')}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {}, "c:%/mine/a.nc", "403"),
    "wrong key": ({CREDENTIALS: f"[c]\n{fixed(key='nobody')}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {}, "c:%/mine/a.nc", "403"),
    "remote without keys": ({RCLONE: "[pod]\ntype = s3\nendpoint = @\n"}, {}, "pod:%/mine/a.nc", "without a signature"),
    "remote with a profile and no env_auth": ({RCLONE: "[pod]\ntype = s3\nprofile = c\nendpoint = @\n", CREDENTIALS: f"[c]\n{fixed()}"}, {}, "pod:%/mine/a.nc", "without `env_auth = true`"),
    "remote without a server": ({RCLONE: f"[pod]\n{S3}"}, {}, "pod:%/mine/a.nc", "it has no `endpoint`"),
    "encrypted remote": ({RCLONE: f"[pod]\n{S3}endpoint = @\n[sealed]\ntype = crypt\nremote = pod:%\npassword = CANARY\n"}, {}, "sealed:mine/a.nc", "it is encrypted"),
    "remote of another kind": ({RCLONE: "[box]\ntype = dropbox\ntoken = CANARY\n"}, {}, "box:mine/a.nc", "type `dropbox`"),
    "alias of nothing": ({RCLONE: "[mine]\ntype = alias\nremote = gone:%\n"}, {}, "mine:a.nc", "which there is not"),
    "key of the customer": ({RCLONE: f"[pod]\n{S3}endpoint = @\nsse_customer_key = CANARY\n"}, {}, "pod:%/mine/a.nc", "sse_customer_key"),
    "encrypted file": ({RCLONE: "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nCANARY\n"}, {}, "s3://%/a.nc --profile pod", "encrypted with a password"),
}


@pytest.fixture
def living(gateway, data, tmp_path):
    """Makes a home of files in which `@`, `%` and `~` are filled in."""

    def make(files, variables=()):
        def fill(text):
            return text.replace("@", gateway).replace("%", data).replace("~", str(tmp_path))

        home = Home(tmp_path, {path: fill(text) for path, text in files.items()})
        for name, script in {
            "keys": f"echo {shlex.quote(keys_of({'AccessKeyId': ceph.KEY, 'SecretAccessKey': ceph.SECRET}))}",
            "fails": "echo CANARY; echo CANARY >&2; exit 7",
            "ended": f"echo {shlex.quote(keys_of({'AccessKeyId': 'A', 'SecretAccessKey': 'CANARY'}, Expiration='2001-01-01T00:00:00Z'))}",
        }.items():
            home.write(name, f"#!/bin/sh\n{script}\n", mode=0o700)
        return home, {name: fill(text) for name, text in dict(variables).items()}

    return make


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_key_opens_the_same_file(living, data, assumed, way):
    files, variables, words = WAYS[way]
    home, variables = living(files, variables)
    report = home.frazil("inspect", *words.replace("%", data).split(), "--json", "-v", **variables).report
    assert report["totals"]["n_variables"] == 5
    place, *more = words.replace("%", data).split()
    assert home.frazil("profile", "explain", place, *more, **variables).out


@pytest.mark.parametrize("way", REFUSALS)
def test_every_way_that_leads_nowhere_says_so(living, data, way):
    files, variables, words, expected = REFUSALS[way]
    home, variables = living(files, variables)
    answer = home.frazil("inspect", *words.replace("%", data).split(), "-v", code=4, **variables)
    assert expected in answer.err, answer
    home.frazil("profile", "list", **variables)
    home.frazil("inspect", *words.replace("%", data).split(), "-v", "--json", code=4, **variables)


def test_settings_in_the_place_are_refused_by_name(living):
    home, _ = living({RCLONE: f"[pod]\n{S3}endpoint = @\n"})
    for place in (":s3,access_key_id=CANARY:bucket/a", "pod,secret_access_key=CANARY:bucket/a"):
        assert "rclone.conf" in home.frazil("inspect", place, code=2).err


def given(assumed, way):
    """Files, variables and the door for temporary keys that somebody gave us."""
    if way == "credentials":
        return {CREDENTIALS: f"[c]\n{temporary(assumed)}", CONFIG: "[profile c]\nendpoint_url = @\n"}, {}, "c:"
    if way == "variables":
        return {}, {"AWS_ACCESS_KEY_ID": assumed["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"], "AWS_SESSION_TOKEN": assumed["SessionToken"], "AWS_ENDPOINT_URL": "@"}, "s3://"
    if way == "remote":
        keys = f"access_key_id = {assumed['AccessKeyId']}\nsecret_access_key = {assumed['SecretAccessKey']}\nsession_token = {assumed['SessionToken']}\n"
        return {RCLONE: f"[c]\ntype = s3\nprovider = Ceph\nendpoint = @\n{keys}"}, {}, "c:"
    return {CREDENTIALS: f"[base]\n{fixed()}", CONFIG: f"[profile c]\nendpoint_url = @\nrole_arn = {ROLE}\nsource_profile = base\n"}, {}, "c:"


@pytest.mark.parametrize("way", ["credentials", "variables", "remote", "role"])
def test_temporary_keys_work_below_their_prefix_and_are_refused_elsewhere(living, data, assumed, way):
    files, variables, door = given(assumed, way)
    home, variables = living(files, variables)
    home.frazil("inspect", f"{door}{data}/mine/*.nc", **variables)
    for place in (f"{door}{data}/theirs/a.nc", f"{door}{data}/theirs/*.nc"):
        answer = home.frazil("inspect", place, code=4, **variables)
        assert "403" in answer.err and assumed["SecretAccessKey"] not in answer.text and assumed["SessionToken"] not in answer.text


def test_a_sign_on_gives_keys_until_it_ends(living, gateway, data, assumed):
    def portal(request):
        if request.headers.get("x-amz-sso_bearer_token") != "CANARYtoken":
            return 401, [], b"{}"
        keys = {"accessKeyId": assumed["AccessKeyId"], "secretAccessKey": assumed["SecretAccessKey"], "sessionToken": assumed["SessionToken"], "expiration": int(assumed["Expiration"].timestamp() * 1000)}
        return 200, [], json.dumps({"roleCredentials": keys}).encode()

    config = "[profile c]\nendpoint_url = @\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = x\nsso_start_url = https://x\n[profile old]\nendpoint_url = @\nsso_start_url = https://x\nsso_region = x\nsso_account_id = 1\nsso_role_name = r\n"
    home, _ = living({CONFIG: config})
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign_on(name, ends):
        text = json.dumps({"accessToken": "CANARYtoken", "expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%SZ"), "region": "x"})
        home.write(f".aws/sso/cache/{hashlib.sha1(name.encode()).hexdigest()}.json", text)

    with answering(portal) as server:
        for profile, name in (("c", "s"), ("old", "https://x")):
            sign_on(name, now + datetime.timedelta(hours=1))
            home.frazil("inspect", f"{profile}:{data}/mine/a.nc", AWS_ENDPOINT_URL_SSO=server.address)
            assert server.seen[-1][2] == "/federation/credentials?account_id=1&role_name=r"
            sign_on(name, now - datetime.timedelta(hours=1))
            assert f"aws sso login --profile {profile}" in home.frazil("inspect", f"{profile}:{data}/mine/a.nc", code=4, AWS_ENDPOINT_URL_SSO=server.address).err


def test_a_container_is_asked_only_if_it_is_named_and_near(living, data):
    keys = {"AccessKeyId": ceph.KEY, "SecretAccessKey": ceph.SECRET, "Token": None, "Expiration": "2100-01-01T00:00:00Z"}
    home, _ = living({CONFIG: "[default]\nendpoint_url = @\n", "token": "CANARYword\n"})

    def container(request):
        return (200, [], json.dumps(keys).encode()) if request.headers.get("Authorization") == "CANARYword" else (403, [], b"")

    with answering(container) as server:
        for variables in ({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "CANARYword"}, {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": home.folder / "token"}):
            home.frazil("inspect", f"s3://{data}/mine/a.nc", AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{server.address}/k", **variables)
        assert "403" in home.frazil("inspect", f"s3://{data}/mine/a.nc", code=4, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{server.address}/k").err
    answer = home.frazil("inspect", f"s3://{data}/mine/a.nc", code=4, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://192.0.2.1/k")
    assert "neither on this machine" in answer.err and answer.seconds < 5


def test_a_token_in_a_file_opens_a_role(living, data, assumed):
    home, _ = living({CONFIG: f"[profile c]\nrole_arn = {ROLE}\nweb_identity_token_file = ~/token\ns3 =\n  endpoint_url = @\n", "token": "CANARYidentity"})

    def sts(request):
        if "WebIdentityToken=CANARYidentity" not in request.body.decode():
            return 403, [], b"<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>CANARY</Message></Error></ErrorResponse>"
        keys = "".join(f"<{name}>{assumed[name]}</{name}>" for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
        return 200, [], f"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>{keys}<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>".encode()

    with answering(sts) as server:
        home.frazil("inspect", f"c:{data}/mine/a.nc", AWS_ENDPOINT_URL_STS=server.address)
        home.frazil("inspect", f"s3://{data}/mine/a.nc", AWS_ENDPOINT_URL_STS=server.address, AWS_PROFILE="c")
        home.write("token", "CANARYold")
        assert "InvalidIdentityToken" in home.frazil("inspect", f"c:{data}/mine/a.nc", code=4, AWS_ENDPOINT_URL_STS=server.address).err


class Rotation:
    """A user whose only key is another every few seconds; the old one is taken away first."""

    def __init__(self, gateway, bucket, tell):
        self.gateway, self.number, self.tell = gateway, 0, tell
        gateway.admin("user", "create", "--uid", "turning", "--display-name", "turning", "--access-key", "turn0", "--secret-key", "CANARYturn0")
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/turning"]}, "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}
        gateway.client().put_bucket_policy(Bucket=bucket, Policy=ceph.compact(policy))
        tell("turn0", "CANARYturn0")

    def turn(self):
        old, self.number = f"turn{self.number}", self.number + 1
        new = f"turn{self.number}"
        self.gateway.admin("key", "create", "--uid", "turning", "--key-type", "s3", "--access-key", new, "--secret-key", f"CANARY{new}")
        self.tell(new, f"CANARY{new}")
        self.gateway.admin("key", "rm", "--uid", "turning", "--key-type", "s3", "--access-key", old)


@pytest.mark.parametrize("way", ["file", "program"])
def test_keys_that_are_rotated_under_a_command_stop_nothing(living, gateway, data, soak, way):
    home, _ = living({})
    with slowly(gateway, 0.03) as server:
        home.write(CONFIG, f"[profile c]\nendpoint_url = {server}\n" + (f"credential_process = cat {home.folder}/printed\n" if way == "program" else ""))

        def tell(key, secret):
            if way == "file":
                home.write(CREDENTIALS, f"[c]\n{fixed(key, secret)}")
            else:
                home.write("printed", keys_of({"AccessKeyId": key, "SecretAccessKey": secret}))

        rotation = Rotation(gateway, data, tell)
        try:
            until = time.monotonic() + (60 if soak else 12)
            n_runs = 0
            while time.monotonic() < until:
                process, out = home.start("inspect", f"c:{data}/many/*.nc", "--digest", "--no-index", "--threads", "2", "--json")
                while process.poll() is None:
                    next_turn = time.monotonic() + (5 if soak else 1.5)
                    rotation.turn()
                    while process.poll() is None and time.monotonic() < next_turn:
                        time.sleep(0.05)
                out.seek(0)
                text = out.read()
                assert process.returncode == 0 and "CANARY" not in text, text
                assert json.loads(text)["totals"]["n_sources"] == N_FILES
                n_runs += 1
            assert rotation.number >= 4 and n_runs, (rotation.number, n_runs)
        finally:
            gateway.admin("user", "rm", "--uid", "turning")


def test_no_secret_shows_in_any_process(living, gateway, data):
    """Words and variables of the command and of the program that it runs."""
    home, _ = living({})
    home.write("keys", f"#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ > {home.folder}/given\nsleep 1\necho {shlex.quote(keys_of({'AccessKeyId': ceph.KEY, 'SecretAccessKey': ceph.SECRET}))}\n", mode=0o700)
    home.write(CONFIG, f"[profile c]\nendpoint_url = {gateway}\ncredential_process = {home.folder}/keys\n")
    secrets = {"AWS_ACCESS_KEY_ID": "CANARYa", "AWS_SECRET_ACCESS_KEY": "CANARYb", "AWS_SESSION_TOKEN": "CANARYc", "EARTHDATA_TOKEN": "CANARYd", "RCLONE_CONFIG_X_TYPE": "s3", "RCLONE_CONFIG_X_SECRET_ACCESS_KEY": "CANARYe"}
    process, out = home.start("inspect", f"c:{data}/mine/a.nc", "-v", **secrets)
    words = ""
    while process.poll() is None:
        for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = place.read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            # The `env` that sets the variables has them in its words until it becomes frazil.
            words += text if str(home.folder) in text and not text.startswith("env\0") else ""
        time.sleep(0.05)
    out.seek(0)
    assert process.returncode == 0, out.read()
    out.seek(0)
    assert "CANARY" not in out.read() + words + (home.folder / "given").read_text()
