//! The example as a whole: doing nothing, changing one file, being idle.

use super::harness::{Contender, compare, interleave, milliseconds};
use super::home::{Home, free_port, page, time_until};
use super::{Bench, Measured, Options};
use crate::Failure;
use std::path::Path;
use std::time::{Duration, Instant};

pub const BENCH: Bench =
    Bench { name: "stack", about: "the example: nothing changed, one file changed, idle", run: measure };

const ROUNDS: usize = 7;
/// How long the idle share of the processor is watched.
const IDLE: Duration = Duration::from_secs(20);

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    let home = Home::new("bench")?;
    let port = free_port()?;
    let place = home.example(port)?;
    home.must(&place, &["up", "-d"])?;
    Ok(vec![nothing(&home, &place)?, edit(&home, &place, port)?]
        .into_iter()
        .chain(idle(&home, &place)?)
        .collect())
}

fn nothing(home: &Home, place: &Path) -> Result<Measured, Failure> {
    let up = Contender::new("up, nothing changed", || home.must(place, &["up", "-d"]).map(drop));
    let series = interleave(2, ROUNDS, vec![up])?;
    eprint!("{}", compare(&series).to_text());
    let took = series[0].wall_median();
    Ok(Measured {
        number: "`juchu up` again, nothing changed",
        promised: "≤ 300 ms",
        value: milliseconds(took),
        kept: Some(took <= Duration::from_millis(300)),
    })
}

/// From the command to the first page of the new version; the application's own start, measured
/// by a restart of its interpreter and imports, is taken off.
fn edit(home: &Home, place: &Path, port: u16) -> Result<Measured, Failure> {
    let source = place.join("web/page.html");
    let original = std::fs::read_to_string(&source)?;
    let own_start = own_start(home, place)?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let mark = format!("edited-{round}");
        std::fs::write(&source, original.replace("</body>", &format!("<!-- {mark} --></body>")))?;
        let begun = Instant::now();
        let mut deploying = home.command(place, &["deploy", "web"]).spawn()?;
        time_until("the new version", || page(port, "/").is_some_and(|body| body.contains(&mark)))?;
        times.push(begun.elapsed());
        if !deploying.wait()?.success() {
            return Err("the deploy failed".into());
        }
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    eprintln!(
        "edit to serving {}, of which the application's own start {}",
        milliseconds(median),
        milliseconds(own_start)
    );
    let took = median.saturating_sub(own_start);
    Ok(Measured {
        number: "one source file of a native Python service edited, new version serving, without the application's own start",
        promised: "≤ 3 s",
        value: format!("{} (and {} of its own)", milliseconds(took), milliseconds(own_start)),
        kept: Some(took <= Duration::from_secs(3)),
    })
}

/// What its imports take beyond a bare interpreter; the start of that is left in the figure.
fn own_start(home: &Home, place: &Path) -> Result<Duration, Failure> {
    let import: &[&str] = &["exec", "-T", "web", "python3", "-c", "import app"];
    let nothing: &[&str] = &["exec", "-T", "web", "python3", "-S", "-c", "pass"];
    let series = interleave(
        1,
        5,
        vec![
            Contender::new("exec, import the application", || home.must(place, import).map(drop)),
            Contender::new("exec, a bare interpreter", || home.must(place, nothing).map(drop)),
        ],
    )?;
    eprint!("{}", compare(&series).to_text());
    Ok(series[0].wall_median().saturating_sub(series[1].wall_median()))
}

fn idle(home: &Home, place: &Path) -> Result<Vec<Measured>, Failure> {
    let pids = home.control_processes()?;
    // What the last deploy left to do is over when nothing is read any more.
    std::thread::sleep(Duration::from_secs(15));
    let before = processor_time(&pids)?;
    let begun = Instant::now();
    std::thread::sleep(IDLE);
    let share = (processor_time(&pids)? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let resident: u64 =
        pids.iter().map(|pid| memory(*pid, "status", "VmRSS:")).sum::<Result<u64, Failure>>()?;
    let shims = shims(home, place)?;
    let largest =
        shims.iter().map(|pid| memory(*pid, "smaps_rollup", "Pss:")).collect::<Result<Vec<_>, _>>()?;
    let largest = largest.into_iter().max().ok_or("no shim runs")?;
    Ok(vec![
        Measured {
            number: "daemon and gateway idle with the example running, memory",
            promised: "≤ 40 MB",
            value: format!("{:.1} MB", resident as f64 / 1024.0),
            kept: Some(resident <= 40 * 1024),
        },
        Measured {
            number: "daemon and gateway idle with the example running, share of one core",
            promised: "< 0.5 %",
            value: format!("{share:.2} %"),
            kept: Some(share < 0.5),
        },
        Measured {
            number: "one shim, proportional memory",
            promised: "≤ 1 MB",
            value: format!("{:.2} MB", largest as f64 / 1024.0),
            kept: Some(largest <= 1024),
        },
    ])
}

/// Seconds of processor time that these processes have used.
pub fn processor_time(pids: &[u32]) -> Result<f64, Failure> {
    let mut total = 0.0;
    for pid in pids {
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds: f64 = text.split_whitespace().next().ok_or("an empty schedstat")?.parse()?;
            total += nanoseconds / 1e9;
        }
    }
    Ok(total)
}

/// A field of a file of `/proc`, in KiB.
pub fn memory(pid: u32, file: &str, field: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("the field is not there")?;
    Ok(line.split_whitespace().next().ok_or("the field is empty")?.parse()?)
}

/// The supervisors of the example's instances: the parents of their first processes.
fn shims(home: &Home, place: &Path) -> Result<Vec<u32>, Failure> {
    let status: serde_json::Value = serde_json::from_str(&home.must(place, &["ps", "--json"])?)?;
    let services = status["services"].as_array().into_iter().flatten();
    let instances = services.flat_map(|s| s["instances"].as_array().into_iter().flatten());
    instances.filter_map(|i| i["pid"].as_u64()).map(parent).collect()
}

fn parent(pid: u64) -> Result<u32, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:")).ok_or("no parent is named")?;
    Ok(line.trim().parse()?)
}
