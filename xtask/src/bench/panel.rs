//! The console's first page in a browser that has never seen it: how large, and how soon there.

use super::harness::milliseconds;
use super::home::Home;
use super::{Bench, Measured, Options};
use crate::Failure;
use crate::browser::Browser;
use std::path::PathBuf;
use std::time::Duration;

pub const BENCH: Bench = Bench { name: "panel", about: "the console's first page in headless Chromium", run };

const ROUNDS: usize = 15;
/// How long is measured before anybody looks, so that the small charts have something to show.
const BEFORE: Duration = Duration::from_secs(75);
/// What the page and all it needs took: bytes on the wire, and milliseconds to the end of loading.
const TOOK: &str = "(() => { const n = performance.getEntriesByType('navigation')[0]; \
    return [n.transferSize + performance.getEntriesByType('resource').reduce((s, r) => s + r.transferSize, 0), \
    n.loadEventEnd, document.querySelectorAll('#nodes tbody tr').length]; })()";

fn run(options: &Options) -> Result<Vec<Measured>, Failure> {
    let home = match &options.program {
        Some(program) => Home::of(PathBuf::from(program), "panel")?,
        None => Home::new("panel")?,
    };
    let place = home.example(super::home::free_port()?)?;
    home.must(&place, &["up"])?;
    std::thread::sleep(BEFORE);
    let link = home.must(&place, &["console"])?;
    let link = link.split_whitespace().find(|word| word.contains("/enter/")).ok_or("no link")?.to_owned();
    let base = link.split("/enter/").next().unwrap_or_default().to_owned();
    let mut browser = Browser::start()?;
    browser.open(&link, "location.pathname === '/'")?;
    let (mut bytes, mut times) = (0, Vec::new());
    for _ in 0..ROUNDS {
        browser.call("Network.clearBrowserCache", serde_json::json!({}))?;
        browser
            .open(&format!("{base}/"), "performance.getEntriesByType('navigation')[0].loadEventEnd > 0")?;
        let took = browser.value(TOOK)?;
        if took[2].as_u64().unwrap_or_default() == 0 {
            return Err("the panel shows no node".into());
        }
        bytes = bytes.max(took[0].as_u64().unwrap_or_default());
        times.push(took[1].as_f64().unwrap_or(f64::INFINITY));
    }
    times.sort_by(f64::total_cmp);
    let [median, slowest] =
        [times[ROUNDS / 2], times[ROUNDS - 1]].map(|ms| Duration::from_secs_f64(ms / 1e3));
    Ok(vec![
        Measured {
            number: "main panel, everything over the wire",
            promised: "≤ 35 kB",
            value: format!("{:.1} kB", bytes as f64 / 1e3),
            kept: Some(bytes <= 35_000),
        },
        Measured {
            number: "main panel, whole page in Chromium",
            promised: "≤ 0.8 s",
            value: format!("{}, slowest {}", milliseconds(median), milliseconds(slowest)),
            kept: Some(slowest <= Duration::from_millis(800)),
        },
    ])
}
