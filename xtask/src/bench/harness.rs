//! Runs contenders in turns and measures each: wall time, and processor time of this process and
//! of the children it waited for.
//!
//! Rounds are interleaved (A B C, A B C, …), so that a machine that slows down slows all of them;
//! medians are compared, because a few rounds always meet something else.

use super::table::Table;
use crate::Failure;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Something that is run again and again.
pub struct Contender<'a> {
    name: String,
    /// Done before each run, and not measured.
    prepare: Option<Box<dyn FnMut() -> Result<(), Failure> + 'a>>,
    run: Box<dyn FnMut() -> Result<(), Failure> + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<(), Failure> + 'a) -> Self {
        Self { name: name.into(), prepare: None, run: Box::new(run) }
    }

    /// The same with something that is done before each run and not measured.
    pub fn prepared(self, prepare: impl FnMut() -> Result<(), Failure> + 'a) -> Self {
        Self { prepare: Some(Box::new(prepare)), ..self }
    }

    /// A program with its arguments, run with no input and its output thrown away; anything but
    /// success ends the bench.
    pub fn command(name: impl Into<String>, program: &'a str, arguments: &'a [&'a str]) -> Self {
        Self::new(name, move || {
            let output = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .map_err(|e| format!("{program}: {e}"))?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{program} {}`: {}: {}", arguments.join(" "), output.status, said.trim()).into())
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub wall: Duration,
    /// User and system time, of this process and of its ended children.
    pub cpu: Duration,
}

/// What one contender took, round by round.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub samples: Vec<Sample>,
}

/// Runs `warmups` rounds that do not count and `rounds` that do.
pub fn interleave(
    warmups: usize,
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Vec<Series>, Failure> {
    assert!(rounds > 0, "a median needs at least one round");
    let mut series: Vec<Series> =
        contenders.iter().map(|c| Series { name: c.name.clone(), samples: Vec::new() }).collect();
    for round in 0..warmups + rounds {
        for (contender, series) in contenders.iter_mut().zip(&mut series) {
            if let Some(prepare) = &mut contender.prepare {
                prepare()?;
            }
            let sample = measure(&mut contender.run)?;
            if round >= warmups {
                series.samples.push(sample);
            }
        }
    }
    Ok(series)
}

fn measure(run: &mut dyn FnMut() -> Result<(), Failure>) -> Result<Sample, Failure> {
    let cpu = cpu_time();
    let start = Instant::now();
    run()?;
    let wall = start.elapsed();
    Ok(Sample { wall, cpu: cpu_time().saturating_sub(cpu) })
}

/// Processor time used so far by this process and the children it waited for.
fn cpu_time() -> Duration {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].into_iter().map(usage).sum()
}

fn usage(of: libc::c_int) -> Duration {
    // SAFETY: rusage is plain integers, for which zeros are valid, and lives during the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(of, &raw mut usage), 0, "the arguments are valid");
        usage
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs()) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

impl Series {
    pub fn wall_median(&self) -> Duration {
        quantile(self.samples.iter().map(|s| s.wall), 0.5)
    }
    /// The time that so large a share of the rounds stayed below.
    pub fn wall_quantile(&self, share: f64) -> Duration {
        quantile(self.samples.iter().map(|s| s.wall), share)
    }
    pub fn cpu_median(&self) -> Duration {
        quantile(self.samples.iter().map(|s| s.cpu), 0.5)
    }
    /// Our median over that of `other`.
    pub fn ratio(&self, other: &Series) -> f64 {
        self.wall_median().as_secs_f64() / other.wall_median().as_secs_f64()
    }
}

/// The middle one; not a number when there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn quantile(values: impl Iterator<Item = Duration>, share: f64) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// A table of all series; the ratio is to the first.
pub fn compare(series: &[Series]) -> Table {
    let mut table = Table::new(&["", "rounds", "median", "p10", "p90", "cpu", "ratio"]);
    for one in series {
        table.row([
            one.name.clone(),
            one.samples.len().to_string(),
            milliseconds(one.wall_median()),
            milliseconds(one.wall_quantile(0.1)),
            milliseconds(one.wall_quantile(0.9)),
            milliseconds(one.cpu_median()),
            series.first().map_or(String::new(), |first| format!("{:.2}", one.ratio(first))),
        ]);
    }
    table
}

/// `0.42 ms`, `17.3 ms`, `2100 ms`: three digits that mean something.
pub fn milliseconds(duration: Duration) -> String {
    match duration.as_secs_f64() * 1e3 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn rounds_are_interleaved_and_warmups_do_not_count() {
        let order = RefCell::new(String::new());
        let say = |letter: char| {
            let order = &order;
            Contender::new(letter, move || {
                order.borrow_mut().push(letter);
                Ok(())
            })
        };
        let series = interleave(1, 2, vec![say('a'), say('b')]).expect("no failure");
        assert_eq!(*order.borrow(), "ababab");
        assert_eq!(series.iter().map(|s| s.samples.len()).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn the_time_of_a_child_is_counted() {
        // Counts to a million in a program of its own.
        let counting = ["-e", "BEGIN { for (i = 0; i < 3000000; i++) n += i; exit n < 0 }"];
        let awk: Vec<&str> = counting[1..].to_vec();
        let series = interleave(0, 3, vec![Contender::command("awk", "awk", &awk)]).expect("awk");
        assert!(series[0].cpu_median() > Duration::from_millis(5), "{:?}", series[0].samples);
        assert!(series[0].wall_median() >= series[0].cpu_median() / 2);
    }

    #[test]
    fn a_failing_program_ends_the_bench_with_what_it_said() {
        let failing = Contender::command("ls", "ls", &["/no/such/directory"]);
        let failure = interleave(0, 1, vec![failing]).expect_err("it fails");
        assert!(failure.to_string().contains("/no/such/directory"), "{failure}");
    }

    #[test]
    fn quantiles_are_samples() {
        let of = |share| quantile([5, 1, 4, 2, 3].into_iter().map(Duration::from_millis), share).as_millis();
        assert_eq!([of(0.0), of(0.5), of(0.9), of(1.0)], [1, 3, 5, 5]);
    }
}
