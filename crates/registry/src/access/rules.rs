//! What one user may do with which repositories.

use build::repositories::RepositoryName;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Pull and list.
    Read,
    /// And push and delete.
    Write,
}

/// `*` is every repository, `app/*` all below `app`, anything else one by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    repositories: String,
    right: Right,
}

impl Rule {
    /// `None` where the pattern is none.
    pub fn new(repositories: &str, right: Right) -> Option<Self> {
        let name = repositories.strip_suffix("/*").unwrap_or(repositories);
        let good = repositories == "*" || RepositoryName::new(name).is_some();
        good.then(|| Self { repositories: repositories.to_owned(), right })
    }

    pub fn all(right: Right) -> Self {
        Self { repositories: "*".to_owned(), right }
    }

    pub fn allows(&self, right: Right, name: &RepositoryName) -> bool {
        right <= self.right
            && match self.repositories.strip_suffix('*') {
                Some(prefix) => name.as_str().starts_with(prefix),
                None => name.as_str() == self.repositories,
            }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let right = match self.right {
            Right::Read => "read",
            Right::Write => "write",
        };
        write!(f, "{right} {}", self.repositories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_whole_components() {
        let name = |text| RepositoryName::new(text).expect("a name");
        let rule = Rule::new("app/*", Right::Read).expect("a rule");
        assert!(rule.allows(Right::Read, &name("app/a/b")));
        for other in ["app", "apps/a", "x/app/a"] {
            assert!(!rule.allows(Right::Read, &name(other)), "{other}");
        }
        assert!(!rule.allows(Right::Write, &name("app/a")));
        assert!(Rule::all(Right::Write).allows(Right::Read, &name("x")));
        for bad in ["", "a*", "*/a", "a/**", "A", "../*", "/*", "a/*/b"] {
            assert!(Rule::new(bad, Right::Read).is_none(), "{bad}");
        }
    }
}
