"""Sources in buckets, on a real Ceph: what boto3 put there is read, whoever's file the key stands in.

It promises that no secret shows in anything that is said, and that nothing is asked without a signature unless that was
wished for.
"""

import pytest
import xarray

import ceph
from command import ROOT, binary, measured

SOURCES = sorted((ROOT / "examples/sea-surface/data").glob("*.nc"))
ODD_PREFIXES = ["a//b/", "./x/", "x/../y/", "ü +%41&=?#/", "/lead/"]


@pytest.fixture(scope="module")
def server(gateway):
    client = gateway.client()
    client.create_bucket(Bucket="data")
    for prefix in ["sst/", *ODD_PREFIXES]:
        for path in SOURCES:
            client.put_object(Bucket="data", Key=prefix + path.name, Body=path.read_bytes())
    client.create_bucket(Bucket="open", ACL="public-read")
    client.put_object(Bucket="open", Key="one.nc", Body=SOURCES[0].read_bytes(), ACL="public-read")
    yield gateway
    for name in ("data", "open"):
        ceph.discard(gateway, name)


@pytest.fixture
def home(server, tmp_path):
    """A home with the files of the AWS tools and of rclone; answers a runner of the command in it."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".config/rclone").mkdir(parents=True)
    (tmp_path / ".aws/credentials").write_text(
        f"[ceph]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = {ceph.SECRET}\n"
        f"[wrong]\naws_access_key_id = {ceph.KEY}\naws_secret_access_key = CANARY1wrong\n"
        "[nokeys]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = ceph\n"
    )
    (tmp_path / ".aws/config").write_text("".join(f"[profile {name}]\nendpoint_url = {server}\n" for name in ("ceph", "wrong", "nokeys")))
    (tmp_path / ".config/rclone/rclone.conf").write_text(
        f"[pod]\ntype = s3\nprovider = Ceph\naccess_key_id = {ceph.KEY}\nsecret_access_key = {ceph.SECRET}\nendpoint = {server}\n"
        "[sst]\ntype = alias\nremote = pod:data/sst\n[byenv]\ntype = s3\nenv_auth = true\nprofile = ceph\n"
    )

    def run(*words, code=0, **variables):
        environment = ["env", "-i", f"HOME={tmp_path}", f"XDG_CACHE_HOME={tmp_path}/cache", *(f"{name}={value}" for name, value in variables.items())]
        answer = measured([*environment, *binary(), *words])
        assert answer.crash() is None and answer.code == code, answer
        assert "CANARY" not in answer.text.replace(f"AWS_SECRET_ACCESS_KEY={ceph.SECRET}", ""), "a secret shows"
        return answer

    return run


WAYS = {
    "profile": (["s3://data/sst/*.nc", "--profile", "ceph"], {}),
    "variable": (["s3://data/sst/*.nc"], {"AWS_PROFILE": "ceph"}),
    "environment": (["s3://data/sst/*.nc"], {"AWS_ACCESS_KEY_ID": ceph.KEY, "AWS_SECRET_ACCESS_KEY": ceph.SECRET, "AWS_ENDPOINT_URL": "SERVER"}),
    "remote": (["pod:data/sst/*.nc"], {}),
    "alias": (["sst:*.nc"], {}),
    "remote that takes an AWS profile": (["byenv:data/sst/*.nc"], {}),
    "folder": (["pod:data/sst/"], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_series_in_a_bucket_becomes_the_store_that_its_files_become(home, server, tmp_path, way):
    words, variables = WAYS[way]
    variables = {name: server if value == "SERVER" else value for name, value in variables.items()}
    home("convert", words[0], tmp_path / "bucket.zarr", "--to", "zarr", *words[1:], **variables)
    home("convert", *SOURCES, tmp_path / "files.zarr", "--to", "zarr")
    ours, theirs = (xarray.open_dataset(tmp_path / name, engine="zarr") for name in ("bucket.zarr", "files.zarr"))
    xarray.testing.assert_identical(ours, theirs)


@pytest.mark.parametrize("prefix", ODD_PREFIXES)
def test_keys_are_asked_for_byte_for_byte(home, prefix):
    report = home("inspect", f"pod:data/{prefix}{SOURCES[0].name}", "--json").report
    assert report["totals"]["n_variables"] == 5
    report = home("inspect", f"pod:data/{prefix}*.nc", "--json").report
    assert report["totals"]["n_sources"] == len(SOURCES)


def test_a_recipe_finds_its_files_in_a_bucket(home, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "recipe: 1\nid: sst\nsources: {f: {glob: 'pod:data/sst/sst_*.nc', match: 'sst_(?P<month>\\d+)\\.nc'}}\n"
        "combine: {along: time}\nwrite: {zarr: {codec: zstd:3}}\n"
    )
    home("build", tmp_path / "recipe.yaml", "--to", tmp_path / "sst.zarr")
    assert xarray.open_dataset(tmp_path / "sst.zarr", engine="zarr").sizes["time"] == 181
    assert "already" in home("build", tmp_path / "recipe.yaml", "--to", tmp_path / "sst.zarr").out
    home("verify", tmp_path / "sst.zarr")


def test_a_refusal_names_the_profile_and_no_secret(home):
    answer = home("inspect", "s3://data/sst/*.nc", "--profile", "wrong", code=4)
    assert "`wrong`" in answer.err and "403" in answer.err


def test_nothing_is_asked_without_a_signature_unless_that_was_wished_for(home, server):
    assert "nobody signs" in home("inspect", "s3://open/one.nc", code=4).err
    assert "role_arn" in home("inspect", "s3://open/one.nc", "--profile", "nokeys", code=4).err
    home("inspect", "s3://open/one.nc", "--anonymous", AWS_ENDPOINT_URL=server)
    assert "403" in home("inspect", "s3://data/sst/*.nc", "--anonymous", code=4, AWS_ENDPOINT_URL=server).err


def test_profiles_say_where_they_were_read(home):
    items = home("profile", "list", "--json").report["items"]
    assert {item["name"]: item["can_sign"] for item in items} == {"pod": True, "sst": True, "byenv": True, "ceph": True, "wrong": True, "nokeys": True}
    assert "rclone.conf:1" in home("profile", "explain", "pod:data/x").out
    assert "credentials:1" in home("profile", "explain", "s3://data/x", "--profile", "ceph").out


def test_a_path_that_is_there_wins_over_a_profile(home, tmp_path):
    (tmp_path / "pod:x.nc").write_bytes(SOURCES[0].read_bytes())
    answer = measured(["env", "-C", tmp_path, "-i", f"HOME={tmp_path}", *binary(), "inspect", "pod:x.nc"])
    assert answer.code == 0 and "36 kB" in answer.out, answer
