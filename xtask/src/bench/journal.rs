//! What one entry of the journal costs, alone and among others.

use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, workspace};

pub const BENCH: Bench =
    Bench { name: "journal", about: "appending to the journal, durable when it returns", run: measure };

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "store", "--bin", "journal-probe"])?;
    let directory = scratch()?;
    let path = directory.join("journal.db");
    let probe = root.join("target/release/journal-probe");
    let said = read(&root, &probe.to_string_lossy(), &["bench", &path.to_string_lossy()]);
    std::fs::remove_dir_all(&directory)?;
    let said = said?;
    eprint!("{said}");
    parse(&said)
}

/// On the disk where builds go, not on a temporary file system in memory.
fn scratch() -> Result<std::path::PathBuf, Failure> {
    let directory = workspace::root().join(format!("target/bench-journal-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Lines such as `8 writers: 6691 appends/s, median 1.147 ms, p99 2.808 ms, 4.0 appends per commit`.
fn parse(said: &str) -> Result<Vec<Measured>, Failure> {
    let field = |writers: &str, unit: &str| -> Result<f64, Failure> {
        let line = said.lines().find(|l| l.trim_start().starts_with(&format!("{writers} writers:")));
        let part = line.and_then(|l| l.split([',', ':']).find(|part| part.contains(unit)));
        let number = part.and_then(|p| p.split_whitespace().find_map(|word| word.parse().ok()));
        number.ok_or_else(|| format!("the probe did not say `{unit}` for {writers} writers").into())
    };
    let alone = field("1", "median")?;
    let together = field("64", "appends/s")? / field("1", "appends/s")?;
    Ok(vec![
        Measured {
            number: "one entry of the journal, on disk",
            promised: "≤ 5 ms",
            value: format!("{alone:.2} ms"),
            kept: Some(alone <= 5.0),
        },
        Measured {
            number: "64 writers over one, entries per second",
            promised: "≥ 3×",
            value: format!("{together:.1}×"),
            kept: Some(together >= 3.0),
        },
    ])
}
