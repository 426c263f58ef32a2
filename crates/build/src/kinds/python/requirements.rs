//! `requirements.txt` as pip reads it: includes, constraints, options, hashes, line continuations.

use super::requirement::Requirement;
use crate::BuildError;
use crate::kinds::tree::Tree;

const INCLUDE_DEPTH_LIMIT: usize = 10;
pub const REQUIREMENT_LIMIT: usize = 5_000;

/// All requirements of a project, included files flattened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Requirements {
    pub lines: Vec<Line>,
    pub constraints: Vec<Line>,
    /// Options that pip must see, such as `--pre`.
    pub options: Vec<String>,
    /// `--index-url` first, then `--extra-index-url`.
    pub indexes: Vec<String>,
    /// `-e .` or `.`: the project itself, which lies in the image anyway.
    pub includes_itself: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As written, without hashes.
    pub text: String,
    /// `None` for what is not in the form of PEP 508, such as `git+https://…`.
    pub requirement: Option<Requirement>,
    /// Lower-case hexadecimal SHA-256.
    pub hashes: Vec<String>,
}

impl Requirements {
    pub fn read(tree: &Tree, path: &str) -> Result<Self, BuildError> {
        let mut all = Self::default();
        all.include(tree, path, false, 0)?;
        Ok(all)
    }

    pub fn from_list(list: &[String]) -> Self {
        let lines = list.iter().map(|text| Line::new(text)).collect();
        Self { lines, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn include(&mut self, tree: &Tree, path: &str, constraint: bool, depth: usize) -> Result<(), BuildError> {
        if depth > INCLUDE_DEPTH_LIMIT {
            return Err(BuildError::input(format!(
                "{path} is included more than {INCLUDE_DEPTH_LIMIT} levels deep"
            )));
        }
        let text = tree.text(path)?.ok_or_else(|| {
            BuildError::input_hint(
                format!("the requirements name {path}, which is not in the build context"),
                "add the file, or remove the `-r` or `-c` line",
            )
        })?;
        for (number, line) in logical_lines(&text) {
            let unreadable = || {
                BuildError::input_hint(
                    format!("{path}:{number}: `{line}` is not a requirement"),
                    "write it as `name==1.2.3` or `name>=1,<2`",
                )
            };
            let value = |names: &[&str]| option_value(&line, names);
            if let Some(file) = value(&["-r", "--requirement"]) {
                self.include(tree, &beside(path, &file), constraint, depth + 1)?;
            } else if let Some(file) = value(&["-c", "--constraint"]) {
                self.include(tree, &beside(path, &file), true, depth + 1)?;
            } else if let Some(url) = value(&["-i", "--index-url"]) {
                self.indexes.insert(0, url);
            } else if let Some(url) = value(&["--extra-index-url"]) {
                self.indexes.push(url);
            } else if let Some(target) = value(&["-e", "--editable"]) {
                self.local(&target, unreadable)?;
            } else if line.starts_with('-') {
                self.options.push(line);
            } else if line.starts_with('.') || line.starts_with('/') {
                self.local(&line, unreadable)?;
            } else {
                let line = Line::new(&line);
                if line.requirement.is_none() && !line.text.contains("://") {
                    return Err(unreadable());
                }
                if constraint { self.constraints.push(line) } else { self.lines.push(line) }
            }
        }
        if self.lines.len() > REQUIREMENT_LIMIT {
            return Err(BuildError::input(format!(
                "{path} holds more than {REQUIREMENT_LIMIT} requirements"
            )));
        }
        Ok(())
    }

    fn local(&mut self, target: &str, unreadable: impl Fn() -> BuildError) -> Result<(), BuildError> {
        let target = target.split('[').next().unwrap_or(target);
        if !matches!(target, "." | "./") {
            return Err(unreadable());
        }
        self.includes_itself = true;
        Ok(())
    }

    /// What pip is given: one file without includes.
    pub fn flattened(&self) -> String {
        let index = self.indexes.first().map(|url| format!("--index-url {url}"));
        let extra = self.indexes.iter().skip(1).map(|url| format!("--extra-index-url {url}"));
        let lines = self.lines.iter().map(Line::with_hashes);
        let all = index.into_iter().chain(extra).chain(self.options.iter().cloned()).chain(lines);
        all.map(|line| line + "\n").collect()
    }

    pub fn flattened_constraints(&self) -> String {
        self.constraints.iter().map(|line| line.with_hashes() + "\n").collect()
    }
}

impl Line {
    pub fn new(text: &str) -> Self {
        let mut hashes = Vec::new();
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            match word.strip_prefix("--hash=") {
                Some(hash) => hashes.extend(hash.strip_prefix("sha256:").map(str::to_ascii_lowercase)),
                None => words.push(word),
            }
        }
        let text = words.join(" ");
        Self { requirement: Requirement::parse(&text), text, hashes }
    }

    fn with_hashes(&self) -> String {
        let hashes = self.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}"));
        std::iter::once(self.text.clone()).chain(hashes).collect()
    }
}

