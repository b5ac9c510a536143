"""Every request that frazil signs has the signature that botocore gives it, whatever the key, the query and the headers.

A proxy in front of a real Ceph notes the requests as they come over the line; botocore signs each anew at its time, and
so does the chain of the suite that AWS publishes (`crates/store/src/sign`). `--soak` moves more names.
"""

import random

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import ceph
import clients
from lying import lying
from moves import put_all

N_NAMES, SOAK_N_NAMES = 60, 600
LEAST_REQUESTS = 5
PIECES = ["a", "Z9", "_", "-", "~", ".", "..", "/", "//", "./", " ", "  ", "+", "%", "%41", "%2F", "%zz", "&", "=", "?", "#", ";", ":", "@", "!", "$", ",", "'", '"', "(", ")", "*", "[", "]", "{", "}", "|", "^", "`", "<", ">", "\\", "\t", "é", "u\u0308", "漢字", "🦀", "\u200b", "\u00a0"]
LIKE_FILES = [piece for piece in PIECES if "/" not in piece and piece not in (".", "..")]


def names(seed, n, pieces):
    choices = random.Random(seed)
    found = {"".join(choices.choice(pieces) for _ in range(choices.randint(1, 8))) for _ in range(n)}
    return sorted(found - {".", "..", "/"})


def wanted(asked, secret, token=None) -> str:
    """The signature that botocore gives a request that was noted."""
    said = asked.headers["authorization"]
    scope = said.split("Credential=")[1].split(",")[0].split("/")
    signed = said.split("SignedHeaders=")[1].split(",")[0].split(";")
    assert signed == sorted(signed) and {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed), said
    headers = {name: asked.headers[name] for name in signed}
    request = botocore.awsrequest.AWSRequest(asked.method, f"http://{asked.headers['host']}{asked.target}", headers)
    request.context["timestamp"] = asked.headers["x-amz-date"]
    request.context["payload_signing_enabled"] = False
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(ceph.KEY, secret, token), scope[-2], scope[-3])
    # The digest that the request itself names is the one that is signed.
    signer.payload = lambda request: asked.headers["x-amz-content-sha256"]
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


def differing(liar, secret=ceph.SECRET, token=None) -> list[str]:
    wrong = []
    for asked in list(liar.asked):
        said = asked.headers.get("authorization", "").split("Signature=")[-1]
        if said != wanted(asked, secret, token):
            wrong.append(f"{asked.method} {asked.target}: {said}")
        elif asked.status == 403:
            wrong.append(f"{asked.method} {asked.target}: Ceph refuses it")
        # Whatever would break a signature on its way: a token that is not signed, a header that is said twice.
        unsigned = {name for name in asked.headers if name.startswith("x-amz-")} - set(asked.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";"))
        if unsigned:
            wrong.append(f"{asked.method} {asked.target}: {unsigned} are not signed")
    return wrong


@pytest.fixture
def n_names(soak):
    return SOAK_N_NAMES if soak else N_NAMES


def test_listings_copies_reads_and_deletions_of_odd_keys_are_signed_as_botocore_signs_them(mover, gateway, bucket, seed, n_names, tmp_path):
    clients.needs("cp", "rm", "ls")
    keys = names(seed, n_names, PIECES)
    put_all(gateway, bucket, {f"from/{key}": b"x" for key in keys})
    with lying(gateway, page_keys=7) as liar:
        mover.address = liar.address
        mover("ls", f"s3://{bucket}/from/", "--recursive", code=0)
        mover("ls", f"s3://{bucket}/from/", code=0)
        mover("cp", f"s3://{bucket}/from/", f"s3://{bucket}/to", code=0)
        mover("cp", f"s3://{bucket}/from/", tmp_path / "down")
        for key in keys[:: max(1, len(keys) // 10)]:
            mover("ls", f"s3://{bucket}/from/{key}")
        mover("rm", f"s3://{bucket}/to/", "--yes", "--max-objects", "10000", code=0)
        assert differing(liar) == []
        assert {asked.kind for asked in liar.asked} >= {"list", "copy", "get"} and len(liar.asked) > 2 * len(keys)
    assert {key for key in ceph.objects(gateway, bucket)} == {f"from/{key}" for key in keys}


def test_files_of_odd_names_go_up_in_one_piece_and_in_parts_signed_as_botocore_signs_them(mover, gateway, bucket, seed, n_names, tmp_path):
    clients.needs("cp")
    some = names(seed + 1, n_names, LIKE_FILES)
    for number, name in enumerate(some):
        path = tmp_path / "tree" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * (40 << 20 if number in (0, n_names // 2) else number))
    with lying(gateway) as liar:
        mover.address = liar.address
        mover("cp", tmp_path / "tree", f"s3://{bucket}/up + %/", code=0)
        mover("cp", tmp_path / "tree", f"s3://{bucket}/up + %/", code=0)
        assert differing(liar) == []
        assert {asked.kind for asked in liar.asked} >= {"put", "initiate", "part", "complete", "list"}
    # A slash at the end of the destination means: inside it.
    assert {key.removeprefix("up + %/tree/") for key in ceph.objects(gateway, bucket)} == set(some)


def test_a_token_is_signed_too(mover, gateway, bucket, tmp_path):
    assumed = gateway.assumed("signer", *ceph.may_use(bucket, ""))
    (tmp_path / "file").write_bytes(b"content")
    with lying(gateway) as liar:
        mover.address, mover.key, mover.secret = liar.address, assumed["AccessKeyId"], assumed["SecretAccessKey"]
        mover.variables["AWS_SESSION_TOKEN"] = assumed["SessionToken"]
        mover("cp", tmp_path / "file", f"s3://{bucket}/a b+c", code=0)
        mover("cp", f"s3://{bucket}/a b+c", tmp_path / "back", code=0)
        assert len(liar.asked) >= LEAST_REQUESTS - 2
        for asked in liar.asked:
            asked.headers["authorization"] = asked.headers["authorization"].replace(assumed["AccessKeyId"], ceph.KEY)
        assert differing(liar, assumed["SecretAccessKey"]) == []
        assert all(asked.headers["x-amz-security-token"] == assumed["SessionToken"] for asked in liar.asked)
