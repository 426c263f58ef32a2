//! A map of who calls whom as SVG drawn by the server: callers left, called right, as few lines as possible
//! against that direction. Every number is in the table below it, too.

use super::parts::{NBSP, plain};
use crate::calls::{Call, rate};
use crate::text::cut;
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// Lines that are drawn; the table has all.
pub const LINES_MAX: usize = 60;
/// A box, and what lies between two of them.
const WIDTH: i32 = 168;
const HEIGHT: i32 = 44;
const ACROSS: i32 = 120;
const DOWN: i32 = 36;
/// Room around all of it.
const EDGE: i32 = 8;
/// Characters of a name in its box.
const NAME_MAX: usize = 19;
/// Columns; who is called further down is in the last.
const COLUMNS_MAX: usize = 8;

/// A box, by the name of what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: String,
    column: usize,
    row: usize,
}

/// What is drawn between two boxes: all ports together.
struct Edge {
    from: String,
    to: String,
    requests: f64,
    open: u64,
    failed: f64,
}

/// Of calls that are sorted by how busy they are.
pub fn draw(calls: &[Call], address: impl Fn(&str) -> Option<String>) -> Markup {
    let edges = edges(calls);
    let places = places(&edges);
    let columns = places.iter().map(|place| place.column).max().unwrap_or_default() as i32 + 1;
    let rows = places.iter().map(|place| place.row).max().unwrap_or_default() as i32 + 1;
    let (width, height) =
        (columns * (WIDTH + ACROSS) - ACROSS + 2 * EDGE, rows * (HEIGHT + DOWN) - DOWN + 2 * EDGE + DOWN / 2);
    html! {
        div.map tabindex="0" role="img" aria-label=(sentence(&edges)) {
            svg width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } aria-hidden="true" {
                @for edge in &edges { (line(edge, &places)) }
                @for place in &places { (place.draw(&address)) }
                @for edge in &edges { (label(edge, &places)) }
            }
        }
    }
}

fn edges(calls: &[Call]) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    for call in calls {
        let (from, to) = (call.caller.to_string(), call.called());
        let (requests, open, failed) = (call.requests, call.open, call.failed());
        match edges.iter().position(|edge| edge.from == from && edge.to == to) {
            Some(at) => {
                edges[at].requests += requests;
                edges[at].open += open;
                edges[at].failed = edges[at].failed.max(failed);
            }
            None if edges.len() < LINES_MAX => edges.push(Edge { from, to, requests, open, failed }),
            None => {}
        }
    }
    edges
}

/// For those who do not see it.
fn sentence(edges: &[Edge]) -> String {
    let told: Vec<String> = edges.iter().map(|edge| format!("{} calls {}", edge.from, edge.to)).collect();
    plain(&told.join("; ")).into_owned()
}

/// Who is called by nobody stands first, everybody else behind all who call it. A circle is opened where
/// it is entered first.
fn places(edges: &[Edge]) -> Vec<Place> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut called = BTreeSet::new();
    for edge in edges.iter().filter(|edge| edge.from != edge.to) {
        next.entry(&edge.from).or_default().push(&edge.to);
        next.entry(&edge.to).or_default();
        called.insert(edge.to.as_str());
    }
    edges.iter().for_each(|edge| _ = next.entry(&edge.from).or_default());
    let first = next.keys().filter(|name| !called.contains(*name));
    let order: Vec<&str> = first.chain(next.keys()).copied().collect();
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    let mut forward: Vec<(&str, &str)> = Vec::new();
    let mut seen = BTreeSet::new();
    for name in order {
        open(name, &next, &mut seen, &mut Vec::new(), &mut forward);
    }
    // What leads forward has no circles, so this ends; so many rounds suffice for the longest way.
    for _ in 0..COLUMNS_MAX {
        for (from, to) in &forward {
            let behind = columns.get(from).copied().unwrap_or_default() + 1;
            let column = columns.entry(to).or_default();
            *column = (*column).max(behind.min(COLUMNS_MAX - 1));
        }
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let mut sorted: Vec<&str> = next.keys().copied().collect();
    sorted.sort_by_key(|name| (columns.get(name).copied().unwrap_or_default(), first_mention(edges, name)));
    let place = |name: &str| {
        let column = columns.get(name).copied().unwrap_or_default();
        let row = rows.entry(column).or_default();
        *row += 1;
        Place { name: name.to_owned(), column, row: *row - 1 }
    };
    sorted.into_iter().map(place).collect()
}

