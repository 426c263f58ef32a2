//! Who is told, and where. Addresses are secrets: they are in one file of mode 0600 and nowhere else.

use crate::mail::Post;
use crate::message::Message;
use model::range::Level;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub const RECEIVERS_MAX: usize = 16;
const NAME_MAX: usize = 40;
const URL_MAX: usize = 2048;
const FORM: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The message as JSON.
    Webhook,
    /// `{"text": …}`, as Slack, Mattermost, Rocket.Chat and others take it.
    Slack,
    /// API version 2; the address is that of its root.
    Alertmanager,
    /// By SMTP; the address says server, sender and receivers.
    Mail,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Alertmanager => "alertmanager",
            Self::Mail => "mail",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    pub name: String,
    pub kind: Kind,
    url: String,
    /// Only what is at least so urgent.
    pub least: Level,
    /// Only what is about this stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

/// The address is not for logs.
impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({}, {:?}, {})", self.name, self.kind, self.place())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    #[error("{0:?} is no name: up to {NAME_MAX} letters, digits, - and _")]
    Name(String),
    #[error("the address is not one that can be told: http:// or https:// with a host")]
    Url,
    #[error(
        "the address is not one of mail: smtps://USER:PASSWORD@HOST?from=ADDRESS&to=ADDRESS, where smtp:// \
         turns to TLS and tls=none is for servers without a password or on this machine"
    )]
    Post,
    #[error("there is a receiver {0} already")]
    Known(String),
    #[error("there is no receiver {0}")]
    Unknown(String),
    #[error("there are {RECEIVERS_MAX} receivers already")]
    TooMany,
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} cannot be understood")]
    Form {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} was written by a newer version")]
    Newer { path: PathBuf },
    #[error("write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Receiver {
    pub fn new(name: &str, kind: Kind, url: &str, least: Level) -> Result<Self, ReceiverError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_name) {
            return Err(ReceiverError::Name(name.chars().take(NAME_MAX).collect()));
        }
        let receiver = Self { name: name.to_owned(), kind, url: url.trim().to_owned(), least, stack: None };
        let is_plain = receiver.url.len() <= URL_MAX && receiver.url.bytes().all(|b| b.is_ascii_graphic());
        let is_known = match kind {
            Kind::Mail => receiver.post().is_some(),
            _ => receiver.host().is_some_and(|host| !host.is_empty()),
        };
        match (is_plain && is_known, kind) {
            (true, _) => Ok(receiver),
            (false, Kind::Mail) => Err(ReceiverError::Post),
            (false, _) => Err(ReceiverError::Url),
        }
    }

    /// One that a file declares: it is told about its stack, and called `shop/ops`.
    pub fn of_stack(self, stack: &str) -> Self {
        Self { name: format!("{stack}/{}", self.name), stack: Some(stack.to_owned()), ..self }
    }

    pub(crate) fn wants(&self, message: &Message) -> bool {
        let is_mine = self.stack.is_none() || self.stack == message.stack;
        is_mine && message.level >= self.least
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Without what may be secret: `https://hooks.example.org`.
    pub fn place(&self) -> String {
        if let Some(post) = self.post().filter(|_| self.kind == Kind::Mail) {
            return post.place();
        }
        let scheme = self.url.split("://").next().unwrap_or_default();
        format!("{scheme}://{}", self.host().unwrap_or_default())
    }

    pub(crate) fn post(&self) -> Option<Post> {
        Post::parse(&self.url)
    }

    /// With the port, without a user.
    fn host(&self) -> Option<&str> {
        let rest = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"))?;
        let authority = rest.split(['/', '?', '#']).next()?;
        authority.rsplit('@').next()
    }
}

/// The file of all receivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    form: u32,
    receivers: Vec<Receiver>,
}

/// All receivers, as they are on disk.
#[derive(Debug, Clone)]
pub struct Receivers {
    path: PathBuf,
    all: Vec<Receiver>,
}

