//! One container from nothing to running, and the whole cycle beside Debian's runc.

use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, workspace};

pub const BENCH: Bench = Bench {
    name: "container",
    about: "one container, and its cycle beside Debian's runc (root)",
    run: measure,
};

const ROUNDS: &str = "60";

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    crate::packages::provide()?;
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "host", "--example", "measure"])?;
    let program = root.join("target/release/examples/measure");
    let said = read(&root, &program.to_string_lossy(), &[ROUNDS])?;
    eprint!("{said}");
    let bare = figure(&said, "created to running, no network:", "median")?;
    let linked = figure(&said, "created to running, network and names:", "median")?;
    let ratio = figure(&said, "ratio create+start+delete:", "delete:")?;
    Ok(vec![
        Measured {
            number: "one container, created to running",
            promised: "≤ 20 ms",
            value: format!("{bare:.1} ms"),
            kept: Some(bare <= 20.0),
        },
        Measured {
            number: "the same with network and names",
            promised: "≤ 35 ms",
            value: format!("{linked:.1} ms"),
            kept: Some(linked <= 35.0),
        },
        Measured {
            number: "create-to-delete cycle, over Debian's runc on the same root file system",
            promised: "≤ 0.7×",
            value: format!("{ratio:.2}×"),
            kept: Some(ratio <= 0.7),
        },
    ])
}

/// The number after `word` in the line that begins with `start`.
fn figure(said: &str, start: &str, word: &str) -> Result<f64, Failure> {
    let line = said.lines().find(|line| line.starts_with(start));
    let after = line.and_then(|line| line.split(word).nth(1));
    let number = after.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("the example did not say `{start}`").into())
}
