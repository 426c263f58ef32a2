//! Which kind of project a directory holds.
//!
//! `x-juchu.image.kind` decides when stated. Else a manifest decides (Cargo.toml, package.json,
//! requirements.txt, pyproject.toml, …); two of them are an error. Without a manifest, a program
//! (Python or JavaScript entry file, one executable) goes before pages (index.html).

use super::elf;
use super::java;
use super::settings::Project;
use super::tree::{Tree, TreeKind};
use crate::BuildError;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Static,
    Python,
    Node,
    Rust,
    Go,
    Java,
    Binary,
    /// Stated by hand: packages, files and an entry point.
    Files,
}

impl Kind {
    const ALL: [Kind; 8] =
        [Kind::Static, Kind::Python, Kind::Node, Kind::Rust, Kind::Go, Kind::Java, Kind::Binary, Kind::Files];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Static => "static",
            Kind::Python => "python",
            Kind::Node => "node",
            Kind::Rust => "rust",
            Kind::Go => "go",
            Kind::Java => "java",
            Kind::Binary => "binary",
            Kind::Files => "files",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub const PYTHON_MANIFESTS: &[&str] = &[
    "requirements.txt",
    "pyproject.toml",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "pylock.toml",
    "Pipfile.lock",
    "Pipfile",
    "setup.py",
    "setup.cfg",
];
pub const PYTHON_STARTS: &[&str] = &["main.py", "app.py", "server.py"];
pub const NODE_STARTS: &[&str] =
    &["server.js", "index.js", "server.mjs", "index.mjs", "server.cjs", "index.cjs"];
pub const SITE_DIRECTORIES: &[&str] = &["", "public", "dist", "build", "site"];
/// Files looked at when searching for the one executable.
const EXECUTABLE_SEARCH_LIMIT: usize = 1_000;

pub fn detect(project: &Project) -> Result<Kind, BuildError> {
    if let Some(stated) = &project.image().kind {
        return stated_kind(stated);
    }
    if !project.has_tree() || stated_by_hand(project) {
        return by_hand(project);
    }
    let tree = project.tree()?;
    let found = match manifests(tree) {
        found if found.is_empty() => programs(tree),
        found => found,
    };
    match found[..] {
        [(kind, _)] => Ok(kind),
        [] if site_directory(tree).is_some() => Ok(Kind::Static),
        [] if project.image().entrypoint.is_some() => Ok(Kind::Files),
        [] => Err(nothing_fits(project)),
        _ => Err(several_fit(project, &found)),
    }
}

fn stated_kind(text: &str) -> Result<Kind, BuildError> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        BuildError::input_hint(
            format!("`x-juchu.image.kind` is `{text}`, which is not a kind of project"),
            "use one of static, python, node, rust, go, java, binary, files",
        )
    })
}

/// Files and what to run are both stated: nothing is left to detect.
fn stated_by_hand(project: &Project) -> bool {
    let image = project.image();
    !image.files.is_empty() && (image.entrypoint.is_some() || image.command.is_some())
}

fn by_hand(project: &Project) -> Result<Kind, BuildError> {
    if project.start_is_stated() {
        return Ok(Kind::Files);
    }
    Err(BuildError::input_hint(
        "`x-juchu.image` does not say what to run",
        "add `entrypoint: [\"/path/in/image\"]` to it, or `command:` to the service",
    ))
}

/// Kinds whose manifest is there, with the file that says so.
fn manifests(tree: &Tree) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    for (kind, names) in [
        (Kind::Rust, &["Cargo.toml"][..]),
        (Kind::Go, &["go.mod"]),
        (Kind::Node, &["package.json"]),
        (Kind::Python, PYTHON_MANIFESTS),
    ] {
        if let Some(name) = names.iter().find(|name| tree.has(name)) {
            found.push((kind, (*name).to_owned()));
        }
    }
    found
}

fn programs(tree: &Tree) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    if let Some(name) = python_program(tree) {
        found.push((Kind::Python, name));
    }
    let server = NODE_STARTS.iter().find(|name| name.starts_with("server") && tree.has(name));
    let index = NODE_STARTS.iter().find(|name| tree.has(name) && !tree.has("index.html"));
    if let Some(name) = server.or(index) {
        found.push((Kind::Node, (*name).to_owned()));
    }
    if let Some(jar) = java::startable(tree).into_iter().next() {
        found.push((Kind::Java, jar));
    }
    if let [one] = &executables(tree)[..] {
        found.push((Kind::Binary, one.clone()));
    }
    found
}

