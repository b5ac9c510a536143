"""Tokens of Google for one folder: narrowed as Google documents it, on a double that keeps to the boundary.

google-auth is the witness that the double takes what the real one takes.
"""

import json

import pytest

import clients
import google
import google_sign_in
from homes import Home
from test_google_double import ask

NARROW = """
import sys, json
import google.auth.downscoped as d, google.oauth2.credentials as g, google.auth.transport.requests as t
address, token, bucket = sys.argv[1:4]
d._STS_TOKEN_URL_PATTERN = address + "/v1/token"
condition = d.AvailabilityCondition(f"resource.name.startsWith('projects/_/buckets/{bucket}/objects/jdoe/')")
rule = d.AccessBoundaryRule(f"//storage.googleapis.com/projects/_/buckets/{bucket}", ["inRole:roles/storage.objectViewer"], condition)
class Source(g.Credentials):
    def refresh(self, request):
        "It has its token."
made = d.Credentials(Source(token), d.CredentialAccessBoundary([rule]))
made.refresh(t.Request())
print(json.dumps(made.token))
"""


def done(double, token, bucket, other) -> list[str]:
    """Which of some requests of the JSON interface are answered with yes, by whoever has the token."""
    objects, upload = f"/storage/v1/b/{bucket}/o", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name="
    tries = {
        "get": ("GET", f"{objects}/jdoe%2Fa?alt=media"), "list": ("GET", f"{objects}?prefix=jdoe/"), "put": ("POST", f"{upload}jdoe/new"), "delete": ("DELETE", f"{objects}/jdoe%2Fb"),
        "get beside": ("GET", f"{objects}/jdoes%2Fa?alt=media"), "list beside": ("GET", f"{objects}?prefix=jdoe"), "list all": ("GET", objects), "put beside": ("POST", f"{upload}jdoes/new"),
        "delete beside": ("DELETE", f"{objects}/jdoes%2Fa"), "copy in": ("POST", f"{objects}/other%2Fa/rewriteTo/b/{bucket}/o/jdoe%2Fstolen"),
        "copy out": ("POST", f"{objects}/jdoe%2Fa/rewriteTo/b/{bucket}/o/other%2Fout"), "elsewhere": ("GET", f"/storage/v1/b/{other}/o/jdoe%2Fa?alt=media"), "buckets": ("GET", "/storage/v1/b?project=judges"),
    }
    return [name for name, (method, path) in tries.items() if ask(double, method, path, b"x" if method == "POST" else b"", token=token)[0] < 300]


# gcsfs asks Google itself about a token that it is given as text; there is no such server here.
GCSFS = "import sys, json, gcsfs, gcsfs.credentials, google.oauth2.credentials as g\ngcsfs.credentials._get_creds_from_raw_token = g.Credentials\n"
MODES = {"read": ["get", "list"], "write": ["put"], "deliver": ["put"], "read-write": ["get", "list", "put", "delete"]}


@pytest.fixture(scope="module")
def double():
    with google.serving() as started:
        yield started


@pytest.fixture
def place(double):
    bucket, other = double.bucket(), double.bucket()
    for name in ("jdoe/a", "jdoe/b", "jdoes/a", "other/a", "a"):
        double.put(bucket, name, b"content")
    double.put(other, "jdoe/a", b"content")
    return bucket, other


@pytest.fixture
def home(double, tmp_path):
    home = Home(tmp_path, {})
    home.at = {"STORAGE_EMULATOR_HOST": double.address}
    home.user = {**home.at, "GOOGLE_APPLICATION_CREDENTIALS": double.sign_in.user_file(tmp_path, double.address)}
    return home


def test_google_auth_narrows_a_token_on_the_double(double, place):
    bucket, other = place
    token = clients.asked(NARROW, double.address, double.sign_in.token(), bucket)
    # The condition of that boundary is about objects alone: nothing is listed.
    assert done(double, token, bucket, other) == ["get"]


