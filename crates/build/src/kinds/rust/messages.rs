//! What cargo says: the programs it made, and of everything else the first error.

use crate::BuildError;
use crate::kinds::settings::Project;
use serde::Deserialize;
use std::collections::VecDeque;
use std::path::PathBuf;

const LINES_KEPT: usize = 40;

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The name and the place of a program, when the line is about one.
pub fn program(line: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(line).ok()?;
    let (target, path) = (message.target?, message.executable?);
    let is_program = message.reason == "compiler-artifact" && target.kind.iter().any(|kind| kind == "bin");
    is_program.then_some((target.name, path))
}

/// The lines around the first error.
#[derive(Default)]
pub struct Diagnostics {
    kept: VecDeque<String>,
}

impl Diagnostics {
    /// The first error matters most: what came before it is forgotten, what follows is cut.
    pub fn add(&mut self, line: String) {
        if self.kept.len() < LINES_KEPT || !self.kept.iter().any(|kept| kept.starts_with("error")) {
            self.kept.push_back(line);
        }
        if self.kept.len() > LINES_KEPT {
            self.kept.pop_front();
        }
    }

    /// One sentence for a cargo that failed.
    pub fn refusal(&self, project: &Project, verb: &str, hint: String) -> BuildError {
        let place = project.place();
        if self.kept.iter().any(|line| line.contains("--locked was passed")) {
            return BuildError::input_hint(
                format!("Cargo.lock does not match Cargo.toml in {place}: cargo would have to change it"),
                "run `cargo update --workspace` and keep both files",
            );
        }
        let first = self.kept.iter().find(|line| line.starts_with("error"));
        let first = first.map_or("no message", |line| line.trim_start_matches("error: "));
        BuildError::input_hint(format!("cargo could not {verb} {place}: {first}{}", self.place()), hint)
    }

    /// ` (src/main.rs:1:2)`, after the first error.
    fn place(&self) -> String {
        let after = self.kept.iter().skip_while(|line| !line.starts_with("error"));
        let line = after.map(|line| line.trim_start()).find_map(|line| line.strip_prefix("--> "));
        line.map_or_else(String::new, |place| format!(" ({place})"))
    }
}
