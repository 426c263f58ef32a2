//! Where a request would go, and why: decided by the very code that serves requests, sending nothing.

use super::controller::Controller;
use crate::counters::Lazy;
use crate::http::lead::{self, Lead};
use crate::http::{answer, request};
use crate::rules::{self, Action, Rule};
use crate::snapshot::{Backend, Moment, Random, Route};
use crate::wire::Refusal;
use model::flow::{Arrival, Candidate, Considered, Destination, Explanation, Outcome, Question, Verdict};
use model::route::Listener;
use model::rule::{PathMatch, Rule as Declared};
use model::service::Protocol;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Rules that are told at most; those that came nearest.
const TOLD_MAX: usize = 20;
/// Ports that are named when nobody listens on the one that was asked for.
const PORTS_MAX: usize = 20;
/// Longest request head that is thought through.
const HEAD_MAX: usize = 32 << 10;
/// What a whole is divided into.
const WHOLE: u32 = 10_000;

impl Controller {
    pub fn explain(&self, question: &Question) -> Result<Explanation, Refusal> {
        let Some((listener, bound)) = self.arrival(question) else {
            return Ok(Explanation { listener: None, considered: Vec::new(), outcome: self.nobody() });
        };
        let snapshot = self.shared.snapshot.load();
        let route = self.bound.get(&super::table::key(listener)).and_then(|b| snapshot.routes.get(&b.id));
        let Some(route) = route else {
            return Ok(Explanation { listener: None, considered: Vec::new(), outcome: self.nobody() });
        };
        let arrival = Arrival {
            address: bound,
            protocol: listener.protocol,
            tls: listener.tls.is_some(),
            rules: listener.rules.len(),
        };
        let thought = Thought { question, route, bound, now: self.shared.now_ms() };
        let (outcome, rule) = thought.outcome()?;
        let considered = considered(&listener.rules, rule.as_deref(), question);
        Ok(Explanation { listener: Some(arrival), considered, outcome })
    }

    /// The listener at which the request would arrive, and the address it has there.
    fn arrival(&self, question: &Question) -> Option<(&Listener, SocketAddr)> {
        let addresses = match question.address.or_else(|| literal(&question.host)) {
            Some(address) => vec![address],
            None => self.meant(&question.host),
        };
        let present = self.table.listeners.iter().filter_map(|listener| {
            let bound = self.bound.get(&super::table::key(listener))?.address;
            (bound.port() == question.port).then_some((listener, bound))
        });
        // The exact address before every address; by name any that people outside can reach.
        let rank = |listener: &Listener, bound: &SocketAddr| {
            let any = bound.ip().is_unspecified();
            match addresses.contains(&bound.ip()) {
                true => Some(0),
                false if any => Some(1),
                false => (addresses.is_empty() && listener.public).then_some(2),
            }
        };
        let ranked = present.filter_map(|(listener, bound)| Some((rank(listener, &bound)?, listener, bound)));
        ranked.min_by_key(|(rank, ..)| *rank).map(|(_, listener, bound)| (listener, bound))
    }

    /// The addresses that a name means on the networks here; none for names of the world outside.
    fn meant(&self, host: &str) -> Vec<IpAddr> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        let zones = self.table.zones.iter().flat_map(|zone| {
            let short = name.strip_suffix(&zone.domain).and_then(|rest| rest.strip_suffix('.'));
            let short = short.filter(|_| !zone.domain.is_empty());
            zone.names.get(short.unwrap_or(&name)).into_iter().flatten().copied()
        });
        zones.collect()
    }

    fn nobody(&self) -> Outcome {
        let mut ports: Vec<u16> = self
            .table
            .listeners
            .iter()
            .filter(|listener| listener.public)
            .filter_map(|listener| Some(self.bound.get(&super::table::key(listener))?.address.port()))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(PORTS_MAX);
        Outcome::NobodyListens { ports }
    }
}

/// An address that stands where a name could.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// One request, thought through on one route.
struct Thought<'a> {
    question: &'a Question,
    route: &'a Arc<Route>,
    bound: SocketAddr,
    now: Moment,
}

