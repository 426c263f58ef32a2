//! `juchu route test`: where a request would go, and why.

use super::args::{Route, RouteCommand, RouteTest};
use super::reach;
use super::screen::{Ended, Hue, Outcome, Paint, Screen, look_of, safe};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::traffic::standing;
use model::flow::{self, Destination, Explanation, Question, Verdict};
use model::{ErrorKind, Report};
use std::fmt::Write;

/// Width of the words before what is said.
const WORD: usize = 11;

pub async fn route(screen: &Screen, home: &Home, args: Route) -> Outcome {
    let RouteCommand::Test(args) = args.command;
    let question = question(&args)?;
    let client = reach::running(home).await?;
    let explanation = client.explain(&question).await?;
    match args.output.json {
        true => screen.json(&explanation)?,
        false => screen.print(&text(&question, &explanation, screen.width, screen.out))?,
    }
    match is_served(&explanation) {
        true => Ok(()),
        false => Err(Ended::Code(ErrorKind::Unhealthy.exit_code())),
    }
}

/// Whether somebody would have answered it.
fn is_served(explanation: &Explanation) -> bool {
    match &explanation.outcome {
        flow::Outcome::NobodyListens { .. } | flow::Outcome::OtherSecurity { .. } => false,
        flow::Outcome::Refused { .. } => false,
        flow::Outcome::Redirected { .. } | flow::Outcome::Answered { .. } | flow::Outcome::Files { .. } => {
            true
        }
        flow::Outcome::Forwarded { to, .. } => to.iter().all(|one| !one.instances.is_empty()),
    }
}

fn question(args: &RouteTest) -> Result<Question, Report> {
    let wrong = |what: &str| {
        Report::usage(format!("`{}` {what}", args.url))
            .hint("juchu route test http://shop.example.org/path -X POST -H 'Name: value'")
    };
    let (scheme, rest) = args.url.split_once("://").unwrap_or(("http", &args.url));
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => false,
        "https" | "wss" => true,
        _ => return Err(wrong("is neither http nor https")),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return Err(wrong("has a user in it, who would be told in a header field"));
    }
    let (host, port) = divided(authority);
    let port = match port {
        None => {
            if tls {
                443
            } else {
                80
            }
        }
        Some(port) => port.parse().map_err(|_| wrong("has a port that is no number from 0 to 65535"))?,
    };
    if host.is_empty() {
        return Err(wrong("names no host"));
    }
    let root = if target.starts_with('/') { "" } else { "/" };
    let headers = args.headers.iter().map(|field| header(field)).collect::<Result<_, _>>()?;
    Ok(Question {
        tls,
        host: host.to_owned(),
        port,
        address: args.at,
        method: args.method.clone(),
        target: format!("{root}{target}"),
        headers,
    })
}

/// Host and port; the colons of an IPv6 address stand in brackets.
fn divided(authority: &str) -> (&str, Option<&str>) {
    let from = authority.find(']').unwrap_or(0);
    match authority[from..].find(':') {
        Some(colon) => (&authority[..from + colon], Some(&authority[from + colon + 1..])),
        None => (authority, None),
    }
}

fn header(field: &str) -> Result<(String, String), Report> {
    let wrong = || Report::usage(format!("`{field}` is no header field")).hint("-H 'Name: value'");
    let (name, value) = field.split_once(':').ok_or_else(wrong)?;
    match name.is_empty() || name.contains(char::is_whitespace) {
        true => Err(wrong()),
        false => Ok((name.to_owned(), value.trim().to_owned())),
    }
}

