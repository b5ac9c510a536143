"""A double of Google Cloud Storage on this machine: the JSON API as far as copying, listing and deleting need it.

It promises the answers that the real one documents (generations, preconditions, resumable uploads in steps of 256 KiB,
copies that take several calls, no md5 for what was composed), asks for a bearer token that `google_sign_in.py` gave
out, and notes every request. `test_google_double.py` has gcsfs and rclone judge it. It holds everything in memory.
"""

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse
import uuid

import google_crc32c

import bodies
from google_parts import Parts
from google_sign_in import SignIn

STEP_BYTES = 256 << 10
MAX_NAME_BYTES = 1024
MAX_COMPOSED = 32
MAX_BATCH = 100


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str, headers=None):
        super().__init__(message)
        self.code, self.reason, self.headers = code, reason, headers or {}

    def body(self) -> dict:
        error = {"message": str(self), "domain": "global", "reason": self.reason}
        return {"error": {"code": self.code, "message": str(self), "errors": [error]}}


@dataclasses.dataclass
class Stored:
    """One object."""

    content: bytes
    generation: int
    updated: str
    about: dict
    components: int | None = None

    @property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.content).to_bytes(4, "big")).decode()

    @property
    def md5(self) -> str | None:
        return None if self.components else base64.b64encode(hashlib.md5(self.content).digest()).decode()


@dataclasses.dataclass
class Upload:
    """A resumable upload that is not finished, or just was."""

    bucket: str
    name: str
    about: dict
    conditions: dict
    content: bytearray
    finished: dict | None = None


