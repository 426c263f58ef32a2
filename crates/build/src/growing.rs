//! A file that one thread downloads while another unpacks it: the reader waits for bytes that are
//! not there yet, and reads them from the page cache. Neither holds up or remembers for the other.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How often a reader that waits looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Growing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    file: Option<Arc<File>>,
    have: u64,
    /// How often it was begun.
    beginning: u32,
    /// Whether it ended well.
    ended: Option<bool>,
}

impl Growing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// An attempt goes on from `have` bytes that are in the file already.
    pub fn begin(&self, file: File, have: u64) {
        self.change(|state| {
            // What the reader has seen of an attempt before is still in the file, unless it was begun anew.
            if have < state.have {
                state.beginning += 1;
            }
            (state.file, state.have) = (Some(Arc::new(file)), have);
        });
    }

    /// Everything before is void.
    pub fn anew(&self) {
        self.change(|state| {
            state.have = 0;
            state.beginning += 1;
        });
    }

    pub fn advance(&self, have: u64) {
        self.change(|state| state.have = have);
    }

    /// Nothing more will come.
    pub fn end(&self, well: bool) {
        self.change(|state| state.ended = state.ended.or(Some(well)));
    }

    /// Bytes that are there.
    pub fn have(&self) -> u64 {
        self.state().have
    }

    /// Whether everything came in one beginning, so that a reader saw what the file holds.
    pub fn came_at_once(&self) -> bool {
        let state = self.state();
        state.file.is_some() && state.beginning == 0
    }

    /// A reader from the first byte on. It fails when the download fails or is begun anew.
    pub fn reader<'a>(&'a self, cancel: &'a AtomicBool) -> Reader<'a> {
        Reader { growing: self, at: 0, beginning: None, cancel }
    }
}

pub struct Reader<'a> {
    growing: &'a Growing,
    at: u64,
    /// The attempt that the bytes read so far belong to.
    beginning: Option<u32>,
    cancel: &'a AtomicBool,
}

impl Reader<'_> {
    /// The file and how much of it can be read now; `None` at its end.
    fn wait(&mut self) -> io::Result<Option<(Arc<File>, u64)>> {
        let mut state = self.growing.state();
        loop {
            if self.beginning.is_some_and(|beginning| beginning != state.beginning) {
                return Err(io::Error::other("the download was begun anew"));
            }
            if let Some(file) = state.file.as_ref().filter(|_| state.have > self.at) {
                self.beginning = Some(state.beginning);
                return Ok(Some((Arc::clone(file), state.have - self.at)));
            }
            match state.ended {
                Some(true) => return Ok(None),
                Some(false) => return Err(io::Error::other("the download failed")),
                None if self.cancel.load(Ordering::Relaxed) => return Err(io::Error::other("cancelled")),
                None => {}
            }
            state = self.growing.changed.wait_timeout(state, POLL).expect("as above").0;
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((file, there)) = self.wait()? else { return Ok(0) };
        let want = buffer.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let n = file.read_at(&mut buffer[..want], self.at)?;
        if n == 0 {
            return Err(io::Error::other("the download was begun anew"));
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    static NEVER: AtomicBool = AtomicBool::new(false);

    #[test]
    fn a_reader_follows_the_writer_to_the_end() {
        let growing = Growing::default();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        std::thread::scope(|scope| {
            let read = scope.spawn(|| {
                let mut text = String::new();
                growing.reader(&NEVER).read_to_string(&mut text).map(|_| text)
            });
            growing.begin(file.try_clone().unwrap(), 3);
            for have in 4..=10_u64 {
                file.write_all(b".").unwrap();
                growing.advance(have);
            }
            growing.end(true);
            assert_eq!(read.join().unwrap().unwrap(), "abc.......");
        });
        assert_eq!(growing.have(), 10);
    }

    #[test]
    fn what_was_begun_anew_or_failed_or_stopped_is_not_read_as_whole() {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(b"abcdef").unwrap();
        let fail = |spoil: &dyn Fn(&Growing)| {
            let growing = Growing::default();
            growing.begin(file.try_clone().unwrap(), 3);
            let mut reader = growing.reader(&NEVER);
            reader.read_exact(&mut [0; 3]).unwrap();
            spoil(&growing);
            reader.read(&mut [0; 3]).unwrap_err().to_string()
        };
        assert!(fail(&|g| g.anew()).contains("anew"));
        assert!(fail(&|g| g.begin(file.try_clone().unwrap(), 0)).contains("anew"));
        assert!(fail(&|g| g.end(false)).contains("failed"));
        let (growing, stop) = (Growing::default(), AtomicBool::new(true));
        assert!(growing.reader(&stop).read(&mut [0; 3]).unwrap_err().to_string().contains("cancelled"));
    }
}
