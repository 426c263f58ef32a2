//! The one thread that writes. All calls waiting at a moment share one transaction and one fsync.

use super::blobs::{self, PruneReport};
use super::{BLOB_BYTES_MAX, DRAFTS_MAX, EVENT_BYTES_MAX, rows, sql};
use crate::concern;
use crate::fold::StackState;
use crate::ledger::{Draft, Entry, StoreError};
use crate::record::chain::Link;
use crate::record::v1::Event;
use model::{Digest, StackName, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Calls that may wait for the writer; further ones wait before they are queued.
pub const QUEUE_MAX: usize = 1024;
/// Calls that share one transaction.
const GROUP_CALLS_MAX: usize = 256;
/// Bytes of events and content after which a group takes no further call.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Counted since the journal was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls of `append` handed to the writer.
    pub calls: u64,
    /// Transactions with entries that were committed: each is one fsync.
    pub commits: u64,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    commits: AtomicU64,
}

enum Job {
    Append(Append),
    Rebuild(Reply<()>),
    Prune(usize, Reply<PruneReport>),
}

type Reply<T> = SyncSender<Result<T, StoreError>>;

/// One call of `append`, made ready by the caller's thread.
struct Append {
    at: Timestamp,
    entries: Vec<Ready>,
    bytes: usize,
    reply: Reply<Vec<Entry>>,
}

struct Ready {
    stack: Option<StackName>,
    actor: String,
    event: Event,
    body: String,
    blobs: Vec<(Digest, Vec<u8>)>,
}

pub struct Writer {
    /// `None` only while it is being dropped.
    queue: Option<SyncSender<Job>>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(path: &Path, connection: Connection) -> Result<Self, StoreError> {
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let counting = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || serve(connection, &jobs, &counting))
            .map_err(|source| StoreError::File {
                what: "start the writer of",
                path: path.to_owned(),
                source,
            })?;
        Ok(Self { queue: Some(queue), counters, thread: Some(thread) })
    }

    pub fn append(&self, at: Timestamp, drafts: Vec<Draft>) -> Result<Vec<Entry>, StoreError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        within("a call with drafts", drafts.len(), DRAFTS_MAX)?;
        let entries = drafts.into_iter().map(make_ready).collect::<Result<Vec<_>, _>>()?;
        let bytes = entries
            .iter()
            .map(|e| e.body.len() + e.blobs.iter().map(|(_, content)| content.len()).sum::<usize>())
            .sum();
        self.ask(|reply| Job::Append(Append { at, entries, bytes, reply }))
    }

    pub fn rebuild(&self) -> Result<(), StoreError> {
        self.ask(Job::Rebuild)
    }

    pub fn prune(&self, keep: usize) -> Result<PruneReport, StoreError> {
        self.ask(|reply| Job::Prune(keep, reply))
    }

    pub fn stats(&self) -> Stats {
        Stats {
            calls: self.counters.calls.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
        }
    }

    fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        let (reply, answer) = sync_channel(1);
        let job = job(reply);
        let is_append = matches!(job, Job::Append(_));
        queue.send(job).map_err(|_| StoreError::Closed)?;
        if is_append {
            self.counters.calls.fetch_add(1, Ordering::Relaxed);
        }
        answer.recv().map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was already seen by its callers as `Closed`.
            let _ = thread.join();
        }
    }
}