@pytest.mark.parametrize("mode", MODES)
def test_a_token_opens_its_folder_in_its_mode(double, home, place, mode):
    bucket, other = place
    out = home.folder / "token.json"
    said = home.frazil("profile", "token", f"gs://{bucket}/jdoe/", "--mode", mode, "--out", out, **home.user)
    assert out.stat().st_mode & 0o777 == 0o600 and f"{bucket}/jdoe/" in said.out
    token = json.loads(out.read_text())
    assert done(double, token["access_token"], bucket, other) == MODES[mode]
    home.frazil("profile", "import", "guest", out)
    inside, outside = f"guest:{bucket}/jdoe/", f"guest:{bucket}/other/"
    (home.folder / "file").write_text("x")
    codes = {
        "ls": home.frazil("ls", inside, code=None, **home.at).code, "cp up": home.frazil("cp", home.folder / "file", f"{inside}file", code=None, **home.at).code,
        "ls beside": home.frazil("ls", outside, code=None, **home.at).code, "cp beside": home.frazil("cp", home.folder / "file", f"{outside}file", code=None, **home.at).code,
    }
    assert (codes["ls"] == 0) == ("list" in MODES[mode]) and codes["ls beside"] == codes["cp beside"] == 4
    assert (codes["cp up"] == 0) == (mode == "read-write"), codes
    if mode == "deliver":
        (home.folder / "tree").mkdir()
        (home.folder / "tree/a.nc").write_text("x")
        home.frazil("push", home.folder / "tree", "--to", inside, "--as", "run7", **home.at)
        assert set(double.contents(bucket, "jdoe/run7/")) == {"jdoe/run7/a.nc", "jdoe/run7/frazil-delivery.json", "jdoe/run7/frazil-push.json"}
    home.frazil("profile", "erase", "--yes")
    assert not out.exists() and token["access_token"] not in "".join(path.read_text(errors="replace") for path in home.folder.rglob("*") if path.is_file())


def test_what_cannot_be_narrowed_is_handed_on_only_if_that_is_said(home):
    out = home.folder / "token.json"
    with google.serving() as strict:
        strict.sign_in.of_boundary = lambda asked: (403, {"error": "unauthorized_client"}, {})
        user = strict.sign_in.user_file(home.folder, strict.address)
        variables = {"STORAGE_EMULATOR_HOST": strict.address, "GOOGLE_APPLICATION_CREDENTIALS": user}
        words = ["profile", "token", f"gs://{strict.bucket()}/jdoe/", "--mode", "read", "--out", out]
        refused = home.frazil(*words, code=1, **variables)
        assert "unauthorized_client" in refused.err and "--unscoped" in refused.err and not out.exists()
        report = home.frazil(*words, "--unscoped", "--json", **variables).report
        assert report["items"][0]["narrow"] is False and [warning["code"] for warning in report["warnings"]] == ["profile.unscoped"]
        assert json.loads(out.read_text())["mode"] == "all that the account may"


def test_an_access_token_is_exported_for_rclone_gcsfs_and_shells(double, home, place):
    bucket, _ = place
    for form in ("rclone", "storage-options", "env"):
        home.frazil("profile", "export", "google", "--to", form, "--out", home.folder / form, **home.user)
    config = (home.folder / "rclone").read_text().replace(f"endpoint = {double.address}", f"endpoint = {double.address}/storage/v1/\nproject_number = 1")
    assert clients.rclone("cat", f"google:{bucket}/jdoe/a", config=config).stdout == "content"
    read = GCSFS + "fs = gcsfs.GCSFileSystem(**json.load(open(sys.argv[1])))\nprint(json.dumps(fs.cat(sys.argv[2]).decode()))"
    assert clients.asked(read, home.folder / "storage-options", f"{bucket}/jdoe/a") == "content"
    lines = dict(line.removeprefix("export ").split("=", 1) for line in (home.folder / "env").read_text().splitlines() if line.startswith("export "))
    assert "jdoe" in home.frazil("ls", f"gs://{bucket}", **{name: value.strip("'") for name, value in lines.items()}).out
    for form in ("aws", "obstore"):
        home.frazil("profile", "export", "google", "--to", form, "--out", home.folder / form, code=1, **home.user)