/// Lines with continuations joined and comments removed, each with the number it starts on.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, raw) in text.lines().enumerate() {
        let (number, mut line) = open.take().unwrap_or((at + 1, String::new()));
        let comment = if raw.trim_start().starts_with('#') { Some(0) } else { raw.find(" #") };
        let body = &raw[..comment.unwrap_or(raw.len())];
        match body.trim_end().strip_suffix('\\') {
            Some(body) if comment.is_none() => {
                line.push_str(body);
                line.push(' ');
                open = Some((number, line));
            }
            _ => {
                line.push_str(body);
                lines.push((number, line));
            }
        }
    }
    lines.extend(open);
    lines.retain_mut(|(_, line)| {
        *line = line.trim().to_owned();
        !line.is_empty()
    });
    lines
}

fn option_value(line: &str, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?;
        let separated = rest.starts_with([' ', '=', '\t']) || (name.len() == 2 && !rest.is_empty());
        separated.then(|| rest.trim_start_matches(['=', ' ', '\t']).trim().to_owned())
    })
}

/// A path in an included file is relative to that file.
fn beside(path: &str, other: &str) -> String {
    let other = other.trim_start_matches("./");
    match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{other}"),
        None => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::Fixture;

    fn read(fixture: &Fixture) -> Result<Requirements, String> {
        let tree = Tree::read(fixture.root(), &[]).unwrap();
        Requirements::read(&tree, "requirements.txt").map_err(|error| error.to_string())
    }

    #[test]
    fn a_real_file_is_read_as_pip_reads_it() {
        let fixture = Fixture::new()
            .file(
                "requirements.txt",
                "# comment\n--index-url https://h/simple\n-r more/base.txt\n-e .[dev]\nflask==3.0 \\\n    --hash=sha256:AA \\\n    --hash=sha256:bb  # why\n\ngit+https://x/y.git#egg=y\n--pre\n",
            )
            .file("more/base.txt", "-c constraints.txt\nredis>=5 ; python_version > '3'\n")
            .file("more/constraints.txt", "six==1.0\n");
        let all = read(&fixture).unwrap();
        let texts: Vec<_> = all.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["redis>=5 ; python_version > '3'", "flask==3.0", "git+https://x/y.git#egg=y"]);
        assert_eq!(all.lines[1].hashes, ["aa", "bb"]);
        assert_eq!(all.constraints[0].text, "six==1.0");
        assert_eq!(all.indexes, ["https://h/simple"]);
        assert!(all.includes_itself);
        assert!(all.flattened().starts_with("--index-url https://h/simple\n--pre\nredis>=5"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error = |text: &str| read(&Fixture::new().file("requirements.txt", text)).unwrap_err();
        assert_eq!(
            error("a==1\n\n=== nonsense\n"),
            "requirements.txt:3: `=== nonsense` is not a requirement"
        );
        assert!(error("-r nope.txt").contains("nope.txt, which is not in the build context"));
        assert!(error("-r requirements.txt").contains("levels deep"));
        assert!(error("./vendor/x").contains("requirements.txt:1"));
    }
}
