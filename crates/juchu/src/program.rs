//! The file this program was started from: what is run when it starts itself in another role.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the kernel puts behind the path of a file that is no longer there.
const DELETED: &[u8] = b" (deleted)";

/// The path, even if a newer program has taken the file's place since this one started: then it
/// is the newer one that is meant.
pub fn path() -> io::Result<PathBuf> {
    std::env::current_exe().map(|path| if path.exists() { path } else { without_mark(&path) })
}

fn without_mark(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    PathBuf::from(OsString::from_vec(bytes.strip_suffix(DELETED).unwrap_or(bytes).to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_program_is_found_by_its_path() {
        for (seen, expect) in [
            ("/usr/bin/juchu (deleted)", "/usr/bin/juchu"),
            ("/usr/bin/juchu", "/usr/bin/juchu"),
            ("/opt/a (deleted)/juchu", "/opt/a (deleted)/juchu"),
        ] {
            assert_eq!(without_mark(Path::new(seen)), Path::new(expect));
        }
        assert!(path().expect("a test has a program").is_file());
    }
}
