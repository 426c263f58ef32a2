//! Which charts each page has: a title, a unit, and the questions behind its lines.

use super::chart::{Band, Chart, Line, Mark, busiest};
use super::parts::{self, plain};
use super::unit::Unit;
use crate::measured::{Asked, Range, Shelf, quoted};
use crate::traffic::Names;
use crate::when::Clock;
use maud::{Markup, html};
use model::Timestamp;
use run::ranges::SignalName;

/// A chart before it is asked for.
pub struct Wanted {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub lines: Vec<Question>,
    /// What is normal, where it is known.
    pub band: Option<Band>,
}

pub struct Question {
    /// Of the line; where it is a label's name after `$`, the label's value.
    pub name: &'static str,
    pub expression: String,
    /// Of all courses only that of this signal.
    pub only: Option<SignalName>,
}

/// Adds what its lines have in common to each expression: `$of` becomes the selector.
fn chart(
    id: &'static str,
    title: &'static str,
    unit: Unit,
    of: &str,
    lines: &[(&'static str, &str)],
) -> Wanted {
    let lines = lines
        .iter()
        .map(|(name, expression)| Question { name, expression: expression.replace("$of", of), only: None })
        .collect();
    Wanted { id, title, unit, lines, band: None }
}

/// Of a machine.
pub fn node(name: &str) -> Vec<Wanted> {
    let of = format!("job=\"node\",instance={}", quoted(name));
    let chart = |id, title, unit, lines: &[(&'static str, &str)]| chart(id, title, unit, &of, lines);
    vec![
        chart(
            "cpu",
            "Processor",
            Unit::Share,
            &[
                ("in use", "1 - avg(rate(node_cpu_seconds_total{$of,mode=\"idle\"}[$rate]))"),
                (
                    "system",
                    "avg(sum by (cpu) (rate(node_cpu_seconds_total{$of,mode=~\"system|irq|softirq\"}[$rate])))",
                ),
                ("waiting for disks", "avg(rate(node_cpu_seconds_total{$of,mode=\"iowait\"}[$rate]))"),
                ("taken by other machines", "avg(rate(node_cpu_seconds_total{$of,mode=\"steal\"}[$rate]))"),
            ],
        ),
        chart(
            "load",
            "Load",
            Unit::Count,
            &[
                ("1 minute", "node_load1{$of}"),
                ("5 minutes", "node_load5{$of}"),
                ("processors", "count(count by (cpu) (node_cpu_seconds_total{$of}))"),
            ],
        ),
        chart(
            "memory",
            "Memory",
            Unit::Bytes,
            &[
                ("in use", "node_memory_MemTotal_bytes{$of} - node_memory_MemAvailable_bytes{$of}"),
                ("all", "node_memory_MemTotal_bytes{$of}"),
                ("swapped out", "node_memory_SwapTotal_bytes{$of} - node_memory_SwapFree_bytes{$of}"),
            ],
        ),
        chart(
            "pressure",
            "Time that work waited",
            Unit::Share,
            &[
                ("for a processor", "rate(node_pressure_cpu_waiting_seconds_total{$of}[$rate])"),
                ("for memory", "rate(node_pressure_memory_waiting_seconds_total{$of}[$rate])"),
                ("for disks", "rate(node_pressure_io_waiting_seconds_total{$of}[$rate])"),
            ],
        ),
        chart(
            "space",
            "Disk space in use",
            Unit::Share,
            &[(
                "$mountpoint",
                "max by (mountpoint) (1 - node_filesystem_avail_bytes{$of,\
             fstype!~\"tmpfs|devtmpfs|ramfs|overlay|squashfs|iso9660\"} / node_filesystem_size_bytes{$of})",
            )],
        ),
        chart(
            "disk",
            "Disks",
            Unit::BytesPerSecond,
            &[
                ("read", "sum(rate(node_disk_read_bytes_total{$of,device!~\"(loop|ram|dm-).*\"}[$rate]))"),
                (
                    "written",
                    "sum(rate(node_disk_written_bytes_total{$of,device!~\"(loop|ram|dm-).*\"}[$rate]))",
                ),
            ],
        ),
        chart(
            "network",
            "Network",
            Unit::BytesPerSecond,
            &[
                ("received", "sum(rate(node_network_receive_bytes_total{$of,device!=\"lo\"}[$rate]))"),
                ("sent", "sum(rate(node_network_transmit_bytes_total{$of,device!=\"lo\"}[$rate]))"),
            ],
        ),
        chart(
            "sockets",
            "TCP connections",
            Unit::Count,
            &[
                ("open", "node_sockstat_TCP_inuse{$of}"),
                ("waiting for their end (TIME_WAIT)", "node_sockstat_TCP_tw{$of}"),
            ],
        ),
        chart(
            "processes",
            "Processes",
            Unit::Count,
            &[
                ("processes", "node_processes_pids{$of}"),
                ("threads", "node_processes_threads{$of}"),
                ("blocked", "node_procs_blocked{$of}"),
            ],
        ),
        chart(
            "logins",
            "Logins",
            Unit::Count,
            &[
                ("sessions", "juchu_login_sessions{$of}"),
                ("came in", "increase(juchu_logins_total{$of,result=\"success\"}[$rate])"),
                ("failed", "increase(juchu_logins_total{$of,result=\"failure\"}[$rate])"),
            ],
        ),
        chart(
            "kernel",
            "Errors in the kernel's messages",
            Unit::Count,
            &[(
                "$severity",
                "sum by (severity) (increase(juchu_kernel_messages_total{$of,severity=~\"emerg|alert|crit|err\"}[$rate]))",
            )],
        ),
    ]
}

/// Requests, in the words of the gateway: `kind` is part of the names of its figures.
fn requests(kind: &str, of: &str) -> Vec<Wanted> {
    let metric = |name: &str| format!("juchu_gateway_{kind}{name}");
    let quantile = |share: &str| {
        let bucket = metric(if kind.is_empty() {
            "request_duration_seconds_bucket"
        } else {
            "duration_seconds_bucket"
        });
        format!("histogram_quantile({share}, sum by (le) (rate({bucket}{{$of}}[$rate])))")
    };
    let total = metric("requests_total");
    let sum = |name: &str| format!("sum(rate({}{{$of}}[$rate]))", metric(name));
    let class = |codes: &str| format!("sum(rate({total}{{$of,code=~\"{codes}\"}}[$rate]))");
    vec![
        chart(
            "requests",
            "Requests",
            Unit::PerSecond,
            of,
            &[
                ("answered", &class("1xx|2xx|3xx")),
                ("refused (4xx)", &class("4xx")),
                ("failed (5xx)", &class("5xx")),
            ],
        ),
        chart(
            "time",
            "Processing time",
            Unit::Seconds,
            of,
            &[
                ("half are faster", &quantile("0.5")),
                ("slowest 5 %", &quantile("0.95")),
                ("slowest 1 %", &quantile("0.99")),
            ],
        ),
        chart(
            "errors",
            "Share of errors",
            Unit::Share,
            of,
            &[("failed (5xx)", &format!("{} / {}", class("5xx"), class(".*")))],
        ),
        chart(
            "volume",
            "Bytes passed on",
            Unit::BytesPerSecond,
            of,
            &[("received", &sum("received_bytes_total")), ("sent", &sum("sent_bytes_total"))],
        ),
    ]
}

/// What instances use; `by` is the label whose values are the lines.
fn usage(of: &str, by: &'static str) -> Vec<Wanted> {
    let label = &by[1..];
    let sum = |metric: &str| format!("sum by ({label}) ({metric}{{$of}})");
    let rate = |metric: &str| format!("sum by ({label}) (rate({metric}{{$of}}[$rate]))");
    vec![
        chart("cpu", "Processor", Unit::Processors, of, &[(by, &rate("container_cpu_usage_seconds_total"))]),
        chart("memory", "Memory", Unit::Bytes, of, &[(by, &sum("container_memory_working_set_bytes"))]),
    ]
}

pub fn service(stack: &str, service: &str) -> Vec<Wanted> {
    let of = format!("stack={},service={}", quoted(stack), quoted(service));
    let mut all = requests("", &of);
    all.extend(usage(&of, "$instance"));
    all
}

pub fn route(stack: &str, service: &str, number: u32) -> Vec<Wanted> {
    requests("route_", &format!("route={}", quoted(&format!("{stack}/{service}#{number}"))))
}

pub fn instance(id: &str) -> Vec<Wanted> {
    let of = format!("instance={}", quoted(id));
    let chart = |id, title, unit, lines: &[(&'static str, &str)]| chart(id, title, unit, &of, lines);
    let mut all = vec![
        chart(
            "cpu",
            "Processor",
            Unit::Processors,
            &[
                ("in use", "sum(rate(container_cpu_usage_seconds_total{$of}[$rate]))"),
                (
                    "held back by its limit",
                    "sum(rate(container_cpu_cfs_throttled_seconds_total{$of}[$rate]))",
                ),
            ],
        ),
        chart(
            "memory",
            "Memory",
            Unit::Bytes,
            &[
                ("in use", "sum(container_memory_working_set_bytes{$of})"),
                ("limit", "sum(container_spec_memory_limit_bytes{$of} > 0)"),
            ],
        ),
        chart(
            "network",
            "Network",
            Unit::BytesPerSecond,
            &[
                ("received", "sum(rate(container_network_receive_bytes_total{$of}[$rate]))"),
                ("sent", "sum(rate(container_network_transmit_bytes_total{$of}[$rate]))"),
            ],
        ),
        chart(
            "disk",
            "Disks",
            Unit::BytesPerSecond,
            &[
                ("read", "sum(rate(container_fs_reads_bytes_total{$of}[$rate]))"),
                ("written", "sum(rate(container_fs_writes_bytes_total{$of}[$rate]))"),
            ],
        ),
        chart("threads", "Threads", Unit::Count, &[("threads", "sum(container_threads{$of})")]),
        chart("starts", "Starts", Unit::Count, &[("starts", "max(juchu_instance_starts_total{$of})")]),
    ];
    all.extend(requests("", &of));
    all
}

/// Asks for all charts, and draws those that have something to show.
pub async fn section(
    shelf: &Shelf,
    wanted: Vec<Wanted>,
    range: Range,
    address: &str,
    (marks, names): (&[Mark], &Names),
    clock: &Clock,
) -> Markup {
    let asked: Vec<Asked> = wanted
        .iter()
        .flat_map(|one| &one.lines)
        .map(|line| range.asked(&line.expression, clock.now))
        .collect();
    let mut answers = shelf.ask_all(&asked).await.into_iter();
    let mut failure = None;
    let mut drawn = Vec::new();
    let mut silent = Vec::new();
    for one in &wanted {
        let mut lines = Vec::new();
        for question in &one.lines {
            match answers.next().expect("as many answers as questions") {
                Ok(courses) => lines.extend(
                    courses.iter().filter(|course| question.takes(course, courses.len())).map(|course| {
                        let name = question
                            .name
                            .strip_prefix('$')
                            .map_or(question.name, |label| course.label(label));
                        let name =
                            if question.name == "$instance" { names.name(name) } else { name.to_owned() };
                        Line::of(name, course, &asked[0])
                    }),
                ),
                Err(report) => failure = Some(report),
            }
        }
        let (lines, left_out) = busiest(lines);
        if lines.is_empty() {
            silent.push(one.title.to_lowercase());
            continue;
        }
        let Wanted { id, title, unit, band, .. } = one;
        let (asked, unit, band) = (&asked[0], *unit, *band);
        drawn.push(Chart { id, title, unit, asked, lines, left_out, marks, band, clock }.draw());
    }
    let since = shelf.since().await;
    html! {
        section #charts {
            h2 { "Measured" }
            (ranges(range, address))
            @if let Some(failure) = &failure { (parts::report(failure)) }
            (marks_in_words(marks, clock))
            div.charts { @for chart in &drawn { (chart) } }
            (nothing(shelf.has_source(), drawn.is_empty(), &silent, since, clock))
        }
    }
}

/// Links to the other ranges.
pub fn ranges(chosen: Range, address: &str) -> Markup {
    let lead = if address.contains('?') { '&' } else { '?' };
    html! {
        nav.ranges aria-label="Range" {
            @for range in Range::ALL {
                @let current = (range == chosen).then_some("true");
                a href={ (address) (lead) "range=" (range.word()) } aria-current=[current] { (range.name()) }
            }
        }
    }
}

/// The moments that the charts show as upright lines.
fn marks_in_words(marks: &[Mark], clock: &Clock) -> Markup {
    html! {
        @if !marks.is_empty() {
            ul.marks { @for mark in marks {
                li { svg.sample viewBox="0 0 8 16" aria-hidden="true" { path.mark d="M4 0V16" {} } (parts::time(mark.at, clock)) " " (plain(&mark.text)) }
            } }
        }
    }
}

fn nothing(
    is_measured: bool,
    is_empty: bool,
    silent: &[String],
    since: Option<Timestamp>,
    clock: &Clock,
) -> Markup {
    html! {
        @if !is_measured {
            p.quiet { "Nothing is measured: " code { "daemon.log" } " says why." }
        } @else {
            @if is_empty { p.quiet { "Nothing of it was measured in this time." } }
            @else if !silent.is_empty() { p.quiet { "Nothing there in this time: " (silent.join(", ")) "." } }
            @if let Some(since) = since { p.quiet { "Measured since " (parts::time(since, clock)) "." } }
        }
    }
}
