//! The files of a context, in one order on every machine, within limits, and hashed.

use super::ignore::Ignore;
use crate::BuildError;
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const FILE_LIMIT: usize = 100_000;
pub const BYTE_LIMIT: u64 = 4 << 30;
pub const DEPTH_LIMIT: usize = 64;
/// Paths named in one sentence.
const NAMED: usize = 3;
const SET_ID: u32 = 0o6000;
/// Of a file that a recipe reads as text.
pub const TEXT_LIMIT: u64 = 16 << 20;

#[derive(Debug)]
pub struct Tree {
    /// Canonical.
    pub root: PathBuf,
    /// By path.
    pub files: Vec<TreeFile>,
    /// What lies there and cannot be part of an image as it is.
    odd: Odd,
}

/// Paths that need a word.
#[derive(Debug, Default)]
struct Odd {
    /// Sockets, pipes and devices: left out.
    special: Vec<String>,
    /// Files with set-user-id or set-group-id: kept without these.
    set_id: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Relative to the root, `/` between parts.
    pub path: String,
    pub kind: TreeKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    File { executable: bool, size: u64 },
    Link(String),
}

impl Tree {
    /// Walks `root`, leaving out what `.dockerignore` and `more` say.
    pub fn read(root: &Path, more: &[&str]) -> Result<Self, BuildError> {
        let root = root.canonicalize().map_err(|error| missing(root, error))?;
        if !root.is_dir() {
            return Err(BuildError::input_hint(
                format!("the build context {} is not a directory", root.display()),
                "`build:` names the directory that holds the project",
            ));
        }
        let text = read_text_if_there(&root.join(".dockerignore"))?.unwrap_or_default();
        let ignore = Ignore::new(&text, more)
            .map_err(|reason| BuildError::input(format!("{}/.dockerignore: {reason}", root.display())))?;
        let mut walk = Walk::new(&root, &ignore);
        walk.directory(&root, "", 0)?;
        let (files, odd) = walk.finish();
        Ok(Self { root, files, odd })
    }

    /// Every file of a directory that the build itself made.
    pub fn everything(root: &Path) -> Result<Self, BuildError> {
        let ignore = Ignore::nothing();
        let mut walk = Walk::new(root, &ignore);
        walk.directory(root, "", 0)?;
        let (files, odd) = walk.finish();
        Ok(Self { root: root.to_owned(), files, odd })
    }

    /// Sentences about what is there and does not become part of an image as it is.
    pub fn notes(&self) -> Vec<String> {
        let say = |paths: &[String], text: &str| {
            let (shown, more) =
                (paths[..paths.len().min(NAMED)].join(", "), paths.len().saturating_sub(NAMED));
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            (!paths.is_empty()).then(|| format!("{text}: {shown}{more}"))
        };
        let collisions = self.collisions();
        let notes = [
            say(&self.odd.special, "sockets, pipes and devices are left out of the image"),
            say(&self.odd.set_id, "set-user-id and set-group-id are not kept"),
            say(
                &collisions,
                "these names differ by case alone, and systems that ignore case lose one of each",
            ),
        ];
        notes.into_iter().flatten().collect()
    }

    fn collisions(&self) -> Vec<String> {
        let mut seen = std::collections::BTreeMap::new();
        let mut found = Vec::new();
        for file in &self.files {
            if let Some(other) = seen.insert(file.path.to_lowercase(), &file.path) {
                found.push(format!("{other} and {}", file.path));
            }
        }
        found
    }

    pub fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    pub fn find(&self, path: &str) -> Option<&TreeFile> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }

    /// The files below `directory` (all for an empty one), with their paths relative to it.
    pub fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a TreeFile)> {
        self.files.iter().filter_map(move |file| {
            let rest = match directory {
                "" => file.path.as_str(),
                _ => file.path.strip_prefix(directory)?.strip_prefix('/')?,
            };
            Some((rest, file))
        })
    }

    /// The text of a file of the context, `None` when there is none.
    pub fn text(&self, path: &str) -> Result<Option<String>, BuildError> {
        match self.locate(path)? {
            Some(real) => read_text_if_there(&real),
            None => Ok(None),
        }
    }

    /// The real place of `path`, which may pass links but never leaves the context.
    pub fn locate(&self, path: &str) -> Result<Option<PathBuf>, BuildError> {
        let Ok(real) = self.root.join(path).canonicalize() else { return Ok(None) };
        if !real.starts_with(&self.root) {
            return Err(escapes(&self.root, path));
        }
        Ok(Some(real))
    }

    /// Feeds every path, mode and byte to `hasher`, framed so that no two trees look alike.
    pub fn hash_into(&self, hasher: &mut Sha256) -> Result<(), BuildError> {
        for file in &self.files {
            frame(hasher, file.path.as_bytes());
            match &file.kind {
                TreeKind::Link(target) => {
                    hasher.update([2]);
                    frame(hasher, target.as_bytes());
                }
                TreeKind::File { executable, .. } => {
                    hasher.update([u8::from(*executable)]);
                    hash_file(&self.root.join(&file.path), hasher)?;
                }
            }
        }
        Ok(())
    }
}