/// The busiest are above.
fn first_mention(edges: &[Edge], name: &str) -> usize {
    edges.iter().position(|edge| edge.from == name || edge.to == name).unwrap_or(edges.len())
}

/// Goes along the calls, depth first; those that lead back to where it came from are left out.
fn open<'a>(
    name: &'a str,
    next: &BTreeMap<&'a str, Vec<&'a str>>,
    seen: &mut BTreeSet<&'a str>,
    way: &mut Vec<&'a str>,
    forward: &mut Vec<(&'a str, &'a str)>,
) {
    if !seen.insert(name) {
        return;
    }
    way.push(name);
    for to in next.get(name).into_iter().flatten() {
        if !way.contains(to) {
            forward.push((name, to));
            open(to, next, seen, way, forward);
        }
    }
    way.pop();
}

impl Place {
    fn x(&self) -> i32 {
        EDGE + self.column as i32 * (WIDTH + ACROSS)
    }

    fn y(&self) -> i32 {
        EDGE + self.row as i32 * (HEIGHT + DOWN)
    }

    /// The stack in small letters above the service; who is no service has one line.
    fn draw(&self, address: &impl Fn(&str) -> Option<String>) -> Markup {
        let (x, y) = (self.x(), self.y());
        let (stack, name) = self.name.split_once('/').unwrap_or(("", &self.name));
        let name = plain(name);
        let drawn = html! {
            rect.node.service[!stack.is_empty()] x=(x) y=(y) width=(WIDTH) height=(HEIGHT) rx="4" {}
            @if stack.is_empty() {
                text.name x=(x + 12) y=(y + 27) { (cut(&name, NAME_MAX)) }
            } @else {
                text.stack x=(x + 12) y=(y + 17) { (cut(&plain(stack), NAME_MAX + 3)) }
                text.name x=(x + 12) y=(y + 35) { (cut(&name, NAME_MAX)) }
            }
        };
        match address(&self.name) {
            Some(address) => html! { a href=(address) tabindex="-1" { (drawn) } },
            None => drawn,
        }
    }
}

fn of<'a>(places: &'a [Place], name: &str) -> Option<&'a Place> {
    places.iter().find(|place| place.name == name)
}

/// The ends of a line, and where its middle is.
fn ends(edge: &Edge, places: &[Place]) -> Option<([i32; 4], bool)> {
    let (from, to) = (of(places, &edge.from)?, of(places, &edge.to)?);
    let leads_back = to.column <= from.column;
    let (y, below) = (from.y() + HEIGHT / 2, to.y() + HEIGHT / 2);
    Some(match leads_back {
        false => ([from.x() + WIDTH, y, to.x(), below], false),
        // Around the boxes, below them.
        true => ([from.x() + WIDTH / 2, from.y() + HEIGHT, to.x() + WIDTH / 2, to.y() + HEIGHT], true),
    })
}

fn line(edge: &Edge, places: &[Place]) -> Markup {
    let Some(([x1, y1, x2, y2], leads_back)) = ends(edge, places) else { return html! {} };
    let path = match leads_back {
        false => format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + ACROSS / 2, x2 - ACROSS / 2),
        true => format!("M{x1} {y1}C{x1} {0} {x2} {0} {x2} {y2}", y1.max(y2) + DOWN),
    };
    let head = match leads_back {
        false => format!("M{} {}L{x2} {y2}L{} {}", x2 - 7, y2 - 4, x2 - 7, y2 + 4),
        true => format!("M{} {}L{x2} {y2}L{} {}", x2 - 4, y2 + 7, x2 + 4, y2 + 7),
    };
    let class = if edge.failed > 0.0 { "bad" } else { "" };
    html! { path.call.(class) d={ (path) (head) } {} }
}

