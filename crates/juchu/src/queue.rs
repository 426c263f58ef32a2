//! The queue of builds: a directory with one ticket per build, a file that its build holds locked.
//! The oldest ticket that is held has the turn; one that nobody holds is of a build that died.

use build::BuildError;
use build::layout::lock;
use model::image::ImageSource;
use model::{Report, Service, Timestamp};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Longest ticket.
const TICKET_MAX: u64 = 16 << 10;

/// A place in the queue; given up when dropped.
pub struct Ticket {
    path: PathBuf,
    _held: File,
}

impl Ticket {
    pub fn name(&self) -> String {
        name_of(&self.path)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A ticket that nobody holds counts for nothing and is removed by the next reader.
        let _ = fs::remove_file(&self.path);
    }
}

/// A build that goes on or waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    #[serde(skip)]
    pub name: String,
    /// The service and where it is built from.
    pub what: String,
    pub process: u32,
    pub since: Timestamp,
}

/// Draws the next ticket below `images`.
pub fn draw(images: &Path, service: &Service, now: Timestamp) -> Result<Ticket, Report> {
    let directory = directory(images);
    fs::create_dir_all(&directory).map_err(|error| failed(&directory, &error))?;
    let _drawing = lock(&directory.join(".lock"), FlockOperation::LockExclusive).map_err(|e| e.report())?;
    let last = names(&directory)?.last().and_then(|name| name.parse::<u64>().ok()).unwrap_or(0);
    let path = directory.join(format!("{:020}", last + 1));
    let draft = directory.join(".draft");
    let waiting =
        Waiting { name: String::new(), what: what(service), process: std::process::id(), since: now };
    // It is held before anybody can see it.
    let mut held = lock(&draft, FlockOperation::LockExclusive).map_err(|e| e.report())?;
    let text = serde_json::to_vec(&waiting).expect("plain data");
    held.set_len(0)
        .and_then(|()| held.write_all(&text))
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|error| failed(&path, &error))?;
    Ok(Ticket { path, _held: held })
}

/// Builds that go on or wait, the one whose turn it is first.
pub fn read(images: &Path) -> Result<Vec<Waiting>, Report> {
    let directory = directory(images);
    let mut all = Vec::new();
    for name in names(&directory)? {
        let path = directory.join(&name);
        // Looking must not make a file where a ticket has just gone.
        if path.exists() && is_held(&path) {
            all.push(look(&path, name));
        }
    }
    Ok(all)
}

fn look(path: &Path, name: String) -> Waiting {
    use std::io::Read;
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(TICKET_MAX).read_to_end(&mut text));
    let known = read.ok().and_then(|_| serde_json::from_slice::<Waiting>(&text).ok());
    let unknown =
        Waiting { name: String::new(), what: "another image".to_owned(), process: 0, since: Timestamp(0) };
    Waiting { name, ..known.unwrap_or(unknown) }
}

/// False, and gone, when its build has died.
fn is_held(path: &Path) -> bool {
    match lock(path, FlockOperation::NonBlockingLockExclusive) {
        Err(BuildError::Io { source, .. }) => source.kind() == ErrorKind::WouldBlock,
        Err(_) => false,
        Ok(_held) => {
            let _ = fs::remove_file(path);
            false
        }
    }
}

/// In the order in which they were drawn.
fn names(directory: &Path) -> Result<Vec<String>, Report> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory, &error)),
    };
    let mut names: Vec<String> = entries.flatten().map(|entry| name_of(&entry.path())).collect();
    names.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    names.sort();
    Ok(names)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn directory(images: &Path) -> PathBuf {
    images.join("queue")
}

fn what(service: &Service) -> String {
    match &service.image {
        ImageSource::Build(spec) => match &spec.context {
            Some(context) => format!("{} ({})", service.name, context.display()),
            None => service.name.to_string(),
        },
        ImageSource::Pull { reference, .. } => format!("{} ({reference})", service.name),
        ImageSource::Component { name, .. } => format!("{} (component {name})", service.name),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Report {
    Report::environment(format!("the queue of builds at {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str) -> Service {
        let image = json!({ "type": "build", "context": "/srv/shop" });
        serde_json::from_value(json!({ "name": name, "replicas": 1, "stop_grace": 1, "image": image }))
            .expect("a service")
    }

    #[test]
    fn tickets_are_served_in_the_order_in_which_they_were_drawn() {
        let images = tempfile::tempdir().expect("a directory");
        let draw = |name: &str| draw(images.path(), &service(name), Timestamp(1)).expect("a ticket");
        let said = || read(images.path()).expect("read").into_iter().map(|w| w.what).collect::<Vec<_>>();
        assert!(said().is_empty());
        let (first, second) = (draw("a"), draw("b"));
        assert_eq!(said(), ["a (/srv/shop)", "b (/srv/shop)"]);
        drop(first);
        let third = draw("c");
        assert_eq!(said(), ["b (/srv/shop)", "c (/srv/shop)"]);
        assert_eq!(read(images.path()).expect("read")[1].name, third.name());
        drop((second, third));
        assert!(said().is_empty());
    }

    #[test]
    fn the_ticket_of_a_build_that_died_counts_for_nothing() {
        let images = tempfile::tempdir().expect("a directory");
        let ticket = draw(images.path(), &service("a"), Timestamp(1)).expect("a ticket");
        // As after a crash: the file stays, the lock is gone.
        let left = directory(images.path()).join("00000000000000000007");
        fs::write(&left, "{}").expect("written");
        assert_eq!(read(images.path()).expect("read").len(), 1);
        assert!(!left.exists());
        drop(ticket);
    }
}
