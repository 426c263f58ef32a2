//! `juchu ca`: the certificate by which browsers trust what this machine's own authority made.

use super::args::Read;
use super::screen::{Outcome, Screen};
use crate::home::Home;
use certs::{Authority, CertError};
use model::{ErrorKind, Report, Timestamp};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `ca --json` prints.
#[derive(Serialize)]
struct Root {
    path: String,
    certificate: String,
}

/// Where everything of certificates but what the gateway shows is kept.
pub fn directory(home: &Home) -> std::path::PathBuf {
    home.join("certs")
}

pub fn ca(screen: &Screen, home: &Home, args: &Read) -> Outcome {
    let authority = Authority::of(&directory(home));
    let certificate = authority.root(now().0).map_err(|error| report(&error))?;
    let path = authority.path().display().to_string();
    if args.output.json {
        return screen.json(&Root { path, certificate });
    }
    screen.print(&certificate)?;
    screen.note(format!("kept in {path}; programs trust it once it is where they look:"));
    screen
        .note("  Debian    juchu ca > /usr/local/share/ca-certificates/juchu.crt && update-ca-certificates");
    screen.note("  Fedora    juchu ca > /etc/pki/ca-trust/source/anchors/juchu.pem && update-ca-trust");
    screen.note(
        "  Firefox   Settings, Privacy & Security, Certificates, View Certificates, Authorities, Import",
    );
    screen.note("  curl      curl --cacert FILE https://…");
    Ok(())
}

fn report(error: &CertError) -> Report {
    Report::from_error(ErrorKind::Environment, error).hint("sudo juchu ca")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
