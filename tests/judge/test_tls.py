"""Servers that are not who they should be: refused before a word is said to them, with what is wrong, where, and what next.

The servers are small ones of our own, with certificates of `tls.py`; boto3 is the witness that a good one is good. What
names authorities is honoured or is an error, and nothing turns the check off.
"""

import contextlib
import http.client
import json
import re
import ssl

import pytest

import tls
from command import ROOT
from homes import Home, answering

FILE = (ROOT / "examples/sea-surface/data/sst_200101.nc").read_bytes()
MAX_SECONDS = 10
RCLONE, CONFIG = ".config/rclone/rclone.conf", ".aws/config"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "CANARYsecret", "AWS_SESSION_TOKEN": "CANARYtoken"}
ENTRA = {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "CANARYclient"}
GOOGLE = {"type": "authorized_user", "client_id": "c", "client_secret": "CANARYclient", "refresh_token": "CANARYrefresh", "token_uri": "@/token"}

# What is wrong with a server, and the words for it and for what next.
WRONG = {
    "self-signed": ("nobody whom this machine trusts", "AWS_CA_BUNDLE"),
    "unknown authority": ("nobody whom this machine trusts", "AWS_CA_BUNDLE"),
    "other host": ("for another host", "calls itself"),
    "expired": ("has expired", "whoever runs the server"),
    "not yet valid": ("not valid yet", "clock"),
    "http": ("does not speak TLS", "http://"),
}

