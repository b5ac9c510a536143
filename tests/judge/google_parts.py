"""Uploads in parts, for the double of Google Cloud Storage: the one thing that only the XML API has.

It promises what the XML API reference says of multipart uploads: a part is taken only with the bytes of its MD5, all
parts but the last have 5 MiB, the object appears when all its parts are named with their tags, and it has no MD5.
"""

import base64
import hashlib
import urllib.parse
import uuid
import xml.etree.ElementTree
from xml.sax.saxutils import escape

LEAST_PART_BYTES = 5 << 20
QUERIES = ("uploads", "uploadId")


class NotSo(Exception):
    """An answer that is no success, in XML."""

    def __init__(self, code: int, name: str):
        super().__init__(name)
        self.code = code


class Parts:
    """The uploads that have begun and not ended: by their id, bucket, name and parts by number."""

    def __init__(self):
        self.open: dict[str, tuple[str, str, dict[int, bytes]]] = {}

    def answer(self, double, method, path, query, headers, body):
        """The answer to a request about uploads in parts; None if it is another."""
        if not any(name in query for name in QUERIES):
            return None
        bucket, _, name = path.lstrip("/").partition("/")
        bucket, name = urllib.parse.unquote(bucket), urllib.parse.unquote(name)
        double.permit(headers, bucket, writes=method != "GET")
        try:
            code, text, more = self.of(double, method, bucket, name, query, headers, body)
        except NotSo as reason:
            code, text, more = reason.code, f"<Error><Code>{reason}</Code><Message>{reason}</Message></Error>", {}
        return code, text.encode(), {"Content-Type": "application/xml; charset=UTF-8", **more}

    def of(self, double, method, bucket, name, query, headers, body):
        if bucket not in double.buckets:
            raise NotSo(404, "NoSuchBucket")
        if "uploads" in query:
            if method == "POST" and name:
                identity = uuid.uuid4().hex
                self.open[identity] = (bucket, name, {})
                return 200, f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(name)}</Key><UploadId>{identity}</UploadId></InitiateMultipartUploadResult>", {}
            return 200, self.listed(bucket, query), {}
        identity = query["uploadId"]
        if self.open.get(identity, ("", "", {}))[:2] != (bucket, name):
            raise NotSo(404, "NoSuchUpload")
        parts = self.open[identity][2]
        if method == "PUT":
            digest = hashlib.md5(body)
            if headers.get("Content-MD5") not in (None, base64.b64encode(digest.digest()).decode()):
                raise NotSo(400, "BadDigest")
            parts[int(query["partNumber"])] = body
            return 200, "", {"ETag": f'"{digest.hexdigest()}"'}
        if method == "GET":
            rows = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>\"{tag(parts[number])}\"</ETag><Size>{len(parts[number])}</Size></Part>" for number in sorted(parts))
            return 200, f"<ListPartsResult><IsTruncated>false</IsTruncated>{rows}</ListPartsResult>", {}
        if method == "DELETE":
            del self.open[identity]
            return 204, "", {}
        asked = [(int(part.findtext("PartNumber")), part.findtext("ETag").strip('"')) for part in xml.etree.ElementTree.fromstring(body)]
        if any(number not in parts or tag(parts[number]) != wanted for number, wanted in asked) or not asked:
            raise NotSo(400, "InvalidPart")
        if sorted(number for number, _ in asked) != [number for number, _ in asked]:
            raise NotSo(400, "InvalidPartOrder")
        pieces = [parts[number] for number, _ in asked]
        if any(len(piece) < LEAST_PART_BYTES for piece in pieces[:-1]):
            raise NotSo(400, "EntityTooSmall")
        made = double.store(bucket, name, b"".join(pieces), {})
        made.components = len(pieces)
        del self.open[identity]
        return 200, f"<CompleteMultipartUploadResult><ETag>\"{uuid.uuid4().hex}\"</ETag></CompleteMultipartUploadResult>", {"x-goog-generation": str(made.generation)}

    def listed(self, bucket, query):
        prefix = query.get("prefix", "")
        found = sorted((name, identity) for identity, (where, name, _) in self.open.items() if where == bucket and name.startswith(prefix))
        coded = (lambda name: urllib.parse.quote(name, safe="")) if query.get("encoding-type") == "url" else escape
        rows = "".join(f"<Upload><Key>{coded(name)}</Key><UploadId>{identity}</UploadId><Initiated>2026-11-20T17:42:17.123Z</Initiated></Upload>" for name, identity in found)
        kind = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
        return f"<ListMultipartUploadsResult>{kind}<IsTruncated>false</IsTruncated>{rows}</ListMultipartUploadsResult>"


def tag(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()
