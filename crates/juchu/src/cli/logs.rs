//! The output of services: each line behind the name of its instance.

use super::args::Logs;
use super::logs_search as search;
use super::screen::{Outcome, Paint, Screen};
use super::{reach, target};
use crate::cli::args::StackArgs;
use crate::home::Home;
use console::text::without_controls;
use console::when::{self, Clock};
use model::{DurationMs, Report, ServiceName, Timestamp};
use run::control::ServiceLine;
use run::engine::LogQuery;
use std::collections::BTreeMap;

/// Colours of the names, in turn; red stays for failures.
const COLOURS: [&str; 5] = ["36", "33", "35", "34", "32"];

pub async fn logs(screen: &Screen, home: &Home, args: Logs, stack: StackArgs) -> Outcome {
    let since = args.since.as_deref().map(|text| since(text, screen.clock.now)).transpose()?;
    let client = reach::running(home).await?;
    let name = target::stack(&client, &stack).await?;
    let status = client.stack(&name).await?;
    let known = || status.services.iter().map(|service| &service.name);
    if let Some(search) = search::wanted(&args, known()) {
        return search::run(screen, &client, &name, &args, search).await;
    }
    let services = target::services(&args.services, known())?;
    let query = LogQuery { follow: args.follow, tail: args.tail.and_then(|tail| tail.0), since };
    let mut lines = client.logs(&name, &services, &query).await?;
    let shown = if services.is_empty() {
        status.services.iter().map(|s| &s.name).collect()
    } else {
        services.iter().collect()
    };
    let mut writer = Writer::new(screen.out, shown);
    writer.prefix = !args.no_prefix;
    writer.times = args.timestamps.then(|| screen.clock.clone());
    while let Some(line) = lines.next().await? {
        if args.output.json {
            screen.json_line(&line)?;
        } else {
            screen.print(&writer.line(&line))?;
        }
    }
    Ok(())
}

/// `10m` before now, or a time.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, Report> {
    if let Ok(duration) = DurationMs::parse(text) {
        return Ok(Timestamp(now.0.saturating_sub_unsigned(duration.0)));
    }
    when::parse(text).ok_or_else(|| {
        Report::usage(format!("`{text}` is neither a duration nor a time"))
            .hint("`--since 10m`, `--since 2h30m` or `--since 2026-11-22T12:00:00Z`")
    })
}

/// Writes lines behind names of equal width.
pub struct Writer {
    paint: Paint,
    pub prefix: bool,
    /// Times before the lines, as this clock writes them.
    pub times: Option<Clock>,
    width: usize,
    colours: BTreeMap<ServiceName, &'static str>,
}

impl Writer {
    pub fn new(paint: Paint, services: Vec<&ServiceName>) -> Self {
        let width = services.iter().map(|name| name.as_str().len() + 2).max().unwrap_or_default();
        let colours = services.into_iter().cloned().zip(COLOURS.iter().copied().cycle()).collect();
        Self { paint, prefix: true, times: None, width, colours }
    }

    pub fn line(&mut self, line: &ServiceLine) -> String {
        let text = without_controls(&line.line.text, self.paint.0);
        // A colour that a program left on ends with its line.
        let end = if self.paint.0 && text.contains('\u{1b}') { "\u{1b}[0m\n" } else { "\n" };
        format!("{}{}{text}{end}", self.name_of(line), self.time_of(line.line.at))
    }

    fn name_of(&mut self, line: &ServiceLine) -> String {
        if !self.prefix {
            return String::new();
        }
        let name = format!("{}-{}", line.service, line.slot);
        self.width = self.width.max(name.len());
        let name = format!("{name:width$} |", width = self.width);
        match self.colours.get(&line.service).filter(|_| self.paint.0) {
            Some(colour) => format!("\u{1b}[{colour}m{name}\u{1b}[0m "),
            None => name + " ",
        }
    }

    fn time_of(&self, at: Timestamp) -> String {
        self.times.as_ref().map(|clock| clock.full(at) + " ").unwrap_or_default()
    }
}

/// Lines at once, as they are shown before an error.
pub fn text_of(lines: &[ServiceLine], paint: Paint) -> String {
    let mut writer = Writer::new(paint, lines.iter().map(|line| &line.service).collect());
    lines.iter().map(|line| writer.line(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::{NOW, ago, line, service};

    #[test]
    fn lines_stand_behind_the_names_of_their_instances() {
        let lines =
            [line("web", 1, ago(60), "GET / 200"), line("database", 2, NOW, "\u{1b}[31mready\u{1b}[2J")];
        insta::assert_snapshot!(text_of(&lines, Paint(false)), @"
        web-1      | GET / 200
        database-2 | ready
        ");
        let mut writer = Writer::new(Paint(true), vec![&lines[1].service]);
        assert_eq!(writer.line(&lines[1]), "\u{1b}[36mdatabase-2 |\u{1b}[0m \u{1b}[31mready\u{1b}[0m\n");
        let web = service("web");
        let mut writer = Writer::new(Paint(false), vec![&web]);
        writer.times = Some(Clock::utc(NOW));
        writer.prefix = false;
        assert_eq!(writer.line(&lines[0]), "2026-11-22 11:59:00 GET / 200\n");
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        assert_eq!(since("10m", NOW), Ok(ago(600)));
        assert_eq!(since("2026-11-22T11:59:00Z", NOW), Ok(ago(60)));
        assert!(since("soon", NOW).expect_err("neither").hints[0].contains("--since 10m"));
    }
}
