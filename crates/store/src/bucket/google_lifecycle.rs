//! The rules by which Google deletes, and how one is put among them.
//!
//! Source: the Cloud Storage JSON API reference, `Buckets`, and "Object Lifecycle Management". Rules have no names there: ours
//! is the pair that deletes objects and ends uploads at the same age, of the same prefix, and says nothing more. What others say,
//! also of the same keys, goes back as it came.

use serde_json::{Value, json};

use super::lifecycle::{Goes, Rule, Wanted};

/// What rules do.
const DELETE: &str = "Delete";
const END_UPLOADS: &str = "AbortIncompleteMultipartUpload";

/// The rules of a bucket.
///
/// # Errors
/// What makes no sense.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let all = entries(&document);
    let (mut told, ours) = (all.iter().map(rule).collect::<Result<Vec<Rule>, _>>()?, pairs(&all));
    for at in ours {
        told[at].is_pair = true;
    }
    Ok(told)
}

/// The age and the prefix of a rule that says nothing else; without a prefix it is about everything.
fn plain(entry: &Value) -> Option<(&str, u64, String)> {
    let condition = entry["condition"].as_object()?;
    let (n_known, prefix) = match condition.get("matchesPrefix") {
        None => (1, String::new()),
        Some(prefixes) => match prefixes.as_array()?.as_slice() {
            [one] => (2, one.as_str()?.to_owned()),
            _ => return None,
        },
    };
    let says_no_more = condition.len() == n_known && entry["action"].as_object()?.len() == 1;
    let kind = entry["action"]["type"].as_str()?;
    says_no_more.then_some((kind, condition.get("age")?.as_u64()?, prefix))
}

/// Where the rules lie that are pairs as frazil sets them.
fn pairs(all: &[Value]) -> Vec<usize> {
    let told: Vec<_> = all.iter().map(plain).collect();
    let mut free: Vec<usize> = (0..all.len()).collect();
    let mut found = Vec::new();
    for (at, rule) in told.iter().enumerate().rev() {
        let Some((DELETE, age, prefix)) = rule else { continue };
        let is_other = |other: &&usize| told[**other].as_ref() == Some(&(END_UPLOADS, *age, prefix.clone()));
        if let Some(other) = free.iter().rev().find(is_other).copied() {
            free.retain(|free| *free != other);
            found.extend([at, other]);
        }
    }
    found
}

fn entries(document: &Value) -> Vec<Value> {
    document["lifecycle"]["rule"].as_array().cloned().unwrap_or_default()
}

fn rule(entry: &Value) -> Result<Rule, String> {
    let none = serde_json::Map::new();
    let condition = entry["condition"].as_object().unwrap_or(&none);
    let kind = entry["action"]["type"].as_str().ok_or("a rule has no action")?;
    let days = condition.get("age").and_then(Value::as_u64);
    let prefixes: Vec<String> = match condition.get("matchesPrefix").and_then(Value::as_array) {
        Some(prefixes) => prefixes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => vec![String::new()],
    };
    let plain = ["age", "matchesPrefix", "isLive"];
    let mut only: Vec<String> = condition
        .keys()
        .filter(|name| !plain.contains(&name.as_str()))
        .map(|name| format!("what has `{name}`"))
        .collect();
    if condition.get("isLive").is_some_and(|live| live == &json!(false)) {
        only.push("versions that are no longer current".into());
    }
    let goes = match (kind, days) {
        (DELETE, Some(days)) => Goes::AfterDays(days),
        // What else must hold stands beside it.
        (DELETE, None) => Goes::From(0),
        _ => Goes::Never,
    };
    let uploads_days = days.filter(|_| kind == END_UPLOADS);
    Ok(Rule {
        id: String::new(),
        prefixes,
        is_enabled: true,
        goes,
        uploads_days,
        more_than_bytes: None,
        fewer_than_bytes: None,
        only,
        is_pair: false,
    })
}

/// What the bucket is to be changed to, and the generation that it must still have.
///
/// # Errors
/// What makes no sense in what it is.
pub(super) fn with_rule(text: &str, prefix: &str, wanted: Wanted) -> Result<(String, String), String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let generation = match &document["metageneration"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("it does not say which generation it is".into()),
    };
    let mut all = entries(&document);
    let is_ours = |at: &usize| plain(&all[*at]).is_some_and(|(_, _, own)| own == prefix);
    let ours: Vec<usize> = pairs(&all).into_iter().filter(is_ours).collect();
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        !ours.contains(&(at - 1))
    });
    if let Wanted::Days(days) = wanted {
        let mut condition = json!({ "age": days });
        if !prefix.is_empty() {
            condition["matchesPrefix"] = json!([prefix]);
        }
        for kind in [DELETE, END_UPLOADS] {
            all.push(json!({"action": {"type": kind}, "condition": condition}));
        }
    }
    let lifecycle = if all.is_empty() { Value::Null } else { json!({ "rule": all }) };
    Ok((json!({ "lifecycle": lifecycle }).to_string(), generation))
}

#[cfg(test)]
#[allow(clippy::expect_used)] // Tests: their panics are their verdicts.
mod tests {
    use super::*;

    const OTHERS: &str = r#"{"metageneration": "7", "lifecycle": {"rule": [
        {"action": {"type": "Delete"}, "condition": {"age": 30, "matchesPrefix": ["a/"], "matchesSuffix": [".tmp"]}},
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 5}},
        {"action": {"type": "Delete"}, "condition": {"age": 400, "matchesPrefix": ["a/"]}},
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 2, "matchesPrefix": ["a/"]}}]}}"#;

    #[test]
    fn the_rules_of_others_stay_as_they_are() {
        let (set, generation) = with_rule(OTHERS, "a/", Wanted::Days(7)).expect("it makes sense");
        assert_eq!(generation, "7");
        let told = rules(&set).expect("they make sense");
        let goes: Vec<_> = told.iter().map(|rule| (rule.goes, rule.is_plain())).collect();
        assert_eq!(
            goes,
            [
                (Goes::AfterDays(30), false),
                (Goes::Never, false),
                (Goes::AfterDays(400), true),
                (Goes::Never, false),
                (Goes::AfterDays(7), true),
                (Goes::Never, false)
            ]
        );
        let is_pair: Vec<bool> = told.iter().map(|rule| rule.is_pair).collect();
        assert_eq!(is_pair, [false, false, false, false, true, true]);
        let again = set.replacen('{', r#"{"metageneration": 8, "#, 1);
        let (gone, _) = with_rule(&again, "a/", Wanted::Nothing).expect("it makes sense");
        let others: Value = serde_json::from_str(OTHERS).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Value>(&gone).expect("it is JSON")["lifecycle"], others["lifecycle"]);
    }
}
