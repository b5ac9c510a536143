"""Logins for web servers, on small servers of our own: each password, token and cookie reaches the one server that it is for.

Servers are told apart by their ports and by names of this machine; the chains are those by which logins have been lost.
"""

import base64
import contextlib
import re

import pytest

from command import ROOT
from homes import CANARY, Home, answering

FILE = (ROOT / "examples/sea-surface/data/sst_200101.nc").read_bytes()
RCLONE = ".config/rclone/rclone.conf"


def basic(login):
    return "Basic " + base64.b64encode(login.encode()).decode()


def file(request, code=200):
    """The file, or the part of it that was asked for."""
    part = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
    headers = [("ETag", '"one"'), ("Accept-Ranges", "bytes")]
    if part is None:
        return code, headers, FILE
    first, last = int(part[1]), min(int(part[2]), len(FILE) - 1)
    return 206, [*headers, ("Content-Range", f"bytes {first}-{last}/{len(FILE)}")], FILE[first : last + 1]


def asks(login):
    """A server that gives the file to who knows the login."""
    return lambda request: file(request) if request.headers.get("Authorization") == login else (401, [("WWW-Authenticate", "Basic")], b"who are you?")


def sends_to(place, code=302):
    return lambda request: (code, [("Location", place() if callable(place) else place)], b"")


def told(server):
    """What a server was told of secrets."""
    return [text for *_, headers, body in server.seen for text in (*(headers.get(name) for name in ("authorization", "cookie")), body) if text]


def of(server):
    return server.address.removeprefix("http://")


def netrc(*entries):
    return {".netrc": "".join(f"machine {machine} login {login} password {password}\n" for machine, login, password in entries)}


def test_a_login_opens_a_file_and_a_wrong_one_says_so(tmp_path):
    with answering(asks(basic("me:CANARY1"))) as server:
        home = Home(tmp_path, netrc(("127.0.0.1", "me", "CANARY1")))
        assert home.frazil("inspect", f"{server.address}/a.nc", "--json", "-v").report["totals"]["n_variables"] == 5
        home.frazil("convert", f"{server.address}/a.nc", tmp_path / "a.zarr", "--to", "zarr", "-v")
        assert "login `me`" in home.frazil("profile", "explain", f"{server.address}/a.nc").out
        assert not any(CANARY in path.read_text("utf-8", "replace") for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())
        home.write(".netrc", "machine 127.0.0.1 login me password CANARY2\n")
        answer = home.frazil("inspect", f"{server.address}/b.nc", "-v", code=None)
        assert answer.code != 0 and "401" in answer.text and "login `me`" in answer.text
        home.write(".netrc", "machine other.example login me password CANARY2\n")
        answer = home.frazil("convert", f"{server.address}/b.nc", tmp_path / "b.zarr", "--to", "zarr", code=4)
        assert f"machine {of(server)}" in answer.err


def test_a_file_that_others_can_read_is_refused_not_used(tmp_path):
    with answering(asks(basic("me:CANARY1"))) as server:
        home = Home(tmp_path, {})
        home.write(".netrc", "machine 127.0.0.1 login me password CANARY1\n", mode=0o644)
        answer = home.frazil("convert", f"{server.address}/a.nc", tmp_path / "a.zarr", "--to", "zarr", code=4)
        assert "chmod 600" in answer.err and not told(server)
        assert "chmod 600" in home.frazil("profile", "list").out
        elsewhere = home.write("elsewhere", "machine 127.0.0.1 login me password CANARY1\n")
        home.frazil("inspect", f"{server.address}/a.nc", NETRC=elsewhere)


