//! `load FILE ROUNDS`: parses and resolves a Compose file once, and so many rounds more; prints the
//! median of these in µs, and the most memory the process had in KiB.

use compose::{Files, Input};
use std::path::{Path, PathBuf};
use std::time::Instant;

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }
    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

fn once(file: &Path) -> usize {
    let directory = file.parent().expect("a file is in a directory").to_owned();
    let input = Input { files: vec![file.to_owned()], directory, ..Input::default() };
    let loaded = compose::load(&input, &Disk);
    let errors = loaded.diagnostics.iter().filter(|d| d.is_error()).count();
    assert_eq!(errors, 0, "{:?}", loaded.diagnostics.first());
    loaded.stack.expect("a file that can be run").services.len()
}

/// The high-water mark of this process.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high-water mark");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, rounds] = &arguments[..] else { panic!("load FILE ROUNDS") };
    let file = std::path::absolute(PathBuf::from(file)).expect("a path");
    let rounds: usize = rounds.parse().expect("a number of rounds");
    let services = once(&file);
    let mut times: Vec<u128> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(once(&file), services);
            start.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    let median = times.get(rounds / 2).copied().unwrap_or_default();
    println!("{services} services: {median} µs, {} KiB", memory_kib());
}
