//! Whom to trust on the web: the authorities that vouch for servers, and what is wrong with who is not trusted.
//!
//! It promises that a file of authorities which somebody named is read or is an error: trusting others in its place is
//! not what was wished for. Nothing turns the check off. It sends nothing.

use std::path::{Path, PathBuf};

use rustls::{CertificateError, Error};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

/// What names the authorities of the machine in place of its usual ones, as it does for OpenSSL.
const IN_PLACE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What names more of them: for the AWS tools, for Python's and for rclone, which takes several with commas between.
/// Web servers besides theirs are asked too, so these only add.
const BESIDES: [&str; 3] = ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "RCLONE_CA_CERT"];

/// The certificates of authorities, in DER; none: those that Mozilla trusts are to be taken.
///
/// # Errors
/// If what a variable names cannot be read.
pub(crate) fn authorities() -> Result<Vec<Vec<u8>>, String> {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    // An empty variable names nothing.
    let (file, folder) = (named(IN_PLACE[0]), named(IN_PLACE[1]));
    let mut found = match (&file, &folder) {
        (None, None) => load_native_certs().certs,
        _ => {
            let file = file.as_deref().map(Path::new);
            let mut read = file.map_or_else(
                || Ok(Vec::new()),
                |path| of(IN_PLACE[0], path, load_certs_from_paths(Some(path), None)),
            )?;
            for path in folder.iter().flat_map(std::env::split_paths).filter(|path| !path.as_os_str().is_empty()) {
                // A folder may be empty, and hold other things; it must be there.
                let in_folder = load_certs_from_paths(None, Some(&path));
                if !path.is_dir() {
                    return Err(unread(IN_PLACE[1], &path, "it is no folder"));
                }
                read.extend(in_folder.certs);
            }
            if read.is_empty() {
                return Err(format!("`{}` names no certificate, so nobody is trusted", IN_PLACE[1]));
            }
            read
        }
    };
    for variable in BESIDES {
        let Some(value) = named(variable) else { continue };
        let is_list = variable.starts_with("RCLONE");
        let text = value.to_string_lossy().into_owned();
        let paths = if is_list { text.split(',').map(PathBuf::from).collect() } else { vec![PathBuf::from(value)] };
        for path in paths.iter().filter(|path| !path.as_os_str().is_empty()) {
            let is_folder = path.is_dir();
            let read = if is_folder {
                load_certs_from_paths(None, Some(path))
            } else {
                load_certs_from_paths(Some(path), None)
            };
            found.extend(of(variable, path, read)?);
        }
    }
    Ok(found.iter().map(|certificate| certificate.as_ref().to_vec()).collect())
}

type Certificates = Vec<rustls::pki_types::CertificateDer<'static>>;

/// The certificates of a file that a variable names.
fn of(variable: &str, path: &Path, read: CertificateResult) -> Result<Certificates, String> {
    match read.errors.first() {
        _ if !read.certs.is_empty() => Ok(read.certs),
        Some(error) => Err(unread(variable, path, &error.to_string())),
        None => Err(unread(variable, path, "there is no certificate in it")),
    }
}

fn unread(variable: &str, path: &Path, why: &str) -> String {
    format!("`{variable}` names {}, which could not be read: {why}", path.display())
}

/// What is wrong with a server that is not trusted, and what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// Nobody who is trusted vouches for it.
    Unknown,
    /// Its certificate is for other hosts.
    OtherHost,
    /// Its certificate has ended.
    Expired,
    /// Its certificate has not begun.
    NotYet,
    /// It does not speak TLS.
    NoTls,
    /// Anything else.
    Other,
}

impl Distrust {
    /// Which of them an error of the library is, and its words.
    pub(crate) fn of(error: &Error) -> (Self, String) {
        use CertificateError as Wrong;
        let words = |text: &str| text.to_owned();
        match error {
            // A wrong signature: an authority that calls itself like one that is trusted.
            Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
                (Self::Unknown, words("its certificate is signed by nobody whom this machine trusts"))
            }
            Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
                (Self::OtherHost, words("its certificate is for another host"))
            }
            Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
                (Self::Expired, words("its certificate has expired"))
            }
            Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => {
                (Self::NotYet, words("its certificate is not valid yet"))
            }
            Error::InvalidMessage(_) => (Self::NoTls, words("it does not speak TLS")),
            other => (Self::Other, other.to_string()),
        }
    }

    /// What to do about it.
    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::Unknown | Self::Other => {
                "if you know who vouches for it, name the file of that authority's certificate: `AWS_CA_BUNDLE` adds it, \
                 `SSL_CERT_FILE` takes it in place of all others"
            }
            Self::OtherHost => "use the name that the server calls itself; whoever answers here may be somebody else",
            Self::Expired => {
                "tell whoever runs the server; if others can reach it, the clock of this machine may be wrong"
            }
            Self::NotYet => "the clock of this machine may be wrong; if it is right, tell whoever runs the server",
            Self::NoTls => "its address may begin with `http://`, or have another port",
        }
    }
}
