//! Keeps rows in a process of its own until it is killed, for tests of what is left then.
//!
//! `rows-probe DIRECTORY` takes rows as fast as it can, ten at a time with the place of the last one, and
//! says after each sync the number of the last row that must not be lost. It goes on where it was.

use observe::logs::{Level, Limits, Logs, Row, Stream};
use std::io::Write;

/// When its time begins, and what a row takes of it.
const START_NS: i64 = 1_790_000_000_000_000_000;
const STEP_NS: i64 = 10_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(directory) = std::env::args().nth(1) else { return Err("usage: rows-probe DIRECTORY".into()) };
    let logs = Logs::open(directory.as_ref(), Limits::default(), START_NS)?;
    let stream = Stream::new("probe", "probe", "probe-1", "stdout");
    let first: i64 = logs.cursor("probe").map_or(Ok(0), |place| place.parse())?;
    let mut out = std::io::stdout().lock();
    for batch in 0.. {
        let numbers: Vec<i64> = (0..10).map(|at| first + batch * 10 + at).collect();
        let texts: Vec<String> =
            numbers.iter().map(|number| format!("number {number} {}", "x".repeat(300))).collect();
        let row = |(number, text)| Row { time_ns: START_NS + number * STEP_NS, level: Level::Info, text };
        let rows: Vec<Row<'_>> =
            numbers.iter().copied().zip(texts.iter().map(String::as_str)).map(row).collect();
        let next = first + batch * 10 + 10;
        logs.append(&stream, &rows, Some(("probe", &next.to_string())))?;
        if batch % 10 == 9 {
            logs.sync()?;
            writeln!(out, "{}", next - 1)?;
            out.flush()?;
            // Time goes by quickly here, so that there are segments.
            logs.maintain(START_NS + next * STEP_NS);
        }
    }
    Ok(())
}
