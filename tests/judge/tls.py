"""Certificates for servers on this machine, signed by an authority of our own, and some that nobody should trust.

It promises keys that are good for a day. It asks `openssl`; it knows nothing of servers.
"""

import datetime
import pathlib
import shutil
import subprocess

HERE, ELSEWHERE = "IP:127.0.0.1,DNS:localhost", "DNS:elsewhere.example"
# What can be wrong with a certificate: the hosts it names, and in how many days it begins and ends. One that is
# self-signed has no authority but itself.
FLAWS = {"other host": (ELSEWHERE, 0, 1), "expired": (HERE, -2, -1), "not yet valid": (HERE, 1, 2), "self-signed": (HERE, 0, 1)}
GOOD = (HERE, 0, 1)

# `openssl x509` of version 3.0 knows no beginning, only `openssl ca` does, which keeps books.
BOOKS = """[ca]
default_ca = ours
[ours]
database = {folder}/{name}.index
new_certs_dir = {folder}
certificate = {folder}/authority.pem
private_key = {folder}/authority.key
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
x509_extensions = more
[any]
commonName = supplied
[more]
subjectAltName = {hosts}
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
"""


def missing() -> str | None:
    return None if shutil.which("openssl") else "openssl not installed"


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def authority(folder: pathlib.Path) -> pathlib.Path:
    """Makes an authority in `folder`; answers the file that those who trust it read."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "authority.pem"
    if not made.exists():
        openssl("req", "-x509", *NEW_KEY, "-days", "1", "-subj", "/CN=authority of the judges",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", folder / "authority.key", "-out", made)
    return made


def certificate(folder: pathlib.Path, name: str, flaw: str | None = None) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate of the authority in `folder` for a server on loopback, with one of `FLAWS` or none, and its key."""
    hosts, begins, ends = FLAWS[flaw] if flaw else GOOD
    request, key, made, books = (folder / f"{name}.{end}" for end in ("csr", "key", "pem", "cnf"))
    if flaw == "self-signed":
        openssl("req", "-x509", *NEW_KEY, "-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName={hosts}", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", made)
        return made, key
    books.write_text(BOOKS.format(folder=folder, name=name, hosts=hosts))
    (folder / f"{name}.index").write_text("")
    # A minute for clocks that are not quite equal.
    now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=1)
    start, end = ((now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (begins, ends))
    openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    openssl("ca", "-batch", "-notext", "-config", books, "-in", request, "-out", made, "-startdate", start, "-enddate", end)
    return made, key
