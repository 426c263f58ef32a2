//! The lines of the access log in their order, across the gateway's renaming of its files, each once
//! however often the daemon starts.

use observe::visits::v1::Cursor;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Renamed files that are looked for, `access.log.1` the newest of them.
const RENAMED_MAX: u32 = 9;
/// Bytes read at one time; the rest the next time.
const READ_MAX: usize = 4 << 20;
/// A longer line is none of the gateway's.
const LINE_MAX: usize = 64 << 10;

pub struct Follower {
    path: PathBuf,
    cursor: Option<Cursor>,
}

impl Follower {
    /// From where it was left; from the oldest line there is when that is not known any more.
    pub fn new(path: PathBuf, cursor: Option<Cursor>) -> Self {
        Self { path, cursor }
    }

    pub const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Hands over whole lines; says whether there are more already. A file that cannot be read is
    /// tried again.
    pub fn read(&mut self, mut line: impl FnMut(&[u8])) -> bool {
        if self.is_at_end() {
            return false;
        }
        let files = files(&self.path);
        let at = self.cursor.and_then(|cursor| files.iter().position(|(inode, _)| *inode == cursor.inode));
        let mut left = READ_MAX;
        for (index, (inode, file)) in files.iter().enumerate().skip(at.unwrap_or(0)) {
            let offset =
                self.cursor.filter(|cursor| cursor.inode == *inode).map_or(0, |cursor| cursor.offset);
            let is_last = index + 1 == files.len();
            let Some(read) = part(file, offset, left, is_last, &mut line) else { return false };
            self.cursor = Some(Cursor { inode: *inode, offset: offset + read as u64 });
            left = left.saturating_sub(read);
            if left < LINE_MAX {
                return true;
            }
        }
        false
    }
}

impl Follower {
    /// The newest file was read, and nothing was added since.
    fn is_at_end(&self) -> bool {
        let at_end =
            |cursor: Cursor, data: &Metadata| (data.ino(), data.len()) == (cursor.inode, cursor.offset);
        let data = std::fs::metadata(&self.path);
        self.cursor.zip(data.ok()).is_some_and(|(cursor, data)| at_end(cursor, &data))
    }
}

/// Oldest first. Each is opened, so that a renaming meanwhile moves none of them.
fn files(path: &Path) -> Vec<(u64, File)> {
    let renamed = (1..=RENAMED_MAX).rev().map(|number| PathBuf::from(format!("{}.{number}", path.display())));
    let mut found: Vec<(u64, File)> = Vec::new();
    for path in renamed.chain([path.to_owned()]) {
        let Ok(file) = File::open(path) else { continue };
        let Ok(data) = file.metadata() else { continue };
        // Renamed between two looks: seen under both names.
        if data.is_file() && found.iter().all(|(inode, _)| *inode != data.ino()) {
            found.push((data.ino(), file));
        }
    }
    found
}

/// Hands over the whole lines after an offset, and returns how many bytes they are. The end of a
/// file that is not written any more is passed over even without its line end.
fn part(
    file: &File,
    offset: u64,
    limit: usize,
    is_last: bool,
    line: &mut impl FnMut(&[u8]),
) -> Option<usize> {
    let length = file.metadata().ok()?.len();
    // A file that became shorter was emptied by somebody.
    let rest = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; rest.min(limit)];
    file.read_exact_at(&mut bytes, offset).ok()?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(line);
    let is_stuck = whole == 0 && bytes.len() >= LINE_MAX.min(limit);
    let is_over = !is_last && bytes.len() == rest;
    Some(if is_stuck || is_over { bytes.len() } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use testkit::TempDir;

    fn append(path: &Path, text: &str) {
        let mut file = File::options().append(true).create(true).open(path).expect("writable");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn lines(follower: &mut Follower) -> String {
        let mut all = String::new();
        follower.read(|line| all.push_str(&String::from_utf8_lossy(line)));
        all
    }

    #[test]
    fn each_line_comes_once_across_renaming_and_restarts() {
        let directory = TempDir::new();
        let path = directory.path().join("access.log");
        let name = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
        let mut follower = Follower::new(path.clone(), None);
        assert_eq!(lines(&mut follower), "", "not there yet");
        append(&path, "a\nb\nc");
        assert_eq!(lines(&mut follower), "ab", "the last is not whole");
        append(&path, "c\n");
        std::fs::rename(&path, name(1)).expect("renamed");
        append(&path, "d\n");
        std::fs::rename(name(1), name(2)).expect("renamed");
        std::fs::rename(&path, name(1)).expect("renamed");
        append(&path, "e\n");
        let mut again = Follower::new(path.clone(), follower.cursor());
        assert_eq!(lines(&mut again), "ccde");
        assert_eq!(lines(&mut again), "");
        std::fs::remove_file(name(1)).expect("removed");
        std::fs::remove_file(&path).expect("removed");
        append(&path, "f\n");
        let mut lost = Follower::new(path.clone(), Some(Cursor { inode: 1, offset: 7 }));
        assert_eq!(lines(&mut lost), "abccf", "all that is left");
    }

    #[test]
    fn a_line_without_end_does_not_hold_up_the_rest() {
        let directory = TempDir::new();
        let path = directory.path().join("access.log");
        append(&path, &"x".repeat(READ_MAX + 10));
        append(&path, "\nnext\n");
        let mut follower = Follower::new(path, None);
        let mut seen = Vec::new();
        while follower.read(|line| seen.push(line.len())) {}
        assert_eq!(seen.last(), Some(&4));
    }
}