/// A file by one of the usual names, or the only Python file there is.
pub fn python_program(tree: &Tree) -> Option<String> {
    if let Some(name) = PYTHON_STARTS.iter().chain(&["__main__.py"]).find(|name| tree.has(name)) {
        return Some((*name).to_owned());
    }
    let mut scripts = tree.files.iter().filter(|file| file.path.ends_with(".py") && !file.path.contains('/'));
    match (scripts.next(), scripts.next()) {
        (Some(only), None) => Some(only.path.clone()),
        _ => None,
    }
}

/// The executables (not shared libraries) of the context.
pub fn executables(tree: &Tree) -> Vec<String> {
    let regular = tree.files.iter().filter(|file| {
        matches!(file.kind, TreeKind::File { size, .. } if size >= elf::HEADER_BYTES)
            && !file.path.contains(".so")
    });
    regular
        .take(EXECUTABLE_SEARCH_LIMIT)
        .filter(|file| elf::is_program(&tree.root.join(&file.path)))
        .map(|file| file.path.clone())
        .collect()
}

/// The first directory that holds an index page.
pub fn site_directory(tree: &Tree) -> Option<&'static str> {
    SITE_DIRECTORIES.iter().copied().find(|directory| match *directory {
        "" => tree.has("index.html"),
        directory => tree.has(&format!("{directory}/index.html")),
    })
}

fn nothing_fits(project: &Project) -> BuildError {
    BuildError::input_hint(
        format!("{} holds no project that can be recognised", project.place()),
        "expected Cargo.toml, go.mod, package.json, requirements.txt, pyproject.toml, main.py, index.html, a jar or one \
         executable; or say what it is with `x-juchu: {image: {kind: …}}`",
    )
}

fn several_fit(project: &Project, found: &[(Kind, String)]) -> BuildError {
    let list: Vec<String> = found.iter().map(|(kind, file)| format!("{kind} ({file})")).collect();
    let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.name()).collect();
    BuildError::input_hint(
        format!("{} could be several kinds of project: {}", project.place(), list.join(", ")),
        format!("choose one with `x-juchu: {{image: {{kind: {}}}}}`", kinds.join("|")),
    )
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::Fixture;

    fn check(files: &[&str], expect: &str) {
        let mut fixture = Fixture::new();
        for file in files {
            fixture = fixture.file(file, "");
        }
        let found = fixture.with(|project| super::detect(project).map(|kind| kind.to_string()));
        let text = found.unwrap_or_else(|error| error.to_string().replace(&fixture.place(), "DIR"));
        assert_eq!(text, expect, "{files:?}");
    }

    #[test]
    fn the_files_of_a_directory_say_what_it_is() {
        check(&["index.html"], "static");
        check(&["dist/index.html"], "static");
        check(&["index.html", "index.js"], "static");
        check(&["main.py", "static/index.html"], "python");
        check(&["requirements.txt", "x/y.py"], "python");
        check(&["only.py"], "python");
        check(&["package.json", "public/index.html"], "node");
        check(&["server.js", "index.html"], "node");
        check(&["Cargo.toml", "src/main.rs", "index.html"], "rust");
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        check(&["notes.txt"], "DIR holds no project that can be recognised");
        check(&["a.py", "b.py"], "DIR holds no project that can be recognised");
        check(
            &["package.json", "requirements.txt"],
            "DIR could be several kinds of project: node (package.json), python (requirements.txt)",
        );
    }

    #[test]
    fn a_stated_kind_wins_and_must_exist() {
        let both = Fixture::new().file("package.json", "{}").file("requirements.txt", "");
        let both = both.image(|image| image.kind = Some("python".into()));
        assert_eq!(both.with(|p| super::detect(p).unwrap().to_string()), "python");
        let odd = both.image(|image| image.kind = Some("cobol".into()));
        assert!(odd.with(|p| super::detect(p).unwrap_err().to_string()).contains("`cobol`"));
    }
}
