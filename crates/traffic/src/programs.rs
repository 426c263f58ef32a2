//! Builds the two programs for benches and tests of other crates.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone)]
pub struct Programs {
    /// Linked statically: it runs in an image that holds nothing else.
    pub app: PathBuf,
    pub load: PathBuf,
}

impl Programs {
    /// Built by cargo if need be, in the directory of the other products.
    pub fn build(release: bool) -> Result<Self> {
        let target = target_directory();
        let profile: &[&str] = if release { &["--release"] } else { &[] };
        cargo(&[&["build", "--quiet", "--package=traffic", "--bin=traffic-load"], profile].concat())?;
        let app = ["rustc", "--quiet", "--package=traffic", "--bin=traffic-app"];
        cargo(&[&app, profile, &["--", "-C", "target-feature=+crt-static"]].concat())?;
        let built = target.join(if release { "release" } else { "debug" });
        Ok(Self { app: built.join("traffic-app"), load: built.join("traffic-load") })
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace()).env("CARGO_TARGET_DIR", target_directory());
    let status = command.status()?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::other(format!("cargo {}: {status}", arguments.join(" ")))),
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn target_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    if target.is_absolute() { target } else { workspace().join(target) }
}