/// A length and the bytes.
pub fn frame(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn hash_file(path: &Path, hasher: &mut Sha256) -> Result<(), BuildError> {
    let context = || format!("read {}", path.display());
    let mut file = File::open(path).map_err(|error| BuildError::io(context())(error))?;
    let mut buffer = [0u8; 64 << 10];
    let mut total = 0u64;
    loop {
        let n = file.read(&mut buffer).map_err(|error| BuildError::io(context())(error))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        total += n as u64;
    }
    hasher.update(total.to_le_bytes());
    Ok(())
}

/// The digest of one file.
pub fn file_digest(path: &Path) -> Result<Digest, BuildError> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(BuildError::io(format!("read {}", path.display())))?;
    std::io::copy(&mut file, &mut hasher).map_err(BuildError::io(format!("read {}", path.display())))?;
    Ok(Digest::from_raw(hasher.finalize().into()))
}

pub fn read_text_if_there(path: &Path) -> Result<Option<String>, BuildError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BuildError::io(format!("read {}", path.display()))(error)),
    };
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(BuildError::io(format!("read {}", path.display())))?;
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(BuildError::input(format!("{} is larger than {} MiB", path.display(), TEXT_LIMIT >> 20)));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| BuildError::input(format!("{} is not UTF-8 text", path.display())))?;
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}

struct Walk<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    files: Vec<TreeFile>,
    odd: Odd,
    bytes: u64,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, ignore: &'a Ignore) -> Self {
        Self { root, ignore, files: Vec::new(), odd: Odd::default(), bytes: 0 }
    }

    /// Everything in one order, whatever the order of the directory.
    fn finish(mut self) -> (Vec<TreeFile>, Odd) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.odd.special.sort();
        self.odd.set_id.sort();
        (self.files, self.odd)
    }

    fn directory(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), BuildError> {
        if depth > DEPTH_LIMIT {
            return Err(too_much(self.root, &format!("is nested deeper than {DEPTH_LIMIT} directories")));
        }
        let context = || format!("read the directory {}", directory.display());
        for entry in fs::read_dir(directory).map_err(|error| BuildError::io(context())(error))? {
            let entry = entry.map_err(|error| BuildError::io(context())(error))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                return Err(BuildError::input_hint(
                    format!("the file name {} is not UTF-8", entry.path().display()),
                    "rename it, or leave it out with .dockerignore",
                ));
            };
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            self.entry(&entry.path(), path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, real: &Path, path: String, depth: usize) -> Result<(), BuildError> {
        let meta = fs::symlink_metadata(real).map_err(BuildError::io(format!("read {}", real.display())))?;
        if meta.is_dir() {
            return match self.ignore.prunes(&path) {
                true => Ok(()),
                false => self.directory(real, &path, depth + 1),
            };
        }
        if self.ignore.leaves_out(&path) {
            return Ok(());
        }
        let kind = if meta.is_symlink() {
            TreeKind::Link(self.link(real, &path)?)
        } else if meta.is_file() {
            self.bytes = self.bytes.saturating_add(meta.len());
            if meta.permissions().mode() & SET_ID != 0 {
                self.odd.set_id.push(path.clone());
            }
            TreeKind::File { executable: meta.permissions().mode() & 0o111 != 0, size: meta.len() }
        } else {
            self.odd.special.push(path);
            return Ok(());
        };
        self.files.push(TreeFile { path, kind });
        if self.files.len() > FILE_LIMIT {
            return Err(too_much(self.root, &format!("holds more than {FILE_LIMIT} files")));
        }
        if self.bytes > BYTE_LIMIT {
            return Err(too_much(self.root, &format!("holds more than {} GiB", BYTE_LIMIT >> 30)));
        }
        Ok(())
    }

    /// A link stays a link; its target must lie inside the context.
    fn link(&self, real: &Path, path: &str) -> Result<String, BuildError> {
        let target =
            fs::read_link(real).map_err(BuildError::io(format!("read the link {}", real.display())))?;
        let target = target.to_str().ok_or_else(|| escapes(self.root, path))?;
        let mut depth = path.matches('/').count() as i64;
        if target.starts_with('/') {
            return Err(escapes(self.root, path));
        }
        for part in target.split('/') {
            depth += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            if depth < 0 {
                return Err(escapes(self.root, path));
            }
        }
        Ok(target.to_owned())
    }
}

