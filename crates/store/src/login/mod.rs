//! Logins for web servers: `.netrc`, NASA Earthdata, and what a remote of rclone says to its server.
//!
//! It promises that a password, a token or a cookie reaches the one host and port that it is for and no other, wherever
//! servers send us; that it goes over TLS, unless the server is on this machine or the remote itself names `http`; and that
//! a `.netrc` which others can read is refused, not used. It signs nobody on.

mod cookies;
mod netrc;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use crate::{
    address::Address,
    digest::base64,
    open::{Answer, HeaderName, HeaderValue, NoAnswer, Request},
    profile::{Known, Origin, Surroundings, WebRemote, known},
    secret::{Secret, shown_name},
    sign::Sign,
};
pub use netrc::Entry;
use netrc::Netrc;

/// The ends of the names of hosts that take the token of NASA Earthdata.
const EARTHDATA: [&str; 4] = [".nasa.gov", ".nsidc.org", ".cr.usgs.gov", ".asf.alaska.edu"];

/// What is told to a server, and who says so.
struct Told {
    headers: Vec<(HeaderName, Secret)>,
    by: String,
    origin: Origin,
}

/// All logins of this process.
pub(crate) struct Logins {
    netrc: Netrc,
    remotes: Vec<WebRemote>,
    earthdata: Option<Secret>,
    earthdata_hosts: Vec<String>,
}

static LOGINS: LazyLock<Arc<Logins>> = LazyLock::new(|| {
    let surroundings = Surroundings::of_process();
    Arc::new(Logins::of(&surroundings, &known(&surroundings)))
});

impl Logins {
    fn of(surroundings: &Surroundings, known: &Known) -> Self {
        let hosts = surroundings.variable("FRAZIL_EARTHDATA_HOSTS").unwrap_or_default();
        let token = surroundings.variable("EARTHDATA_TOKEN");
        Self {
            netrc: surroundings.file("NETRC", ".netrc").map(|path| Netrc::read(&path)).unwrap_or_default(),
            remotes: known.web.clone(),
            earthdata: token.map(|token| Secret::new(token.to_owned())),
            earthdata_hosts: hosts.split([',', ' ']).map(str::to_lowercase).filter(|host| !host.is_empty()).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.netrc.is_empty() && self.remotes.is_empty() && self.earthdata.is_none()
    }

    /// What the server at `hop` is told, on a way that began at `typed`.
    fn told(&self, hop: &Address, typed: &Address) -> Result<Option<Told>, String> {
        if let Some(remote) = self.remotes.iter().find(|remote| remote.holds(hop)) {
            let (headers, by) = (remote.headers.clone(), format!("remote `{}`", remote.name));
            return Ok(
                Some(Told { headers, by, origin: remote.origin.clone() }).filter(|told| !told.headers.is_empty())
            );
        }
        if !hop.is_private() {
            return Ok(None);
        }
        let is_typed = is_same_server(hop, typed);
        if let Some(token) = &self.earthdata
            && is_typed
            && self.takes_earthdata(hop)
        {
            let headers = vec![(AUTHORIZATION, Secret::new(format!("Bearer {}", token.reveal())))];
            return Ok(Some(Told { headers, by: "`EARTHDATA_TOKEN`".into(), origin: Origin::Environment }));
        }
        let Some(entry) = self.netrc.entry(hop, is_typed) else { return Ok(None) };
        if let Some(why) = &self.netrc.refused {
            return Err(why.clone());
        }
        let login = base64(format!("{}:{}", entry.login, entry.password.reveal()).as_bytes());
        let headers = vec![(AUTHORIZATION, Secret::new(format!("Basic {login}")))];
        let origin = Origin::File { path: self.netrc.path.clone(), line: entry.line };
        Ok(Some(Told { headers, by: format!("login `{}` of {}", shown_name(&entry.login), origin), origin }))
    }

    fn takes_earthdata(&self, hop: &Address) -> bool {
        let is_named = |name: &String| name == hop.authority() || name == hop.host();
        EARTHDATA.iter().any(|end| hop.host().ends_with(end)) || self.earthdata_hosts.iter().any(is_named)
    }
}

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");

/// Whether two addresses are of one server: host, port and scheme.
fn is_same_server(one: &Address, other: &Address) -> bool {
    one.scheme() == other.scheme() && one.host() == other.host() && one.port() == other.port()
}

/// Tells each server on the way to an address what is meant for it.
pub(crate) struct Login {
    logins: Arc<Logins>,
    typed: Address,
}

/// Logins are secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.typed.authority())
    }
}

impl Login {
    /// For a way that begins at `typed`; `None` if this process has no logins at all.
    pub fn of(typed: &Address) -> Option<Arc<dyn Sign>> {
        let logins = Arc::clone(&LOGINS);
        (!logins.is_empty()).then(|| Arc::new(Self { logins, typed: typed.clone() }) as Arc<dyn Sign>)
    }
}

