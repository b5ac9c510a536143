//! Remotes of rclone for web servers: an address, and what is said to its server.
//!
//! It promises that what is said goes to addresses below that of the remote only. Source: the rclone documentation, "HTTP".

use super::{Origin, ini::Section};
use crate::{
    address::Address,
    digest::base64,
    open::{HeaderName, HeaderValue},
    secret::Secret,
};

/// A remote that is a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRemote {
    /// Its name.
    pub name: String,
    /// Where it was read.
    pub origin: Origin,
    /// Its address, with a slash at its end.
    pub address: Address,
    /// What is said to the server.
    pub(crate) headers: Vec<(HeaderName, Secret)>,
}

impl WebRemote {
    pub(super) fn of(section: &Section, name: &str, origin: &Origin, below: Option<&str>) -> Result<Self, String> {
        let url = section.text("url").ok_or("it has no `url`")?;
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or("its `url` is no web address")?;
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let path = path.trim_end_matches('/');
        let below = below.map(|below| format!("/{below}")).unwrap_or_default();
        let address = Address::parse(&format!("{scheme}://{host}{path}{below}/"));
        let address = address.ok_or("its `url` is no web address")?;
        let mut headers = Vec::new();
        if let Some(login) = login {
            let plain = percent_encoding::percent_decode_str(login).collect::<Vec<u8>>();
            let value = Secret::new(format!("Basic {}", base64(&plain)));
            headers.push((HeaderName::from_static("authorization"), value));
        }
        if let Some(said) = section.secret("headers") {
            let fields = fields(said.reveal());
            let mut pairs = fields.chunks_exact(2);
            for pair in &mut pairs {
                let [name, value] = pair else { continue };
                let (Ok(name), Ok(_)) = (HeaderName::try_from(name.trim()), HeaderValue::from_str(value)) else {
                    return Err("its `headers` cannot be sent".into());
                };
                headers.push((name, Secret::new(value.clone())));
            }
            if !pairs.remainder().is_empty() {
                return Err("its `headers` are no pairs".into());
            }
        }
        Ok(Self { name: name.to_owned(), origin: origin.clone(), address, headers })
    }

    /// Whether anything is said to the server.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Whether an address is below that of the remote.
    pub(crate) fn holds(&self, address: &Address) -> bool {
        address.scheme() == self.address.scheme()
            && address.authority() == self.address.authority()
            && (address.path().starts_with(self.address.path())
                || format!("{}/", address.path()) == self.address.path())
    }

    /// The address of a path of the remote.
    pub(crate) fn address_of(&self, path: &str) -> String {
        let sent = path.trim_start_matches('/').replace('%', "%25").replace('#', "%23");
        format!("{}{sent}", self.address)
    }
}

/// The fields of a line with commas, which may stand in quotes.
fn fields(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut letters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                found.last_mut().map(|field| field.push('"')).unwrap_or_default();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => found.push(String::new()),
            other => found.last_mut().map(|field| field.push(other)).unwrap_or_default(),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_says_its_headers_to_its_own_folder_only() {
        let mut section = Section::default();
        section.set("url".into(), Secret::new("https://me:p%40ss@h.example/data".into()));
        section.set("headers".into(), Secret::new("Cookie,\"a=1, b\",X-Key,CANARY".into()));
        let remote = WebRemote::of(&section, "web", &Origin::Environment, Some("sub")).unwrap();
        let shown: Vec<_> = remote.headers.iter().map(|(name, value)| format!("{name}={}", value.reveal())).collect();
        assert_eq!(shown, ["authorization=Basic bWU6cEBzcw==", "cookie=a=1, b", "x-key=CANARY"]);
        assert_eq!(remote.address_of("a b/50%.nc"), "https://h.example/data/sub/a b/50%25.nc");
        let holds = |text: &str| remote.holds(&Address::parse(text).unwrap());
        assert!(holds("https://h.example/data/sub/x") && holds("https://h.example/data/sub"));
        for elsewhere in
            ["https://h.example/data/subx", "http://h.example/data/sub/x", "https://h.example:444/data/sub/x"]
        {
            assert!(!holds(elsewhere), "{elsewhere}");
        }
        assert!(!format!("{remote:?}").contains("CANARY"));
    }
}
