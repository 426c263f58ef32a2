//! The loop with ports of plain data and the real journal: what a person is told, and what is left
//! when the daemon dies at any moment.

use model::image::{ImageSource, PullPolicy};
use model::mount::{Mount, MountSource};
use model::service::{
    Attachment, HealthTest, Healthcheck, JudgePolicy, NetworkMode, PublishedPort, RestartPolicy,
    RolloutPolicy, ServicePolicy, Transport, UpdateConfig, WithoutTraffic,
};
use model::stack::{Network, Volume};
use model::{DurationMs, NetworkName, Service, ServiceName, Stack, StackName, VolumeName};
use run::Parts;
use run::control::{ChangeRequest, Conclusion, Control, Progress, ReleaseStanding, State};
use run::controller::Controller;
use run::fake::FakeMachine;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::record::v1::{Intent, Outcome, Verdict};
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
        links: BTreeMap::new(),
        replicas: 1,
        resources: Default::default(),
        update: UpdateConfig { monitor: Some(DurationMs(50)), ..UpdateConfig::default() },
        rollback: None,
        process: Default::default(),
        stop_grace: DurationMs(100),
        stop_grace_given: false,
        hooks: Default::default(),
        stop_signal: None,
        labels: BTreeMap::new(),
        policy: ServicePolicy {
            rollout: RolloutPolicy { min_healthy: Some(DurationMs(20)), ..RolloutPolicy::default() },
            ..ServicePolicy::default()
        },
        watch: Vec::new(),
    }
}

fn published(mut this: Service, port: u16) -> Service {
    let (host_ip, transport, protocol) = (None, Transport::Tcp, model::service::Protocol::Tcp);
    this.ports.push(PublishedPort {
        target: port,
        published: port,
        host_ip,
        published_last: 0,
        transport,
        protocol,
        http2: false,
    });
    this
}

fn with_volume(mut this: Service) -> Service {
    let name = VolumeName::new("shop_data").expect("valid");
    let source = MountSource::Volume { name, no_copy: false, subpath: None };
    this.mounts.push(Mount { source, target: "/data".into(), read_only: false, options: Vec::new() });
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
        ..Default::default()
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
        rows: None,
        traces: None,
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
        again: false,
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

/// The images that get the traffic of each published port, `web 8724`; several where several do.
fn serving(machine: &FakeMachine) -> Vec<String> {
    let state = machine.state();
    let Some(table) = &state.table else { return Vec::new() };
    let public = table.listeners.iter().filter(|l| l.public);
    let ends = public.flat_map(|l| &table.backends[&l.backend].endpoints).filter(|e| !e.draining);
    let image = |e: &model::route::Endpoint| {
        let (_, o) = state.instances.iter().find(|(id, _)| id.as_str() == e.instance).expect("it is there");
        format!("{} {}", o.spec.service, &o.spec.image.short()[..4])
    };
    ends.map(image).collect()
}

fn of(service: &str, tag: &str) -> String {
    format!("{service} {}", &model::Digest::of(format!("{service}:{tag}").as_bytes()).short()[..4])
}

/// A web service in this version, behind a published port.
fn web(tag: &str) -> Option<Vec<Service>> {
    Some(vec![published(service("web", tag), 8001)])
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

story!(a_service_says_how_its_certificate_stands, |controller, machine, _home| {
    let db = checked(with_volume(service("db", "1")));
    let services = vec![db, published(service("web", "1"), 8001)];
    change(&controller, Intent::Up, Some(services)).await;
    let refused = model::certificate::CertificateStatus {
        name: "shop.web".to_owned(),
        hosts: vec!["shop.test".to_owned()],
        source: "auto".to_owned(),
        expires: None,
        problem: Some("the authority refused".to_owned()),
        next: Some(model::Timestamp(1)),
        failures: 3,
    };
    machine.state().certificates = vec![refused.clone()];
    let stacks = controller.stacks().await.expect("it answers");
    let told: Vec<_> = stacks[0].services.iter().map(|one| one.certificate.clone()).collect();
    assert_eq!(told, [None, Some(refused)]);
    let lacks = controller.lacks().await.expect("it answers");
    assert!(lacks.iter().any(|lack| lack.what.contains("the authority refused")), "{lacks:?}");
});

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
    change(&controller, Intent::Up, web("1")).await;
    let kept = change(&controller, Intent::Deploy, web("2")).await;
    assert_eq!(kept.outcome, Outcome::Kept);
    assert_eq!(serving(&machine), [of("web", "2")]);
    assert_eq!(running(&machine).len(), 2, "the old one is kept warm");
    assert!(kept.warm_until.is_some());
    let figures = &kept.figures[0];
    assert_eq!((figures.instances, figures.gap_ms), (1, 0), "{figures:?}");
    assert!(figures.ready_ms.is_some() && figures.swap_us.is_some(), "{figures:?}");
    assert!(figures.decided_ms.is_some_and(|ms| ms < 3000), "{figures:?}");

    machine.state().ends_at_once.insert("web".into(), 3);
    let failed = change(&controller, Intent::Deploy, web("3")).await;
    assert_eq!(failed.outcome, Outcome::RolledBack, "{failed:?}");
    assert_eq!(failed.before, failed.release);
    assert!(failed.reason.contains("exited with code 3"), "{}", failed.reason);
    assert!(!failed.last_lines.is_empty());
    assert_eq!(serving(&machine), [of("web", "2")], "what ran before goes on");
});

