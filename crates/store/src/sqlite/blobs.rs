//! Content beside the journal, addressed by digest: which of it is needed, and removing the rest.

use super::{rows, sql};
use crate::ledger::StoreError;
use crate::view::StackView;
use model::Digest;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What `prune` removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneReport {
    pub blobs: u64,
    pub bytes: u64,
}

/// Content that is there already is left alone, and put right if it was damaged.
pub fn write(connection: &Connection, digest: &Digest, content: &[u8]) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO blobs (digest, content) VALUES (?1, ?2)
             ON CONFLICT (digest) DO UPDATE SET content = excluded.content
             WHERE content <> excluded.content",
        )
        .and_then(|mut s| s.execute(params![digest.as_str(), content]))
        .map_err(sql("write content beside the journal"))?;
    Ok(())
}

/// The content itself, or an error when it is not what its digest says.
pub fn read(connection: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    let content = read_unchecked(connection, digest)?;
    match content {
        Some(content) if Digest::of(&content) != *digest => Err(StoreError::DamagedBlob(digest.clone())),
        other => Ok(other),
    }
}

fn read_unchecked(connection: &Connection, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
    connection
        .prepare_cached("SELECT content FROM blobs WHERE digest = ?1")
        .and_then(|mut s| s.query_row([digest.as_str()], |r| r.get(0)).optional())
        .map_err(sql("read content beside the journal"))
}

/// The content that views need: bundles of the releases they remember, the stack of a pending
/// change, and what these refer to in turn, as far as it is in `known`.
pub fn needed<'a>(
    connection: &Connection,
    views: impl Iterator<Item = &'a StackView>,
    known: &HashSet<Digest>,
) -> Result<BTreeSet<Digest>, StoreError> {
    let mut needed: BTreeSet<Digest> = views.flat_map(roots).cloned().collect();
    for root in needed.clone() {
        if let Some(content) = read_unchecked(connection, &root)? {
            needed.extend(digests_in(&content).into_iter().filter(|d| known.contains(d)));
        }
    }
    Ok(needed)
}

fn roots(view: &StackView) -> impl Iterator<Item = &Digest> {
    view.releases.values().chain(view.pending.iter().filter_map(|p| p.stack.as_ref()))
}

/// Everything in a text that has the form of a digest, whatever the form of the text.
fn digests_in(content: &[u8]) -> Vec<Digest> {
    const ALGORITHM: &[u8] = b"sha256:";
    const LENGTH: usize = ALGORITHM.len() + 64;
    content
        .windows(LENGTH)
        .filter(|w| w.starts_with(ALGORITHM))
        .filter_map(|w| Digest::new(std::str::from_utf8(w).ok()?).ok())
        .collect()
}

/// Removes content that no view needs and that is older than the newest `keep` releases of its
/// stack.
pub fn prune(connection: &mut Connection, keep: usize) -> Result<PruneReport, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sql("begin to prune"))?;
    let (known, recent) = known_and_recent(&transaction, keep)?;
    let views = super::read::stacks(&transaction)?;
    let needed = needed(&transaction, views.iter(), &known)?;
    let mut report = PruneReport::default();
    for digest in known.iter().filter(|d| !needed.contains(*d) && !recent.contains(*d)) {
        report.bytes += remove(&transaction, digest)?.inspect(|_| report.blobs += 1).unwrap_or(0);
    }
    transaction.commit().map_err(sql("commit what was pruned"))?;
    Ok(report)
}

fn remove(connection: &Connection, digest: &Digest) -> Result<Option<u64>, StoreError> {
    connection
        .prepare_cached("DELETE FROM blobs WHERE digest = ?1 RETURNING length(content)")
        .and_then(|mut s| s.query_row([digest.as_str()], |r| r.get::<_, i64>(0)).optional())
        .map(|length| length.map(i64::cast_unsigned))
        .map_err(sql("remove content beside the journal"))
}

/// All content that ever came with an entry, and that which came with or after the oldest of the
/// newest `keep` releases of a stack.
fn known_and_recent(
    connection: &Connection,
    keep: usize,
) -> Result<(HashSet<Digest>, HashSet<Digest>), StoreError> {
    let mut known = HashSet::new();
    let mut recent = HashSet::new();
    // By stack: the number of releases met so far.
    let mut releases: BTreeMap<Option<Vec<u8>>, usize> = BTreeMap::new();
    let failed = sql("read the journal backwards");
    let mut select = connection
        .prepare(&format!(
            "SELECT {} FROM journal WHERE blobs <> '' OR kind = 'release_made' ORDER BY seq DESC",
            rows::COLUMNS
        ))
        .map_err(&failed)?;
    let mut found = select.query([]).map_err(&failed)?;
    while let Some(row) = found.next().map_err(&failed)? {
        let entry = rows::RawEntry::from_row(row).map_err(&failed)?;
        let digests = entry.blob_digests();
        let met = releases.entry(entry.stack).or_default();
        if *met < keep {
            recent.extend(digests.iter().cloned());
        }
        known.extend(digests);
        *met += usize::from(entry.kind == b"release_made");
    }
    Ok((known, recent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_any_text() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!("x{a}\"{b} sha256:nothex sha256:{}", &b.hex()[..63]);
        assert_eq!(digests_in(text.as_bytes()), [a, b]);
    }
}
