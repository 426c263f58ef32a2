//! The main panel: this machine and what it serves at a glance, each number with its last hour.

use super::chart;
use super::parts::{self, plain};
use super::unit::Unit;
use crate::measured::{Asked, Course, Range, Shelf};
use crate::when::Clock;
use maud::{Markup, html};
use model::Timestamp;
use run::control::State;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nodes with a row of their own.
const NODES_MAX: usize = 20;

/// A question and how its answer is written.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    unit: Unit,
    expression: &'static str,
}

const fn figure(name: &'static str, unit: Unit, expression: &'static str) -> Figure {
    Figure { name, unit, expression }
}

/// By node: what the label `instance` tells apart.
const NODE: [Figure; 6] = [
    figure(
        "Processor",
        Unit::Share,
        "1 - avg by (instance) (rate(node_cpu_seconds_total{job=\"node\",mode=\"idle\"}[$rate]))",
    ),
    figure(
        "Memory",
        Unit::Share,
        "1 - node_memory_MemAvailable_bytes{job=\"node\"} / node_memory_MemTotal_bytes{job=\"node\"}",
    ),
    figure("Fullest disk", Unit::Share, FULLEST),
    figure(
        "Received",
        Unit::BytesPerSecond,
        "sum by (instance) (rate(node_network_receive_bytes_total{job=\"node\",device!=\"lo\"}[$rate]))",
    ),
    figure(
        "Sent",
        Unit::BytesPerSecond,
        "sum by (instance) (rate(node_network_transmit_bytes_total{job=\"node\",device!=\"lo\"}[$rate]))",
    ),
    figure("Load", Unit::Count, "node_load1{job=\"node\"}"),
];

/// Leaves out file systems that hold no data of their own.
const FULLEST: &str = "max by (instance) (1 - node_filesystem_avail_bytes{job=\"node\",\
    fstype!~\"tmpfs|devtmpfs|ramfs|overlay|squashfs|iso9660\"} / node_filesystem_size_bytes{job=\"node\"})";

/// Of everything that people outside ask for.
const SERVED: [Figure; 6] = [
    // Of the last five minutes.
    figure("Visitors now", Unit::Count, "sum(juchu_visitors_present)"),
    figure(
        "Requests",
        Unit::PerSecond,
        "sum(rate(juchu_gateway_listener_requests_total{public=\"yes\"}[$rate]))",
    ),
    figure(
        "Answers",
        Unit::BytesPerSecond,
        "sum(rate(juchu_gateway_listener_sent_bytes_total{public=\"yes\"}[$rate]))",
    ),
    figure(
        "Processing time",
        Unit::Seconds,
        "histogram_quantile(0.5, sum by (le) (rate(juchu_gateway_listener_duration_seconds_bucket{public=\"yes\"}[$rate])))",
    ),
    figure(
        "Slowest 5 %",
        Unit::Seconds,
        "histogram_quantile(0.95, sum by (le) (rate(juchu_gateway_listener_duration_seconds_bucket{public=\"yes\"}[$rate])))",
    ),
    figure(
        "Errors",
        Unit::Share,
        "sum(rate(juchu_gateway_listener_requests_total{public=\"yes\",code=\"5xx\"}[$rate])) \
         / sum(rate(juchu_gateway_listener_requests_total{public=\"yes\"}[$rate]))",
    ),
];

/// Numbers of the moment, without a course.
const COUNTS: [Figure; 5] = [
    figure("up", Unit::Count, "sum(juchu_containers{state=\"up\"})"),
    figure("all", Unit::Count, "sum(juchu_containers{state=\"all\"})"),
    figure("sessions", Unit::Count, "sum(juchu_login_sessions)"),
    figure("logins", Unit::Count, "sum(increase(juchu_logins_total{result=\"success\"}[1h]))"),
    figure("failed logins", Unit::Count, "sum(increase(juchu_logins_total{result=\"failure\"}[1h]))"),
];

/// What the panel shows.
pub struct Panel {
    nodes: Vec<Node>,
    served: Vec<Tile>,
    counts: BTreeMap<&'static str, f64>,
    since: Option<Timestamp>,
    is_measured: bool,
    /// Why there is no answer.
    failure: Option<String>,
}

struct Node {
    name: String,
    is_up: bool,
    figures: Vec<Tile>,
}

struct Tile {
    figure: Figure,
    values: Vec<Option<f64>>,
}

impl Tile {
    fn last(&self) -> Option<f64> {
        self.values.last().copied().flatten()
    }

    fn most(&self) -> f64 {
        self.values.iter().flatten().copied().fold(0.0, f64::max)
    }

    fn text(&self) -> String {
        self.last().map_or_else(|| "–".to_owned(), |value| self.figure.unit.text(value))
    }

    /// Shares fill up to all; others to the most of the hour.
    fn small(&self) -> Markup {
        let top = if self.figure.unit == Unit::Share { 1.0 } else { self.most() };
        chart::small(&self.values, top)
    }
}

