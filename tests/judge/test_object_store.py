"""The suite that stores of the `object_store` crate are held to, on our buckets and a real Ceph.

It is compiled apart (`tests/object_store`), which takes longer than the ordinary run has, so it runs with `--soak`.
"""

import os
import subprocess

import pytest

import ceph
from command import ROOT

N_TESTS = 14


def test_ceph_passes_the_suite_of_object_store(gateway, bucket, tmp_path, soak):
    if not soak:
        pytest.skip("with --soak")
    kept = {name: os.environ[name] for name in ("PATH", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR") if name in os.environ}
    kept.setdefault("CARGO_HOME", os.path.expanduser("~/.cargo"))
    kept.setdefault("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
    keys = {"AWS_ACCESS_KEY_ID": ceph.KEY, "AWS_SECRET_ACCESS_KEY": ceph.SECRET, "AWS_ENDPOINT_URL": str(gateway), "AWS_REGION": "us-east-1"}
    words = ["cargo", "test", "--release", "--locked", "--quiet", "--manifest-path", "tests/object_store/Cargo.toml", "--target-dir", kept.get("CARGO_TARGET_DIR", "target"), "--test", "suite"]
    answer = subprocess.run([*words, "--", "--ignored"], cwd=ROOT, env={**kept, **keys, "HOME": str(tmp_path), "FRAZIL_SUITE": f"s3://{bucket}/below/"}, capture_output=True, text=True, timeout=1800)
    assert answer.returncode == 0, (answer.stdout[-6000:], answer.stderr[-3000:])
    assert f"{N_TESTS} passed" in answer.stdout, answer.stdout
    assert ceph.objects(gateway, bucket) == {} and ceph.open_uploads(gateway, bucket) == [], "something is left"
