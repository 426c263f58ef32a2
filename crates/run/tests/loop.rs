//! The loop with ports of plain data and the real journal: what a person is told, and what is left
//! when the daemon dies at any moment.

use model::image::{ImageSource, PullPolicy};
use model::mount::{Mount, MountSource};
use model::service::{
    Attachment, HealthTest, Healthcheck, NetworkMode, PublishedPort, RestartPolicy, Transport,
};
use model::stack::{Network, Volume};
use model::{DurationMs, NetworkName, Service, ServiceName, Stack, StackName, VolumeName};
use run::Parts;
use run::control::{ChangeRequest, Conclusion, Control, Progress, State};
use run::controller::Controller;
use run::fake::FakeMachine;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::record::v1::{Intent, Outcome};
use store::sqlite::SqliteLedger;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a test's own name")
}

fn service(text: &str, tag: &str) -> Service {
    Service {
        name: name(text),
        image: ImageSource::Pull { reference: format!("{text}:{tag}"), policy: PullPolicy::Missing },
        platform: None,
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        ports: Vec::new(),
        expose: Vec::new(),
        mounts: Vec::new(),
        configs: Vec::new(),
        secrets: Vec::new(),
        depends_on: BTreeMap::new(),
        healthcheck: None,
        network_mode: NetworkMode::Stack,
        networks: BTreeMap::from([(NetworkName::new("default").expect("valid"), Attachment::default())]),
        restart: RestartPolicy::Always,
        replicas: 1,
        resources: Default::default(),
        update: Default::default(),
        rollback: None,
        process: Default::default(),
        stop_grace: DurationMs(100),
        stop_signal: None,
        labels: BTreeMap::new(),
        policy: Default::default(),
    }
}

fn published(mut this: Service, port: u16) -> Service {
    let (host_ip, transport, protocol) = (None, Transport::Tcp, model::service::Protocol::Tcp);
    this.ports.push(PublishedPort { target: port, published: port, host_ip, transport, protocol });
    this
}

fn with_volume(mut this: Service) -> Service {
    let name = VolumeName::new("shop_data").expect("valid");
    let source = MountSource::Volume { name, no_copy: false, subpath: None };
    this.mounts.push(Mount { source, target: "/data".into(), read_only: false });
    this
}

fn checked(mut this: Service) -> Service {
    this.healthcheck = Some(Healthcheck {
        test: HealthTest::Exec { argv: vec!["true".into()] },
        interval: Some(DurationMs(20)),
        timeout: None,
        retries: Some(2),
        start_period: None,
        start_interval: None,
    });
    this
}

