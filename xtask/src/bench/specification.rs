//! The table of promised numbers in SPECIFICATION.md: finding a row, putting a figure into it.

use super::Measured;
use crate::{Failure, Outcome, process, workspace};

/// Puts a figure, the day and the machine into the row that names this number and this bench.
pub fn write(bench: &str, measured: &Measured) -> Outcome {
    let path = workspace::root().join("SPECIFICATION.md");
    let text = std::fs::read_to_string(&path)?;
    let updated = update(&text, bench, measured, &day_and_machine()?)?;
    std::fs::write(&path, updated)?;
    Ok(())
}

/// Columns: number | promised | measured | date, machine | shown by.
fn update(text: &str, bench: &str, measured: &Measured, place: &str) -> Result<String, Failure> {
    let shown_by = format!("`cargo xtask bench {bench}`");
    let mut found = false;
    let lines = text.lines().map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", number, promised, _, _, shown, ""] if number == measured.number && shown == shown_by => {
                found = true;
                format!("| {number} | {promised} | {} | {place} | {shown} |", measured.value)
            }
            _ => line.to_owned(),
        }
    });
    let updated: Vec<String> = lines.collect();
    if !found {
        return Err(format!("SPECIFICATION.md has no row `{}` shown by {shown_by}", measured.number).into());
    }
    Ok(updated.join("\n") + "\n")
}

fn day_and_machine() -> Result<String, Failure> {
    let root = workspace::root();
    let day = process::read(&root, "date", &["-u", "+%Y-%m-%d"])?;
    let kernel = process::read(&root, "uname", &["-srm"])?;
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{}, {cores} cores, {}", day.trim(), kernel.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
| number | promised | measured | date, machine | shown by |
| --- | --- | --- | --- | --- |
| start | ≤ 20 ms |  |  | `cargo xtask bench start` |
| start | ≤ 20 ms |  |  | `cargo xtask bench other` |
";

    fn measured(number: &'static str) -> Measured {
        Measured { number, promised: "≤ 20 ms", value: "17 ms".into(), kept: Some(true) }
    }

    #[test]
    fn a_figure_goes_into_its_own_row() {
        let updated = update(TEXT, "start", &measured("start"), "today").expect("the row");
        let expect = "| start | ≤ 20 ms | 17 ms | today | `cargo xtask bench start` |";
        assert_eq!(
            updated,
            TEXT.replacen("| start | ≤ 20 ms |  |  | `cargo xtask bench start` |", expect, 1)
        );
    }

    #[test]
    fn a_number_without_a_row_is_refused() {
        let failure = update(TEXT, "start", &measured("stop"), "today").expect_err("no row");
        assert!(failure.to_string().contains("no row `stop`"), "{failure}");
    }
}