fn text(question: &Question, explanation: &Explanation, width: Option<usize>, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(arrival) = &explanation.listener {
        let rules = match arrival.rules {
            0 => "no routes".to_owned(),
            1 => "1 route".to_owned(),
            many => format!("{many} routes"),
        };
        let tls = if arrival.tls { ", TLS" } else { "" };
        line(&mut text, paint, "arrives at", &format!("{}{tls}, {rules}", arrival.address));
    }
    if let Some(taken) = explanation.considered.iter().find(|one| one.verdict == Verdict::Takes) {
        line(&mut text, paint, "route", &format!("{}  {}", safe(&taken.rule), safe(&taken.takes)));
    } else if matches!(explanation.outcome, flow::Outcome::Forwarded { .. }) {
        line(&mut text, paint, "route", "none takes it; it goes to the service that has this port");
    }
    outcome(&mut text, question, explanation, width, paint);
    others(&mut text, explanation, width, paint);
    text
}

fn line(text: &mut String, paint: Paint, word: &str, said: &str) {
    let room = " ".repeat(WORD.saturating_sub(word.len()));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}{room} {said}", paint.on(Hue::Quiet, word));
}

fn outcome(
    text: &mut String,
    question: &Question,
    explanation: &Explanation,
    width: Option<usize>,
    paint: Paint,
) {
    let bad = |word: &str| paint.on(Hue::Bad, word);
    match &explanation.outcome {
        flow::Outcome::NobodyListens { ports } => {
            let at = question.address.map_or_else(|| question.host.clone(), |at| at.to_string());
            let said = format!("nothing listens on port {} for {}", question.port, safe(&at));
            line(text, paint, "outcome", &bad(&said));
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            if !ports.is_empty() {
                line(text, paint, "ports", &ports.join(", "));
            }
        }
        flow::Outcome::OtherSecurity { tls } => {
            let said = if *tls {
                "TLS is spoken there: ask with https"
            } else {
                "no TLS is spoken there: ask with http"
            };
            line(text, paint, "outcome", &bad(said));
        }
        flow::Outcome::Refused { status, reason } => {
            line(text, paint, "outcome", &bad(&format!("{status}: {}", safe(reason))));
        }
        flow::Outcome::Redirected { status, location } => {
            line(text, paint, "outcome", &format!("{status} to {}", safe(location)));
        }
        flow::Outcome::Answered { status } => {
            line(text, paint, "outcome", &format!("{status}, answered by the gateway"));
        }
        flow::Outcome::Files { directory } => {
            line(text, paint, "outcome", &format!("a file below {}", safe(directory)));
        }
        flow::Outcome::Forwarded { line: request, host, to } => {
            if let Some(request) = request {
                let host = host.as_deref().map(|host| format!("  Host: {}", safe(host))).unwrap_or_default();
                line(text, paint, "asked as", &format!("{}{host}", safe(request)));
            }
            for destination in to {
                line(text, paint, "goes to", &goes_to(destination, paint));
            }
            text.push_str(&instances(to, width, paint));
        }
    }
}

fn goes_to(destination: &Destination, paint: Paint) -> String {
    let share = match destination.share {
        10_000 => String::new(),
        share => format!("  {}", percent(share)),
    };
    let state = match (destination.instances.is_empty(), destination.hold_ms) {
        (false, _) => String::new(),
        (true, 0) => paint.on(Hue::Bad, "  no instance takes requests: 503"),
        (true, hold) => {
            paint.on(Hue::Warn, &format!("  no instance takes requests: it waits at most {} s", hold / 1_000))
        }
    };
    format!("{}{share}{state}", safe(&destination.backend))
}

fn instances(to: &[Destination], width: Option<usize>, paint: Paint) -> String {
    let mut table = Table::new(vec![
        Column::kept("INSTANCE"),
        Column::kept("STATE"),
        Column::kept("SHARE").right(),
        Column::rank("ADDRESS", 1),
    ]);
    let mut any = false;
    for candidate in to.iter().flat_map(|destination| &destination.instances) {
        any = true;
        let (look, words) = standing(candidate.standing);
        let (icon, _, hue) = look_of(look);
        let state = format!("{icon} {words}");
        table.row(vec![
            Cell::from(candidate.instance.as_str()),
            Cell::from(state).hue(hue),
            Cell::from(percent(candidate.share)),
            Cell::from(candidate.address.to_string()),
        ]);
    }
    if any { format!("\n{}", table.render(width, paint)) } else { String::new() }
}

