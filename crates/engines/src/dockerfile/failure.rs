//! Why a tool failed, in one sentence with the step it failed at; what a command said last is told
//! as lines before it.

use super::arguments::Place;
use super::child::{Ended, step_of};
use build::Job;
use model::{ErrorKind, Report};
use std::collections::VecDeque;

/// Lines of output that are shown.
const SHOWN: usize = 12;
/// What the tool says of a command that was ended by SIGKILL; its exit code is 1 then.
const KILLED: &str = "container exited on killed";
/// What stands before the exit code of a command.
const RUNTIME: &str = "while running runtime: exit status ";
/// Characters of one sentence of the tool.
const SENTENCE_MAX: usize = 300;

/// Tells the last lines and answers the sentence.
pub fn report(ended: &Ended, place: &Place, job: &Job<'_>) -> Report {
    let said: Vec<&str> =
        ended.last.iter().map(String::as_str).filter(|line| is_of_a_command(line)).collect();
    let failed = sentence(ended.last.iter().map(String::as_str), &place.shown, &place.text);
    if failed.of_a_command {
        said.iter().skip(said.len().saturating_sub(SHOWN)).for_each(|line| job.say(&format!("│ {line}")));
    }
    let code = ended.status.code();
    let error = match (failed.text, code) {
        (Some(text), _) => text,
        (None, Some(code)) => format!("the builder of {} ended with exit code {code}", place.shown),
        (None, None) => format!("the builder of {} was killed (SIGKILL)", place.shown),
    };
    let report = Report::new(ErrorKind::Build, error);
    match failed.hint {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// The same for a daemon, which says what failed apart from what commands printed.
pub fn of_daemon(
    error: &str,
    step: &str,
    code: Option<i32>,
    last: &VecDeque<String>,
    place: &Place,
    job: &Job<'_>,
) -> Report {
    let failed = daemon_sentence(error, step, code, &place.shown, &place.text);
    if failed.of_a_command {
        let said: Vec<&String> = last.iter().filter(|line| is_of_a_command(line)).collect();
        said.iter().skip(said.len().saturating_sub(SHOWN)).for_each(|line| job.say(&format!("│ {line}")));
    }
    let report = Report::new(ErrorKind::Build, failed.text.unwrap_or_default());
    match failed.hint {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

fn daemon_sentence(error: &str, step: &str, code: Option<i32>, shown: &str, text: &str) -> Failed {
    if error.starts_with("building at STEP \"") || error.starts_with("creating build container: ") {
        return sentence([format!("Error: {error}").as_str()].into_iter(), shown, text);
    }
    if let Some(rest) = error.to_ascii_lowercase().strip_prefix("dockerfile parse error line ") {
        let (line, why) = rest.split_once(": ").unwrap_or((rest, "it cannot be read"));
        return Failed { text: Some(format!("{shown}:{line}: {}", cut(why))), ..Failed::default() };
    }
    match code.filter(|code| *code > 0) {
        Some(code) => of_step(step, &format!("{RUNTIME}{code}"), false, shown, text),
        None if step.to_ascii_uppercase().starts_with("FROM ") => no_base(error, shown),
        None if step.is_empty() => {
            Failed { text: Some(format!("{shown} cannot be built: {}", cut(error))), ..Failed::default() }
        }
        None => of_step(step, error, false, shown, text),
    }
}

fn no_base(why: &str, shown: &str) -> Failed {
    Failed {
        text: Some(format!("a base of {shown} cannot be fetched: {}", cut(why))),
        hint: Some(
            "check its name after `FROM`; a private one needs `podman login` or `docker login` first"
                .to_owned(),
        ),
        of_a_command: false,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Failed {
    text: Option<String>,
    hint: Option<String>,
    of_a_command: bool,
}

/// Neither steps nor what the tool says of itself.
fn is_of_a_command(line: &str) -> bool {
    let own = ["Error: ", "time=\"", "Trying to pull ", "error building", "COMMIT ", "-->"];
    !line.trim().is_empty() && step_of(line).is_none() && !own.iter().any(|start| line.starts_with(start))
}

fn sentence<'a>(lines: impl Iterator<Item = &'a str>, shown: &str, text: &str) -> Failed {
    let lines: Vec<&str> = lines.collect();
    let killed = lines.contains(&KILLED);
    let Some(line) = lines.iter().rev().find_map(|line| line.strip_prefix("Error: ")) else {
        let solved = lines.iter().rev().find_map(|line| line.strip_prefix("error: failed to solve: "));
        let text = solved.map(|why| format!("{shown} cannot be built: {}", cut(why)));
        let of_a_command = solved.is_some_and(|why| why.starts_with("process "));
        return Failed { text, of_a_command, ..Failed::default() };
    };
    if let Some((step, why)) =
        line.strip_prefix("building at STEP \"").and_then(|rest| rest.split_once("\": "))
    {
        return of_step(step, why, killed, shown, text);
    }
    if let Some(why) = line.strip_prefix("creating build container: ") {
        return no_base(why, shown);
    }
    Failed { text: Some(format!("{shown} cannot be built: {}", cut(line))), ..Failed::default() }
}

fn of_step(step: &str, why: &str, killed: bool, shown: &str, text: &str) -> Failed {
    let place = match line_of(step, text) {
        Some(line) => format!("{shown}:{line}"),
        None => shown.to_owned(),
    };
    let step = cut(step);
    if let Some(code) = why.strip_prefix(RUNTIME).map(str::trim) {
        let text = match killed || code == "137" {
            true => format!("`{step}` was ended by SIGKILL ({place})"),
            false => format!("`{step}` ended with exit code {code} ({place})"),
        };
        return Failed { text: Some(text), hint: None, of_a_command: true };
    }
    let why = match why.find("Unknown instruction") {
        Some(_) => "there is no such instruction".to_owned(),
        // What follows describes the tool, not the Dockerfile.
        None => why.rsplit("}}: ").next().map(cut).unwrap_or_default(),
    };
    Failed { text: Some(format!("`{step}` failed ({place}): {why}")), ..Failed::default() }
}

/// The line on which a step begins, by its first two words; tools print the rest in their own way.
fn line_of(step: &str, text: &str) -> Option<usize> {
    let words = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    let wanted = words(step);
    let instruction = wanted.first()?;
    let begins = |line: &str| words(line).first().is_some_and(|word| word.eq_ignore_ascii_case(instruction));
    let exact = |line: &str| begins(line) && words(line).get(1) == wanted.get(1);
    let found = |fits: &dyn Fn(&str) -> bool| {
        let mut lines = text.lines().enumerate().filter(|(_, line)| fits(line));
        match (lines.next(), lines.next()) {
            (Some((at, _)), None) => Some(at + 1),
            _ => None,
        }
    };
    found(&exact).or_else(|| found(&begins))
}

fn cut(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(SENTENCE_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "FROM scratch\nCOPY a /a\nRUN [\"/bin/sh\", \"-c\", \"exit 3\"]\nFOO bar\nCOPY nofile /x\n";

    fn check(line: &str, expect: &str) {
        let failed = sentence(["STEP 1/2: x", line].into_iter(), "Dockerfile", FILE);
        assert_eq!(failed.text.as_deref(), Some(expect));
    }

    #[test]
    fn each_failure_is_one_sentence_with_its_place() {
        check(
            "Error: building at STEP \"RUN /bin/sh -c exit 3\": while running runtime: exit status 3",
            "`RUN /bin/sh -c exit 3` ended with exit code 3 (Dockerfile:3)",
        );
        check(
            "Error: building at STEP \"FOO \": Build error: Unknown instruction: \"FOO\" &imagebuilder.Step{Env:[]}",
            "`FOO` failed (Dockerfile:4): there is no such instruction",
        );
        check(
            "Error: building at STEP \"COPY nofile /x\": checking on sources under \"/c\": copier: stat: \"/nofile\": no such file or directory",
            "`COPY nofile /x` failed (Dockerfile:5): checking on sources under \"/c\": copier: stat: \"/nofile\": no such file or directory",
        );
        check(
            "Error: building at STEP \"COPY l /l\": reading \"/c/l\": error during bulk transfer for copier.request{A:{B:1}}: copier: get: lstat \"/l\"",
            "`COPY l /l` failed (Dockerfile): copier: get: lstat \"/l\"",
        );
        check(
            "Error: creating build container: initializing source docker://127.0.0.1:1/none:1: connection refused",
            "a base of Dockerfile cannot be fetched: initializing source docker://127.0.0.1:1/none:1: connection refused",
        );
        check(
            "Error: The target \"zzz\" was not found in the provided Dockerfile",
            "Dockerfile cannot be built: The target \"zzz\" was not found in the provided Dockerfile",
        );
        let line = "Error: building at STEP \"RUN x\": while running runtime: exit status 1";
        let killed = sentence([KILLED, line].into_iter(), "Dockerfile", "RUN x");
        assert_eq!(killed.text.as_deref(), Some("`RUN x` was ended by SIGKILL (Dockerfile:1)"));
        assert_eq!(sentence(["nothing"].into_iter(), "d", ""), Failed::default());
    }

    #[test]
    fn a_daemon_s_failures_are_the_same_sentences() {
        let said = |error: &str, step: &str, code: Option<i32>| {
            daemon_sentence(error, step, code, "Dockerfile", FILE).text.unwrap_or_default()
        };
        let run = "RUN [\"/bin/sh\", \"-c\", \"exit 3\"]";
        assert_eq!(
            said("The command '/bin/sh -c exit 3' returned a non-zero code: 3", run, Some(3)),
            format!("`{run}` ended with exit code 3 (Dockerfile:3)")
        );
        assert_eq!(
            said("building at STEP \"RUN x\": while running runtime: exit status 4", "RUN x", None),
            "`RUN x` ended with exit code 4 (Dockerfile:3)"
        );
        assert_eq!(
            said("dockerfile parse error line 4: unknown instruction: FOO", "", None),
            "Dockerfile:4: unknown instruction: foo"
        );
        assert_eq!(
            said("manifest for x:1 not found", "FROM x:1", None),
            "a base of Dockerfile cannot be fetched: manifest for x:1 not found"
        );
        assert_eq!(
            said("COPY failed: stat nofile: file does not exist", "COPY nofile /x", None),
            "`COPY nofile /x` failed (Dockerfile:5): COPY failed: stat nofile: file does not exist"
        );
        assert_eq!(
            said("failed to reach build target zzz in Dockerfile", "", None),
            "Dockerfile cannot be built: failed to reach build target zzz in Dockerfile"
        );
    }

    #[test]
    fn a_builder_kit_s_failures_are_one_sentence() {
        let lines = [
            "#5 [2/2] RUN x",
            "#5 0.1 out",
            "error: failed to solve: process \"/bin/sh -c x\" did not complete successfully: exit code: 3",
        ];
        assert_eq!(
            sentence(lines.into_iter(), "Dockerfile", FILE).text.as_deref(),
            Some(
                "Dockerfile cannot be built: process \"/bin/sh -c x\" did not complete successfully: exit code: 3"
            )
        );
    }

    #[test]
    fn what_the_tool_says_of_itself_is_not_shown_as_output() {
        assert!(is_of_a_command("err") && !is_of_a_command("STEP 1/1: FROM scratch"));
        assert!(!is_of_a_command("time=\"2026\" level=error") && !is_of_a_command(" "));
    }
}
