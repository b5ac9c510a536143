"""A door before a server that passes everything on, counts it, and tells the time as it likes. It may turn somebody away.

It promises to change nothing of a request, so that signatures hold, and of an answer only its `Date`; whoever is turned
away is told so as Amazon does: with a document, and to a `HEAD` with nothing.
"""

import collections
import contextlib
import email.utils
import http.client
import http.server
import threading
import time


class Door(http.server.ThreadingHTTPServer):
    """What came in: (method, path) pairs, in order. `ahead_seconds` is added to the time of each answer.

    `refusal(method, path, headers)` is asked before anything is passed on: it may answer a status and a code.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: str):
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind.removeprefix("http://")
        self.asked: list[tuple[str, str]] = []
        self.ahead_seconds = 0
        self.refusal = lambda method, path, headers: None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def counted(self) -> collections.Counter:
        """How often each method was asked for since the last time."""
        asked, self.asked = self.asked, []
        return collections.Counter(method for method, _ in asked)

    def handle_error(self, request, client_address):
        """Whoever is killed breaks off; that is no news."""


class _Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self):
        self.server.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if refused := self.server.refusal(self.command, self.path, self.headers):
            return self._refuse(*refused)
        behind = http.client.HTTPConnection(self.server.behind, timeout=60)
        with contextlib.closing(behind):
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                behind.putheader(name, value)
            behind.endheaders(body)
            answer = behind.getresponse()
            content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("date", "content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = answer.getheader("content-length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.send_header("Date", email.utils.formatdate(time.time() + self.server.ahead_seconds, usegmt=True))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status, code):
        content = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def log_message(self, *words):
        """The door says nothing."""


@contextlib.contextmanager
def door(behind: str):
    """A door before the server at `behind`, for as long as it is needed."""
    found = Door(behind)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        thread.join()
