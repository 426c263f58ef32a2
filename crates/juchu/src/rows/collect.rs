//! From the files of instances into the store: each line once, stack traces as one row.

use host::{OutputChanges, OutputLine, OutputReader};
use observe::logs::parse::{Joined, Joiner, level};
use observe::logs::{Logs, Row, Stream};
use run::engine::LogStream;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Read of one instance before it is another one's turn.
const TURN_BYTES: u64 = 4 << 20;
/// The rest of a stack trace is waited for so long.
const JOIN_WAIT: Duration = Duration::from_secs(1);

/// Reads the output of all instances below a directory of the engine.
pub struct Collector {
    state: PathBuf,
    instances: BTreeMap<String, Instance>,
    /// Without it output is looked for each time.
    changes: Option<OutputChanges>,
}

/// What is left after a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing until something is written.
    Nothing,
    /// Rows that may have a rest, which is waited for.
    Held,
    /// More that is there already.
    More,
}

struct Instance {
    directory: PathBuf,
    reader: OutputReader,
    /// Its directory is watched.
    is_heard: bool,
    /// `stdout`, then `stderr`.
    outputs: [Output; 2],
    is_gone: bool,
}

struct Output {
    stream: Stream,
    cursor: String,
    joiner: Joiner<(i64, String)>,
    held_since: Option<Instant>,
    ready: Vec<Joined<(i64, String)>>,
}

impl Collector {
    pub fn new(state: PathBuf) -> Self {
        Self { state, instances: BTreeMap::new(), changes: OutputChanges::new().ok() }
    }

    /// Reads what is new.
    pub fn read(&mut self, logs: &Logs, looks_around: bool) -> Left {
        if looks_around {
            self.look_around(logs);
        }
        let (mut is_behind, mut is_held) = (false, false);
        self.instances.retain(|_, instance| {
            let has_more = instance.read(logs);
            is_behind |= has_more;
            let ends = instance.is_gone && !has_more;
            if ends {
                instance.end(logs);
            }
            is_held |= instance.outputs.iter().any(|output| output.held_since.is_some());
            !ends
        });
        match (is_behind, is_held) {
            (true, _) => Left::More,
            (false, true) => Left::Held,
            (false, false) => Left::Nothing,
        }
    }

    /// Waits until something was written, at least for `often` and at most for `seldom`.
    pub fn wait(&self, often: Duration, seldom: Duration) {
        std::thread::sleep(often);
        let are_all_heard = self.instances.values().all(|instance| instance.is_heard);
        if let Some(changes) = self.changes.as_ref().filter(|_| are_all_heard) {
            changes.wait(seldom.saturating_sub(often));
        }
    }

    fn look_around(&mut self, logs: &Logs) {
        let present = host::instance_ids(&self.state);
        for id in &present {
            if !self.instances.contains_key(id) {
                self.instances.extend(Instance::open(&self.state, id, logs).map(|found| (id.clone(), found)));
            }
        }
        for (id, instance) in &mut self.instances {
            instance.is_gone = !present.contains(id);
            if !instance.is_heard
                && let Some(changes) = &self.changes
            {
                instance.is_heard = changes.watch(&instance.directory).is_ok();
            }
        }
        // Of instances that went while nobody looked.
        for cursor in logs.cursor_names() {
            let id = cursor.split('/').next().unwrap_or_default();
            if !self.instances.contains_key(id) && !present.iter().any(|one| one == id) {
                logs.forget_cursor(&cursor);
            }
        }
    }
}

impl Instance {
    /// `None` while it is not written down yet; it is looked at again.
    fn open(state: &Path, id: &str, logs: &Logs) -> Option<Self> {
        let spec = host::instance_spec(state, id)?;
        let output = |source: &str| {
            let name = format!("{}-{}", spec.service, spec.slot);
            let stream = Stream::new(spec.stack.as_str(), spec.service.as_str(), &name, source);
            let cursor = format!("{id}/{source}");
            Output { stream, cursor, joiner: Joiner::default(), held_since: None, ready: Vec::new() }
        };
        let outputs = ["stdout", "stderr"].map(output);
        let places = [&outputs[0], &outputs[1]].map(|output| logs.cursor(&output.cursor));
        let directory = host::instance_directory(state, &spec.id).join("log");
        let reader = OutputReader::resume(&directory, [places[0].as_deref(), places[1].as_deref()]);
        Some(Self { directory, reader, is_heard: false, outputs, is_gone: false })
    }

    fn read(&mut self, logs: &Logs) -> bool {
        let Self { reader, outputs, .. } = self;
        let read = reader.read(TURN_BYTES, &mut |line| {
            outputs[usize::from(line.stream == LogStream::Stderr)].take(line);
        });
        for output in outputs {
            output.hand_over(logs, JOIN_WAIT);
        }
        // What cannot be read now is tried again at the next turn.
        read.unwrap_or(false)
    }

    /// Its files are gone: nothing more comes.
    fn end(&mut self, logs: &Logs) {
        for output in &mut self.outputs {
            output.hand_over(logs, Duration::ZERO);
            logs.forget_cursor(&output.cursor);
        }
    }
}

impl Output {
    fn take(&mut self, line: OutputLine) {
        let Self { joiner, ready, .. } = self;
        joiner.push((line.time_ns, line.place), &line.text, |row| ready.push(row));
        self.held_since = self.joiner.held().map(|_| Instant::now());
    }

    fn hand_over(&mut self, logs: &Logs, wait: Duration) {
        if self.held_since.is_some_and(|since| since.elapsed() >= wait) {
            let Self { joiner, ready, .. } = self;
            joiner.flush(|row| ready.push(row));
            self.held_since = None;
        }
        let Some(last) = self.ready.last() else { return };
        let place = last.last.1.clone();
        let rows: Vec<Row<'_>> = self
            .ready
            .iter()
            .map(|row| Row { time_ns: row.first.0, level: level(&row.text), text: &row.text })
            .collect();
        // Rows of streams beyond the limit are counted in the status of the store.
        let _ = logs.append(&self.stream, &rows, Some((&self.cursor, &place)));
        self.ready.clear();
    }
}
