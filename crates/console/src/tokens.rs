//! Tokens by which programs of others are let in. Kept as hashes in one file of mode 0600; the token
//! itself is seen once, when it is made.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most tokens at the same time.
pub const TOKENS_MAX: usize = 100;
/// The longest name of a token.
pub const NAME_MAX: usize = 63;
/// What a token begins with, so that people and scanners know it when they see it.
const PREFIX: &str = "juchu_";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum May {
    /// Ask for measurements.
    Read,
    /// Send measurements.
    Send,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    pub name: String,
    pub may: Vec<May>,
    /// Who made it.
    pub actor: String,
    pub made: Timestamp,
}

/// The only time that a token is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    pub token: String,
    #[serde(flatten)]
    pub status: TokenStatus,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("a token's name has 1 to {NAME_MAX} letters, digits, `-`, `_` and `.`, and {0:?} is none")]
    Name(String),
    #[error("there is a token {0} already")]
    Exists(String),
    #[error("there are {TOKENS_MAX} tokens already")]
    TooMany,
    #[error("{0}; move the file away and make the tokens anew")]
    Damaged(String),
    #[error("there is no token {0}")]
    Unknown(String),
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is no list of tokens")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// The tokens that are let in; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Nowhere for tests.
    path: Option<PathBuf>,
    /// Why the file is left as it is, and nobody let in.
    damage: Option<String>,
    tokens: Vec<Stored>,
}

/// The file, version 1.
#[derive(Debug, Serialize, Deserialize)]
struct FileV1 {
    version: u32,
    tokens: Vec<Stored>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    status: TokenStatus,
    /// SHA-256 of the token, in hexadecimal digits.
    hash: String,
}

impl Tokens {
    /// Those in a file; none when there is no file.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let tokens = match std::fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice::<FileV1>(&bytes)
                    .map_err(|source| TokenError::Unreadable { path: path.into(), source })?
                    .tokens
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(TokenError::Read { path: path.into(), source }),
        };
        Ok(Self(Arc::new(Mutex::new(Kept { path: Some(path.into()), tokens, damage: None }))))
    }

    /// Lets nobody in and changes nothing, as the file cannot be read.
    pub fn closed(damage: String) -> Self {
        Self(Arc::new(Mutex::new(Kept { damage: Some(damage), ..Kept::default() })))
    }

    /// What the token may do; none when it is not known.
    pub fn of(&self, token: &str) -> Option<TokenStatus> {
        // By the hash, so that the time of a lookup says nothing about the token.
        let hash = hash(token);
        self.kept().tokens.iter().find(|stored| stored.hash == hash).map(|stored| stored.status.clone())
    }

    pub fn list(&self) -> Vec<TokenStatus> {
        self.kept().tokens.iter().map(|stored| stored.status.clone()).collect()
    }

    /// Makes one out of 256 random bits.
    pub fn create(&self, status: TokenStatus, random: [u8; 32]) -> Result<NewToken, TokenError> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=NAME_MAX).contains(&status.name.len()) || !status.name.bytes().all(is_part) {
            return Err(TokenError::Name(status.name));
        }
        let token = format!("{PREFIX}{}", model::Digest::from_raw(random).hex());
        let mut kept = self.kept();
        if kept.tokens.iter().any(|stored| stored.status.name == status.name) {
            return Err(TokenError::Exists(status.name));
        }
        if kept.tokens.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let mut tokens = kept.tokens.clone();
        tokens.push(Stored { status: status.clone(), hash: hash(&token) });
        kept.replace(tokens)?;
        Ok(NewToken { token, status })
    }

    pub fn remove(&self, name: &str) -> Result<(), TokenError> {
        let mut kept = self.kept();
        kept.is_whole()?;
        let others: Vec<Stored> =
            kept.tokens.iter().filter(|stored| stored.status.name != name).cloned().collect();
        if others.len() == kept.tokens.len() {
            return Err(TokenError::Unknown(name.to_owned()));
        }
        kept.replace(others)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_whole(&self) -> Result<(), TokenError> {
        self.damage.as_ref().map_or(Ok(()), |damage| Err(TokenError::Damaged(damage.clone())))
    }

    /// On disk first, then in force.
    fn replace(&mut self, tokens: Vec<Stored>) -> Result<(), TokenError> {
        self.is_whole()?;
        if let Some(path) = &self.path {
            let file = FileV1 { version: 1, tokens: tokens.clone() };
            let text = serde_json::to_vec_pretty(&file).expect("our types have string keys only");
            write(path, &text).map_err(|source| TokenError::Write { path: path.clone(), source })?;
        }
        self.tokens = tokens;
        Ok(())
    }
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

fn hash(token: &str) -> String {
    model::Digest::from_raw(sha2::Sha256::digest(token.as_bytes()).into()).hex().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn status(name: &str) -> TokenStatus {
        TokenStatus { name: name.into(), may: vec![May::Read], actor: "ada (cli)".into(), made: Timestamp(1) }
    }

    #[test]
    fn a_token_is_let_in_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.json");
        let tokens = Tokens::open(&path).unwrap();
        let made = tokens.create(status("grafana"), [7; 32]).unwrap();
        assert!(made.token.starts_with(PREFIX) && made.token.len() == PREFIX.len() + 64);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&made.token[PREFIX.len()..]), "the file does not hold it");
        let again = Tokens::open(&path).unwrap();
        assert_eq!(again.of(&made.token), Some(status("grafana")));
        assert_eq!(again.of("juchu_"), None);
        again.remove("grafana").unwrap();
        assert_eq!(again.of(&made.token), None);
        assert!(matches!(again.remove("grafana"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn names_and_their_number_have_limits() {
        let tokens = Tokens::default();
        for name in ["", "a b", "../x", &"x".repeat(NAME_MAX + 1)] {
            assert!(matches!(tokens.create(status(name), [0; 32]), Err(TokenError::Name(_))), "{name}");
        }
        for number in 0..TOKENS_MAX {
            tokens.create(status(&number.to_string()), [number as u8; 32]).unwrap();
        }
        assert!(matches!(tokens.create(status("0"), [0; 32]), Err(TokenError::Exists(_))));
        assert!(matches!(tokens.create(status("more"), [0; 32]), Err(TokenError::TooMany)));
    }

    #[test]
    fn a_file_of_another_form_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.json");
        std::fs::write(&path, "{").unwrap();
        let error = Tokens::open(&path).unwrap_err();
        assert!(matches!(error, TokenError::Unreadable { .. }));
        let closed = Tokens::closed(error.to_string());
        assert!(closed.list().is_empty() && closed.of("juchu_").is_none());
        assert!(matches!(closed.create(status("grafana"), [7; 32]), Err(TokenError::Damaged(_))));
        assert!(matches!(closed.remove("grafana"), Err(TokenError::Damaged(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{");
    }
}