/// In the middle of its line: how much, and how much of it fails.
fn label(edge: &Edge, places: &[Place]) -> Markup {
    let Some(([x1, y1, x2, y2], leads_back)) = ends(edge, places) else { return html! {} };
    let (x, y) = ((x1 + x2) / 2, if leads_back { y1.max(y2) + DOWN * 3 / 4 } else { (y1 + y2) / 2 });
    let often = match (edge.requests > 0.0, edge.open) {
        (true, _) => format!("{}/s", rate(edge.requests)),
        (false, 0) => String::new(),
        (false, open) => format!("{open} open"),
    };
    let failed = percent(edge.failed);
    let text = match (often.is_empty(), failed.is_empty()) {
        (_, true) => often,
        (true, false) => format!("✗ {failed}"),
        (false, false) => format!("{often} ✗ {failed}"),
    };
    let class = if edge.failed > 0.0 { "bad" } else { "" };
    html! { text.rate.(class) x=(x) y=(y - 4) text-anchor="middle" { (text) } }
}

/// Of what fails; nothing where nothing does.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        none if none <= 0.0 => String::new(),
        small if small < 0.1 => format!("<{NBSP}0.1{NBSP}%"),
        small if small < 10.0 => format!("{small:.1}{NBSP}%"),
        large => format!("{large:.0}{NBSP}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Caller;

    fn call(from: &str, to: &str) -> Call {
        Call {
            caller: if from.contains('/') { Caller::Service(from.into()) } else { Caller::Outside },
            stack: to.split('/').next().unwrap_or_default().into(),
            service: to.split('/').nth(1).unwrap_or_default().into(),
            port: "80".into(),
            requests: 2.0,
            errors: 0.0,
            median_s: None,
            p95_s: None,
            connections: 0.0,
            open: 0,
            received: 0.0,
            sent: 0.0,
        }
    }

    fn columns(calls: &[(&str, &str)]) -> Vec<String> {
        let calls: Vec<Call> = calls.iter().map(|(from, to)| call(from, to)).collect();
        places(&edges(&calls)).iter().map(|p| format!("{} {}.{}", p.name, p.column, p.row)).collect()
    }

    #[test]
    fn callers_stand_before_whom_they_call() {
        let calls = [("outside", "s/web"), ("s/web", "s/api"), ("s/web", "s/db"), ("s/api", "s/db")];
        assert_eq!(columns(&calls), ["outside 0.0", "s/web 1.0", "s/api 2.0", "s/db 3.0"]);
        assert_eq!(columns(&[("s/a", "s/c"), ("s/b", "s/c")]), ["s/a 0.0", "s/b 0.1", "s/c 1.0"]);
    }

    #[test]
    fn circles_and_those_who_call_themselves_have_a_place() {
        assert_eq!(columns(&[("s/a", "s/b"), ("s/b", "s/a")]), ["s/a 0.0", "s/b 1.0"]);
        assert_eq!(columns(&[("s/a", "s/a")]), ["s/a 0.0"]);
        let long: Vec<(String, String)> =
            (0..40).map(|n| (format!("s/{n:02}"), format!("s/{:02}", n + 1))).collect();
        let long: Vec<(&str, &str)> = long.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(columns(&long).len(), 41);
        let full: Vec<(String, String)> =
            (0..200).map(|n| (format!("s/{}", n % 20), format!("s/{}", n / 10))).collect();
        let full: Vec<(&str, &str)> = full.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let calls: Vec<Call> = full.iter().map(|(from, to)| call(from, to)).collect();
        assert_eq!(edges(&calls).len(), LINES_MAX);
        assert!(!places(&edges(&calls)).is_empty());
    }

    #[test]
    fn names_do_no_harm_and_failures_have_a_mark() {
        let calls = [Call { errors: 1.0, ..call("outside", "s/<b>\u{1b}") }];
        let drawn = draw(&calls, |_| None).into_string();
        assert!(!drawn.contains("<b>") && !drawn.contains('\u{1b}'), "{drawn}");
        assert!(drawn.contains("✗ 50\u{a0}%"), "{drawn}");
        assert_eq!(
            [0.0, 0.0005, 0.02, 0.5].map(percent),
            ["", "<\u{a0}0.1\u{a0}%", "2.0\u{a0}%", "50\u{a0}%"]
        );
    }
}
