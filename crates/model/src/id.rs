//! Names and ids: newtypes with one fallible constructor each.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a string is not a valid name or id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {rule}")]
pub struct IdError {
    pub what: &'static str,
    pub value: String,
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            pub fn new(value: impl Into<String>) -> Result<Self, IdError> {
                let value = value.into();
                let valid: fn(&str) -> bool = $valid;
                if valid(&value) {
                    Ok(Self(value))
                } else {
                    Err(IdError { what: $what, value, rule: $rule })
                }
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(value: String) -> Result<Self, IdError> {
                Self::new(value)
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

fn is_compose_key(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 128
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && value.bytes().any(|b| b.is_ascii_alphanumeric())
}

fn is_project_name(value: &str) -> bool {
    let first = value.bytes().next();
    value.len() <= 63
        && first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

name!(
    /// Name of a stack (Compose: project).
    StackName, "stack name",
    "lower-case letters, digits, `-` and `_`, starting with a letter or digit, at most 63",
    is_project_name
);
name!(
    /// Name of a service as written in the Compose file.
    ServiceName, "service name",
    "letters, digits, `.`, `-` and `_`, at most 128",
    is_compose_key
);
name!(
    /// Key of a network in the Compose file (`default` when none is declared).
    NetworkName, "network name",
    "letters, digits, `.`, `-` and `_`, at most 128",
    is_compose_key
);
name!(
    /// Name of a named volume on this host, unique over all stacks (`stack_key` unless declared).
    VolumeName, "volume name",
    "letters, digits, `.`, `-` and `_`, at most 128",
    is_compose_key
);
name!(
    /// One instance for its whole life: lower-case letters and digits, at most 32, never reused.
    InstanceId, "instance id",
    "lower-case letters and digits, at most 32",
    |v| !v.is_empty() && v.len() <= 32 && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
);
name!(
    /// `sha256:` and 64 lower-case hexadecimal digits.
    Digest, "digest",
    "`sha256:` followed by 64 lower-case hexadecimal digits",
    |v| v.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64
        && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_raw(sha2::Sha256::digest(bytes).into())
    }
    /// From a finished SHA-256.
    pub fn from_raw(raw: [u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in raw {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        Self(text)
    }
    /// The 64 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
    /// The first 12 digits, as people are shown them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// Number of a release within its stack, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        assert!(StackName::new("my-app_2").is_ok());
        for bad in ["", "-a", "My", "a b", &"a".repeat(64)] {
            assert!(StackName::new(bad).is_err(), "{bad:?}");
        }
        assert!(ServiceName::new("Web.1").is_ok());
        assert!(ServiceName::new("..").is_err());
        assert!(InstanceId::new("web1").is_ok());
        assert!(InstanceId::new("../x").is_err());
    }

    #[test]
    fn a_digest_knows_its_forms() {
        let digest = Digest::of(b"");
        assert_eq!(
            digest.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert!(Digest::new("sha256:E3").is_err());
    }
}
