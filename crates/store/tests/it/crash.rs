//! `kill -9` in the middle of concurrent appends: what was acknowledged is there, and it verifies.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use store::{HistoryQuery, Ledger as _, SqliteLedger};

const KILLS: u64 = 20;

/// Ends the child even when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Appends in a process of its own until `acknowledged` lines came and `more` time went by, then
/// kills it. Returns every `SEQ HASH` it was able to say.
fn append_and_kill(path: &Path, acknowledged: u64, more: Duration) -> Vec<(u64, String)> {
    let child = Command::new(env!("CARGO_BIN_EXE_journal-probe"))
        .args(["append".as_ref(), path.as_os_str(), "4".as_ref()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the probe");
    let mut child = Killed(child);
    let lines = reading(child.0.stdout.take().expect("piped"));
    let mut said: Vec<String> = lines.iter().take(acknowledged as usize).collect();
    assert_eq!(said.len() as u64, acknowledged, "the probe ended by itself");
    while let Ok(line) = lines.recv_timeout(more) {
        said.push(line);
        if said.len() as u64 > acknowledged + 3 {
            break;
        }
    }
    drop(child);
    said.extend(lines.iter());
    said.iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(s, h)| (s.parse().expect("seq"), h.into()))
        .collect()
}

/// Whole lines only: the last one may have been cut by the kill.
fn reading(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
            if sender.send(line.trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.db");
    let mut acknowledged = HashMap::new();
    let mut random: u64 = u64::from(std::process::id()) | 1;
    for round in 0..KILLS {
        // Moments differ by how much was written and by some microseconds after that.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let more = Duration::from_micros(random >> 52);
        acknowledged.extend(append_and_kill(&path, 1 + (random >> 33) % 120, more));

        let ledger = SqliteLedger::open(&path).expect("the lock went with the process");
        let report = ledger.verify().expect("a report");
        assert!(report.is_whole(), "kill {round}: {report:?}");
        let query = HistoryQuery { limit: usize::MAX, ..Default::default() };
        let there: HashMap<u64, String> =
            ledger.history(&query).expect("history").into_iter().map(|e| (e.seq, e.hash.into())).collect();
        for (seq, hash) in &acknowledged {
            assert_eq!(there.get(seq), Some(hash), "kill {round}: entry {seq} was acknowledged");
        }
    }
}
