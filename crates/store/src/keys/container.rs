//! Keys of the server that a container was told of, by variables.
//!
//! It promises that only a server on this machine, one of the two addresses that containers have, or one over TLS is
//! asked, and none of these unless a variable names it. Source: the AWS SDKs and Tools Reference Guide, "Container
//! credential provider".

use std::fs;

use serde::Deserialize;

use super::{Key, seconds_of, service};
use crate::{
    open::{Method, Sending},
    profile::source::Container,
    secret::Secret,
};

/// The addresses that the services of containers have.
const SERVERS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

/// Asks it.
pub(super) fn ask(container: &Container) -> Result<Key, String> {
    let address = service::address(&container.address, "")?;
    if !address.is_private() && !SERVERS.contains(&address.host()) {
        return Err(format!(
            "its server of keys {} is neither on this machine, nor one of containers, nor asked over TLS",
            address.authority()
        ));
    }
    let token = match (&container.token_file, &container.token) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).map_err(|error| format!("{}: {}", path.display(), error.kind()))?;
            Some(Secret::new(text.trim().to_owned()))
        }
        (None, token) => token.clone(),
    };
    let mut sending = Sending::new(Method::GET, &[]);
    if let Some(token) = &token {
        sending = sending.with("authorization", token.reveal());
    }
    let told = service::told(&address, &sending, None)?;
    if told.status != 200 {
        return Err(format!("the container's server {} answered {}", address.without_query(), told.status));
    }
    let answered: Answered = serde_json::from_str(&told.text)
        .map_err(|_| format!("the answer of the container's server {} makes no sense", address.without_query()))?;
    Ok(Key {
        access_key_id: answered.access_key_id,
        secret: Secret::new(answered.secret_access_key),
        token: answered.token.map(Secret::new),
        ends_seconds: answered.expiration.as_deref().and_then(seconds_of),
    })
}