@contextlib.contextmanager
def chain(kind, tmp_path):
    """A typed address that leads elsewhere; yields it, the files of a home, and what each server may be told."""
    with contextlib.ExitStack() as stack:
        serve = lambda answer: stack.enter_context(answering(answer))
        open_to_all = serve(file)
        mine = basic("me:CANARY1")
        if kind in ("another port", "another port, 301", "another port, 307", "another port, 308", "another port, 303"):
            code = int(kind[-3:]) if kind[-1].isdigit() else 302
            first = serve(sends_to(f"{open_to_all.address}/a.nc", code))
            yield f"{first.address}/a.nc", netrc(("127.0.0.1", "me", "CANARY1")), {first: {mine}, open_to_all: set()}
        elif kind == "another host":
            first = serve(sends_to(f"{open_to_all.address.replace('127.0.0.1', 'localhost')}/a.nc"))
            yield f"{first.address}/a.nc", netrc(("127.0.0.1", "me", "CANARY1")), {first: {mine}, open_to_all: set()}
        elif kind == "another spelling of the host":
            first = serve(sends_to(f"{open_to_all.address.replace('127.0.0.1', '127.1')}/a.nc"))
            yield f"{first.address}/a.nc", netrc(("127.0.0.1", "me", "CANARY1")), {first: {mine}, open_to_all: set()}
        elif kind == "no scheme":
            first = serve(sends_to(f"//{of(open_to_all)}/a.nc"))
            yield f"{first.address}/a.nc", netrc(("127.0.0.1", "me", "CANARY1")), {first: {mine}, open_to_all: set()}
        elif kind == "there and back again":
            first = serve(lambda request: file(request) if "back" in request.path else (302, [("Location", f"{between.address}/x")], b""))
            between = serve(sends_to(lambda: f"{first.address}/back"))
            yield f"{first.address}/a.nc", netrc(("127.0.0.1", "me", "CANARY1")), {first: {mine}, between: set()}
        elif kind == "a chain of three":
            last = serve(sends_to(f"{open_to_all.address}/a.nc"))
            first = serve(sends_to(f"{last.address}/a.nc"))
            yield f"{first.address}/a.nc", netrc(("127.0.0.1", "me", "CANARY1")), {first: {mine}, last: set(), open_to_all: set()}
        elif kind == "the default stays at home":
            first = serve(sends_to(f"{open_to_all.address}/a.nc"))
            yield f"{first.address}/a.nc", {".netrc": "default login me password CANARY1\n"}, {first: {mine}, open_to_all: set()}
        elif kind == "each its own":
            second = serve(asks(basic("you:CANARY2")))
            first = serve(sends_to(f"{second.address}/a.nc"))
            yield f"{first.address}/a.nc", netrc((of(second), "you", "CANARY2"), (of(first), "me", "CANARY1")), {first: {mine}, second: {basic("you:CANARY2")}}
        elif kind == "a token":
            first = serve(sends_to(f"{open_to_all.address}/a.nc"))
            yield f"{first.address}/a.nc", {"token": "CANARY3"}, {first: {"Bearer CANARY3"}, open_to_all: set()}
        elif kind == "cookies":
            first = serve(lambda request: (302, [("Location", f"{open_to_all.address}/a.nc"), ("Set-Cookie", "s=CANARY4; Path=/; Domain=127.0.0.1")], b""))
            yield f"{first.address}/a.nc", netrc(("other.example", "me", "CANARY1")), {first: {"s=CANARY4"}, open_to_all: set()}
        elif kind == "headers of a remote":
            first = serve(sends_to(f"{open_to_all.address}/a.nc"))
            yield "web:a.nc", {RCLONE: f"[web]\ntype = http\nurl = {first.address}\nheaders = Authorization,CANARY5,Cookie,CANARY6\n"}, {first: {"CANARY5", "CANARY6"}, open_to_all: set()}


