"""Files come from a real web server in each of the ways in which archives serve them."""

import pytest

import clients
import nginx
from moves import Mover, differences, digests, make_tree, says_why, stored

SIZES = {"empty": 0, "small": 1000, "ü +%41": 50_000, "large": 3_000_000, "sub/deep": 20_000}
WORKING = ["data", "whole", "private", "moved", "slow", "tagless", "packed"]


@pytest.fixture(scope="module")
def server(tmp_path_factory, seed):
    """The address, and the digests of what lies there."""
    if nginx.missing():
        pytest.skip(f"a real web server: {nginx.missing()}")
    folder = tmp_path_factory.mktemp("nginx")
    wanted = make_tree(folder / "data", seed, SIZES)
    with nginx.serving(folder / "data", folder / "server") as address:
        yield address, wanted


@pytest.fixture
def web(server, tmp_path):
    clients.needs("cp")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.netrc").write_text(f"machine 127.0.0.1 login {nginx.LOGIN} password {nginx.PASSWORD}\n")
    (tmp_path / "home/.netrc").chmod(0o600)
    return Mover(tmp_path / "home", "http://127.0.0.1:9")


@pytest.mark.parametrize("way", WORKING)
def test_a_file_comes_whole(web, server, tmp_path, way):
    address, wanted = server
    for name in ("small", "large", "empty", "sub/deep"):
        web("cp", f"{address}/{way}/{name}", tmp_path / "dest" / name, code=0)
    assert differences({name: mark for name, mark in wanted.items() if "ü" not in name}, digests(tmp_path / "dest")) == []


@pytest.mark.parametrize("way", WORKING)
def test_a_second_time_gives_the_same_or_says_that_it_cannot_know(web, server, tmp_path, way):
    address, wanted = server
    web("cp", f"{address}/{way}/large", tmp_path / "large", code=0)
    answer = web("cp", f"{address}/{way}/large", tmp_path / "large")
    # Without a tag and a time nothing tells whether it is the same; to call it another is as wrong as to call it the same.
    assert answer.code == 0 or (way == "tagless" and "differs" not in answer.text), answer
    assert digests(tmp_path)["large"] == wanted["large"]


@pytest.mark.parametrize("way,codes", [("forbidden", (4,)), ("busy", (5,)), ("absent", (1,))])
def test_a_refusal_is_clear_and_leaves_nothing(web, server, tmp_path, way, codes):
    answer = web("cp", f"{server[0]}/{way}/small", tmp_path / "dest/small", "--json")
    assert answer.code in codes and says_why(answer) and answer.report["error"], answer
    assert not (tmp_path / "dest/small").exists()


def test_who_has_no_login_is_told_so(web, server, tmp_path):
    (web.home / ".netrc").unlink()
    answer = web("cp", f"{server[0]}/private/small", tmp_path / "small")
    assert answer.code == 4 and "401" in answer.text and not (tmp_path / "small").exists(), answer


def test_what_is_on_the_web_goes_into_a_bucket(web, server, gateway, bucket):
    web.address = gateway
    for name in ("small", "large"):
        web("cp", f"{server[0]}/data/{name}", f"s3://{bucket}/", code=0)
    assert stored(gateway, bucket) == {name: server[1][name] for name in ("small", "large")}


def test_a_name_that_must_be_quoted_is_quoted(web, server, tmp_path):
    web("cp", f"{server[0]}/data/%C3%BC%20+%2541", tmp_path / "dest", code=0)
    assert digests(tmp_path)["dest"] == server[1]["ü +%41"]


def test_rclone_reads_what_is_served(server, tmp_path):
    """The judge itself: the listings and files are such as another client reads."""
    config = f"[web]\ntype = http\nurl = {server[0]}/data\n"
    clients.rclone("copy", "web:", tmp_path / "dest", config=config)
    assert digests(tmp_path / "dest") == server[1]
