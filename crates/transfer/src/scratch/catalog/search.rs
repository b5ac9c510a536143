//! Names of stores in texts.
//!
//! A store counts as named where its own name stands in a text, with no letter of a longer name around it; where a folder
//! above it is the end of an address, or a pattern follows it; and where a pattern fits its name. Only a folder that is
//! written plainly before a name can say that another store of that name is meant. What lies above the place is never
//! compared: a bucket has many addresses, and a folder many mounts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    ops::Bound,
};

use aho_corasick::AhoCorasick;

use super::forms::{each_form, even};
use crate::{
    error::TransferError,
    place::{Place, joined},
};

/// Stores that are looked for at once: their names are in memory, letter by letter.
const MOST_AT_ONCE: usize = 50_000;

/// Names that links give to stores.
const MOST_LINKED: usize = 1_000_000;

/// Patterns that are remembered, so that each is compared with all names once.
const MOST_PATTERNS: usize = 100_000;

/// The longest pattern between brackets, in bytes.
const MAX_PATTERN_BYTES: usize = 200;

/// A folder's name is no longer.
const MAX_NAME_LETTERS: usize = 256;

/// What of an address is shown, in letters.
const MOST_SHOWN: usize = 60;

/// What is looked for.
#[derive(Debug)]
struct Node {
    kind: Kind,
    /// The name of the folder it is in, if texts can be compared with it: below the place, of plain letters.
    parent: Option<String>,
    /// The stores that it is about.
    stores: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Store,
    /// Of stores, a group within one, or the place itself, or what that is in.
    Folder,
    /// Of the place: other servers put its name before their own.
    Bucket,
}

/// What was found so far.
struct Found<'a> {
    stores: &'a mut [Option<String>],
    /// What is looked for no more.
    done: Vec<bool>,
}

/// For each of the stores, by its name below the place, which of the texts names it.
pub(super) fn find(
    texts: &[(String, String)],
    place: &Place,
    stores: &[(&str, Kind)],
) -> Result<Vec<Option<String>>, TransferError> {
    let mut named = vec![None; stores.len()];
    for (some, named) in stores.chunks(MOST_AT_ONCE).zip(named.chunks_mut(MOST_AT_ONCE)) {
        let wanted = Wanted::of(place, some)?;
        let mut found = Found { stores: named, done: vec![false; wanted.nodes.len()] };
        for (name, text) in texts {
            let mut patterns = HashSet::new();
            each_form(text, |form| wanted.look(form, name, &mut patterns, &mut found));
        }
    }
    Ok(named)
}

struct Wanted {
    nodes: Vec<Node>,
    words: AhoCorasick,
    /// The nodes of each word.
    meant: Vec<Vec<usize>>,
    /// Names of stores and folders, from their beginnings and from their ends.
    by_name: BTreeMap<String, Vec<usize>>,
    by_end: BTreeMap<String, Vec<usize>>,
}

