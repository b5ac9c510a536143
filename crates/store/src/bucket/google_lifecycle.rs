//! The rules by which Google deletes, and how one is put among them.
//!
//! Source: the Cloud Storage JSON API reference, `Buckets`, and "Object Lifecycle Management". Rules have no names there: ours
//! is the one that says nothing but an age and one prefix. What others say goes back as it came.

use serde_json::{Value, json};

use super::lifecycle::{Goes, Rule, Wanted};

/// The rules of a bucket.
///
/// # Errors
/// What makes no sense.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    entries(&document).iter().map(rule).collect()
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
        ("Delete", Some(days)) => Goes::AfterDays(days),
        // What else must hold stands beside it.
        ("Delete", None) => Goes::From(0),
        _ => Goes::Never,
    };
    let uploads_days = days.filter(|_| kind == "AbortIncompleteMultipartUpload");
    Ok(Rule {
        id: String::new(),
        prefixes,
        is_enabled: true,
        goes,
        uploads_days,
        more_than_bytes: None,
        fewer_than_bytes: None,
        only,
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
    let is_ours = |entry: &Value| {
        let condition = entry["condition"].as_object();
        let kind = entry["action"]["type"].as_str();
        matches!(kind, Some("Delete" | "AbortIncompleteMultipartUpload"))
            && condition.is_some_and(|condition| {
                let is_of_prefix = match condition.get("matchesPrefix") {
                    None => prefix.is_empty() && condition.len() == 1,
                    Some(prefixes) => prefixes == &json!([prefix]) && condition.len() == 2,
                };
                is_of_prefix && condition.contains_key("age")
            })
    };
    all.retain(|entry| !is_ours(entry));
    if let Wanted::Days(days) = wanted {
        let mut condition = json!({ "age": days });
        if !prefix.is_empty() {
            condition["matchesPrefix"] = json!([prefix]);
        }
        for kind in ["Delete", "AbortIncompleteMultipartUpload"] {
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
        {"action": {"type": "SetStorageClass", "storageClass": "NEARLINE"}, "condition": {"age": 5}}]}}"#;

    #[test]
    fn the_rules_of_others_stay_as_they_are() {
        let (set, generation) = with_rule(OTHERS, "a/", Wanted::Days(7)).expect("it makes sense");
        assert_eq!(generation, "7");
        let told = rules(&set).expect("they make sense");
        let goes: Vec<_> = told.iter().map(|rule| (rule.goes, rule.is_plain())).collect();
        assert_eq!(
            goes,
            [(Goes::AfterDays(30), false), (Goes::Never, false), (Goes::AfterDays(7), true), (Goes::Never, false)]
        );
        let again = set.replacen('{', r#"{"metageneration": 8, "#, 1);
        let (gone, _) = with_rule(&again, "a/", Wanted::Nothing).expect("it makes sense");
        let others: Value = serde_json::from_str(OTHERS).expect("it is JSON");
        assert_eq!(serde_json::from_str::<Value>(&gone).expect("it is JSON")["lifecycle"], others["lifecycle"]);
    }
}