impl Thought<'_> {
    /// What would become of it, and the rule that takes it.
    fn outcome(&self) -> Result<(Outcome, Option<String>), Refusal> {
        let Self { question, route, .. } = self;
        if route.tls.is_some() != question.tls {
            return Ok((Outcome::OtherSecurity { tls: route.tls.is_some() }, None));
        }
        if route.protocol == Protocol::Tcp {
            let to = vec![self.destination(&route.backend, WHOLE)];
            return Ok((Outcome::Forwarded { line: None, host: None, to }, None));
        }
        let client = Ipv4Addr::LOCALHOST.to_string();
        let random = Random::new();
        let local = || self.bound;
        let context = request::Context {
            client: &client,
            local: &local,
            public: route.public,
            secured: question.tls,
            random: &random,
            rules: &route.rules,
            has_default: !route.backend.id.is_empty() || route.https_port.is_some(),
            trace: route.backend.policy.trace,
            share: 0,
        };
        let mut head = Vec::new();
        let request = match request::rewrite(head_of(question)?.as_bytes(), &context, &mut head) {
            Ok(request) => request,
            Err(refusal) => return Ok((refused(refusal.status, refusal.reason), None)),
        };
        let rule = request.rule.as_ref();
        let id = rule.map(|rule| rule.id.clone());
        if let Some(port) = route.https_port.filter(|_| !question.tls && route.public) {
            let mut out = Vec::new();
            let status = lead::write(&Lead::Https(port), &request, &head, true, &mut out);
            return Ok((Outcome::Redirected { status, location: location(&out) }, id));
        }
        if let Some(outcome) = rule.and_then(|rule| own(rule, &request, &head, question.tls)) {
            return Ok((outcome, id));
        }
        let text =
            |range: &std::ops::Range<usize>| String::from_utf8_lossy(&head[range.clone()]).into_owned();
        let line = format!("{} {}", text(&request.method), text(&request.target));
        let to = self.destinations(rule, request.key, &random);
        Ok((Outcome::Forwarded { line: Some(line), host: Some(text(&request.host)), to }, id))
    }

    fn destinations(&self, rule: Option<&Arc<Rule>>, key: Option<u64>, random: &Random) -> Vec<Destination> {
        let Some(Action::Forward { to, .. }) = rule.map(|rule| &rule.action) else {
            return vec![self.destination(&self.route.backend, WHOLE)];
        };
        if let Some(backend) = rule.filter(|_| key.is_some()).and_then(|rule| rule.backend(key, random)) {
            return vec![self.destination(backend, WHOLE)];
        }
        let total: u64 = to.iter().map(|(_, weight)| u64::from(*weight)).sum();
        to.iter().map(|(backend, weight)| self.destination(backend, part(*weight, total))).collect()
    }

    fn destination(&self, backend: &Backend, share: u32) -> Destination {
        let weight = |index: usize| backend.weights.as_ref().map_or(1, |weights| weights[index]);
        let total: u64 = (0..backend.endpoints.len()).map(|index| u64::from(weight(index))).sum();
        let instances = backend.endpoints.iter().enumerate().map(|(index, endpoint)| Candidate {
            instance: endpoint.instance.clone(),
            address: endpoint.address,
            standing: endpoint.standing(self.now),
            share: part(weight(index), total),
        });
        Destination {
            backend: backend.id.clone(),
            share,
            hold_ms: u64::try_from(backend.hold.as_millis()).unwrap_or(u64::MAX),
            instances: instances.collect(),
        }
    }
}

/// Its part of the whole; without any weights there is none.
fn part(weight: u32, total: u64) -> u32 {
    (u64::from(weight) * u64::from(WHOLE)).checked_div(total).unwrap_or_default() as u32
}

fn refused(status: u16, reason: &str) -> Outcome {
    Outcome::Refused { status, reason: reason.to_owned() }
}

/// The answer that the gateway gives itself for this rule, if it does.
fn own(rule: &Rule, request: &request::Request, head: &[u8], tls: bool) -> Option<Outcome> {
    match &rule.action {
        Action::Files(directory) => Some(Outcome::Files { directory: directory.display().to_string() }),
        Action::Answer { status, .. } => Some(Outcome::Answered { status: *status }),
        Action::Redirect(redirect) => {
            let scheme = if tls { "https" } else { "http" };
            let asked = answer::Asked { scheme, host: request.host(head), target: request.target(head) };
            let mut out = Vec::new();
            answer::redirect(redirect, &asked, &rule.edits.response, b"", true, &mut out);
            Some(Outcome::Redirected { status: redirect.status, location: location(&out) })
        }
        Action::Forward { .. } => None,
    }
}