fn others(text: &mut String, explanation: &Explanation, width: Option<usize>, paint: Paint) {
    let mut table =
        Table::new(vec![Column::kept("OTHER ROUTE"), Column::kept("TAKES"), Column::kept("WHY NOT")]);
    let others = explanation.considered.iter().filter(|one| one.verdict != Verdict::Takes);
    let mut any = false;
    for other in others {
        any = true;
        table.row(vec![
            Cell::from(other.rule.as_str()),
            Cell::from(other.takes.as_str()),
            Cell::from(why_not(other.verdict)).hue(Hue::Quiet),
        ]);
    }
    if any {
        text.push('\n');
        text.push_str(&table.render(width, paint));
    }
}

const fn why_not(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Takes => "",
        Verdict::LessSpecific => "less specific",
        Verdict::OtherHost => "another host",
        Verdict::OtherPath => "another path",
        Verdict::OtherMethod => "another method",
        Verdict::OtherHeaders => "other header fields",
    }
}

fn percent(share: u32) -> String {
    match share % 100 {
        0 => format!("{} %", share / 100),
        _ => format!("{:.1} %", f64::from(share) / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::traffic;

    fn args(url: &str, headers: &[&str]) -> RouteTest {
        RouteTest {
            url: url.to_owned(),
            method: "GET".to_owned(),
            headers: headers.iter().map(|field| (*field).to_owned()).collect(),
            at: None,
            output: super::super::args::Output::default(),
        }
    }

    #[test]
    fn a_url_is_divided_as_a_browser_does() {
        for (url, tls, host, port, target) in [
            ("http://a.example/x?y=1", false, "a.example", 80, "/x?y=1"),
            ("a.example", false, "a.example", 80, "/"),
            ("HTTPS://a.example?q", true, "a.example", 443, "/?q"),
            ("http://[::1]:8080/a#part", false, "[::1]", 8080, "/a"),
            ("https://a:8443", true, "a", 8443, "/"),
        ] {
            let question = question(&args(url, &[])).expect(url);
            assert_eq!(
                (question.tls, question.host.as_str(), question.port, question.target.as_str()),
                (tls, host, port, target),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for (url, says) in [
            ("ftp://a", "`ftp://a` is neither http nor https"),
            ("http://", "`http://` names no host"),
            ("http://a:99999/", "`http://a:99999/` has a port that is no number from 0 to 65535"),
            ("http://u:p@a/", "`http://u:p@a/` has a user in it, who would be told in a header field"),
        ] {
            assert_eq!(question(&args(url, &[])).expect_err(url).error, says);
        }
        assert_eq!(
            question(&args("http://a", &["Name"])).expect_err("no colon").error,
            "`Name` is no header field"
        );
    }

    fn check(url: &str, width: Option<usize>) -> String {
        let question = question(&args(url, &[])).expect(url);
        text(&question, &traffic::explanation(&question), width, Paint(false))
    }

    #[test]
    fn a_way_is_told_with_its_reasons() {
        insta::assert_snapshot!(check("http://shop.example.org:8080/api/users", None), @r#"
        arrives at  0.0.0.0:8080, 2 routes
        route       guestbook/web#1  */api
        asked as    GET /api/users  Host: shop.example.org:8080
        goes to     guestbook/web:8000

        INSTANCE            STATE         SHARE  ADDRESS
        guestbook.web.1.r3  ● serving      50 %  10.89.0.5:8000
        guestbook.web.2.r3  ✗ left alone   50 %  10.89.0.6:8000

        OTHER ROUTE      TAKES    WHY NOT
        guestbook/web#2  POST */  another method
        "#);
        insta::assert_snapshot!(check("http://shop.example.org/", None), @r#"
        outcome     nothing listens on port 80 for shop.example.org
        ports       8080
        "#);
    }
}
