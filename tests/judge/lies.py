"""The lies that `lying.py` tells, which request is told which, and listings cut into pages.

Each fault has a few variants; the seed chooses the variant, the first request that it meets and how many it meets in a
row. It promises that whatever is not harmed for good is harmed at most `MAX_IN_A_ROW` times in a row.
"""

import contextlib
import dataclasses
import datetime
import email.utils
import re
import urllib.parse
import uuid
import xml.sax.saxutils

MAX_IN_A_ROW = 3
MAX_FIRST = 4
SKEW_SECONDS = 3600
ALLOWED_SKEW_SECONDS = 900
XML = [("Content-Type", "application/xml")]


class Broken(Exception):
    """The connection is over."""


@dataclasses.dataclass
class Asked:
    """One request: what it wanted, what became of it, and how it was harmed, if it was."""

    when: float
    method: str
    kind: str
    bucket: str
    key: str
    query: dict
    headers: dict
    # Path and query as they came over the line.
    target: str = ""
    status: int = 0
    sent_bytes: int = 0
    got_bytes: int = 0
    lie: str | None = None
    deletes: list = dataclasses.field(default_factory=list)
    was_passed_on: bool = False
    ended: float | None = None


def kind_of(method, bucket, key, query, headers) -> str:
    """What is asked of S3, in one or two words."""
    if not bucket:
        return "buckets"
    if not key:
        if method == "GET":
            return "list uploads" if "uploads" in query else "list" if "list-type" in query or not {"location", "versioning", "policy", "acl", "lifecycle", "versions"} & set(query) else "bucket"
        return "delete many" if method == "POST" and "delete" in query else "bucket"
    if method == "GET":
        return "list parts" if "uploadId" in query else "get"
    if method == "PUT":
        copies = "x-amz-copy-source" in headers
        return ("copy part" if copies else "part") if "partNumber" in query else "copy" if copies else "put"
    if method == "POST":
        return "initiate" if "uploads" in query else "complete"
    if method == "DELETE":
        return "abort" if "uploadId" in query else "delete"
    return "head"


def deletes(asked, body) -> list[str]:
    """The keys that a request would delete."""
    if asked.kind == "delete":
        return [asked.key]
    if asked.kind == "delete many":
        return [xml.sax.saxutils.unescape(key.decode(), {"&quot;": '"', "&apos;": "'"}) for key in re.findall(rb"<Key>(.*?)</Key>", body, re.DOTALL)]
    return []


class Lie:
    """One way to answer wrongly. `kinds` are the requests it fits, all without them."""

    kinds: tuple = ()
    before_body = False
    # Until the end, not only a few times.
    is_lasting = False

    def __init__(self, name):
        self.name = name

    def fits(self, asked) -> bool:
        return not self.kinds or asked.kind in self.kinds

    def tell(self, proxy, asked, body):
        asked.lie = self.name
        self.harm(proxy, asked, body)


def error(code, message="told by the judge"):
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>judge</RequestId></Error>'.encode()


class Says(Lie):
    """An error, by its status and its code."""

    def __init__(self, name, status, code, headers=(), lasting=False):
        super().__init__(name)
        self.status, self.code, self.headers, self.is_lasting = status, code, list(headers), lasting

    def harm(self, proxy, asked, body):
        proxy.answer(asked, self.status, [*XML, *self.headers], error(self.code))


class SaysInside(Lie):
    """An error in the body of a success: S3 may do so once it has begun to answer."""

    kinds = ("copy", "copy part", "complete", "delete many")

    def harm(self, proxy, asked, body):
        content = error("SlowDown")
        if asked.kind == "delete many":
            keys = re.findall(rb"<Key>(.*?)</Key>", body, re.DOTALL)
            content = b"<DeleteResult>" + b"".join(b"<Error><Key>" + key + b"</Key><Code>SlowDown</Code><Message>later</Message></Error>" for key in keys) + b"</DeleteResult>"
        proxy.answer(asked, 200, XML, content)


