//! The users of the registry: names, what they may do, and the digest of a token each.
//!
//! A token is made here, of 256 random bits, and shown once. Nobody can guess one, so there is no
//! slow hash that strangers could keep this machine busy with.

use super::Rule;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Digest, ErrorKind, Report};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub const USERS_MAX: usize = 1_000;
pub const RULES_MAX: usize = 64;
const NAME_MAX: usize = 64;
/// Characters of a token that somebody brings along.
pub const TOKEN_MIN: usize = 32;
const TOKEN_MAX: usize = 256;
/// In front of the tokens that are made here, so that searches for secrets find them.
const PREFIX: &str = "jreg_";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    #[error("`{name}` is no name for a user: letters, digits, `.`, `_` and `-`, at most {NAME_MAX}")]
    Name { name: String },
    #[error("there is a user {name} already")]
    Exists { name: String },
    #[error("there is no user {name}")]
    Unknown { name: String },
    #[error("a token has {TOKEN_MIN} to {TOKEN_MAX} characters that can be seen")]
    Token,
    #[error("there are {what} already, more are not kept")]
    TooMany { what: &'static str },
    #[error("the users in {} cannot be read: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("read or write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this machine gives no random numbers")]
    Random,
}

impl UsersError {
    pub fn report(&self) -> Report {
        let kind = match self {
            Self::Damaged { .. } | Self::Io { .. } | Self::Random => ErrorKind::Environment,
            _ => ErrorKind::Usage,
        };
        let report = Report::from_error(kind, self);
        match self {
            Self::Exists { name } => {
                report.hint(format!("`juchu registry user rm {name}` takes it away; then add it anew"))
            }
            Self::Name { .. } => {
                report.hint("name the machine or program that logs in: `juchu registry user add edge`")
            }
            Self::TooMany { .. } => report.hint("`juchu registry user rm NAME` makes room"),
            Self::Unknown { .. } => report.hint("`juchu registry user ls` shows who is there"),
            Self::Token => report.hint("leave out `--token-stdin` to have one made"),
            Self::Damaged { path, .. } => {
                report.hint(format!("move {} away and add the users anew", path.display()))
            }
            _ => report,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    /// Of the token.
    digest: Digest,
    pub rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    users: Vec<User>,
}

/// What tells one version of the file from the next.
type Stamp = Option<(u64, u64, i64, i64)>;

pub struct Users {
    path: PathBuf,
    read: Mutex<(Stamp, Vec<User>)>,
}

impl Users {
    /// The users of a store; the directory `registry` in it exists.
    pub fn open(store: &Path) -> Result<Self, UsersError> {
        let users = Self { path: store.join("registry/users.json"), read: Mutex::new((None, Vec::new())) };
        users.all()?;
        Ok(users)
    }

    /// Everybody, as the file says it now.
    pub fn all(&self) -> Result<Vec<User>, UsersError> {
        self.looked_at(<[User]>::to_vec)
    }

    pub fn named(&self, name: &str) -> Result<Option<User>, UsersError> {
        self.looked_at(|users| users.iter().find(|user| user.name == name).cloned())
    }

    /// The user with this name, if the token is theirs.
    pub fn find(&self, name: &str, token: &str) -> Result<Option<User>, UsersError> {
        let digest = Digest::of(token.as_bytes());
        Ok(self.named(name)?.filter(|user| same(&user.digest, &digest)))
    }

    fn looked_at<T>(&self, look: impl FnOnce(&[User]) -> T) -> Result<T, UsersError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp()?;
        if stamp != read.0 {
            *read = (stamp, self.load()?);
        }
        Ok(look(&read.1))
    }

    fn stamp(&self) -> Result<Stamp, UsersError> {
        match fs::metadata(&self.path) {
            Ok(m) => Ok(Some((m.ino(), m.len(), m.mtime(), m.mtime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(error)),
        }
    }

    fn io(&self, source: io::Error) -> UsersError {
        UsersError::Io { path: self.path.clone(), source }
    }

    fn load(&self) -> Result<Vec<User>, UsersError> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| self.io(error))?,
        };
        let damaged = |reason: String| UsersError::Damaged { path: self.path.clone(), reason };
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match document.version {
            1 => Ok(document.users),
            other => Err(damaged(format!("version {other} is from a newer juchu"))),
        }
    }

