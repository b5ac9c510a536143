"""Files and stores of every size and name go to Google and Azure, come back, and go from cloud to cloud.

rclone, gcsfs and adlfs are the witnesses: they read what we wrote, and we read what they wrote, byte for byte and name
for name. A token of Microsoft is got as a service principal gets it.
"""

import base64
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.parse

import pytest
import xarray

import azurite
import ceph
import clients
import google
import tls
from command import ROOT, binary, measured
from hostile_keys import KEYS, bytes_of
from moves import differences, digests, make_tree
from test_clouds import ask_azure, suite

SOURCES = sorted((ROOT / "examples/sea-surface/data").glob("*.nc"))
MIB = 1 << 20
SIZES = {"empty": 0, "one": 1, "odd": 65_537, "a b/ü %41+&=": 10, "below a part": 5 * MIB - 1, "a part": 5 * MIB, "above a part": 5 * MIB + 1, "sub/parts": 33 * MIB + 7}


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    with azurite.running(tmp_path_factory.mktemp("azurite")) as started:
        yield started


class Cloud:
    """A cloud with an empty bucket in it: how it is named, opened, and looked into by others."""

    def __init__(self, name, home, server):
        self.name, self.home, self.server = name, home, server
        if name == "gs":
            self.bucket = server.bucket()
            self.variables = {"STORAGE_EMULATOR_HOST": server.address, "GOOGLE_APPLICATION_CREDENTIALS": server.sign_in.user_file(home, server.address)}
        else:
            self.bucket = server.container()
            ask_azure(server, "PUT", f"/{self.bucket}", "restype=container")
            self.variables = {"AZURE_STORAGE_CONNECTION_STRING": server.connection}
        self.place = f"{name}://{self.bucket}"

    def rclone(self) -> str:
        if self.name == "az":
            return self.server.rclone("cloud")
        token = json.dumps({"access_token": self.server.sign_in.token(), "token_type": "Bearer", "expiry": "2099-01-01T00:00:00Z"})
        return f"[cloud]\ntype = google cloud storage\nendpoint = {self.server.address}/storage/v1/\ntoken = {token}\nbucket_policy_only = true\n"

    def fsspec(self, code, *words):
        """Runs Python in which `fs` is the cloud and `root` the bucket; answers what it prints as JSON."""
        if self.name == "az":
            make = "import adlfs\nfs = adlfs.AzureBlobFileSystem(connection_string=secret)\n"
            secret = self.server.connection
        else:
            make = "import gcsfs, google.oauth2.credentials as g\nfs = gcsfs.GCSFileSystem(endpoint_url=address, token=g.Credentials(secret), project='judges')\n"
            secret = self.server.sign_in.token()
        before = f"import sys, json, hashlib\naddress, secret, root = sys.argv[1:4]\n{make}"
        address = self.server if self.name == "az" else self.server.address
        return clients.asked(before + code, address, secret, self.bucket, *words, env={"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"})


@pytest.fixture
def google_cloud(tmp_path):
    (tmp_path / "of-google").mkdir()
    with google.serving(page_size=5, rewrite_bytes=MIB) as double:
        yield Cloud("gs", tmp_path / "of-google", double)


@pytest.fixture
def azure_cloud(blobs, tmp_path):
    (tmp_path / "of-azure").mkdir()
    return Cloud("az", tmp_path / "of-azure", blobs)


@pytest.fixture(params=["gs", "az"])
def cloud(request):
    return request.getfixturevalue("google_cloud" if request.param == "gs" else "azure_cloud")


