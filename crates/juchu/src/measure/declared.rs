//! `observe.toml` below the home: where programs of others send to, beside the console's address, and whom
//! what is kept here is sent to.
//!
//! Read when the daemon starts and whenever it changes. A mistake in it is told in the daemon's log and by
//! `juchu doctor`, and changes nothing. What could not be opened or begun is tried again.

use super::sending::{self, Sending, Sources};
use juchu::home::Home;
use observe::receive::{Listening, Receiver};
use run::engine::Lack;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const FILE: &str = "observe.toml";
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Destinations that are sent to.
const DESTINATIONS_MAX: usize = 8;
/// Bytes of the file.
const BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Declared {
    receive: Receive,
    send: BTreeMap<String, sending::Declared>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Receive {
    /// OTLP and remote write, with a token.
    http: Option<SocketAddr>,
    /// UDP and TCP.
    syslog: Option<SocketAddr>,
}

/// What is received where, for whoever shows it; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Open(Arc<Mutex<Now>>);

#[derive(Debug, Default)]
struct Now {
    addresses: Vec<(&'static str, SocketAddr)>,
    /// What of the file could not be done, a sentence each.
    troubles: Vec<String>,
}

impl Open {
    /// Says what is new among the troubles.
    fn set(&self, addresses: Vec<(&'static str, SocketAddr)>, troubles: Vec<String>) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().filter(|one| !now.troubles.contains(one)).for_each(|one| eprintln!("{one}"));
        *now = Now { addresses, troubles };
    }

    pub fn all(&self) -> Vec<(&'static str, SocketAddr)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).addresses.clone()
    }

    /// What is wrong with the file of this home, or with what it asks for.
    pub fn lacks(&self, home: &Home) -> Vec<Lack> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lack = |trouble: &String| Lack {
            what: FILE.to_owned(),
            effect: trouble.clone(),
            hint: format!("mend {}; it is read again within {} s", home.join(FILE).display(), LOOK.as_secs()),
            fatal: false,
        };
        now.troubles.iter().map(lack).collect()
    }
}

/// Who serves the addresses of HTTP to those who show a token.
pub type Serve = Arc<dyn Fn(TcpListener) -> JoinHandle<()> + Send + Sync>;

/// Goes on until the daemon ends.
pub async fn follow(home: Home, receiver: Receiver, serve: Serve, open: Open, send: (Sending, Sources)) {
    let path = home.join(FILE);
    let queues = home.join("sending");
    let mut last: Option<Seen> = None;
    let mut doors = Doors::default();
    let (mut declared, mut mistake) = (Declared::default(), None);
    loop {
        let seen = Seen::of(&path);
        if last.as_ref() != Some(&seen) {
            (declared, mistake) = match read(&path) {
                Ok(now) => (now, None),
                Err(error) => {
                    (declared, Some(format!("{} is left as it was before: {error}", path.display())))
                }
            };
            last = Some(seen);
        }
        let mut troubles: Vec<String> = mistake.iter().cloned().collect();
        troubles.extend(doors.become_as(&declared.receive, &receiver, &serve).await);
        troubles.extend(send.0.become_as(&declared.send, &queues, &send.1));
        open.set(doors.all(), troubles);
        tokio::time::sleep(LOOK).await;
    }
}

/// What tells one state of the file from another.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Option<(SystemTime, u64)>);

impl Seen {
    fn of(path: &PathBuf) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}

fn read(path: &PathBuf) -> Result<Declared, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Declared::default()),
        Ok(metadata) if metadata.len() > BYTES_MAX => {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        _ => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Declared, String> {
    let declared: Declared = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{}", error.message())
    })?;
    if declared.send.len() > DESTINATIONS_MAX {
        return Err(format!("there are more than {DESTINATIONS_MAX} destinations"));
    }
    // They are names of directories, too.
    let is_name = |name: &String| {
        (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    match declared.send.keys().find(|name| !is_name(name)) {
        Some(name) => {
            Err(format!("a destination's name has letters, digits, `-` and `_`, and {name:?} is none"))
        }
        None => Ok(declared),
    }
}

/// What listens.
#[derive(Default)]
struct Doors {
    http: Option<(SocketAddr, SocketAddr, JoinHandle<()>)>,
    syslog: Option<(SocketAddr, Listening)>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        if let Some((_, _, task)) = &self.http {
            task.abort();
        }
    }
}

impl Doors {
    /// Returns what could not be opened, and why.
    async fn become_as(&mut self, wanted: &Receive, receiver: &Receiver, serve: &Serve) -> Vec<String> {
        let mut troubles = Vec::new();
        if self.http.as_ref().map(|(wanted, ..)| *wanted) != wanted.http {
            if let Some((_, _, task)) = self.http.take() {
                task.abort();
                // Its socket is closed when it has ended.
                let _ = task.await;
            }
            if let Some(address) = wanted.http {
                match TcpListener::bind(address).await.and_then(|found| Ok((found.local_addr()?, found))) {
                    Ok((bound, listener)) => self.http = Some((address, bound, serve(listener))),
                    Err(error) => troubles.push(format!("nothing is received at {address}: {error}")),
                }
            }
        }
        if self.syslog.as_ref().map(|(wanted, _)| *wanted) != wanted.syslog {
            self.syslog = None;
            if let Some(address) = wanted.syslog {
                match receiver.listen_syslog(address).await {
                    Ok(listening) => self.syslog = Some((address, listening)),
                    Err(error) => troubles.push(format!("no syslog is received at {address}: {error}")),
                }
            }
        }
        troubles
    }

    fn all(&self) -> Vec<(&'static str, SocketAddr)> {
        let http = self.http.iter().map(|(_, bound, _)| ("http", *bound));
        http.chain(self.syslog.iter().map(|(_, listening)| ("syslog", listening.address))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_read_and_mistakes_are_told_with_their_line() {
        let declared = parse("[receive]\nhttp = \"0.0.0.0:4318\"\nsyslog = \"127.0.0.1:5514\"\n").unwrap();
        assert_eq!(declared.receive.http, Some("0.0.0.0:4318".parse().unwrap()));
        assert_eq!(declared.receive.syslog, Some("127.0.0.1:5514".parse().unwrap()));
        assert_eq!(parse("").unwrap(), Declared::default());
        let declared = parse("[send.vm]\nto = \"remote_write\"\nurl = \"http://x/\"\n").unwrap();
        assert_eq!(declared.send["vm"].to, sending::Kind::RemoteWrite);
        for (text, told) in [
            ("[receive]\nsyslog = 5514", "line 2: "),
            ("[receive]\n\nsyslog = \"localhost:5514\"", "line 3: invalid socket address syntax"),
            ("[recieve]", "line 1: unknown field `recieve`"),
            ("[receive", "line 1: "),
            ("[send.a]\nto = \"kafka\"\nurl = \"x\"", "line 2: unknown variant `kafka`"),
            ("[send.'../a']\nto = \"remote_write\"\nurl = \"x\"", "a destination's name has"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(told), "{error}");
        }
    }
}
