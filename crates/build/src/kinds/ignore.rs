//! What of a directory belongs to the image: `.dockerignore` with Docker's rules, after a short
//! list of what never belongs there.

/// Left out wherever they stand, unless `.dockerignore` takes them back with `!`.
const NEVER: &[&str] = &[
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/__pycache__",
    "**/*.pyc",
    "**/node_modules",
    "**/.venv",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.DS_Store",
    ".env",
    ".dockerignore",
    ".gitignore",
    "Dockerfile",
    "compose.yaml",
    "compose.yml",
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];

/// More patterns than this in one file is a mistake.
pub const PATTERN_LIMIT: usize = 2_000;

#[derive(Debug)]
pub struct Ignore {
    patterns: Vec<Pattern>,
    any_negated: bool,
}

#[derive(Debug)]
struct Pattern {
    segments: Vec<String>,
    negated: bool,
}

impl Ignore {
    /// `text` is the content of `.dockerignore`; `more` are patterns of the kind, such as `target`.
    pub fn new(text: &str, more: &[&str]) -> Result<Self, String> {
        Self::of(NEVER.iter().copied().chain(more.iter().copied()).chain(lines(text)))
    }

    /// These patterns and no others.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let patterns: Vec<Pattern> = patterns.into_iter().take(PATTERN_LIMIT + 1).map(parse).collect();
        if patterns.len() > PATTERN_LIMIT {
            return Err(format!("more than {PATTERN_LIMIT} patterns"));
        }
        let any_negated = patterns.iter().any(|pattern| pattern.negated);
        Ok(Self { patterns, any_negated })
    }

    /// What the text of a `.dockerignore` says, and nothing else.
    pub fn of_text(text: &str) -> Result<Self, String> {
        Self::of(lines(text))
    }

    pub fn nothing() -> Self {
        Self { patterns: Vec::new(), any_negated: false }
    }

    /// Whether `path` (relative, `/` between parts) is left out: the last pattern that matches it or
    /// a directory above it decides.
    pub fn leaves_out(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let matches = |pattern: &Pattern| (1..=parts.len()).any(|n| matches(&pattern.segments, &parts[..n]));
        self.patterns.iter().rev().find(|pattern| matches(pattern)).is_some_and(|pattern| !pattern.negated)
    }

    /// Whether nothing below a directory that is left out can be taken back.
    pub fn prunes(&self, directory: &str) -> bool {
        !self.any_negated && self.leaves_out(directory)
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn parse(line: &str) -> Pattern {
    let (negated, body) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let segments =
        body.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
    Pattern { segments, negated }
}

/// Whether one pattern names exactly this path.
pub fn glob(pattern: &str, path: &str) -> bool {
    matches(&parse(pattern).segments, &path.split('/').collect::<Vec<_>>())
}

/// `**` stands for any number of directories, none included.
fn matches(pattern: &[String], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            // A closing `**` matches what is inside, not the directory itself.
            let least = usize::from(rest.is_empty());
            (least..=parts.len()).any(|skip| matches(rest, &parts[skip..]))
        }
        (Some((first, rest)), Some((part, others))) => {
            wild(first.as_bytes(), part.as_bytes()) && matches(rest, others)
        }
        _ => false,
    }
}

/// `*`, `?`, `[a-z]`, `[^a]` and `\x` within one name.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| wild(rest, &text[skip..])),
        Some((b'?', rest)) => !text.is_empty() && wild(rest, &text[1..]),
        Some((b'[', rest)) => match (class(rest, text.first().copied()), text.is_empty()) {
            (Some((inside, after)), false) => inside && wild(after, &text[1..]),
            _ => false,
        },
        Some((b'\\', rest)) if !rest.is_empty() => {
            text.first() == rest.first() && wild(&rest[1..], &text[1..])
        }
        Some((byte, rest)) => text.first() == Some(byte) && wild(rest, &text[1..]),
    }
}

/// Whether `byte` is in the class that `pattern` opens, and what follows the class.
fn class(pattern: &[u8], byte: Option<u8>) -> Option<(bool, &[u8])> {
    let end = pattern.iter().skip(1).position(|b| *b == b']')? + 1;
    let (body, after) = (&pattern[..end], &pattern[end + 1..]);
    let (negated, body) = match body.split_first() {
        Some((b'^' | b'!', rest)) => (true, rest),
        _ => (false, body),
    };
    let byte = byte?;
    let mut inside = false;
    let mut at = 0;
    while at < body.len() {
        if at + 2 < body.len() && body[at + 1] == b'-' {
            inside |= (body[at]..=body[at + 2]).contains(&byte);
            at += 3;
        } else {
            inside |= body[at] == byte;
            at += 1;
        }
    }
    Some((inside != negated, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, out: &[&str], kept: &[&str]) {
        let ignore = Ignore::new(text, &[]).unwrap();
        for path in out {
            assert!(ignore.leaves_out(path), "{path} should be left out by {text:?}");
        }
        for path in kept {
            assert!(!ignore.leaves_out(path), "{path} should be kept by {text:?}");
        }
    }

    #[test]
    fn some_things_never_belong_in_an_image() {
        check(
            "",
            &[".git/HEAD", "a/__pycache__/x.pyc", ".env", "compose.yaml"],
            &["a/compose.yaml", "main.py", ".envrc"],
        );
    }

    #[test]
    fn patterns_follow_docker() {
        check("*.md\n!README.md", &["a.md"], &["README.md", "docs/a.md"]);
        check("/docs\nbuild/", &["docs/a.md", "build/x"], &["a/docs/b"]);
        check("**/*.log\n# comment\n", &["x.log", "a/b/x.log"], &["log"]);
        check("data/**", &["data/a", "data/a/b"], &["data"]);
        check("file[0-9].txt\nx?\n[^a]b", &["file1.txt", "xy", "cb"], &["filea.txt", "x", "ab"]);
        check("dir\n!dir/keep", &["dir/other"], &["dir/keep"]);
        check("!.env", &[], &[".env"]);
    }

    #[test]
    fn too_many_patterns_are_refused() {
        assert!(Ignore::new(&"a\n".repeat(PATTERN_LIMIT + 1), &[]).is_err());
    }

    #[test]
    fn a_hostile_pattern_does_not_match_for_ever_or_panic() {
        for pattern in ["[", "[]", "[a", "\\", "!", "**", "/", "[z-a]"] {
            Ignore::new(pattern, &[]).unwrap().leaves_out("a/b");
        }
    }
}
