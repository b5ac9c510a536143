"""Rules beside those of others: Google's, which have no names, and what Amazon says beside its document; what a plan says of them."""

import pytest

import moves
from homes import answering
from test_clouds_moves import google_cloud, run  # noqa: F401 (fixtures)

SIZE = "x-amz-transition-default-minimum-object-size"


def test_googles_rules_of_others_for_the_same_keys_stay(google_cloud, run, tmp_path):
    moves.make_tree(tmp_path / "tree", 1, {"a.zarr/zarr.json": 10})
    run("cp", tmp_path / "tree", f"{google_cloud.place}/s", clouds=[google_cloud])
    others = [{"action": {"type": "Delete"}, "condition": {"age": 400}}, {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 2}}]
    settings = google_cloud.server.settings
    settings[google_cloud.bucket] = {"lifecycle": {"rule": list(others)}, "metageneration": "5"}
    now = lambda: settings[google_cloud.bucket]["lifecycle"]["rule"]
    run("scratch", "rule", google_cloud.place, "--off", clouds=[google_cloud])
    assert now() == others and settings[google_cloud.bucket]["metageneration"] == "5", "there is none of ours"
    run("scratch", "rule", google_cloud.place, "--days", "7", "--yes", clouds=[google_cloud])
    ours = lambda days: [{"action": {"type": kind}, "condition": {"age": days}} for kind in ("Delete", "AbortIncompleteMultipartUpload")]
    assert now() == others + ours(7)
    planned = run("scratch", "rule", google_cloud.place, "--days", "9", "-n", clouds=[google_cloud])
    assert "would set" in planned.out and "everything goes after 7 days" in planned.out and "400" not in planned.out, planned
    run("scratch", "rule", google_cloud.place, "--days", "9", "--yes", clouds=[google_cloud])
    assert now() == others + ours(9)
    run("scratch", "rule", google_cloud.place, "--off", clouds=[google_cloud])
    assert now() == others


@pytest.mark.parametrize("told", ["varies_by_storage_class", "all_storage_classes_128K", None])
def test_what_amazon_says_beside_its_rules_is_said_again(tmp_path, told):
    """Amazon S3 API reference, PutBucketLifecycleConfiguration: what is not sent again is not kept."""
    other = "<Rule><ID>o</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>"
    document = {"text": f"<LifecycleConfiguration>{other}</LifecycleConfiguration>", "sent": None}

    def answer(request):
        if "lifecycle" in request.path and request.command == "PUT":
            document.update(text=request.body.decode(), sent=request.headers.get(SIZE))
            return 200, [], b""
        if "lifecycle" in request.path:
            return 200, [(SIZE, told)] if told else [], document["text"].encode()
        empty = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
        return 200, [("Date", "Mon, 30 Nov 2026 10:00:00 GMT")], empty.encode()

    (tmp_path / "home").mkdir()
    with answering(answer) as server:
        mover = moves.Mover(tmp_path / "home", server.address)
        mover("scratch", "rule", "s3://b/s", "--days", "7", "--yes", code=0)
    assert other in document["text"] and document["sent"] == told


def test_a_page_of_the_web_is_no_bucket_without_rules(tmp_path):
    """A gateway may answer with its own page, and 200: then the rules of others are not known, and stay."""
    sent = []

    def answer(request):
        if "lifecycle" in request.path and request.command != "GET":
            sent.append(request.command)
            return 200, [], b""
        if "lifecycle" in request.path:
            return 200, [("Content-Type", "text/html")], b"<html><body>Please sign in</body></html>"
        empty = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
        return 200, [("Date", "Mon, 30 Nov 2026 10:00:00 GMT")], empty.encode()

    (tmp_path / "home").mkdir()
    with answering(answer) as server:
        mover = moves.Mover(tmp_path / "home", server.address)
        mover("scratch", "rule", "s3://b/s", "--days", "7", "--yes", code=1)
        shown = mover("scratch", "rule", "s3://b/s")
    assert not sent and "no rule of the server" not in shown.out, shown


def test_a_place_of_nobody_and_a_rule_that_is_not_there_are_said(mover, gateway, bucket):
    for words in (["scratch", "rule", "ons:my-bucket"], ["du", "ons:my-bucket"], ["gc", "ons:my-bucket"]):
        assert "no profile or remote `ons`" in mover(*words, code=None).err
    assert "has no rule of frazil's" in mover("scratch", "rule", f"s3://{bucket}/a", "--off", code=0).out
    planned = mover("scratch", "rule", f"s3://{bucket}/a", "--days", "1", "-n", code=0).out
    assert planned.startswith("would set") and "after 1 day\n" in planned
    long = "/".join(["a" * 200] * 3)
    mover("scratch", "rule", f"s3://{bucket}/{long}", "--days", "7", "--yes", code=0)
    (rule,) = gateway.client().get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["Filter"]["Prefix"] == f"{long}/" and len(rule["ID"]) <= 255
    assert "is replaced" in mover("scratch", "rule", f"s3://{bucket}/{long}", "--days", "9", "-n", code=0).out
    mover("scratch", "rule", f"s3://{bucket}/{long}", "--off", code=0)


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
def test_a_key_that_has_ended_is_no_word_about_rules(tmp_path, code):
    """Amazon S3 API reference, Error responses: whoever asks with it has not asked at all."""
    (tmp_path / "home").mkdir()
    with answering(lambda request: (403, [], f"<Error><Code>{code}</Code></Error>".encode())) as server:
        answer = moves.Mover(tmp_path / "home", server.address)("scratch", "rule", "s3://b/s", code=4)
    assert "refused" in answer.err and "hint" in answer.err, answer
