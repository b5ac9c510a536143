"""What signs a request reaches the host that was named, and no other, wherever a server sends the request.

Every server here notes what it is told. A chain may end in the file or in a refusal; that is not judged, only that it
ends, that no file of this machine is taken for an answer, and who heard a secret.
"""

import base64
import contextlib
import dataclasses
import http.server
import pathlib
import re
import ssl
import threading
import urllib.parse

import pytest

import clients
import tls
from moves import Mover

LOGIN, PASSWORD = "scientist", "CANARY6password"
COOKIE, TOKEN = "CANARY7cookie", "CANARY8session"
CONTENT = b"what was asked for"
MAX_SECONDS = 60
MAX_REQUESTS = 60
TELLING = ("authorization", "cookie", "proxy-authorization")


@dataclasses.dataclass
class Heard:
    """One request: to which server, with which words and headers."""

    server: str
    method: str
    target: str
    headers: dict

    def secrets(self) -> list[str]:
        """What of this request only the named host should hear."""
        query = urllib.parse.urlsplit(self.target).query
        found = [f"{name}: {value[:60]}" for name, value in self.headers.items() if name in TELLING or name.startswith("x-amz-")]
        found += [f"{word} in the address" for word in re.findall(r"(?i)(x-amz-[a-z]+|token|signature|sig)=", query)]
        said = base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
        everything = f"{self.target} {self.headers}"
        return found + [f"the secret {word[:12]}" for word in ("CANARY", said) if word in everything]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_any(self):
        stage = self.server.stage
        n_bytes = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(n_bytes)
        heard = Heard(self.server.name, self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        stage.heard.append(heard)
        step = stage.answers.get((self.server.name, urllib.parse.urlsplit(self.path).path))
        if len(stage.heard) > MAX_REQUESTS:
            step = (500, {})
        status, headers = step if step else (200, {"ETag": '"1"'})
        if status == 401 and "authorization" in heard.headers:
            status, headers = 200, {}
        body = CONTENT if status == 200 else b""
        start, end = 0, len(body)
        if (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) and body:
            start, end = int(match[1]), min(len(body), int(match[2] or len(body)) + 1)
            status, headers = 206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
        self.send_response(status)
        for name, value in {"Content-Length": str(end - start), "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body[start:end])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any


class Stage:
    """Servers with names: `named` is the host that the user chose; the others are where it may send people."""

    def __init__(self, folder: pathlib.Path):
        self.heard: list[Heard] = []
        self.answers: dict[tuple[str, str], tuple[int, dict]] = {}
        self.addresses: dict[str, str] = {}
        self.servers = []
        self.authority = tls.authority(folder) if tls.missing() is None else None
        # The whole of 127/8 is this machine: other hosts that need no name server.
        for name, host, secure in (("named", "127.0.0.1", False), ("other port", "127.0.0.1", False), ("other host", "127.0.0.2", False), ("other name", "localhost", False), ("named secure", "127.0.0.1", True)):
            if secure and self.authority is None:
                continue
            server = http.server.ThreadingHTTPServer(("127.0.0.2" if name == "other host" else "127.0.0.1", 0), Handler)
            server.daemon_threads, server.stage, server.name = True, self, name
            server.handle_error = lambda *_: None
            if secure:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*tls.certificate(folder, "redirects"))
                server.socket = context.wrap_socket(server.socket, server_side=True)
            self.addresses[name] = f"http{'s' * secure}://{host}:{server.server_address[1]}"
            self.servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def chain(self, path: str, hops):
        """Answers for `path` at the first server, and so on along `hops`: (status, where, more headers)."""
        here = hops[0][0]
        for number, (_, status, where, headers) in enumerate(hops):
            target = path if number + 1 < len(hops) else "/final"
            place = where if "://" in where or where.startswith(("/", "file:")) else self.addresses[where] + target
            place = place.replace("CREDENTIALS@", f"{LOGIN}:{PASSWORD}@")
            self.answers[here, path] = (status, {"Location": place, **headers})
            here = where if where in self.addresses else here


# Name: hops of (server, status, where it sends to, headers that it sends along).
CHAINS = {
    "another port": [("named", 302, "other port", {})],
    "another host": [("named", 302, "other host", {})],
    "another name of this host": [("named", 301, "other name", {})],
    "307 to another host": [("named", 307, "other host", {})],
    "308 to another host": [("named", 308, "other host", {})],
    "303 to another host": [("named", 303, "other host", {})],
    "two hosts": [("named", 302, "other port", {}), ("other port", 302, "other host", {})],
    "there and back": [("named", 302, "other host", {}), ("other host", 302, "named", {})],
    "with a cookie": [("named", 302, "other host", {"Set-Cookie": f"session={COOKIE}; Path=/"})],
    "in a circle": [("named", 302, "other host", {}), ("other host", 302, "named", {}), ("named", 302, "other host", {})],
    "from https to http": [("named secure", 302, "named", {})],
    "a file of this machine": [("named", 302, "file:///etc/hostname", {})],
    "another host that asks for a login": [("named", 302, "other host", {})],
    "the same host": [("named", 302, "/final", {})],
}


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path / "tls")
    yield made
    made.close()


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def start_of(name, stage):
    start = CHAINS[name][0][0]
    if start not in stage.addresses:
        pytest.skip("a certificate: openssl not installed")
    return start


