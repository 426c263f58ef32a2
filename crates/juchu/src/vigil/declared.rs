//! Receivers that files declare, beside those of this machine. Their addresses are read anew each
//! time, so that a secret that is changed counts.

use super::Vigil;
use super::answer::{kind, shown};
use alerts::Receiver;
use model::stack::FileSource;
use run::control::{Control, Wanting};
use run::ranges::ReceiverStatus;
use std::fs::File;
use std::io::Read as _;

/// Receivers of all files together; each has a thread.
const RECEIVERS_MAX: usize = 48;
/// Bytes of an address.
const ADDRESS_MAX: u64 = 4096;

/// What came of reading all files' receivers.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    pub receivers: Vec<Receiver>,
    /// Those that cannot be told, with the reason.
    pub unusable: Vec<ReceiverStatus>,
}

impl Vigil {
    /// Takes up what files declare when it differs from before.
    pub(super) async fn employ_declared(&self, control: &dyn Control) {
        let Ok(wanting) = control.wanting().await else { return };
        // It panics with the store at worst, and is read again ten seconds later.
        let Ok(read) = tokio::task::spawn_blocking(move || read(wanting)).await else { return };
        let mut declared = self.of_files();
        if declared.as_ref() == Some(&read) {
            return;
        }
        *declared = Some(read);
        drop(declared);
        self.employ();
    }

    /// From now on those of this machine and of files are told.
    pub(super) fn employ(&self) {
        let mut all = self.receivers().all().to_vec();
        match self.of_files().as_ref() {
            Some(declared) => all.extend(declared.receivers.iter().cloned()),
            // Until files are known nothing that waits for their receivers is dropped.
            None => return self.alerts.employ(all),
        }
        self.alerts.set_receivers(all);
    }

    pub(super) fn unusable(&self) -> Vec<ReceiverStatus> {
        self.of_files().as_ref().map(|declared| declared.unusable.clone()).unwrap_or_default()
    }

    /// By name, of this machine or of a file.
    pub(super) fn receiver(&self, name: &str) -> Option<Receiver> {
        let declared = self.of_files();
        let of_files = declared.iter().flat_map(|declared| declared.receivers.iter());
        let machine = self.receivers();
        machine.all().iter().chain(of_files).find(|receiver| receiver.name == name).cloned()
    }
}

fn read(wanting: Vec<Wanting>) -> Read {
    let mut read = Read::default();
    for one in wanting.into_iter().take(RECEIVERS_MAX) {
        match receiver(&one) {
            Ok(receiver) => read.receivers.push(receiver),
            Err(trouble) => read.unusable.push(unusable(&one, trouble)),
        }
    }
    read
}

/// What is wrong never has the address in it.
fn receiver(one: &Wanting) -> Result<Receiver, String> {
    let address = match &one.address {
        FileSource::Inline(text) => text.clone(),
        FileSource::External(name) => return Err(format!("its secret {name} is not on this machine")),
        FileSource::File(path) => {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(ADDRESS_MAX).read_to_string(&mut text));
            read.map_err(|error| format!("read {}: {error}", path.display()))?;
            text
        }
    };
    let kind = kind(&one.declared.kind).map_err(|report| report.error)?;
    let made = Receiver::new(&one.name, kind, &address, one.declared.least);
    made.map(|receiver| receiver.of_stack(one.stack.as_str())).map_err(|error| error.to_string())
}

fn unusable(one: &Wanting, trouble: String) -> ReceiverStatus {
    let status = alerts::ReceiverStatus {
        name: format!("{}/{}", one.stack, one.name),
        kind: alerts::Kind::Webhook,
        place: format!("by its secret {}", one.declared.secret),
        least: one.declared.least,
        waiting: 0,
        sent: 0,
        failures: 0,
        given_up: 0,
        last_sent_ms: None,
        trouble: Some(trouble),
    };
    ReceiverStatus { kind: one.declared.kind.clone(), ..shown(status) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::StackName;
    use model::notify::Declared;
    use model::range::Level;

    fn wanting(kind: &str, address: FileSource) -> Wanting {
        let declared = Declared { kind: kind.into(), secret: "hook".into(), least: Level::Urgent };
        Wanting { stack: StackName::new("shop").expect("valid"), name: "ops".into(), declared, address }
    }

    #[test]
    fn addresses_are_read_from_secrets_and_shown_nowhere() {
        let directory = testkit::TempDir::new();
        let path = directory.path().join("hook.txt");
        std::fs::write(&path, "https://hooks.example.org/SECRET\n").expect("written");
        let found = read(vec![
            wanting("webhook", FileSource::File(path)),
            wanting("mail", FileSource::Inline("smtps://u:SECRET@a.b?from=a@b.c&to=d@e.f".into())),
            wanting("webhook", FileSource::Inline("nonsense SECRET".into())),
            wanting("slack", FileSource::File(directory.path().join("none"))),
            wanting("slack", FileSource::External("theirs".into())),
        ]);
        let names: Vec<&str> = found.receivers.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["shop/ops", "shop/ops"]);
        assert_eq!(found.unusable.len(), 3);
        let said = format!("{found:?}");
        assert!(!said.contains("SECRET") && said.contains("read "), "{said}");
    }
}
