//! The commit that is checked out around a directory, read from the files of its repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Links from one reference to another that are followed.
const MAX_LINKS: usize = 8;
/// A file with more is no reference.
const MAX_BYTES: u64 = 16 << 20;

/// The commit, as 40 or 64 hexadecimal digits. What is changed and not committed does not show.
pub fn of(directory: &Path) -> Option<String> {
    let repository = directory.ancestors().map(|above| above.join(".git")).find(|git| git.exists())?;
    let repository = if repository.is_dir() { repository } else { linked(&repository)? };
    let common = text(&repository.join("commondir")).map(|to| repository.join(to.trim()));
    let places = [Some(repository), common];
    let mut name = "HEAD".to_owned();
    for _ in 0..MAX_LINKS {
        let found = look_up(&places, &name)?;
        match found.strip_prefix("ref: ") {
            Some(other) => name = other.trim().to_owned(),
            None => return is_commit(&found).then_some(found),
        }
    }
    None
}

/// A working tree of its own names its repository in a file.
fn linked(file: &Path) -> Option<PathBuf> {
    let text = text(file)?;
    Some(file.parent()?.join(text.strip_prefix("gitdir: ")?.trim()))
}

fn look_up(places: &[Option<PathBuf>; 2], name: &str) -> Option<String> {
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let own = places.iter().flatten().find_map(|place| text(&place.join(name)));
    let packed = || {
        let files = places.iter().flatten().filter_map(|place| text(&place.join("packed-refs")));
        files.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).find_map(|line| {
            let (commit, of) = line.split_once(' ')?;
            (of == name).then(|| commit.to_owned())
        })
    };
    own.map(|text| text.trim().to_owned()).or_else(packed)
}

fn text(path: &Path) -> Option<String> {
    let about = fs::metadata(path).ok().filter(|about| about.is_file() && about.len() <= MAX_BYTES);
    about.and_then(|_| fs::read_to_string(path).ok())
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_found_in_every_form_of_repository() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let (one, other) = ("a".repeat(40), "b".repeat(40));
        fs::create_dir_all(root.join("web/src")).unwrap();
        write(".git/HEAD", "ref: refs/heads/main\n");
        assert_eq!(of(&root.join("web/src")), None, "nothing is committed");
        write(".git/packed-refs", &format!("# pack-refs\n{one} refs/heads/main\n"));
        assert_eq!(of(&root.join("web/src")), Some(one.clone()));
        write(".git/refs/heads/main", &format!("{other}\n"));
        assert_eq!(of(root), Some(other.clone()));
        write("tree/.git", "gitdir: ../.git/worktrees/tree\n");
        write(".git/worktrees/tree/HEAD", "ref: refs/heads/side\n");
        write(".git/worktrees/tree/commondir", "../..\n");
        write(".git/refs/heads/side", &one);
        assert_eq!(of(&root.join("tree")), Some(one));
        write(".git/HEAD", "ref: ../../etc/passwd\n");
        assert_eq!(of(root), None);
        write(".git/HEAD", "ref: HEAD\n");
        assert_eq!(of(root), None);
    }
}
