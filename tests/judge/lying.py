"""A server that lies: a proxy in front of a real S3 gateway that does one kind of harm by a seeded plan.

It promises that the same seed harms the same requests in the order in which they come, that what it does not harm goes
through unchanged, signatures included, and that it notes every request with its bytes. It cuts listings into small pages,
so that few keys suffice to have many. It does not judge.
"""

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
import time
import urllib.parse

import bodies
import lies
from lies import Asked, kind_of

PIECE_BYTES = 1 << 20
UPSTREAM_SECONDS = 60


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_any(self):
        liar = self.server.liar
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = url.path.removeprefix("/").partition("/")
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        kind = kind_of(self.command, bucket, key, query, self.headers)
        asked = Asked(time.monotonic(), self.command, kind, urllib.parse.unquote(bucket), urllib.parse.unquote(key), query, {name.lower(): value for name, value in self.headers.items()}, self.path)
        lie = liar.note(asked)
        with contextlib.suppress(ConnectionError, TimeoutError, lies.Broken):
            if liar.delay_seconds:
                time.sleep(liar.delay_seconds)
            if lie is not None and lie.before_body:
                asked.lie = lie.name
                self.reset()
            try:
                body = bodies.read(self)
            except ValueError:
                self.reset()
            asked.sent_bytes = len(body)
            asked.deletes = lies.deletes(asked, body)
            if len(body) < int(self.headers.get("Content-Length") or 0):
                # Whoever sent it is gone. What is upstream must not think that this was all.
                self.reset()
            if liar.watch is not None:
                liar.watch(asked, "before")
            if lie is not None:
                lie.tell(self, asked, body)
            else:
                self.pass_on(asked, body)
            asked.ended = time.monotonic()
            return
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any

    def pass_on(self, asked, body):
        """Asks the real one and hands its answer on; only listings are cut into pages."""
        if asked.kind == "list" and self.server.liar.page_keys:
            return self.answer(asked, *self.server.liar.page(self, asked, body))
        answer = self.ask(asked, body)
        asked.status, asked.was_passed_on = answer.status, True
        if self.server.liar.watch is not None:
            self.server.liar.watch(asked, "after")
        self.head(answer.status, answer.getheaders(), answer.getheader("Content-Length"))
        while piece := answer.read(PIECE_BYTES):
            self.wfile.write(piece)
            asked.got_bytes += len(piece)
        self.wfile.flush()
        return None

    def real(self, asked, body) -> tuple[int, list, bytes]:
        """The whole answer of the real one, not handed on."""
        answer = self.ask(asked, body)
        asked.was_passed_on = True
        return answer.status, answer.getheaders(), answer.read()

    def ask(self, asked, body, headers=None):
        """Sends it on over the connection of this thread, once more when the real one had closed it."""
        for n_tries in range(2):
            upstream = getattr(self, "upstream", None)
            if upstream is None:
                upstream = self.upstream = http.client.HTTPConnection(self.server.liar.upstream, timeout=UPSTREAM_SECONDS)
            try:
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in (headers or self.headers).items():
                    if name.lower() not in ("expect", "connection", "transfer-encoding"):
                        upstream.putheader(name, value)
                if self.headers.get("Transfer-Encoding"):
                    upstream.putheader("Content-Length", str(len(body)))
                upstream.endheaders(body or None)
                return upstream.getresponse()
            except (http.client.HTTPException, OSError):
                upstream.close()
                self.upstream = None
                if n_tries:
                    raise lies.Broken("the real one does not answer") from None
        return None

    def answer(self, asked, status, headers, content):
        """A whole answer, real or made up."""
        asked.status, asked.got_bytes = status, len(content)
        self.head(status, headers, len(content))
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def head(self, status, headers, length):
        # The first word is the server's own, so that `Date` and `Server` come from the real one alone.
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if length is not None and status not in (204, 304):
            self.send_header("Content-Length", str(length))
        elif length is None and status not in (204, 304) and self.command != "HEAD":
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def reset(self):
        """Breaks the connection as a router that forgot it would: with a reset, not with an end."""
        with contextlib.suppress(OSError):
            self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        raise lies.Broken("reset")

    def finish(self):
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        if getattr(self, "upstream", None) is not None:
            self.upstream.close()


