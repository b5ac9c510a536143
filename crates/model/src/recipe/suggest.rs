//! "Did you mean": the known name nearest to what was written.

/// Names longer than this are not compared: the work grows with the square, and no known name is so long.
const MAX_NAME_CHARS: usize = 64;

/// The name of `known` nearest to `written`, if it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let written: Vec<char> = written.chars().take(MAX_NAME_CHARS + 1).flat_map(char::to_lowercase).collect();
    if written.len() > MAX_NAME_CHARS {
        return None;
    }
    let allowed = (written.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter_map(|name| {
            let letters: Vec<char> = name.chars().take(MAX_NAME_CHARS + 1).flat_map(char::to_lowercase).collect();
            let distance = edits(&written, &letters);
            (distance <= allowed && (distance == 0 || distance < written.len().min(letters.len())))
                .then_some((distance, name))
        })
        .min()
        .map(|(_, name)| name.to_owned())
}

/// How many letters must be put in, taken out, changed, or swapped with their neighbour.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, expected: Option<&str>) {
        let known = ["along", "align", "merge", "gaps", "precip", "lat"];
        assert_eq!(nearest(written, known).as_deref(), expected);
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        check("alnog", Some("along"));
        check("Along", Some("along"));
        check("precipp", Some("precip"));
        check("mrege", Some("merge"));
    }

    #[test]
    fn another_word_is_not() {
        check("compression", None);
        check("x", None);
        check(&"a".repeat(10_000), None);
    }
}