/// A release that is compared for a few seconds.
fn judged(tag: &str, without_traffic: WithoutTraffic) -> Option<Vec<Service>> {
    let mut web = published(service("web", tag), 8001);
    let (cold_start, limit) = (Some(DurationMs(300)), Some(DurationMs(3000)));
    web.policy.rollout.judge =
        Some(JudgePolicy { limit, cold_start, without_traffic, ..JudgePolicy::default() });
    Some(vec![web])
}

story!(a_release_is_judged_by_what_passes, |controller, machine, _home| {
    machine.state().requests = 4000;
    change(&controller, Intent::Up, judged("1", WithoutTraffic::Keep)).await;
    let kept = change(&controller, Intent::Deploy, judged("2", WithoutTraffic::Keep)).await;
    assert_eq!(kept.outcome, Outcome::Kept, "{kept:?}");
    let told = kept.figures[0].judged.clone().unwrap_or_default();
    assert!(told.starts_with("it was shown not to be much worse"), "{told}");
    assert_eq!(serving(&machine), [of("web", "2")]);

    machine.state().fails_every = Some((model::ReleaseId(3), 20));
    let bad = change(&controller, Intent::Deploy, judged("3", WithoutTraffic::Keep)).await;
    assert_eq!(bad.outcome, Outcome::RolledBack, "{bad:?}");
    assert!(bad.reason.contains("failed, 0 % of"), "{}", bad.reason);
    assert_eq!(serving(&machine), [of("web", "2")], "the old one has all of it again");

    let query = store::HistoryQuery { changes_only: true, limit: 100, ..Default::default() };
    let entries = controller.history(query).await.expect("the journal");
    let verdicts: Vec<Verdict> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            store::Event::Judged { verdict, .. } => Some(*verdict),
            _ => None,
        })
        .collect();
    assert!(verdicts.contains(&Verdict::Kept) && verdicts.contains(&Verdict::Worse), "{verdicts:?}");
});

story!(without_traffic_nothing_is_known_and_policy_decides, |controller, _machine, _home| {
    change(&controller, Intent::Up, judged("1", WithoutTraffic::Keep)).await;
    let kept = change(&controller, Intent::Deploy, judged("2", WithoutTraffic::Keep)).await;
    assert_eq!(kept.outcome, Outcome::Kept, "{kept:?}");
    let told = kept.figures[0].judged.clone().unwrap_or_default();
    assert!(told.starts_with("undecided, too little traffic"), "{told}");
    let back = change(&controller, Intent::Deploy, judged("3", WithoutTraffic::Rollback)).await;
    assert_eq!(back.outcome, Outcome::RolledBack, "{back:?}");
    let halted = change(&controller, Intent::Deploy, judged("4", WithoutTraffic::Pause)).await;
    assert_eq!(halted.outcome, Outcome::Undecided, "{halted:?}");
});

/// What a daemon has written down of ten minutes of `shop/web` and ended.
fn write_past(home: &Path) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let minute = |back: u64| {
        let requests = 6000u64;
        let arm = [1, requests, 6, 0, 0, requests * 1772, requests * (1772 * 1772 + 4000), 0, 0];
        serde_json::json!([now.as_millis() as u64 - back * 60_000, arm])
    };
    let minutes: Vec<_> = (0..10).rev().map(minute).collect();
    let known =
        serde_json::json!({"at": now.as_millis() as u64, "learner": {}, "past": {"minutes": minutes}});
    let content = serde_json::json!({"form": 1, "services": {"shop/web": known}});
    std::fs::write(home.join("noise.json"), content.to_string()).expect("written");
}

