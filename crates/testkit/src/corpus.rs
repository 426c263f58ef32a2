//! Cases of a corpus: one text file that holds a small project, how it is loaded, and what the
//! reference implementation made of it. The format is told in `crates/compose/tests/corpus/README.md`.

use std::io;
use std::path::{Path, PathBuf};

/// The suffix of a file that holds one case.
pub const SUFFIX: &str = "case";
/// Where the project of every case seems to be.
pub const DIRECTORY: &str = "/srv/project";
/// The home directory of every case.
pub const HOME: &str = "/home/me";

const EXPECTED: &str = "expected.json";
const REFUSED: &str = "refused";

/// What the reference made of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Golden {
    /// The resolved project, as JSON.
    Accepted(String),
    /// What it said, for people; only that it refused counts.
    Refused(String),
}

/// One small project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case {
    /// `AREA/NAME`.
    pub name: String,
    /// Everything above the first file.
    head: String,
    /// Name below the project directory, and content.
    pub files: Vec<(String, String)>,
    pub golden: Option<Golden>,
}

impl Case {
    /// Takes a case apart; the error says what is wrong with its text.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut case = Self { name: name.to_owned(), ..Self::default() };
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in text.split_inclusive('\n') {
            match (section_name(line), sections.last_mut()) {
                (Some(section), _) => sections.push((section.to_owned(), String::new())),
                (None, Some((_, content))) => content.push_str(line),
                (None, None) => case.head.push_str(line),
            }
        }
        for (section, content) in sections {
            match section.as_str() {
                EXPECTED => case.golden = Some(Golden::Accepted(content)),
                REFUSED => case.golden = Some(Golden::Refused(content)),
                _ => case.files.push((section, content)),
            }
        }
        let known = |line: &str| {
            line.is_empty() || ["#", "arguments:", "environment:"].iter().any(|key| line.starts_with(key))
        };
        match case.head.lines().find(|line| !known(line)) {
            Some(line) => Err(format!("{name}: `{line}` is neither a comment nor an option")),
            None if case.files.is_empty() => Err(format!("{name}: no file")),
            None => Ok(case),
        }
    }

    /// The case as it is stored.
    pub fn to_text(&self) -> String {
        let mut text = self.head.clone();
        let golden = self.golden.as_ref().map(|golden| match golden {
            Golden::Accepted(json) => (EXPECTED, json),
            Golden::Refused(said) => (REFUSED, said),
        });
        for (name, content) in self.files.iter().map(|(name, content)| (name.as_str(), content)).chain(golden)
        {
            let end = if content.is_empty() || content.ends_with('\n') { "" } else { "\n" };
            text.push_str(&format!("-- {name} --\n{content}{end}"));
        }
        text
    }

    /// Arguments before `config`, such as `-f` and `--profile`.
    pub fn arguments(&self) -> Vec<&str> {
        self.options("arguments:").flat_map(str::split_whitespace).collect()
    }

    /// Variables of the environment in which the case is loaded.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        let home = ("HOME", HOME);
        std::iter::once(home).chain(self.options("environment:").filter_map(|o| o.split_once('='))).collect()
    }

    fn options(&self, key: &'static str) -> impl Iterator<Item = &str> {
        self.head.lines().filter_map(move |line| line.strip_prefix(key)).map(str::trim)
    }

    /// Writes the files below `directory`, as people would have them.
    pub fn unpack(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        for (name, content) in &self.files {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
            std::fs::write(path, content)?;
        }
        Ok(())
    }
}

fn section_name(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix("-- ")?.strip_suffix(" --").filter(|name| !name.contains(' '))
}

/// All cases below `directory` with their files, sorted by name. A case that cannot be read is an
/// error that names it.
pub fn cases(directory: &Path) -> Result<Vec<(PathBuf, Case)>, String> {
    let mut found = Vec::new();
    for area in entries(directory)?.into_iter().filter(|path| path.is_dir()) {
        for path in entries(&area)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == SUFFIX)) {
            let relative = path.strip_prefix(directory).unwrap_or(&path).with_extension("");
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let case = Case::parse(&relative.to_string_lossy(), &text)?;
            found.push((path, case));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let list = std::fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    list.map(|entry| entry.map(|e| e.path()).map_err(|e| format!("{}: {e}", directory.display()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# What it shows.
arguments: -f a.yaml --profile x
environment: A=1 2
-- a.yaml --
services: {}
-- sub/b --
-- refused --
no services
";

    #[test]
    fn a_case_is_taken_apart_and_put_together() {
        let case = Case::parse("area/name", TEXT).unwrap();
        assert_eq!(case.arguments(), ["-f", "a.yaml", "--profile", "x"]);
        assert_eq!(case.environment(), [("HOME", HOME), ("A", "1 2")]);
        assert_eq!(case.files[0], ("a.yaml".to_owned(), "services: {}\n".to_owned()));
        assert_eq!(case.files[1], ("sub/b".to_owned(), String::new()));
        assert_eq!(case.golden, Some(Golden::Refused("no services\n".to_owned())));
        assert_eq!(case.to_text(), TEXT);
    }

    #[test]
    fn a_misspelt_option_and_an_empty_case_are_errors() {
        let wrong = Case::parse("a/b", "argument: -f x\n-- x --\n").unwrap_err();
        assert_eq!(wrong, "a/b: `argument: -f x` is neither a comment nor an option");
        assert_eq!(Case::parse("a/b", "# nothing\n").unwrap_err(), "a/b: no file");
    }

    #[test]
    fn its_files_are_written() {
        let directory = crate::TempDir::new();
        Case::parse("area/name", TEXT).unwrap().unpack(&directory.join("project")).unwrap();
        assert!(directory.join("project/sub/b").is_file());
    }
}
