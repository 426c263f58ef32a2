//! Readers: a bounded set of read-only connections, and the queries on them.

use super::rows::{self, COLUMNS, RawEntry};
use super::{HISTORY_MAX, open, sql};
use crate::concern::WHOLE_STACK;
use crate::ledger::{Entry, HistoryQuery, StoreError};
use crate::view::StackView;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// Reads that run at the same time; further ones wait.
const READERS_MAX: usize = 8;

pub struct Readers {
    path: PathBuf,
    state: Mutex<Pool>,
    freed: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    in_use: usize,
}

impl Readers {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::default(), freed: Condvar::new() }
    }

    /// Runs `read` on a connection of its own.
    pub fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = {
            let pool = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let mut pool = self
                .freed
                .wait_while(pool, |p| p.in_use >= READERS_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            pool.in_use += 1;
            pool.idle.pop()
        };
        let seat = Seat(self);
        let connection = match idle {
            Some(connection) => connection,
            None => open::open_for_reading(&self.path)?,
        };
        let result = read(&connection);
        if connection.is_autocommit() {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).idle.push(connection);
        }
        drop(seat);
        result
    }
}

/// Gives the place back even when the read panics.
struct Seat<'a>(&'a Readers);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).in_use -= 1;
        self.0.freed.notify_one();
    }
}

pub fn stacks(connection: &Connection) -> Result<Vec<StackView>, StoreError> {
    let failed = sql("read the views");
    let mut select = connection
        .prepare_cached("SELECT stack, body FROM views WHERE body IS NOT NULL ORDER BY stack")
        .map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    let mut views = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let stack: String = row.get(0).map_err(&failed)?;
        let body: String = row.get(1).map_err(&failed)?;
        views.extend(rows::parse_state(&stack, Some(&body), None)?.view);
    }
    Ok(views)
}

/// The newest entries that match, oldest first.
pub fn history(connection: &Connection, query: &HistoryQuery) -> Result<Vec<Entry>, StoreError> {
    let failed = sql("read the history");
    let (text, values) = select(query);
    let mut statement = connection.prepare_cached(&text).map_err(&failed)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(&failed)?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        entries.push(RawEntry::from_row(row).map_err(&failed)?.into_entry()?);
    }
    entries.reverse();
    Ok(entries)
}

/// The statement of a query: a union of ranges, each read backwards along one index and cut at the
/// limit, so that the cost follows from the limit and not from the length of the journal.
fn select(query: &HistoryQuery) -> (String, Vec<Value>) {
    let limit = query.limit.min(HISTORY_MAX);
    let (table, services): (_, &[Option<&str>]) = match &query.service {
        Some(service) => ("concern", &[Some(WHOLE_STACK), Some(service.as_str())]),
        None => ("journal", &[None]),
    };
    let changes: &[bool] = if query.changes_only { &[true] } else { &[true, false] };
    let mut ranges = Vec::new();
    let mut values = Vec::new();
    for service in services {
        for change in changes {
            let mut conditions = Vec::new();
            let mut bind = |condition: &str, value: Value| {
                conditions.push(format!("{condition} ?"));
                values.push(value);
            };
            if let Some(stack) = &query.stack {
                bind("stack =", Value::from(stack.as_str().to_owned()));
            }
            if let Some(service) = service {
                bind("service =", Value::from((*service).to_owned()));
            }
            bind("change =", Value::from(*change));
            bind("seq >", Value::from(query.after.unwrap_or(0).min(i64::MAX as u64).cast_signed()));
            let conditions = conditions.join(" AND ");
            ranges.push(format!(
                "SELECT seq FROM (SELECT seq FROM {table} WHERE {conditions} ORDER BY seq DESC LIMIT {limit})"
            ));
        }
    }
    let text = format!(
        "SELECT {COLUMNS} FROM journal WHERE seq IN ({}) ORDER BY seq DESC LIMIT {limit}",
        ranges.join(" UNION ")
    );
    (text, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::v1::{Event, Seen};
    use crate::{Draft, Ledger, SqliteLedger};
    use model::{InstanceId, ServiceName, StackName, Timestamp};
    use rusqlite::StatementStatus;

    fn draft(service: &str) -> Draft {
        let event = Event::InstanceSeen {
            service: ServiceName::new(service).expect("valid"),
            instance: InstanceId::new("a1").expect("valid"),
            what: Seen::Started,
            detail: String::new(),
        };
        let stack = Some(StackName::new("shop").expect("valid"));
        Draft { stack, actor: "juchu".into(), event, blobs: vec![] }
    }

    fn queries() -> Vec<HistoryQuery> {
        let stack = StackName::new("shop").ok();
        let service = ServiceName::new("web").ok();
        let mut queries = Vec::new();
        for stack in [None, stack] {
            for service in [None, service.clone()] {
                for changes_only in [false, true] {
                    let (stack, service) = (stack.clone(), service.clone());
                    queries.push(HistoryQuery { stack, service, changes_only, limit: 20, after: None });
                }
            }
        }
        queries
    }

    /// Steps of SQLite's virtual machine for each query.
    fn steps(connection: &Connection) -> Vec<i32> {
        let cost = |query: &HistoryQuery| {
            let (text, values) = select(query);
            let mut statement = connection.prepare(&text).expect("prepare");
            let mut rows = statement.query(params_from_iter(values)).expect("query");
            while rows.next().expect("a row").is_some() {}
            drop(rows);
            statement.get_status(StatementStatus::VmStep)
        };
        queries().iter().map(cost).collect()
    }

    #[test]
    fn the_cost_of_a_query_follows_from_its_limit() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.db");
        let ledger = SqliteLedger::open(&path).expect("a new journal");
        let connection = open::open_for_reading(&path).expect("open");
        let append = |count: usize| {
            let drafts = (0..count).map(|i| draft(["web", "db"][i % 2])).collect();
            ledger.append(Timestamp(0), drafts).expect("append");
        };
        append(100);
        let few = steps(&connection);
        append(10_000);
        assert_eq!(steps(&connection), few, "a journal a hundred times as long costs the same");
    }
}
