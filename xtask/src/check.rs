//! `cargo xtask check`: everything that can be said without running the product.

use crate::process::{answers, run as step};
use crate::{Outcome, workspace};

/// All steps run, so that one call shows everything; the failures are named at the end.
pub fn run() -> Outcome {
    let mut steps: Vec<&[&str]> = vec![
        &["fmt", "--all", "--check"],
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &["test", "--quiet", "-p", "xtask", "--test", "architecture", "--test", "docs"],
    ];
    if answers("cargo", &["deny", "--version"]) {
        steps.push(&["deny", "check", "bans", "licenses", "sources"]);
    } else {
        eprintln!("warning: cargo-deny is not installed; licences and bans are not checked");
        eprintln!("hint: cargo install --locked cargo-deny");
    }
    let root = workspace::root();
    let failures: Vec<String> = steps
        .iter()
        .filter_map(|arguments| Some(step(&root, "cargo", arguments).err()?.to_string()))
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\nerror: ").into()) }
}
