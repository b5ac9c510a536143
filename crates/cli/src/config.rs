//! The configuration: what somebody said once for all commands.
//!
//! A word that is not known is an error, so that a guard that was misspelt is not taken for one that is there.

use std::path::{Path, PathBuf};

use frazil_store::bounds::write_only_under;
use frazil_transfer::TransferError;
use serde::Deserialize;

/// What a configuration may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The only places that may be written to; `{user}` is who types.
    write_only_under: Option<Places>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Places {
    One(String),
    Several(Vec<String>),
}

/// Reads the configuration and lets it take effect.
///
/// # Errors
/// If the file that was named is not there, or one is no configuration.
pub fn read(named: Option<&Path>) -> Result<(), TransferError> {
    let Some(path) = named.map(Path::to_owned).or_else(usual) else { return Ok(()) };
    let wrong = |reason: String| TransferError::Configuration { file: path.display().to_string(), reason };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let config: Config = toml::from_str(&text).map_err(|error| wrong(place_of(&text, &error)))?;
    let places = match config.write_only_under {
        None => return Ok(()),
        Some(Places::One(place)) => vec![place],
        Some(Places::Several(places)) => places,
    };
    let user = ["JUPYTERHUB_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let mut all = Vec::new();
    for place in places {
        match (&user, place.contains("{user}")) {
            (None, true) => return Err(wrong("it says `{user}`, and nobody knows who that is: set USER".into())),
            (Some(user), true) => all.push(place.replace("{user}", user)),
            (_, false) => all.push(place),
        }
    }
    write_only_under(all);
    Ok(())
}

/// Where a mistake is. What stands there is not repeated: it may be a secret that was put into the wrong file.
fn place_of(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1));
    format!("{place}it may say `write_only_under`, with a place or a list of places, and nothing else")
}

fn usual() -> Option<PathBuf> {
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".config"));
    let folder =
        std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(of_home);
    Some(folder?.join("frazil/config.toml"))
}
