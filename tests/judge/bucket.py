"""A bucket as boto3 sees it: trees of objects put there, looked at and fetched, and what of uploads is left open.

It promises to see every object and every open upload below a key. It does not know what frazil writes.
"""

import hashlib
import pathlib

import ceph


class Bucket:
    """The bucket `name` of a gateway, and how a command reaches it."""

    def __init__(self, gateway: ceph.Gateway, name: str):
        self.name = name
        self.client = gateway.client()
        self.env = {"AWS_ACCESS_KEY_ID": ceph.KEY, "AWS_SECRET_ACCESS_KEY": ceph.SECRET, "AWS_ENDPOINT_URL": str(gateway)}

    def place(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def listed(self, key: str) -> dict[str, dict]:
        """Every object below `key`, by what comes behind it."""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=key + "/"):
            found |= {entry["Key"][len(key) + 1 :]: entry for entry in page.get("Contents", [])}
        return found

    def get(self, key: str) -> bytes | None:
        try:
            return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def tree(self, key: str) -> dict[str, str]:
        """The digest of each object below `key`."""
        return {name: hashlib.sha256(self.get(f"{key}/{name}") or b"").hexdigest() for name in sorted(self.listed(key))}

    def stamps(self, key: str) -> dict[str, tuple]:
        """What a rewrite of the same bytes would change."""
        return {name: (entry["LastModified"], entry["ETag"], entry["Size"]) for name, entry in self.listed(key).items()}

    def put_tree(self, folder, key: str) -> None:
        folder = pathlib.Path(folder)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder)}", path.read_bytes())

    def fetch_tree(self, key: str, folder) -> pathlib.Path:
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        for name in self.listed(key):
            content = self.get(f"{key}/{name}")
            # The server may still be removing what it was asked to by a process that is dead by now.
            if content is None:
                continue
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    def uploads(self, key: str) -> list[str]:
        """Uploads in parts that are still open."""
        return [entry["Key"] for entry in self.client.list_multipart_uploads(Bucket=self.name, Prefix=key).get("Uploads", [])]