fn stack(services: Vec<Service>) -> Stack {
    let network = Network {
        name: "shop_default".into(),
        external: false,
        internal: false,
        subnet: None,
        labels: BTreeMap::new(),
    };
    let volume = Volume {
        name: VolumeName::new("shop_data").expect("valid"),
        external: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    Stack {
        name: StackName::new("shop").expect("valid"),
        directory: "/srv/shop".into(),
        files: Vec::new(),
        services: services.into_iter().map(|s| (s.name.clone(), s)).collect(),
        networks: BTreeMap::from([(NetworkName::new("default").expect("valid"), network)]),
        volumes: BTreeMap::from([("data".to_owned(), volume)]),
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        policy: serde_json::Value::Null,
    }
}

async fn open(home: &Path, machine: &FakeMachine) -> Arc<Controller> {
    let path = home.join("journal.db");
    // The lock is let go of when the last task of a dead daemon is.
    let ledger = loop {
        match SqliteLedger::open(&path) {
            Err(store::StoreError::Locked(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            opened => break opened.expect("the journal opens"),
        }
    };
    let parts = Parts {
        ledger: Arc::new(ledger),
        engine: Arc::new(machine.clone()),
        images: Arc::new(machine.clone()),
        router: Arc::new(machine.clone()),
        machine: Arc::new(machine.clone()),
        settings: plan::Settings { files: home.join("files") },
        version: "test".into(),
        home: home.to_owned(),
    };
    Controller::start(parts).await.expect("the controller starts")
}

fn request(intent: Intent, services: Option<Vec<Service>>) -> ChangeRequest {
    ChangeRequest {
        stack: StackName::new("shop").expect("valid"),
        intent,
        declared: services.map(stack),
        services: Vec::new(),
        actor: "anna (cli)".into(),
        why: String::new(),
        from: None,
    }
}

async fn conclusion(controller: &Controller, change: u64) -> Conclusion {
    let mut story = controller.follow(change).await.expect("known");
    let listen = async {
        while let Some(progress) = story.recv().await {
            if let Progress::Concluded(conclusion) = progress {
                return conclusion;
            }
        }
        panic!("the story ended without a conclusion");
    };
    tokio::time::timeout(Duration::from_secs(20), listen).await.expect("a change ends")
}

async fn change(controller: &Controller, intent: Intent, services: Option<Vec<Service>>) -> Conclusion {
    let accepted = controller.submit(request(intent, services)).await.expect("accepted");
    conclusion(controller, accepted.change).await
}

fn running(machine: &FakeMachine) -> Vec<String> {
    let state = machine.state();
    let running = state
        .instances
        .values()
        .filter(|o| matches!(o.state, model::instance::InstanceState::Running { .. }));
    let mut all: Vec<String> = running
        .map(|o| format!("{}#{} {}", o.spec.service, o.spec.slot, &o.spec.image.short()[..4]))
        .collect();
    all.sort();
    all
}

macro_rules! story {
    ($(#[$meta:meta])* $name:ident, |$controller:ident, $machine:ident, $home:ident| $body:block) => {
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let directory = tempfile::tempdir().expect("a directory");
            let $home = directory.path();
            let $machine = FakeMachine::new();
            let $controller = open($home, &$machine).await;
            $body
        }
    };
}

story!(up_makes_it_so_and_again_does_nothing, |controller, machine, home| {
    let services =
        || Some(vec![published(service("web", "1"), 8001), checked(with_volume(service("db", "1")))]);
    let first = change(&controller, Intent::Up, services()).await;
    assert_eq!((first.outcome, first.reason.as_str()), (Outcome::Kept, "every service is ready"));
    assert_eq!(first.addresses.len(), 1);
    assert_eq!(running(&machine).len(), 2);
    let builds = machine.state().builds;
    let again = change(&controller, Intent::Up, services()).await;
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert_eq!(machine.state().builds, builds, "nothing was built");
    assert!(controller.verify().await.expect("readable").is_whole());
    assert!(home.join("journal.db").exists());
});

story!(a_new_version_takes_over_and_a_broken_one_does_not, |controller, machine, _home| {
    change(&controller, Intent::Up, Some(vec![published(service("web", "1"), 8001)])).await;
    let before = running(&machine);
    let kept = change(&controller, Intent::Deploy, Some(vec![published(service("web", "2"), 8001)])).await;
    assert_eq!(kept.outcome, Outcome::Kept);
    let second = running(&machine);
    assert!(second.len() == 1 && second != before);

    machine.state().ends_at_once.insert("web".into(), 3);
    let failed = change(&controller, Intent::Deploy, Some(vec![published(service("web", "3"), 8001)])).await;
    assert_eq!(failed.outcome, Outcome::Failed, "{failed:?}");
    assert!(failed.reason.contains("crash loop"), "{}", failed.reason);
    assert!(!failed.last_lines.is_empty());
    assert_eq!(running(&machine), second, "what ran before goes on");
});

story!(a_build_that_fails_changes_nothing, |controller, machine, _home| {
    change(&controller, Intent::Up, Some(vec![service("web", "1")])).await;
    let before = running(&machine);
    machine.state().broken_builds.insert("web".into());
    let failed = change(&controller, Intent::Deploy, Some(vec![service("web", "2")])).await;
    assert_eq!(
        (failed.outcome, failed.reason.as_str()),
        (Outcome::Failed, "service web: the image cannot be made")
    );
    assert_eq!(failed.report.expect("a report").hints, ["mend it"]);
    assert_eq!(running(&machine), before);
});

story!(a_start_that_is_refused_leaves_nothing_half_made, |controller, machine, _home| {
    machine.state().refuses.insert("web".into(), "executable `nope` not found in the image".into());
    let failed = change(&controller, Intent::Up, Some(vec![service("db", "1"), service("web", "1")])).await;
    assert_eq!(failed.outcome, Outcome::Failed);
    assert!(failed.reason.contains("executable `nope` not found"), "{}", failed.reason);
    wait(|| machine.state().instances.is_empty()).await;
});

story!(a_taken_port_is_refused_before_anything_is_done, |controller, machine, _home| {
    machine.state().taken_ports.insert(8001);
    let refused =
        controller.submit(request(Intent::Up, Some(vec![published(service("web", "1"), 8001)]))).await;
    let report = refused.expect_err("the port is taken");
    assert_eq!(report.error, "service web: port 8001 cannot be published: address already in use");
    assert_eq!(machine.state().builds, 0);
});

story!(two_changes_at_once_are_one_too_many, |controller, machine, _home| {
    machine.operations_left.store(0, Ordering::SeqCst);
    controller.submit(request(Intent::Up, Some(vec![service("web", "1")]))).await.expect("accepted");
    let refused = controller.submit(request(Intent::Up, Some(vec![service("web", "2")]))).await;
    let report = refused.expect_err("one is going on");
    assert_eq!(report.kind, model::ErrorKind::Conflict);
    assert!(
        report.error.starts_with("the stack shop is held by up of anna (cli), begun "),
        "{}",
        report.error
    );
});

story!(what_crashes_comes_back, |controller, machine, _home| {
    change(&controller, Intent::Up, Some(vec![published(service("web", "1"), 8001)])).await;
    machine.exit("web", 1);
    wait(|| running(&machine).len() == 1).await;
    let entries =
        controller.history(store::HistoryQuery { limit: 100, ..Default::default() }).await.expect("readable");
    assert!(entries.iter().any(
        |e| matches!(&e.event, store::Event::InstanceSeen { detail, .. } if detail == "exited with code 1")
    ));
});

story!(stop_start_restart_and_down, |controller, machine, _home| {
    change(&controller, Intent::Up, Some(vec![published(service("web", "1"), 8001), service("db", "1")]))
        .await;
    assert_eq!(change(&controller, Intent::Stop, None).await.outcome, Outcome::Kept);
    assert!(running(&machine).is_empty());
    assert_eq!(controller.stacks().await.expect("known")[0].state, State::Stopped);
    assert_eq!(change(&controller, Intent::Start, None).await.outcome, Outcome::Kept);
    assert_eq!(running(&machine).len(), 2);
    let at = run::ports::Machine::now(&machine).plus(DurationMs(1));
    let restarted = change(&controller, Intent::Restart { at }, None).await;
    assert_eq!(restarted.outcome, Outcome::Kept);
    assert!(machine.state().instances.values().all(|o| o.starts >= 3));
    assert_eq!(change(&controller, Intent::Down { volumes: false }, None).await.outcome, Outcome::Kept);
    assert!(machine.state().instances.is_empty() && machine.state().networks.is_empty());
    assert!(controller.stacks().await.expect("readable").is_empty());
});

story!(unhealthy_is_restarted, |controller, machine, _home| {
    change(&controller, Intent::Up, Some(vec![checked(service("web", "1"))])).await;
    machine.state().sick.insert("web".into());
    wait(|| machine.state().instances.values().any(|o| o.starts > 1)).await;
});

async fn wait(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the condition comes true");
}

/// Takes half a minute, most of it waiting for what a dead daemon does not do any more.
mod slow {
    use super::*;

    /// The daemon dies after a random number of operations; the next one ends what it began.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn death_at_any_operation_ends_in_the_declared_state() {
        for operations in 0..28 {
            let directory = tempfile::tempdir().expect("a directory");
            let machine = FakeMachine::new();
            let version = |tag: &str| {
                let mut web = published(service("web", tag), 8001);
                web.depends_on.insert(
                    name("db"),
                    model::service::Dependency {
                        condition: model::service::Condition::ServiceStarted,
                        required: true,
                        restart: false,
                    },
                );
                Some(vec![published(with_volume(service("db", tag)), 8002), web])
            };
            let mut latest = 0;
            for (tag, fatal) in [("1", operations / 2), ("2", operations)] {
                let doomed = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let (home, victim) = (directory.path().to_owned(), machine.clone());
                machine.operations_left.store(fatal, Ordering::SeqCst);
                let declared = version(tag);
                let submitted = doomed.spawn(async move {
                    let controller = open(&home, &victim).await;
                    let accepted =
                        controller.submit(request(Intent::Up, declared)).await.expect("accepted").change;
                    let ended =
                        tokio::time::timeout(Duration::from_millis(700), conclusion(&controller, accepted))
                            .await;
                    (accepted, ended.is_ok())
                });
                let (accepted, ended) = submitted.await.expect("no panic");
                latest = accepted;
                doomed.shutdown_background();
                machine.operations_left.store(u64::MAX, Ordering::SeqCst);
                if !ended {
                    let controller = open(directory.path(), &machine).await;
                    assert_eq!(
                        conclusion(&controller, latest).await.outcome,
                        Outcome::Kept,
                        "after {operations} operations"
                    );
                }
            }
            let controller = open(directory.path(), &machine).await;
            conclusion(&controller, latest).await;
            let images = running(&machine);
            let expected =
                |n: &str| format!("{n}#1 {}", &model::Digest::of(format!("{n}:2").as_bytes()).short()[..4]);
            assert_eq!(images, [expected("db"), expected("web")], "after {operations} operations");
            assert!(!machine.state().two_writers, "after {operations} operations");
            assert!(controller.verify().await.expect("readable").is_whole());
        }
    }
}
