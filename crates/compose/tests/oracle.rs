//! We and Docker Compose agree on every case of the corpus: on what is accepted, and on the resolved
//! project as JSON. The golden results were written by `cargo xtask oracle`. What still differs is
//! listed in `known-differences.txt`; `JUCHU_KNOWN_DIFFERENCES=write` brings that list up to date.

#[path = "support/cases.rs"]
mod cases;
#[path = "support/memory.rs"]
mod memory;

use cases::{corpus, load_case};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use testkit::corpus::{Case, Golden};
use testkit::json::differences;

/// The reason beside a case that was added to the list without looking at it.
const NO_REASON_YET: &str = "not yet";

fn list() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/known-differences.txt")
}

/// Cases that differ and are known to, with the reason.
fn known() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(list()).expect("the list of known differences");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once(": ").expect("`AREA/NAME: reason`"));
    pairs.map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect()
}

/// Rewrites the list with the cases that differ now; reasons are kept.
fn write_known(cases: &[Case], known: &BTreeMap<String, String>) {
    let mut text = "# Cases in which we differ, each with the reason: AREA/NAME: reason\n".to_owned();
    for case in cases.iter().filter(|case| differs(case).is_some()) {
        let reason = known.get(&case.name).map_or(NO_REASON_YET, String::as_str);
        text.push_str(&format!("{}: {reason}\n", case.name));
    }
    std::fs::write(list(), text).expect("the list can be written");
}

/// Where we differ from the golden result, in words.
fn differs(case: &Case) -> Option<String> {
    let loaded = load_case(case);
    let golden = case.golden.as_ref().unwrap_or_else(|| panic!("{} has no golden result", case.name));
    match (golden, &loaded.resolved) {
        (Golden::Refused(_), None) => None,
        (Golden::Refused(said), Some(_)) => Some(format!("accepted; refused there: {}", said.trim())),
        (Golden::Accepted(_), None) => {
            let said: Vec<&str> =
                loaded.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.message.as_str()).collect();
            Some(format!("refused: {}", said.join("; ")))
        }
        (Golden::Accepted(json), Some(resolved)) => {
            let expected = serde_json::from_str(json).expect("a golden result is JSON");
            let show = |value: Option<serde_json::Value>| value.map_or("nothing".into(), |v| v.to_string());
            let printed = serde_json::from_str(&resolved.json_text()).expect("what is printed is JSON");
            let found = differences(&expected, &printed).into_iter();
            let found: Vec<String> = found
                .map(|d| format!("{}: expected {}, is {}", d.path, show(d.left), show(d.right)))
                .collect();
            (!found.is_empty()).then(|| found.join("\n    "))
        }
    }
}

#[test]
fn every_case_has_the_result_of_the_reference() {
    let (cases, known) = (corpus(), known());
    if std::env::var("JUCHU_KNOWN_DIFFERENCES").is_ok_and(|what| what == "write") {
        return write_known(&cases, &known);
    }
    let mut wrong = Vec::new();
    for case in &cases {
        match (differs(case), known.get(&case.name)) {
            (Some(difference), None) => wrong.push(format!("{}:\n    {difference}", case.name)),
            (None, Some(_)) => {
                wrong.push(format!("{}: agrees; take it off known-differences.txt", case.name));
            }
            _ => {}
        }
    }
    for name in known.keys().filter(|name| !cases.iter().any(|case| case.name == **name)) {
        wrong.push(format!("{name}: in known-differences.txt, but there is no such case"));
    }
    assert!(wrong.is_empty(), "{} cases of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_is_large_and_shows_both_answers() {
    let cases = corpus();
    let refused = cases.iter().filter(|case| matches!(case.golden, Some(Golden::Refused(_)))).count();
    assert!(cases.len() >= 800, "{} cases", cases.len());
    assert!(refused >= cases.len() / 5, "{refused} of {} are refused", cases.len());
}

#[test]
fn no_case_knows_the_machine_it_was_made_on() {
    for case in corpus() {
        let text = case.to_text();
        for place in ["/tmp/jt", "/root", "/work"] {
            assert!(!text.contains(place), "{} names {place}", case.name);
        }
    }
}
