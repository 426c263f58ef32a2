//! Which way a request goes on a listener that has several: found by its host, its path, its method
//! and its header fields. Built once for each table; looking costs the same for ten thousand rules
//! as for ten.

mod build;
mod path;
#[cfg(test)]
mod tests;

use crate::counters::Lazy;
use crate::policy::trace;
use crate::quick::QuickMap;
use crate::snapshot::{Backend, Random, fingerprint};
use crate::{http::field, snapshot};
use httparse::Header;
use model::rule::{Edits, Redirect, Sticky};
use model::traffic::Priority;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

pub use build::{build, check};
pub use path::normal;

/// Longest host name there is.
const MAX_HOST_BYTES: usize = 253;

/// The rules of one listener.
#[derive(Default)]
pub struct Rules {
    hosts: QuickMap<Box<[u8]>, Paths>,
    /// By what follows the `*`: `.example.org`.
    below: QuickMap<Box<[u8]>, Paths>,
    any: Paths,
}

/// The rules of one host, or of many.
#[derive(Default)]
struct Paths {
    exact: QuickMap<Box<[u8]>, Vec<Arc<Rule>>>,
    /// By prefix without a slash at its end, so that of `/` is empty.
    prefixes: QuickMap<Box<[u8]>, Vec<Arc<Rule>>>,
    longest: usize,
}

/// One rule, ready to be used.
pub struct Rule {
    pub id: String,
    methods: Vec<String>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    /// The prefix by which it is found, without a slash at its end.
    pub prefix: Option<Vec<u8>>,
    pub action: Action,
    pub edits: Edits,
    pub priority: Option<Priority>,
    pub trace: trace::Settings,
    pub counters: Arc<Lazy>,
}

pub enum Action {
    Forward { to: Vec<(Arc<Backend>, u32)>, sticky: Option<Sticky> },
    Redirect(Redirect),
    Answer { status: u16, body: String },
    Files(Arc<PathBuf>),
}

/// What of a request decides.
pub struct Asked<'a, 'h> {
    pub method: &'a str,
    pub host: &'a [u8],
    /// Path and query.
    pub target: &'a str,
    pub headers: &'a [Header<'h>],
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.below.is_empty() && self.any.is_empty()
    }

    /// The most specific rule that takes the request.
    pub fn find(&self, asked: &Asked<'_, '_>) -> Option<&Arc<Rule>> {
        let path = normal(asked.target.split('?').next().unwrap_or_default());
        let mut room = [0; MAX_HOST_BYTES];
        let host = name_of(asked.host, &mut room);
        if let Some(found) = self.hosts.get(host).and_then(|paths| paths.find(&path, asked)) {
            return Some(found);
        }
        if !self.below.is_empty() {
            let dots = host.iter().enumerate().filter(|(_, byte)| **byte == b'.');
            let mut suffixes = dots.map(|(at, _)| &host[at..]);
            if let Some(found) = suffixes.find_map(|suffix| self.below.get(suffix)?.find(&path, asked)) {
                return Some(found);
            }
        }
        self.any.find(&path, asked)
    }
}

/// The host in lower case, without its port and without a dot at its end.
fn name_of<'r>(host: &[u8], room: &'r mut [u8; MAX_HOST_BYTES]) -> &'r [u8] {
    let name = match host {
        [b'[', ..] => host.iter().position(|&b| b == b']').map_or(host, |end| &host[..=end]),
        _ => host.split(|&b| b == b':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    let length = name.len().min(MAX_HOST_BYTES);
    let room = &mut room[..length];
    room.copy_from_slice(&name[..length]);
    room.make_ascii_lowercase();
    room
}

impl Paths {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    fn find(&self, path: &str, asked: &Asked<'_, '_>) -> Option<&Arc<Rule>> {
        let path = path.as_bytes();
        let takes = |rules: &'_ Vec<Arc<Rule>>| rules.iter().position(|rule| rule.takes(asked));
        if let Some(rules) = self.exact.get(path)
            && let Some(at) = takes(rules)
        {
            return rules.get(at);
        }
        // Every place where a segment ends, from the longest that any rule has.
        let mut end = path.len();
        loop {
            if end <= self.longest
                && let Some(rules) = self.prefixes.get(&path[..end])
                && let Some(at) = takes(rules)
            {
                return rules.get(at);
            }
            end = path[..end].iter().rposition(|&b| b == b'/')?;
        }
    }
}

impl Rule {
    fn takes(&self, asked: &Asked<'_, '_>) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|method| method == asked.method);
        method
            && self.headers.iter().all(|(name, wanted)| {
                asked.headers.iter().any(|header| {
                    header.name.eq_ignore_ascii_case(name)
                        && wanted.as_ref().is_none_or(|value| header.value.trim_ascii() == value)
                })
            })
    }

    /// The backend for one request, which is known by `key` where the rule is sticky.
    pub fn backend(&self, key: Option<u64>, random: &Random) -> Option<&Arc<Backend>> {
        let Action::Forward { to, .. } = &self.action else { return None };
        if let [(only, _)] = to.as_slice() {
            return Some(only);
        }
        let total: u64 = to.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return to.first().map(|(backend, _)| backend);
        }
        let mut left = key.map_or_else(|| random.next(), snapshot::mix) % total;
        let found = to.iter().find(|(_, weight)| match left.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        found.map(|(backend, _)| backend)
    }

    /// What makes requests go the same way: a number for the value of the cookie, field or client.
    pub fn key(&self, asked: &Asked<'_, '_>, client: &str) -> Option<u64> {
        let Action::Forward { sticky: Some(sticky), .. } = &self.action else { return None };
        let value = match sticky {
            Sticky::Client => Some(client.as_bytes()),
            Sticky::Header(name) => field::value(asked.headers, name),
            Sticky::Cookie(name) => field::cookie(asked.headers, name),
        };
        value.map(|value| fingerprint(value.iter().copied()))
    }

    /// The target as the service is asked for it, where the rule changes it.
    pub fn rewritten<'t>(&self, target: &'t str) -> Cow<'t, str> {
        let (Some(prefix), Some(new)) = (&self.prefix, &self.edits.prefix) else {
            return Cow::Borrowed(target);
        };
        let (path, query) = match target.find('?') {
            Some(at) => target.split_at(at),
            None => (target, ""),
        };
        let path = match path.as_bytes().starts_with(prefix) {
            true => Cow::Borrowed(path),
            // Found by what the path means rather than by what it says.
            false => normal(path),
        };
        let rest = path.get(prefix.len()..).unwrap_or_default();
        let new = new.strip_suffix('/').unwrap_or(new);
        let root = if new.is_empty() && !rest.starts_with('/') { "/" } else { "" };
        Cow::Owned(format!("{new}{root}{rest}{query}"))
    }
}
