"""What goes from one server to another, or to this machine, is what its server keeps: a bit that was flipped on the way is no
success, whatever the size of the parts in which the object once was sent.

boto3 and rclone put the objects and read what lies there afterwards; a proxy flips the bits.
"""

import hashlib
import random

import pytest

import azurite
import ceph
import clients
from lying import lying
from moves import digests, stored

MIB = 1 << 20
# The size of the object, and of the parts it was sent in; none is in one piece.
OBJECTS = {
    "one piece": (40 * MIB, None), "small": (3 * MIB, None), "parts of 5": (40 * MIB, 5 * MIB), "parts of ours": (40 * MIB, 16 * MIB), "parts of 14": (40 * MIB, 14 * MIB),
    "odd parts": (40 * MIB, 13 * MIB + 5000), "small parts": (12 * MIB, 5 * MIB), "small odd parts": (12 * MIB, 7 * MIB + 77),
}
DESTS = ["server", "azure", "folder"]
N_SEEDS, SOAK_N_SEEDS = 1, 8


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    with azurite.running(tmp_path_factory.mktemp("azurite")) as started:
        yield started


@pytest.fixture(scope="module")
def source(gateway, seed):
    """A bucket with each of the objects, and their digests."""
    name, wanted, client = ceph.fresh_bucket(gateway), {}, gateway.client()
    for kind, (size, part) in OBJECTS.items():
        content = random.Random(f"{seed} {kind}").randbytes(size)
        wanted[kind] = hashlib.sha256(content).hexdigest()
        if part is None:
            client.put_object(Bucket=name, Key=f"{kind}/file", Body=content)
            continue
        upload = client.create_multipart_upload(Bucket=name, Key=f"{kind}/file")["UploadId"]
        pieces = [content[at : at + part] for at in range(0, size, part)]
        tags = [client.upload_part(Bucket=name, Key=f"{kind}/file", UploadId=upload, PartNumber=n, Body=piece)["ETag"] for n, piece in enumerate(pieces, 1)]
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
        client.complete_multipart_upload(Bucket=name, Key=f"{kind}/file", UploadId=upload, MultipartUpload={"Parts": parts})
    yield name, wanted
    ceph.discard(gateway, name)


@pytest.fixture
def copied(mover, gateway, bucket, blobs, source, tmp_path):
    """Copies one of the objects; answers how that ended, what lies there, and the proxy."""
    container = blobs.container()
    clients.rclone("mkdir", f"azure:{container}", config=blobs.rclone())

    def there(dest):
        if dest == "server":
            return stored(gateway, bucket, "dest/")
        if dest == "azure":
            clients.rclone("sync", f"azure:{container}/dest", tmp_path / "seen", config=blobs.rclone())
            return digests(tmp_path / "seen")
        return {name: sum_ for name, sum_ in digests(tmp_path / "dest").items() if not name.startswith(".frazil/")}

    def copied(kind, dest, fault=None, seed=0):
        to = {"server": f"two:{bucket}/dest/", "azure": f"azure:{container}/dest/", "folder": f"{tmp_path}/dest/"}[dest]
        with lying(gateway, fault, seed) as one, lying(gateway) as two:
            remotes = [clients.rclone_s3(server.address, ceph.KEY, ceph.SECRET, name=name) for name, server in (("one", one), ("two", two))]
            config = mover.home / ".config/rclone/rclone.conf"
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text("".join([*remotes, blobs.rclone()]))
            config.chmod(0o600)
            if fault and OBJECTS[kind][0] < 32 * MIB:
                # It is asked for once; twice the same bit would be no accident.
                one.plan.first, one.plan.n = 0, 1
            answer = mover("cp", f"one:{source[0]}/{kind}/file", to, "--json", "--overwrite")
        return answer, there(dest), one

    return copied


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dest", DESTS)
@pytest.mark.parametrize("kind", OBJECTS)
def test_what_arrives_was_compared_with_what_its_server_keeps(copied, source, kind, dest):
    answer, there, one = copied(kind, dest)
    assert answer.code == 0 and there == {"file": source[1][kind]}, answer
    # Nobody can tell of which parts a digest is made whose size is no usual one.
    assert answer.report["totals"]["n_unverified"] == (1 if "odd" in kind else 0), answer
    most = OBJECTS[kind][0] * (2 if "odd" in kind else 1)
    assert sum(asked.sent_bytes or 0 for asked in one.of_kind("get")) <= most + MIB or dest == "folder", str(one)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dest", DESTS)
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_bit_that_was_flipped_on_the_way_is_no_success(copied, source, seed, soak, kind, dest):
    n_flipped = 0
    for number in range(SOAK_N_SEEDS if soak else N_SEEDS):
        answer, there, one = copied(kind, dest, "bit flipped", seed + number)
        n_flipped += one.n_lies
        assert there in ({}, {"file": source[1][kind]}), f"other bytes\n{answer}\n{one}"
        if answer.code != 0:
            assert answer.code in (3, 5), f"what is tried again is exit 5\n{answer}"
            answer, there, _ = copied(kind, dest)
        assert answer.code == 0 and there == {"file": source[1][kind]}, answer
    assert n_flipped, "no bit was flipped"
