"""Who signs for the double of Google Cloud Storage: its token endpoints, and the files that lie on people's disks.

It promises to check what the real one checks: the signature, audience and times of a service account's assertion, the
refresh token of a user, the subject token of an external account, and who may impersonate whom. Tokens end when they
say. It knows nothing of objects.
"""

import base64
import dataclasses
import json
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.parse
import uuid

ACCOUNT = "robot@judges.iam.gserviceaccount.com"
IMPERSONATED = "writer@judges.iam.gserviceaccount.com"
USER = "user@example.org"
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/judges/providers/hub"
# Secrets are recognizable, so that a search for CANARY finds any that shows.
CLIENT_SECRET, REFRESH_TOKEN, SUBJECT_TOKEN = "CANARY2client", "CANARY3refresh", "CANARY4subject"
MAX_ASSERTION_SECONDS = 3600
SCOPES = ("https://www.googleapis.com/auth/devstorage.", "https://www.googleapis.com/auth/cloud-platform")


ROLES = {"objectViewer": {"get", "list"}, "objectCreator": {"create"}, "objectAdmin": {"get", "list", "create", "delete"}}


@dataclasses.dataclass
class Rule:
    """One rule of a credential access boundary, as Google documents its form."""

    bucket: str
    may: set[str]
    prefix: str
    lists: str | None

    @classmethod
    def of(cls, rule):
        bucket = re.fullmatch(r"//storage\.googleapis\.com/projects/_/buckets/([^/]+)", rule["availableResource"])[1]
        may = set().union(*(ROLES[re.fullmatch(r"inRole:roles/storage\.(\w+)", name)[1]] for name in rule["availablePermissions"]))
        expression = rule.get("availabilityCondition", {}).get("expression")
        if expression is None:
            return cls(bucket, may, "", "")
        objects = re.match(rf"resource\.name\.startsWith\('projects/_/buckets/{re.escape(bucket)}/objects/([^']*)'\)", expression)
        rest = expression[objects.end():]
        lists = re.fullmatch(r" \|\| api\.getAttribute\('storage\.googleapis\.com/objectListPrefix', ''\)\.startsWith\('([^']*)'\)", rest)
        if rest and lists is None:
            raise ValueError(f"condition {rest}")
        return cls(bucket, may, objects[1], lists and lists[1])

    def allows(self, what, bucket, name) -> bool:
        start = self.lists if what == "list" else self.prefix
        return what in self.may and bucket == self.bucket and start is not None and name.startswith(start)


def wanted_by(method, path, query, body) -> list[tuple[str, str, str]]:
    """What a request needs: permission, bucket, name. What is not known here is never permitted."""
    unquoted = urllib.parse.unquote
    if found := re.fullmatch(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o", path):
        name = query.get("name")
        if name is None:
            start = body.find(b'"name"')
            name = json.JSONDecoder().raw_decode(body[start + 6:].decode("latin-1").lstrip(" :"))[0] if start >= 0 else ""
        return [] if "upload_id" in query else [("create", unquoted(found[1]), name)]
    if found := re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)/o/?", path):
        return [("list", unquoted(found[1]), query.get("prefix", ""))]
    if found := re.fullmatch(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)", path):
        return [("get", unquoted(found[1]), unquoted(found[2])), ("create", unquoted(found[3]), unquoted(found[4]))]
    if found := re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)", path):
        return [({"GET": "get", "HEAD": "get", "DELETE": "delete"}.get(method, "set"), unquoted(found[1]), unquoted(found[2]))]
    if found := re.fullmatch(r"/([^/]+)/(.+)", path):
        may = {"POST": "create", "PUT": "create", "DELETE": "create"}.get(method, "get")
        return [(may, unquoted(found[1]), unquoted(found[2]))]
    return [("administer", "", "")]


