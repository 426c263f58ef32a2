//! The rows of the file: how an entry, the state of a stack and the index are written and read.

use super::{open::VIEW_FORM, sql};
use crate::concern;
use crate::fold::{Fold, Retired, StackState};
use crate::ledger::{Entry, StoreError};
use crate::record::chain::{GENESIS, Link};
use crate::record::v1::Event;
use model::{Digest, StackName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

/// One row of the journal as raw bytes: damage must not keep it from being read and named.
pub struct RawEntry {
    pub seq: u64,
    pub at: i64,
    pub stack: Option<Vec<u8>>,
    pub kind: Vec<u8>,
    pub change: bool,
    pub actor: Vec<u8>,
    pub body: Vec<u8>,
    pub blobs: Vec<u8>,
    pub hash: Vec<u8>,
    pub prev: Vec<u8>,
}

/// The columns that [`RawEntry::from_row`] expects, in its order.
pub const COLUMNS: &str = "seq, at, stack, kind, change, actor, body, blobs, hash, prev";

impl RawEntry {
    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |i: usize| -> rusqlite::Result<Vec<u8>> {
            Ok(row.get_ref(i)?.as_bytes_or_null()?.unwrap_or_default().to_vec())
        };
        Ok(Self {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            at: row.get(1)?,
            stack: row.get_ref(2)?.as_bytes_or_null()?.map(<[u8]>::to_vec),
            kind: bytes(3)?,
            change: row.get::<_, i64>(4)? != 0,
            actor: bytes(5)?,
            body: bytes(6)?,
            blobs: bytes(7)?,
            hash: bytes(8)?,
            prev: bytes(9)?,
        })
    }

    /// The bytes that the hash covers, with the hash of the entry before as the caller knows it.
    pub fn link<'a>(&'a self, prev: &'a [u8]) -> Link<'a> {
        Link {
            prev,
            seq: self.seq,
            at: self.at,
            stack: self.stack.as_deref(),
            actor: &self.actor,
            body: &self.body,
            blobs: &self.blobs,
        }
    }

    pub fn event(&self) -> Result<Event, StoreError> {
        self.parsed(&self.body)
    }

    pub fn stack_name(&self) -> Result<Option<StackName>, StoreError> {
        self.stack.as_deref().map(|name| self.text(name)).transpose()
    }

    pub fn into_entry(self) -> Result<Entry, StoreError> {
        Ok(Entry {
            seq: self.seq,
            at: Timestamp(self.at),
            stack: self.stack_name()?,
            actor: self.text(&self.actor)?,
            event: self.event()?,
            hash: self.text(&self.hash)?,
        })
    }

    /// The content that came with the entry.
    pub fn blob_digests(&self) -> Vec<Digest> {
        let text = String::from_utf8_lossy(&self.blobs);
        text.split_ascii_whitespace().filter_map(|d| Digest::new(d).ok()).collect()
    }

    fn text<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        serde_json::from_value(serde_json::Value::String(text))
            .map_err(|source| StoreError::Corrupt { seq: self.seq, source })
    }

    fn parsed<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|source| StoreError::Corrupt { seq: self.seq, source })
    }
}

/// Number and hash of the last entry.
pub fn head(connection: &Connection) -> Result<(u64, String), StoreError> {
    let last = connection
        .prepare_cached("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1")
        .and_then(|mut s| {
            s.query_row([], |r| Ok((r.get::<_, i64>(0)?.cast_unsigned(), r.get(1)?))).optional()
        })
        .map_err(sql("read the end of the journal"))?;
    Ok(last.unwrap_or_else(|| (0, GENESIS.to_owned())))
}

pub fn read_state(connection: &Connection, name: &StackName) -> Result<StackState, StoreError> {
    let row: Option<(Option<String>, Option<String>)> = connection
        .prepare_cached("SELECT body, retired FROM views WHERE stack = ?1")
        .and_then(|mut s| s.query_row([name.as_str()], |r| Ok((r.get(0)?, r.get(1)?))).optional())
        .map_err(sql("read the view of a stack"))?;
    let (body, retired) = row.unwrap_or_default();
    parse_state(name.as_str(), body.as_deref(), retired.as_deref())
}

pub fn parse_state(stack: &str, body: Option<&str>, retired: Option<&str>) -> Result<StackState, StoreError> {
    let damaged = |source| StoreError::DamagedView { stack: stack.to_owned(), source };
    Ok(StackState {
        view: body.map(serde_json::from_str).transpose().map_err(damaged)?,
        retired: retired.map(serde_json::from_str::<Retired>).transpose().map_err(damaged)?,
    })
}

pub fn write_state(connection: &Connection, name: &StackName, state: &StackState) -> Result<(), StoreError> {
    let json = |source| StoreError::DamagedView { stack: name.to_string(), source };
    let body = state.view.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
    let retired = state.retired.as_ref().map(serde_json::to_string).transpose().map_err(json)?;
    connection
        .prepare_cached(
            "INSERT INTO views (stack, body, retired) VALUES (?1, ?2, ?3)
             ON CONFLICT (stack) DO UPDATE SET body = excluded.body, retired = excluded.retired",
        )
        .and_then(|mut s| s.execute(params![name.as_str(), body, retired]))
        .map_err(sql("write the view of a stack"))?;
    Ok(())
}

/// Index rows by which the history of a service is found.
pub fn write_concerns(
    connection: &Connection,
    seq: u64,
    stack: Option<&StackName>,
    event: &Event,
) -> Result<(), StoreError> {
    let stack = stack.map_or("", |s| s.as_str());
    let change = concern::is_change(event);
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO concern (stack, service, change, seq) VALUES (?1, ?2, ?3, ?4)")
        .map_err(sql("prepare the index of the journal"))?;
    for service in concern::services(event) {
        insert
            .execute(params![stack, service, change, seq.cast_signed()])
            .map_err(sql("write the index of the journal"))?;
    }
    Ok(())
}

/// Calls `each` with every entry of the journal, oldest first.
pub fn for_each_entry(
    connection: &Connection,
    mut each: impl FnMut(RawEntry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = sql("read the journal");
    let mut select =
        connection.prepare(&format!("SELECT {COLUMNS} FROM journal ORDER BY seq")).map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        each(RawEntry::from_row(row).map_err(&failed)?)?;
    }
    Ok(())
}

/// Throws away what was derived and derives it again from the journal.
pub fn rebuild(connection: &Connection) -> Result<(), StoreError> {
    connection
        .execute_batch("DELETE FROM views; DELETE FROM concern;")
        .map_err(sql("throw the views away"))?;
    let mut fold = Fold::default();
    for_each_entry(connection, |raw| {
        let (stack, event) = (raw.stack_name()?, raw.event()?);
        write_concerns(connection, raw.seq, stack.as_ref(), &event)?;
        if let Some(name) = &stack {
            let actor: String = String::from_utf8_lossy(&raw.actor).into_owned();
            fold.apply(name, raw.seq, Timestamp(raw.at), &actor, &event);
        }
        Ok(())
    })?;
    for (name, state) in &fold.stacks {
        write_state(connection, name, state)?;
    }
    connection
        .execute(
            "INSERT INTO meta (name, value) VALUES ('view_form', ?1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [VIEW_FORM],
        )
        .map_err(sql("write the form of the views"))?;
    Ok(())
}
