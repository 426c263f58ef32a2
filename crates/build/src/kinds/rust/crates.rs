//! The crates of a project: chosen once where no lock says which, and fetched before anything is
//! compiled, so that compiling needs no network.

use super::container::{Run, Workplace};
use crate::kinds::cache::Cache;
use crate::kinds::draft::Draft;
use crate::kinds::stage::{Stage, made_by_command, put};
use crate::kinds::tree::read_text_if_there;
use crate::{BuildError, durable};
use model::Digest;
use std::path::{Path, PathBuf};

/// Locks that cargo made for projects without one.
pub const CHOSEN: &str = "resolved-rust";
/// What of cargo's configuration says where crates come from.
const TABLES: &[&str] = &["source", "registries", "registry", "net", "http"];
/// Never in a container, and paths that are of this machine.
const LEFT_OUT: &[&str] =
    &["token", "secret-key", "credential-provider", "global-credential-providers", "cainfo"];

/// Brings the copy of the project and its crates in place; answers where its lock is.
pub fn prepare(at: &mut Workplace, stage: &mut Stage, draft: &mut Draft) -> Result<PathBuf, BuildError> {
    let project = at.project;
    let (stated, chosen) = (stage.file(&at.lock), chosen_place(at, stage)?);
    if stated.is_none() && chosen.is_file() {
        stage.add_file(&chosen, at.lock.clone());
    }
    stage.bring(&at.part("source"))?;
    let settings = settings(at)?;
    put(&at.part("home").join("config.toml"), settings.as_bytes())
        .map_err(BuildError::io("write cargo's settings for the build container"))?;
    let locked = stated.is_some() || chosen.is_file();
    if !locked {
        project.refuse_without_lock("Cargo.lock", "cargo generate-lockfile")?;
    }
    let lock = at.part("source").join(&at.lock);
    let before = if locked { read_text_if_there(&lock)? } else { None };
    if before.as_deref().is_none_or(|text| needs_crates(text) && !are_fetched(at, text, &settings)) {
        fetch(at, locked)?;
    }
    if locked {
        return Ok(stated.unwrap_or(chosen));
    }
    let made = made_by_command(&at.part("source"), &at.lock)
        .map_err(BuildError::io("read the Cargo.lock that cargo made"))?;
    let text = read_text_if_there(&made)?.unwrap_or_default();
    durable::write(&chosen, text.as_bytes())?;
    mark_fetched(at, &text, &settings)?;
    draft.note(format!(
        "there is no Cargo.lock: cargo made one, which is kept until a Cargo.toml changes; for the same versions \
         everywhere, `cp {} {}/Cargo.lock`",
        chosen.display(),
        project.place()
    ));
    Ok(chosen)
}

/// Where the lock for these manifests is kept.
fn chosen_place(at: &Workplace, stage: &Stage) -> Result<PathBuf, BuildError> {
    let mut text = format!("{}\n", at.project.archive.suite);
    for file in stage.named("Cargo.toml") {
        text.push_str(&format!("{}\0", read_text_if_there(file)?.unwrap_or_default()));
    }
    Cache::of(at.project.ctx).place(CHOSEN, &format!("{}.lock", Digest::of(text.as_bytes()).hex()))
}

fn needs_crates(lock: &str) -> bool {
    lock.lines().any(|line| line.starts_with("source ="))
}

fn fetch(at: &Workplace, locked: bool) -> Result<(), BuildError> {
    at.project.ctx.say("fetching crates in a build container");
    let mut arguments = vec!["fetch".to_owned()];
    if locked {
        arguments.push("--locked".to_owned());
    }
    let hint = match at.project.spec.limits.network {
        Some(false) => {
            "fetching needs the network: leave out `x-juchu: {build: {network: false}}`, or keep the crates with `cargo vendor`"
        }
        _ => {
            "try `cargo fetch`; CARGO_NET_*, CARGO_HTTP_* and proxies of this shell are passed on, and where crates come from is read from cargo's config.toml"
        }
    };
    at.run(Run { arguments, fetches: true, verb: "fetch the crates of", hint: hint.to_owned() })?;
    if locked {
        let text = read_text_if_there(&at.part("source").join(&at.lock))?.unwrap_or_default();
        mark_fetched(at, &text, &settings(at)?)?;
    }
    Ok(())
}

/// Crates that were fetched for this lock from there are in place.
fn are_fetched(at: &Workplace, lock: &str, settings: &str) -> bool {
    std::fs::read_to_string(at.part("fetched")).is_ok_and(|text| text == fetched(lock, settings))
}

fn mark_fetched(at: &Workplace, lock: &str, settings: &str) -> Result<(), BuildError> {
    durable::write(&at.part("fetched"), fetched(lock, settings).as_bytes())
}

fn fetched(lock: &str, settings: &str) -> String {
    Digest::of(format!("{lock}\0{settings}").as_bytes()).to_string()
}

/// Where crates come from, as the caller's own cargo has it, without secrets.
fn settings(at: &Workplace) -> Result<String, BuildError> {
    let ctx = at.project.ctx;
    let home = ctx.variable("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or(ctx.home().map(|home| home.join(".cargo"))) else { return Ok(String::new()) };
    for name in ["config.toml", "config"] {
        if let Some(text) = read_text_if_there(&home.join(name))? {
            return of_configuration(&text, &home.join(name));
        }
    }
    Ok(String::new())
}

fn of_configuration(text: &str, path: &Path) -> Result<String, BuildError> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| {
        BuildError::input_hint(format!("{}: {}", path.display(), error.message()), "correct the file")
    })?;
    table.retain(|name, _| TABLES.contains(&name));
    table.iter_mut().for_each(|(_, value)| leave_out(value));
    Ok(table.to_string())
}

fn leave_out(value: &mut toml::Value) {
    let Some(table) = value.as_table_mut() else { return };
    table.retain(|name, _| !LEFT_OUT.contains(&name));
    table.iter_mut().for_each(|(_, value)| leave_out(value));
}

#[cfg(test)]
mod tests {
    #[test]
    fn settings_say_where_crates_come_from_and_hold_no_secret() {
        let text = "[build]\nrustc-wrapper = \"/x\"\n[registries.own]\nindex = \"sparse+https://r/\"\ntoken = \"s3cret\"\n\
                    [source.crates-io]\nreplace-with = \"own\"\n[http]\ncainfo = \"/x\"\ntimeout = 7\n";
        let kept = super::of_configuration(text, std::path::Path::new("/c")).unwrap();
        assert!(!kept.contains("s3cret") && !kept.contains("/x"), "{kept}");
        assert!(
            kept.contains("replace-with") && kept.contains("index") && kept.contains("timeout = 7"),
            "{kept}"
        );
        let error = super::of_configuration("[x", std::path::Path::new("/c")).unwrap_err().to_string();
        assert!(error.starts_with("/c: "), "{error}");
    }
}