fn make_ready(draft: Draft) -> Result<Ready, StoreError> {
    let body =
        serde_json::to_string(&draft.event).map_err(|source| StoreError::Corrupt { seq: 0, source })?;
    within("an event", body.len(), EVENT_BYTES_MAX)?;
    let mut blobs = Vec::with_capacity(draft.blobs.len());
    for content in draft.blobs {
        within("content", content.len(), BLOB_BYTES_MAX)?;
        blobs.push((Digest::of(&content), content));
    }
    Ok(Ready { stack: draft.stack, actor: draft.actor, event: draft.event, body, blobs })
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

fn serve(mut connection: Connection, jobs: &Receiver<Job>, counters: &Counters) {
    while let Ok(first) = jobs.recv() {
        let (group, then) = gather(first, jobs);
        if !group.is_empty() {
            commit_group(&mut connection, group, counters);
        }
        // A caller that has gone away does not need its answer.
        match then {
            Some(Job::Rebuild(reply)) => drop(reply.send(rebuild(&mut connection))),
            Some(Job::Prune(keep, reply)) => drop(reply.send(blobs::prune(&mut connection, keep))),
            Some(Job::Append(_)) | None => {}
        }
    }
}

/// All appends that wait now, up to the limits, and the job of another kind that ended them.
fn gather(first: Job, jobs: &Receiver<Job>) -> (Vec<Append>, Option<Job>) {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    loop {
        match next {
            Some(Job::Append(append)) => {
                bytes += append.bytes;
                group.push(append);
            }
            other => return (group, other),
        }
        if group.len() >= GROUP_CALLS_MAX || bytes >= GROUP_BYTES_MAX {
            return (group, None);
        }
        next = jobs.try_recv().ok();
    }
}

/// When the group fails as a whole, each call is tried alone, so that one that cannot succeed
/// (content larger than the free space) does not take the others with it.
fn commit_group(connection: &mut Connection, group: Vec<Append>, counters: &Counters) {
    match write(connection, &group, counters) {
        Ok(written) => {
            for (append, entries) in group.into_iter().zip(written) {
                let _ = append.reply.send(Ok(entries));
            }
        }
        Err(error) => match <[Append; 1]>::try_from(group) {
            Ok([append]) => drop(append.reply.send(Err(error))),
            Err(group) => {
                group.into_iter().for_each(|append| commit_group(connection, vec![append], counters));
            }
        },
    }
}

/// One transaction; dropping it on the way out undoes everything.
fn write(
    connection: &mut Connection,
    group: &[Append],
    counters: &Counters,
) -> Result<Vec<Vec<Entry>>, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin an entry of the journal"))?;
    let (mut seq, mut hash) = rows::head(&transaction)?;
    let mut states = BTreeMap::new();
    let mut written = Vec::with_capacity(group.len());
    for append in group {
        let mut entries = Vec::with_capacity(append.entries.len());
        for ready in &append.entries {
            seq += 1;
            let entry = write_entry(&transaction, seq, &hash, append.at, ready)?;
            fold_in(&transaction, &mut states, &entry)?;
            hash = entry.hash.as_str().to_owned();
            entries.push(entry);
        }
        written.push(entries);
    }
    for (name, (before, after)) in &states {
        if before != after {
            rows::write_state(&transaction, name, after)?;
        }
    }
    transaction.commit().map_err(sql("commit an entry of the journal"))?;
    counters.commits.fetch_add(1, Ordering::Relaxed);
    Ok(written)
}

/// State of each stack of the group before and after it.
type States = BTreeMap<StackName, (StackState, StackState)>;

fn fold_in(connection: &Connection, states: &mut States, entry: &Entry) -> Result<(), StoreError> {
    let Some(name) = &entry.stack else { return Ok(()) };
    if !states.contains_key(name) {
        let state = rows::read_state(connection, name)?;
        states.insert(name.clone(), (state.clone(), state));
    }
    let (_, after) = states.get_mut(name).expect("it was put in above");
    *after = std::mem::take(after).apply(name, entry.seq, entry.at, &entry.actor, &entry.event);
    Ok(())
}

fn write_entry(
    connection: &Connection,
    seq: u64,
    prev: &str,
    at: Timestamp,
    ready: &Ready,
) -> Result<Entry, StoreError> {
    for (digest, content) in &ready.blobs {
        blobs::write(connection, digest, content)?;
    }
    let blobs = ready.blobs.iter().map(|(digest, _)| digest.as_str()).collect::<Vec<_>>().join(" ");
    let stack = ready.stack.as_ref().map(StackName::as_str);
    let hash = Link {
        prev: prev.as_bytes(),
        seq,
        at: at.0,
        stack: stack.map(str::as_bytes),
        actor: ready.actor.as_bytes(),
        body: ready.body.as_bytes(),
        blobs: blobs.as_bytes(),
    }
    .hash();
    connection
        .prepare_cached(
            "INSERT INTO journal (seq, at, stack, kind, change, actor, body, blobs, hash, prev)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                seq.cast_signed(),
                at.0,
                stack,
                concern::kind(&ready.event),
                concern::is_change(&ready.event),
                ready.actor,
                ready.body,
                blobs,
                hash.as_str(),
                prev,
            ])
        })
        .map_err(sql("write an entry of the journal"))?;
    rows::write_concerns(connection, seq, ready.stack.as_ref(), &ready.event)?;
    Ok(Entry {
        seq,
        at,
        stack: ready.stack.clone(),
        actor: ready.actor.clone(),
        event: ready.event.clone(),
        hash,
    })
}

fn rebuild(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin the rebuild of the views"))?;
    rows::rebuild(&transaction)?;
    transaction.commit().map_err(sql("commit the rebuilt views"))
}
