//! A web server on this machine that serves a few files honestly, or with one fault.
//!
//! The first part of a path names the fault: `/honest/a.nc`, `/short/a.nc`. It promises to count what it was asked and
//! that dropping it ends it. It knows byte ranges, entity tags and plain listings; it does not know formats.

#![allow(clippy::unwrap_used)] // Tests only: a panic here is a verdict.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Connections served at a time; more are closed at once.
const MOST_CONNECTIONS: usize = 64;

/// Lines of a request's head.
const MOST_HEADER_LINES: usize = 100;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);

/// How long a stall lasts, unless the server ends before.
const STALL: Duration = Duration::from_secs(20);

/// Faults whose names may stand first in a path.
pub const FAULTS: &[&str] = &[
    "honest",
    "busy-twice",
    "always-busy",
    "come-back-late",
    "limited",
    "cut",
    "cut-always",
    "short",
    "short-always",
    "long",
    "no-ranges",
    "other-range",
    "other-total",
    "many-parts",
    "login-page",
    "gzip",
    "forbidden",
    "unauthorized",
    "no-head",
    "no-length",
    "reset",
    "reset-once",
    "stall",
    "stall-in-body",
    "drip",
    "garbage",
    "endless-head",
    "huge",
    "changes",
    "changes-quietly",
    "no-marks",
    "not-satisfiable",
    "loop",
    "hop",
    "to-file",
    "gone-elsewhere",
];

/// The server; dropped, it ends.
#[derive(Debug)]
pub struct LyingServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    requests: Mutex<BTreeMap<String, Vec<String>>>,
    is_over: AtomicBool,
    n_open: AtomicUsize,
    address: SocketAddr,
}

struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

/// A status with headers and a body; how much of the body is really sent, and whether it drips.
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    sent: Option<usize>,
    pause: Duration,
}

impl Reply {
    fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), sent: None, pause: Duration::ZERO }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl LyingServer {
    /// Serves `files`, by name. A name that ends with `/` is a page of HTML.
    #[must_use]
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            files,
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
            n_open: AtomicUsize::new(0),
            address,
        });
        let inside = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if inside.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                if inside.n_open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
                    inside.n_open.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                let shared = Arc::clone(&inside);
                std::thread::spawn(move || {
                    let _ = serve(&shared, &connection);
                    shared.n_open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared, listener: Some(listener) }
    }

    /// `host:port`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address of a file, served with a fault.
    #[must_use]
    pub fn address(&self, fault: &str, name: &str) -> String {
        assert!(FAULTS.contains(&fault), "no fault is named {fault}");
        format!("http://{}/{fault}/{name}", self.address)
    }

    /// The requests for a file: its method and range, one a line.
    #[must_use]
    pub fn requests(&self, fault: &str, name: &str) -> Vec<String> {
        self.shared.requests.lock().unwrap().get(&format!("/{fault}/{name}")).cloned().unwrap_or_default()
    }
}

impl Drop for LyingServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // The listener wakes up for one more connection and sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn serve(shared: &Shared, connection: &TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(IDLE))?;
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    while let Some(asked) = read_request(&mut reader)? {
        let range = asked.headers.get("range").cloned().unwrap_or_default();
        let path = asked.path.split('?').next().unwrap_or_default().to_owned();
        let number = {
            let mut requests = shared.requests.lock().unwrap();
            let known = requests.entry(path.clone()).or_default();
            known.push(format!("{} {range}", asked.method).trim().to_owned());
            known.len()
        };
        let (fault, name) = path.trim_start_matches('/').split_once('/').unwrap_or(("honest", ""));
        let Some(reply) = reply(shared, fault, name, number, &asked, connection)? else { return Ok(()) };
        if !write_reply(shared, connection, &reply, asked.method == "HEAD")? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    for _ in 0..MOST_HEADER_LINES {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => return Ok(Some(Asked { method, path, headers })),
        };
    }
    Ok(None)
}

/// Sends a reply; whether the connection goes on.
fn write_reply(shared: &Shared, mut to: &TcpStream, reply: &Reply, is_head: bool) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} x\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name == "Content-Length" || name == "Transfer-Encoding") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in reply.headers.iter().filter(|(_, value)| !value.is_empty()) {
        head += &format!("{name}: {value}\r\n");
    }
    to.write_all(format!("{head}\r\n").as_bytes())?;
    if is_head {
        return Ok(true);
    }
    let body = &reply.body[..reply.sent.unwrap_or(reply.body.len()).min(reply.body.len())];
    if reply.pause.is_zero() {
        to.write_all(body)?;
    } else {
        for byte in body {
            to.write_all(&[*byte])?;
            wait(shared, reply.pause);
        }
    }
    Ok(reply.sent.is_none())
}

/// Waits, unless the server ends.
fn wait(shared: &Shared, time: Duration) {
    let piece = Duration::from_millis(20).min(time);
    let mut waited = Duration::ZERO;
    while waited < time && !shared.is_over.load(Ordering::SeqCst) {
        std::thread::sleep(piece);
        waited += piece;
    }
}