impl Panel {
    pub async fn ask(shelf: &Shelf, now: Timestamp) -> Self {
        let figures = || NODE.iter().chain(&SERVED);
        let up = Range::small("up{job=\"node\"}", now);
        let mut asked: Vec<Asked> = figures().map(|figure| Range::small(figure.expression, now)).collect();
        asked.extend(COUNTS.iter().map(|figure| at_once(figure.expression, up.to)));
        asked.push(up.clone());
        let mut failure = None;
        let mut answers: Vec<Arc<Vec<Course>>> = Vec::new();
        for answer in shelf.ask_all(&asked).await {
            answers.push(answer.unwrap_or_else(|report| {
                failure = Some(report.error);
                Arc::default()
            }));
        }
        let of_nodes = NODE.iter().copied().zip(answers.iter().map(|a| a.as_slice()));
        let nodes = nodes(answers.last().map_or(&[], |up| up.as_slice()), &of_nodes.collect::<Vec<_>>(), &up);
        let served = SERVED.iter().zip(&answers[NODE.len()..]);
        let counted = COUNTS
            .iter()
            .zip(asked[NODE.len() + SERVED.len()..].iter().zip(&answers[NODE.len() + SERVED.len()..]));
        Self {
            nodes,
            served: served.map(|(figure, courses)| tile(*figure, courses.first(), &up)).collect(),
            counts: counted
                .filter_map(|(figure, (asked, courses))| Some((figure.name, courses.first()?.last(asked)?)))
                .collect(),
            since: shelf.since().await,
            is_measured: shelf.has_source(),
            failure,
        }
    }

    pub fn draw(&self, clock: &Clock) -> Markup {
        html! {
            section #panel {
                h2.unseen { "This machine" }
                @if let Some(failure) = &self.failure { p.error { "Not all could be asked: " (plain(failure)) } }
                @if !self.is_measured {
                    p.quiet { "Nothing is measured: " code { "daemon.log" } " says why." }
                } @else if self.nodes.is_empty() {
                    p.quiet { "Measuring has just begun." }
                } @else { (self.machines()) (self.tiles(clock)) }
            }
        }
    }

    fn machines(&self) -> Markup {
        html! {
            table #nodes {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Node" }
                    @for figure in NODE { th.number scope="col" { (figure.name) } }
                } }
                tbody {
                    @for node in self.nodes.iter().take(NODES_MAX) {
                        tr #{ "node-" (plain(&node.name)) } {
                            td { (parts::labelled(if node.is_up { State::Ready } else { State::Failed }, if node.is_up { "up" } else { "silent" })) }
                            td { a href=(node_address(&node.name)) { (plain(&node.name)) } }
                            @for tile in &node.figures {
                                td.number data-name=(tile.figure.name) { span { (tile.text()) } (tile.small()) }
                            }
                        }
                    }
                }
            }
            @if self.nodes.len() > NODES_MAX { p.quiet { "and " (self.nodes.len() - NODES_MAX) " more nodes" } }
        }
    }

    fn tiles(&self, clock: &Clock) -> Markup {
        let count = |name: &str| self.counts.get(name).map(|value| Unit::Count.text(value.round()));
        html! {
            dl.tiles {
                @for tile in &self.served {
                    div { dt { (tile.figure.name) } dd { b { (tile.text()) } (tile.small()) } }
                }
                div { dt { "Containers" } dd { b { (count("up").unwrap_or("–".into())) "/" (count("all").unwrap_or("–".into())) } span.quiet { " up" } } }
                div { dt { "Logins" } dd {
                    b { (count("sessions").unwrap_or("–".into())) } span.quiet { " now" }
                    @if let Some(logins) = count("logins") { span.quiet { ", " (logins) " in an hour" } }
                    @if let Some(failed) = count("failed logins") && failed != "0" { span.quiet { ", " (failed) " failed" } }
                } }
            }
            p.quiet {
                "The last hour"
                @if let Some(since) = self.since { "; measured since " (parts::time(since, clock)) }
                "."
            }
        }
    }
}

/// A question about one moment.
fn at_once(expression: &str, at: Timestamp) -> Asked {
    Asked { expression: expression.to_owned(), from: at, to: at, step_ms: 1000 }
}

fn tile(figure: Figure, course: Option<&Course>, asked: &Asked) -> Tile {
    Tile { figure, values: course.map(|course| course.by_step(asked)).unwrap_or_default() }
}

fn nodes(up: &[Course], figures: &[(Figure, &[Course])], asked: &Asked) -> Vec<Node> {
    let of = |name: &str| -> Vec<Tile> {
        let with =
            |courses: &[Course]| courses.iter().find(|course| course.label("instance") == name).cloned();
        figures.iter().map(|(figure, courses)| tile(*figure, with(courses).as_ref(), asked)).collect()
    };
    let mut nodes: Vec<Node> = up
        .iter()
        .map(|course| {
            let name = course.label("instance");
            Node { name: name.to_owned(), is_up: course.last(asked) == Some(1.0), figures: of(name) }
        })
        .collect();
    nodes.sort_by(|a, b| a.is_up.cmp(&b.is_up).then_with(|| a.name.cmp(&b.name)));
    nodes
}

/// The page of a node.
pub fn node_address(name: &str) -> String {
    format!("/nodes/{}", form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>())
}