impl Sign for Login {
    fn sign(&self, mut request: Request<()>) -> Result<Request<()>, NoAnswer> {
        let Some(hop) = Address::parse(&request.uri().to_string()) else { return Ok(request) };
        let told = self.logins.told(&hop, &self.typed).map_err(NoAnswer::Unsigned)?;
        for (name, value) in told.into_iter().flat_map(|told| told.headers) {
            let value = HeaderValue::from_str(value.reveal());
            let mut value =
                value.map_err(|_| NoAnswer::Unsigned(format!("the login for {} cannot be sent", hop.authority())))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        if !request.headers().contains_key("cookie")
            && let Some(cookies) = cookies::for_server(&hop)
            && let Ok(mut value) = HeaderValue::from_str(cookies.reveal())
        {
            value.set_sensitive(true);
            request.headers_mut().insert("cookie", value);
        }
        Ok(request)
    }

    fn profile(&self) -> &str {
        self.typed.authority()
    }

    fn is_for_one_server(&self) -> bool {
        false
    }

    fn hear(&self, hop: &Address, answer: &Answer) {
        for text in answer.headers("set-cookie") {
            cookies::take(hop, text);
        }
    }

    fn told_by(&self, hop: &Address) -> Option<String> {
        self.logins.told(hop, &self.typed).ok().flatten().map(|told| told.by)
    }
}

/// Who tells the server of an address something, and where that was read; nobody if it is asked as anybody may ask.
///
/// # Errors
/// Why what there is cannot be used.
pub fn of_address(text: &str) -> Result<Option<(String, Origin)>, String> {
    let Some(address) = Address::parse(text) else { return Ok(None) };
    Ok(LOGINS.told(&address, &address)?.map(|told| (told.by, told.origin)))
}

/// The logins of `.netrc`, without their passwords: host, name, line; and why they are refused, if they are.
#[must_use]
pub fn of_netrc(surroundings: &Surroundings) -> (Vec<(Entry, Origin)>, Option<String>) {
    let netrc = surroundings.file("NETRC", ".netrc").map(|path| Netrc::read(&path)).unwrap_or_default();
    let place = |entry: &Entry| (entry.clone(), Origin::File { path: netrc.path.clone(), line: entry.line });
    (netrc.entries.iter().map(place).collect(), netrc.refused.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn logins() -> Logins {
        let text = "machine a.example login me password CANARY1\nmachine urs.earthdata.nasa.gov login u password CANARY2\n\
                    machine b.example:8443 login p password CANARY3\ndefault login d password CANARY4\n";
        Logins {
            netrc: Netrc::of(text),
            remotes: Vec::new(),
            earthdata: Some(Secret::new("CANARY5".into())),
            earthdata_hosts: vec!["archive.example".into()],
        }
    }

    /// What is told at a hop of a way that began at `typed`.
    #[track_caller]
    fn check(typed: &str, hop: &str, expected: &str) {
        let (typed, hop) = (Address::parse(typed).unwrap(), Address::parse(hop).unwrap());
        let told = logins().told(&hop, &typed).unwrap();
        let shown = told.map_or_else(String::new, |told| {
            told.headers.iter().map(|(_, secret)| secret.reveal().to_owned()).collect::<Vec<_>>().join(";")
        });
        let basic = expected.contains(':').then(|| format!("Basic {}", base64(expected.as_bytes())));
        assert_eq!(shown, basic.unwrap_or_else(|| expected.to_owned()));
    }

    #[test]
    fn a_login_reaches_its_own_host_only() {
        check("https://a.example/x", "https://a.example/x", "me:CANARY1");
        check("https://a.example:8443/x", "https://a.example:8443/x", "me:CANARY1");
        // Twelve ways to be sent elsewhere.
        check("https://a.example/x", "https://evil.example/x", "");
        check("https://a.example/x", "https://a.example.evil.example/x", "");
        check("https://a.example/x", "https://x.a.example/x", "");
        check("https://a.example/x", "http://a.example/x", "");
        check("https://a.example/x", "https://a.example:444/x", "");
        check("https://a.example:8443/x", "https://a.example:9443/x", "");
        check("https://a.example/x", "https://b.example/x", "");
        check("https://a.example/x", "https://b.example:8443/x", "p:CANARY3");
        check("https://other.example/x", "https://a.example/x", "me:CANARY1");
        check("https://other.example/x", "https://a.example:8443/x", "");
        check("https://other.example/x", "https://evil.example/x", "");
        check("https://archive.example/x", "https://urs.earthdata.nasa.gov/oauth", "u:CANARY2");
    }

    #[test]
    fn the_default_and_the_token_reach_only_what_was_typed() {
        check("https://other.example/x", "https://other.example/x", "d:CANARY4");
        check("https://archive.example/x", "https://archive.example/x", "Bearer CANARY5");
        check("https://data.nsidc.earthdata.nasa.gov/x", "https://data.nsidc.earthdata.nasa.gov/y", "Bearer CANARY5");
        check("https://other.example/x", "https://archive.example/x", "");
        check("http://archive.example/x", "http://archive.example/x", "");
        check("https://evilnasa.gov/x", "https://evilnasa.gov/x", "d:CANARY4");
    }

    #[test]
    fn nothing_is_told_where_there_are_no_logins() {
        let surroundings = Surroundings::of(BTreeMap::from([("HOME".to_owned(), "/nonexistent".to_owned())]));
        assert!(Logins::of(&surroundings, &Known::default()).is_empty());
    }
}
