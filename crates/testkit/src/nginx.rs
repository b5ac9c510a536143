//! A real web server, nginx, that serves a folder on this machine, where it is installed.
//!
//! It lists folders, serves byte ranges, and can speak TLS with a certificate that nobody knows. Dropping it ends it.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How often it is looked for before it counts as not started.
const MOST_LOOKS: usize = 100;

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// In the open.
    Http,
    /// With a certificate of its own making; `openssl` must be installed.
    Https,
}

/// The server.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    work: PathBuf,
    address: String,
}

impl Nginx {
    /// Serves `folder`. `None`: nginx (or `openssl`) is not installed or cannot start here.
    #[must_use]
    pub fn start(folder: &Path, speaks: Speaks) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let work = std::env::temp_dir().join(format!("frazil-nginx-{}-{port}", std::process::id()));
        fs::create_dir_all(&work).ok()?;
        let (scheme, listen) = match speaks {
            Speaks::Http => ("http", String::new()),
            Speaks::Https => {
                certificate(&work)?;
                ("https", " ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem".to_owned())
            }
        };
        let shown = |path: &Path| path.display().to_string();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {}/{kind}; ", shown(&work)))
            .collect();
        let config = format!(
            "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/errors;\nevents {{ worker_connections 64; }}\n\
             http {{ access_log off; {temp}\nserver {{ listen 127.0.0.1:{port}{listen};\n\
             location / {{ root {1}; autoindex on; }} }} }}\n",
            shown(&work),
            shown(folder),
        );
        let file = work.join("nginx.conf");
        fs::write(&file, config).ok()?;
        let child = Command::new("nginx")
            .args(["-p", &shown(&work), "-c", &shown(&file), "-e", &shown(&work.join("errors"))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut server = Self { child, work, address: format!("{scheme}://127.0.0.1:{port}") };
        for _ in 0..MOST_LOOKS {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            if server.child.try_wait().ok()?.is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A key and a certificate for this machine that it signs itself.
fn certificate(work: &Path) -> Option<()> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(work)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    made.success().then_some(())
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to end, it takes its worker along; killed, it would leave it behind.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.work);
    }
}
