//! Keeps measurements in a process of its own until it is killed, for tests of what is left then.
//!
//! `metrics-probe DIRECTORY SERIES` ticks as fast as it can, a second of samples each time, and says
//! after each sync the time of the last tick that must not be lost.

use observe::keep::{Ends, Kind, Metrics, Settings};
use observe::{Labels, NAME};
use std::io::Write;

/// When its time begins.
const START_MS: i64 = 1_790_000_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(series)) = (arguments.next(), arguments.next()) else {
        return Err("usage: metrics-probe DIRECTORY SERIES".into());
    };
    let metrics = Metrics::open(directory.as_ref(), Settings::default(), START_MS)?;
    let labels = |index: usize| Labels::new([(NAME, "probe".to_owned()), ("index", index.to_string())]);
    let count: usize = series.parse()?;
    let mut out = std::io::stdout().lock();
    for tick in 0i64.. {
        let now = START_MS + tick * 1000;
        let target = metrics.target("probe", Ends::WhenMissing)?;
        let ids = (0..count).map(|index| metrics.series(target, &labels(index), Kind::Gauge));
        let values: Result<Vec<_>, _> =
            ids.map(|id| Ok::<_, observe::keep::Refused>((id?, tick as f64))).collect();
        metrics.tick(target, now, &values?)?;
        if tick % 10 == 9 {
            metrics.sync()?;
            writeln!(out, "{now}")?;
            out.flush()?;
            metrics.maintain(now);
        }
    }
    Ok(())
}
