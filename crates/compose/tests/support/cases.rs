//! The corpus: its cases as projects in memory.

use super::memory::Memory;
use compose::{Input, Loaded, load};
use std::path::{Path, PathBuf};
use testkit::corpus::{Case, DIRECTORY};

/// All cases with their golden results.
pub fn corpus() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let cases = testkit::corpus::cases(&directory).expect("a corpus that can be read");
    cases.into_iter().map(|(_, case)| case).collect()
}

/// Loads a case as `juchu config` would in its directory.
pub fn load_case(case: &Case) -> Loaded {
    let mut files = Memory::default();
    files.add("/dev/null", b"");
    for (name, content) in &case.files {
        files.add(Path::new(DIRECTORY).join(name), content.as_bytes());
    }
    load(&input(case), &files)
}

fn input(case: &Case) -> Input {
    let environment = case.environment().into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut input = Input { directory: PathBuf::from(DIRECTORY), environment, ..Input::default() };
    let arguments = case.arguments();
    assert_eq!(arguments.len() % 2, 0, "{}: every option has a value", case.name);
    for pair in arguments.chunks(2) {
        let path = || Path::new(DIRECTORY).join(pair[1]);
        match pair[0] {
            "-f" => input.files.push(path()),
            "-p" => input.project_name = Some(pair[1].to_owned()),
            "--profile" => input.profiles.push(pair[1].to_owned()),
            "--env-file" => input.env_files.push(path()),
            "--project-directory" => input.project_directory = Some(path()),
            other => panic!("{}: no option `{other}`", case.name),
        }
    }
    input
}
