//! Debian packages that tests and benches call: the one list of them.
//!
//! Tests ask for them by `testkit::needs(BINARY, PACKAGE)`; a test keeps the list complete.

use crate::{Outcome, process, workspace};

/// Package, and what it is for.
pub const PACKAGES: &[(&str, &str)] = &[
    ("iproute2", "looks at the networks that tests make"),
    ("nftables", "looks at the firewall rules of these networks"),
    ("skopeo", "reads the images that we build, as others do"),
];

/// Installs what is missing, when this machine has `apt-get` and we are root; otherwise says how.
pub fn install_missing() -> Outcome {
    if !process::answers("dpkg-query", &["--version"]) {
        return Ok(());
    }
    let missing: Vec<&str> =
        PACKAGES.iter().map(|(name, _)| *name).filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("warning: some tests will be skipped without: {}", missing.join(" "));
        eprintln!("hint: sudo apt-get install {}", missing.join(" "));
        return Ok(());
    }
    let root = workspace::root();
    let install = [&["-qq", "install", "-y", "--no-install-recommends"][..], &missing].concat();
    // The lists of a fresh machine are empty or old; only then is it worth fetching them.
    process::run(&root, "apt-get", &install).or_else(|_| {
        process::run(&root, "apt-get", &["-qq", "update"])
            .and_then(|()| process::run(&root, "apt-get", &install))
    })
}

fn is_installed(package: &str) -> bool {
    process::read(&workspace::root(), "dpkg-query", &["-W", "-f=${db:Status-Status}", package])
        .is_ok_and(|status| status == "installed")
}