class SignIn:
    """Tokens and who holds them. `seconds` is how long a new one lives; `grants` what each may do, all without an entry."""

    def __init__(self):
        self.seconds = 3600
        self.tokens: dict[str, tuple[str, float]] = {}
        # Who: (the buckets, or None for all; whether writing is allowed).
        self.grants: dict[str, tuple[set[str] | None, bool]] = {}
        # What a token was narrowed to.
        self.bounds: dict[str, list[Rule]] = {}
        self.n_given = 0
        self.refused: list[str] = []
        self.public_key: bytes | None = None

    def token(self, who=USER, seconds=None) -> str:
        """A new token of `who`."""
        self.n_given += 1
        token = f"ya29.CANARY5{uuid.uuid4().hex}"
        self.tokens[token] = (who, time.time() + (self.seconds if seconds is None else seconds))
        return token

    def forget(self):
        """No token that was given out is good any more."""
        self.tokens.clear()

    def who(self, authorization: str | None) -> str | None:
        kind, _, token = (authorization or "").partition(" ")
        who, until = self.tokens.get(token.strip(), (None, 0.0))
        return who if kind.lower() == "bearer" and time.time() < until else None

    def may(self, who: str, bucket: str, writes: bool) -> bool:
        buckets, may_write = self.grants.get(who, (None, True))
        return (buckets is None or bucket in buckets) and (may_write or not writes)

    # The endpoints.

    def answer(self, method, path, headers, body, address):
        """The answer of an endpoint that gives tokens; None when `path` is another."""
        if method != "POST":
            return None
        if path == "/token":
            return self.given(form(body), {"urn:ietf:params:oauth:grant-type:jwt-bearer": self.of_account, "refresh_token": self.of_user}, address)
        if path == "/v1/token":
            asked = json.loads(body) if "json" in headers.get("Content-Type", "") else form(body)
            if asked.get("subject_token_type", "").endswith(":access_token"):
                return self.of_boundary(asked)
            return self.given(asked, {"urn:ietf:params:oauth:grant-type:token-exchange": self.of_external}, address)
        if path.endswith(":generateAccessToken"):
            return self.impersonate(path, headers, json.loads(body))
        return None

    def given(self, asked, kinds, address):
        found = kinds.get(asked.get("grant_type") or asked.get("grantType"))
        if found is None:
            return self.refuse("unsupported_grant_type", str(asked.get("grant_type")))
        who, problem = found(asked, address)
        if problem:
            return self.refuse("invalid_grant", problem)
        answer = {"access_token": self.token(who), "expires_in": self.seconds, "token_type": "Bearer"}
        if found == self.of_external:
            answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
        return 200, answer, {}

    def refuse(self, error, description, code=400):
        self.refused.append(description)
        return code, {"error": error, "error_description": description}, {}

    def of_account(self, asked, address):
        try:
            head, claims, signature = asked["assertion"].split(".")
            said = json.loads(unpadded(claims))
            algorithm = json.loads(unpadded(head))["alg"]
        except (KeyError, ValueError):
            return None, "the assertion is no JWT"
        now = time.time()
        if algorithm != "RS256" or not self.is_signed(f"{head}.{claims}".encode(), unpadded(signature)):
            return None, "Invalid JWT Signature."
        if said.get("iss") != ACCOUNT:
            return None, "Invalid grant: account not found"
        # The real one takes its own name, too, and google-auth writes nothing else.
        if said.get("aud") not in (f"{address}/token", "https://oauth2.googleapis.com/token"):
            return None, f"Invalid JWT: Failed audience check, it is {said.get('aud')}"
        if not (said["iat"] - 300 <= now < said["exp"] <= said["iat"] + MAX_ASSERTION_SECONDS + 1):
            return None, "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe"
        if not all(scope.startswith(SCOPES) for scope in said.get("scope", "none").split()):
            return None, f"Invalid OAuth scope {said.get('scope')}"
        return ACCOUNT, None

    def is_signed(self, text, signature) -> bool:
        if self.public_key is None:
            return False
        with tempfile.TemporaryDirectory(prefix="frazil-jwt-") as folder:
            key, mark = pathlib.Path(folder) / "key", pathlib.Path(folder) / "signature"
            key.write_bytes(self.public_key)
            mark.write_bytes(signature)
            found = subprocess.run(["openssl", "dgst", "-sha256", "-verify", key, "-signature", mark], input=text, capture_output=True, timeout=30)
        return found.returncode == 0

    def of_user(self, asked, _):
        if (asked.get("client_id"), asked.get("client_secret")) != ("judge", CLIENT_SECRET):
            return None, "The OAuth client was not found."
        return (USER, None) if asked.get("refresh_token") == REFRESH_TOKEN else (None, "Token has been expired or revoked.")

    def of_boundary(self, asked):
        """A narrower token for a token: what the boundary in `options` leaves of it."""
        kind = "urn:ietf:params:oauth:token-type:access_token"
        who, until = self.tokens.get(asked.get("subject_token", ""), (None, 0.0))
        if asked.get("requested_token_type") != kind or who is None or time.time() >= until:
            return self.refuse("invalid_request", "the subject token is none that is good")
        if asked["subject_token"] in self.bounds:
            return self.refuse("invalid_request", "a token that was narrowed is not narrowed again")
        try:
            # google-auth spells it twice over, the documentation's example once.
            rules = json.loads(urllib.parse.unquote(asked["options"]))["accessBoundary"]["accessBoundaryRules"]
            rules = [Rule.of(rule) for rule in rules]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            return self.refuse("invalid_request", f"the boundary makes no sense: {error!r}")
        token = self.token(who, until - time.time())
        self.bounds[token] = rules
        # How long it is good is not said for every kind of account; it ends with the one that it was made of.
        return 200, {"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": int(until - time.time())}, {}

    def is_outside(self, headers, method, path, query, body) -> bool:
        """Whether a request asks for more than its token was narrowed to."""
        rules = self.bounds.get((headers.get("Authorization") or "").removeprefix("Bearer ").strip())
        if rules is None or path.startswith("/batch/"):
            return False
        return not all(any(rule.allows(*wanted) for rule in rules) for wanted in wanted_by(method, path, query, body))

    def of_external(self, asked, _):
        said = {key: asked.get(key) for key in ("audience", "subject_token_type", "requested_token_type", "scope")}
        if said["audience"] != POOL:
            return None, f"Invalid value for audience: {said['audience']}"
        if said["subject_token_type"] != "urn:ietf:params:oauth:token-type:jwt" or not said["scope"]:
            return None, f"the exchange asks wrongly: {said}"
        if said["requested_token_type"] != "urn:ietf:params:oauth:token-type:access_token":
            return None, f"requested_token_type {said['requested_token_type']}"
        return (f"principal:{POOL}/subject/hub", None) if asked.get("subject_token") == SUBJECT_TOKEN else (None, "Unable to parse the ID Token.")

    def impersonate(self, path, headers, asked):
        source = self.who(headers.get("Authorization"))
        account = urllib.parse.unquote(path.rsplit("/", 1)[1]).removesuffix(":generateAccessToken")
        if source is None or account != IMPERSONATED or not asked.get("scope"):
            code = 401 if source is None else 403
            self.refused.append(f"{source} impersonates {account}")
            return code, {"error": {"code": code, "message": "Permission 'iam.serviceAccounts.getAccessToken' denied", "status": "PERMISSION_DENIED"}}, {}
        seconds = min(self.seconds, int(asked.get("lifetime", f"{self.seconds}s").rstrip("s")))
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        return 200, {"accessToken": self.token(account, seconds), "expireTime": until}, {}

    # The files that people have.

    def account_file(self, folder: pathlib.Path, address: str) -> pathlib.Path:
        """The key of a service account, as it is downloaded."""
        key = folder / "account.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key], check=True, capture_output=True, timeout=60)
        self.public_key = subprocess.run(["openssl", "pkey", "-in", key, "-pubout"], check=True, capture_output=True, timeout=60).stdout
        return written(folder / "account.json", {
            "type": "service_account", "project_id": "judges", "private_key_id": "1", "private_key": key.read_text(), "client_email": ACCOUNT, "client_id": "1",
            "auth_uri": f"{address}/auth", "token_uri": f"{address}/token", "universe_domain": "googleapis.com",
        })

    def user_file(self, folder: pathlib.Path, address: str) -> pathlib.Path:
        """What `gcloud auth application-default login` leaves."""
        return written(folder / "user.json", user(address))

    def external_file(self, folder: pathlib.Path, address: str, *, impersonating=False) -> pathlib.Path:
        """The configuration of an external account whose subject token lies in a file."""
        (folder / "subject").write_text(SUBJECT_TOKEN)
        return written(folder / "external.json", {
            "type": "external_account", "audience": POOL, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": f"{address}/v1/token",
            "credential_source": {"file": str(folder / "subject")}, **({"service_account_impersonation_url": impersonation(address)} if impersonating else {}),
        })

    def impersonating_file(self, folder: pathlib.Path, address: str) -> pathlib.Path:
        """What `gcloud auth application-default login --impersonate-service-account` leaves."""
        return written(folder / "impersonating.json", {
            "type": "impersonated_service_account", "service_account_impersonation_url": impersonation(address), "delegates": [], "source_credentials": user(address),
        })


def user(address) -> dict:
    return {"type": "authorized_user", "client_id": "judge", "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN, "token_uri": f"{address}/token", "universe_domain": "googleapis.com"}


def impersonation(address) -> str:
    return f"{address}/v1/projects/-/serviceAccounts/{IMPERSONATED}:generateAccessToken"


def written(path: pathlib.Path, content: dict) -> pathlib.Path:
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def form(body: bytes) -> dict:
    return dict(urllib.parse.parse_qsl(body.decode()))


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