impl Wanted {
    fn of(place: &Place, sought: &[(&str, Kind)]) -> Result<Self, TransferError> {
        let stores: Vec<&str> = sought.iter().map(|(store, _)| *store).collect();
        let stores = stores.as_slice();
        let mut nodes: Vec<(String, Node)> = Vec::new();
        let mut folders: HashMap<&str, usize> = HashMap::new();
        let linked = linked(place, stores)?;
        let own = stores.iter().enumerate().map(|(number, store)| (*store, number));
        for (store, number) in own.chain(linked.iter().map(|(path, number)| (path.as_str(), *number))) {
            if store.is_empty() {
                continue;
            }
            nodes.push(node(store, sought.get(number).map_or(Kind::Store, |(_, kind)| *kind), number));
            let above = store.match_indices('/').map(|(end, _)| &store[..end]);
            for folder in above {
                let at = *folders.entry(folder).or_insert_with(|| {
                    nodes.push((even(base(folder)), Node { stores: Vec::new(), ..node(folder, Kind::Folder, 0).1 }));
                    nodes.len() - 1
                });
                nodes[at].1.stores.push(number);
            }
        }
        let (mut by_name, mut by_end) = (BTreeMap::<String, Vec<usize>>::new(), BTreeMap::<String, Vec<usize>>::new());
        let n_below = nodes.len();
        nodes.extend(of_place(place, stores));
        let has_pattern = |at: usize, node: &Node| at < n_below || node.kind == Kind::Store;
        for (at, (name, _)) in nodes.iter().enumerate().filter(|(at, (_, node))| has_pattern(*at, node)) {
            by_name.entry(name.clone()).or_default().push(at);
            by_end.entry(name.chars().rev().collect()).or_default().push(at);
        }
        let mut words: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, (name, _)) in nodes.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            words.entry(name.clone()).or_default().push(at);
        }
        let (words, meant): (Vec<String>, Vec<Vec<usize>>) = words.into_iter().unzip();
        let words = AhoCorasick::new(words)
            .map_err(|error| TransferError::Uncountable { reason: format!("catalogs cannot be searched: {error}") })?;
        Ok(Self { nodes: nodes.into_iter().map(|(_, node)| node).collect(), words, meant, by_name, by_end })
    }

    fn look(&self, text: &str, name: &str, patterns: &mut HashSet<(String, Option<String>)>, found: &mut Found<'_>) {
        for hit in self.words.find_overlapping_iter(text) {
            let (start, end) = (hit.start(), hit.end());
            let meant = self.meant.get(hit.pattern().as_usize()).into_iter().flatten().copied();
            let is_whole = is_whole(text, start, end);
            if !is_whole && !text[end..].starts_with('.') {
                continue;
            }
            let before = before(text, start);
            let is_end = is_whole && is_end(text, start, end);
            for at in meant.filter(|at| !found.done[*at]).collect::<Vec<usize>>() {
                let node = &self.nodes[at];
                let is_it = match node.kind {
                    Kind::Store => is_whole,
                    Kind::Folder => is_end,
                    Kind::Bucket => is_end || is_host(text, start, end),
                };
                if is_it && agrees(before, node.parent.as_deref()) {
                    let how = (node.kind != Kind::Store).then(|| shown(text, start, end));
                    self.mark(at, name, how.as_deref(), found);
                }
            }
        }
        for (at, letter) in text.char_indices().filter(|(_, letter)| OPENS.contains(letter)) {
            let Some(pattern) = Pattern::at(text, at, letter) else { continue };
            let key = (pattern.text.to_owned(), pattern.before.map(str::to_owned));
            if patterns.len() < MOST_PATTERNS && !patterns.insert(key) {
                continue;
            }
            let fitting: Vec<usize> = match pattern.is_beginning {
                true => beginning(&self.by_name, pattern.text),
                false => beginning(&self.by_end, &pattern.text.chars().rev().collect::<String>()),
            };
            for at in fitting.into_iter().filter(|at| agrees(pattern.before, self.nodes[*at].parent.as_deref())) {
                let (start, end) = pattern.lies;
                self.mark(at, name, Some(&shown(text, start, end)), found);
            }
        }
    }

    fn mark(&self, at: usize, name: &str, how: Option<&str>, found: &mut Found<'_>) {
        if std::mem::replace(&mut found.done[at], true) {
            return;
        }
        let how = how.map(|how| format!(" (with `{how}`)")).unwrap_or_default();
        for store in &self.nodes[at].stores {
            if let Some(told) = found.stores.get_mut(*store) {
                told.get_or_insert_with(|| format!("{name}{how}"));
            }
        }
    }
}

/// Nodes of names that begin with a text.
fn beginning(names: &BTreeMap<String, Vec<usize>>, with: &str) -> Vec<usize> {
    let from = (Bound::Included(with), Bound::Unbounded);
    let fits = names.range::<str, _>(from).take_while(|(name, _)| name.starts_with(with));
    fits.flat_map(|(_, nodes)| nodes.iter().copied()).collect()
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn node(path: &str, kind: Kind, store: usize) -> (String, Node) {
    let parent = path.rsplit_once('/').map(|(above, _)| base(above).to_owned());
    let parent = parent.filter(|parent| parent.bytes().all(|byte| is_segment(char::from(byte)) && byte.is_ascii()));
    (even(base(path)), Node { kind, parent, stores: vec![store] })
}

/// Other paths of the stores below the place: by links that lie beside them or beside folders above them.
fn linked(place: &Place, stores: &[&str]) -> Result<Vec<(String, usize)>, TransferError> {
    let Place::Local(path) = place else { return Ok(Vec::new()) };
    // Of a place that is not there, or that cannot be read, nothing goes.
    let Ok(root) = fs::canonicalize(path) else { return Ok(Vec::new()) };
    let above = stores.iter().flat_map(|store| store.match_indices('/').map(|(end, _)| &store[..end]));
    let folders: BTreeSet<&str> = std::iter::once("").chain(above).collect();
    let mut found = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let target = entry
                .file_type()
                .ok()
                .filter(fs::FileType::is_symlink)
                .and_then(|_| fs::canonicalize(entry.path()).ok());
            let target =
                target.as_ref().and_then(|target| target.strip_prefix(&root).ok()).and_then(|path| path.to_str());
            let (Some(target), Ok(name)) = (target, entry.file_name().into_string()) else { continue };
            let link = joined(folder, &name);
            for (number, store) in stores.iter().enumerate() {
                let path = match (store.strip_prefix(target), target.strip_prefix(store)) {
                    (Some(rest), _) if target.is_empty() || rest.starts_with('/') => {
                        joined(&link, rest.trim_start_matches('/'))
                    }
                    (_, Some(inner)) if inner.is_empty() || inner.starts_with('/') => link.clone(),
                    _ => continue,
                };
                found.push((path, number));
            }
            if found.len() > MOST_LINKED {
                let reason = format!("links give its stores more than {MOST_LINKED} names");
                return Err(TransferError::Uncountable { reason });
            }
        }
    }
    Ok(found)
}

