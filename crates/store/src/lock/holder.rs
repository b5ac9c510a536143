//! Who is at work, as a claim in a bucket says it, and whether that process is surely gone.
//!
//! It promises to say "gone" only of a process of this very boot of this very machine. It knows Linux; elsewhere nobody
//! is ever known to be gone.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
};

/// A process that holds a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// A number that no other holder has.
    pub id: String,
    pid: u32,
    /// When the process began, in ticks of its machine.
    born: u64,
    /// Which boot of the machine it belongs to; empty if nobody says.
    boot: String,
    /// In which space its number means something.
    space: String,
    /// Name of the machine.
    host: String,
}

impl Holder {
    /// This process, with a new number.
    pub fn new() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        let line = |path| fs::read_to_string(path).map(|text| word(text.trim())).unwrap_or_default();
        let pid = std::process::id();
        Self {
            id: format!("{:016x}{:016x}", random(), random()),
            pid,
            born: life_of(pid).map_or(0, |life| life.born),
            boot: line("/proc/sys/kernel/random/boot_id"),
            space: fs::read_link("/proc/self/ns/pid").map(|path| word(&path.to_string_lossy())).unwrap_or_default(),
            host: line("/proc/sys/kernel/hostname"),
        }
    }

    /// As a line of a claim.
    pub fn to_line(&self) -> String {
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let (boot, space, host) = (or_none(&self.boot), or_none(&self.space), or_none(&self.host));
        format!("holder {} {} {} {boot} {space} {host}", self.id, self.pid, self.born)
    }

    /// Reads it back; `None` if the line is none of a holder.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("holder ")?.split(' ');
        let text = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
        Some(Self {
            id: words.next()?.to_owned(),
            pid: words.next()?.parse().ok()?,
            born: words.next()?.parse().ok()?,
            boot: text(words.next()?),
            space: text(words.next()?),
            host: text(words.next()?),
        })
    }

    /// Whether its process is surely gone, as `me` can see.
    pub fn is_gone(&self, me: &Self) -> bool {
        let is_here = !me.boot.is_empty()
            && !me.space.is_empty()
            && (&self.boot, &self.space, &self.host) == (&me.boot, &me.space, &me.host);
        is_here && life_of(self.pid).is_none_or(|life| life.born != self.born || life.is_over)
    }

    /// As people know it.
    pub fn name(&self) -> String {
        match self.host.as_str() {
            "" => format!("process {}", self.pid),
            host => format!("process {} on {host}", self.pid),
        }
    }
}

/// A text as one word.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

struct Life {
    born: u64,
    /// It has ended, and nobody has asked how.
    is_over: bool,
}

/// What the machine says of a process; `None` if there is none of that number, or the machine does not say.
fn life_of(pid: u32) -> Option<Life> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in brackets and may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let is_over = matches!(words.first(), Some(&("Z" | "X")));
    Some(Life { born: words.get(19)?.parse().ok()?, is_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_back_and_this_process_lives() {
        let me = Holder::new();
        assert_eq!(Holder::parse(&me.to_line()), Some(me.clone()));
        assert_ne!(me.id, Holder::new().id);
        assert!(!me.is_gone(&me));
    }

    #[test]
    fn only_a_process_of_this_boot_is_known_to_be_gone() {
        let me = Holder::new();
        let ended = std::process::Command::new("true").spawn().and_then(|mut child| child.wait().map(|_| child.id()));
        let gone = Holder { pid: ended.unwrap(), born: 1, ..me.clone() };
        assert!(gone.is_gone(&me));
        for other in [
            Holder { boot: "another".into(), ..gone.clone() },
            Holder { space: "another".into(), ..gone.clone() },
            Holder { host: "another".into(), ..gone.clone() },
        ] {
            assert!(!other.is_gone(&me));
        }
        assert!(Holder { born: me.born + 1, ..me.clone() }.is_gone(&me), "its number was given to another one");
    }
}
