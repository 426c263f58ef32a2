//! What holds for every file: our own output loads to itself, valid trees are accepted, merging in
//! steps is merging at once, and no bytes need much time or memory.

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/cases.rs"]
mod cases;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/trees.rs"]
mod trees;

use allocator::{Counting, peak};
use cases::{corpus, load_case};
use compose::{Input, Loaded, Resolved, load};
use memory::Memory;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::corpus::{DIRECTORY, Golden};
use testkit::json::differences;
use trees::project;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a load may hold at once.
const MEMORY: usize = 50 << 20;
/// Far above what any of these inputs needs in an unoptimised build.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads files that are merged in this order, with all profiles.
fn load_files(files: &[&[u8]]) -> Loaded {
    let mut memory = Memory::default();
    let mut input =
        Input { directory: PathBuf::from(DIRECTORY), profiles: vec!["*".to_owned()], ..Input::default() };
    for (number, bytes) in files.iter().enumerate() {
        let path = Path::new(DIRECTORY).join(format!("{number}.yaml"));
        memory.add(&path, bytes);
        input.files.push(path);
    }
    load(&input, &memory)
}

/// The resolved project of files that have to be accepted.
fn config(files: &[&Value]) -> Value {
    let texts: Vec<String> = files.iter().map(|file| file.to_string()).collect();
    let loaded = load_files(&texts.iter().map(String::as_bytes).collect::<Vec<_>>());
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.is_error()).collect();
    let resolved = loaded.resolved.unwrap_or_else(|| panic!("{errors:?}\n{texts:#?}"));
    printed(&resolved)
}

/// As `juchu config` prints it, to be read again.
fn printed(resolved: &Resolved) -> Value {
    serde_json::from_str(&resolved.json_text()).expect("what is printed is JSON")
}

#[track_caller]
fn same(left: &Value, right: &Value, what: &str) {
    let found = differences(left, right);
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// What the reference prints as JSON and does not read again, and so do we.
const NOT_AGAIN: &[(&str, &str)] = &[
    ("interpolation/keys-are-not-interpolated", "a `$` in a key is doubled in print, left alone in reading"),
    ("merge/blkio", "the keys of `device_read_bps` are printed in capitals"),
    ("service/blkio", "the keys of `device_read_bps` are printed in capitals"),
    ("merge/models-of-service", "the models of the project are not printed"),
    ("profiles/dependency-inactive-not-required", "the inactive service is not printed, who names it is"),
    ("service/memory-numbers", "`memswap_limit` is printed as text, and the text `-1` is no size"),
    ("models/model-", "the models of the project are not printed"),
];

#[test]
fn the_output_of_every_case_loads_to_itself() {
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for case in corpus() {
        if !matches!(case.golden, Some(Golden::Accepted(_))) {
            continue;
        }
        let Some(resolved) = load_case(&case).resolved else { continue };
        let once = printed(&resolved);
        if NOT_AGAIN.iter().any(|(name, _)| case.name.starts_with(name)) {
            continue;
        }
        let again = load_files(&[once.to_string().as_bytes()]);
        match again.resolved.as_ref().map(|resolved| differences(&once, &printed(resolved))) {
            Some(found) if found.is_empty() => {}
            Some(found) => wrong.push(format!("{}: {found:?}", case.name)),
            None => wrong.push(format!("{}: {:?}", case.name, again.diagnostics)),
        }
        looked_at += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at > 400, "{looked_at} cases");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_tree_is_accepted_and_its_output_loads_to_itself(tree in project()) {
        let once = config(&[&tree]);
        same(&once, &config(&[&once]), "its own output");
        for (name, service) in tree["services"].as_object().expect("services") {
            prop_assert!(once["services"][name]["image"] == service["image"]);
        }
    }

    #[test]
    fn files_can_be_merged_in_steps(one in project(), two in project(), three in project()) {
        let at_once = config(&[&one, &two, &three]);
        same(&at_once, &config(&[&config(&[&one, &two]), &three]), "the first two before");
    }

    #[test]
    fn a_file_merged_with_itself_has_the_same_services(tree in project()) {
        let twice = config(&[&tree, &tree]);
        let names = |value: &Value| value["services"].as_object().map(|s| s.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(names(&twice), names(&config(&[&tree])));
    }

    #[test]
    fn bytes_need_little_memory_and_time(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        modest(&bytes);
    }

    #[test]
    fn a_damaged_case_needs_little_memory_and_time(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, any::<u8>()), 1..6),
    ) {
        let cases = CASES.with(Clone::clone);
        let mut bytes = cases[which.index(cases.len())].clone();
        for (at, removed, inserted) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, [inserted]);
        }
        modest(&bytes);
    }
}

