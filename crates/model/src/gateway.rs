//! `x-juchu.gateway` of a service: what the gateway does with requests for it.

use crate::rule::{Edits, PathMatch, Redirect, Sticky};
use crate::service::{Protocol, Transport};
use crate::subnet::Cidr;
use crate::traffic::{Priority, ProxyVersion, Traffic};
use crate::{Percent, Service, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayPolicy {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    #[serde(skip_serializing_if = "Traffic::is_default")]
    pub traffic: Traffic,
    #[serde(skip_serializing_if = "ProxyPolicy::is_default")]
    pub proxy: ProxyPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorPolicy>,
}

/// `mirror`: who is sent copies of the service's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorPolicy {
    /// Of the same stack.
    pub to: ServiceName,
    /// None: the only one it has, or the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub share: Percent,
}

/// `proxy_protocol`: who says for whom it speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyPolicy {
    /// Host ports on which load balancers speak for their clients; `Some` and empty: all for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<Vec<u16>>,
    /// Where those are; empty: anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Cidr>,
    /// To the instances, on each of their ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<ProxyVersion>,
    /// The same for these ports alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub send_to: BTreeMap<u16, ProxyVersion>,
}

impl ProxyPolicy {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// From where load balancers speak on a host port; none: nobody does.
    pub fn accepts(&self, port: u16) -> Option<Vec<Cidr>> {
        let ports = self.accept.as_ref()?;
        (ports.is_empty() || ports.contains(&port)).then(|| self.from.clone())
    }

    /// What instances are told on a port of theirs.
    pub fn sends(&self, port: u16) -> Option<ProxyVersion> {
        self.send_to.get(&port).copied().or(self.send)
    }
}

impl GatewayPolicy {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One way by which requests come to a service, or are answered in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it is listened for; none: on what the service publishes, or else on port 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// As in [`crate::rule::Rule`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "PathMatch::is_any")]
    pub path: PathMatch,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Option<String>>,
    pub action: RouteAction,
    #[serde(default, skip_serializing_if = "Edits::is_none")]
    pub edits: Edits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    Forward {
        to: Vec<RouteTarget>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sticky: Option<Sticky>,
    },
    Redirect(Redirect),
    Answer {
        status: u16,
        body: String,
    },
    /// Files of this directory of the host.
    Files {
        directory: String,
    },
}

/// A service of the same stack, and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTarget {
    pub service: ServiceName,
    /// None: the only one it has, or the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub weight: u32,
}

/// Where routes are listened for that do not say, of services that publish nothing.
pub const DEFAULT_PORT: u16 = 80;
/// The same where their `x-juchu.tls` says that TLS is spoken.
pub const SECURED_PORT: u16 = 443;

impl Service {
    /// The addresses of this host where requests for one of its routes are listened for.
    pub fn listens_for(&self, route: &Route) -> Vec<SocketAddr> {
        if let Some(listen) = route.listen {
            return vec![listen];
        }
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let fixed = self.ports.iter().filter(|port| {
            port.transport == Transport::Tcp
                && port.protocol != Protocol::Tcp
                && port.published != 0
                && port.published_last == 0
        });
        let published: Vec<SocketAddr> =
            fixed.map(|port| SocketAddr::new(port.host_ip.unwrap_or(any), port.published)).collect();
        if !published.is_empty() {
            return published;
        }
        let secured = self.policy.tls.as_ref().map(|_| SECURED_PORT);
        [DEFAULT_PORT].into_iter().chain(secured).map(|port| SocketAddr::new(any, port)).collect()
    }

    /// What its requests are known by, on each address and for each host: no two routes may share
    /// one.
    pub fn marks_of(&self, route: &Route) -> Vec<Mark> {
        let mut methods = route.methods.clone();
        methods.sort();
        let hosts = if route.hosts.is_empty() { vec![String::new()] } else { route.hosts.clone() };
        let mark = |host: &String, listen: SocketAddr| Mark {
            listen,
            host: host.clone(),
            path: route.path.clone(),
            methods: methods.clone(),
            headers: route.headers.clone(),
        };
        let listens = self.listens_for(route);
        hosts.iter().flat_map(|host| listens.iter().map(move |listen| mark(host, *listen))).collect()
    }
}

/// What the requests of a route are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub listen: SocketAddr,
    /// Empty: every host.
    pub host: String,
    path: PathMatch,
    methods: Vec<String>,
    headers: BTreeMap<String, Option<String>>,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.is_empty() { "every host" } else { &self.host };
        write!(f, "{host} on {}", self.listen)?;
        match &self.path {
            PathMatch::Exact(path) => write!(f, ", exactly {path}")?,
            PathMatch::Prefix(path) => write!(f, ", {path}")?,
        }
        if !self.methods.is_empty() {
            write!(f, ", {}", self.methods.join(" "))?;
        }
        for (name, value) in &self.headers {
            write!(f, ", {name}: {}", value.as_deref().unwrap_or("any"))?;
        }
        Ok(())
    }
}