fn missing(root: &Path, error: std::io::Error) -> BuildError {
    match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::input_hint(
            format!("the build context {} does not exist", root.display()),
            "check `build:` in the Compose file; it is relative to the file's directory",
        ),
        _ => BuildError::io(format!("read the build context {}", root.display()))(error),
    }
}

fn escapes(root: &Path, path: &str) -> BuildError {
    BuildError::input_hint(
        format!("the link {path} in {} leads out of the build context", root.display()),
        "replace it by the file it points to, or leave it out with .dockerignore",
    )
}

fn too_much(root: &Path, what: &str) -> BuildError {
    BuildError::input_hint(
        format!("the build context {} {what}", root.display()),
        "leave out what the program does not need with .dockerignore",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    fn digest(root: &Path) -> Digest {
        let mut hasher = Sha256::new();
        Tree::read(root, &[]).unwrap().hash_into(&mut hasher).unwrap();
        Digest::from_raw(hasher.finalize().into())
    }

    #[test]
    fn files_come_in_one_order_without_what_is_ignored() {
        let dir = tree(&["b", "a/x", "a.txt", ".git/HEAD", "target/debug/x", "node_modules/y/z"]);
        let tree = Tree::read(dir.path(), &["/target"]).unwrap();
        let names: Vec<_> = tree.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(names, ["a.txt", "a/x", "b"]);
        assert_eq!(tree.below("a").map(|(rest, _)| rest).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn every_byte_name_and_mode_counts_and_times_do_not() {
        let dir = tree(&["a", "b"]);
        let before = digest(dir.path());
        fs::write(dir.path().join("a"), "a").unwrap();
        assert_eq!(digest(dir.path()), before);
        fs::write(dir.path().join("a"), "c").unwrap();
        let changed = digest(dir.path());
        assert_ne!(changed, before);
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(digest(dir.path()), changed);
    }

    #[test]
    fn links_out_of_the_context_are_refused() {
        for target in ["/etc/passwd", "../x", "d/../../x"] {
            let dir = tree(&["d/file"]);
            symlink(target, dir.path().join("link")).unwrap();
            let error = Tree::read(dir.path(), &[]).unwrap_err().to_string();
            assert!(error.contains("leads out of the build context"), "{target}: {error}");
        }
        let dir = tree(&["d/file"]);
        symlink("../d/file", dir.path().join("d/link")).unwrap();
        assert!(Tree::read(dir.path(), &[]).is_ok());
    }

    #[test]
    fn what_cannot_be_kept_as_it_is_is_told() {
        let dir = tree(&["a.css", "A.css", "su"]);
        fs::set_permissions(dir.path().join("su"), fs::Permissions::from_mode(0o4755)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let tree = Tree::read(dir.path(), &[]).unwrap();
        assert_eq!(tree.files.len(), 3);
        assert_eq!(
            tree.notes(),
            [
                "sockets, pipes and devices are left out of the image: pipe, socket",
                "set-user-id and set-group-id are not kept: su",
                "these names differ by case alone, and systems that ignore case lose one of each: A.css and a.css",
            ]
        );
    }

    #[test]
    fn a_missing_context_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = Tree::read(&dir.path().join("nope"), &[]).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
    }

    #[test]
    fn a_thousand_small_files_are_hashed_in_milliseconds() {
        let names: Vec<String> = (0..1000).map(|n| format!("d{}/f{n}.py", n % 20)).collect();
        let dir = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        digest(dir.path());
        let best = (0..5).map(|_| {
            let start = std::time::Instant::now();
            digest(dir.path());
            start.elapsed()
        });
        // Ten times the promise, so that a busy machine does not fail it; the benchmark holds 50 ms.
        assert!(best.min().unwrap() < std::time::Duration::from_millis(500));
    }
}