impl Receivers {
    /// None when there is no file yet.
    pub fn open(path: &Path) -> Result<Self, ReceiverError> {
        let read = |source| ReceiverError::Read { path: path.to_owned(), source };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), all: Vec::new() });
            }
            Err(error) => return Err(read(error)),
        };
        let file: File = serde_json::from_slice(&text)
            .map_err(|source| ReceiverError::Form { path: path.to_owned(), source })?;
        match file.form {
            FORM => Ok(Self { path: path.to_owned(), all: file.receivers }),
            _ => Err(ReceiverError::Newer { path: path.to_owned() }),
        }
    }

    pub fn all(&self) -> &[Receiver] {
        &self.all
    }

    pub fn add(&mut self, receiver: Receiver) -> Result<(), ReceiverError> {
        if self.all.iter().any(|known| known.name == receiver.name) {
            return Err(ReceiverError::Known(receiver.name));
        }
        if self.all.len() >= RECEIVERS_MAX {
            return Err(ReceiverError::TooMany);
        }
        let mut all = self.all.clone();
        all.push(receiver);
        self.write(all)
    }

    pub fn remove(&mut self, name: &str) -> Result<(), ReceiverError> {
        let mut all = self.all.clone();
        all.retain(|receiver| receiver.name != name);
        if all.len() == self.all.len() {
            return Err(ReceiverError::Unknown(name.to_owned()));
        }
        self.write(all)
    }

    /// On disk first.
    fn write(&mut self, all: Vec<Receiver>) -> Result<(), ReceiverError> {
        let file = File { form: FORM, receivers: all };
        let text = serde_json::to_vec(&file).expect("receivers have string keys only");
        replace(&self.path, &text)
            .map_err(|source| ReceiverError::Write { path: self.path.clone(), source })?;
        self.all = file.receivers;
        Ok(())
    }
}

/// Writes a file of mode 0600 anew, wholly or not at all.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn addresses_that_cannot_be_told_are_refused() {
        for url in ["", "ftp://a", "http://", "https:///x", "http://a b", "nonsense"] {
            let made = Receiver::new("ops", Kind::Webhook, url, Level::Urgent);
            assert!(matches!(made, Err(ReceiverError::Url)), "{url}");
        }
        for name in ["", "a b", "ä", &"a".repeat(41)] {
            assert!(Receiver::new(name, Kind::Slack, "http://a/", Level::Urgent).is_err(), "{name}");
        }
    }

    #[test]
    fn the_address_is_shown_nowhere() {
        let url = "https://user:pass@hooks.example.org:8443/T0/SECRET?token=abc";
        let receiver = Receiver::new("ops", Kind::Slack, url, Level::Urgent).expect("valid");
        let shown = format!("{receiver:?} {}", receiver.place());
        assert!(!shown.contains("SECRET") && !shown.contains("pass") && !shown.contains("abc"), "{shown}");
        assert_eq!(receiver.place(), "https://hooks.example.org:8443");
    }

    #[test]
    fn receivers_are_kept_in_a_file_of_their_owner() {
        let directory = testkit::TempDir::new();
        let path = directory.path().join("receivers.json");
        let one = |name: &str| {
            Receiver::new(name, Kind::Webhook, "http://127.0.0.1:1/x", Level::Important).expect("valid")
        };
        let mut receivers = Receivers::open(&path).expect("no file is no receivers");
        receivers.add(one("a")).expect("there is room");
        assert!(matches!(receivers.add(one("a")), Err(ReceiverError::Known(_))));
        assert!(matches!(receivers.remove("b"), Err(ReceiverError::Unknown(_))));
        assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
        assert_eq!(Receivers::open(&path).expect("read").all(), receivers.all());
        for at in 1..RECEIVERS_MAX {
            receivers.add(one(&format!("r{at}"))).expect("there is room");
        }
        assert!(matches!(receivers.add(one("more")), Err(ReceiverError::TooMany)));
        fs::write(&path, r#"{"form":9,"receivers":[]}"#).expect("written");
        assert!(matches!(Receivers::open(&path), Err(ReceiverError::Newer { .. })));
        fs::write(&path, "{").expect("written");
        assert!(matches!(Receivers::open(&path), Err(ReceiverError::Form { .. })));
    }
}
