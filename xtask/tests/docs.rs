//! The documents as tests: what they say about the code is true, and their links lead somewhere.

use model::ErrorKind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use xtask::workspace::{crates, files, root};
use xtask::{bench, packages, readme};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Cells of all table rows, without heads and rules.
fn table_rows(markdown: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = markdown.lines().collect();
    let is_rule = |line: &str| line.starts_with("| ---");
    let rows = lines.iter().enumerate().filter(|(i, line)| {
        line.starts_with("| ") && !is_rule(line) && !lines.get(i + 1).is_some_and(|next| is_rule(next))
    });
    rows.map(|(_, line)| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn exit_codes_are_documented_as_they_are() {
    let documented: Vec<(String, String)> = table_rows(&read("docs/reference/exit-codes.md"))
        .into_iter()
        .map(|row| (row[0].clone(), row[1].trim_matches('`').to_owned()))
        .collect();
    let name =
        |kind: ErrorKind| serde_json::to_value(kind).expect("a name").as_str().expect("text").to_owned();
    let mut expected = vec![("0".to_owned(), String::new())];
    expected.extend(ErrorKind::ALL.map(|kind| (kind.exit_code().to_string(), name(kind))));
    assert_eq!(documented, expected);
}

#[test]
fn every_kind_of_error_is_in_the_list_of_all() {
    // A new kind does not compile here until it has a place in the list.
    for kind in ErrorKind::ALL {
        let position = match kind {
            ErrorKind::Usage => 0,
            ErrorKind::Build => 1,
            ErrorKind::Check => 2,
            ErrorKind::Unhealthy => 3,
            ErrorKind::RolledBack => 4,
            ErrorKind::Undecided => 5,
            ErrorKind::Conflict => 6,
            ErrorKind::Environment => 7,
            ErrorKind::Internal => 8,
        };
        assert_eq!(ErrorKind::ALL[position], kind);
    }
    let codes: BTreeSet<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
    assert_eq!(codes.len(), ErrorKind::ALL.len(), "each kind has a code of its own");
}

#[test]
fn the_map_names_every_crate_and_no_other() {
    let text = read("ARCHITECTURE.md");
    let section = text.split("## Crates").nth(1).and_then(|t| t.split("\n## ").next()).expect("a section");
    let named: BTreeSet<String> =
        table_rows(section).into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let there: BTreeSet<String> = crates().expect("cargo metadata").into_keys().collect();
    assert_eq!(named, there);
}

#[test]
fn every_promised_number_names_a_bench_that_exists() {
    let text = read("SPECIFICATION.md");
    let names: BTreeSet<&str> = bench::BENCHES.iter().map(|b| b.name).collect();
    let mut shown = BTreeSet::new();
    for row in table_rows(&text) {
        if let Some(name) = row.last().and_then(|cell| cell.strip_prefix("`cargo xtask bench ")) {
            let name = name.trim_end_matches('`').to_owned();
            assert!(names.contains(name.as_str()), "no bench `{name}`");
            shown.insert(name);
        }
    }
    for name in names {
        assert!(shown.contains(name), "SPECIFICATION.md has no row shown by `cargo xtask bench {name}`");
    }
}

#[test]
fn every_test_that_shows_a_promise_exists() {
    for row in table_rows(&read("SPECIFICATION.md")).iter().filter(|row| row.len() == 2) {
        let path = row[1].trim_matches('`');
        assert!(root().join(path).is_file(), "{path} is not there");
    }
}

fn documents() -> Vec<PathBuf> {
    files(&root(), ".md").expect("documents")
}

/// Targets of `[text](target)`.
fn links(markdown: &str) -> Vec<String> {
    let ends = markdown.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let directory = document.parent().unwrap_or(Path::new("."));
        let text = std::fs::read_to_string(&document).expect("a document");
        for link in links(&text).iter().filter(|l| !l.contains("://") && !l.starts_with('#')) {
            let path = link.split('#').next().unwrap_or_default();
            if !directory.join(path).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_index_names_every_page() {
    let index = read("docs/README.md");
    let linked: BTreeSet<String> = links(&index).into_iter().collect();
    for page in files(&root().join("docs"), ".md").expect("pages") {
        let page = page.strip_prefix(root().join("docs")).expect("below docs").to_string_lossy().into_owned();
        assert!(page == "README.md" || linked.contains(&page), "docs/README.md does not name {page}");
    }
}

#[test]
fn notes_are_numbered_without_gaps() {
    let notes = files(&root().join("docs/notes"), ".md").expect("notes");
    for (number, note) in (1..).zip(&notes) {
        let name = note.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(name.starts_with(&format!("{number:03}-")), "{name} should be number {number:03}");
        let title = std::fs::read_to_string(note).expect("a note");
        assert!(title.starts_with(&format!("# {number:03} ")), "{name} has another number in its title");
    }
}

#[test]
fn the_changelog_has_a_place_for_the_next_change() {
    assert!(read("CHANGELOG.md").contains("\n## [Unreleased]\n"));
}

#[test]
fn the_readme_begins_with_its_two_commands() {
    let commands: Vec<String> = readme::commands(&read("README.md")).into_iter().map(|(_, c)| c).collect();
    assert_eq!(commands[..2], ["cargo run --release -- up examples/guestbook", "cargo xtask test"]);
    for command in commands {
        assert!(readme::words(&command).is_some(), "`{command}` needs a shell to be understood");
    }
}

#[test]
fn the_build_server_runs_the_test_command_of_the_readme() {
    assert_eq!(read(".ci/run").lines().last(), Some("cargo xtask test"));
}

/// Tests call other programs by `testkit::needs(BINARY, PACKAGE)`.
#[test]
fn every_package_that_a_test_needs_is_in_the_list() {
    let listed: BTreeSet<&str> = packages::PACKAGES.iter().map(|package| package.name).collect();
    for source in files(&root().join("crates"), ".rs").expect("sources") {
        if source.starts_with(root().join("crates/testkit")) {
            continue;
        }
        let text = std::fs::read_to_string(&source).expect("a source file");
        for call in text.split("needs(\"").skip(1) {
            if let [_, ", ", package, ..] = call.split('"').collect::<Vec<_>>()[..] {
                assert!(
                    listed.contains(package),
                    "{}: {package} is not in xtask/src/packages.rs",
                    source.display()
                );
            }
        }
    }
}