class ResetsBefore(Lie):
    before_body = True


class ResetsAfter(Lie):
    def harm(self, proxy, asked, body):
        proxy.reset()


class LosesAnswer(Lie):
    """It was done, and nobody hears of it."""

    kinds = ("put", "part", "copy", "copy part", "complete", "initiate", "delete", "delete many")

    def harm(self, proxy, asked, body):
        asked.status = proxy.real(asked, body)[0]
        proxy.reset()


class Stalls(Lie):
    """A piece of the answer, then silence."""

    def harm(self, proxy, asked, body):
        status, headers, content = proxy.real(asked, body)
        asked.status = status
        proxy.head(status, headers, len(content))
        if len(content) > 1 and proxy.command != "HEAD":
            proxy.wfile.write(content[: len(content) // 2])
        proxy.wfile.flush()
        proxy.server.liar.closing.wait(proxy.server.liar.stall_seconds)
        proxy.reset()


class Cuts(Lie):
    """Half of the body, and an ordinary end."""

    kinds = ("get", "list", "list parts", "list uploads", "complete", "copy")

    def harm(self, proxy, asked, body):
        status, headers, content = proxy.real(asked, body)
        asked.status = status
        proxy.head(status, headers, len(content))
        proxy.wfile.write(content[: len(content) // 2])
        proxy.wfile.flush()
        proxy.close_connection = True


class IgnoresRange(Lie):
    """The whole object, as a web server may answer."""

    kinds = ("get",)

    def fits(self, asked):
        return super().fits(asked) and "range" in asked.headers

    def harm(self, proxy, asked, body):
        answer = proxy.server.liar.honest_client().get_object(Bucket=asked.bucket, Key=asked.key)
        proxy.answer(asked, 200, [("ETag", answer["ETag"]), ("Content-Type", "binary/octet-stream")], answer["Body"].read())


class ShiftsRange(Lie):
    """Other bytes than were asked for, and it says so."""

    kinds = ("get",)

    def fits(self, asked):
        return super().fits(asked) and "range" in asked.headers

    def harm(self, proxy, asked, body):
        status, headers, content = proxy.real(asked, body)

        def shifted(match):
            return f"bytes {int(match[1]) + 1}-{int(match[2]) + 1}/{match[3]}"

        headers = [(name, re.sub(r"bytes (\d+)-(\d+)/(\d+)", shifted, value) if name.lower() == "content-range" else value) for name, value in headers]
        proxy.answer(asked, status, headers, content[1:] + b"\0" if content else content)


class FlipsBit(Lie):
    """One bit of the bytes is another one, and nothing else shows it."""

    kinds = ("get",)

    def harm(self, proxy, asked, body):
        status, headers, content = proxy.real(asked, body)
        if status in (200, 206) and content:
            at = len(content) * 2 // 3
            content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        proxy.answer(asked, status, headers, content)


class Listing(Lie):
    """A listing that is not what is there; `change` makes it of the true one."""

    kinds = ("list",)

    def __init__(self, name, change, later_page=False):
        super().__init__(name)
        self.change, self.later_page = change, later_page
        self.is_lasting = True

    def fits(self, asked):
        is_later = "continuation-token" in asked.query or bool(asked.query.get("marker"))
        return super().fits(asked) and (is_later or not self.later_page)

    def harm(self, proxy, asked, body):
        liar = proxy.server.liar
        status, headers, content = liar.page(proxy, asked, body) if liar.page_keys else proxy.real(asked, body)
        changed = self.change(content) if status == 200 else content
        if changed == content:
            # There was nothing to lie about: a single page has no next one.
            asked.lie = None
        proxy.answer(asked, status, headers, changed)


def emptied(content):
    content = re.sub(rb"<(Contents|CommonPrefixes)>.*</\1>", b"", content, flags=re.DOTALL)
    content = re.sub(rb"<(NextContinuationToken|NextMarker)>.*?</\1>", b"", content)
    content = re.sub(rb"<KeyCount>\d+", b"<KeyCount>0", content)
    return content.replace(b"<IsTruncated>true", b"<IsTruncated>false")


def said_to_be_whole(content):
    """The first page says that it is the last, though a token for the next is beside it."""
    return content.replace(b"<IsTruncated>true", b"<IsTruncated>false")


def without_token(content):
    return re.sub(rb"<(NextContinuationToken|NextMarker)>.*?</\1>", b"", content)


def torn(content):
    """XML that ends in the middle, in a body that has the length it says."""
    return content[: content.rindex(b"<Key>") + 6] if b"<Key>" in content else content


def short_of_keys(content):
    """One key fewer than the count beside them."""
    return re.sub(rb"<Contents>.*?</Contents>", b"", content, count=1, flags=re.DOTALL)


class Rotates(Says):
    """From some moment on the keys are no longer good."""

    def __init__(self, name, code):
        super().__init__(name, 403, code, lasting=True)


class Skewed(Lie):
    """A server whose clock is an hour ahead. Whoever signs by its clock is served."""

    is_lasting = True

    def harm(self, proxy, asked, body):
        now = datetime.datetime.now(datetime.UTC)
        theirs = now + datetime.timedelta(seconds=SKEW_SECONDS)
        date = [("Date", email.utils.format_datetime(theirs, usegmt=True))]
        signed = now
        with contextlib.suppress(ValueError):
            signed = datetime.datetime.strptime(asked.headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        if abs((theirs - signed).total_seconds()) > ALLOWED_SKEW_SECONDS:
            content = error("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
            return proxy.answer(asked, 403, [*XML, *date], content)
        asked.lie, asked.was_passed_on = None, True
        answer = proxy.ask(asked, body, signed_anew(proxy, asked, body))
        headers = [pair for pair in answer.getheaders() if pair[0].lower() != "date"]
        return proxy.answer(asked, answer.status, [*headers, *date], answer.read())


def signed_anew(proxy, asked, body) -> dict:
    """The headers of the request, signed by the true clock."""
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials

    import ceph

    kept = {name: value for name, value in asked.headers.items() if name.lower() not in ("authorization", "x-amz-date", "x-amz-content-sha256", "expect", "connection")}
    request = botocore.awsrequest.AWSRequest(proxy.command, f"http://{proxy.server.liar.upstream}{proxy.path}", headers=kept, data=body)
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(ceph.KEY, ceph.SECRET), "s3", "us-east-1")
    signer.add_auth(request)
    return dict(request.headers.items())


FAULTS = {
    "429": [Says("429", 429, "TooManyRequests", [("Retry-After", "1")])],
    "500": [Says("500", 500, "InternalError"), Says("502", 502, "BadGateway")],
    "503": [Says("503", 503, "SlowDown"), Says("503 with Retry-After", 503, "SlowDown", [("Retry-After", "1")])],
    "slow down inside": [SaysInside("SlowDown in a 200")],
    "reset": [ResetsBefore("reset before the body"), ResetsAfter("reset after the body")],
    "stall": [Stalls("stall")],
    "truncated": [Cuts("truncated body")],
    "range ignored": [IgnoresRange("range ignored")],
    "range wrong": [ShiftsRange("range wrong")],
    "bit flipped": [FlipsBit("bit flipped")],
    "answer lost": [LosesAnswer("answer lost")],
    "listing empty": [Listing("listing empty", emptied)],
    "listing cut": [
        Listing("said to be whole", said_to_be_whole), Listing("no token", without_token), Listing("torn", torn), Listing("torn later", torn, later_page=True),
        Listing("short of keys", short_of_keys),
    ],
    "keys rotated": [Rotates("InvalidAccessKeyId", "InvalidAccessKeyId"), Rotates("ExpiredToken", "ExpiredToken")],
    "clock": [Skewed("clock")],
    # Not for a few requests: for all of them.
    "always 503": [Says("always 503", 503, "SlowDown", lasting=True)],
    "always 500 on listing": [],
}
FAULTS["always 500 on listing"] = [Says("always 500", 500, "InternalError", lasting=True)]
FAULTS["always 500 on listing"][0].kinds = ("list",)
LISTING_FAULTS = ("listing empty", "listing cut", "always 500 on listing")


class Plan:
    """Which requests are harmed, and how: chosen by `choices`, a `random.Random`."""

    def __init__(self, fault, choices):
        variants = FAULTS[fault]
        self.lie = variants[choices.randrange(len(variants))]
        self.first = 0 if self.lie.is_lasting and not isinstance(self.lie, Rotates) else choices.randrange(MAX_FIRST) * choices.randrange(2)
        self.n = 1 << 30 if self.lie.is_lasting else choices.randint(1, MAX_IN_A_ROW)
        self.n_fitting = 0

    def lie_for(self, asked):
        if not self.lie.fits(asked):
            return None
        self.n_fitting += 1
        return self.lie if self.first < self.n_fitting <= self.first + self.n else None


def name_of(entry: bytes) -> bytes:
    """The key or the prefix of an entry of a listing, as it is spelled there."""
    return re.search(rb"<(?:Key|Prefix)>(.*?)</(?:Key|Prefix)>", entry, re.DOTALL)[1]


def plain(name: bytes, is_url: bool) -> bytes:
    return urllib.parse.unquote_to_bytes(name) if is_url else xml.sax.saxutils.unescape(name.decode(), {"&quot;": '"', "&apos;": "'"}).encode()


class Pages:
    """One true listing, cut."""

    def __init__(self, headers, head, tail, entries, page_keys, last_token):
        self.headers, self.head, self.tail, self.entries, self.page_keys = headers, head, tail, entries, page_keys
        self.name, self.last_token = uuid.uuid4().hex, last_token

    @classmethod
    def of(cls, content, headers, page_keys):
        is_url = b"<EncodingType>url" in content
        entries = re.findall(rb"<Contents>.*?</Contents>|<CommonPrefixes>.*?</CommonPrefixes>", content, re.DOTALL)
        # A page holds names and prefixes in one order.
        entries.sort(key=lambda entry: plain(name_of(entry), is_url))
        head = content.split(b"<Contents>")[0].split(b"<CommonPrefixes>")[0].replace(b"</ListBucketResult>", b"")
        last = re.search(rb"<NextContinuationToken>(.*?)</NextContinuationToken>", content)
        last_token = last[1] if last and b"<IsTruncated>true" in content else None
        head = re.sub(rb"<(NextContinuationToken|NextMarker|KeyCount|IsTruncated|ContinuationToken)>.*?</\1>", b"", head)
        pages = cls(headers, head, b"</ListBucketResult>", entries, page_keys, last_token)
        pages.is_url = is_url
        return pages

    def starts(self) -> dict[str, int]:
        """Where each page after the first starts, by its token and by its marker."""
        found = {}
        for start in range(self.page_keys, len(self.entries), self.page_keys):
            found[f"page-{self.name}-{start}"] = start
            found[plain(name_of(self.entries[start - 1]), self.is_url).decode()] = start
        return found

    def content(self, token: str, start: int, is_second_version: bool) -> bytes:
        entries = self.entries[start : start + self.page_keys]
        more = b"<IsTruncated>false</IsTruncated>"
        end = start + self.page_keys
        if end < len(self.entries) or self.last_token:
            more = b"<IsTruncated>true</IsTruncated>"
            next_token = f"page-{self.name}-{end}".encode() if end < len(self.entries) else self.last_token
            more += b"<NextContinuationToken>" + next_token + b"</NextContinuationToken>" if is_second_version else b"<NextMarker>" + name_of(entries[-1]) + b"</NextMarker>"
        count = b"<KeyCount>%d</KeyCount>" % len(entries) if is_second_version else b""
        here = b"<ContinuationToken>" + xml.sax.saxutils.escape(token).encode() + b"</ContinuationToken>" if token else b""
        return self.head + count + more + here + b"".join(entries) + self.tail
