//! Who came in, and who tried to: the system's records of logins, and the text log of authentication.

use super::Sink;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// One record of `utmp(5)` on 64-bit Linux.
const RECORD: usize = 384;
const TYPE_USER: i16 = 7;
/// Bytes read of one file at a time; the rest the next time.
const BYTES_MAX: usize = 1 << 20;

/// What is counted, from the start of the program on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    successes: u64,
    failures: u64,
    sudo: u64,
    sudo_failures: u64,
}

#[derive(Debug)]
pub struct Logins {
    wtmp: Followed,
    btmp: Followed,
    auth: Followed,
    sessions: PathBuf,
    counts: Counts,
    /// Whether logins have records; otherwise the text log is counted.
    has_records: bool,
}

impl Default for Logins {
    fn default() -> Self {
        let first = |paths: &[&str]| {
            paths.iter().map(PathBuf::from).find(|path| path.exists()).unwrap_or_else(|| paths[0].into())
        };
        Self::new(
            "/var/log/wtmp".into(),
            "/var/log/btmp".into(),
            first(&["/var/log/auth.log", "/var/log/secure"]),
            first(&["/run/utmp", "/var/run/utmp"]),
        )
    }
}

impl Logins {
    pub fn new(wtmp: PathBuf, btmp: PathBuf, auth: PathBuf, sessions: PathBuf) -> Self {
        let has_records = wtmp.exists() && btmp.exists();
        Self {
            wtmp: Followed::new(wtmp),
            btmp: Followed::new(btmp),
            auth: Followed::new(auth),
            sessions,
            counts: Counts::default(),
            has_records,
        }
    }

    pub fn collect(&mut self, sink: &mut dyn Sink) {
        let counts = &mut self.counts;
        self.wtmp.follow(|bytes| {
            let whole = bytes.len() / RECORD * RECORD;
            counts.successes += users(&bytes[..whole]);
            whole
        });
        self.btmp.follow(|bytes| {
            let whole = bytes.len() / RECORD * RECORD;
            counts.failures += (whole / RECORD) as u64;
            whole
        });
        let has_records = self.has_records;
        self.auth.follow(|bytes| {
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8_lossy(&bytes[..whole]);
            text.lines().for_each(|line| authentication(line, has_records, counts));
            whole
        });
        for (result, count) in [("success", counts.successes), ("failure", counts.failures)] {
            sink.counter("juchu_logins_total", &[("result", result)], count as f64);
        }
        for (result, count) in [("success", counts.sudo), ("failure", counts.sudo_failures)] {
            sink.counter("juchu_sudo_total", &[("result", result)], count as f64);
        }
        let sessions = std::fs::read(&self.sessions).map(|bytes| users(&bytes)).unwrap_or_default();
        sink.gauge("juchu_login_sessions", &[], sessions as f64);
    }
}

/// Records of people who came in.
fn users(bytes: &[u8]) -> u64 {
    let is_user = |record: &&[u8]| i16::from_le_bytes([record[0], record[1]]) == TYPE_USER;
    bytes.chunks_exact(RECORD).filter(is_user).count() as u64
}

fn authentication(line: &str, has_records: bool, counts: &mut Counts) {
    let Some((_, message)) = line.split_once(": ") else { return };
    if line.contains(" sudo: ") || line.contains(" sudo[") {
        let failed = message.contains("authentication failure") || message.contains("incorrect password");
        counts.sudo_failures += u64::from(failed);
        counts.sudo += u64::from(!failed && message.contains("COMMAND="));
    } else if !has_records && line.contains(" sshd") {
        counts.successes += u64::from(message.starts_with("Accepted "));
        counts.failures += u64::from(message.starts_with("Failed "));
    }
}

/// A file that grows, and is begun anew now and then.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    /// The file and how far it was read; unknown before it was seen first.
    place: Option<(u64, u64)>,
}

impl Followed {
    fn new(path: PathBuf) -> Self {
        // What is there already happened before.
        let place = path.metadata().ok().map(|meta| (meta.ino(), meta.len()));
        Self { path, place }
    }

    /// Hands over what is new; `take` says how much of it was whole.
    fn follow(&mut self, take: impl FnOnce(&[u8]) -> usize) {
        let Ok(file) = File::open(&self.path) else { return };
        let Ok(meta) = file.metadata() else { return };
        let from = match self.place {
            Some((inode, read)) if inode == meta.ino() && read <= meta.len() => read,
            _ => 0,
        };
        let length = (meta.len() - from).min(BYTES_MAX as u64) as usize;
        let mut taken = 0;
        if length > 0 {
            let mut bytes = vec![0; length];
            let Ok(read) = file.read_at(&mut bytes, from) else { return };
            taken = take(&bytes[..read]);
            // A line without an end in all of it is none.
            if taken == 0 && read == BYTES_MAX {
                taken = read;
            }
        }
        self.place = Some((meta.ino(), from + taken as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;
    use std::io::Write;
    use testkit::TempDir;

    fn record(kind: i16) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[..2].copy_from_slice(&kind.to_le_bytes());
        record
    }

    fn append(path: &std::path::Path, bytes: &[u8]) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn logins_are_counted_from_the_start_on() {
        let directory = TempDir::new();
        let path = |name: &str| directory.path().join(name);
        append(&path("wtmp"), &record(TYPE_USER));
        append(&path("btmp"), &record(6));
        append(&path("utmp"), &[record(2), record(TYPE_USER)].concat());
        let mut logins = Logins::new(path("wtmp"), path("btmp"), path("auth.log"), path("utmp"));
        let mut check = || shown(|sink| logins.collect(sink));
        assert!(check().starts_with("juchu_logins_total{result=\"success\"} 0\n"));
        append(&path("wtmp"), &[record(TYPE_USER), record(8), record(TYPE_USER)[..100].to_vec()].concat());
        append(&path("btmp"), &[record(6), record(6)].concat());
        append(&path("auth.log"), b"Nov 23 07:00:00 vm sudo: ada : TTY=pts/0 ; COMMAND=/bin/ls\nNov 23 07:00:01 vm sudo: pam_unix(sudo:auth): authentication failure; user=ada\nNov 23 07:00:02 vm sudo: a");
        insta::assert_snapshot!(check(), @r#"
        juchu_logins_total{result="success"} 1
        juchu_logins_total{result="failure"} 2
        juchu_sudo_total{result="success"} 1
        juchu_sudo_total{result="failure"} 1
        juchu_login_sessions 1
        "#);
        append(&path("wtmp"), &record(TYPE_USER)[100..]);
        std::fs::remove_file(path("btmp")).unwrap();
        append(&path("btmp"), &record(6));
        let text = check();
        assert!(
            text.contains("{result=\"success\"} 2\n") && text.contains("{result=\"failure\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    fn without_records_the_text_log_counts() {
        let mut counts = Counts::default();
        for line in [
            "Nov 23 07:00:00 vm sshd[12]: Accepted publickey for ada from 10.0.0.1 port 5000 ssh2",
            "Nov 23 07:00:01 vm sshd[13]: Failed password for root from 10.0.0.2 port 5001 ssh2",
            "Nov 23 07:00:01 vm cron[13]: pam_unix(cron:session): session opened",
        ] {
            authentication(line, false, &mut counts);
        }
        assert_eq!((counts.successes, counts.failures), (1, 1));
    }
}
