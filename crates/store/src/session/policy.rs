//! What a token may do: the least that each of frazil's verbs needs, below one prefix of one bucket.
//!
//! It promises that a policy names nothing outside of its prefix, and that a prefix which a server would read as a pattern is
//! refused. Pure text, nothing is asked. Source: the IAM JSON policy reference of AWS, which Ceph reads; Google Cloud,
//! "Downscope with Credential Access Boundaries".

use serde_json::{Value, json};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Read and list.
    Read,
    /// Write and list, and neither read nor delete.
    Write,
    /// Read, list, write and delete.
    ReadWrite,
    /// Send a delivery: write and read what one knows the name of, and neither list nor delete.
    Deliver,
}

impl Mode {
    /// As it is typed.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "read-write",
            Self::Deliver => "deliver",
        }
    }

    /// What may be done with objects.
    const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["s3:GetObject"],
            Self::Write => &["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            Self::ReadWrite => &[
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            Self::Deliver => {
                &["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
            }
        }
    }

    /// What may be done with the bucket.
    const fn bucket_actions(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["s3:ListBucket"],
            Self::Write | Self::ReadWrite => &["s3:ListBucket", "s3:ListBucketMultipartUploads"],
            Self::Deliver => &[],
        }
    }

    /// The roles of Google that come nearest.
    const fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["inRole:roles/storage.objectViewer"],
            // Whoever creates only may not list; there is no role that lists and does not read.
            Self::Write | Self::Deliver => &["inRole:roles/storage.objectCreator"],
            Self::ReadWrite => &["inRole:roles/storage.objectAdmin"],
        }
    }
}

/// A prefix that no server takes for a pattern: it ends with a slash, or is empty.
///
/// # Errors
/// If it is none.
pub fn prefix_of(key: &str) -> Result<String, String> {
    if key.chars().any(|c| "*?$\\\"'".contains(c) || c.is_control()) {
        return Err(format!("`{key}` has signs that servers read as a pattern; a token is for one folder"));
    }
    Ok(match key.is_empty() || key.ends_with('/') {
        true => key.to_owned(),
        // `jdoe` is the folder, and never `jdoes` as well.
        false => format!("{key}/"),
    })
}

/// The policy of a session (AWS, Ceph, MinIO) for what lies below `prefix`.
#[must_use]
pub fn of_session(bucket: &str, prefix: &str, mode: Mode) -> String {
    let objects = json!({
        "Effect": "Allow", "Action": mode.actions(), "Resource": [format!("arn:aws:s3:::{bucket}/{prefix}*")],
    });
    let mut statements = vec![objects];
    if !mode.bucket_actions().is_empty() {
        let mut of_bucket = json!({
            "Effect": "Allow", "Action": mode.bucket_actions(), "Resource": [format!("arn:aws:s3:::{bucket}")],
        });
        if !prefix.is_empty() {
            of_bucket["Condition"] = json!({"StringLike": {"s3:prefix": [format!("{prefix}*")]}});
        }
        statements.push(of_bucket);
    }
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// The boundary of a token of Google.
#[must_use]
pub fn of_boundary(bucket: &str, prefix: &str, mode: Mode) -> Value {
    let mut rule = json!({
        "availableResource": format!("//storage.googleapis.com/projects/_/buckets/{bucket}"),
        "availablePermissions": mode.roles(),
    });
    if !prefix.is_empty() {
        let objects = format!("resource.name.startsWith('projects/_/buckets/{bucket}/objects/{prefix}')");
        let expression = match mode {
            Mode::Read | Mode::ReadWrite => format!(
                "{objects} || api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith('{prefix}')"
            ),
            Mode::Write | Mode::Deliver => objects,
        };
        rule["availabilityCondition"] = json!({"expression": expression});
    }
    json!({"accessBoundary": {"accessBoundaryRules": [rule]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_its_prefix_and_nothing_else() {
        let actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];
        let statement = json!({"Effect": "Allow", "Action": actions, "Resource": ["arn:aws:s3:::b/jdoe/*"]});
        assert_eq!(
            serde_json::from_str::<Value>(&of_session("b", "jdoe/", Mode::Deliver)).ok(),
            Some(json!({"Version": "2012-10-17", "Statement": [statement]}))
        );
        assert!(
            of_session("b", "jdoe/", Mode::Read).contains(r#""Condition":{"StringLike":{"s3:prefix":["jdoe/*"]}}"#)
        );
        // Ceph 16 takes a space in a form for a plus.
        assert!(!of_session("b", "", Mode::ReadWrite).contains(' '));
    }

    #[test]
    fn a_folder_is_meant_and_no_pattern() {
        assert_eq!(prefix_of("jdoe"), Ok("jdoe/".into()));
        assert_eq!(prefix_of(""), Ok(String::new()));
        for wrong in ["a*", "a?", "${aws:username}", "a'b", "a\"b"] {
            assert!(prefix_of(wrong).is_err(), "{wrong}");
        }
    }
}
