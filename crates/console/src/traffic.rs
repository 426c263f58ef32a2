//! From two looks at the gateway's counts to what happened in between, for `juchu top` and the
//! pages alike.

use model::flow::{
    BackendStatus, Counts, EndpointStatus, Latency, LatencyBucket, MirrorStatus, Standing, Status,
};
use model::service::Transport;
use run::control::{StackStatus, State};
use serde::Serialize;
use std::collections::HashMap;

/// What `top --json` prints: rates are for each second.
#[derive(Debug, Serialize)]
pub struct View {
    pub pid: u32,
    pub uptime_s: u64,
    pub connections: u64,
    pub requests_per_s: f64,
    /// Connections that gateways which handed over still finish.
    pub before: u64,
    pub routes: Vec<Row>,
    pub instances: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    /// Of the row above.
    #[serde(skip)]
    pub is_part: bool,
    #[serde(flatten)]
    pub figures: Figures,
    /// The id of an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Of an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// A service of which no instance takes anything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_empty: bool,
    /// Of copies of requests: those drawn and not sent, for each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<f64>,
}

/// What people call instances, by their ids.
#[derive(Debug, Clone, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// `web-1`; one that was replaced also has its release, `web-1 of r2`.
    pub fn of(stacks: &[StackStatus]) -> Self {
        let services = stacks.iter().flat_map(|stack| &stack.services);
        let named = services.flat_map(|service| {
            service.instances.iter().map(move |one| {
                let release = if one.replaced { format!(" of {}", one.release) } else { String::new() };
                (one.id.to_string(), format!("{}-{}{release}", service.name, one.slot))
            })
        });
        Self(named.collect())
    }

    /// Whether every instance behind the gateway has a name here.
    pub fn cover(&self, status: &Status) -> bool {
        let mut endpoints = status.backends.iter().flat_map(|backend| &backend.endpoints);
        endpoints.all(|one| self.0.contains_key(&one.instance))
    }

    /// The id where there is no name.
    pub fn name(&self, id: &str) -> String {
        self.0.get(id).map_or_else(|| id.to_owned(), Clone::clone)
    }
}

/// Of one thing, per second but for `active` and the times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    pub requests: f64,
    pub errors: f64,
    pub server_errors: f64,
    pub client_errors: f64,
    pub connections: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
    pub active: u64,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

impl View {
    /// Only these services, `web` or `shop/web`; all when there are none.
    pub fn between(before: &Status, now: &Status, services: &[String], names: &Names) -> Self {
        // Another gateway counts from nothing.
        let is_same = before.pid == now.pid && before.uptime_ms < now.uptime_ms;
        let empty = Status { listeners: Vec::new(), rules: Vec::new(), backends: Vec::new(), ..now.clone() };
        let (before, elapsed_ms) = match is_same {
            true => (before, now.uptime_ms - before.uptime_ms),
            false => (&empty, now.uptime_ms),
        };
        let span = Span { seconds: elapsed_ms.max(1) as f64 / 1_000.0 };
        let (routes, all) = routes(before, now, span, services);
        Self {
            pid: now.pid,
            uptime_s: now.uptime_ms / 1_000,
            connections: now.connections,
            requests_per_s: all,
            before: now.predecessors.iter().map(|one| one.connections).sum(),
            routes,
            instances: instances(before, now, span, (services, names)),
        }
    }
}

impl Row {
    fn new(name: String, figures: Figures) -> Self {
        Self {
            name,
            is_part: false,
            figures,
            instance: None,
            standing: None,
            draining: false,
            is_empty: false,
            left_out: None,
        }
    }

    /// How it looks and in which words; nothing where there is nothing to say.
    pub fn state(&self) -> Option<(State, String)> {
        match (self.standing, self.left_out) {
            _ if self.draining => Some((State::Stopping, "finishing".to_owned())),
            (Some(known), _) => Some(standing(known)),
            (None, _) if self.is_empty => Some((State::Failed, "no instance".to_owned())),
            (None, Some(left_out)) if left_out > 0.0 => {
                Some((State::Unhealthy, format!("{}/s left out", rate(left_out))))
            }
            _ => None,
        }
    }
}

