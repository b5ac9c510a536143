//! One request to a web server, one answer.
//!
//! The only file that knows the library for HTTP. It follows no redirect, repeats nothing and judges nothing; it
//! promises that a request ends: there is a time for the connection, for every silence and for the whole.
//!
//! Servers are known by the authorities that `trust` reads; where there are none, by those that Mozilla trusts. Cookies
//! and credentials are sent only where a signer was given.

use std::{
    borrow::Cow,
    fmt,
    io::{Cursor, Read},
    sync::{Arc, LazyLock},
    time::Duration,
};

use frazil_model::range::ByteRange;
use ureq::{
    Agent, AsSendBody,
    tls::{Certificate, RootCerts, TlsConfig},
};

pub(crate) use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, request::Parts};

use crate::{
    address::{Address, Scheme},
    manners::Manners,
    pace::{self, Paced},
    sign::Sign,
    trust::{Distrust, authorities},
};

/// An answer may come as slowly as this, in bytes a second, on top of the silence that is allowed.
const LEAST_BYTES_PER_SECOND: u64 = 16 << 10;

/// Connections kept open to one host.
const MOST_IDLE: usize = 64;

/// Requests that may share one pace.
const MOST_AT_A_TIME: u64 = 64;

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask<'a> {
    /// About the object, not its bytes.
    Head,
    /// This part of it.
    Range(ByteRange),
    /// All of it; it is cut off after so many bytes.
    Whole { limit_bytes: u64 },
    /// To take something, or to change something.
    Send(&'a Sending<'a>),
}

/// What a server is to take.
#[derive(Clone)]
pub(crate) struct Sending<'a> {
    pub method: Method,
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// For the methods that carry one.
    pub body: &'a [u8],
    /// How long the server may think about it: a copy of many gigabytes takes its time.
    pub answer_within: Duration,
}

/// Headers and bodies may hold tokens.
impl fmt::Debug for Sending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sending({} with {} bytes)", self.method, self.body.len())
    }
}

impl<'a> Sending<'a> {
    /// A request with this body and nothing special about it.
    pub const fn new(method: Method, body: &'a [u8]) -> Self {
        Self { method, headers: Vec::new(), body, answer_within: Duration::from_secs(60) }
    }

    /// The same with a header.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// What a server answered; its body may still be under way.
pub(crate) struct Answer {
    pub status: u16,
    headers: HeaderMap,
    pub body: Box<dyn Read + Send>,
}

impl Answer {
    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// The texts of a header that may come more than once.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }

    /// The first bytes of the body, which stay to be read.
    pub fn peek(&mut self, limit_bytes: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What broke off shows again to whoever reads on.
        let _ = (&mut self.body).take(limit_bytes).read_to_end(&mut bytes);
        let rest = std::mem::replace(&mut self.body, Box::new(std::io::empty()));
        self.body = Box::new(Cursor::new(bytes.clone()).chain(rest));
        bytes
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Trying again may help.
    Passing(String),
    /// Trying again once may help: a name that was not found.
    NoHost,
    /// Nobody signs, and trying again does not help.
    Unsigned(String),
    /// Nobody signs now; later somebody may.
    NotSignedNow(String),
    /// Trying again does not help.
    Lasting(String),
    /// The server may not be who it should be; what is wrong with it, in words.
    Untrusted(Distrust, String),
}

impl NoAnswer {
    /// Why there was none.
    pub fn words(self) -> String {
        match self {
            Self::NoHost => "there is no such host".into(),
            Self::Passing(why)
            | Self::Unsigned(why)
            | Self::NotSignedNow(why)
            | Self::Lasting(why)
            | Self::Untrusted(_, why) => why,
        }
    }
}

static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("frazil/", env!("CARGO_PKG_VERSION")))
        // A packed answer has no byte ranges of the object.
        .accept_encoding("identity")
        .max_idle_connections(2 * MOST_IDLE)
        .max_idle_connections_per_host(MOST_IDLE)
        .tls_config(TlsConfig::builder().root_certs(ROOTS.clone().unwrap_or_else(|_| nobody())).build())
        .build();
    Agent::new_with_config(config)
});

/// Who vouches for servers, or why that is not known.
static ROOTS: LazyLock<Result<RootCerts, String>> = LazyLock::new(|| {
    let found = authorities()?;
    if found.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    let found: Vec<Certificate<'static>> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(RootCerts::Specific(Arc::new(found)))
});

fn nobody() -> RootCerts {
    RootCerts::Specific(Arc::new(Vec::new()))
}

