"""Google Cloud Storage and the blobs of Azure: read and written with every kind of credentials, byte for byte.

It promises that no token, key or signature shows in anything that is said, and that nothing is asked without one unless
that was wished for. The servers are our double of Google (judged by gcsfs and rclone) and Azurite.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import subprocess
import urllib.parse
import urllib.request

import pytest
import xarray

import azurite
import google
import google_sign_in
from command import ROOT, binary, measured

SOURCES = sorted((ROOT / "examples/sea-surface/data").glob("*.nc"))
ODD_PREFIXES = ["a//b/", "./x/", "x/../y/", "ü +%41&=?#/", "/lead/"]
AZURE_VERSION = "2021-12-02"


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """The double of Google with the sources in its bucket `data`, and the files of those who may read it."""
    with google.serving(page_size=2) as started:
        started.files = tmp_path_factory.mktemp("google")
        started.buckets["data"] = {}
        for prefix in ["sst/", *ODD_PREFIXES]:
            for path in SOURCES:
                started.put("data", prefix + path.name, path.read_bytes())
        started.buckets["open"] = {}
        started.public.add("open")
        started.put("open", "one.nc", SOURCES[0].read_bytes())
        yield started


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    """Azurite with the sources in its container `data`."""
    with azurite.running(tmp_path_factory.mktemp("azurite")) as started:
        for container in ("data", "other", "suite"):
            ask_azure(started, "PUT", f"/{container}", "restype=container")
        for prefix in ["sst/", *ODD_PREFIXES]:
            for path in SOURCES:
                ask_azure(started, "PUT", f"/data/{urllib.parse.quote(prefix + path.name)}", "", path.read_bytes(), {"x-ms-blob-type": "BlockBlob"})
        yield started


def ask_azure(blobs, method, path, query="", body=b"", headers=None):
    """One request with the key of the account, signed as the documentation says."""
    headers = {"x-ms-date": datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": AZURE_VERSION, **(headers or {})}
    own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    asked = "".join(f"\n{name}:{urllib.parse.unquote(value)}" for name, _, value in sorted(part.partition("=") for part in query.split("&") if part))
    length, kind = (str(len(body)), "application/octet-stream") if body else ("", "")
    text = f"{method}\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n{own}/{azurite.ACCOUNT}/{azurite.ACCOUNT}{path}{asked}"
    signature = base64.b64encode(hmac.digest(base64.b64decode(azurite.KEY), text.encode(), "sha256")).decode()
    head = {**headers, "Authorization": f"SharedKey {azurite.ACCOUNT}:{signature}", **({"Content-Type": kind} if body else {})}
    request = urllib.request.Request(f"{blobs}{path}{'?' * bool(query)}{query}", data=body or None, method=method, headers=head)
    return urllib.request.urlopen(request, timeout=20).read()


def shared_access(permissions="rwdlac", minutes=60) -> str:
    """A signature for the account, as `az storage account generate-sas` makes one."""
    until = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = [azurite.ACCOUNT, permissions, "b", "sco", "", until, "", "http,https", AZURE_VERSION, "", ""]
    signature = base64.b64encode(hmac.digest(base64.b64decode(azurite.KEY), "\n".join(fields).encode(), "sha256")).decode()
    return urllib.parse.urlencode({"sv": AZURE_VERSION, "ss": "b", "srt": "sco", "sp": permissions, "se": until, "spr": "http,https", "sig": signature})


@pytest.fixture
def run(tmp_path):
    """Runs the command in an empty home, with these variables alone."""

    def run(*words, code=0, **variables):
        environment = ["env", "-i", f"HOME={tmp_path}", f"XDG_CACHE_HOME={tmp_path}/cache", *(f"{name}={value}" for name, value in variables.items())]
        answer = measured([*environment, *binary(), *words], timeout=120)
        assert answer.crash() is None and answer.code == code, answer
        secrets = ["CANARY", azurite.KEY, azurite.KEY[:20], "sig=", "ya29"]
        assert not any(secret in answer.text for secret in secrets), "a secret shows"
        return answer

    return run


def remote(home, text):
    """Writes a remote of rclone named `cloud`."""
    (home / ".config/rclone").mkdir(parents=True)
    (home / ".config/rclone/rclone.conf").write_text(f"[cloud]\n{text}[sst]\ntype = alias\nremote = cloud:data/sst\n")


def adc(home, path):
    """Puts credentials where `gcloud auth application-default login` does."""
    (home / ".config/gcloud").mkdir(parents=True)
    (home / ".config/gcloud/application_default_credentials.json").write_text(path.read_text())


def rclone_token(double, **more):
    return json.dumps({"access_token": double.sign_in.token(), "token_type": "Bearer", "expiry": "2099-01-01T00:00:00.123+01:00", **more})


G = "type = google cloud storage\n"


def google_way(way, double, home):
    """What is typed and set to read `data` with a kind of credentials."""
    who, files, at = double.sign_in, double.files, {"STORAGE_EMULATOR_HOST": double.address}
    if way.startswith("remote"):
        lines = {
            "remote with a file": lambda: f"service_account_file = {who.account_file(files, double.address)}\n",
            "remote with an account in it": lambda: f"service_account_credentials = {who.account_file(files, double.address).read_text()}\n",
            "remote with a token": lambda: f"token = {rclone_token(double)}\n",
            "remote with a token that is renewed": lambda: f"client_id = judge\nclient_secret = {google_sign_in.CLIENT_SECRET}\ntoken_url = {double.address}/token\n"
            f"token = {rclone_token(double, access_token='ya29.ended', refresh_token=google_sign_in.REFRESH_TOKEN)}\n",
            "remote by the environment": lambda: "env_auth = true\n",
        }
        remote(home, f"{G}endpoint = {double.address}/storage/v1/\n{lines[way]()}")
        if way == "remote by the environment":
            return "cloud:data", {"GOOGLE_APPLICATION_CREDENTIALS": who.user_file(files, double.address)}
        return "cloud:data", {}
    if way == "file where it lies":
        adc(home, who.user_file(files, double.address))
        return "gs://data", at
    if way == "token":
        return "gs://data", {**at, "CLOUDSDK_AUTH_ACCESS_TOKEN": who.token()}
    if way.startswith("token in a file"):
        text = who.token() if way == "token in a file" else json.dumps({"access_token": who.token(), "expiry": "2099-01-01T00:00:00Z"})
        (home / "token").write_text(text)
        return "gs://data", {**at, "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "~/token"}
    kinds = {"user": who.user_file, "service account": who.account_file, "external account": who.external_file, "impersonation": who.impersonating_file}
    if way == "external account that impersonates":
        return "gs://data", {**at, "GOOGLE_APPLICATION_CREDENTIALS": who.external_file(files, double.address, impersonating=True)}
    return "gs://data", {**at, "GOOGLE_APPLICATION_CREDENTIALS": kinds[way](files, double.address)}


GOOGLE_WAYS = [
    "user", "service account", "external account", "external account that impersonates", "impersonation", "file where it lies", "token",
    "token in a file", "token in a file with its end", "remote with a file", "remote with an account in it", "remote with a token",
    "remote with a token that is renewed", "remote by the environment",
]


def azure_way(way, blobs, home):
    a = "type = azureblob\n"
    ways = {
        "connection string": (None, {"AZURE_STORAGE_CONNECTION_STRING": blobs.connection}),
        "connection string with a signature": (None, {"AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint={blobs};SharedAccessSignature={shared_access()}"}),
        "key": (None, {"AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_KEY": azurite.KEY, "AZURE_STORAGE_BLOB_ENDPOINT": blobs}),
        "key by its other name": (None, {"AZURE_STORAGE_ACCOUNT_NAME": azurite.ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": azurite.KEY, "AZURE_STORAGE_BLOB_ENDPOINT": blobs}),
        "signature": (None, {"AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_SAS_TOKEN": f"?{shared_access()}", "AZURE_STORAGE_BLOB_ENDPOINT": blobs}),
        "file of the az command": (None, {}),
        "remote with a key": (f"{a}account = {azurite.ACCOUNT}\nkey = {azurite.KEY}\nendpoint = {blobs}\n", {}),
        "remote with a signature": (f"{a}sas_url = {blobs}?{shared_access()}\n", {}),
        "remote with a connection string": (f"{a}connection_string = {blobs.connection}\n", {}),
        "remote by the environment": (f"{a}env_auth = true\n", {"AZURE_STORAGE_CONNECTION_STRING": blobs.connection}),
    }
    text, variables = ways[way]
    if way == "file of the az command":
        (home / ".azure").mkdir()
        (home / ".azure/config").write_text(f"[cloud]\nname = AzureCloud\n[storage]\nconnection_string = {blobs.connection}\n")
    if text is None:
        return "az://data", variables
    remote(home, text)
    return "cloud:data", variables


AZURE_WAYS = [
    "connection string", "connection string with a signature", "key", "key by its other name", "signature", "file of the az command", "remote with a key",
    "remote with a signature", "remote with a connection string", "remote by the environment",
]


@pytest.mark.parametrize("way", GOOGLE_WAYS)
def test_google_is_read_with(way, double, run, tmp_path):
    place, variables = google_way(way, double, tmp_path)
    report = run("inspect", f"{place}/sst/*.nc", "--json", **variables).report
    assert report["totals"]["n_sources"] == len(SOURCES)
    items = run("profile", "list", "--json", **variables).report["items"]
    assert any(item["kind"] == "google" and item["can_sign"] for item in items), items
    assert "asked for by" in run("profile", "explain", f"{place}/x", **variables).out


@pytest.mark.parametrize("way", AZURE_WAYS)
def test_azure_is_read_with(way, blobs, run, tmp_path):
    place, variables = azure_way(way, blobs, tmp_path)
    report = run("inspect", f"{place}/sst/*.nc", "--json", **variables).report
    assert report["totals"]["n_sources"] == len(SOURCES)
    items = run("profile", "list", "--json", **variables).report["items"]
    assert any(item["kind"] == "azure" and item["can_sign"] for item in items), items
    assert "asked for by" in run("profile", "explain", f"{place}/x", **variables).out


@pytest.fixture(params=["google", "azure"])
def cloud(request, tmp_path):
    """A place with the sources, and the variables that open it."""
    if request.param == "google":
        double = request.getfixturevalue("double")
        return google_way("user", double, tmp_path)
    return azure_way("connection string", request.getfixturevalue("blobs"), tmp_path)


def test_a_series_in_a_cloud_becomes_the_store_that_its_files_become(cloud, run, tmp_path):
    place, variables = cloud
    run("convert", f"{place}/sst/", tmp_path / "cloud.zarr", "--to", "zarr", **variables)
    run("convert", *SOURCES, tmp_path / "files.zarr", "--to", "zarr")
    ours, theirs = (xarray.open_dataset(tmp_path / name, engine="zarr") for name in ("cloud.zarr", "files.zarr"))
    xarray.testing.assert_identical(ours, theirs)


@pytest.mark.parametrize("prefix", ODD_PREFIXES)
def test_keys_are_asked_for_byte_for_byte(prefix, cloud, run, request):
    place, variables = cloud
    if place.startswith("az") and "." in prefix:
        pytest.skip("Azure keeps no such names")
    assert run("inspect", f"{place}/{prefix}{SOURCES[0].name}", "--json", **variables).report["totals"]["n_variables"] == 5
    assert run("inspect", f"{place}/{prefix}*.nc", "--json", **variables).report["totals"]["n_sources"] == len(SOURCES)


def test_nothing_is_asked_without_a_signature_unless_that_was_wished_for(double, blobs, run):
    at = {"STORAGE_EMULATOR_HOST": double.address}
    n_before = len(double.requests)
    assert "nobody signs" in run("inspect", "gs://open/one.nc", code=4, **at).err
    assert "nobody signs" in run("inspect", "az://data/sst/*.nc", code=4).err
    assert len(double.requests) == n_before
    run("inspect", "gs://open/one.nc", "--anonymous", **at)
    assert "401" in run("inspect", "gs://data/sst/*.nc", "--anonymous", code=4, **at).err
    named = {"AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_BLOB_ENDPOINT": blobs}
    run("inspect", "az://data/sst/*.nc", "--anonymous", code=4, **named)


def test_a_token_is_renewed_before_its_end_and_after_a_refusal(double, run, tmp_path):
    file = double.sign_in.user_file(tmp_path, double.address)
    at = {"STORAGE_EMULATOR_HOST": double.address, "GOOGLE_APPLICATION_CREDENTIALS": file}
    double.sign_in.seconds = 1
    try:
        run("convert", "gs://data/sst/", tmp_path / "short.zarr", "--to", "zarr", **at)
    finally:
        double.sign_in.seconds = 3600
    # Who holds a token that nobody knows any more asks for another one, once.
    stale = double.sign_in.n_given
    double.sign_in.tokens.clear()
    run("inspect", "gs://data/sst/*.nc", **at)
    assert double.sign_in.n_given == stale + 1, "all threads share one"


def test_a_refusal_names_the_profile_and_what_to_do(double, blobs, run, tmp_path):
    at = {"STORAGE_EMULATOR_HOST": double.address}
    ended = tmp_path / "ended.json"
    ended.write_text(json.dumps({**google_sign_in.user(double.address), "refresh_token": "CANARYgone"}))
    answer = run("inspect", "gs://data/sst/*.nc", code=4, GOOGLE_APPLICATION_CREDENTIALS=ended, **at)
    assert "invalid_grant" in answer.err, answer
    (tmp_path / "token").write_text(json.dumps({"access_token": "CANARY", "expiry": "2020-01-01T00:00:00Z"}))
    answer = run("inspect", "gs://data/sst/*.nc", code=4, CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=tmp_path / "token", **at)
    assert "ended at 2020-01-01T00:00:00Z" in answer.err, answer
    answer = run("inspect", "gs://data/sst/*.nc", code=4, CLOUDSDK_AUTH_ACCESS_TOKEN="ya29.wrong", **at)
    assert "401" in answer.err and "`google`" in answer.err, answer
    double.sign_in.grants[google_sign_in.USER] = ({"open"}, False)
    try:
        answer = run("inspect", "gs://data/sst/*.nc", code=4, GOOGLE_APPLICATION_CREDENTIALS=double.sign_in.user_file(tmp_path, double.address), **at)
        assert "403 forbidden" in answer.err, answer
    finally:
        double.sign_in.grants.clear()
    wrong = base64.b64encode(hashlib.sha256(b"wrong").digest()).decode()
    key = {"AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_KEY": wrong, "AZURE_STORAGE_BLOB_ENDPOINT": blobs}
    answer = run("inspect", "az://data/sst/*.nc", code=4, **key)
    assert "403 AuthorizationFailure" in answer.err and "`azure`" in answer.err, answer
    signed = {"AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_BLOB_ENDPOINT": blobs}
    run("inspect", "az://data/sst/*.nc", code=4, AZURE_STORAGE_SAS_TOKEN=shared_access(minutes=-5), **signed)
    run("inspect", "az://nothing/sst/*.nc", code=1, AZURE_STORAGE_CONNECTION_STRING=blobs.connection)


def test_a_token_goes_over_no_line_that_others_can_read(run):
    token = {"CLOUDSDK_AUTH_ACCESS_TOKEN": "CANARY", "STORAGE_EMULATOR_HOST": "http://storage.example"}
    assert "not https" in run("inspect", "gs://data/x.nc", code=4, **token).err
    signature = {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_SAS_TOKEN": "sig=CANARY", "AZURE_STORAGE_BLOB_ENDPOINT": "http://a.example"}
    assert "not https" in run("inspect", "az://data/x.nc", code=4, **signature).err
    key = {"AZURE_STORAGE_ACCOUNT": "mine", "AZURE_STORAGE_KEY": azurite.KEY}
    assert "for account `mine`, not for `other`" in run("inspect", "abfs://data@other.dfs.core.windows.net/x.nc", code=4, **key).err
    run("inspect", "abfs://data@other.example/x.nc", code=2, **key)


def suite(place, other, home, **variables):
    """The suite that every server of buckets must pass, at a place."""
    kept = {name: os.environ[name] for name in ("PATH", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR") if name in os.environ}
    kept.setdefault("CARGO_HOME", os.path.expanduser("~/.cargo"))
    kept.setdefault("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
    environment = {**kept, "HOME": str(home), "FRAZIL_SUITE": place, "FRAZIL_SUITE_OTHER": other, **{name: str(value) for name, value in variables.items()}}
    words = os.environ.get("FRAZIL_STORE_SUITE", "cargo test --release --locked --quiet --workspace --test suite --").split()
    answer = subprocess.run([*words, "--ignored"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert answer.returncode == 0, (answer.stdout[-6000:], answer.stderr[-3000:])
    assert "9 passed" in answer.stdout, answer.stdout


def test_google_passes_the_suite_of_stores(tmp_path):
    with google.serving(rewrite_bytes=1 << 20) as double:
        double.buckets.update(suite={}, other={})
        credentials = double.sign_in.user_file(tmp_path, double.address)
        suite("gs://suite/below/", "gs://other/", tmp_path, STORAGE_EMULATOR_HOST=double.address, GOOGLE_APPLICATION_CREDENTIALS=credentials)
        assert double.parts.open == {} and double.buckets["suite"] == {}, "something is left"


@pytest.mark.parametrize("way", ["connection string", "signature"])
def test_azure_passes_the_suite_of_stores(way, blobs, tmp_path):
    _, variables = azure_way(way, blobs, tmp_path)
    suite("az://suite/below/", "az://other/", tmp_path, **variables)
