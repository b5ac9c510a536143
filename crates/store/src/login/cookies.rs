//! Cookies of servers on the way through a login.
//!
//! They live as long as this process. It promises that a cookie goes back to the host, the port and the scheme that set
//! it and nowhere else, whatever domain it asks for, and that a host can set only so many. Source: RFC 6265.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{address::Address, secret::Secret};

/// Cookies of one server.
const MOST_COOKIES: usize = 50;

/// Servers whose cookies are kept.
const MOST_SERVERS: usize = 1000;

/// A longer cookie is none.
const MAX_COOKIE_BYTES: usize = 8 << 10;

struct Cookie {
    name: String,
    value: Secret,
    path: String,
}

static JAR: LazyLock<Mutex<HashMap<String, Vec<Cookie>>>> = LazyLock::new(Mutex::default);

fn server(address: &Address) -> String {
    format!("{:?} {}", address.scheme(), address.authority())
}

/// Keeps what a server sets.
pub(super) fn take(address: &Address, text: &str) {
    let mut parts = text.split(';');
    let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || text.len() > MAX_COOKIE_BYTES {
        return;
    }
    let (mut path, mut is_over) = (address.folder().to_owned(), false);
    for part in parts {
        let (key, said) = part.split_once('=').unwrap_or((part, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "path" if said.trim().starts_with('/') => said.trim().clone_into(&mut path),
            "max-age" => is_over = said.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0),
            "expires" if said.contains(" 1970 ") || said.contains("-1970 ") => is_over = true,
            _ => {}
        }
    }
    let mut jar = JAR.lock().unwrap_or_else(PoisonError::into_inner);
    let n_servers = jar.len();
    let key = server(address);
    if !jar.contains_key(&key) && n_servers >= MOST_SERVERS {
        return;
    }
    let cookies = jar.entry(key).or_default();
    cookies.retain(|cookie| cookie.name != name || cookie.path != path);
    if !is_over && cookies.len() < MOST_COOKIES {
        cookies.push(Cookie { name: name.to_owned(), value: Secret::new(value.to_owned()), path });
    }
}

/// What goes back to a server.
pub(super) fn for_server(address: &Address) -> Option<Secret> {
    let jar = JAR.lock().unwrap_or_else(PoisonError::into_inner);
    let is_below = |path: &str| {
        let rest = address.path().strip_prefix(path);
        rest.is_some_and(|rest| path.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    };
    let cookies = jar.get(&server(address))?.iter().filter(|cookie| is_below(&cookie.path));
    let text = cookies.map(|cookie| format!("{}={}", cookie.name, cookie.value.reveal())).collect::<Vec<_>>();
    (!text.is_empty()).then(|| Secret::new(text.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_goes_back_to_whoever_set_it() {
        let at = |text: &str| Address::parse(text).unwrap();
        let sent = |text: &str| for_server(&at(text)).map(|secret| secret.reveal().to_owned()).unwrap_or_default();
        take(&at("https://jar.example/login?code=1"), "a=1; Path=/; Domain=.example; Secure; HttpOnly");
        take(&at("https://jar.example/deep/login"), "b=2");
        assert_eq!(sent("https://jar.example/x"), "a=1");
        assert_eq!(sent("https://jar.example/deep/x"), "a=1; b=2");
        for elsewhere in
            ["http://jar.example/x", "https://jar.example:444/x", "https://other.example/x", "https://x.jar.example/x"]
        {
            assert_eq!(sent(elsewhere), "", "{elsewhere}");
        }
        take(&at("https://jar.example/"), "a=; Path=/; Max-Age=0");
        assert_eq!(sent("https://jar.example/x"), "");
    }
}