# Files, variables and words by which a server is asked; `@` is its address.
DOORS = {
    "web": ({}, {}, "@/a.nc"),
    "web with a login": ({".netrc": "machine 127.0.0.1 login me password CANARYword\n"}, {}, "@/a.nc"),
    "bucket": ({}, {**KEYS, "AWS_ENDPOINT_URL": "@"}, "s3://b/a.nc"),
    "remote": ({RCLONE: "[r]\ntype = s3\nprovider = Ceph\nendpoint = @\naccess_key_id = key\nsecret_access_key = CANARYs\nno_check_certificate = true\n"}, {}, "r:b/a.nc"),
    "google": ({"google.json": json.dumps({**GOOGLE, "token_uri": "https://127.0.0.1:9/"})}, {"GOOGLE_APPLICATION_CREDENTIALS": "~/google.json", "CLOUDSDK_AUTH_ACCESS_TOKEN": "CANARYgoogle", "STORAGE_EMULATOR_HOST": "@"}, "gs://b/a.nc"),
    "azure": ({}, {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=@;AccountName=a;AccountKey=Q0FOQVJZ"}, "az://b/a.nc"),
    "server of keys": ({CONFIG: "[profile c]\nendpoint_url = http://127.0.0.1:9\nrole_arn = arn:aws:iam:::role/r\nsource_profile = c\naws_access_key_id = k\naws_secret_access_key = CANARYs\n"}, {"AWS_ENDPOINT_URL_STS": "@"}, "c:b/a.nc"),
    "server of tokens": ({"google.json": json.dumps(GOOGLE)}, {"GOOGLE_APPLICATION_CREDENTIALS": "~/google.json"}, "gs://b/a.nc"),
    "server of applications": ({}, {**ENTRA, "AZURE_AUTHORITY_HOST": "@"}, "az://b/a.nc"),
}

# What others take for the wish not to look, and what somebody may try.
CARELESS = {
    "RCLONE_NO_CHECK_CERTIFICATE": "true", "RCLONE_CONFIG_R_NO_CHECK_CERTIFICATE": "true", "PYTHONHTTPSVERIFY": "0", "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "GIT_SSL_NO_VERIFY": "1", "CURL_INSECURE": "1", "SSL_NO_VERIFY": "1", "AWS_NO_VERIFY_SSL": "true", "AZURE_CLI_DISABLE_CONNECTION_VERIFICATION": "1", "FRAZIL_INSECURE": "1",
}


def file(request):
    """The file, or the part of it that was asked for."""
    part = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
    headers = [("ETag", '"00000000000000000000000000000000"'), ("Accept-Ranges", "bytes"), ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")]
    if part is None:
        return 200, headers, FILE
    first, last = int(part[1]), min(int(part[2]), len(FILE) - 1)
    return 206, [*headers, ("Content-Range", f"bytes {first}-{last}/{len(FILE)}")], FILE[first : last + 1]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    if tls.missing():
        pytest.skip(f"a certificate: {tls.missing()}")
    folder = tmp_path_factory.mktemp("tls")
    known, other = tls.authority(folder / "known"), tls.authority(folder / "other")
    for flaw in tls.FLAWS:
        tls.certificate(folder / "known", flaw.replace(" ", "-"), flaw)
    for name in ("known", "other"):
        tls.certificate(folder / name, "good")
    return {"known": known, "other": other, "folder": folder}


@contextlib.contextmanager
def serving(authorities, wrong=None):
    """A server with something wrong, or nothing. `.seen` has what was said to it."""
    folder = authorities["folder"]
    name = "good" if wrong in (None, "unknown authority") else wrong.replace(" ", "-")
    place = folder / ("other" if wrong == "unknown authority" else "known") / name
    with answering(file, None if wrong == "http" else (place.with_suffix(".pem"), place.with_suffix(".key"))) as server:
        server.address = f"https://127.0.0.1:{server.server_address[1]}"
        yield server


def at(home, address, door, **more):
    files, variables, words = DOORS[door]
    for path, text in files.items():
        home.write(path, text.replace("@", address))
    variables = {name: value.replace("@", address).replace("~", str(home.folder)) for name, value in variables.items()}
    return words.replace("@", address), {**variables, **more}


def pytest_generate_tests(metafunc):
    """Each door with one thing wrong, and each thing wrong at two doors; with `--soak` all with all."""
    if "wrong" not in metafunc.fixturenames:
        return
    pairs = [(door, wrong) for door in DOORS for wrong in WRONG]
    if not metafunc.config.getoption("--soak"):
        one_each = {(door, list(WRONG)[number % len(WRONG)]) for number, door in enumerate(DOORS)}
        pairs = [pair for pair in pairs if pair in one_each or pair[0] in ("web", "bucket")]
    metafunc.parametrize("door,wrong", pairs)


def test_a_server_that_is_not_trusted_is_told_nothing(authorities, tmp_path, door, wrong):
    home = Home(tmp_path, {})
    with serving(authorities, wrong) as server:
        # The authority is trusted where something else is wrong: that must not help.
        place, variables = at(home, server.address, door, SSL_CERT_FILE=authorities["known"], **CARELESS)
        answer = home.frazil("inspect", place, "-v", code=None, **variables)
        report = home.frazil("inspect", place, "--json", code=answer.code, **variables).report
        assert server.seen == [], "something was said to it"
    what, next_ = WRONG[wrong]
    assert answer.code in (1, 4) and answer.seconds < MAX_SECONDS, answer
    assert f"127.0.0.1:{server.server_address[1]}" in answer.err and what in answer.err and next_ in answer.err, answer
    assert what in json.dumps(report), report


@pytest.mark.parametrize("verb", ["ls", "cp up", "cp down", "sync", "rm", "convert"])
def test_no_verb_trusts_whom_another_does_not(authorities, tmp_path, verb):
    home = Home(tmp_path, {"x": "content"})
    words = {
        "ls": ["ls", "s3://b/"], "cp up": ["cp", tmp_path / "x", "s3://b/x"], "cp down": ["cp", "s3://b/a", tmp_path / "down"], "sync": ["sync", "s3://b/a/", tmp_path / "down"],
        "rm": ["rm", "s3://b/a", "--yes"], "convert": ["convert", ROOT / "examples/sea-surface/data/sst_200101.nc", "s3://b/z.zarr", "--to", "zarr"],
    }[verb]
    with serving(authorities, "self-signed") as server:
        answer = home.frazil(*words, code=None, AWS_ENDPOINT_URL=server.address, **KEYS)
        assert server.seen == [], "something was said to it"
    assert answer.code in (1, 3) and "is not trusted" in answer.text and "AWS_CA_BUNDLE" in answer.text, answer
    assert not (tmp_path / "down").exists() or not list((tmp_path / "down").iterdir())


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "RCLONE_CA_CERT"])
def test_an_authority_that_somebody_names_is_trusted(authorities, tmp_path, variable):
    home = Home(tmp_path, {})
    named = authorities["known"]
    if variable == "SSL_CERT_DIR":
        (tmp_path / "certificates").mkdir()
        (tmp_path / "certificates/ours.pem").write_bytes(named.read_bytes())
        tls.openssl("rehash", tmp_path / "certificates")
        named = tmp_path / "certificates"
    with serving(authorities) as server:
        for door in ("web", "bucket", "remote"):
            place, variables = at(home, server.address, door)
            assert "not trusted" in home.frazil("inspect", place, code=1, **variables).err
            assert home.frazil("inspect", place, "--json", **{variable: named}, **variables).report["totals"]["n_variables"] == 5
    # It vouches for its own servers and for no others.
    with serving(authorities, "unknown authority") as server:
        place, variables = at(home, server.address, "bucket")
        assert "not trusted" in home.frazil("inspect", place, code=1, **{variable: named}, **variables).err and server.seen == []


def test_several_authorities_are_trusted_together(authorities, tmp_path):
    home = Home(tmp_path, {})
    both = [{"RCLONE_CA_CERT": f"{authorities['known']},{authorities['other']}"}, {"SSL_CERT_FILE": authorities["known"], "AWS_CA_BUNDLE": authorities["other"]}]
    for named in both:
        for wrong in (None, "unknown authority"):
            with serving(authorities, wrong) as server:
                home.frazil("inspect", f"{server.address}/a.nc", **named)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "RCLONE_CA_CERT"])