KINDS = [
    "another port", "another port, 301", "another port, 303", "another port, 307", "another port, 308", "another host", "another spelling of the host", "no scheme",
    "there and back again", "a chain of three", "the default stays at home", "each its own", "a token", "cookies", "headers of a remote",
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_secret_reaches_only_whom_it_is_for(tmp_path, kind):
    with chain(kind, tmp_path) as (place, files, may):
        home = Home(tmp_path, files)
        variables = {}
        if "token" in files:
            variables = {"EARTHDATA_TOKEN": files["token"], "FRAZIL_EARTHDATA_HOSTS": place.split("/")[2]}
        code = None if kind == "another spelling of the host" else 0
        # A cookie is sent from the second question on: two files, one after the other.
        places = [place, place.replace("a.nc", "b.nc")] if kind == "cookies" else [place]
        home.frazil("inspect", *places, "-v", "--threads", 1, code=code, **variables)
        for server, allowed in may.items():
            assert set(told(server)) <= allowed, (server.address, told(server))
        assert any(told(server) for server in may), "no login was used at all"


def earthdata(stack):
    """An archive of NASA and its sign-in server, as they speak with one another."""

    def archive(request):
        if "session=CANARYsession" in (request.headers.get("Cookie") or ""):
            return file(request)
        if request.path.startswith("/login?code=CANARYcode"):
            return 302, [("Location", "/data/a.nc"), ("Set-Cookie", "session=CANARYsession; Path=/; HttpOnly")], b""
        return 302, [("Location", f"{sign_in.address}/oauth/authorize?client_id=x&redirect_uri={request.path}")], b""

    def urs(request):
        if request.headers.get("Authorization") != basic("me:CANARYpassword"):
            return 401, [("WWW-Authenticate", "Basic")], b"sign in"
        return 302, [("Location", f"{server.address}/login?code=CANARYcode"), ("Set-Cookie", "urs=CANARYurs; Path=/")], b""

    server, sign_in = stack.enter_context(answering(archive)), stack.enter_context(answering(urs))
    return server, sign_in


def test_an_archive_of_nasa_is_opened_by_the_login_of_its_sign_in_server(tmp_path):
    with contextlib.ExitStack() as stack:
        server, sign_in = earthdata(stack)
        home = Home(tmp_path, netrc((of(sign_in), "me", "CANARYpassword")))
        home.frazil("convert", f"{server.address}/data/a.nc", tmp_path / "a.zarr", "--to", "zarr", "-v")
        assert {text for text in told(server)} <= {"session=CANARYsession"}
        assert {text for text in told(sign_in)} <= {basic("me:CANARYpassword"), "urs=CANARYurs"}
        # Once signed in, nobody goes there again.
        assert len([1 for method, *_ in sign_in.seen if method == "GET"]) <= 1
        home.write(".netrc", "machine other.example login me password CANARY1\n")
        answer = home.frazil("convert", f"{server.address}/data/b.nc", tmp_path / "b.zarr", "--to", "zarr", code=4)
        assert f"machine {of(sign_in)}" in answer.err


def test_a_pattern_on_a_remote_and_an_alias_of_it(tmp_path):
    with answering(lambda request: file(request) if request.headers.get("Authorization") == basic("me:CANARY p") else (401, [], b"")) as server:
        home = Home(tmp_path, {RCLONE: f"[web]\ntype = http\nurl = http://me:CANARY%20p@{of(server)}/data\n[sub]\ntype = alias\nremote = web:2001\n"})
        home.frazil("inspect", "web:2001/a.nc", "-v")
        home.frazil("inspect", "sub:a b.nc", "-v")
        assert [path for _, _, path, *_ in server.seen][-1] == "/data/2001/a%20b.nc"
        answer = home.frazil("profile", "list")
        assert "http" in answer.out and "headers of its own" in answer.out
        # Beside the folder of the remote nothing is said.
        home.frazil("inspect", f"{server.address}/elsewhere/a.nc", code=None)
        assert server.seen[-1][3].get("authorization") is None


def test_from_https_to_http_is_refused(tmp_path):
    import tls

    if tls.missing():
        pytest.skip(tls.missing())
    import ssl

    with answering(file) as plain, answering(sends_to(lambda: f"{plain.address}/a.nc")) as safe:
        authority = tls.authority(tmp_path / "tls")
        certificate, key = tls.certificate(tmp_path / "tls", "server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        safe.socket = context.wrap_socket(safe.socket, server_side=True)
        home = Home(tmp_path, netrc(("127.0.0.1", "me", "CANARY1")))
        place = f"{safe.address.replace('http:', 'https:')}/a.nc"
        answer = home.frazil("convert", place, tmp_path / "a.zarr", "--to", "zarr", code=None, SSL_CERT_FILE=authority)
        assert "from https to http" in answer.err and set(told(safe)) == {basic("me:CANARY1")} and not told(plain)
        # The variable of the AWS tools adds its certificates, too.
        answer = home.frazil("convert", place, tmp_path / "a.zarr", "--to", "zarr", code=None, AWS_CA_BUNDLE=authority)
        assert "from https to http" in answer.err
        assert "is not trusted" in home.frazil("convert", place, tmp_path / "a.zarr", "--to", "zarr", code=None).err
