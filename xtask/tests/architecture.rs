//! The architecture as tests: who may use whom, and what stays out of the core.

use std::path::{Path, PathBuf};
use xtask::rules::{self, ARROWS, CORE, CORE_EXTERNAL, CORE_FORBIDDEN, FORBIDDEN};
use xtask::workspace::{crates, files, root};

/// A file up to its unit tests, which stand at the end.
fn product_code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a source file");
    let end = text.find("\n#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Sources without integration tests, benches and development crates.
fn product_sources(names: &[&str]) -> Vec<PathBuf> {
    let directories = names.iter().map(|name| root().join("crates").join(name).join("src"));
    directories.filter(|d| d.is_dir()).flat_map(|d| files(&d, ".rs").expect("sources")).collect()
}

/// Lines that are no comments and contain one of the texts.
fn offences(path: &Path, forbidden: &[(&str, &str)]) -> Vec<String> {
    let code = product_code(path);
    let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for (number, line) in lines {
        for (text, why) in forbidden.iter().filter(|(text, _)| line.contains(text)) {
            let path = path.strip_prefix(root()).unwrap_or(path).display();
            found.push(format!("{path}:{}: `{text}`: {why}", number + 1));
        }
    }
    found
}

#[test]
fn dependencies_point_the_right_way() {
    let mut wrong = Vec::new();
    for (name, member) in crates().expect("cargo metadata") {
        if rules::allowed(&name).is_none() {
            wrong.push(format!("{name} has no row in xtask/src/rules.rs"));
        }
        for dependency in member.dependencies.iter().filter(|d| rules::is_ours(&d.name)) {
            if !rules::may_use(&name, &dependency.name, dependency.development) {
                wrong.push(format!("{name} must not depend on {}", dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_depends_on_data_and_text_only() {
    let mut wrong = Vec::new();
    for (name, member) in crates().expect("cargo metadata") {
        let external = member.dependencies.iter().filter(|d| !d.development && !rules::is_ours(&d.name));
        if CORE.contains(&name.as_str()) {
            let strangers = external.filter(|d| !CORE_EXTERNAL.contains(&d.name.as_str()));
            wrong.extend(strangers.map(|d| format!("{name} must not depend on {}", d.name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_does_no_input_or_output() {
    let sources = product_sources(CORE);
    assert!(!sources.is_empty());
    let found: Vec<_> = sources.iter().flat_map(|path| offences(path, CORE_FORBIDDEN)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_shell_strings() {
    let names: Vec<_> = ARROWS.iter().map(|(name, _)| *name).filter(|n| *n != "testkit").collect();
    let found: Vec<_> = product_sources(&names).iter().flat_map(|path| offences(path, FORBIDDEN)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_arrows_have_no_cycle_and_keep_the_named_promises() {
    for (position, (from, arrows)) in ARROWS.iter().enumerate() {
        for to in *arrows {
            let target = ARROWS.iter().position(|(name, _)| name == to);
            assert!(target.is_some_and(|t| t < position), "{from} -> {to} must point upwards in the list");
        }
    }
    let never =
        [("gateway", "store"), ("console", "host"), ("console", "net"), ("run", "host"), ("build", "host")];
    for (from, to) in never {
        assert!(!rules::may_use(from, to, false), "{from} must never use {to}");
    }
    assert!(ARROWS.iter().all(|(from, _)| !rules::may_use(from, "juchu", false)));
}

#[test]
fn an_offence_is_found_and_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("bad.rs");
    let text = "fn f() {\n    std::fs::read(\"x\");\n}\n// std::fs in words\n\n#[cfg(test)]\nmod tests { use std::fs; }\n";
    std::fs::write(&path, text).expect("write");
    let found = offences(&path, CORE_FORBIDDEN);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("bad.rs:2: `std::fs`: files are read by the caller"), "{found:?}");
}
