//! Who may open the console in a browser: one-time links made by whoever reaches the Unix socket,
//! and the sessions they are exchanged for.
//!
//! Both live in memory only, as hashes; a restart of the daemon signs everybody out.

use model::{DurationMs, Timestamp};
use sha2::Digest as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a link can be used.
pub const LINK_LIFE: DurationMs = DurationMs::from_secs(10 * 60);
/// How long a session lasts.
pub const SESSION_LIFE: DurationMs = DurationMs::from_secs(12 * 3600);
/// Links waiting to be used; one more pushes out the oldest.
pub const LINKS_MAX: usize = 16;
/// Sessions at the same time; one more ends the oldest.
pub const SESSIONS_MAX: usize = 64;

/// 256 random bits as 64 hexadecimal digits: the secret of a link or of a session.
pub type Token = String;

/// Somebody signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who asked for the link, as the journal names people.
    pub actor: String,
    /// What every form of this session must carry.
    pub form_token: Token,
    pub ends: Timestamp,
}

/// Links and sessions; clones share them.
#[derive(Clone)]
pub struct Access {
    sources: Sources,
    kept: Arc<Mutex<Kept>>,
}

/// Clock and randomness, so that tests can state both.
#[derive(Clone, Copy)]
pub struct Sources {
    pub now: fn() -> Timestamp,
    pub random: fn(&mut [u8; 32]),
}

#[derive(Default)]
struct Kept {
    links: Table<String>,
    sessions: Table<Session>,
    /// `127.0.0.1:7766` once the web server listens.
    port: Option<u16>,
}

type Hash = [u8; 32];

/// What expires, by the hash of its secret.
struct Table<T>(HashMap<Hash, (Timestamp, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self { now: crate::when::now, random: kernel_random }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::new(Sources::default())
    }
}

impl Access {
    pub fn new(sources: Sources) -> Self {
        Self { sources, kept: Arc::default() }
    }

    /// The host name of every address of the console. Cookies do not tell ports apart, so a name of
    /// its own keeps the session away from whatever a stack publishes on `127.0.0.1`.
    pub const HOST: &'static str = "juchu.localhost";

    /// The base of the console's addresses; absent while no web server listens.
    pub fn base_url(&self) -> Option<String> {
        self.kept().port.map(|port| format!("http://{}:{port}", Self::HOST))
    }

    /// Called by the web server when it listens.
    pub fn set_port(&self, port: u16) {
        self.kept().port = Some(port);
    }

    /// A new one-time link for `actor`: its token, and when it stops working.
    pub fn issue_link(&self, actor: &str) -> (Token, Timestamp) {
        let token = self.token();
        let now = self.now();
        let ends = now.plus(LINK_LIFE);
        self.kept().links.insert(hash(&token), ends, actor.to_owned(), now, LINKS_MAX);
        (token, ends)
    }

    /// Whether a link could still be used; does not use it.
    pub fn link_is_open(&self, token: &str) -> bool {
        let now = self.now();
        self.kept().links.get(&hash(token), now).is_some()
    }

    /// Exchanges a link for a session, once.
    pub fn redeem(&self, token: &str) -> Option<Token> {
        let now = self.now();
        let secret = self.token();
        let form_token = self.token();
        let mut kept = self.kept();
        let actor = kept.links.take(&hash(token), now)?;
        let ends = now.plus(SESSION_LIFE);
        let session = Session { actor, form_token, ends };
        kept.sessions.insert(hash(&secret), ends, session, now, SESSIONS_MAX);
        Some(secret)
    }

    pub fn session(&self, secret: &str) -> Option<Session> {
        let now = self.now();
        self.kept().sessions.get(&hash(secret), now).cloned()
    }

    pub fn end_session(&self, secret: &str) {
        self.kept().sessions.0.remove(&hash(secret));
    }

    pub fn now(&self) -> Timestamp {
        (self.sources.now)()
    }

    pub(crate) fn random(&self) -> [u8; 32] {
        let mut raw = [0; 32];
        (self.sources.random)(&mut raw);
        raw
    }