/// What means all that lies at the place: the place, and what it is in.
fn of_place(place: &Place, stores: &[&str]) -> Vec<(String, Node)> {
    let all: Vec<usize> = (0..stores.len()).collect();
    let is_store = stores.iter().any(|store| store.is_empty());
    let mut names: BTreeSet<(String, bool)> = BTreeSet::new();
    let mut nodes = Vec::new();
    let mut add = |name: String, kind: Kind, parent: Option<String>| {
        nodes.push((even(&name), Node { kind, parent, stores: all.clone() }));
    };
    match place {
        Place::Local(path) => {
            // By the name that was given and by its own, both from the root.
            let paths = [fs::canonicalize(path).ok(), std::path::absolute(path).ok()];
            for path in paths.into_iter().flatten() {
                names.extend(path.file_name().map(|name| (name.to_string_lossy().into_owned(), true)));
                let above = path.ancestors().filter(|path| path.parent().is_some());
                names.extend(above.map(|path| (path.to_string_lossy().into_owned(), false)));
            }
            for (name, is_base) in names {
                add(name, if is_base && is_store { Kind::Store } else { Kind::Folder }, None);
            }
        }
        Place::Bucket { bucket, key } => {
            let path = bucket.path(key);
            let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            for (at, segment) in segments.iter().enumerate() {
                // The bucket has many names, so that the first folder in it has nothing that it could be compared with.
                let parent = if at >= 2 { node(&segments[..=at].join("/"), Kind::Folder, 0).1.parent } else { None };
                let kind = match at {
                    _ if is_store && at + 1 == segments.len() => Kind::Store,
                    0 => Kind::Bucket,
                    _ => Kind::Folder,
                };
                add((*segment).to_owned(), kind, parent);
            }
        }
        Place::Web(_) => {}
    }
    nodes
}

/// Letters of which names are made. Others may stand beside a name: in some scripts no space comes between words.
const fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// Letters of a folder that is plainly written.
fn is_segment(letter: char) -> bool {
    is_name(letter) || matches!(letter, '=' | '@' | '~' | '+') || (!letter.is_ascii() && !letter.is_whitespace())
}

/// Marks that may stand at the beginning or end of a name, and around it in a text.
const MARKS: [char; 3] = ['.', '-', '_'];

/// Whether a name stands by itself.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let (before, after) = (text[..start].trim_end_matches(MARKS), text[end..].trim_start_matches(MARKS));
    let is_free = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_ascii_alphanumeric());
    is_free(before.chars().next_back()) && is_free(after.chars().next())
}

/// Where the plain letters at the end of a text begin, if it ends with some. Longer ones than a name may be are no name.
fn segment_before(text: &str) -> Option<usize> {
    let letters = text.char_indices().rev().take(MAX_NAME_LETTERS);
    letters.take_while(|(_, letter)| is_segment(*letter)).last().map(|(at, _)| at)
}

/// The folder that is plainly written before a name, if one is.
fn before(text: &str, start: usize) -> Option<&str> {
    let head = text[..start].trim_end_matches(MARKS);
    let head = head.strip_suffix('/')?.trim_end_matches('/');
    let at = segment_before(head)?;
    let segment = &head[at..];
    let above = &head[..at];
    // A server, a bucket, and what follows a colon may be any folder; so may what a pattern or an escape stands before.
    let is_plain = match above.chars().next_back() {
        None => true,
        Some('/') => !above.ends_with("//"),
        Some(letter) => letter.is_whitespace() || "\"'`([<,;|".contains(letter),
    };
    (is_plain && !matches!(segment, "." | "..")).then_some(segment)
}

/// Whether the folder that is written before a name may be the one that it is in.
fn agrees(written: Option<&str>, parent: Option<&str>) -> bool {
    let (Some(written), Some(parent)) = (written, parent) else { return true };
    // `url=kim/a.zarr`
    let rest = written.strip_suffix(parent);
    rest.is_some_and(|rest| rest.chars().next_back().is_none_or(|letter| !is_name(letter)))
}

