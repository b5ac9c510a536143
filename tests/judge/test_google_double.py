"""The double of Google Cloud Storage is judged by those who know the real one: gcsfs, rclone, google-auth.

What neither of them asks for is asked here as the documents of the API say it.
"""

import base64
import hashlib
import json
import os
import random
import urllib.error
import urllib.parse
import urllib.request

import pytest

import clients
import google
import google_sign_in

NAMES = ["plain", "a/b", "a/b//c", "a/./d", "a/../e", "ü/漢字", "p%20q", "p+q", "space here", "a/b\\c", "q?x=1#y", "tail/", "/lead", "x" * 1024]


@pytest.fixture
def double():
    with google.serving(page_size=7, rewrite_bytes=1 << 20) as started:
        yield started


@pytest.fixture
def gcsfs(double):
    """Runs Python in which `fs` is the double seen through gcsfs and `bucket` a bucket of it; answers what it prints."""
    bucket = double.bucket()

    def run(code, token=None, **variables):
        before = (
            "import sys, json, gcsfs, google.oauth2.credentials as g, warnings\n"
            "address, bucket, token, extra = sys.argv[1:5]\nextra = json.loads(extra)\n"
            "fs = gcsfs.GCSFileSystem(endpoint_url=address, token=g.Credentials(token) if token.startswith('ya29') else token, project='judges', skip_instance_cache=True)\n"
        )
        return clients.asked(before + code, double.address, bucket, token or double.sign_in.token(), json.dumps(variables), env={"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"})

    run.bucket = bucket
    return run


