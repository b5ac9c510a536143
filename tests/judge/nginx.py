"""nginx on this machine: the web server of many archives, serving one folder in the ways that they do.

It promises to end what it started. Below its address lie: `data/` with ranges and listings, `whole/` without ranges,
`private/` behind a login, `moved/` that sends on to `data/`, `slow/`, `tagless/`, `packed/` that compresses on the way,
`forbidden/` and `busy/`.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from ceph import free_port

LOGIN, PASSWORD = "scientist", "CANARYnginx"
SLOW_BYTES_PER_SECOND = 400_000
MAX_START_SECONDS = 20

CONFIG = """{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    autoindex on;
    server {{
        listen 127.0.0.1:{port};
        location /data/ {{ alias {data}/; }}
        location /whole/ {{ alias {data}/; max_ranges 0; }}
        location /private/ {{ alias {data}/; auth_basic "judges"; auth_basic_user_file {folder}/logins; }}
        location /moved/ {{ rewrite ^/moved/(.*)$ /data/$1 redirect; }}
        location /slow/ {{ alias {data}/; limit_rate {slow}; }}
        location /tagless/ {{ alias {data}/; etag off; add_header Last-Modified ""; }}
        location /packed/ {{ alias {data}/; gzip on; gzip_types *; gzip_min_length 1; }}
        location /forbidden/ {{ return 403; }}
        location /busy/ {{ return 503; }}
    }}
}}
"""


def program() -> str | None:
    # Debian keeps it where users who are not root do not look.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def missing() -> str | None:
    return None if program() else "nginx not installed"


@contextlib.contextmanager
def serving(data: pathlib.Path, folder: pathlib.Path):
    """Serves `data`, with what it needs itself in `folder`; yields its address."""
    folder.mkdir(parents=True)
    port = free_port()
    # A worker of another user could not read the folders of the tests.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(CONFIG.format(user=user, folder=folder, data=data, port=port, slow=SLOW_BYTES_PER_SECOND))
    mark = subprocess.run(["openssl", "passwd", "-apr1", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True, timeout=20).stdout
    (folder / "logins").write_text(f"{LOGIN}:{mark}")
    process = subprocess.Popen([program(), "-p", folder, "-c", folder / "nginx.conf"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + MAX_START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            assert process.poll() is None and time.monotonic() < until, f"nginx did not start: {(folder / 'error.log').read_text()[-1000:]}"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