/// Whether a folder is the end of an address, or a pattern follows it.
fn is_end(text: &str, start: usize, end: usize) -> bool {
    let (head, rest) = (&text[..start], &text[end..]);
    let tail = rest.trim_start_matches('/');
    let is_written = |after: &str| match after.chars().next() {
        // What is written with escapes is looked at where they are taken out.
        Some('\\') => false,
        Some('%') => opens(after, 0, '%'),
        _ => true,
    };
    if tail.len() == rest.len() {
        return (text[start..].starts_with('/') || head.ends_with(['/', ':'])) && is_written(rest);
    }
    let after = tail.trim_start_matches(is_segment);
    let segment = &tail[..tail.len() - after.len()];
    match after.chars().next() {
        _ if segment.is_empty() => is_written(after),
        // `kim/.` is the folder, and `kim/..` is the one above it.
        _ if segment == "." => true,
        Some(letter) if OPENS.contains(&letter) => opens(after, 0, letter),
        _ => false,
    }
}

/// Whether a bucket is the first part of a server's name, and nothing comes after that.
fn is_host(text: &str, start: usize, end: usize) -> bool {
    let rest = &text[end..];
    let host = rest.trim_start_matches(|letter| is_name(letter) || letter == ':');
    let end_of_host = text.len() - host.len();
    text[..start].ends_with("//") && rest.starts_with('.') && is_end(text, start.saturating_sub(1), end_of_host)
}

/// What patterns and templates begin with.
const OPENS: [char; 7] = ['*', '{', '$', '%', '?', '[', '<'];

/// Whether a letter begins a pattern there, and not a tag, a question or a per cent sign of an address.
fn opens(text: &str, at: usize, letter: char) -> bool {
    let rest = &text.as_bytes()[at + letter.len_utf8()..];
    let digit = |n: usize| rest.get(n).is_some_and(u8::is_ascii_hexdigit);
    match letter {
        // `%04d` and `%2d` are numbers; `%20` is a space.
        '%' => !(digit(0) && digit(1)) || rest[0] == b'0' || (rest[0].is_ascii_digit() && rest[1] == b'd'),
        '<' => rest.first().is_some_and(|byte| byte.is_ascii_alphabetic()),
        '?' => {
            let n_word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
            rest.first().is_some_and(|byte| is_name(char::from(*byte)) || b"?*/".contains(byte))
                && rest.get(n_word) != Some(&b'=')
        }
        _ => true,
    }
}

/// A pattern whose beginning or end is plain.
struct Pattern<'a> {
    text: &'a str,
    is_beginning: bool,
    /// The folder before it.
    before: Option<&'a str>,
    lies: (usize, usize),
}

impl<'a> Pattern<'a> {
    fn at(text: &'a str, at: usize, letter: char) -> Option<Self> {
        // `{{`, `**` and `${` are one beginning.
        let goes_on = text[..at].ends_with(letter) || (letter == '{' && text[..at].ends_with('$'));
        if goes_on || !opens(text, at, letter) {
            return None;
        }
        if let Some(start) = segment_before(&text[..at]) {
            let end = closed(text, at, letter);
            // A tag of a page comes after a word; in a name something plain comes after it.
            if letter == '<' && !text[end..].starts_with(['.', '_', '-', '/']) {
                return None;
            }
            let before = before(text, start);
            return Some(Self { text: &text[start..at], is_beginning: true, before, lies: (start, end) });
        }
        let from = closed(text, at, letter);
        let rest = &text[from..];
        let end = rest.trim_start_matches(is_segment);
        let tail = rest[..rest.len() - end.len()].trim_end_matches(['.', '-']);
        let is_meant = tail.chars().count() >= 2 && (letter != '<' || tail.starts_with(MARKS));
        let before = before(text, at);
        let lies = (at, from + tail.len());
        is_meant.then_some(Self { text: tail, is_beginning: false, before, lies })
    }
}

/// Where what a pattern begins with ends.
fn closed(text: &str, at: usize, letter: char) -> usize {
    let from = at + letter.len_utf8();
    let rest = &text[from..];
    let of = |closing: char| {
        let end = rest.bytes().take(MAX_PATTERN_BYTES).position(|byte| byte == closing as u8)?;
        let more = rest[end..].bytes().take_while(|byte| *byte == closing as u8).count();
        Some(from + end + more)
    };
    let found = match letter {
        '{' => of('}'),
        '[' => of(']'),
        '<' => of('>'),
        '$' if rest.starts_with('{') => of('}'),
        '$' => Some(from + rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()),
        '%' => {
            let flags = rest.bytes().take_while(|byte| b"-+#0123456789.".contains(byte)).count();
            Some(from + flags + rest[flags..].chars().next().map_or(0, char::len_utf8))
        }
        _ => Some(from + rest.bytes().take_while(|byte| b"*?".contains(byte)).count()),
    };
    found.unwrap_or(from)
}

/// An address from a folder on, as it is told.
fn shown(text: &str, start: usize, end: usize) -> String {
    let rest = text[end..].chars().take_while(|letter| !letter.is_whitespace() && !"\"'`,;()?#".contains(*letter));
    text[start..end].chars().chain(rest.take(MOST_SHOWN)).collect()
}

#[cfg(test)]
mod tests;
