//! What is wanted comes onto the shelf, follows its files, and goes with whoever wanted it.

use async_trait::async_trait;
use certs::{Announce, Authority, Keeper, Settings, Shelf};
use model::Timestamp;
use model::certificate::{Acme, CertificateSource, CertificateStatus, CertificateWanted};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(30);
const NOW: i64 = 1_790_000_000_000;

#[derive(Default)]
struct Told(AtomicUsize);

#[async_trait]
impl Announce for Told {
    async fn announce(&self) -> Result<(), String> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn keeper(directory: &Path) -> (Keeper, Arc<Told>, Shelf) {
    let told = Arc::new(Told::default());
    let settings = Settings {
        shelf: directory.join("certificates"),
        state: directory.join("certs"),
        now: || Timestamp(NOW),
        chance: || 0.5,
        look: Duration::from_millis(20),
    };
    (Keeper::start(settings, told.clone()), told, Shelf::new(directory.join("certificates")))
}

fn wanted(name: &str, source: CertificateSource) -> CertificateWanted {
    CertificateWanted { name: name.to_owned(), hosts: vec!["a.test".to_owned()], source }
}

/// Waits until one of what is wanted stands so.
async fn until(keeper: &Keeper, what: impl Fn(&CertificateStatus) -> bool) -> CertificateStatus {
    let seen = async {
        loop {
            if let Some(status) = keeper.status().into_iter().find(|status| what(status)) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, seen).await;
    waited.unwrap_or_else(|_| panic!("it never came about: {:?}", keeper.status()))
}

fn says(status: &CertificateStatus, what: &str) -> bool {
    status.problem.as_ref().is_some_and(|problem| problem.contains(what))
}

#[tokio::test]
async fn the_own_authority_makes_one_at_once_and_it_goes_with_its_service() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (first_keeper, told, shelf) = keeper(directory.path());
    first_keeper.want(vec![wanted("shop.web", CertificateSource::Internal)]);
    let status = until(&first_keeper, |status| status.expires.is_some()).await;
    assert_eq!((status.problem, status.source.as_str()), (None, "internal"));
    assert_eq!(shelf.names(), ["shop.web"]);
    let made = shelf.get("shop.web").expect("it is there");
    let renewed = status.next.expect("it is planned").0;
    assert!((NOW + 4 * 86_400_000..NOW + 5 * 86_400_000).contains(&renewed), "{renewed}");
    assert!(told.0.load(Ordering::SeqCst) > 0);
    // A daemon that starts anew has it, and makes no other.
    drop(first_keeper);
    let (keeper, _, shelf) = keeper(directory.path());
    keeper.want(vec![wanted("shop.web", CertificateSource::Internal)]);
    until(&keeper, |status| status.expires.is_some()).await;
    assert_eq!(shelf.get("shop.web"), Some(made));
    keeper.want(vec![wanted("shop.api", CertificateSource::Internal)]);
    until(&keeper, |status| status.name == "shop.api" && status.expires.is_some()).await;
    assert_eq!(shelf.names(), ["shop.api"]);
}

#[tokio::test]
async fn files_are_followed_and_what_is_wrong_with_them_is_said() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    // Made by another authority, as an operator's would be.
    let made = Shelf::new(path("made"));
    let authority = Authority::of(&path("other"));
    let make = |host: &str| {
        authority.issue("x", &[host.to_owned()], NOW, &made).expect("it is made");
        String::from_utf8(made.get("x").expect("it is there")).expect("it is text")
    };
    let leave = |certificate: &str, key: &str| {
        std::fs::write(path("a.pem"), certificate).expect("it is writable");
        std::fs::write(path("a.key"), key).expect("it is writable");
    };
    let (keeper, _, shelf) = keeper(directory.path());
    let source = CertificateSource::Files { certificate: text("a.pem"), key: text("a.key") };
    keeper.want(vec![wanted("shop.web", source)]);
    let missing = until(&keeper, |status| says(status, "a.pem")).await;
    assert_eq!(missing.expires, None);
    let wrong = make("b.test");
    leave(&wrong, &wrong);
    let status = until(&keeper, |status| says(status, "not valid for a.test")).await;
    assert_eq!(status.expires, None);
    let right = make("a.test");
    leave(&right, &right);
    until(&keeper, |status| status.expires.is_some() && status.problem.is_none()).await;
    // A pair that does not fit does not take the place of one that does.
    let before = shelf.get("shop.web").expect("it is there");
    leave(&right, &make("a.test"));
    until(&keeper, |status| says(status, "do not belong together")).await;
    assert_eq!(shelf.get("shop.web"), Some(before));
}

#[tokio::test]
async fn an_authority_that_does_not_answer_is_tried_again_later() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (keeper, _, shelf) = keeper(directory.path());
    // A port that was free a moment ago: nobody answers there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let address = silent.local_addr().expect("it is bound");
    drop(silent);
    let acme = Acme { directory: Some(format!("https://{address}/directory")), ..Acme::default() };
    keeper.want(vec![wanted("shop.web", CertificateSource::Auto(acme))]);
    let status = until(&keeper, |status| status.problem.is_some()).await;
    assert_eq!((status.expires, shelf.names().len()), (None, 0));
    assert_eq!(status.next.expect("it is planned").0 - NOW, 60_000);
}