    /// Adds a user and answers the token, which is made unless one is given.
    pub fn add(&self, name: &str, rules: Vec<Rule>, token: Option<String>) -> Result<String, UsersError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=NAME_MAX).contains(&name.len()) || !name.chars().all(plain) {
            return Err(UsersError::Name { name: name.to_owned() });
        }
        if rules.len() > RULES_MAX {
            return Err(UsersError::TooMany { what: "64 rules for this user" });
        }
        let token = token.map_or_else(make_token, Ok)?;
        if !(TOKEN_MIN..=TOKEN_MAX).contains(&token.len()) || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(UsersError::Token);
        }
        let user = User { name: name.to_owned(), digest: Digest::of(token.as_bytes()), rules };
        self.change(|users| {
            if users.iter().any(|other| other.name == user.name) {
                return Err(UsersError::Exists { name: user.name.clone() });
            }
            if users.len() >= USERS_MAX {
                return Err(UsersError::TooMany { what: "1000 users" });
            }
            users.push(user);
            Ok(())
        })?;
        Ok(token)
    }

    pub fn remove(&self, name: &str) -> Result<(), UsersError> {
        self.change(|users| {
            let before = users.len();
            users.retain(|user| user.name != name);
            match users.len() < before {
                true => Ok(()),
                false => Err(UsersError::Unknown { name: name.to_owned() }),
            }
        })
    }

    /// Replaces the file as a whole; one change at a time, by whichever process.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<User>) -> Result<(), UsersError>,
    ) -> Result<(), UsersError> {
        let open = |path: PathBuf| {
            File::options()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(path)
                .map_err(|e| self.io(e))
        };
        let held = open(self.path.with_extension("lock"))?;
        flock(&held, FlockOperation::LockExclusive).map_err(|error| self.io(error.into()))?;
        let mut users = self.load()?;
        change(&mut users)?;
        users.sort_by(|a, b| a.name.cmp(&b.name));
        let next = self.path.with_extension("next");
        let mut file = open(next.clone())?;
        let text = serde_json::to_vec_pretty(&Document { version: 1, users }).expect("plain data");
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        let directory = self.path.parent().expect("below a directory");
        written
            .and_then(|()| fs::rename(&next, &self.path))
            .and_then(|()| File::open(directory)?.sync_all())
            .map_err(|error| self.io(error))
    }
}

fn make_token() -> Result<String, UsersError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| UsersError::Random)?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Takes as long whatever differs.
fn same(a: &Digest, b: &Digest) -> bool {
    a.hex().bytes().zip(b.hex().bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Right;
    use std::os::unix::fs::PermissionsExt;
    use testkit::TempDir;

    fn users() -> (TempDir, Users) {
        let store = TempDir::new();
        fs::create_dir(store.path().join("registry")).expect("a directory");
        let users = Users::open(store.path()).expect("users");
        (store, users)
    }

    #[test]
    fn users_come_and_go_for_those_who_have_the_file_open() {
        let (store, serving) = users();
        let editing = Users::open(store.path()).expect("users");
        let token = editing.add("ci", vec![Rule::all(Right::Read)], None).expect("added");
        assert!(token.starts_with(PREFIX) && token.len() > TOKEN_MIN);
        assert_eq!(serving.find("ci", &token).expect("read").expect("known").rules.len(), 1);
        assert!(serving.find("ci", "").expect("read").is_none());
        assert!(matches!(editing.add("ci", Vec::new(), None), Err(UsersError::Exists { .. })));
        let text = fs::read_to_string(store.path().join("registry/users.json")).expect("a file");
        assert!(!text.contains(&token), "only its digest is kept");
        let mode =
            fs::metadata(store.path().join("registry/users.json")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        editing.remove("ci").expect("removed");
        assert!(serving.find("ci", &token).expect("read").is_none());
        assert!(matches!(editing.remove("ci"), Err(UsersError::Unknown { .. })));
    }

    #[test]
    fn bad_names_and_tokens_are_refused() {
        let (_store, users) = users();
        for bad in ["", "a b", "a:b", "ä", "../x", &"a".repeat(NAME_MAX + 1)] {
            assert!(matches!(users.add(bad, Vec::new(), None), Err(UsersError::Name { .. })), "{bad}");
        }
        for bad in ["short", &"a".repeat(TOKEN_MAX + 1), &"a b".repeat(20)] {
            assert!(matches!(users.add("a", Vec::new(), Some(bad.to_owned())), Err(UsersError::Token)));
        }
        users.add("a", Vec::new(), Some("x".repeat(TOKEN_MIN))).expect("one's own token");
    }

    /// The format on disk, kept for ever.
    #[test]
    fn files_of_version_1_are_read_and_others_are_not_guessed_at() {
        let (store, users) = users();
        let path = store.path().join("registry/users.json");
        let digest = Digest::of(b"secret");
        let golden = format!(
            r#"{{"version":1,"users":[{{"name":"ci","digest":"{digest}","rules":[{{"repositories":"a/*","right":"write"}}]}}]}}"#
        );
        fs::write(&path, &golden).expect("written");
        assert_eq!(
            users.find("ci", "secret").expect("read").expect("known").rules[0].to_string(),
            "write a/*"
        );
        for bad in [golden.replace(":1,", ":2,"), "{".to_owned()] {
            fs::write(&path, bad).expect("written");
            let error = users.all().expect_err("not guessed at");
            assert!(error.report().hints[0].contains("move"), "{error}");
        }
    }
}