def leaked(stage, start) -> list[str]:
    """What a server heard that was not the named one."""
    return [f"{heard.server}: {heard.method} {heard.target[:80]}: {', '.join(heard.secrets())}" for heard in stage.heard if heard.server != start and heard.secrets()]


@pytest.mark.parametrize("name", CHAINS)
def test_a_signature_reaches_only_the_named_host(stage, home, tmp_path, name):
    clients.needs("cp")
    start = start_of(name, stage)
    stage.chain("/data/file", CHAINS[name])
    if "login" in name:
        stage.answers["other host", "/final"] = (401, {"WWW-Authenticate": "Basic"})
    variables = {"AWS_SESSION_TOKEN": TOKEN, **({"SSL_CERT_FILE": stage.authority} if stage.authority else {})}
    mover = Mover(home, stage.addresses[start], secret="CANARY9secret", variables=variables)
    answer = mover("cp", "s3://data/file", tmp_path / "dest", timeout=MAX_SECONDS)
    assert [heard for heard in stage.heard if heard.server == start and "authorization" in heard.headers], f"the named host was not asked, or not with a signature\n{answer}"
    assert leaked(stage, start) == [], answer
    judged_end(answer, tmp_path / "dest", stage)


@pytest.mark.parametrize("verb", ["put", "list", "delete"])
@pytest.mark.parametrize("name", ["another port", "307 to another host", "308 to another host", "from https to http"])
def test_a_signature_that_writes_lists_or_deletes_reaches_only_the_named_host(stage, home, tmp_path, name, verb):
    clients.needs("cp", "rm", "ls")
    start = start_of(name, stage)
    for path in ("/data/file", "/data", "/data/"):
        stage.chain(path, CHAINS[name])
    mover = Mover(home, stage.addresses[start], secret="CANARY9secret", variables={"SSL_CERT_FILE": stage.authority} if stage.authority else {})
    (tmp_path / "file").write_bytes(CONTENT)
    words = {"put": ["cp", tmp_path / "file", "s3://data/file"], "list": ["ls", "s3://data/"], "delete": ["rm", "s3://data/file", "--yes"]}[verb]
    mover(*words, timeout=MAX_SECONDS)
    assert stage.heard and leaked(stage, start) == []


@pytest.mark.parametrize("name", CHAINS)
def test_a_login_of_netrc_reaches_only_the_named_host(stage, home, tmp_path, name):
    clients.needs("cp")
    start = start_of(name, stage)
    stage.chain("/data/file", CHAINS[name])
    if "login" in name:
        stage.answers["other host", "/final"] = (401, {"WWW-Authenticate": "Basic"})
    (home / ".netrc").write_text(f"machine 127.0.0.1 login {LOGIN} password {PASSWORD}\n")
    (home / ".netrc").chmod(0o600)
    mover = Mover(home, stage.addresses[start], variables={"SSL_CERT_FILE": stage.authority} if stage.authority else {})
    answer = mover("cp", f"{stage.addresses[start]}/data/file", tmp_path / "dest", timeout=MAX_SECONDS)
    assert stage.heard, answer
    # `.netrc` names a host and no port: another port of it may hear the login, but never without TLS after TLS.
    heard = [line for line in leaked(stage, start) if not (line.startswith(("other port:", "named:")) and start == "named" and "cookie" not in line)]
    assert heard == [], answer
    judged_end(answer, tmp_path / "dest", stage)


def test_a_login_in_an_address_that_a_server_gives_is_not_used(stage, home, tmp_path):
    clients.needs("cp")
    place = stage.addresses["other host"].replace("//", "//CREDENTIALS@")
    stage.chain("/data/file", [("named", 302, f"{place}/final", {})])
    mover = Mover(home, stage.addresses["named"])
    answer = mover("cp", f"{stage.addresses['named']}/data/file", tmp_path / "dest", timeout=MAX_SECONDS)
    assert leaked(stage, "named") == [], answer


def test_what_follows_a_question_mark_is_not_handed_on(stage, home, tmp_path):
    """A signed address: its signature is for the host that it names."""
    clients.needs("cp")
    stage.chain("/data/file", CHAINS["another host"])
    mover = Mover(home, stage.addresses["named"])
    answer = mover("cp", f"{stage.addresses['named']}/data/file?X-Amz-Signature=CANARYa&token=CANARYb", tmp_path / "dest", timeout=MAX_SECONDS)
    assert leaked(stage, "named") == [], answer


def judged_end(answer, dest, stage):
    """Whether it came to an end, and to no wrong one."""
    assert len(stage.heard) < MAX_REQUESTS, f"it goes round and round\n{answer}"
    if answer.code == 0:
        assert dest.read_bytes() == CONTENT, answer
    else:
        assert not dest.exists() and answer.err.strip(), answer


def test_the_servers_hear_what_they_should(stage, tmp_path):
    """The judge itself: a client that follows with everything it has is caught."""
    import subprocess

    stage.chain("/data/file", CHAINS["another host"])
    words = ["curl", "--silent", "--location-trusted", "--user", f"{LOGIN}:{PASSWORD}", "-H", "X-Amz-Date: 1", f"{stage.addresses['named']}/data/file"]
    try:
        found = subprocess.run(words, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert found.stdout == CONTENT and any("other host" in line and "authorization" in line for line in leaked(stage, "named"))
