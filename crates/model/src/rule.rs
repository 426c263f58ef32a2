//! Ways through one listener for requests over HTTP: who is asked, by host, path, method and header
//! fields, and what is done with the request and its response on the way.

use crate::route::BackendId;
use crate::traffic::Priority;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One way. Of several that take a request the most specific is gone: the exact host before the
/// longest `*.` before any, the exact path before the longest prefix, then one that names methods,
/// then the one with more header fields, then the first of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `stack/service#1`: its identity over table changes, and its name in counts and messages.
    pub id: String,
    /// Lower case, without a port; `*.example.org` is every name below. Empty: every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "PathMatch::is_any")]
    pub path: PathMatch,
    /// Empty: every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Lower-case name → the value it must have, or none where it only has to be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Option<String>>,
    pub action: Action,
    #[serde(default, skip_serializing_if = "Edits::is_none")]
    pub edits: Edits,
    /// Of its requests, whatever their service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

impl Rule {
    /// Whether both take requests by the same marks, whatever their hosts.
    pub fn is_like(&self, other: &Self) -> bool {
        let sorted = |methods: &[String]| methods.iter().cloned().collect::<BTreeSet<_>>();
        other.path == self.path
            && sorted(&other.methods) == sorted(&self.methods)
            && other.headers == self.headers
    }

    /// What is left of it beside those that are there; none if they take the same requests.
    pub fn beside(mut self, others: &[Self]) -> Option<Self> {
        let rivals: Vec<&Self> = others.iter().filter(|other| self.is_like(other)).collect();
        if self.hosts.is_empty() {
            return rivals.iter().all(|other| !other.hosts.is_empty()).then_some(self);
        }
        self.hosts.retain(|host| !rivals.iter().any(|other| other.hosts.contains(host)));
        (!self.hosts.is_empty()).then_some(self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// This path and those below it: `/a` takes `/a` and `/a/b`, not `/ab`.
    Prefix(String),
    Exact(String),
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::Prefix("/".to_owned())
    }
}

impl PathMatch {
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Prefix(path) if path == "/")
    }
    pub fn text(&self) -> &str {
        match self {
            Self::Prefix(path) | Self::Exact(path) => path,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// To one of these, by weight.
    Forward {
        to: Vec<Target>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sticky: Option<Sticky>,
    },
    Redirect(Redirect),
    /// The gateway's own answer.
    Answer {
        status: u16,
        body: String,
    },
    /// Files of a directory, by the path behind that of the rule.
    Files {
        directory: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub backend: BackendId,
    pub weight: u32,
}

/// What of a request decides, always in the same way, to which target it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// A cookie's value; requests without it are shared out by weight.
    Cookie(String),
    /// A header field's value, by its lower-case name.
    Header(String),
    /// The client's address.
    Client,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Each part not given stays that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// With its port, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// In place of the port of the request's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The whole path; the query is that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Changes to a request and its response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edits {
    /// Takes the place of the prefix by which the rule was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The Host field the service sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "HeaderEdits::is_none")]
    pub request: HeaderEdits,
    #[serde(skip_serializing_if = "HeaderEdits::is_none")]
    pub response: HeaderEdits,
}

impl Edits {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes to header fields, by name in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderEdits {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// In place of every field of the name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

impl HeaderEdits {
    pub fn is_none(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }
}