def ask(double, method, path, body=b"", *, token="", **headers):
    """One request as it is documented: status, headers, bytes."""
    token = double.sign_in.token() if token == "" else token
    head = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(double.address + path, data=body if method not in ("GET", "DELETE") else None, method=method, headers={key.replace("_", "-"): value for key, value in head.items()})

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        with urllib.request.build_opener(Stay).open(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_gcsfs_writes_lists_copies_and_removes(double, gcsfs):
    found = gcsfs(
        "import os, base64, hashlib\n"
        "data = bytes(range(256)) * 4096 * 5\n"
        "for name in extra['names']:\n    fs.pipe_file(f'{bucket}/{name}', name.encode())\n"
        "with fs.open(f'{bucket}/big', 'wb', block_size=1 << 20) as f:\n    f.write(data)\n"
        "fs.cp_file(f'{bucket}/big', f'{bucket}/copied')\n"
        "info = fs.info(f'{bucket}/copied')\n"
        "assert info['size'] == len(data) and info['md5Hash'] == base64.b64encode(hashlib.md5(data).digest()).decode()\n"
        "assert fs.cat_file(f'{bucket}/big', start=1000, end=3000) == data[1000:3000]\n"
        "names = [n[len(bucket) + 1:] for n in fs.find(bucket)]\n"
        "top = [n['name'][len(bucket) + 1:] for n in fs.ls(bucket, detail=True, refresh=True)]\n"
        "fs.rm(f'{bucket}/m', recursive=True)\n"
        "print(json.dumps({'names': names, 'top': top, 'left': [n for n in fs.find(f'{bucket}/m', refresh=True)]}))\n",
        names=[f"m/{number:03}" for number in range(30)],
    )
    assert found["names"] == ["big", "copied", *(f"m/{number:03}" for number in range(30))] and found["left"] == []
    assert found["top"] == ["big", "copied", "m"]
    assert double.contents(gcsfs.bucket)["copied"] == bytes(range(256)) * 4096 * 5
    assert double.count("POST", "/rewriteTo/") >= 5, "a copy takes several calls"
    assert double.open_uploads() == []


def test_rclone_moves_a_tree_there_and_back(double, tmp_path):
    bucket, config = double.bucket(), rclone_config(double)
    tree = tmp_path / "tree"
    for number in range(25):
        path = tree / f"{number % 4}" / f"ü +%41 {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 100))
    (tree / "large").write_bytes(random.Random(1).randbytes(20 << 20))
    clients.rclone("copy", tree, f"google:{bucket}/t", config=config)
    clients.rclone("check", "--download", tree, f"google:{bucket}/t", config=config)
    assert {name: len(content) for name, content in double.contents(bucket).items()} == {
        "t/" + str(path.relative_to(tree)): path.stat().st_size for path in tree.rglob("*") if path.is_file()
    }
    clients.rclone("copy", f"google:{bucket}/t", f"google:{bucket}/u", config=config)
    clients.rclone("check", "--download", tree, f"google:{bucket}/u", config=config)
    n_sent = double.count("POST", "/upload/")
    answer = clients.rclone("sync", "--checksum", "-v", tree, f"google:{bucket}/t", config=config)
    assert double.count("POST", "/upload/") == n_sent, answer.stderr
    clients.rclone("copy", f"google:{bucket}/u", tmp_path / "back", config=config)
    clients.rclone("check", tree, tmp_path / "back", config=config)
    clients.rclone("purge", f"google:{bucket}/t", config=config)
    assert double.contents(bucket, "t/") == {} and double.open_uploads() == []


def rclone_config(double, **more):
    token = json.dumps({"access_token": double.sign_in.token(), "token_type": "Bearer", "expiry": "2099-01-01T00:00:00Z"})
    lines = {"type": "google cloud storage", "endpoint": f"{double.address}/storage/v1/", "bucket_policy_only": "true", "project_number": "1", "token": token, **more}
    return "[google]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


WAYS = {
    "service account": ("account_file", "account", google_sign_in.ACCOUNT),
    "external account": ("external_file", "external", f"principal:{google_sign_in.POOL}/subject/hub"),
    "external account that impersonates": ("external_file", "external", google_sign_in.IMPERSONATED),
    "user": ("user_file", "user", google_sign_in.USER),
    "impersonation": ("user_file", "impersonate", google_sign_in.IMPERSONATED),
}
LOAD = {
    "account": "from google.oauth2 import service_account as s\nmade = s.Credentials.from_service_account_file(path, scopes=scopes)\n",
    # `google.auth.load_credentials_from_file` would ask the internet for the name of the project.
    "external": "from google.auth import identity_pool as p\nmade = p.Credentials.from_file(path, scopes=scopes)\n",
    # google-auth asks Google for the token of a user whatever the file says, so it gets the address here.
    "user": "import json, google.oauth2.credentials as g\nsaid = json.load(open(path))\n"
    "made = g.Credentials(None, refresh_token=said['refresh_token'], token_uri=said['token_uri'], client_id=said['client_id'], client_secret=said['client_secret'])\n",
}
LOAD["impersonate"] = LOAD["user"] + (
    "from google.auth import impersonated_credentials as i\n"
    "made = i.Credentials(made, target_principal=sys.argv[2], target_scopes=scopes, iam_endpoint_override=sys.argv[3])\n"
)


@pytest.mark.parametrize("way", WAYS)
def test_google_auth_gets_a_token(double, tmp_path, way):
    write, load, who = WAYS[way]
    options = {"impersonating": True} if way.endswith("impersonates") else {}
    path = getattr(double.sign_in, write)(tmp_path, double.address, **options)
    token = clients.asked(
        "import sys, json\npath, scopes = sys.argv[1], ['https://www.googleapis.com/auth/devstorage.read_write']\n" + LOAD[load]
        + "import google.auth.transport.requests as t\nmade.refresh(t.Request())\nprint(json.dumps(made.token))\n",
        path, google_sign_in.IMPERSONATED, google_sign_in.impersonation(double.address),
    )
    assert double.sign_in.who(f"Bearer {token}") == who, double.sign_in.refused


def test_rclone_signs_in_as_a_service_account(double, tmp_path):
    bucket = double.bucket()
    double.put(bucket, "x", b"content")
    path = double.sign_in.account_file(tmp_path, double.address)
    config = rclone_config(double, token="", service_account_file=path)
    assert clients.rclone("cat", f"google:{bucket}/x", config=config).stdout == "content"


def test_an_assertion_that_another_key_signed_is_refused(double, tmp_path):
    path = double.sign_in.account_file(tmp_path, double.address)
    (tmp_path / "other").mkdir()
    double.sign_in.account_file(tmp_path / "other", double.address)
    answer = clients.rclone("lsd", "google:", "--retries", "1", "--low-level-retries", "1", config=rclone_config(double, token="", service_account_file=path), check=False)
    assert answer.returncode != 0 and "Invalid JWT Signature." in double.sign_in.refused


def test_who_has_no_good_token_gets_nothing(double):
    bucket, public = double.bucket(), double.bucket(public=True)
    double.put(bucket, "x", b"content")
    double.put(public, "x", b"content")
    ended = double.sign_in.token(seconds=-1)
    double.sign_in.grants["reader"] = ({bucket}, False)
    reader = double.sign_in.token("reader")
    path = "/storage/v1/b/{}/o/x?alt=media"
    assert ask(double, "GET", path.format(bucket), token=None)[0] == 401
    assert ask(double, "GET", path.format(bucket), token=ended)[0] == 401
    assert ask(double, "GET", path.format(bucket), token="made-up")[0] == 401
    assert ask(double, "GET", path.format(bucket), token=reader)[2] == b"content"
    assert ask(double, "DELETE", path.format(bucket), token=reader)[0] == 403
    assert ask(double, "GET", path.format(public), token=reader)[0] == 403
    assert ask(double, "GET", path.format(public), token=None)[2] == b"content"
    assert ask(double, "POST", f"/upload/storage/v1/b/{public}/o?uploadType=media&name=y", b"y", token=None)[0] == 401
    token = double.sign_in.token()
    double.sign_in.forget()
    assert ask(double, "GET", path.format(bucket), token=token)[0] == 401


def test_names_and_pages(double):
    bucket = double.bucket()
    for name in NAMES:
        quoted = urllib.parse.quote(name, safe="")
        assert ask(double, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quoted}", name.encode())[0] == 200
        assert ask(double, "GET", f"/storage/v1/b/{bucket}/o/{quoted}?alt=media")[2] == name.encode()
    found, query, n_pages = [], {}, 0
    while True:
        answer = json.loads(ask(double, "GET", f"/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}")[2])
        found, n_pages = found + [item["name"] for item in answer["items"]], n_pages + 1
        if "nextPageToken" not in answer:
            break
        query["pageToken"] = answer["nextPageToken"]
    assert found == sorted(NAMES) and n_pages == 2
    answer = json.loads(ask(double, "GET", f"/storage/v1/b/{bucket}/o?delimiter=/&prefix=a/")[2])
    assert answer["prefixes"] == ["a/../", "a/./", "a/b/"] and [item["name"] for item in answer["items"]] == ["a/b", "a/b\\c"]
    for name in ("", ".", "..", "x" * 1025, "a\nb"):
        assert ask(double, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={urllib.parse.quote(name)}", b"x")[0] == 400


def test_ranges_are_as_asked(double):
    bucket = double.bucket()
    double.put(bucket, "x", bytes(range(100)))
    path = f"/storage/v1/b/{bucket}/o/x?alt=media"
    for asked, start, end in (("0-9", 0, 10), ("90-200", 90, 100), ("95-", 95, 100), ("-3", 97, 100)):
        code, headers, body = ask(double, "GET", path, Range=f"bytes={asked}")
        assert (code, body, headers["Content-Range"]) == (206, bytes(range(start, end)), f"bytes {start}-{end - 1}/100")
    assert ask(double, "GET", path, Range="bytes=100-")[0] == 416
    code, headers, body = ask(double, "GET", path)
    assert code == 200 and "md5=" + base64.b64encode(hashlib.md5(body).digest()).decode() in headers["x-goog-hash"]


def test_conditions_hold(double):
    bucket = double.bucket()
    first = double.put(bucket, "x", b"1")
    path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name=x&ifGenerationMatch="
    assert ask(double, "POST", path + "0", b"2")[0] == 412
    assert ask(double, "POST", path + str(first.generation), b"2")[0] == 200
    assert ask(double, "POST", path + str(first.generation), b"3")[0] == 412
    assert ask(double, "DELETE", f"/storage/v1/b/{bucket}/o/x?ifGenerationMatch={first.generation}")[0] == 412
    assert ask(double, "GET", f"/storage/v1/b/{bucket}/o/x?generation={first.generation}&alt=media")[0] == 404
    described = {"name": "y", "md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}
    body = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(described)}\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--".encode()
    assert ask(double, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart", body, Content_Type="multipart/related; boundary=b")[0] == 400
    assert double.contents(bucket) == {"x": b"2"}


def test_an_upload_that_stopped_goes_on(double):
    bucket, content = double.bucket(), random.Random(2).randbytes(1_000_000)
    code, headers, _ = ask(double, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=x&ifGenerationMatch=0", b"{}")
    place = urllib.parse.urlsplit(headers["Location"])
    place = f"{place.path}?{place.query}"

    def put(start, end, total="*"):
        return ask(double, "PUT", place, content[start:end], Content_Range=f"bytes {start}-{end - 1}/{total}")

    assert (code, double.contents(bucket), len(double.open_uploads())) == (200, {}, 1)
    # A step that is no multiple of 256 KiB is kept as far as it is one.
    code, headers, _ = put(0, 400_000)
    assert (code, headers["Range"]) == (308, "bytes=0-262143")
    code, headers, _ = ask(double, "PUT", place, Content_Range="bytes */*")
    assert (code, headers["Range"]) == (308, "bytes=0-262143")
    assert put(524288, 786432)[0] == 503, "what lies between is not there"
    assert put(262144, 1_000_000, 1_000_000)[0] == 200
    assert ask(double, "PUT", place, Content_Range="bytes */1000000")[0] == 200, "who did not hear it asks again"
    assert double.contents(bucket) == {"x": content} and double.open_uploads() == []
    code, headers, _ = ask(double, "POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=y", b"")
    place = headers["Location"].removeprefix(double.address)
    assert ask(double, "DELETE", place)[0] == 499 and ask(double, "PUT", place, b"y")[0] == 410


def test_what_was_composed_has_no_md5(double):
    bucket = double.bucket()
    for name in "ab":
        double.put(bucket, name, name.encode() * 10)
    body = json.dumps({"sourceObjects": [{"name": "a"}, {"name": "b"}], "destination": {"contentType": "text/plain"}}).encode()
    code, _, answer = ask(double, "POST", f"/storage/v1/b/{bucket}/o/c/compose", body)
    found = json.loads(answer)
    assert code == 200 and "md5Hash" not in found and found["componentCount"] == 2 and double.contents(bucket)["c"] == b"a" * 10 + b"b" * 10
    code, _, answer = ask(double, "POST", f"/storage/v1/b/{bucket}/o/c/copyTo/b/{bucket}/o/d")
    assert code == 200 and "md5Hash" not in json.loads(answer)
