//! Recomputing the chain, the content and the views from the journal alone.

use super::{blobs, rows, sql};
use crate::concern;
use crate::fold::{Fold, StackState};
use crate::ledger::{StoreError, VerifyReport};
use crate::record::chain::GENESIS;
use model::{Digest, StackName, Timestamp};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Compares everything as of one commit. Entries at the end that are missing as a whole cannot be
/// found by the chain itself: whoever must exclude that keeps the reported head elsewhere.
pub fn verify(connection: &Connection) -> Result<VerifyReport, StoreError> {
    let snapshot = connection.unchecked_transaction().map_err(sql("begin to verify"))?;
    let mut walk = Walk::new();
    rows::for_each_entry(&snapshot, |raw| walk.entry(&raw))?;
    let bad_blobs = bad_blobs(&snapshot, &walk.fold, &walk.known)?;
    let bad_views = bad_views(&snapshot, &walk.fold)?;
    Ok(VerifyReport {
        entries: walk.entries,
        head: walk.head(),
        broken_at: walk.broken_at,
        bad_blobs,
        bad_views,
    })
}

/// Goes along the chain. Each hash is computed over the stored hash before it, so that after a
/// break the rest is still judged by itself.
struct Walk {
    entries: u64,
    /// The stored hash of the entry before.
    prev: Vec<u8>,
    broken_at: Option<u64>,
    fold: Fold,
    /// Content that came with some entry.
    known: HashSet<Digest>,
}

impl Walk {
    fn new() -> Self {
        Self {
            entries: 0,
            prev: GENESIS.as_bytes().to_vec(),
            broken_at: None,
            fold: Fold::default(),
            known: HashSet::new(),
        }
    }

    fn head(&self) -> Digest {
        let text = String::from_utf8_lossy(&self.prev);
        Digest::new(text).unwrap_or_else(|_| Digest::new(GENESIS).expect("64 digits"))
    }

    fn entry(&mut self, raw: &rows::RawEntry) -> Result<(), StoreError> {
        self.entries += 1;
        let follows = raw.seq == self.entries
            && raw.prev == self.prev
            && raw.hash == raw.link(&self.prev).hash().as_str().as_bytes();
        // After a gap the numbers are compared with the stored ones again.
        let expected = self.entries.min(raw.seq);
        self.entries = raw.seq;
        self.prev.clone_from(&raw.hash);
        self.known.extend(raw.blob_digests());
        let parsed = raw.event().and_then(|event| Ok((raw.stack_name()?, event)));
        match parsed {
            Ok((stack, event)) => {
                if !follows || !self.columns_agree(raw, &event) {
                    self.broken_at.get_or_insert(expected);
                }
                if let Some(name) = &stack {
                    let actor = String::from_utf8_lossy(&raw.actor);
                    self.fold.apply(name, raw.seq, Timestamp(raw.at), &actor, &event);
                }
                Ok(())
            }
            // Unaltered and yet unreadable: written by a version this one does not know.
            Err(error) if follows => Err(error),
            Err(_) => {
                self.broken_at.get_or_insert(expected);
                Ok(())
            }
        }
    }

    fn columns_agree(&self, raw: &rows::RawEntry, event: &crate::Event) -> bool {
        raw.kind == concern::kind(event).as_bytes() && raw.change == concern::is_change(event)
    }
}

/// Content that is altered, and content that views need and that is not there.
fn bad_blobs(
    connection: &Connection,
    fold: &Fold,
    known: &HashSet<Digest>,
) -> Result<Vec<Digest>, StoreError> {
    let failed = sql("read the content beside the journal");
    let mut needed = blobs::needed(connection, fold.views(), known)?;
    let mut bad = BTreeSet::new();
    let mut select = connection.prepare("SELECT digest, content FROM blobs").map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let text = String::from_utf8_lossy(row.get_ref(0).and_then(|v| Ok(v.as_bytes()?)).map_err(&failed)?)
            .into_owned();
        let actual = Digest::of(row.get_ref(1).and_then(|v| Ok(v.as_bytes()?)).map_err(&failed)?);
        match Digest::new(text) {
            Ok(digest) if digest == actual => {
                needed.remove(&digest);
            }
            Ok(digest) => {
                bad.insert(digest);
            }
            // The name itself is damaged; the content says what it was.
            Err(_) => {
                bad.insert(actual);
            }
        }
    }
    bad.extend(needed);
    Ok(bad.into_iter().collect())
}

fn bad_views(connection: &Connection, fold: &Fold) -> Result<Vec<StackName>, StoreError> {
    let stored = stored_states(connection)?;
    let names: BTreeSet<&StackName> = fold.stacks.keys().chain(stored.keys()).collect();
    let nothing = StackState::default();
    let differs = |name: &&StackName| {
        stored.get(*name).unwrap_or(&None).as_ref() != Some(fold.stacks.get(*name).unwrap_or(&nothing))
    };
    Ok(names.into_iter().filter(differs).cloned().collect())
}

/// The stored state by stack; `None` where it cannot be read.
fn stored_states(connection: &Connection) -> Result<BTreeMap<StackName, Option<StackState>>, StoreError> {
    let failed = sql("read the views");
    let mut select = connection.prepare("SELECT stack, body, retired FROM views").map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    let mut stored = BTreeMap::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let column = |i: usize| -> Result<Option<String>, StoreError> {
            let value = row.get_ref(i).map_err(&failed)?;
            let bytes = value.as_bytes_or_null().map_err(|e| failed(e.into()))?;
            Ok(bytes.map(|b| String::from_utf8_lossy(b).into_owned()))
        };
        let stack = column(0)?.unwrap_or_default();
        // A name that is none belongs to no stack of the journal, which is then reported missing.
        let Ok(name) = StackName::new(stack.clone()) else { continue };
        stored.insert(name, rows::parse_state(&stack, column(1)?.as_deref(), column(2)?.as_deref()).ok());
    }
    Ok(stored)
}
