"""Azurite is there, and the clients of others agree about what lies in it."""

import json

import pytest

import azurite
import clients
from moves import digests, make_tree


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    with azurite.running(tmp_path_factory.mktemp("azurite") / "a") as started:
        yield started


def test_adlfs_and_rclone_see_the_same(blobs, tmp_path):
    wanted = make_tree(tmp_path / "tree", 1, {"a": 10, "b/c": 0, "b/ü +%41": 5000, "large": 9 << 20})
    container = blobs.container()
    clients.rclone("copy", tmp_path / "tree", f"azure:{container}/t", config=blobs.rclone())
    found = clients.asked(
        "import sys, json, hashlib, adlfs\nfs = adlfs.AzureBlobFileSystem(connection_string=sys.argv[1])\nroot = sys.argv[2] + '/t/'\n"
        "print(json.dumps({n[len(root):]: hashlib.sha256(fs.cat_file(n)).hexdigest() for n in fs.find(root)}))\n",
        blobs.connection, container,
    )
    assert found == wanted
    clients.asked("import sys, json, adlfs\nfs = adlfs.AzureBlobFileSystem(connection_string=sys.argv[1])\nfs.put(sys.argv[3], sys.argv[2] + '/u/', recursive=True)\nprint(0)\n", blobs.connection, container, f"{tmp_path}/tree/")
    clients.rclone("check", "--download", tmp_path / "tree", f"azure:{container}/u", config=blobs.rclone())
    listed = json.loads(clients.rclone("lsjson", "-R", "--files-only", f"azure:{container}/t", config=blobs.rclone()).stdout)
    assert {item["Path"] for item in listed} == set(digests(tmp_path / "tree"))
