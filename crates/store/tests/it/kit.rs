//! Small builders shared by the tests.

use model::image::BuiltImage;
use model::{Digest, InstanceId, ReleaseId, ServiceName, StackName, Timestamp};
use std::path::PathBuf;
use store::record::v1::{Difference, Seen};
use store::{Draft, Entry, Event, Intent, Ledger, Outcome, SqliteLedger};
use tempfile::TempDir;

pub struct Journal {
    pub directory: TempDir,
    pub ledger: SqliteLedger,
}

impl Journal {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ledger = SqliteLedger::open(&directory.path().join("journal.db")).expect("a new journal");
        Self { directory, ledger }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("journal.db")
    }

    pub fn append(&self, stack: &str, event: Event) -> Entry {
        self.append_with(stack, event, vec![])
    }

    pub fn append_with(&self, stack: &str, event: Event, blobs: Vec<Vec<u8>>) -> Entry {
        let draft = Draft { stack: Some(stack_name(stack)), actor: "ada (cli)".into(), event, blobs };
        self.ledger.append(Timestamp(1_000), vec![draft]).expect("append").remove(0)
    }

    /// A second connection, as a person with `sqlite3` has it.
    pub fn sql(&self, statement: &str) -> usize {
        let connection = rusqlite::Connection::open(self.path()).expect("open");
        connection.execute(statement, []).expect("execute")
    }

    pub fn reopen(self) -> Self {
        let Self { directory, ledger } = self;
        drop(ledger);
        let ledger = SqliteLedger::open(&directory.path().join("journal.db")).expect("the same journal");
        Self { directory, ledger }
    }

    /// Accepted, released, activated, kept: the life of one `up`. Returns the bundle.
    pub fn up(&self, stack: &str, release: u64) -> Vec<u8> {
        let declared = format!("stack {stack} {release}").into_bytes();
        let config = format!("config {stack} {release}").into_bytes();
        let bundle = format!("{{\"files\":[\"{}\"]}}", Digest::of(&config)).into_bytes();
        let accepted = Event::ChangeAccepted {
            intent: Intent::Up,
            stack: Some(Digest::of(&declared)),
            services: vec![],
            why: String::new(),
            from: None,
            again: false,
        };
        let change = self.append_with(stack, accepted, vec![declared]).seq;
        let made = Event::ReleaseMade {
            release: ReleaseId(release),
            change,
            bundle: Digest::of(&bundle),
            differences: vec![],
            made_of: None,
        };
        self.append_with(stack, made, vec![bundle.clone(), config]);
        self.append(stack, activated(release, change));
        self.append(stack, concluded(change, Some(release)));
        bundle
    }

    pub fn down(&self, stack: &str) {
        let change = self.append(stack, change(Intent::Down { volumes: false }, &[])).seq;
        self.append(stack, concluded(change, None));
    }
}

pub fn stack_name(name: &str) -> StackName {
    StackName::new(name).expect("a valid name")
}

pub fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a valid name")
}

pub fn change(intent: Intent, services: &[&str]) -> Event {
    let services = services.iter().map(|s| service(s)).collect();
    Event::ChangeAccepted { intent, stack: None, services, why: String::new(), from: None, again: false }
}

pub fn activated(release: u64, change: u64) -> Event {
    Event::ReleaseActivated { release: Some(ReleaseId(release)), change, reason: "declared".into() }
}

pub fn concluded(change: u64, release: Option<u64>) -> Event {
    let release = release.map(ReleaseId);
    Event::Concluded {
        change,
        outcome: Outcome::Kept,
        release,
        reason: "ready".into(),
        took_ms: 12,
        figures: vec![],
    }
}

pub fn seen(name: &str, what: Seen) -> Event {
    let instance = InstanceId::new(format!("{name}1")).expect("a valid id");
    Event::InstanceSeen { service: service(name), instance, what, detail: "exit code 1".into() }
}

pub fn difference(name: Option<&str>, field: &str) -> Difference {
    let service = name.map(service);
    Difference { service, field: field.into(), before: Some("1".into()), after: None }
}

pub fn image(text: &str) -> BuiltImage {
    BuiltImage {
        manifest: Digest::of(text.as_bytes()),
        layers: vec![Digest::of(b"layer")],
        config: Default::default(),
        origin: text.into(),
    }
}
