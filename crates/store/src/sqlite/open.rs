//! Opening the file: directory, lock, form, settings.

use super::{rows, sql};
use crate::ledger::StoreError;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The form of the file, in SQLite's `user_version`.
pub const FORM: u32 = 1;
/// The form of what is derived from the journal; another number makes it be derived again.
pub const VIEW_FORM: i64 = 3;
/// `JUCH`, in SQLite's `application_id`, so that `file` and people know what it is.
const APPLICATION_ID: i32 = 0x4a55_4348;
const SCHEMA: &str = include_str!("schema-v1.sql");
/// How long a statement waits for a person's `sqlite3` shell that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The log is cut back to this size after a checkpoint.
const WAL_BYTES_KEPT: i64 = 16 << 20;

pub fn prepare_directory(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| StoreError::File {
        what: "make the directory",
        path: directory.to_owned(),
        source,
    })
}

/// A file of its own, because SQLite takes and drops locks on the journal itself.
pub fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = lock_path(path);
    let failed = |source| StoreError::File { what: "lock", path: lock_path.clone(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

pub fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let failed = |source| match super::is_full(&source) {
        true => StoreError::Full,
        false => StoreError::Open { path: path.to_owned(), source },
    };
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(failed)?;
    if found > FORM {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORM });
    }
    configure(&connection).map_err(failed)?;
    if found == 0 {
        create(&mut connection).map_err(failed)?;
    }
    refresh_views(&mut connection)?;
    Ok(connection)
}

/// SQLite gives its log and shared index the mode of the file, so that is set before it opens it.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = || -> std::io::Result<()> {
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        if is_new {
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    };
    made().map_err(|source| match source.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::File { what: "open the journal", path: path.to_owned(), source },
    })
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute("INSERT INTO meta (name, value) VALUES ('view_form', ?1)", [VIEW_FORM])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORM)?;
    transaction.commit()
}

/// Derives the views again when another version derived them otherwise, or one cannot be read.
fn refresh_views(connection: &mut Connection) -> Result<(), StoreError> {
    use rusqlite::OptionalExtension;
    let form: Option<i64> = connection
        .query_row("SELECT value FROM meta WHERE name = 'view_form'", [], |r| r.get(0))
        .optional()
        .map_err(sql("read the form of the views"))?;
    let readable = match super::read::stacks(connection) {
        Ok(_) => true,
        Err(StoreError::DamagedView { .. }) => false,
        Err(other) => return Err(other),
    };
    if form == Some(VIEW_FORM) && readable {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(sql("begin the rebuild of the views"))?;
    rows::rebuild(&transaction)?;
    transaction.commit().map_err(sql("commit the rebuilt views"))
}

/// A connection that can only read. The writer's connection is open, so the log is there.
pub fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Open { path: path.to_owned(), source };
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_of_the_writer_waits_for_the_disk() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let connection = open_for_writing(&directory.path().join("journal.db")).expect("open");
        let setting = |name: &str| -> String {
            let query = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
            connection.query_row(&query, [], |r| r.get(0)).expect("a setting")
        };
        assert_eq!(setting("journal_mode"), "wal");
        assert_eq!(setting("synchronous"), "2", "FULL");
    }
}