class Liar:
    """The proxy while it runs: its `address`, and what was asked of it."""

    def __init__(self, upstream, fault, seed, page_keys, delay_seconds, stall_seconds, honest_client):
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.fault, self.seed = fault, seed
        self.page_keys, self.delay_seconds, self.stall_seconds = page_keys, delay_seconds, stall_seconds
        self.honest_client = honest_client
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.asked: list[Asked] = []
        self.pages: dict[tuple, tuple[lies.Pages, int]] = {}
        self.plan = lies.Plan(fault, random.Random(f"{fault} {seed}")) if fault else None
        self.address = ""
        # Called with each request "before" it is passed on and "after" the real one has answered.
        self.watch = None

    def note(self, asked):
        with self.lock:
            self.asked.append(asked)
            return self.plan.lie_for(asked) if self.plan else None

    def page(self, proxy, asked, body):
        """The page that was asked for, of those that the real listing was cut into."""
        token = asked.query.get("continuation-token") or asked.query.get("marker", "")
        place = (asked.bucket, asked.query.get("prefix", ""), asked.query.get("delimiter", ""))
        with self.lock:
            pages, start = self.pages.get((*place, token), (None, 0))
        if pages is None:
            status, headers, content = proxy.real(asked, body)
            if status != 200:
                return status, headers, content
            pages = lies.Pages.of(content, headers, self.page_keys)
            with self.lock:
                self.pages.update({(*place, name): (pages, at) for name, at in pages.starts().items()})
        return 200, pages.headers, pages.content(token, start, is_second_version=asked.query.get("list-type") == "2")

    # What judges ask.

    @property
    def n_lies(self) -> int:
        return sum(1 for asked in self.asked if asked.lie)

    def of_kind(self, *kinds) -> list[Asked]:
        return [asked for asked in list(self.asked) if asked.kind in kinds]

    def deleted(self) -> list[str]:
        """The keys whose deletion reached the real one."""
        return [key for asked in list(self.asked) if asked.was_passed_on for key in asked.deletes]

    def most_tries(self) -> int:
        """How often the same thing was asked for at most."""
        counts = {}
        for asked in list(self.asked):
            what = (asked.method, asked.bucket, asked.key, frozenset(asked.query.items()), asked.headers.get("range"))
            counts[what] = counts.get(what, 0) + 1
        return max(counts.values(), default=0)

    def sent_bytes(self) -> int:
        return sum(asked.sent_bytes for asked in list(self.asked) if asked.kind in ("put", "part"))

    def most_in_flight(self, *kinds) -> int:
        """How many requests of these kinds were under way at once."""
        moments = []
        for asked in self.of_kind(*kinds):
            moments += [(asked.when, 1), (asked.ended or float("inf"), -1)]
        n, most = 0, 0
        for _, step in sorted(moments):
            n += step
            most = max(most, n)
        return most

    def __str__(self):
        lines = [f"{asked.method} {asked.kind} {asked.key} {asked.status} {asked.lie or ''}".rstrip() for asked in list(self.asked)]
        shown = lines if len(lines) <= 40 else [*lines[:20], f"... {len(lines) - 40} more ...", *lines[-20:]]
        return "\n".join([f"fault `{self.fault}`, seed {self.seed}, {len(lines)} requests, {self.n_lies} harmed:", *shown])


@contextlib.contextmanager
def lying(gateway, fault=None, seed=0, *, page_keys=0, delay_seconds=0.0, stall_seconds=8.0):
    """A `Liar` in front of `gateway` (of `ceph.py`). Without a `fault` it only notes, cuts pages and delays.

    `fault` is one of `lies.FAULTS`.
    """
    liar = Liar(str(gateway), fault, seed, page_keys, delay_seconds, stall_seconds, gateway.client)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads, server.liar, server.request_queue_size = True, liar, 256
    # A client that was killed leaves broken connections; they are no news.
    server.handle_error = lambda *_: None
    liar.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield liar
    finally:
        liar.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
