//! `juchu logs QUERY`: what is kept is searched, counted, and followed from there.

use super::args::Logs;
use super::logs::{Writer, since};
use super::screen::{Outcome, Screen};
use super::target;
use console::api::v1::{KeptRow, RowCountQuestion, RowCounts, RowQuestion, ServiceLine};
use console::client::Client;
use model::{DurationMs, Report, ServiceName, StackName, Timestamp};
use run::engine::{LogLine, LogStream};
use std::collections::HashSet;

/// What is asked of the rows that are kept.
pub struct Wanted {
    services: Vec<ServiceName>,
    query: String,
}

/// Names of services select; the rest is the query. `None` when the live output is all that is wanted.
pub fn wanted<'a>(args: &Logs, known: impl Iterator<Item = &'a ServiceName>) -> Option<Wanted> {
    let known: Vec<&ServiceName> = known.collect();
    let count = args.services.iter().take_while(|arg| known.iter().any(|name| name.as_str() == *arg)).count();
    let (named, rest) = args.services.split_at(count);
    // One word that is nearly a service is a slip rather than a search.
    let is_slip = rest.len() == 1 && target::is_nearly_one(&rest[0], known.iter().copied());
    if is_slip || rest.is_empty() && args.until.is_none() && args.count_by.is_none() {
        return None;
    }
    let services =
        known.into_iter().filter(|name| named.iter().any(|arg| arg == name.as_str())).cloned().collect();
    Some(Wanted { services, query: rest.join(" ") })
}

pub async fn run(
    screen: &Screen,
    client: &Client,
    stack: &StackName,
    args: &Logs,
    wanted: Wanted,
) -> Outcome {
    let time = |text: &Option<String>| text.as_deref().map(|text| since(text, screen.clock.now)).transpose();
    let question = RowQuestion {
        query: wanted.query,
        stack: Some(stack.to_string()),
        services: wanted.services.iter().map(ToString::to_string).collect(),
        since: time(&args.since)?,
        until: time(&args.until)?,
        // `all` is as many as one search finds.
        limit: args.tail.map(|tail| tail.0.unwrap_or(usize::MAX)),
    };
    if let Some(by) = &args.count_by {
        return count(screen, client, question, by, args.output.json).await;
    }
    let mut writer = Writer::new(screen.out, wanted.services.iter().collect());
    writer.prefix = !args.no_prefix;
    writer.times = args.timestamps.then(|| screen.clock.clone());
    let mut show = |row: KeptRow| {
        if args.output.json { screen.json_line(&row) } else { screen.print(&text_of(&mut writer, &row)) }
    };
    // Begun before the search, so that nothing falls between.
    let follows = args.follow && question.until.is_none();
    let mut lines = if follows { Some(client.follow_rows(&question).await?) } else { None };
    let answer = client.search_rows(&question).await?;
    let mut found: HashSet<KeptRow> =
        if follows { answer.rows.iter().cloned().collect() } else { HashSet::new() };
    if answer.rows.is_empty() && lines.is_none() {
        screen.note("nothing was found");
        screen
            .hint("`--since`, `--until` and the names of services narrow a search, too; `juchu logs --help`");
    }
    let count = answer.rows.len();
    answer.rows.into_iter().try_for_each(&mut show)?;
    if answer.has_more && args.tail.is_none() {
        screen.note(format!("these are the newest {count}; `-n` asks for more"));
    }
    if answer.is_cut {
        screen.warn(
            "the search was ended by its limits of time or memory; narrow it with `--since` and `--until`",
        );
    }
    let Some(lines) = &mut lines else { return Ok(()) };
    while let Some(row) = lines.next().await? {
        // What came between the beginning and the search was found by that already.
        if !found.remove(&row) {
            show(row)?;
        }
    }
    Ok(())
}

/// A row of several lines has its instance before each of them.
fn text_of(writer: &mut Writer, row: &KeptRow) -> String {
    let slot = row.instance.rsplit('-').next().and_then(|slot| slot.parse().ok()).unwrap_or(0);
    let Ok(service) = ServiceName::new(&row.service) else { return format!("{}\n", row.text) };
    let stream = if row.source == "stderr" { LogStream::Stderr } else { LogStream::Stdout };
    let at = Timestamp(row.time_ns / 1_000_000);
    let line = |text: &str| {
        let line = LogLine { at, stream, text: text.to_owned() };
        ServiceLine { service: service.clone(), slot, line }
    };
    row.text.split('\n').map(|text| writer.line(&line(text))).collect()
}