/// How an instance stands, in a word or two.
pub fn standing(standing: Standing) -> (State, String) {
    match standing {
        Standing::Serving => (State::Ready, "serving".to_owned()),
        Standing::Suspect => (State::Unhealthy, "failed lately".to_owned()),
        Standing::Paused => (State::Failed, "left alone".to_owned()),
        Standing::OnTrial => (State::Starting, "on trial".to_owned()),
        Standing::Returning(share) => (State::Starting, format!("back with {share} %")),
    }
}

/// The busiest first; what is alike by name.
fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| b.figures.requests.total_cmp(&a.figures.requests).then_with(|| a.name.cmp(&b.name)));
}

fn routes(before: &Status, now: &Status, span: Span, services: &[String]) -> (Vec<Row>, f64) {
    let earlier: HashMap<_, &Counts> =
        before.listeners.iter().map(|one| ((one.bound, one.transport), &one.counts)).collect();
    let mut rows = Vec::new();
    let mut all = 0.0;
    for listener in &now.listeners {
        let figures =
            span.figures(earlier.get(&(listener.bound, listener.transport)).copied(), &listener.counts);
        all += figures.requests;
        if !listener.public || !is_wanted(&listener.backend, services) {
            continue;
        }
        let udp = if listener.transport == Transport::Udp { "/udp" } else { "" };
        let to = if listener.backend.is_empty() { String::new() } else { format!(" {}", listener.backend) };
        rows.push(Row::new(format!("{}{udp}{to}", listener.bound), figures));
    }
    let earlier: HashMap<&str, &Counts> =
        before.rules.iter().map(|one| (one.rule.as_str(), &one.counts)).collect();
    for rule in now.rules.iter().filter(|rule| is_wanted(&rule.rule, services)) {
        let figures = span.figures(earlier.get(rule.rule.as_str()).copied(), &rule.counts);
        rows.push(Row::new(rule.rule.clone(), figures));
    }
    sort(&mut rows);
    (rows, all)
}

fn instances(before: &Status, now: &Status, span: Span, (services, names): (&[String], &Names)) -> Vec<Row> {
    let earlier: HashMap<_, &Counts> = before
        .backends
        .iter()
        .flat_map(|backend| {
            backend.endpoints.iter().map(move |one| ((&backend.backend, one.address), &one.counts))
        })
        .collect();
    let copies: HashMap<&str, &MirrorStatus> = before
        .backends
        .iter()
        .filter_map(|backend| Some((backend.backend.as_str(), backend.mirror.as_ref()?)))
        .collect();
    let mut groups: Vec<(Row, Vec<Row>)> = now
        .backends
        .iter()
        .filter(|backend| is_wanted(&backend.backend, services))
        .map(|backend| {
            let earlier = |one: &EndpointStatus| earlier.get(&(&backend.backend, one.address)).copied();
            let (service, mut rows) = group(backend, span, names, earlier);
            rows.extend(
                backend
                    .mirror
                    .as_ref()
                    .map(|now| mirror(copies.get(backend.backend.as_str()).copied(), now, span)),
            );
            (service, rows)
        })
        .collect();
    groups.sort_by(|(a, _), (b, _)| {
        b.figures.requests.total_cmp(&a.figures.requests).then_with(|| a.name.cmp(&b.name))
    });
    groups.into_iter().flat_map(|(service, instances)| [service].into_iter().chain(instances)).collect()
}

fn group<'c>(
    backend: &BackendStatus,
    span: Span,
    names: &Names,
    earlier: impl Fn(&EndpointStatus) -> Option<&'c Counts>,
) -> (Row, Vec<Row>) {
    let (mut was, mut is) = (Counts::default(), Counts::default());
    let mut rows = Vec::new();
    for endpoint in &backend.endpoints {
        let before = earlier(endpoint);
        // What is new began from nothing, and what began anew too.
        add(&mut was, before.unwrap_or(&Counts::default()));
        add(&mut is, &endpoint.counts);
        rows.push(Row {
            is_part: true,
            standing: Some(endpoint.standing),
            draining: endpoint.draining,
            instance: Some(endpoint.instance.clone()),
            ..Row::new(names.name(&endpoint.instance), span.figures(before, &endpoint.counts))
        });
    }
    sort(&mut rows);
    let mut service = Row::new(backend.backend.clone(), span.figures(Some(&was), &is));
    service.is_empty = backend.endpoints.iter().all(|one| one.draining);
    (service, rows)
}