@pytest.fixture
def run(tmp_path):
    """Runs the command with the variables of these clouds alone."""

    def run(*words, clouds=(), code=0, **more):
        variables = {"HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "cache", "PATH": os.environ["PATH"], **more}
        for cloud in clouds:
            variables.update(cloud.variables)
        answer = measured(["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *binary(), *map(str, words)], timeout=300)
        assert answer.crash() is None and (code is None or answer.code == code), answer
        assert not any(secret in answer.text for secret in ["CANARY", azurite.KEY[:20], "sig=", "ya29"]), "a secret shows"
        return answer

    return run


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes") / "tree"
    return folder, make_tree(folder, 20260101, SIZES)


def test_what_goes_up_is_read_by_others_and_comes_down(cloud, run, tree, tmp_path):
    folder, wanted = tree
    run("cp", folder, f"{cloud.place}/up", clouds=[cloud])
    clients.rclone("check", "--download", folder, f"cloud:{cloud.bucket}/up", config=cloud.rclone())
    found = cloud.fsspec("print(json.dumps({n[len(root) + 4:]: hashlib.sha256(fs.cat_file(n)).hexdigest() for n in fs.find(root + '/up')}))")
    assert differences(wanted, found) == []
    answer = run("cp", f"{cloud.place}/up/", tmp_path / "down", clouds=[cloud])
    assert differences(wanted, digests(tmp_path / "down")) == []
    assert "unverified" not in answer.text, answer
    for words in [("sync", folder, f"{cloud.place}/up"), ("sync", f"{cloud.place}/up/", tmp_path / "down")]:
        answer = run(*words, clouds=[cloud])
        assert "nothing to copy" in answer.out and "by-time" not in answer.text, answer


def test_what_others_put_there_comes_down(cloud, run, tree, tmp_path):
    folder, wanted = tree
    clients.rclone("copy", folder, f"cloud:{cloud.bucket}/theirs", "--azureblob-chunk-size", "5M", config=cloud.rclone())
    run("cp", f"{cloud.place}/theirs/", tmp_path / "down", clouds=[cloud])
    assert differences(wanted, digests(tmp_path / "down")) == []
    assert "nothing to copy" in run("sync", folder, f"{cloud.place}/theirs", clouds=[cloud]).out


def test_the_server_copies_files_of_every_size(cloud, run, tree):
    folder, wanted = tree
    run("cp", folder, f"{cloud.place}/from", clouds=[cloud])
    if cloud.name == "gs":
        n_before = sum(asked.sent_bytes + asked.got_bytes for asked in cloud.server.requests)
    run("cp", f"{cloud.place}/from/", f"{cloud.place}/to", clouds=[cloud])
    if cloud.name == "gs":
        assert sum(asked.sent_bytes + asked.got_bytes for asked in cloud.server.requests) - n_before < MIB, "bytes went through us"
    clients.rclone("check", "--download", folder, f"cloud:{cloud.bucket}/to", config=cloud.rclone())
    run("rm", f"{cloud.place}/from/", "--yes", clouds=[cloud])
    clients.rclone("check", "--download", folder, f"cloud:{cloud.bucket}/to", config=cloud.rclone())


def test_from_cloud_to_cloud(google_cloud, azure_cloud, run, tree, tmp_path):
    folder, wanted = tree
    clouds = [google_cloud, azure_cloud]
    run("cp", folder, f"{google_cloud.place}/a", clouds=clouds)
    run("cp", f"{google_cloud.place}/a/", f"{azure_cloud.place}/b", clouds=clouds)
    clients.rclone("check", "--download", folder, f"cloud:{azure_cloud.bucket}/b", config=azure_cloud.rclone())
    run("cp", f"{azure_cloud.place}/b/", f"{google_cloud.place}/c", clouds=clouds)
    run("cp", f"{google_cloud.place}/c/", tmp_path / "down", clouds=clouds)
    assert differences(wanted, digests(tmp_path / "down")) == []


def test_hostile_keys_are_copied_byte_for_byte(google_cloud, run):
    """Google keeps them all but those that it refuses itself."""
    double = google_cloud.server
    legal = {key: bytes_of(key) for key in KEYS if is_legal(f"below/{key}") and is_legal(key)}
    for key, content in legal.items():
        double.put(google_cloud.bucket, key, content)
    other = double.bucket()
    run("cp", f"{google_cloud.place}/", f"gs://{other}", clouds=[google_cloud])
    assert double.contents(other) == legal
    double.put(other, "h/again", b"")
    run("cp", f"gs://{other}/", f"{google_cloud.place}/below", clouds=[google_cloud])
    run("rm", f"{google_cloud.place}/below/", "--yes", "--max-objects", "1000", clouds=[google_cloud])
    assert double.contents(google_cloud.bucket) == legal


def is_legal(key) -> bool:
    try:
        google.legal(key)
    except google.Refused:
        return False
    return True


def test_azure_refuses_by_name_what_it_would_keep_under_another(azure_cloud, google_cloud, run):
    keys = ["fine", "a//b", "./x", "x/../y", "dot.", "back\\slash", "ü+%41"]
    for key in keys:
        google_cloud.server.put(google_cloud.bucket, key, bytes_of(key))
    answer = run("cp", f"{google_cloud.place}/", f"{azure_cloud.place}/here", clouds=[google_cloud, azure_cloud], code=3)
    found = azure_cloud.fsspec("print(json.dumps(sorted(fs.find(root))))")
    assert sorted(name.removeprefix(f"{azure_cloud.bucket}/here/") for name in found) == ["a//b", "fine", "ü+%41"], answer
    assert all(key in answer.text or json.dumps(key)[1:-1] in answer.text for key in ["./x", "x/../y", "dot.", "back\\slash"]), answer


def test_what_google_does_not_take_is_known_before(google_cloud, run, tmp_path):
    """By the rules of its double, which are those of Google."""
    names = ["fine", "over\rwrite", "new\nline", "d/" * 400 + "x", "ü" * 100 + "/" + "ü" * 100 + "/" + "ü" * 100 + "/" + "ü" * 100 + "/" + "ü" * 109, "..x"]
    make_tree(tmp_path / "src", 1, {name: 10 for name in names})
    legal = {name for name in names if is_legal(f"here/{name}")}
    for words in (["-n"], []):
        report = run("cp", tmp_path / "src", f"{google_cloud.place}/here", *words, "--json", clouds=[google_cloud], code=3).report
        assert {item["name"] for item in report["items"] if item["outcome"] == "passed-over"} == set(names) - legal, report
    assert {key.removeprefix("here/") for key in google_cloud.server.contents(google_cloud.bucket)} == legal and len(legal) == 3


def test_what_azure_does_not_take_is_known_before(azure_cloud, run, tmp_path):
    """The plan names it, and the hints are about what helps: copying again does not."""
    taken, refused = ["fine", "ü+%41", "..x"], ["dot.", "deep./x", "back\\slash", "bell\x07"]
    wanted = make_tree(tmp_path / "src", 1, {name: 10 for name in [*taken, *refused]})
    for words in (["-n"], []):
        report = run("cp", tmp_path / "src", f"{azure_cloud.place}/here", *words, "--json", clouds=[azure_cloud], code=3).report
        passed = {item["name"] for item in report["items"] if item["outcome"] == "passed-over"}
        assert passed == set(refused) and report["totals"]["n_planned"] == len(taken), report
        assert "rename" in report["error"]["hint"] and "type the same command" not in report["error"]["hint"], report
    found = azure_cloud.fsspec("print(json.dumps([n[len(root) + 6:] for n in fs.find(root)]))")
    assert sorted(found) == sorted(taken)
    checked = run("check", tmp_path / "src", f"{azure_cloud.place}/here", "--json", clouds=[azure_cloud], code=1).report
    assert {item["name"] for item in checked["items"]} == set(refused) and "rename" in checked["error"]["hint"] and "makes them alike" not in checked["error"]["hint"], checked
    (tmp_path / "src/new").write_bytes(b"1")
    checked = run("check", tmp_path / "src", f"{azure_cloud.place}/here", "--json", clouds=[azure_cloud], code=1).report
    assert "`frazil cp` or `frazil sync` makes them alike but for 4 files" in checked["error"]["hint"], checked
    run("cp", tmp_path / "src", f"{azure_cloud.place}/here", *(word for name in refused for word in ("--exclude", name.replace("\\", "?"))), clouds=[azure_cloud])
    answer = run("cp", tmp_path / "src/dot.", f"{azure_cloud.place}/alone.", clouds=[azure_cloud], code=1)
    assert "dot" in answer.text and "everything else" not in answer.text and wanted, answer


def test_a_store_is_written_to_a_cloud_and_read_by_xarray(cloud, run, tmp_path):
    run("convert", *SOURCES, f"{cloud.place}/sst.zarr", "--to", "zarr", clouds=[cloud])
    run("convert", *SOURCES, tmp_path / "here.zarr", "--to", "zarr")
    run("verify", f"{cloud.place}/sst.zarr", clouds=[cloud])
    cloud.fsspec("fs.get(root + '/sst.zarr', sys.argv[4], recursive=True)\nprint('null')", tmp_path / "got.zarr")
    ours, theirs = (xarray.open_dataset(tmp_path / name, engine="zarr") for name in ("got.zarr", "here.zarr"))
    xarray.testing.assert_identical(ours, theirs)
    assert "sst.zarr" in run("ls", f"{cloud.place}/", clouds=[cloud]).out


def test_an_upload_that_was_killed_goes_on(cloud, run, tmp_path):
    """What arrived is not sent again, and nothing is left lying about."""
    size = 96 * MIB
    make_tree(tmp_path / "large", 7, {"file": size})
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"], **{name: str(value) for name, value in cloud.variables.items()}}
    words = [*binary(), "cp", str(tmp_path / "large/file"), f"{cloud.place}/file"]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while process.poll() is None and n_parts(cloud) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    # What was under way still arrives.
    time.sleep(1)
    there = n_parts(cloud)
    if there < 3:
        pytest.skip("it was done before it could be killed")
    sent_before = sent_bytes(cloud)
    run("cp", tmp_path / "large/file", f"{cloud.place}/file", clouds=[cloud])
    clients.rclone("check", "--download", tmp_path / "large", f"cloud:{cloud.bucket}/", config=cloud.rclone())
    if cloud.name == "gs":
        assert sent_bytes(cloud) - sent_before < size - 2 * 5 * MIB, "it was sent once more"
        assert cloud.server.parts.open == {}


def n_parts(cloud) -> int:
    if cloud.name == "gs":
        return sum(len(parts) for _, _, parts in list(cloud.server.parts.open.values()))
    try:
        text = ask_azure(cloud.server, "GET", f"/{cloud.bucket}/file", "blocklisttype=uncommitted&comp=blocklist")
    except OSError:
        return 0
    return text.count(b"<Block>")


def sent_bytes(cloud) -> int:
    return sum(asked.got_bytes for asked in cloud.server.requests) if cloud.name == "gs" else 0


def test_tokens_that_end_every_other_second_do_not_stop_it(google_cloud, run, tree, tmp_path):
    folder, wanted = tree
    google_cloud.server.sign_in.seconds = 2
    before = google_cloud.server.sign_in.n_given
    stop = threading.Event()

    def forget():
        while not stop.wait(0.7):
            google_cloud.server.sign_in.forget()

    forgetting = threading.Thread(target=forget, daemon=True)
    forgetting.start()
    try:
        for number in range(4):
            run("cp", folder, f"{google_cloud.place}/{number}", clouds=[google_cloud])
    finally:
        stop.set()
        forgetting.join()
    google_cloud.server.sign_in.seconds = 3600
    run("cp", f"{google_cloud.place}/3/", tmp_path / "down", clouds=[google_cloud])
    assert differences(wanted, digests(tmp_path / "down")) == []
    assert google_cloud.server.sign_in.n_given - before < 100, "far more tokens were got than ended"


# Tokens of Microsoft.

TENANT, CLIENT, CLIENT_SECRET = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002", "CANARY6secret"


class Entra(http.server.BaseHTTPRequestHandler):
    """Gives tokens to one application, for the time that its server says."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        proof = asked.get("client_secret") == CLIENT_SECRET or asked.get("client_assertion") == "CANARY7federated"
        is_good = self.path == f"/{TENANT}/oauth2/v2.0/token" and asked.get("client_id") == CLIENT and proof and asked.get("scope") == "https://storage.azure.com/.default"
        now = int(time.time())
        claims = {"aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{TENANT}/", "iat": now - 5, "nbf": now - 5, "exp": now + self.server.seconds, "tid": TENANT, "oid": CLIENT}
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
        token = f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(claims)}.{part('CANARY8')}"
        answer = {"token_type": "Bearer", "expires_in": self.server.seconds, "access_token": token} if is_good else {"error": "invalid_client", "error_description": "CANARY9"}
        self.server.n_given += is_good
        content = json.dumps(answer).encode()
        self.send_response(200 if is_good else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def entra():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Entra)
    server.seconds, server.n_given = 3600, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def https_blobs(tmp_path):
    """Azurite that takes tokens, which it does over https only, with one object in it."""
    if tls.missing():
        pytest.skip(f"a certificate: {tls.missing()}")
    authority = tls.authority(tmp_path / "tls")
    certificate, key = tls.certificate(tmp_path / "tls", "azurite")
    port = azurite.free_port()
    words = ["--silent", "--blobHost", "127.0.0.1", "--blobPort", port, "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--oauth", "basic", "--cert", certificate, "--key", key]
    (tmp_path / "azurite").mkdir()
    process = subprocess.Popen([clients.client("azurite-blob"), *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path / "azurite")
    try:
        azurite.wait_for(port, process)
        yield f"https://127.0.0.1:{port}/{azurite.ACCOUNT}", authority
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("way", ["secret", "federated token", "remote", "file of a principal", "token"])
def test_azure_is_read_and_written_with_a_token(way, entra, https_blobs, run, tmp_path):
    address, authority = https_blobs
    at = {"SSL_CERT_FILE": authority}
    key = {**at, "AZURE_STORAGE_CONNECTION_STRING": f"AccountName={azurite.ACCOUNT};AccountKey={azurite.KEY};BlobEndpoint={address}"}
    make_container(address, authority)
    (tmp_path / "file").write_bytes(b"content")
    named = {**at, "AZURE_AUTHORITY_HOST": f"http://127.0.0.1:{entra.server_address[1]}"}
    application = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
    account = {"AZURE_STORAGE_ACCOUNT": azurite.ACCOUNT, "AZURE_STORAGE_BLOB_ENDPOINT": address}
    place, variables = "az://data", {**named, **account, **application}
    if way == "secret":
        variables["AZURE_CLIENT_SECRET"] = CLIENT_SECRET
    elif way == "federated token":
        (tmp_path / "federated").write_text("CANARY7federated\n")
        variables["AZURE_FEDERATED_TOKEN_FILE"] = tmp_path / "federated"
    elif way in ("remote", "file of a principal"):
        (tmp_path / ".config/rclone").mkdir(parents=True)
        (tmp_path / "principal.json").write_text(json.dumps({"appId": CLIENT, "password": CLIENT_SECRET, "tenant": TENANT}))
        lines = f"tenant = {TENANT}\nclient_id = {CLIENT}\nclient_secret = {CLIENT_SECRET}\n" if way == "remote" else "service_principal_file = ~/principal.json\n"
        (tmp_path / ".config/rclone/rclone.conf").write_text(f"[cloud]\ntype = azureblob\naccount = {azurite.ACCOUNT}\nendpoint = {address}\n{lines}")
        place, variables = "cloud:data", named
    else:
        given = subprocess.run(["curl", "-s", f"http://127.0.0.1:{entra.server_address[1]}/{TENANT}/oauth2/v2.0/token", "-d", f"client_id={CLIENT}&client_secret={CLIENT_SECRET}&scope=https://storage.azure.com/.default"], capture_output=True, text=True, timeout=30).stdout
        (tmp_path / "token").write_text(json.dumps({"accessToken": json.loads(given)["access_token"], "expires_on": int(time.time()) + 3000}))
        variables = {**at, **account, "AZURE_STORAGE_TOKEN_FILE": tmp_path / "token"}
    run("cp", tmp_path / "file", f"{place}/a b/file", **variables)
    run("cp", f"{place}/a b/file", f"{place}/copy", **variables)
    run("cp", f"{place}/copy", tmp_path / "back", **variables)
    assert (tmp_path / "back").read_bytes() == b"content"
    assert "file" in run("ls", f"{place}/a b/", **variables).out
    answer = run("cp", f"{place}/copy", tmp_path / "no", code=4, **{**variables, **({"AZURE_CLIENT_SECRET": "CANARYwrong"} if way == "secret" else {})}) if way == "secret" else None
    assert answer is None or "invalid_client" in answer.err, answer
    run("cp", f"az://data/copy", tmp_path / "by-key", **key)


def make_container(address, authority):
    code = (
        "import sys\nfrom azure.storage.blob import BlobServiceClient\n"
        "BlobServiceClient(account_url=sys.argv[1], credential=sys.argv[2], connection_verify=sys.argv[3]).create_container('data')\nprint('null')\n"
    )
    clients.asked(code, address, azurite.KEY, authority)


def test_ceph_passes_the_suite_of_stores(gateway, bucket, tmp_path):
    other = ceph.fresh_bucket(gateway)
    try:
        variables = {"AWS_ENDPOINT_URL": gateway, "AWS_ACCESS_KEY_ID": ceph.KEY, "AWS_SECRET_ACCESS_KEY": ceph.SECRET}
        suite(f"s3://{bucket}/below/", f"s3://{other}/", tmp_path, **variables)
        assert ceph.open_uploads(gateway, bucket) == [], "an upload is left"
    finally:
        ceph.discard(gateway, other)
