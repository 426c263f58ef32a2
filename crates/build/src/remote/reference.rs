//! Names of images as people write them: `redis`, `ghcr.io/a/b:1`, `localhost:5000/x@sha256:…`.

use crate::error::BuildError;
use model::Digest;
use std::fmt;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const MAX_LENGTH: usize = 255;
const MAX_TAG: usize = 128;

/// A name with nothing left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, with a port where one is written.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    /// Wins over the tag.
    pub digest: Option<Digest>,
}

impl Reference {
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        Self::read(text).map_err(|reason| BuildError::Reference { reference: text.to_owned(), reason })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(Digest::new(digest).map_err(|_| "its digest is not `sha256:` and 64 digits")?))
            }
            None => (text, None),
        };
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag)),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("its tag has other characters than letters, digits, `_`, `.` and `-`");
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        if !is_host(registry) {
            return Err("its registry is not a host name with or without a port");
        }
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let repository = match registry == DEFAULT_REGISTRY && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if repository.len() > MAX_LENGTH || path.is_empty() || !repository.split('/').all(is_component) {
            return Err(
                "its name has other characters than lower-case letters, digits, `.`, `_`, `-` and `/`",
            );
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Digest or tag, as the registry is asked for it.
    pub fn target(&self) -> &str {
        match &self.digest {
            Some(digest) => digest.as_str(),
            None => self.tag.as_deref().unwrap_or(DEFAULT_TAG),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, tag) => write!(f, ":{}", tag.as_deref().unwrap_or(DEFAULT_TAG)),
        }
    }
}

/// Whether a host, with or without a port, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, port.strip_prefix(':').or(Some(""))),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let is_name = !name.is_empty()
        && name.len() <= MAX_LENGTH
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let is_name = is_name || (text.starts_with('[') && name.parse::<std::net::Ipv6Addr>().is_ok());
    is_name && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// Lower-case letters and digits, with single `.`, up to two `_` or any number of `-` between.
fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = |b: Option<u8>| b.is_some_and(plain);
    let separated = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let mut separators = separated.filter(|s| !s.is_empty());
    ends(text.bytes().next())
        && ends(text.bytes().last())
        && separators.all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_names_are_completed() {
        let hex = "a".repeat(64);
        for (text, full) in [
            ("redis", "docker.io/library/redis:latest".to_owned()),
            ("redis:7.2", "docker.io/library/redis:7.2".to_owned()),
            ("bitnami/redis", "docker.io/bitnami/redis:latest".to_owned()),
            ("index.docker.io/redis", "docker.io/library/redis:latest".to_owned()),
            ("ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x".to_owned()),
            ("localhost/a", "localhost/a:latest".to_owned()),
            ("localhost:5000/a__b:1", "localhost:5000/a__b:1".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            (&format!("a@sha256:{hex}"), format!("docker.io/library/a@sha256:{hex}")),
            (&format!("a:1@sha256:{hex}"), format!("docker.io/library/a@sha256:{hex}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), full);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            "A",
            "a:",
            "a:b c",
            "a@sha256:1",
            "a/",
            "/a",
            "a//b",
            "a..b",
            "a___b",
            "x:99999/a",
            "http://a/b",
            "a.b:c/d",
            "[::1/a",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_full_name_reads_as_itself(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap().to_string(), reference.to_string());
            }
        }
    }
}
