//! The tables of `docs/reference/compose.md`, made from the schema and the table of what is done with
//! its keys, and the test that keeps both complete.

use super::table::TABLE;
use super::{Support, support};
use crate::schema::{ROOT, Shape};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::{env, fs};

/// Heading, and the path whose keys it lists. The longest path that fits counts.
const SECTIONS: [(&str, &str); 10] = [
    ("Top level", ""),
    ("Services", "services"),
    ("`build` of a service", "services.build"),
    ("`develop` of a service", "services.develop"),
    ("`deploy` of a service", "services.deploy"),
    ("`x-juchu` of a service", "services.x-juchu"),
    ("Networks", "networks"),
    ("Volumes", "volumes"),
    ("Configs", "configs"),
    ("Secrets", "secrets"),
];

const BEGIN: &str = "<!-- made from crates/compose/src/schema/support/table.rs: begin -->\n";
const END: &str = "<!-- end -->\n";
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/compose.md");

fn tables() -> String {
    let mut text = String::new();
    for (number, (heading, section)) in SECTIONS.iter().enumerate() {
        let rows: Vec<_> = TABLE.iter().filter(|(path, _)| section_of(path) == number).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(text, "\n## {heading}\n| key | | |\n|---|---|---|\n");
        for (path, support) in rows {
            let key = path.strip_prefix(section).unwrap_or(path).trim_start_matches('.');
            let (word, note) = words(*support);
            let _ = writeln!(text, "| `{key}` | {word} | {} |", note.replace('|', "\\|"));
        }
    }
    text + "\n"
}

fn section_of(path: &str) -> usize {
    let holds = |section: &str| {
        section.is_empty() || path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
    };
    let fitting = SECTIONS.iter().enumerate().filter(|(_, (_, section))| holds(section));
    fitting.max_by_key(|(_, (_, section))| section.len()).map_or(0, |(number, _)| number)
}

fn words(support: Support) -> (&'static str, &'static str) {
    match support {
        Support::Honoured(note) => ("honoured", note),
        Support::Differs(how) => ("**differs**", how),
        Support::Ignored(why) => ("**ignored**", why),
        Support::Refused(why) => ("**refused**", why),
    }
}

/// Every path that needs a row: what is below a key without effect needs none.
fn paths(shape: &'static Shape, path: &str, found: &mut BTreeSet<String>) {
    match shape {
        Shape::Nullable(inner)
        | Shape::List(inner)
        | Shape::Unique(inner)
        | Shape::Named(inner)
        | Shape::Keyed(_, inner) => paths(inner, path, found),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| paths(shape, path, found)),
        Shape::Object(object) => {
            for field in object.fields {
                let path =
                    if path.is_empty() { field.key.to_owned() } else { format!("{path}.{}", field.key) };
                let is_new = found.insert(path.clone());
                let is_acted_on = matches!(support(&path), Support::Honoured(_) | Support::Differs(_));
                if is_new && is_acted_on && !is_told_as_a_whole(&path) {
                    paths(&field.shape, &path, found);
                }
            }
        }
        _ => {}
    }
}

/// The parts of these stand in one sentence.
fn is_told_as_a_whole(path: &str) -> bool {
    path == "x-juchu" || path.starts_with("services.x-juchu.")
}

#[test]
fn every_key_of_the_schema_has_its_row_and_no_other() {
    let mut keys = BTreeSet::new();
    paths(&ROOT, "", &mut keys);
    let rows: BTreeSet<String> = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(rows.len(), TABLE.len(), "a key has two rows");
    let missing: Vec<_> = keys.difference(&rows).collect();
    assert!(missing.is_empty(), "support/table.rs does not say what is done with {missing:?}");
    let unknown: Vec<_> = rows.difference(&keys).collect();
    assert!(unknown.is_empty(), "the schema has no {unknown:?}");
}

#[test]
fn what_is_not_as_it_should_be_has_its_reason() {
    for (path, support) in TABLE {
        let (word, text) = words(*support);
        assert!(word == "honoured" || !text.is_empty(), "{path} is {word}, and nobody is told why");
        assert!(!text.ends_with('.'), "{path}: texts stand within sentences");
    }
}

#[test]
fn the_page_has_the_tables_that_follow_from_the_code() {
    let page = fs::read_to_string(PAGE).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("a place for the tables");
    let (_, after) = rest.split_once(END).expect("their end");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", tables());
    if env::var_os("UPDATE").is_some() {
        fs::write(PAGE, &wanted).expect("the page can be written");
        return;
    }
    assert!(page == wanted, "docs/reference/compose.md is stale: UPDATE=1 cargo test -p compose reference");
}
