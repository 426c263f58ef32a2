//! What the suites say about one case, read from their output.

/// How one case of a suite ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// The suite says that it does not concern this machine.
    NotApplicable,
}

/// One program of runtime-tools speaks TAP; some say nothing but a problem, some only "skip".
pub fn of_tap(text: &str, succeeded: bool) -> Verdict {
    let points = || text.lines().map(str::trim_start);
    let passed = points().filter(|line| line.starts_with("ok ")).count();
    let skipped = points().filter(|line| line.starts_with("ok ") && line.contains("# SKIP")).count();
    let failed = points().any(|line| line.starts_with("not ok"));
    // Without a single point a problem is told as a diagnosis alone.
    let has_problem = passed == 0 && text.contains("\"error\":");
    match (succeeded && !failed && !has_problem, skipped > 0 && passed == skipped) {
        (false, _) => Verdict::Failed,
        (true, true) => Verdict::NotApplicable,
        (true, false) => Verdict::Passed,
    }
}

/// A group of contest: `1 / 4 : name : ok`. One that ends early is a failed case of its own.
pub fn of_contest(group: &str, text: &str, succeeded: bool) -> Vec<(String, Verdict)> {
    let mut cases: Vec<(String, Verdict)> =
        text.lines().filter_map(|line| contest_line(group, line)).collect();
    if !succeeded || cases.is_empty() {
        cases.push((format!("{group}: to its end"), Verdict::Failed));
    }
    cases
}

fn contest_line(group: &str, line: &str) -> Option<(String, Verdict)> {
    let mut parts = line.split(" : ").map(str::trim);
    let (number, name, said) = (parts.next()?, parts.next()?, parts.next()?);
    let (index, count) = number.split_once(" / ")?;
    let _: (u32, u32) = (index.parse().ok()?, count.parse().ok()?);
    let verdict = match said {
        "ok" => Verdict::Passed,
        "not ok" => Verdict::Failed,
        "skipped" => Verdict::NotApplicable,
        _ => return None,
    };
    Some((format!("{group}: {name}"), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_is_judged_as_a_whole() {
        let check = |text: &str, succeeded, expect| assert_eq!(of_tap(text, succeeded), expect, "{text}");
        check("TAP version 13\nok 1 - a\nok 2 - b # SKIP no\n1..2", true, Verdict::Passed);
        check("TAP version 13\nok 1 # SKIP no labels\n1..1", true, Verdict::NotApplicable);
        check("TAP version 13\nok 1 - a\n    not ok 2 - b\n1..2", true, Verdict::Failed);
        check("TAP version 13\nok 1 - a\n1..1", false, Verdict::Failed);
        check("TAP version 13\n  ---\n  { \"error\": \"x\" }\n1..0", true, Verdict::Failed);
        // Told with a point that passed, an error is the one that was expected.
        check("ok 1 - refuses\n  ---\n  { \"error\": \"exit status 1\" }\n1..1", true, Verdict::Passed);
        check("TAP version 13\n1..0", true, Verdict::Passed);
    }

    #[test]
    fn contest_is_judged_case_by_case() {
        let text = "# Start group g\n1 / 3 : a : ok\n2 / 3 : b : skipped\n\twhy : ok\n3 / 3 : c : not ok\n\tx\n# End";
        let case = |name: &str, verdict| (format!("g: {name}"), verdict);
        let expect =
            [case("a", Verdict::Passed), case("b", Verdict::NotApplicable), case("c", Verdict::Failed)];
        assert_eq!(of_contest("g", text, true), expect);
        assert_eq!(of_contest("g", "panicked", false), [case("to its end", Verdict::Failed)]);
    }
}