    fn token(&self) -> Token {
        model::Digest::from_raw(self.random()).hex().to_owned()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Table<T> {
    fn insert(&mut self, key: Hash, ends: Timestamp, value: T, now: Timestamp, limit: usize) {
        self.0.retain(|_, (ends, _)| *ends > now);
        while self.0.len() >= limit {
            let Some(oldest) = self.0.iter().min_by_key(|(_, (ends, _))| *ends).map(|(k, _)| *k) else {
                break;
            };
            self.0.remove(&oldest);
        }
        self.0.insert(key, (ends, value));
    }

    fn get(&self, key: &Hash, now: Timestamp) -> Option<&T> {
        self.0.get(key).filter(|(ends, _)| *ends > now).map(|(_, value)| value)
    }

    fn take(&mut self, key: &Hash, now: Timestamp) -> Option<T> {
        self.0.remove(key).filter(|(ends, _)| *ends > now).map(|(_, value)| value)
    }
}

/// Secrets are looked up by their hash, so that the time of a lookup says nothing about them.
fn hash(secret: &str) -> Hash {
    sha2::Sha256::digest(secret.as_bytes()).into()
}

fn kernel_random(buffer: &mut [u8; 32]) {
    let mut filled = 0;
    while filled < buffer.len() {
        filled += rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty())
            .expect("getrandom of 32 bytes works on every supported kernel");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

    static NOW: AtomicI64 = AtomicI64::new(0);
    static SEED: AtomicU64 = AtomicU64::new(0);

    /// Tests here share one clock, so each takes its turn.
    static TURN: Mutex<()> = Mutex::new(());

    fn access() -> Access {
        NOW.store(1_000_000, SeqCst);
        Access::new(Sources {
            now: || Timestamp(NOW.load(SeqCst)),
            random: |raw| raw[..8].copy_from_slice(&SEED.fetch_add(1, SeqCst).to_le_bytes()),
        })
    }

    fn pass(duration: DurationMs) {
        NOW.fetch_add(duration.0 as i64, SeqCst);
    }

    #[test]
    fn a_link_opens_one_session_once() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let access = access();
        let (link, _) = access.issue_link("ada (cli)");
        assert!(access.link_is_open(&link));
        let secret = access.redeem(&link).expect("first use");
        assert_eq!(access.redeem(&link), None, "second use");
        let session = access.session(&secret).expect("signed in");
        assert_eq!(session.actor, "ada (cli)");
        assert_ne!(session.form_token, secret, "a form never carries the session's secret");
        access.end_session(&secret);
        assert_eq!(access.session(&secret), None);
    }

    #[test]
    fn links_and_sessions_expire() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let access = access();
        let (link, _) = access.issue_link("ada (cli)");
        pass(LINK_LIFE);
        assert!(!access.link_is_open(&link));
        assert_eq!(access.redeem(&link), None);
        let (link, _) = access.issue_link("ada (cli)");
        let secret = access.redeem(&link).expect("in time");
        pass(DurationMs(SESSION_LIFE.0 - 1));
        assert!(access.session(&secret).is_some());
        pass(DurationMs(1));
        assert_eq!(access.session(&secret), None);
    }

    #[test]
    fn the_oldest_gives_way_at_the_limit() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let access = access();
        let mut secrets = Vec::new();
        for _ in 0..=SESSIONS_MAX {
            let (link, _) = access.issue_link("ada (cli)");
            secrets.push(access.redeem(&link).expect("in time"));
            pass(DurationMs(1));
        }
        assert_eq!(access.session(&secrets[0]), None);
        assert!(secrets[1..].iter().all(|s| access.session(s).is_some()));
        let links: Vec<_> = (0..=LINKS_MAX)
            .map(|_| {
                pass(DurationMs(1));
                access.issue_link("ada (cli)").0
            })
            .collect();
        assert!(!access.link_is_open(&links[0]));
        assert!(links[1..].iter().all(|l| access.link_is_open(l)));
    }

    #[test]
    fn real_tokens_are_long_and_differ() {
        let access = Access::default();
        let (one, _) = access.issue_link("x");
        let (two, _) = access.issue_link("x");
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
    }
}
