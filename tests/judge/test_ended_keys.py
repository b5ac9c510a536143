"""Tokens that have ended, as Amazon says it: status 400, and to a question without a body no word at all.

A program that prints keys is run again whichever command is under way, also if what it printed first is refused at once;
where there is no other key the command says that it is the key, and ends as for any sign-in.
"""

import shlex

import pytest

import ceph
from homes import Home, keys_of
from passing import door

CONFIG = ".aws/config"
GOOD = {"AccessKeyId": ceph.KEY, "SecretAccessKey": ceph.SECRET}
OLD = {"AccessKeyId": "OLDKEY", "SecretAccessKey": "CANARYold"}
# Status and code: those of Amazon, then those of other servers.
ANSWERS = [(400, "ExpiredToken"), (400, "InvalidToken"), (403, "ExpiredToken"), (403, "InvalidAccessKeyId")]
COMMANDS = {
    "ls": "ls s3://{bucket}/in",
    "ls of one": "ls s3://{bucket}/in/a.txt",
    "cp up": "cp {home}/here s3://{bucket}/out",
    "cp one up": "cp {home}/here/a.txt s3://{bucket}/out/a.txt",
    "cp down": "cp s3://{bucket}/in {home}/down",
    "cp one down": "cp s3://{bucket}/in/a.txt {home}/down.txt",
    "sync": "sync {home}/here s3://{bucket}/out",
    "check": "check {home}/here s3://{bucket}/in",
    "rm": "rm s3://{bucket}/in/a.txt --yes",
    "du": "du s3://{bucket}/in",
}


@pytest.fixture
def home(tmp_path):
    found = Home(tmp_path / "home", {})
    found.write("here/a.txt", "a text")
    return found


@pytest.fixture
def before(gateway, bucket):
    """A door before the server, behind which lies what is copied."""
    gateway.client().put_object(Bucket=bucket, Key="in/a.txt", Body=b"a text")
    with door(str(gateway)) as found:
        yield found


def prints(home, address, first, then):
    """A profile whose program prints other keys from the second time on."""
    first, then = (shlex.quote(keys_of(keys).replace(', "SessionToken": null', "")) for keys in (first, then))
    home.write("keys", f"#!/bin/sh\necho x >> {home.folder}/runs\nif [ $(wc -l < {home.folder}/runs) = 1 ]; then echo {first}; else echo {then}; fi\n", mode=0o700)
    home.write(CONFIG, f"[profile p]\nendpoint_url = {address}\ncredential_process = {home.folder}/keys\n")


def turns_away(status, code, key="OLDKEY"):
    return lambda method, path, headers: (status, code) if key in headers.get("authorization", "") else None


def words(command, home, bucket):
    return COMMANDS[command].format(home=home.folder, bucket=bucket).split()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status,code", ANSWERS)
def test_a_program_is_asked_again(home, before, bucket, command, status, code):
    before.refusal = turns_away(status, code)
    prints(home, before.address, OLD, GOOD)
    home.frazil(*words(command, home, bucket), AWS_PROFILE="p")
    assert (home.folder / "runs").read_text() == "x\n" * 2


def test_a_file_is_read_again(home, gateway, before, bucket):
    """A key that ends between two questions: the file beside the command holds another by then."""
    config = lambda keys: f"[profile p]\nendpoint_url = {before.address}\naws_access_key_id = {keys['AccessKeyId']}\naws_secret_access_key = {keys['SecretAccessKey']}\n"
    home.write(CONFIG, config(OLD))

    def refusal(method, path, headers):
        if "OLDKEY" in headers.get("authorization", ""):
            home.write(CONFIG, config(GOOD))
            return 400, "ExpiredToken"

    for command in COMMANDS:
        gateway.client().put_object(Bucket=bucket, Key="in/a.txt", Body=b"a text")
        home.write(CONFIG, config(OLD))
        before.refusal = refusal
        home.frazil(*words(command, home, bucket), AWS_PROFILE="p")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status,code", ANSWERS)
def test_a_token_that_stays_refused_is_named(home, before, bucket, command, status, code):
    before.refusal = turns_away(status, code, "AWS4-HMAC")
    home.write(CONFIG, f"[profile mine]\nendpoint_url = {before.address}\naws_access_key_id = OLDKEY\naws_secret_access_key = CANARYold\naws_session_token = CANARYtoken\n")
    answer = home.frazil(*words(command, home, bucket), "--json", code=4, AWS_PROFILE="mine")
    error = answer.report["error"]
    said = error["message"] + str(error.get("hint"))
    assert code in error["message"] and "profile `mine`" in error["message"], answer
    assert "zarr.json" not in said and "frazil profile explain" in said, f"a key that nobody typed, or nothing to do\n{answer}"


def test_what_else_has_status_400_is_no_sign_in(home, before, bucket):
    before.refusal = turns_away(400, "InvalidRequest", "AWS4-HMAC")
    prints(home, before.address, GOOD, GOOD)
    answer = home.frazil("ls", f"s3://{bucket}/in", "--json", code=1, AWS_PROFILE="p")
    assert "InvalidRequest" in answer.report["error"]["message"], answer
    assert (home.folder / "runs").read_text() == "x\n", "no other key helps"
