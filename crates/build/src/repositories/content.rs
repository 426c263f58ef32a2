//! Digests by which content is addressed: SHA-256, and SHA-512 for those who push by it.

use model::Digest;
use ring::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
    pub fn of(self, bytes: &[u8]) -> ContentDigest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// `sha256:` or `sha512:` and digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentDigest {
    algorithm: Algorithm,
    hex: String,
}

impl ContentDigest {
    pub fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.split_once(':')?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)?;
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let good = hex.len() == algorithm.digits() && hex.bytes().all(digit);
        good.then(|| Self { algorithm, hex: hex.to_owned() })
    }
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
    pub fn hex(&self) -> &str {
        &self.hex
    }
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}", self.algorithm.name(), self.hex)
    }
    pub(super) fn of_file(name: &str) -> Option<Self> {
        Self::parse(&name.replacen('-', ":", 1))
    }
}

impl From<&Digest> for ContentDigest {
    fn from(digest: &Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: digest.hex().to_owned() }
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no digest"))
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// Takes content piece by piece.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        let context = Context::new(match algorithm {
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        });
        Self { algorithm, context }
    }
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }
    pub fn finish(self) -> ContentDigest {
        let hex = self.context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        ContentDigest { algorithm: self.algorithm, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_written() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Algorithm::Sha256.of(b"").to_string(), empty);
        for algorithm in Algorithm::ALL {
            let digest = algorithm.of(b"abc");
            assert_eq!(ContentDigest::parse(&digest.to_string()), Some(digest.clone()));
            assert_eq!(ContentDigest::of_file(&digest.file_name()), Some(digest));
        }
        let upper = empty.to_uppercase();
        for bad in
            ["", "sha256", "sha256:", "sha256:baddigeststring", "md5:00", &upper, &empty[..70], "sha256:../x"]
        {
            assert!(ContentDigest::parse(bad).is_none(), "{bad}");
        }
    }
}
