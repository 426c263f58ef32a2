//! `x-juchu.objectives`: what a service promises.

mod support;

use support::{Project, service, with_keys};

fn shown(keys: &str) -> String {
    let objectives = service(keys).policy.objectives;
    let available = objectives.availability.map(|target| target.to_string());
    let latency = objectives.latency.map(|latency| format!("{} within {}", latency.target, latency.within));
    available.into_iter().chain(latency).collect::<Vec<_>>().join(", ")
}

#[test]
fn objectives_in_all_forms() {
    for (objectives, expect) in [
        ("{availability: 99.9%}", "99.9 %"),
        ("{availability: 0.995, latency: {target: 99%, within: 300ms}}", "99.5 %, 99 % within 300 ms"),
        ("{latency: {target: 95%, within: 1s}}", "95 % within 1 s"),
        ("{}", ""),
    ] {
        assert_eq!(shown(&format!("x-juchu: {{objectives: {objectives}}}")), expect, "{objectives}");
    }
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    for (objectives, expect) in [
        (
            "{availability: 100%}",
            "4:42: error: `100%` is none: an objective is a share between 50% and 99.999%",
        ),
        ("{availability: 99.9}", "4:42: error: `99.9` is none: an objective is a share"),
        ("{availability: often}", "4:42: error: `often` is none: an objective is a share"),
        ("{latency: {target: 99%, within: 0s}}", "4:59: error: `within` must be between 1 ms and 30 s"),
        ("{latency: {target: 99%, within: 2m}}", "4:59: error: `within` must be between 1 ms and 30 s"),
        ("{latency: {target: 99%}}", "within"),
        ("{latency: 300ms}", "latency"),
        ("{speed: 99%}", "speed"),
    ] {
        let said = with_keys(&format!("x-juchu: {{objectives: {objectives}}}")).refused();
        assert!(said.contains(expect), "{objectives}: {said}");
    }
}

#[test]
fn receivers_are_read_from_the_file_itself() {
    let file = |notify: &str| {
        format!(
            "services:\n  a:\n    image: x\nsecrets:\n  hook: {{file: ./hook.txt}}\nx-juchu:\n  notify: {notify}\n"
        )
    };
    let stack = Project::new(&file("{ops: {kind: mail, secret: hook, least: urgent}}")).clean();
    let found = model::notify::of(&stack.policy);
    assert_eq!((found["ops"].kind.as_str(), found["ops"].secret.as_str()), ("mail", "hook"));
    assert!(stack.secrets.contains_key("hook"), "what only a receiver needs is part of the stack, too");
    for (notify, expect) in [
        (
            "{ops: {kind: mail, secret: hok}}",
            "7:38: error: there is no secret `hok`; hint: did you mean `hook`?",
        ),
        ("{ops: {kind: pigeon, secret: hook}}", "pigeon"),
        ("{ops: {kind: mail}}", "secret"),
        ("{'a b': {kind: mail, secret: hook}}", "a receiver's name has up to 40 letters"),
    ] {
        let said = Project::new(&file(notify)).refused();
        assert!(said.contains(expect), "{notify}: {said}");
    }
}
