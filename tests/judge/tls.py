"""Certificates for servers on this machine, signed by an authority of our own, and some that nobody should trust.

It promises keys that are good for a day. It asks `openssl`; it knows nothing of servers.
"""

import pathlib
import shutil
import subprocess

# What can be wrong with a certificate whose authority is known: the host it names, and when it ends.
FLAWS = {"other host": ("DNS:elsewhere.example", "1"), "expired": ("IP:127.0.0.1,DNS:localhost", "-1")}
GOOD = ("IP:127.0.0.1,DNS:localhost", "1")


def missing() -> str | None:
    return None if shutil.which("openssl") else "openssl not installed"


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=60)


def authority(folder: pathlib.Path) -> pathlib.Path:
    """Makes an authority in `folder`; answers the file that those who trust it read."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "authority.pem"
    if not made.exists():
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=authority of the judges",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", folder / "authority.key", "-out", made)
    return made


def certificate(folder: pathlib.Path, name: str, flaw: str | None = None) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate of the authority in `folder` for a server on loopback, with one of `FLAWS` or none, and its key."""
    hosts, days = FLAWS[flaw] if flaw else GOOD
    request, key, made, more = (folder / f"{name}.{end}" for end in ("csr", "key", "pem", "cnf"))
    more.write_text(f"subjectAltName={hosts}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", folder / "authority.pem", "-CAkey", folder / "authority.key", "-CAcreateserial", "-days", days, "-extfile", more, "-out", made)
    return made, key