/// The same where only one can hold the volume.
fn judged_alone(tag: &str, without_traffic: WithoutTraffic) -> Option<Vec<Service>> {
    judged(tag, without_traffic).map(|services| services.into_iter().map(with_volume).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_cannot_serve_beside_is_held_against_what_was_before() {
    let home = tempfile::tempdir().expect("a directory");
    write_past(home.path());
    let machine = FakeMachine::new();
    let controller = open(home.path(), &machine).await;
    machine.state().requests = 4000;
    change(&controller, Intent::Up, judged_alone("1", WithoutTraffic::Keep)).await;
    let kept = change(&controller, Intent::Deploy, judged_alone("2", WithoutTraffic::Keep)).await;
    assert_eq!(kept.outcome, Outcome::Kept, "{kept:?}");
    let told = kept.figures[0].judged.clone().unwrap_or_default();
    assert!(told.starts_with("it was not found to be far worse in"), "{told}");
    assert!(told.contains("judged by what was before, as both cannot serve beside each other"), "{told}");

    machine.state().fails_every = Some((model::ReleaseId(3), 2));
    let bad = change(&controller, Intent::Deploy, judged_alone("3", WithoutTraffic::Keep)).await;
    assert_eq!(bad.outcome, Outcome::RolledBack, "{bad:?}");
    assert!(bad.reason.contains("50 % of") && bad.reason.contains("at most 0.10 % before"), "{}", bad.reason);
    let again = async {
        while serving(&machine) != [of("web", "2")] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = "the one before serves again";
    tokio::time::timeout(Duration::from_secs(10), again).await.expect(told);
    assert!(!machine.state().two_writers);
}

story!(where_nothing_is_known_of_before_policy_decides, |controller, machine, _home| {
    machine.state().requests = 4000;
    change(&controller, Intent::Up, judged_alone("1", WithoutTraffic::Keep)).await;
    let kept = change(&controller, Intent::Deploy, judged_alone("2", WithoutTraffic::Keep)).await;
    assert_eq!(kept.outcome, Outcome::Kept, "{kept:?}");
    let told = kept.figures[0].judged.clone().unwrap_or_default();
    assert!(told.starts_with("undecided, too little is known of the release before"), "{told}");
    let back = change(&controller, Intent::Deploy, judged_alone("3", WithoutTraffic::Rollback)).await;
    assert_eq!(back.outcome, Outcome::RolledBack, "{back:?}");
});

story!(what_was_rolled_back_is_not_tried_again_unless_somebody_says_so, |controller, machine, _home| {
    machine.state().requests = 4000;
    change(&controller, Intent::Up, judged("1", WithoutTraffic::Keep)).await;
    machine.state().fails_every = Some((model::ReleaseId(2), 20));
    let bad = change(&controller, Intent::Up, judged("2", WithoutTraffic::Keep)).await;
    assert_eq!(bad.outcome, Outcome::RolledBack, "{bad:?}");
    let stack = StackName::new("shop").expect("valid");
    let marked = || async { controller.stack(&stack).await.expect("known").rolled_back };
    assert_eq!(marked().await, Some(model::ReleaseId(2)));
    for intent in [Intent::Up, Intent::Deploy] {
        let wish = request(intent, judged("2", WithoutTraffic::Keep));
        let again =
            change(&controller, intent, wish.declared.map(|s| s.services.into_values().collect())).await;
        assert_eq!(again.outcome, Outcome::Failed, "{again:?}");
        let text = "this is r2 again, which was rolled back: service web: ";
        assert!(again.reason.starts_with(text), "{}", again.reason);
        assert_eq!(again.report.expect("told").kind, model::ErrorKind::RolledBack);
        assert_eq!(serving(&machine), [of("web", "1")]);
    }
    let preview = controller.preview(request(Intent::Up, judged("2", WithoutTraffic::Keep))).await;
    let warnings = preview.expect("a preview").warnings;
    assert!(warnings[0].contains("`juchu deploy --again`"), "{warnings:?}");
    let other = controller.preview(request(Intent::Up, judged("3", WithoutTraffic::Keep))).await;
    assert!(other.expect("a preview").warnings.is_empty());

    machine.state().fails_every = None;
    let wish = ChangeRequest { again: true, ..request(Intent::Up, judged("2", WithoutTraffic::Keep)) };
    let accepted = controller.submit(wish).await.expect("accepted");
    let kept = conclusion(&controller, accepted.change).await;
    assert_eq!(kept.outcome, Outcome::Kept, "{kept:?}");
    assert_eq!(marked().await, None);
    // What was kept since may be gone back to and come again.
    change(&controller, Intent::Up, judged("4", WithoutTraffic::Keep)).await;
    let once_more = change(&controller, Intent::Up, judged("2", WithoutTraffic::Keep)).await;
    assert_eq!(once_more.outcome, Outcome::Kept, "{once_more:?}");
});

story!(rollback_goes_back_at_once_and_forward_again, |controller, machine, _home| {
    change(&controller, Intent::Up, web("1")).await;
    change(&controller, Intent::Deploy, web("2")).await;
    let begun = std::time::Instant::now();
    let back = change(&controller, Intent::Rollback { to: None }, None).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((back.outcome, back.release.map(|r| r.0)), (Outcome::Kept, Some(1)), "{back:?}");
    assert_eq!(serving(&machine), [of("web", "1")]);
    let forward = change(&controller, Intent::Rollback { to: Some(model::ReleaseId(2)) }, None).await;
    assert_eq!(forward.outcome, Outcome::Kept);
    assert_eq!(serving(&machine), [of("web", "2")]);
    assert_eq!(running(&machine).len(), 2, "nothing was started");
    let releases = controller.releases(&StackName::new("shop").expect("valid")).await.expect("known");
    let standings: Vec<_> = releases.iter().map(|r| (r.id.0, r.standing)).collect();
    assert!(
        matches!(standings[..], [(1, ReleaseStanding::Warm { .. }), (2, ReleaseStanding::Active)]),
        "{standings:?}"
    );
});

story!(a_cold_rollback_builds_nothing, |controller, machine, _home| {
    for tag in ["1", "2", "3"] {
        change(&controller, Intent::Deploy, web(tag)).await;
    }
    let builds = machine.state().builds;
    let back = change(&controller, Intent::Rollback { to: Some(model::ReleaseId(1)) }, None).await;
    assert_eq!(back.outcome, Outcome::Kept, "{back:?}");
    assert_eq!(serving(&machine), [of("web", "1")]);
    assert_eq!(machine.state().builds, builds);
});

story!(one_service_goes_back_alone, |controller, machine, _home| {
    let both =
        |tag: &str| Some(vec![published(service("web", tag), 8001), published(service("api", tag), 8002)]);
    change(&controller, Intent::Up, both("1")).await;
    change(&controller, Intent::Deploy, both("2")).await;
    let mut wish = request(Intent::Rollback { to: None }, None);
    wish.services = vec![name("web")];
    let accepted = controller.submit(wish).await.expect("accepted");
    assert_eq!(conclusion(&controller, accepted.change).await.outcome, Outcome::Kept);
    assert_eq!(serving(&machine), [of("api", "2"), of("web", "1")]);
});

story!(there_is_nothing_to_go_back_to, |controller, _machine, _home| {
    change(&controller, Intent::Up, web("1")).await;
    let refused = controller.submit(request(Intent::Rollback { to: None }, None)).await.expect_err("refused");
    assert_eq!(refused.error, "there is no earlier release of shop to go back to");
    let to = Some(model::ReleaseId(9));
    let refused = controller.submit(request(Intent::Rollback { to }, None)).await.expect_err("refused");
    assert_eq!(refused.error, "the stack shop has no r9");
    assert_eq!(refused.hints[0], "the releases of shop that are kept are r1");
});

story!(an_image_that_is_gone_is_not_gone_back_to, |controller, machine, _home| {
    change(&controller, Intent::Up, web("1")).await;
    change(&controller, Intent::Deploy, web("2")).await;
    machine.state().lost_images.insert(model::Digest::of(b"web:1"));
    let refused = controller.submit(request(Intent::Rollback { to: None }, None)).await.expect_err("refused");
    assert!(refused.error.starts_with("r1 cannot be gone back to: the image of web"), "{}", refused.error);
    assert_eq!(serving(&machine), [of("web", "2")], "what serves goes on");
});

story!(a_release_that_dies_after_a_while_is_taken_back, |controller, machine, _home| {
    let dying = |tag: &str| {
        let mut web = published(service("web", tag), 8001);
        web.restart = RestartPolicy::No;
        Some(vec![web])
    };
    change(&controller, Intent::Up, dying("1")).await;
    let kept = change(&controller, Intent::Deploy, dying("2")).await;
    assert_eq!(kept.outcome, Outcome::Kept);
    machine.exit_image(&model::Digest::of(b"web:2"), 7);
    wait(|| serving(&machine) == [of("web", "1")]).await;
    let shop = StackName::new("shop").expect("valid");
    let ended = async || {
        let status = controller.stack(&shop).await.expect("known");
        status.pending.is_none() && status.release == Some(model::ReleaseId(1))
    };
    while !ended().await {
        tokio::task::yield_now().await;
    }
    let releases = controller.releases(&shop).await.expect("known");
    assert_eq!(releases[1].outcome, Some(Outcome::RolledBack));
    assert!(releases[1].reason.contains("exited with code 7"), "{}", releases[1].reason);
});

story!(images_are_promoted_to_another_stack_with_its_own_values, |controller, machine, _home| {
    change(&controller, Intent::Up, web("1")).await;
    let builds = machine.state().builds;
    let production = StackName::new("production").expect("valid");
    // Another tag is declared: the image that was tried out is taken all the same.
    let mut declared = stack(vec![published(service("web", "unheard-of"), 8002)]);
    declared.name = production.clone();
    for network in declared.networks.values_mut() {
        network.name = "production_default".into();
    }
    let wish = ChangeRequest {
        stack: production.clone(),
        declared: Some(declared),
        from: Some(StackName::new("shop").expect("valid")),
        ..request(Intent::Promote { release: None }, None)
    };
    let accepted = controller.submit(wish).await.expect("accepted");
    assert_eq!(conclusion(&controller, accepted.change).await.outcome, Outcome::Kept);
    assert_eq!(machine.state().builds, builds, "nothing was built");
    assert_eq!(serving(&machine), [of("web", "1"), of("web", "1")]);
});

story!(releases_beyond_the_number_are_collected, |controller, _machine, _home| {
    let declared = |tag: &str| {
        let mut request = request(Intent::Deploy, web(tag));
        let stack = request.declared.as_mut().expect("declared");
        stack.policy = serde_json::json!({"releases": {"keep": 2}});
        request
    };
    for tag in ["1", "2", "3", "4"] {
        let accepted = controller.submit(declared(tag)).await.expect("accepted");
        conclusion(&controller, accepted.change).await;
    }
    let shop = StackName::new("shop").expect("valid");
    let collected = async || {
        let releases = controller.releases(&shop).await.expect("known");
        let gone = releases.iter().filter(|r| r.standing == ReleaseStanding::Collected);
        gone.map(|r| r.id.0).collect::<Vec<_>>()
    };
    while collected().await != [1, 2] {
        tokio::task::yield_now().await;
    }
    let to = Some(model::ReleaseId(1));
    let refused = controller.submit(request(Intent::Rollback { to }, None)).await.expect_err("refused");
    assert_eq!(refused.error, "r1 of the stack shop was collected: its bundle is gone");
    assert!(controller.verify().await.expect("readable").is_whole());
});

story!(a_change_that_fails_for_another_service_leaves_nothing_warm_for_ever, |controller, machine, _home| {
    let both = |tag: &str| {
        let mut web = published(service("web", tag), 8001);
        web.policy.rollout.warm = Some(DurationMs(300));
        Some(vec![web, service("job", "1")])
    };
    change(&controller, Intent::Up, both("1")).await;
    machine.state().ends_at_once.insert("job".into(), 3);
    machine.exit("job", 3);
    let failed = change(&controller, Intent::Up, both("2")).await;
    assert_eq!(failed.outcome, Outcome::Failed, "{failed:?}");
    assert_eq!(serving(&machine), [of("web", "2")], "what is not to blame is in force");
    wait(|| running(&machine).iter().filter(|i| i.starts_with("web")).count() == 1).await;
});

story!(what_fails_late_is_not_held_against_going_back, |controller, machine, _home| {
    let both = |tag: &str| Some(vec![published(service("web", tag), 8001), service("api", tag)]);
    change(&controller, Intent::Up, both("1")).await;
    let word = Arc::new(tokio::sync::Notify::new());
    machine.state().stuck.insert(model::Digest::of(b"web:2"), word.clone());
    machine.state().stuck.insert(model::Digest::of(b"api:2"), {
        let at_once = Arc::new(tokio::sync::Notify::new());
        at_once.notify_one();
        at_once
    });
    let services = vec![name("web"), name("api")];
    let wish = ChangeRequest { services, ..request(Intent::Deploy, both("2")) };
    let accepted = controller.submit(wish).await.expect("accepted");
    let mut story = controller.follow(accepted.change).await.expect("known");
    while !matches!(story.recv().await.expect("it goes on"), Progress::GoingBack { .. }) {}
    word.notify_one();
    let ended = conclusion(&controller, accepted.change).await;
    assert_eq!(ended.outcome, Outcome::RolledBack, "{ended:?}");
    assert!(ended.reason.starts_with("service api: "), "{}", ended.reason);
});

story!(a_halted_rollout_is_undecided, |controller, machine, _home| {
    let declared = |tag: &str| {
        let mut web = published(service("web", tag), 8001);
        web.replicas = 2;
        web.update.failure_action = Some(model::service::FailureAction::Pause);
        Some(vec![web])
    };
    change(&controller, Intent::Up, declared("1")).await;
    machine.state().ends_at_once.insert("web".into(), 3);
    let halted = change(&controller, Intent::Deploy, declared("2")).await;
    assert_eq!(halted.outcome, Outcome::Undecided, "{halted:?}");
    assert_eq!(serving(&machine), [of("web", "1"), of("web", "1")], "both old ones serve");
    let back = change(&controller, Intent::Rollback { to: None }, None).await;
    assert_eq!(back.outcome, Outcome::Kept, "{back:?}");
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

story!(networks_are_made_sure_of_again_when_the_ways_out_change, |controller, machine, _home| {
    change(&controller, Intent::Up, web("1")).await;
    let instances = running(&machine);
    machine.state().networks.clear();
    machine.state().uplinks = 1;
    wait(|| !machine.state().networks.is_empty()).await;
    assert_eq!(running(&machine), instances, "nothing else is touched");
    drop(controller);
});

story!(what_cannot_be_wired_is_said_before_anything_is_done, |controller, machine, _home| {
    let refused = async |change: &dyn Fn(&mut Stack)| {
        let mut request = request(Intent::Up, web("1"));
        change(request.declared.as_mut().expect("declared"));
        controller.submit(request).await.expect_err("it cannot be had")
    };
    let default = || NetworkName::new("default").expect("valid");
    let report = refused(&|stack| {
        let network = stack.networks.get_mut(&default()).expect("declared");
        (network.external, network.name) = (true, "proxy".into());
    })
    .await;
    assert!(report.error.contains("there is no network `proxy`"), "{}", report.error);
    assert!(report.hints.iter().any(|hint| hint.contains("juchu up")), "{:?}", report.hints);
    let report = refused(&|stack| {
        let network = stack.networks.get_mut(&default()).expect("declared");
        network.subnet = Some("10.33.0.0/24".into());
        let web = stack.services.get_mut(&name("web")).expect("declared");
        let joined = web.networks.get_mut(&default()).expect("joined");
        joined.ipv4_address = Some([10, 33, 0, 1].into());
    })
    .await;
    assert!(report.error.contains("it is the network's own"), "{}", report.error);
    machine.state().taken_ports.extend(9000..=9002);
    let report = refused(&|stack| {
        let web = stack.services.get_mut(&name("web")).expect("declared");
        (web.ports[0].published, web.ports[0].published_last) = (9000, 9002);
    })
    .await;
    assert!(report.error.contains("no port of 9000-9002 is free"), "{}", report.error);
    machine.state().taken_ports.extend([53]);
    let report = refused(&|stack| {
        let web = stack.services.get_mut(&name("web")).expect("declared");
        (web.ports[0].published, web.ports[0].transport) = (53, Transport::Udp);
    })
    .await;
    assert!(report.error.contains("port 53/udp cannot be published"), "{}", report.error);
    assert!(machine.state().instances.is_empty() && machine.state().builds == 0);
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
            let mut images = serving(&machine);
            images.sort();
            assert_eq!(images, [of("db", "2"), of("web", "2")], "after {operations} operations");
            assert!(!machine.state().two_writers, "after {operations} operations");
            assert!(controller.verify().await.expect("readable").is_whole());
        }
    }
}
