//! Patterns of names: `*`, `?` and `[…]` within a part, `**` for any number of parts.
//!
//! They mean the same on this machine, in buckets and in recipes. It promises that no pattern takes longer than the
//! product of its length and that of the name.

/// Whether a text has letters that patterns are made of.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a name is as a pattern of `*`, `?` and `[…]` says.
///
/// It goes back only to the last star, so that its time is at most the product of the two lengths.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match one(&pattern[p..], name[n]) {
            Some(0) => {
                star = Some((p, n));
                p += 1;
            }
            Some(used) => {
                p += used;
                n += 1;
            }
            None => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

/// How much of the pattern one letter takes: nothing for a star, `None` if it does not fit.
fn one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '*' => Some(0),
        '?' => Some(1),
        '[' => {
            // The first letter of a set may be its closing bracket.
            let end = (2..pattern.len()).find(|at| pattern[*at] == ']' && !(*at == 2 && pattern[1] == '!'));
            let Some(end) = end else { return (letter == '[').then_some(1) };
            let (is_not, set) = match pattern[1] {
                '!' | '^' => (true, &pattern[2..end]),
                _ => (false, &pattern[1..end]),
            };
            (in_set(set, letter) != is_not).then_some(end + 1)
        }
        plain => (*plain == letter).then_some(1),
    }
}

fn in_set(set: &[char], letter: char) -> bool {
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            if (set[at]..=set[at + 2]).contains(&letter) {
                return true;
            }
            at += 3;
        } else {
            if set[at] == letter {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// Whether the parts of a key are as a pattern says; `**` is any number of them.
#[must_use]
pub fn fits(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern.split_first(), key.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), Some(_)) => true,
        (Some((&"**", rest)), _) => (0..=key.len()).any(|n_parts| fits(rest, &key[n_parts..])),
        (Some((part, rest)), Some((name, names))) => {
            // As in a shell, a star does not find what is hidden.
            let is_seen = part.starts_with('.') || !name.starts_with('.');
            (part == name || (is_seen && is_pattern(part) && matches(part, name))) && fits(rest, names)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, expected) in [
            ("*.nc", "a.nc", true),
            ("*.nc", "a.nc4", false),
            ("sst.?.nc", "sst.1.nc", true),
            ("sst.[12].nc", "sst.3.nc", false),
            ("sst.[!12].nc", "sst.3.nc", true),
            ("sst.[0-9][0-9].nc", "sst.42.nc", true),
            ("a*b*c", "aXXbYYbc", true),
            ("[", "[", true),
            ("[]]", "]", true),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        assert!(!matches(&"*a".repeat(60), &"a".repeat(10_000).replace("aaaaaaaaaa", "b")));
    }

    #[track_caller]
    fn check(pattern: &str, key: &str, expected: bool) {
        let parts = |text: &'static str| text.split('/').collect::<Vec<_>>();
        let (pattern, key) = (pattern.to_owned().leak(), key.to_owned().leak());
        assert_eq!(fits(&parts(pattern), &parts(key)), expected, "{pattern} {key}");
    }

    #[test]
    fn a_star_does_not_cross_a_slash_and_two_do() {
        check("a/*.nc", "a/x.nc", true);
        check("a/*.nc", "a/b/x.nc", false);
        check("a/**/*.nc", "a/b/c/x.nc", true);
        check("a/**/*.nc", "a/x.nc", true);
        check("a/**", "a/b/c", true);
        check("a/*.nc", "a/.x.nc", false);
        check("a/[0-9].nc", "a/7.nc", true);
    }
}
