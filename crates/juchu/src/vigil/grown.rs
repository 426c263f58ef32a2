//! A log of what was learned since all of it was written: a line for each signal each minute, so that
//! a daemon that is killed loses a minute and no second is spent on writing what stays as it is.

use serde::{Deserialize, Serialize};
use signals::range::Grown;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

const FORM: u32 = 1;

#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    generation: u64,
    /// None until all was written once by this daemon.
    file: Option<File>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    form: u32,
    generation: u64,
}

/// What came to one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Signal {
        name: String,
        grown: Grown,
    },
    /// Requests of a minute, and those that broke a promise.
    Burn {
        name: String,
        at_ms: i64,
        all: f64,
        bad: f64,
    },
}

impl Log {
    pub const fn new(path: PathBuf) -> Self {
        Self { path, generation: 0, file: None }
    }

    pub const fn next_generation(&self) -> u64 {
        self.generation + 1
    }

    /// Gives what was added to this generation, up to the first line that is not whole.
    pub fn read(&mut self, generation: u64, mut take: impl FnMut(Line)) {
        self.generation = generation;
        let Ok(file) = File::open(&self.path) else { return };
        let mut lines = BufReader::new(file).lines().map_while(Result::ok);
        let head = lines.next().and_then(|line| serde_json::from_str::<Head>(&line).ok());
        if head.is_none_or(|head| (head.form, head.generation) != (FORM, generation)) {
            return;
        }
        for line in lines.map_while(|line| serde_json::from_str(&line).ok()) {
            take(line);
        }
    }

    /// An empty log of this generation.
    pub fn begin(&mut self, generation: u64) -> io::Result<()> {
        self.file = None;
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all(&text(&Head { form: FORM, generation })?)?;
        (self.generation, self.file) = (generation, Some(file));
        Ok(())
    }

    /// On disk when this returns. After a failure all has to be written anew.
    pub fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut file = self.file.take().ok_or(io::ErrorKind::NotConnected)?;
        let mut all = Vec::new();
        for line in lines {
            all.extend(text(line)?);
        }
        file.write_all(&all)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }
}

fn text(line: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}