/// Copies of a service's requests.
fn mirror(before: Option<&MirrorStatus>, now: &MirrorStatus, span: Span) -> Row {
    let before = before.filter(|before| before.to == now.to);
    let left_out = now.left_out.saturating_sub(before.map_or(0, |before| before.left_out));
    Row {
        is_part: true,
        left_out: Some(left_out as f64 / span.seconds),
        ..Row::new(
            format!("copies to {}", now.to),
            span.figures(before.map(|before| &before.counts), &now.counts),
        )
    }
}

/// `stack/service:port` or `stack/service#1`.
fn is_wanted(id: &str, services: &[String]) -> bool {
    let service = id.split([':', '#']).next().unwrap_or_default();
    let name = service.rsplit('/').next().unwrap_or_default();
    services.is_empty() || services.iter().any(|wanted| wanted == service || wanted == name)
}

fn add(sum: &mut Counts, one: &Counts) {
    sum.connections += one.connections;
    sum.active += one.active;
    sum.requests += one.requests;
    sum.errors += one.errors;
    sum.bytes_in += one.bytes_in;
    sum.bytes_out += one.bytes_out;
    for (sum, one) in sum.classes.iter_mut().zip(one.classes) {
        *sum += one;
    }
    sum.latency.sum_us += one.latency.sum_us;
    for bucket in &one.latency.buckets {
        match sum.latency.buckets.binary_search_by_key(&bucket.le_us, |known| known.le_us) {
            Ok(at) => sum.latency.buckets[at].count += bucket.count,
            Err(at) => sum.latency.buckets.insert(at, bucket.clone()),
        }
    }
}

/// The time between two looks.
#[derive(Clone, Copy)]
struct Span {
    seconds: f64,
}

impl Span {
    fn figures(self, before: Option<&Counts>, now: &Counts) -> Figures {
        let nothing = Counts::default();
        // Counts only grow, unless what is counted began anew.
        let before = before.filter(|before| before.requests <= now.requests).unwrap_or(&nothing);
        let rate = |was: u64, is: u64| is.saturating_sub(was) as f64 / self.seconds;
        let class = |class: usize| rate(before.classes[class], now.classes[class]);
        let latency = since(&before.latency, &now.latency);
        Figures {
            requests: rate(before.requests, now.requests),
            errors: rate(before.errors, now.errors),
            server_errors: class(4),
            client_errors: class(3),
            connections: rate(before.connections, now.connections),
            bytes_in: rate(before.bytes_in, now.bytes_in),
            bytes_out: rate(before.bytes_out, now.bytes_out),
            active: now.active,
            p50_us: latency.quantile_us(0.5),
            p99_us: latency.quantile_us(0.99),
        }
    }
}

fn since(before: &Latency, now: &Latency) -> Latency {
    let earlier: HashMap<u64, u64> = before.buckets.iter().map(|one| (one.le_us, one.count)).collect();
    let counted =
        |one: &LatencyBucket| one.count.saturating_sub(earlier.get(&one.le_us).copied().unwrap_or_default());
    let buckets = now.buckets.iter().map(|one| LatencyBucket { le_us: one.le_us, count: counted(one) });
    Latency {
        sum_us: now.sum_us.saturating_sub(before.sum_us),
        ln: now.ln.saturating_sub(before.ln),
        ln_squares: now.ln_squares.saturating_sub(before.ln_squares),
        buckets: buckets.filter(|one| one.count > 0).collect(),
    }
}

/// `0`, `3.5`, `1200`.
pub fn rate(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{small:.1}"),
        large => format!("{large:.0}"),
    }
}

/// `850 µs`, `12 ms`, `1.5 s`.
pub fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// `0`, `950 B`, `12.4 kB`, `3.1 MB`.
pub fn bytes(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        small if small < 1e3 => format!("{small:.0} B"),
        kilo if kilo < 1e6 => format!("{:.1} kB", kilo / 1e3),
        mega if mega < 1e9 => format!("{:.1} MB", mega / 1e6),
        giga => format!("{:.1} GB", giga / 1e9),
    }
}