@dataclasses.dataclass
class Asked:
    """One request, as it came."""

    method: str
    path: str
    query: dict
    status: int
    sent_bytes: int
    got_bytes: int
    headers: dict


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_any(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        body = bodies.read(self)
        try:
            code, answer, headers = self.server.double.answer(self.command, url.path, query, self.headers, body)
        except Refused as refused:
            code, answer, headers = refused.code, refused.body(), refused.headers
        content = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        headers = {"Content-Type": "application/json; charset=UTF-8", **headers}
        asked = Asked(self.command, url.path, query, code, len(content), len(body), dict(self.headers))
        with self.server.double.lock:
            self.server.double.requests.append(asked)
        self.send_response(code)
        if code not in (204, 304):
            headers["Content-Length"] = str(len(content))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and code not in (204, 304):
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any


class Google:
    """The state behind the API. `rewrite_bytes` is how much one call of a copy moves; `page_size` bounds a page."""

    def __init__(self, *, page_size=1000, rewrite_bytes=1 << 30):
        self.lock = threading.RLock()
        self.buckets: dict[str, dict[str, Stored]] = {}
        # What buckets say of themselves beside that: `lifecycle`, and how often it was changed.
        self.settings: dict[str, dict] = {}
        self.public: set[str] = set()
        self.uploads: dict[str, Upload] = {}
        self.copies: dict[str, tuple] = {}
        self.requests: list[Asked] = []
        self.page_size, self.rewrite_bytes = page_size, rewrite_bytes
        self.last_generation = 0
        self.address = ""
        self.sign_in = SignIn()
        self.parts = Parts()

    # What tests do to it directly.

    def bucket(self, *, public=False) -> str:
        name = f"judge-{uuid.uuid4().hex[:16]}"
        self.buckets[name] = {}
        if public:
            self.public.add(name)
        return name

    def put(self, bucket, name, content: bytes, **about) -> Stored:
        with self.lock:
            return self.store(bucket, name, bytes(content), about)

    def contents(self, bucket, prefix="") -> dict[str, bytes]:
        with self.lock:
            return {name: stored.content for name, stored in self.buckets[bucket].items() if name.startswith(prefix)}

    def open_uploads(self) -> list[Upload]:
        return [upload for upload in self.uploads.values() if upload.finished is None]

    def count(self, method=None, contains="") -> int:
        return sum(1 for asked in self.requests if (method is None or asked.method == method) and contains in asked.path)

    # The API.

    def answer(self, method, path, query, headers, body):
        signed = self.sign_in.answer(method, path, headers, body, self.address)
        if signed is not None:
            return signed
        if path.rstrip("/").endswith("/batch/storage/v1") and method == "POST":
            return self.batch(headers, body)
        if self.sign_in.is_outside(headers, method, path, query, body):
            raise Refused(403, "forbidden", "the credential access boundary of the token does not permit this")
        with self.lock:
            if (parts := self.parts.answer(self, method, path, query, headers, body)) is not None:
                return parts
            if upload := re.fullmatch(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o", path):
                return self.upload(method, unquoted(upload[1]), query, headers, body)
            match = re.fullmatch(r"(?:/download)?/storage/v1/b(?:/([^/]*))?(?:/(.*))?", path)
            if match is None:
                raise Refused(404, "notFound", f"no such address: {path}")
            bucket, rest = unquoted(match[1] or ""), match[2]
            self.permit(headers, bucket, writes=method != "GET")
            if rest is None or rest == "":
                return self.of_bucket(method, bucket, query, body)
            if rest == "o":
                return self.listing(bucket, query)
            if not rest.startswith("o/"):
                raise Refused(404, "notFound", f"no such address: {path}")
            return self.of_object(method, bucket, rest[2:], query, headers, body)

    def permit(self, headers, bucket, writes):
        if not writes and bucket in self.public and "Authorization" not in headers:
            return
        who = self.sign_in.who(headers.get("Authorization"))
        if who is None:
            text = "Invalid Credentials" if "Authorization" in headers else "Anonymous caller does not have access"
            raise Refused(401, "authError" if "Authorization" in headers else "required", text, {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'})
        if not self.sign_in.may(who, bucket, writes):
            raise Refused(403, "forbidden", f"{who} does not have storage.objects access to the Google Cloud Storage bucket.")

    def of_bucket(self, method, bucket, query, body):
        if not bucket and method == "GET":
            names = sorted(name for name in self.buckets if name.startswith(query.get("prefix", "")))
            return 200, {"kind": "storage#buckets", "items": [self.about_bucket(name) for name in names]}, {}
        if not bucket and method == "POST":
            name = json.loads(body)["name"]
            if name in self.buckets:
                raise Refused(409, "conflict", "Your previous request to create the named bucket succeeded and you already own it.")
            self.buckets[name] = {}
            return 200, self.about_bucket(name), {}
        found = self.objects(bucket)
        if method == "DELETE":
            if found:
                raise Refused(409, "conflict", "The bucket you tried to delete is not empty.")
            del self.buckets[bucket]
            return 204, None, {}
        if method == "PATCH":
            wanted = query.get("ifMetagenerationMatch")
            if wanted is not None and wanted != self.about_bucket(bucket)["metageneration"]:
                raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
            settings = self.settings.setdefault(bucket, {})
            for key, value in json.loads(body).items():
                # What is null is taken away (RFC 7396).
                settings.pop(key, None)
                if value is not None:
                    settings[key] = value
            settings["metageneration"] = str(int(settings.get("metageneration", "1")) + 1)
        return 200, self.about_bucket(bucket), {}

    def objects(self, bucket) -> dict[str, Stored]:
        if bucket not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[bucket]

    def listing(self, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = base64.urlsafe_b64decode(query["pageToken"]).decode() if query.get("pageToken") else None
        most = min(int(query.get("maxResults") or self.page_size), self.page_size)
        items, prefixes, last, more = [], [], None, False
        # Names are ordered by their bytes, which for UTF-8 is the order of code points.
        for name in sorted(self.objects(bucket)):
            if not name.startswith(prefix) or name < query.get("startOffset", "") or ("endOffset" in query and name >= query["endOffset"]):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            group = name[: cut + len(delimiter)] if cut >= 0 else None
            place = group or name
            if after is not None and (place <= after or name <= after) or (group and prefixes[-1:] == [group]):
                continue
            if len(items) + len(prefixes) == most:
                more = True
                break
            if group:
                prefixes.append(group)
                if name == group and query.get("includeTrailingDelimiter") == "true":
                    items.append(self.about(bucket, name))
            else:
                items.append(self.about(bucket, name))
            last = place
        answer = {"kind": "storage#objects"}
        if items:
            answer["items"] = items
        if prefixes:
            answer["prefixes"] = prefixes
        if more:
            answer["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
        return 200, answer, {}

    def of_object(self, method, bucket, rest, query, headers, body):
        if match := re.fullmatch(r"([^/]+)/(rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)", rest):
            self.permit(headers, unquoted(match[3]), writes=True)
            return self.copy(bucket, unquoted(match[1]), unquoted(match[3]), unquoted(match[4]), query, body, match[2])
        if match := re.fullmatch(r"([^/]+)/compose", rest):
            return self.compose(bucket, unquoted(match[1]), query, json.loads(body))
        name = unquoted(rest)
        found = self.objects(bucket)
        if method == "GET":
            stored = self.found(bucket, name)
            self.check(query, stored)
            return self.media(stored, headers) if query.get("alt") == "media" else (200, self.about(bucket, name), {})
        if method == "DELETE":
            self.check(query, self.found(bucket, name))
            del found[name]
            return 204, None, {}
        if method in ("PATCH", "PUT"):
            stored = self.found(bucket, name)
            self.check(query, stored)
            stored.about.update(json.loads(body))
            stored.updated = now()
            return 200, self.about(bucket, name), {}
        raise Refused(405, "methodNotAllowed", f"{method} is not allowed here")

    def found(self, bucket, name) -> Stored:
        stored = self.objects(bucket).get(name)
        if stored is None:
            raise Refused(404, "notFound", f"No such object: {bucket}/{name}")
        return stored

    def media(self, stored, headers):
        hashes = f"crc32c={stored.crc32c}" + (f",md5={stored.md5}" if stored.md5 else "")
        head = {
            "Content-Type": stored.about.get("contentType", "application/octet-stream"), "ETag": f'"{stored.generation}"', "x-goog-hash": hashes,
            "x-goog-generation": str(stored.generation), "x-goog-stored-content-length": str(len(stored.content)), "Accept-Ranges": "bytes",
        }
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", ""))
        if match is None or not (match[1] or match[2]):
            return 200, stored.content, head
        size = len(stored.content)
        start = int(match[1]) if match[1] else max(0, size - int(match[2]))
        end = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
        if start >= size:
            raise Refused(416, "requestedRangeNotSatisfiable", "Request range not satisfiable", {"Content-Range": f"bytes */{size}"})
        return 206, stored.content[start : end + 1], {**head, "Content-Range": f"bytes {start}-{end}/{size}"}

    def upload(self, method, bucket, query, headers, body):
        kind, session = query.get("uploadType"), query.get("upload_id")
        if session:
            # The address of a session is itself the permission.
            return self.resumed(method, session, headers, body)
        self.permit(headers, bucket, writes=True)
        about = {"contentType": headers.get("X-Upload-Content-Type" if kind == "resumable" else "Content-Type") or "application/octet-stream"}
        if kind == "multipart":
            described, media_type, body = bodies.related(headers["Content-Type"], body)
            about = {"contentType": media_type, **described}
        elif kind == "resumable":
            about = {**about, **(json.loads(body) if body.strip() else {})}
        elif kind != "media":
            raise Refused(400, "required", f"uploadType={kind} is not known")
        name = query.get("name") or about.pop("name", "")
        self.objects(bucket)
        legal(name)
        conditions = {key: value for key, value in query.items() if key.startswith("if")}
        self.check(conditions, self.buckets[bucket].get(name))
        if kind == "resumable":
            session = uuid.uuid4().hex
            self.uploads[session] = Upload(bucket, name, about, conditions, bytearray())
            place = f"{self.address}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={urllib.parse.quote(name, safe='')}&upload_id={session}"
            return 200, None, {"Location": place, "X-GUploader-UploadID": session}
        self.store(bucket, name, body, about)
        return 200, self.about(bucket, name), {}

    def resumed(self, method, session, headers, body):
        upload = self.uploads.get(session)
        if upload is None:
            raise Refused(410, "gone", "the upload is gone")
        if method == "DELETE":
            del self.uploads[session]
            return 499, None, {}
        if upload.finished is not None:
            return 200, upload.finished, {}
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", headers.get("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}" if body else "bytes */0"))
        if match is None:
            raise Refused(400, "badRequest", "Failed to parse Content-Range header.")
        total = None if match[3] == "*" else int(match[3])
        if match[1] is not None:
            start, end = int(match[1]), int(match[2])
            if len(body) != end - start + 1:
                raise Refused(400, "badRequest", "Content-Range and the length of the body differ")
            if start > len(upload.content):
                raise Refused(503, "backendError", f"Invalid request. There were {len(upload.content)} byte(s) stored, and {start} are needed")
            # What is already there is not taken twice.
            body = body[len(upload.content) - start :]
            is_last = total is not None and end + 1 == total
            upload.content += body if is_last else body[: (len(upload.content) + len(body)) // STEP_BYTES * STEP_BYTES - len(upload.content)]
        if total is not None and len(upload.content) == total:
            self.check(upload.conditions, self.buckets[upload.bucket].get(upload.name))
            self.store(upload.bucket, upload.name, bytes(upload.content), upload.about)
            upload.content = bytearray()
            upload.finished = self.about(upload.bucket, upload.name)
            return 200, upload.finished, {}
        known = {"Range": f"bytes=0-{len(upload.content) - 1}"} if upload.content else {}
        # Clients in Go cannot bear a 308, and say so.
        return (200, None, {**known, "X-HTTP-Status-Code-Override": "308"}) if headers.get("X-GUploader-No-308") == "yes" else (308, None, known)

    def copy(self, bucket, name, to_bucket, to_name, query, body, call):
        source = self.found(bucket, name)
        self.check({key.replace("Source", "", 1): value for key, value in query.items() if key.startswith("ifSource")}, source)
        self.objects(to_bucket)
        legal(to_name)
        self.check({key: value for key, value in query.items() if not key.startswith("ifSource")}, self.buckets[to_bucket].get(to_name))
        about = (json.loads(body) if body.strip() else None) or {}
        key = (bucket, name, source.generation, to_bucket, to_name)
        token = query.get("rewriteToken")
        if token and self.copies.get(token, (None,))[0] != key:
            raise Refused(400, "invalid", "the rewriteToken is not one of this copy")
        done = self.copies.pop(token)[1] if token else 0
        step = min(self.rewrite_bytes, int(query.get("maxBytesRewrittenPerCall") or self.rewrite_bytes))
        done = len(source.content) if call == "copyTo" else min(len(source.content), done + step)
        answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": str(done), "objectSize": str(len(source.content)), "done": done == len(source.content)}
        if not answer["done"]:
            answer["rewriteToken"] = uuid.uuid4().hex
            self.copies[answer["rewriteToken"]] = (key, done)
            return 200, answer, {}
        made = self.store(to_bucket, to_name, source.content, {**source.about, **about})
        made.components = source.components
        answer["resource"] = self.about(to_bucket, to_name)
        return 200, answer["resource"] if call == "copyTo" else answer, {}

    def compose(self, bucket, name, query, asked):
        sources = asked.get("sourceObjects", [])
        if not 1 <= len(sources) <= MAX_COMPOSED:
            raise Refused(400, "invalid", f"The number of source components provided ({len(sources)}) exceeds the maximum (32)")
        legal(name)
        self.check(query, self.objects(bucket).get(name))
        found = [self.found(bucket, source["name"]) for source in sources]
        for source, stored in zip(sources, found):
            wanted = source.get("objectPreconditions", {}).get("ifGenerationMatch") or source.get("generation")
            if wanted is not None and int(wanted) != stored.generation:
                raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        made = self.store(bucket, name, b"".join(stored.content for stored in found), asked.get("destination", {}))
        made.components = sum(stored.components or 1 for stored in found)
        return 200, self.about(bucket, name), {}

    def batch(self, headers, body):
        calls = bodies.calls(headers["Content-Type"], body)
        if len(calls) > MAX_BATCH:
            raise Refused(400, "badRequest", "The batch request includes too many calls.")
        answers = []
        for call in calls:
            call.headers.setdefault("Authorization", headers.get("Authorization", ""))
            url = urllib.parse.urlsplit(call.target)
            try:
                code, answer, _ = self.answer(call.method, url.path, dict(urllib.parse.parse_qsl(url.query)), call.headers, call.content)
            except Refused as refused:
                code, answer = refused.code, refused.body()
            answers.append((call.identity, code, json.dumps(answer) if answer is not None else ""))
        return 200, *bodies.of_calls(answers)

    def check(self, query, stored: Stored | None):
        generation = stored.generation if stored else 0
        wanted = (("ifGenerationMatch", generation, True), ("ifGenerationNotMatch", generation, False), ("ifMetagenerationMatch", 1 if stored else 0, True))
        for key, found, is_equal in wanted:
            if key in query and (int(query[key]) == found) != is_equal:
                raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        if "generation" in query and int(query["generation"]) != generation:
            raise Refused(404, "notFound", "No such object of that generation")

    def store(self, bucket, name, content, about) -> Stored:
        md5, crc = about.pop("md5Hash", None), about.pop("crc32c", None)
        self.last_generation = max(self.last_generation + 1, time.time_ns() // 1000)
        made = Stored(content, self.last_generation, now(), {key: about[key] for key in ("contentType", "contentEncoding", "cacheControl", "metadata") if about.get(key)})
        if (md5 and md5 != made.md5) or (crc and crc != made.crc32c):
            raise Refused(400, "invalid", "Provided hash doesn't match calculated hash")
        self.objects(bucket)[name] = made
        return made

    def about_bucket(self, name) -> dict:
        return {"kind": "storage#bucket", "id": name, "name": name, "location": "US", "locationType": "multi-region", "storageClass": "STANDARD", "timeCreated": now(), "updated": now(), "metageneration": "1",
                "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}, **self.settings.get(name, {})}

    def about(self, bucket, name) -> dict:
        stored = self.buckets[bucket][name]
        quoted = urllib.parse.quote(name, safe="")
        found = {
            "kind": "storage#object", "id": f"{bucket}/{name}/{stored.generation}", "name": name, "bucket": bucket, "size": str(len(stored.content)),
            "generation": str(stored.generation), "metageneration": "1", "updated": stored.updated, "timeCreated": stored.updated, "storageClass": "STANDARD",
            "crc32c": stored.crc32c, "etag": base64.b64encode(str(stored.generation).encode()).decode(), "contentType": "application/octet-stream",
            "selfLink": f"{self.address}/storage/v1/b/{bucket}/o/{quoted}",
            "mediaLink": f"{self.address}/download/storage/v1/b/{bucket}/o/{quoted}?generation={stored.generation}&alt=media", **stored.about,
        }
        if stored.components:
            found["componentCount"] = stored.components
        else:
            found["md5Hash"] = stored.md5
        return found


def unquoted(text) -> str:
    return urllib.parse.unquote(text)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def legal(name: str):
    n_bytes = len(name.encode())
    if not 1 <= n_bytes <= MAX_NAME_BYTES or name in (".", "..") or "\r" in name or "\n" in name or name.startswith(".well-known/acme-challenge/"):
        raise Refused(400, "invalid", f"Disallowed object name of {n_bytes} bytes")


@contextlib.contextmanager
def serving(**options):
    """The double while it runs: a `Google` with its `address`."""
    double = Google(**options)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.double = True, double
    double.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
