//! The files that a page of links names, as nginx, Apache and others list a folder.
//!
//! It promises that every file lies below the page: a link elsewhere, with `..`, to a script or with letters that no
//! name has is left out. It knows nothing of the look of a page but its links.

use std::collections::BTreeMap;

use frazil_model::location::Location;
use frazil_store::{
    address::{Address, decoded},
    web::page,
};

use crate::error::EngineError;

/// The largest page.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// The most links of a page.
const MAX_LINKS: usize = 2_000_000;

/// The files that the page at `location` names: where they are, and their names below the page.
pub fn files(location: &Location) -> Result<Vec<(Location, String)>, EngineError> {
    let page = page(location, MAX_PAGE_BYTES)?;
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (n_links, link) in links(&page.text).enumerate() {
        if n_links >= MAX_LINKS {
            return Err(EngineError::TooManyNames { place: location.to_string(), limit: MAX_LINKS as u64 });
        }
        if let Some((address, name)) = below(&page.address, &link) {
            found.insert(address, name);
        }
    }
    Ok(found.into_iter().map(|(address, name)| (Location::Http(address), name)).collect())
}

/// The file below `page` that a link names.
fn below(page: &Address, link: &str) -> Option<(String, String)> {
    // A link with a query sorts the page or does something; it names no file.
    if link.contains('?') || link.contains('\0') {
        return None;
    }
    let address = page.join(link)?;
    if address.scheme() != page.scheme() || address.authority() != page.authority() {
        return None;
    }
    let rest = address.path().strip_prefix(page.folder())?;
    let mut parts = Vec::new();
    for part in rest.split('/') {
        let part = decoded(part)?;
        let is_odd = part.contains(|c: char| c == '/' || c == '\\' || c.is_control());
        if part.is_empty() || part == "." || part == ".." || is_odd {
            return None;
        }
        parts.push(part);
    }
    Some((address.to_string(), parts.join("/")))
}

/// What the `href`s of the anchors of a page say.
fn links(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('<').skip(1).filter_map(|tag| {
        let rest = tag.strip_prefix(['a', 'A'])?;
        if !rest.starts_with(|c: char| c.is_ascii_whitespace()) {
            return None;
        }
        href(rest).map(plain)
    })
}

/// The `href` among the attributes of a tag.
fn href(mut rest: &str) -> Option<&str> {
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_ascii_whitespace() || "=>/".contains(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=') else {
            // An attribute without a value, or the end.
            if name.is_empty() {
                return None;
            }
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value.get(1..)?.split_once(quote)?,
            _ => {
                let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len());
                value.split_at_checked(end)?
            }
        };
        if name.eq_ignore_ascii_case("href") {
            return Some(value);
        }
        rest = after;
    }
}

/// The value with the letters that HTML must write otherwise.
fn plain(value: &str) -> String {
    if !value.contains('&') {
        return value.to_owned();
    }
    // Last of all, so that `&amp;lt;` stays `&lt;`.
    let replaced = value.replace("&#39;", "'").replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
    replaced.replace("&#38;", "&").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names below `http://h/d/` of a page with these links.
    fn names(html: &str) -> Vec<String> {
        let page = Address::parse("http://h/d/").unwrap();
        links(html).filter_map(|link| below(&page, &link)).map(|(_, name)| name).collect()
    }

    #[test]
    fn listings_of_the_usual_servers_are_read() {
        let nginx = "<html><head><title>Index of /d/</title></head><body>\n<h1>Index of /d/</h1><hr><pre>\
            <a href=\"../\">../</a>\n<a href=\"a%20b.nc\">a b.nc</a>      20-Nov-2026 12:00    5\n</pre>";
        assert_eq!(names(nginx), ["a b.nc"]);
        let apache = "<table><tr><th><a href=\"?C=N;O=D\">Name</a></th></tr><tr><td><a href=\"/\">Parent</a></td></tr>\
            <tr><td><img src=\"/icons/x.gif\"></td><td><a href=\"sst.2000.nc\">sst.2000.nc</a></td></tr>\
            <tr><td><a href=\"old/\">old/</a></td></tr>";
        assert_eq!(names(apache), ["sst.2000.nc"]);
        assert_eq!(names("<A class=x HREF='/d/b&amp;c.nc' >b</A> <a href=d.nc>d</a>"), ["b&c.nc", "d.nc"]);
        assert_eq!(names("<a href=\"http://h/d/sub/e.nc\">e</a>"), ["sub/e.nc"]);
    }

    #[test]
    fn links_that_lead_elsewhere_are_left_out() {
        for link in [
            "../x.nc",
            "../../d2/x.nc",
            "/x.nc",
            "//other/d/x.nc",
            "https://h/d/x.nc",
            "http://h:81/d/x.nc",
            "http://me:pw@h/d/x.nc",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "%2e%2e/x.nc",
            "%2e%2e%2fx.nc",
            "a%00.nc",
            "a%5cb.nc",
            "..%2f..%2fx",
            "x\0.nc",
            "",
            "#top",
            "sub//x.nc",
            "x.nc?delete",
        ] {
            assert!(names(&format!("<a href=\"{link}\">x</a>")).is_empty(), "{link:?}");
        }
    }

    #[test]
    fn broken_pages_end() {
        assert!(names(&"<a href=\"".repeat(10_000)).is_empty());
        assert!(names(&"<a x ".repeat(10_000)).is_empty());
        assert!(names("<a href").is_empty());
        assert!(names("<abbr href=\"x.nc\">").is_empty());
        assert!(names("<a href=\"é").is_empty());
    }
}
