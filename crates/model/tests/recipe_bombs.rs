//! Texts that are made to exhaust a reader: each must fail within a second of work and 100 MB.
//!
//! One test, in a process of its own, because time and memory are the process's.

use frazil_model::recipe::parse;

/// The processor time and the peak memory of this process so far, where the system tells.
fn used() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim();
    Some((ticks * 10, peak.split_whitespace().next()?.parse().ok()?))
}

fn bombs() -> Vec<(&'static str, String)> {
    let aliases = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..=9 {
            let items = vec![format!("*a{}", level - 1); 9].join(", ");
            text += &format!("a{level}: &a{level} [{items}]\n");
        }
        text
    };
    let scalar = format!("a: &a \"{}\"\nb: [{}]", "x".repeat(60_000), vec!["*a"; 90_000].join(","));
    let fill = |unit: &str| unit.repeat((512 << 10) / unit.len());
    let numbered = |n: usize, line: &dyn Fn(usize) -> String| (0..n).map(line).collect::<String>();
    let small = "recipe: 1\nid: x\nwrite: zarr\nsources: {f: {glob: a}}\n";
    let cut = |mut text: String| {
        text.truncate(512 << 10);
        text
    };
    vec![
        ("nine to the ninth aliases", aliases),
        ("a long text repeated", scalar),
        ("an alias inside itself", "a: &a [*a]".to_owned()),
        ("a cycle of aliases", "a: &a {b: &b [*a], c: *b}".to_owned()),
        ("a million open lists", "[".repeat(1_000_000)),
        ("as many open lists as fit", fill("[")),
        ("a million open mappings", fill("{a: ")),
        ("a million dashes", fill("- ")),
        ("a million question marks", fill("? ")),
        ("a staircase", numbered(1000, &|n| format!("{}a:\n", " ".repeat(n)))),
        ("a text of 100 MB", format!("a: {}", "x".repeat(100_000_000))),
        ("a text of half a megabyte", format!("a: \"{}\"", "x".repeat((512 << 10) - 10))),
        ("a word of half a megabyte", "x".repeat(512 << 10)),
        ("the same key", fill("a: 1\n")),
        ("as many keys as fit", cut(numbered(120_000, &|n| format!("k{n}: 1\n")))),
        ("as many documents as fit", fill("--- a\n")),
        ("anchors", cut(numbered(90_000, &|n| format!("- &a{n} x\n")))),
        (
            "anchors in anchors",
            format!("{}{}{}", numbered(30, &|n| format!("&a{n} [")), "x,".repeat(9000), "]".repeat(30)),
        ),
        ("tags", fill("!t x\n")),
        ("directives", fill("%TAG ! a\n")),
        ("comments", fill("#\n")),
        ("spaces", fill(" ")),
        ("line breaks", fill("\n")),
        ("tabs", fill("\t")),
        ("quotes", fill("\"")),
        ("colons", fill(": ")),
        ("commas", cut(format!("[x{}", fill(", x")))),
        ("denser commas", cut(format!("[{}", fill("x,")))),
        ("pairs", cut(format!("{{{}", fill("x:,")))),
        ("quoted pairs", cut(format!("{{{}", fill("'':,")))),
        ("empty lists", cut(format!("[{}", fill("[],")))),
        ("a folded text", cut(format!("a: >\n{}", fill(" x\n")))),
        ("unknown steps", cut(format!("{small}each:\n{}", numbered(90_000, &|n| format!("- {{k{n}: 1}}\n"))))),
        (
            "renames",
            cut(format!("{small}each:\n- rename:\n{}", numbered(20_000, &|n| format!("    k{n}: v{n}\n"))) + "?"),
        ),
        (
            "patterns",
            cut(format!(
                "recipe: 1\nid: x\nwrite: zarr\nsources:\n{}",
                numbered(9000, &|n| format!("  f{n}: {{glob: a, match: '(\\w{{9}}\\pL{{9}}){{9}}'}}\n"))
            )),
        ),
        (
            "a pattern that grows",
            format!(
                "recipe: 1\nid: x\nwrite: zarr\nsources: {{f: {{glob: a, match: '{}'}}}}\n",
                "(".repeat(200) + "x" + &"){9}".repeat(200)
            ),
        ),
        (
            "keys",
            cut(format!(
                "recipe: 1\nid: x\nwrite: zarr\nsources:\n  f:\n    url: '{}'\n    keys:\n{}",
                numbered(8000, &|n| format!("{{u{n}}}")),
                numbered(40_000, &|n| format!("      k{n}: 1\n"))
            )),
        ),
        (
            "an expression of brackets",
            format!("{small}each: [{{calc: {{a: '{}x{}'}}}}]\n", "(".repeat(2000), ")".repeat(2000)),
        ),
        ("an expression of signs", format!("{small}each: [{{calc: {{a: '{}x'}}}}]\n", "-".repeat(4000))),
        ("placeholders", cut(format!("{small}each:\n{}", fill("- <A <B <C\n")))),
    ]
}

#[test]
fn bombs_do_not_go_off() {
    for (name, text) in bombs() {
        // From here on the peak is counted anew: the text itself is not the reader's.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let before = used();
        let outcome = parse(&text);
        assert!(outcome.is_err(), "{name} was taken for a recipe");
        if let (Some((ms_before, kb_before)), Some((ms, kb))) = (before, used()) {
            assert!(ms - ms_before < 1000, "{name} took {} ms", ms - ms_before);
            assert!(kb.saturating_sub(kb_before) < 100_000, "{name} took {} kB", kb.saturating_sub(kb_before));
            if std::env::var_os("SHOW").is_some() {
                println!(
                    "{name}: {} ms, {} kB more: {}",
                    ms - ms_before,
                    kb.saturating_sub(kb_before),
                    outcome.unwrap_err()[0]
                );
            }
        }
    }
}
