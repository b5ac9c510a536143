//! Where the settings of a repository of Icechunk (`config.yaml`) send readers of its references.

use crate::recipe::yaml::{Content, Node, documents};

/// An address as references have it, and what it stands for on the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebDoor {
    /// How addresses of references begin.
    pub prefix: String,
    /// What stands there instead: the address of a folder, with a slash at its end.
    pub root: String,
}

/// The doors of `settings` that any web client can go through: buckets that are open, at a server of their own. Settings
/// that cannot be read have none.
#[must_use]
pub fn web_doors(settings: &str) -> Vec<WebDoor> {
    let plain: Vec<String> = settings.lines().map(without_tag).collect();
    let mut errors = Vec::new();
    let documents = documents(&plain.join("\n"), &mut errors);
    let Some(Content::Map(doors)) = documents.first().and_then(|node| entry(node, "virtual_chunk_containers")) else {
        return Vec::new();
    };
    doors.iter().filter_map(|(_, door)| web_door(door)).collect()
}

/// A line without the kind of a store, which its entries tell as well: `store: !s3_compatible`.
fn without_tag(line: &str) -> String {
    match line.split_once("store: !") {
        Some((before, rest)) if before.trim().is_empty() => {
            format!("{before}store: {}", rest.split_once(' ').map_or("", |(_, value)| value))
        }
        _ => line.to_owned(),
    }
}

fn web_door(door: &Node) -> Option<WebDoor> {
    let prefix = text(entry(door, "url_prefix")?)?;
    let store = match entry(door, "store")? {
        Content::Map(entries) => entries,
        _ => return None,
    };
    let setting =
        |name: &str| store.iter().find(|(key, _)| key.value == name).and_then(|(_, node)| text(&node.content));
    let is_open = setting("anonymous") == Some("true") && setting("force_path_style") == Some("true");
    let server = setting("endpoint_url").filter(|server| is_open && server.starts_with("http"))?;
    let bucket = prefix.strip_prefix("s3://")?.trim_end_matches('/');
    let folder = if bucket == "." { String::new() } else { format!("{bucket}/") };
    Some(WebDoor { prefix: prefix.to_owned(), root: format!("{}/{folder}", server.trim_end_matches('/')) })
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a Content> {
    match &node.content {
        Content::Map(entries) => entries.iter().find(|(key, _)| key.value == name).map(|(_, node)| &node.content),
        _ => None,
    }
}

fn text(content: &Content) -> Option<&str> {
    match content {
        Content::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_buckets_at_servers_of_their_own_are_on_the_web() {
        let settings = "virtual_chunk_containers:\n  s3://a/:\n    name: null\n    url_prefix: s3://a/\n    store: !s3_compatible\n      \
                        endpoint_url: http://h:80\n      anonymous: true\n      force_path_style: true\n  \"s3://./\":\n    \
                        url_prefix: \"s3://./\"\n    store: !s3_compatible\n      endpoint_url: \"https://k:8443\"\n      \
                        anonymous: true\n      force_path_style: true\n  s3://b/:\n    url_prefix: s3://b/\n    store: !s3\n      \
                        endpoint_url: null\n      anonymous: true\n      force_path_style: true\n  file:///x/:\n    \
                        url_prefix: file:///x/\n    store: !local_file_system \"/x !y/\"\nmanifest: null\n";
        let door = |prefix: &str, root: &str| WebDoor { prefix: prefix.into(), root: root.into() };
        assert_eq!(web_doors(settings), [door("s3://a/", "http://h:80/a/"), door("s3://./", "https://k:8443/")]);
        assert_eq!(web_doors("]["), []);
        assert_eq!(web_doors(""), []);
    }
}