/// Sends one request, signed if somebody signs.
pub(crate) fn send(
    address: &Address,
    ask: Ask<'_>,
    manners: &Manners,
    signer: Option<&dyn Sign>,
) -> Result<Answer, NoAnswer> {
    if let (Scheme::Https, Err(why)) = (address.scheme(), ROOTS.as_ref()) {
        return Err(NoAnswer::Lasting(why.clone()));
    }
    let text = address.to_string();
    let (n_sent, n_received, answer_within) = match ask {
        Ask::Head => (0, 0, manners.silence_within),
        Ask::Range(range) => (0, range.n_bytes(), manners.silence_within),
        Ask::Whole { limit_bytes } => (0, limit_bytes, manners.silence_within),
        Ask::Send(sending) => (sending.body.len() as u64, 0, manners.silence_within.max(sending.answer_within)),
    };
    let slowly = |n_bytes: u64| {
        let by_itself = Duration::from_secs(n_bytes / LEAST_BYTES_PER_SECOND);
        manners.silence_within + by_itself + pace::time_for(n_bytes, MOST_AT_A_TIME)
    };
    let mut request = match ask {
        Ask::Head => Request::head(&text),
        Ask::Range(_) | Ask::Whole { .. } => Request::get(&text),
        Ask::Send(sending) => sending
            .headers
            .iter()
            .fold(Request::builder().method(&sending.method).uri(&text), |request, (name, value)| {
                request.header(name.as_ref(), value)
            }),
    };
    if let Ask::Range(range) = ask {
        request = request.header("Range", format!("bytes={}-{}", range.offset(), range.end() - 1));
    }
    let unsendable = || NoAnswer::Lasting("its address cannot be sent".into());
    let mut request = request.body(()).map_err(|_| unsendable())?;
    if let Some(signer) = signer {
        request = signer.sign(request)?;
    }
    let (parts, ()) = request.into_parts();
    let answer = match ask {
        Ask::Send(sending) if [Method::PUT, Method::POST, Method::PATCH].contains(&sending.method) => {
            let (sent_within, received_within) = (slowly(n_sent), slowly(n_received));
            if pace::is_set() && n_sent > 0 {
                let mut paced = Paced(sending.body);
                let mut parts = parts;
                parts.headers.insert("content-length", n_sent.into());
                let request = Request::from_parts(parts, ureq::SendBody::from_reader(&mut paced));
                within(request, manners, answer_within, sent_within, received_within)
            } else {
                let request = Request::from_parts(parts, sending.body);
                within(request, manners, answer_within, sent_within, received_within)
            }
        }
        _ => within(Request::from_parts(parts, ()), manners, answer_within, slowly(n_sent), slowly(n_received)),
    };
    let (parts, body) = answer.map_err(no_answer)?.into_parts();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: Box::new(Paced(body.into_reader())) })
}

/// Runs a request that ends in time.
fn within<S: AsSendBody>(
    request: Request<S>,
    manners: &Manners,
    answer_within: Duration,
    sent_within: Duration,
    received_within: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let request = AGENT
        .configure_request(request)
        .timeout_resolve(Some(manners.connect_within))
        .timeout_connect(Some(manners.connect_within))
        .timeout_per_read(Some(answer_within))
        .timeout_per_write(Some(manners.silence_within))
        .timeout_send_request(Some(manners.silence_within))
        .timeout_send_body(Some(sent_within))
        .timeout_recv_response(Some(answer_within))
        .timeout_recv_body(Some(received_within))
        .build();
    AGENT.run(request)
}

/// No message of the library is repeated where it may hold the address: signed addresses carry their key there.
fn no_answer(error: ureq::Error) -> NoAnswer {
    use ureq::Error;
    match error {
        Error::HostNotFound => NoAnswer::NoHost,
        Error::Timeout(_) => NoAnswer::Passing("the server was silent for too long".into()),
        Error::ConnectionFailed => NoAnswer::Passing("there is no connection to the server".into()),
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            match error.get_ref().and_then(|error| error.downcast_ref()) {
                Some(error) => untrusted(error),
                None => NoAnswer::Lasting(format!("the connection is not safe: {error}")),
            }
        }
        Error::Io(error) => NoAnswer::Passing(format!("the connection broke off: {error}")),
        Error::Protocol(error) => NoAnswer::Passing(format!("the server does not speak HTTP: {error}")),
        Error::Http(_) | Error::BadUri(_) => NoAnswer::Lasting("its address cannot be sent".into()),
        Error::Tls(reason) => NoAnswer::Lasting(format!("the connection is not safe: {reason}")),
        Error::Rustls(error) => untrusted(&error),
        Error::InvalidProxyUrl => NoAnswer::Lasting("the address of the proxy is wrong".into()),
        Error::ConnectProxyFailed(reason) => NoAnswer::Lasting(format!("the proxy refused: {reason}")),
        _ => NoAnswer::Lasting("the request could not be made".into()),
    }
}

fn untrusted(error: &rustls::Error) -> NoAnswer {
    let (distrust, words) = Distrust::of(error);
    NoAnswer::Untrusted(distrust, words)
}