async fn count(screen: &Screen, client: &Client, rows: RowQuestion, by: &str, json: bool) -> Outcome {
    let (interval_ms, fields) = parse_by(by)?;
    let counts = client.count_rows(&RowCountQuestion { rows, interval_ms, fields: fields.clone() }).await?;
    if json {
        return screen.json(&counts);
    }
    screen.print(&table(&counts, interval_ms.is_some(), &fields, |at| screen.clock.full(at)))?;
    if counts.others > 0 {
        screen.note(format!("{} lines with other values are not shown", counts.others));
    }
    if counts.is_cut {
        screen.warn("counting was ended by its limit of time; narrow it with `--since` and `--until`");
    }
    Ok(())
}

/// An interval, fields, or both, with commas.
fn parse_by(by: &str) -> Result<(Option<u64>, Vec<String>), Report> {
    let (mut interval, mut fields) = (None, Vec::new());
    for part in by.split(',').map(str::trim) {
        let duration = part.starts_with(|c: char| c.is_ascii_digit()).then(|| DurationMs::parse(part));
        match duration {
            Some(Ok(duration)) if interval.is_none() && duration.0 > 0 => interval = Some(duration.0),
            None if !part.is_empty() => fields.push(part.to_owned()),
            _ => {
                return Err(Report::usage(format!("`{by}` is nothing to count by"))
                    .hint("`--count-by 1m`, `--count-by level` or `--count-by 1m,status`"));
            }
        }
    }
    Ok((interval, fields))
}

fn table(
    counts: &RowCounts,
    with_time: bool,
    fields: &[String],
    time: impl Fn(Timestamp) -> String,
) -> String {
    let heads = with_time.then(|| "time".to_owned()).into_iter().chain(fields.iter().cloned());
    let mut lines: Vec<Vec<String>> = vec![heads.chain(["lines".to_owned()]).collect()];
    for count in &counts.counts {
        let values = count.values.iter().map(|value| match value.is_empty() {
            true => "-".to_owned(),
            false => console::text::without_controls(value, false).into_owned(),
        });
        let cells = count.at.map(&time).into_iter().chain(values);
        lines.push(cells.chain([count.rows.to_string()]).collect());
    }
    let columns = lines[0].len();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (at, cell) in line.iter().enumerate() {
            // The number stands last and to the right.
            match at + 1 == columns {
                true => text.push_str(&format!("{cell:>width$}\n", width = widths[at])),
                false => text.push_str(&format!("{cell:width$}  ", width = widths[at])),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use console::api::v1::RowCount;
    use console::fake::service;

    #[track_caller]
    fn check(typed: &str, expect: Option<(&[&str], &str)>) {
        let cli =
            crate::cli::args::Cli::parse_from(["juchu", "logs"].into_iter().chain(typed.split_whitespace()));
        let crate::cli::args::Command::Logs(args) = cli.command else { panic!("another command") };
        let known = [service("web"), service("database")];
        let found = wanted(&args, known.iter());
        let shown = found
            .map(|found| (found.services.iter().map(ToString::to_string).collect::<Vec<_>>(), found.query));
        let expect = expect
            .map(|(services, query)| (services.iter().map(ToString::to_string).collect(), query.to_owned()));
        assert_eq!(shown, expect, "{typed}");
    }

    #[test]
    fn services_come_first_and_the_rest_is_the_query() {
        check("", None);
        check("web", None);
        check("-f web database", None);
        check("databse", None);
        check("web level:error timeout", Some((&["web"], "level:error timeout")));
        check("timeout", Some((&[], "timeout")));
        check("web --until 10m", Some((&["web"], "")));
        check("--count-by 1m", Some((&[], "")));
    }

    #[test]
    fn counts_are_a_table() {
        assert_eq!(parse_by("1m, level").unwrap(), (Some(60_000), vec!["level".to_owned()]));
        for wrong in ["", "1x", "1m,2m", "a,,b", "0s"] {
            assert!(parse_by(wrong).unwrap_err().hints[0].contains("--count-by 1m"), "{wrong}");
        }
        let count =
            |at, value: &str, rows| RowCount { at: Some(Timestamp(at)), values: vec![value.into()], rows };
        let counts =
            RowCounts { counts: vec![count(0, "error", 7), count(60_000, "", 1200)], ..RowCounts::default() };
        let text = table(&counts, true, &["level".to_owned()], |at| format!("{:02}:00", at.0 / 60_000));
        insta::assert_snapshot!(text, @"
        time   level  lines
        00:00  error      7
        01:00  -       1200
        ");
    }
}
