"""What is handed in and taken away again: no file of another program is wiped, no link is followed, no profile is lost, and nothing is
taken for a token that is none."""

import json
import os

import pytest

from homes import CANARY, Home

ENDS = "2030-01-01T00:00:00Z"
TEMPORARY = f"[default]\naws_access_key_id = K\naws_secret_access_key = {CANARY}\naws_session_token = {CANARY}\n"
CACHED = json.dumps({"Credentials": {"AccessKeyId": "K", "SecretAccessKey": CANARY, "SessionToken": CANARY, "Expiration": ENDS}})
OWN = ".config/frazil/profiles.conf"


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home", {"keys.json": CACHED})


def outcomes(report):
    return {os.path.basename(item["path"]): item["outcome"] for item in report["items"]}


@pytest.mark.parametrize("path, text", [
    (".aws/credentials", TEMPORARY), (".aws/cli/cache/a.json", CACHED), (".config/rclone/rclone.conf", TEMPORARY), (".config/gcloud/token.json", CACHED),
    (".azure/token.json", CACHED), (".other/token.json", CACHED), ("elsewhere", TEMPORARY), ("two", TEMPORARY + TEMPORARY.replace("default", "other")),
])
def test_a_file_of_another_program_is_read_and_never_wiped(home, path, text):
    file = home.write(path, text)
    variables = {"AWS_SHARED_CREDENTIALS_FILE": file} if path == "elsewhere" else {}
    home.frazil("profile", "import", "mine", file, **variables)
    assert outcomes(home.frazil("profile", "erase", "-n", "--json", **variables).report)[file.name] == "stays"
    answer = home.frazil("profile", "erase", "--yes", "--json", **variables).report
    assert outcomes(answer) == {"profiles.conf": "erased", file.name: "stays"} and file.read_text() == text
    assert all(item["why"] for item in answer["items"] if item["outcome"] == "stays")
    home.frazil("profile", "erase", file, "--yes", code=1, **variables)
    assert file.read_text() == text


def test_what_was_given_in_a_file_of_its_own_goes(home):
    home.frazil("profile", "import", "mine", home.folder / "keys.json")
    home.frazil("profile", "erase", "--yes")
    assert not (home.folder / "keys.json").exists() and not (home.folder / OWN).exists()


def test_links_are_not_followed_and_no_reason_to_fail(home, tmp_path):
    home.write("sub/given.json", CACHED)
    for name in ("keys.json", "sub/given.json"):
        home.frazil("profile", "import", "mine", home.folder / name)
    (tmp_path / "precious").mkdir()
    for name in ("keys.json", "given.json"):
        (tmp_path / "precious" / name).write_text(CACHED)
    (home.folder / "keys.json").unlink()
    (home.folder / "keys.json").symlink_to(tmp_path / "precious/keys.json")
    (home.folder / "sub").rename(home.folder / "was")
    (home.folder / "sub").symlink_to(tmp_path / "precious")
    for _ in range(2):
        planned = outcomes(home.frazil("profile", "erase", "-n", "--json").report)
        assert planned["keys.json"] == planned["given.json"] == "stays", planned
        home.frazil("profile", "erase", "--yes")
        assert [path.read_text() for path in sorted((tmp_path / "precious").iterdir())] == [CACHED] * 2


def test_many_imports_at_once_lose_none(home):
    running = [home.start("profile", "import", f"n{n}", home.folder / "keys.json")[0] for n in range(20)]
    assert [process.wait(timeout=120) for process in running] == [0] * 20
    names = {item["name"] for item in home.frazil("profile", "list", "--json").report["items"]}
    assert names >= {f"n{n}" for n in range(20)}
    home.frazil("profile", "erase", "--yes")
    assert not (home.folder / OWN).exists()


def test_a_file_of_profiles_that_is_a_link_is_written_and_erased_where_it_lies(home, tmp_path):
    real = tmp_path / "dotfiles.conf"
    real.write_text(f"[old]\ntype = s3\naccess_key_id = OLD\nsecret_access_key = {CANARY}OLD\nsession_token = t\n")
    real.chmod(0o600)
    (home.folder / OWN).parent.mkdir(parents=True)
    (home.folder / OWN).symlink_to(real)
    home.frazil("profile", "import", "mine", home.folder / "keys.json")
    assert (home.folder / OWN).is_symlink() and "[old]" in real.read_text() and "[mine]" in real.read_text()
    held = real.open("rb")
    home.frazil("profile", "erase", "--yes")
    assert held.read() == b"" and not real.exists() and not (home.folder / OWN).is_symlink()
    home.write("keys.json", CACHED)
    home.frazil("profile", "import", "mine", home.folder / "keys.json")


@pytest.mark.parametrize("text, words, says", [
    ("\ufeff" + CACHED, ["--server", "https://h.example"], None), (CANARY, ["--server", "gs://"], None),
    ("<html>502</html>", ["--server", "gs://"], "a page of the web"), (f'["{CANARY}"]', ["--server", "gs://"], "JSON"),
    (f"{CANARY}{{}}", ["--server", "https://h.example"], "no token"), (CACHED, ["--server", "notaurl"], "no address"), (CACHED, ["--server", "gs://"], "takes a token"),
], ids=["mark", "token", "page", "list", "braces", "no address", "keys for Google"])
def test_what_is_no_token_is_not_taken_for_one(home, text, words, says):
    home.write("given", text)
    answer = home.frazil("profile", "import", "mine", home.folder / "given", *words, code=0 if says is None else 1)
    kept = (home.folder / OWN).read_text() if (home.folder / OWN).exists() else ""
    assert (says or "") in answer.err and ("[mine]" in kept) == (says is None)
    if text.startswith("\ufeff"):
        assert "access_key_id = K" in kept and "Bearer" not in kept


def test_what_cannot_be_read_is_named(home):
    assert "nofile" in home.frazil("profile", "import", "mine", "nofile", code=1).err
    assert "is a folder" in home.frazil("profile", "import", "mine", home.folder, code=1).err


def test_lines_that_are_to_be_pasted_are_quoted(home):
    home.write(".aws/credentials", TEMPORARY)
    said = home.frazil("profile", "export", "default", "--to", "aws", "--out", home.folder / "it's; a $file").out
    (line,) = [line for line in said.splitlines() if line.startswith("erase it:")]
    assert line.endswith("""/it'\\''s; a $file'"""), said
