//! What was started by an earlier version stays what is wanted: its hash follows from the stored release
//! alone, whatever keys were added since.

use model::Release;
use plan::spec::spec_hash;

#[test]
fn a_release_stored_before_has_the_hash_it_had() {
    let release: Release =
        serde_json::from_str(include_str!("data/release-v1.json")).expect("it reads for ever");
    let hash = spec_hash(&release, &release.stack.services["web"]);
    assert_eq!(hash.hex(), "074abd245792c833d866380d24381097b64bb4354a2e94570daa69b0a3318629");
}

#[test]
fn keys_that_matter_to_an_instance_change_its_hash() {
    let release: Release = serde_json::from_str(include_str!("data/release-v1.json")).expect("it reads");
    let hash = |change: &dyn Fn(&mut model::Service)| {
        let mut release = release.clone();
        change(release.stack.services.get_mut("web").expect("it is there"));
        spec_hash(&release, &release.stack.services["web"])
    };
    let before = hash(&|_| {});
    let hook = || model::service::Hook { command: vec!["x".into()], ..Default::default() };
    let matters: [&dyn Fn(&mut model::Service); 8] = [
        &|s| s.hooks.post_start.push(hook()),
        &|s| s.hooks.pre_stop.push(hook()),
        &|s| s.mounts[0].options.push("rslave".into()),
        &|s| s.process.host_uts = true,
        &|s| s.process.seccomp_profile = Some("{}".into()),
        &|s| s.process.ipc_of = Some(model::ServiceName::new("db").expect("a name")),
        &|s| s.resources.cpu_quota_us = Some(5),
        &|s| s.resources.block_io = Some(Default::default()),
    ];
    for (number, change) in matters.iter().enumerate() {
        assert_ne!(hash(*change), before, "change {number}");
    }
    assert_eq!(hash(&|s| s.stop_grace_given = true), before, "as little as the time itself");
    assert_eq!(hash(&|s| s.replicas = 5), before);
}