/// What is answered. `None`: nothing more, the connection ends.
fn reply(
    shared: &Shared,
    fault: &str,
    name: &str,
    number: usize,
    asked: &Asked,
    mut connection: &TcpStream,
) -> std::io::Result<Option<Reply>> {
    let Some(content) = shared.files.get(name) else { return Ok(Some(Reply::new(404, b"no such file"))) };
    let plain = if name.is_empty() || name.ends_with('/') {
        Reply::new(200, content).with("Content-Type", "text/html")
    } else {
        honest(content, asked)
    };
    let is_head = asked.method == "HEAD";
    let whole = || honest(content, &Asked { method: String::new(), path: String::new(), headers: BTreeMap::new() });
    let second = number.is_multiple_of(2);
    let half = plain.body.len() / 2;
    let redirect = |to: String| Reply::new(302, b"").with("Location", to);
    Ok(Some(match fault {
        "busy-twice" if number <= 2 => Reply::new(503, b"busy").with("Retry-After", "0"),
        "always-busy" => Reply::new(503, b"busy").with("Retry-After", "0"),
        "come-back-late" => Reply::new(429, b"slow down").with("Retry-After", "7200"),
        "limited" if number <= 1 => Reply::new(429, b"slow down").with("Retry-After", "1"),
        "cut" if second => Reply { sent: Some(half), ..plain },
        "cut-always" => Reply { sent: Some(half), ..plain },
        "short" if second && !is_head => part_of(content, asked, 2),
        "short-always" if !is_head => part_of(content, asked, 2),
        "long" if !is_head => {
            let longer = [plain.body.as_slice(), b"more"].concat();
            Reply { body: longer, ..plain }
        }
        "no-ranges" => whole(),
        "other-range" | "other-total" | "many-parts" if plain.status == 206 => lying_range(fault, plain),
        "login-page" => Reply::new(200, b"<html>please sign in</html>").with("Content-Type", "text/html"),
        "gzip" => plain.with("Content-Encoding", "gzip"),
        "forbidden" => Reply::new(403, b"no"),
        "unauthorized" => Reply::new(401, b"no").with("WWW-Authenticate", "Basic realm=\"x\""),
        "no-head" if is_head => Reply::new(405, b""),
        "no-length" if is_head => plain.with("Content-Length", ""),
        "reset" => return Ok(None),
        "reset-once" if second => return Ok(None),
        "stall" => {
            wait(shared, STALL);
            return Ok(None);
        }
        "stall-in-body" if !is_head => {
            write_reply(shared, connection, &Reply { sent: Some(half), ..plain }, false)?;
            wait(shared, STALL);
            return Ok(None);
        }
        "drip" if !is_head => Reply { pause: Duration::from_millis(100), ..plain },
        "garbage" => {
            connection.write_all(b"\x00\x01\x02 nothing of HTTP\r\n\r\n")?;
            return Ok(None);
        }
        "endless-head" => {
            connection.write_all(b"HTTP/1.1 200 OK\r\n")?;
            while !shared.is_over.load(Ordering::SeqCst) {
                connection.write_all(&[b"X-A: ".as_slice(), &[b'a'; 4096], b"\r\n"].concat())?;
            }
            return Ok(None);
        }
        "huge" if is_head => plain.with("Content-Length", (1_u64 << 60).to_string()),
        "huge" => Reply { sent: Some(10), ..plain }
            .with("Content-Length", (1_u64 << 59).to_string())
            .with("Content-Range", format!("bytes 0-{}/{}", (1_u64 << 59) - 1, 1_u64 << 60)),
        "changes" => plain.with("ETag", format!("\"{number}\"")),
        "changes-quietly" if number > 2 => {
            let mut longer = content.clone();
            longer.push(0);
            honest(&longer, asked).with("ETag", "").with("Last-Modified", "")
        }
        "no-marks" | "changes-quietly" => plain.with("ETag", "").with("Last-Modified", ""),
        "not-satisfiable" if !is_head => {
            Reply::new(416, b"").with("Content-Range", format!("bytes */{}", content.len()))
        }
        "loop" => redirect(format!("/loop/{name}")),
        "hop" => redirect(format!("../honest/{name}")),
        "to-file" => redirect("file:///etc/passwd".to_owned()),
        "gone-elsewhere" => redirect(format!("http://me:secret@{}/honest/{name}", shared.address)),
        _ => plain,
    }))
}

fn lying_range(fault: &str, plain: Reply) -> Reply {
    let said = plain.headers.iter().find(|(name, _)| name == "Content-Range").map(|(_, value)| value.clone());
    let said = said.unwrap_or_default();
    let numbers: Vec<u64> =
        said.trim_start_matches("bytes ").split(['-', '/']).filter_map(|number| number.parse().ok()).collect();
    let [first, last, total] = numbers[..] else { return plain };
    match fault {
        "other-range" => plain.with("Content-Range", format!("bytes {}-{}/{total}", first + 1, last + 1)),
        "other-total" => plain.with("Content-Range", format!("bytes {first}-{last}/{}", total + 1)),
        _ => plain.with("Content-Range", "").with("Content-Type", "multipart/byteranges; boundary=x"),
    }
}

/// The file or the part of it that was asked for.
fn honest(content: &[u8], asked: &Asked) -> Reply {
    part_of(content, asked, 1)
}

/// The part that was asked for, or one share of it.
fn part_of(content: &[u8], asked: &Asked, share: usize) -> Reply {
    let marked = |reply: Reply| {
        let sum = content.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        reply
            .with("ETag", format!("\"{sum:x}\""))
            .with("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            .with("Accept-Ranges", "bytes")
    };
    let range = asked.headers.get("range").and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else { return marked(Reply::new(200, content)) };
    let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
        return marked(Reply::new(200, content));
    };
    let last = last.min(content.len().saturating_sub(1));
    if first >= content.len() || first > last {
        return Reply::new(416, b"").with("Content-Range", format!("bytes */{}", content.len()));
    }
    let last = first + (last - first + 1).div_ceil(share) - 1;
    let said = format!("bytes {first}-{last}/{}", content.len());
    marked(Reply::new(206, &content[first..=last]).with("Content-Range", said))
}
