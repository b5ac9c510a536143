//! Signatures as others make them.
//!
//! `vectors.json` is the suite that AWS publishes for signatures of version 4 (`aws-c-auth` 0.9.0,
//! `tests/aws-signing-test-suite/v4`, Apache-2.0), those in headers. All of our requests carry the present moment and
//! `x-amz-content-sha256`, so what a vector expects is taken with these two lines in its canonical request and signed by a
//! chain of the tests' own, which is held against every signature of the suite first.

use ring::{digest, hmac};
use serde::Deserialize;

use super::*;
use crate::{bucket::hex, secret::Secret};

/// Vectors that say what a server of buckets does not do, or we do not.
const NOT_OURS: [(&str, &str); 8] = [
    ("get-relative-normalized", "keys of buckets are signed as they are: `..` means itself"),
    ("get-relative-relative-normalized", "keys of buckets are signed as they are: `..` means itself"),
    ("get-slash-dot-slash-normalized", "keys of buckets are signed as they are: `.` means itself"),
    ("get-slash-pointless-dot-normalized", "keys of buckets are signed as they are: `.` means itself"),
    ("get-slash-normalized", "keys of buckets are signed as they are: `//` means itself"),
    ("get-slashes-normalized", "keys of buckets are signed as they are: `//` means itself"),
    ("get-header-value-multiline", "a header of several lines cannot be sent since RFC 7230"),
    ("post-sts-header-after", "a token is signed, never added later"),
];

/// Vectors with headers that none of our requests has, and that are refused.
const REFUSED: [&str; 3] = ["get-header-key-duplicate", "get-header-value-order", "get-header-value-trim"];

#[derive(Deserialize)]
struct Vector {
    name: String,
    service: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    request: String,
    canonical: String,
    signature: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// The signature of a canonical request at a time such as `20150830T123600Z`.
fn signature(vector: &Vector, time: &str, canonical: &str) -> String {
    let by =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let day = &time[..8];
    let scope = format!("{day}/{}/{}/aws4_request", vector.region, vector.service);
    let start = format!("AWS4{}", vector.secret_access_key).into_bytes();
    let key = [day, &vector.region, &vector.service, "aws4_request"].iter().fold(start, |key, word| by(&key, word));
    hex(&by(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical))))
}

/// What stands in an address in place of letters that cannot.
fn sendable(target: &str) -> String {
    let letter = |c: char| if c.is_ascii_graphic() { c.to_string() } else { percent(c) };
    target.chars().map(letter).collect()
}

fn percent(c: char) -> String {
    c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The request of a vector, and its body.
fn request(vector: &Vector) -> (Request<()>, String) {
    let (head, body) = vector.request.split_once("\n\n").unwrap_or((vector.request.trim_end(), ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
    let (method, target) = first.split_once(' ').unwrap();
    let headers = lines.map(|line| line.split_once(':').unwrap());
    let address = format!("https://example.amazonaws.com{}", sendable(target));
    let request = headers
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
        .fold(Request::builder().method(method).uri(address), |request, (name, value)| request.header(name, value));
    (request.body(()).unwrap(), body.to_owned())
}

/// The canonical request with our digest and time, and the names of the headers that it signs.
fn canonical_at(vector: &Vector, time: &str, digest: &str) -> (String, String) {
    let lines: Vec<&str> = vector.canonical.lines().collect();
    let [method, path, query, headers @ .., _signed, _digest] = lines.as_slice() else { panic!("{}", vector.name) };
    let ours = ["x-amz-date", "x-amz-content-sha256"];
    let theirs = headers.iter().filter_map(|line| line.split_once(':')).filter(|(name, _)| !ours.contains(name));
    let mut all: Vec<(&str, &str)> = theirs.chain([(ours[0], time), (ours[1], digest)]).collect();
    all.sort_unstable();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let headers: String = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    (format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{digest}"), names)
}

#[test]
fn the_chain_that_is_compared_with_is_that_of_the_suite() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 38);
    for vector in &vectors {
        assert_eq!(signature(vector, "20150830T123600Z", &vector.canonical), vector.signature, "{}", vector.name);
    }
}

#[test]
fn requests_are_signed_as_the_suite_says() {
    let mut wrong = Vec::new();
    for vector in vectors().iter().filter(|vector| !NOT_OURS.iter().any(|(name, _)| *name == vector.name)) {
        let key = Key {
            access_key_id: vector.access_key_id.clone(),
            secret: Secret::new(vector.secret_access_key.clone()),
            token: vector.token.clone().map(Secret::new),
            ends_seconds: None,
        };
        let (request, body) = request(vector);
        let digest = if body.is_empty() { "UNSIGNED-PAYLOAD".to_owned() } else { sha256(&body) };
        let scope = Scope::new(vector.service.clone().leak(), &vector.region);
        let request = signed(request, HeaderValue::from_str(&digest).unwrap(), &scope, &key);
        if REFUSED.contains(&vector.name.as_str()) {
            assert!(request.is_err(), "{}", vector.name);
            continue;
        }
        let request = request.unwrap();
        let said = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
        let time = said("x-amz-date");
        let (canonical, names) = canonical_at(vector, &time, &digest);
        let scope = format!("{}/{}/{}/aws4_request", &time[..8], vector.region, vector.service);
        let (id, signature) = (&vector.access_key_id, signature(vector, &time, &canonical));
        let expected =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        if said("authorization") != expected {
            wrong.push(format!("{}:\n  {}\n  {expected}", vector.name, said("authorization")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