/// The field that says where a redirect leads.
fn location(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default().to_owned()
}

/// The request as it would be sent. Whoever asks cannot put more than one in it.
fn head_of(question: &Question) -> Result<String, Refusal> {
    let Question { host, port, method, target, headers, .. } = question;
    let usual = if question.tls { 443 } else { 80 };
    let authority = if *port == usual { host.clone() } else { format!("{host}:{port}") };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        // A host of its own takes the place of that in the address.
        if name.eq_ignore_ascii_case("host") {
            head = format!("{method} {target} HTTP/1.1\r\nHost: {value}\r\n");
        }
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let words = [host, method, target].into_iter().chain(headers.iter().flat_map(|(n, v)| [n, v]));
    let refused = |reason: &str| Err(Refusal::BadRequest { reason: reason.to_owned() });
    if words.into_iter().any(|word| word.contains(['\r', '\n', '\0'])) {
        return refused("a line feed is in it");
    }
    match head.len() {
        0..HEAD_MAX => Ok(head + "\r\n"),
        _ => refused("the request is too long"),
    }
}

/// The rules that came nearest, with what speaks for or against each.
fn considered(rules: &[Declared], taken: Option<&str>, question: &Question) -> Vec<Considered> {
    let told = |rule: &Declared| {
        let is_taken = taken == Some(rule.id.as_str());
        let verdict = if is_taken { Verdict::Takes } else { verdict(rule, question) };
        Considered { rule: rule.id.clone(), takes: marks(rule), verdict }
    };
    let mut all: Vec<Considered> = rules.iter().map(told).collect();
    all.sort_by_key(|considered| match considered.verdict {
        Verdict::Takes => 0,
        Verdict::LessSpecific => 1,
        Verdict::OtherHeaders => 2,
        Verdict::OtherMethod => 3,
        Verdict::OtherPath => 4,
        Verdict::OtherHost => 5,
    });
    all.truncate(TOLD_MAX);
    all
}

/// What of a rule speaks against the request: the first mark without which it would take it.
fn verdict(rule: &Declared, question: &Question) -> Verdict {
    let mut less = Declared { headers: BTreeMap::new(), ..rule.clone() };
    if takes(rule, question) {
        return Verdict::LessSpecific;
    }
    if takes(&less, question) {
        return Verdict::OtherHeaders;
    }
    less.methods.clear();
    if takes(&less, question) {
        return Verdict::OtherMethod;
    }
    less.path = PathMatch::default();
    if takes(&less, question) { Verdict::OtherPath } else { Verdict::OtherHost }
}

/// Whether a rule alone takes the request.
fn takes(rule: &Declared, question: &Question) -> bool {
    let alone =
        Declared { action: model::rule::Action::Answer { status: 200, body: String::new() }, ..rule.clone() };
    let counters = HashMap::from([(rule.id.clone(), Arc::new(Lazy::new(1)))]);
    let rules = rules::build(&[alone], &BTreeMap::new(), &counters);
    let headers: Vec<httparse::Header<'_>> = question
        .headers
        .iter()
        .map(|(name, value)| httparse::Header { name, value: value.as_bytes() })
        .collect();
    let host = headers.iter().rfind(|header| header.name.eq_ignore_ascii_case("host"));
    let asked = rules::Asked {
        method: &question.method,
        host: host.map_or(question.host.as_bytes(), |header| header.value),
        target: &question.target,
        headers: &headers,
    };
    rules.find(&asked).is_some()
}

/// By which marks a rule takes requests.
fn marks(rule: &Declared) -> String {
    let mut words = Vec::new();
    words.extend((!rule.methods.is_empty()).then(|| rule.methods.join(",")));
    let hosts = if rule.hosts.is_empty() { "*".to_owned() } else { rule.hosts.join(",") };
    let path = match &rule.path {
        PathMatch::Exact(path) => format!("{path} exactly"),
        PathMatch::Prefix(path) => path.clone(),
    };
    words.push(format!("{hosts}{path}"));
    for (name, value) in &rule.headers {
        words.push(match value {
            Some(value) => format!("{name}: {value}"),
            None => format!("{name} present"),
        });
    }
    words.join(" ")
}
