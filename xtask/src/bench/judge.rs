//! How releases are judged: thousands of replayed rollouts, by an example of the crate that judges.

use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, workspace};
use std::collections::HashMap;

pub const BENCH: Bench = Bench {
    name: "judge",
    about: "2,000 replayed rollouts of each kind: found when, taken back wrongly how often",
    run: measure,
};

/// Of each kind, unless `--requests` says otherwise.
const ROLLOUTS: u64 = 2_000;

/// What the example printed, by name and key.
struct Figures(HashMap<String, HashMap<String, f64>>);

/// A number that is a time to find something: median and 95th percentile.
struct Found {
    number: &'static str,
    promised: &'static str,
    row: &'static str,
    median_s: f64,
    p95_s: f64,
}

const FOUND: &[Found] = &[
    Found {
        number: "a release that fails 1.1 % instead of 0.1 % of 100 requests a second is taken back (median, p95)",
        promised: "≤ 40 s, ≤ 80 s",
        row: "errors 0.1 → 1.1 %",
        median_s: 40.0,
        p95_s: 80.0,
    },
    Found {
        number: "the same with 5 % instead of 0.1 %",
        promised: "≤ 6 s, ≤ 10 s",
        row: "errors 0.1 → 5 %",
        median_s: 6.0,
        p95_s: 10.0,
    },
    Found {
        number: "the same with a median time to answer of 20 % more",
        promised: "≤ 45 s, ≤ 90 s",
        row: "latency +20 %",
        median_s: 45.0,
        p95_s: 90.0,
    },
    Found {
        number: "the same with 50 % more",
        promised: "≤ 10 s, ≤ 20 s",
        row: "latency +50 %",
        median_s: 10.0,
        p95_s: 20.0,
    },
];

fn measure(options: &Options) -> Result<Vec<Measured>, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "signals", "--example", "rollouts"])?;
    let example = root.join("target/release/examples/rollouts");
    let rollouts = options.requests.unwrap_or(ROLLOUTS).to_string();
    let said = read(&root, &example.to_string_lossy(), &[&rollouts])?;
    eprint!("{said}");
    let figures = Figures::of(&said)?;
    let mut measured = Vec::new();
    for found in FOUND {
        measured.push(figures.found(found)?);
    }
    measured.push(figures.outage()?);
    measured.push(figures.wrong()?);
    measured.push(figures.cost()?);
    Ok(measured)
}

impl Figures {
    fn of(said: &str) -> Result<Self, Failure> {
        let mut rows = HashMap::new();
        for line in said.lines() {
            let (name, figures) = line.split_once('\t').ok_or("a line of the example has no figures")?;
            let mut row = HashMap::new();
            for figure in figures.split('\t') {
                let (key, value) = figure.split_once('=').ok_or("a figure of the example has no value")?;
                row.insert(key.to_owned(), value.parse()?);
            }
            rows.insert(name.to_owned(), row);
        }
        Ok(Self(rows))
    }

    fn get(&self, row: &str, key: &str) -> Result<f64, Failure> {
        let value = self.0.get(row).and_then(|row| row.get(key));
        Ok(*value.ok_or_else(|| format!("the example did not say `{key}` of `{row}`"))?)
    }

    fn found(&self, found: &Found) -> Result<Measured, Failure> {
        let [median, p95, back] =
            [self.get(found.row, "median")?, self.get(found.row, "p95")?, self.get(found.row, "back")?];
        Ok(Measured {
            number: found.number,
            promised: found.promised,
            value: format!("{median:.0} s, {p95:.0} s after the cold start; {back} % taken back"),
            kept: Some(median <= found.median_s && p95 <= found.p95_s),
        })
    }

    fn outage(&self) -> Result<Measured, Failure> {
        let [median, p95] = [self.get("outage", "median")?, self.get("outage", "p95")?];
        let [failed, most] = [self.get("outage", "failed_median")?, self.get("outage", "failed_p95")?];
        Ok(Measured {
            number: "a release that fails altogether is taken back (median, p95, from its first request)",
            promised: "≤ 2 s, ≤ 10 failed requests",
            value: format!("{median:.2} s, {p95:.2} s; {failed:.0}, {most:.0} failed"),
            kept: Some(p95 <= 2.0 && most <= 10.0),
        })
    }

    fn wrong(&self) -> Result<Measured, Failure> {
        let [harsh, hardly, unknown, calm] = [
            self.get("equal, harsh", "back")?,
            self.get("equal, harsh, hardly known", "back")?,
            self.get("equal, harsh, unknown", "back")?,
            self.get("equal", "back")?,
        ];
        let kept = self.get("equal", "kept_median")?;
        Ok(Measured {
            number: "equal releases that are taken back, under harsh noise",
            promised: "≤ 1 %",
            value: format!(
                "{harsh} % ({hardly} % after two hours of learning, {unknown} % by the usual noise); without noise {calm} %, kept after {kept:.0} s"
            ),
            kept: Some([harsh, hardly, unknown].iter().all(|share| *share <= 1.0)),
        })
    }

    fn cost(&self) -> Result<Measured, Failure> {
        Ok(Measured {
            number: "processor time of one look at both releases",
            promised: "",
            value: format!("{:.1} µs", self.get("cost", "nanoseconds")? / 1e3),
            kept: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_row_and_key() {
        let figures = Figures::of("outage\tmedian=1\tp95=inf\ncost\tnanoseconds=4400\n").expect("valid");
        assert_eq!(figures.get("outage", "p95").expect("it is there"), f64::INFINITY);
        assert!(figures.get("outage", "back").is_err());
        assert_eq!(figures.cost().expect("it is there").value, "4.4 µs");
        assert!(Figures::of("outage").is_err());
    }
}
