//! Names of repositories and tags, by the grammar of the distribution specification. What has
//! passed here is safe as the name of a file.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name of a repository, which is also the name of a directory.
pub const NAME_MAX: usize = 255;
/// Longest tag.
pub const TAG_MAX: usize = 128;

/// `app/web`: components of lower-case letters and digits, with `.`, `_`, `__` or dashes between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

impl RepositoryName {
    pub fn new(text: &str) -> Option<Self> {
        let good = text.len() <= NAME_MAX && text.split('/').all(is_component);
        good.then(|| Self(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub(super) fn file_name(&self) -> String {
        self.0.replace('/', "+")
    }
    pub(super) fn of_file(name: &str) -> Option<Self> {
        Self::new(&name.replace('+', "/"))
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` is no name of a repository"))
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(plain) || !text.ends_with(plain) {
        return false;
    }
    let separators = text.split(plain).filter(|between| !between.is_empty());
    separators
        .into_iter()
        .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    pub fn new(text: &str) -> Option<Self> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = (1..=TAG_MAX).contains(&text.len())
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        good.then(|| Self(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "a/b/c", "a.b", "a_b", "a__b", "a---b", "0/1", "shop/web-2.x"] {
            let name = RepositoryName::new(good).unwrap_or_else(|| panic!("{good}"));
            assert_eq!(RepositoryName::of_file(&name.file_name()), Some(name));
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a_-b", "-a", "a-", "..", ".", "a/../b",
            "a b", "a+b", "a%2fb", "ä", "a\0", "_a", "a/_tags",
        ] {
            assert!(RepositoryName::new(bad).is_none(), "{bad}");
        }
        assert!(RepositoryName::new(&"a".repeat(NAME_MAX)).is_some());
        assert!(RepositoryName::new(&"a".repeat(NAME_MAX + 1)).is_none());
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "1.2.3", "_", "A-b.c", &"a".repeat(TAG_MAX)] {
            assert!(Tag::new(good).is_some(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a:b", "a b", "ä", "a\n", &"a".repeat(TAG_MAX + 1)] {
            assert!(Tag::new(bad).is_none(), "{bad}");
        }
    }
}
