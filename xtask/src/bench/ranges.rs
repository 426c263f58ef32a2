//! What normal ranges, incidents and the search for slow decay achieve on replays with seeds.

use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, workspace};

pub const BENCH: Bench = Bench {
    name: "ranges",
    about: "false incidents, faults and leaks found, on replays with seeds",
    run: measure,
};

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "signals", "--example", "ranges"])?;
    let said = read(&root, &root.join("target/release/examples/ranges").to_string_lossy(), &[])?;
    eprint!("{said}");
    let line = |name: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.ok_or_else(|| format!("the example did not say {name}"))
    };
    let number =
        |text: &str, at: usize| text.split_whitespace().nth(at).and_then(|word| word.parse::<f64>().ok());
    let whole = |text: &str| number(text, 0).zip(number(text, 2)).is_some_and(|(found, all)| found >= all);
    let below = |text: &str, most: f64| number(text, 0).is_some_and(|value| value <= most);
    let quiet = line("quiet_incidents_a_day")?;
    let (kinds, named) = (line("faults_kinds")?, line("faults_named")?);
    let (found, times) = (line("faults_found")?, line("faults_seconds")?);
    let (leaks, wrong, cost) = (line("leaks_found")?, line("leaks_false")?, line("cost_core")?);
    let median_and_95th =
        number(times, 0).zip(number(times, 1)).ok_or("the example did not say its times")?;
    Ok(vec![
        Measured {
            number: "false incidents of a quiet system, 250 signals",
            promised: "≤ 1 a day",
            value: quiet.replacen(" of 250 signals", " a day", 1),
            kept: Some(below(quiet, 1.0)),
        },
        Measured {
            number: "injected faults of 20 kinds found, the service among the first three named",
            promised: "all",
            value: format!("found {found}, named {named}; all of {kinds} kinds"),
            kept: Some(whole(found) && whole(named)),
        },
        Measured {
            number: "from a fault to its incident, median / 95th percentile",
            promised: "≤ 25 s",
            value: format!("{} / {} s", median_and_95th.0, median_and_95th.1),
            kept: Some(median_and_95th.1 <= 25.0),
        },
        Measured {
            number: "leaks of a fifth a day found within 48 h",
            promised: "≥ 90 %",
            value: leaks.to_owned(),
            kept: number(leaks, 0).map(|share| share >= 90.0),
        },
        Measured {
            number: "windows without a leak in which one is found",
            promised: "≤ 0.1 %",
            value: wrong.to_owned(),
            kept: Some(below(wrong, 0.1)),
        },
        Measured {
            number: "judging 2,000 signals every 10 s",
            promised: "≤ 0.2 % of one core",
            value: cost.to_owned(),
            kept: Some(below(cost, 0.2)),
        },
    ])
}
