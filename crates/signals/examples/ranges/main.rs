//! Replays with seeds: false incidents of a quiet system, faults of 20 kinds, leaks, and what judging
//! costs. Prints a line `name value…` for each; `cargo xtask bench ranges` reads them.
//!
//! `cargo run --release -p signals --example ranges -- [DAYS [quiet|faults|leaks|cost]]`

mod cost;
mod faults;
mod leaks;
mod noise;
mod quiet;
mod system;

fn main() {
    let days = std::env::args().nth(1).and_then(|days| days.parse().ok()).unwrap_or(28);
    let only = std::env::args().nth(2);
    let parts: [(&str, &dyn Fn()); 4] = [
        ("quiet", &|| quiet::run(days)),
        ("faults", &faults::run),
        ("leaks", &leaks::run),
        ("cost", &cost::run),
    ];
    for (_, run) in parts.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        run();
    }
}