thread_local! {
    /// The first file of each case.
    static CASES: std::rc::Rc<Vec<Vec<u8>>> =
        std::rc::Rc::new(corpus().into_iter().map(|case| case.files[0].1.clone().into_bytes()).collect());
}

#[track_caller]
fn modest(bytes: &[u8]) {
    let start = processor_time();
    let (loaded, held) = peak(|| load_files(&[bytes]));
    let took = processor_time() - start;
    assert!(held <= MEMORY, "{held} bytes were held at once");
    assert!(took <= PATIENCE, "took {took:?}");
    assert!(loaded.resolved.is_some() || loaded.diagnostics.iter().any(|d| d.is_error()));
}

#[test]
fn what_grows_while_it_is_read_needs_little_memory_and_time() {
    modest(bomb("[", "x", "]").as_bytes());
    modest(bomb("{k: ", "x", "}").as_bytes());
    modest(texts_of_a_mebibyte().as_bytes());
    modest(services_that_extend_one_another().as_bytes());
    modest(nested_anchors().as_bytes());
    modest(services_that_extend_a_large_one().as_bytes());
    modest("[".repeat(100_000).as_bytes());
    modest("a: &a\n".repeat(20_000).as_bytes());
    modest(format!("services: {{a: {{image: \"{}\"}}}}", "${A:-".repeat(10_000)).as_bytes());
}

/// What this thread used of a processor, so that a busy machine does not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells of its threads");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first field is a number"))
}

/// Ten aliases of ten aliases, nine times.
fn bomb(open: &str, value: &str, close: &str) -> String {
    let mut text = format!("x-0: &a0 {value}\n");
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        let inner = if open == "[" { list } else { format!("[{list}]") };
        text += &format!("x-{level}: &a{level} {open}{inner}{close}\n");
    }
    text + "services: {a: {image: x}}\n"
}

/// A long text, many times by its alias and by expansion.
fn texts_of_a_mebibyte() -> String {
    let aliases = vec!["*t"; 1000].join(", ");
    format!("x-t: &t {}\nx-l: [{aliases}]\nservices: {{a: {{image: x}}}}\n", "t".repeat(1 << 17))
}

/// One anchor inside the other, all around many values.
fn nested_anchors() -> String {
    let open: String = (0..50).map(|n| format!("&a{n} [")).collect();
    format!("x-a: {open}{}{}\nservices: {{a: {{image: x}}}}\n", "x, ".repeat(20_000), "]".repeat(50))
}

/// Many services that take over a large one.
fn services_that_extend_a_large_one() -> String {
    let large: String = (0..4000).map(|n| format!("V{n}: v, ")).collect();
    let all: String = (0..1000).map(|n| format!("  s{n}: {{extends: large}}\n")).collect();
    format!("services:\n  large: {{image: x, environment: {{{large}}}}}\n{all}")
}

/// Each takes over all of the one before it and adds to it.
fn services_that_extend_one_another() -> String {
    let one = |n: usize| {
        format!("  s{n}: {{extends: s{}, environment: {{V{n}: v}}, labels: {{l{n}: l}}}}\n", n + 1)
    };
    let all: String = (0..30).map(one).collect();
    format!("services:\n{all}  s30: {{image: x}}\n")
}

#[test]
fn the_counter_counts() {
    let (kept, held) = peak(|| vec![0u8; 1 << 20]);
    assert!(held >= kept.len() && held < 2 * kept.len(), "{held}");
    assert_eq!(json!(peak(|| ()).1), json!(0));
}