def test_authorities_that_cannot_be_read_are_an_error_and_not_others_in_their_place(authorities, tmp_path, variable):
    home = Home(tmp_path, {"garbage.pem": "CANARY no certificate\n", "half.pem": "-----BEGIN CERTIFICATE-----\nCANARY\n"})
    with serving(authorities) as server:
        for name in ("gone.pem", *(["garbage.pem", "half.pem"] if variable != "SSL_CERT_DIR" else [])):
            answer = home.frazil("inspect", f"{server.address}/a.nc", code=1, **{variable: tmp_path / name})
            assert f"`{variable}`" in answer.err and name in answer.err, answer
        assert server.seen == []
        # Set and empty is not set.
        assert "not trusted" in home.frazil("inspect", f"{server.address}/a.nc", code=1, **{variable: ""}).err
    # Who is asked without TLS is asked all the same.
    with answering(file) as server:
        home.frazil("inspect", f"{server.address}/a.nc", **{variable: tmp_path / "gone.pem"})


def test_no_word_turns_the_check_off(authorities, tmp_path):
    home = Home(tmp_path, {"c.toml": "insecure = true\n", RCLONE: "[r]\ntype = http\nurl = @\nno_check_certificate = true\n"})
    with serving(authorities, "self-signed") as server:
        home.write(RCLONE, f"[r]\ntype = http\nurl = {server.address}\nno_check_certificate = true\n")
        for word in ("--insecure", "-k", "--no-check-certificate", "--no-verify-ssl", "--no-verify"):
            home.frazil("inspect", word, f"{server.address}/a.nc", code=2)
        home.frazil("inspect", "--config", tmp_path / "c.toml", f"{server.address}/a.nc", code=2)
        home.frazil("inspect", "r:a.nc", code=1)
        assert server.seen == []


def test_the_good_server_is_good_and_the_others_are_not(authorities):
    """The judges' own servers, judged by Python: what frazil refuses is refused for the reason that it says."""
    context = ssl.create_default_context(cafile=authorities["known"])
    said = {"self-signed": "self-signed", "unknown authority": "unable to get local issuer|signature failure", "other host": "not valid for '127.0.0.1'", "expired": "has expired", "not yet valid": "not yet valid", "http": "WRONG_VERSION_NUMBER|record layer"}
    for wrong in (None, *WRONG):
        with serving(authorities, wrong) as server:
            connection = http.client.HTTPSConnection("127.0.0.1", server.server_address[1], context=context, timeout=5)
            if wrong is None:
                connection.request("GET", "/a.nc")
                assert connection.getresponse().read() == FILE
                continue
            with pytest.raises((ssl.SSLError, OSError)) as refused:
                connection.request("GET", "/a.nc")
            assert re.search(said[wrong].replace("self-signed", "self.signed"), str(refused.value).replace("IP address mismatch, certificate is not valid", "not valid")), (wrong, refused.value)
