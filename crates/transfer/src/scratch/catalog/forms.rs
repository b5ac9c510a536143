//! The ways in which texts write a name: with escapes of JSON and shells, per cent signs, entities of HTML, and these in each other.
//!
//! It promises that a text as it stands is among its forms. Which of them is meant is not asked: a name that is found in one
//! of them counts.

use std::{
    borrow::Cow,
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use percent_encoding::percent_decode_str;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Forms of one text that are looked at. What is written in more ways at once is written by nobody.
const MOST_FORMS: usize = 24;

/// Ways of writing that lie in each other.
const MOST_DEEP: usize = 4;

/// Does something with each form of a text.
pub(super) fn each_form(text: &str, mut look: impl FnMut(&str)) {
    let mut seen = HashSet::new();
    forms(text, MOST_DEEP, &mut seen, &mut look);
}

fn forms(text: &str, n_deep: usize, seen: &mut HashSet<u64>, look: &mut impl FnMut(&str)) {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    if seen.len() >= MOST_FORMS || !seen.insert(hasher.finish()) {
        return;
    }
    look(&even(text));
    if n_deep == 0 {
        return;
    }
    for other in [unescaped, without_percents, without_entities, without_plus, with_slashes] {
        if let Cow::Owned(other) = other(text) {
            forms(&other, n_deep - 1, seen, look);
        }
    }
}

/// A text with one space where there are several or the line ends, accents in one way, and without what nobody sees.
pub(super) fn even(text: &str) -> String {
    // JSON may write each slash so; it stays one in a name, too.
    let text = if text.contains("\\/") { Cow::Owned(text.replace("\\/", "/")) } else { Cow::Borrowed(text) };
    let text = if is_nfc(&text) { text } else { Cow::Owned(text.nfc().collect()) };
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            // Where a word may break, and marks of the order of bytes and of directions.
            '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => {}
            letter if letter.is_whitespace() => {
                if !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            letter => plain.push(letter),
        }
    }
    plain
}

fn with_slashes(text: &str) -> Cow<'_, str> {
    match text.contains('\\') {
        true => Cow::Owned(text.replace("\\\\", "\\").replace("\\/", "/").replace('\\', "/")),
        false => Cow::Borrowed(text),
    }
}

fn without_plus(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) }
}

fn without_percents(text: &str) -> Cow<'_, str> {
    match percent_decode_str(text).decode_utf8_lossy() {
        other if other == text => Cow::Borrowed(text),
        other => Cow::Owned(other.into_owned()),
    }
}

/// With what `&amp;` and the like stand for: what names are written with.
fn without_entities(text: &str) -> Cow<'_, str> {
    const NAMED: [(&str, char); 16] = [
        ("amp", '&'),
        ("lt", '<'),
        ("gt", '>'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", ' '),
        ("sol", '/'),
        ("colon", ':'),
        ("period", '.'),
        ("lowbar", '_'),
        ("equals", '='),
        ("plus", '+'),
        ("comma", ','),
        ("percnt", '%'),
        ("hyphen", '-'),
        ("num", '#'),
    ];
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        let letter = end.and_then(|end| rest.get(..end)).and_then(|name| match name.strip_prefix('#') {
            Some(number) => match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => number.parse().ok(),
            }
            .and_then(char::from_u32),
            None => NAMED.iter().find(|(known, _)| *known == name).map(|(_, letter)| *letter),
        });
        match (letter, end) {
            (Some(letter), Some(end)) => {
                plain.push(letter);
                rest = &rest[end + 1..];
            }
            _ => plain.push('&'),
        }
    }
    plain.push_str(rest);
    if plain == text { Cow::Borrowed(text) } else { Cow::Owned(plain) }
}

/// With what escapes by backslashes stand for, as JSON, YAML, Python, TOML and shells write them.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        rest = match escape(rest) {
            // Bytes of a letter may be written one by one.
            Some((Escaped::Byte(byte), n)) => {
                plain.push(byte);
                &rest[n..]
            }
            Some((Escaped::Letter(letter), n)) => {
                plain.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                &rest[n..]
            }
            // A line that goes on.
            None if rest.starts_with(['\n', '\r']) => rest.trim_start(),
            None => rest,
        };
    }
    plain.extend_from_slice(rest.as_bytes());
    Cow::Owned(String::from_utf8(plain).unwrap_or_else(|error| latin(error.as_bytes())))
}

/// Bytes that are no UTF-8 as what they are in it, and as Latin letters where they are not.
fn latin(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    text
}

enum Escaped {
    Byte(u8),
    Letter(char),
}

/// What stands behind a backslash, and how long it is.
fn escape(rest: &str) -> Option<(Escaped, usize)> {
    let digits = |from: usize, n: usize, radix: u32| {
        let digits = rest.get(from..from + n).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, radix).ok()
    };
    let first = rest.chars().next()?;
    match first {
        'u' => {
            let high = digits(1, 4, 16)?;
            let low = rest.get(5..7).filter(|text| *text == "\\u").and_then(|_| digits(7, 4, 16));
            match (char::from_u32(high), low) {
                (Some(letter), _) => Some((Escaped::Letter(letter), 5)),
                (None, Some(low)) => {
                    let pair = u16::try_from(high).ok().zip(u16::try_from(low).ok())?;
                    let letter = char::decode_utf16([pair.0, pair.1]).next()?.ok()?;
                    Some((Escaped::Letter(letter), 11))
                }
                (None, None) => None,
            }
        }
        'U' => Some((Escaped::Letter(char::from_u32(digits(1, 8, 16)?)?), 9)),
        'x' => Some((Escaped::Byte(u8::try_from(digits(1, 2, 16)?).ok()?), 3)),
        '0'..='7' => Some((Escaped::Byte(u8::try_from(digits(0, 3, 8)?).ok()?), 3)),
        'n' | 'r' | 't' | 'f' | 'v' | 'b' => Some((Escaped::Letter(' '), 1)),
        first if first.is_ascii_punctuation() || first == ' ' => Some((Escaped::Letter(first), 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut all = Vec::new();
        each_form(text, |form| all.push(form.to_owned()));
        assert!(all.iter().any(|form| form == expected), "{text}: {all:?}");
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for text in [
            "a/b é.zarr",
            "a/b e\u{301}.zarr",
            r"a\/b \u00e9.zarr",
            r"\u0061\/b\x20\xc3\xa9.zarr",
            r"a/b\040\303\251.zarr",
            r"a/b\ \xe9.zarr",
            "a/b%20%C3%A9.zarr",
            "a%2fb+%c3%a9.zarr",
            "a%252Fb%2520%25C3%25A9.zarr",
            "a&#47;b&nbsp;&#xe9;.zarr",
            "a/b&amp;#32;é.zarr",
            r"a\b é.zarr",
            "a/b\n    é.zarr",
            "a/\\\n   b é.za\u{200b}rr",
            r"a\u002525b%20é.zarr",
        ] {
            let expected = if text.contains("002525") { "a%25b é.zarr" } else { "a/b é.zarr" };
            check(text, expected);
        }
    }

    #[test]
    fn a_text_that_escapes_without_end_has_an_end() {
        let mut n = 0;
        each_form(&r"\\\\\\%25%25%25&amp;amp;amp;+".repeat(50), |_| n += 1);
        assert!(n <= MOST_FORMS);
    }
}
