//! `x-juchu.ranges`: what is normal, by signal.

mod support;

use support::{service, with_keys};

/// Each signal on a line.
fn shown(keys: &str) -> String {
    let service = service(keys);
    let one = |(name, declared): (&String, &model::range::Declared)| {
        let mut text = name.clone();
        if declared.off {
            text.push_str(" off");
        }
        declared.bounds.iter().for_each(|bounds| text.push_str(&format!(" {bounds}")));
        if !declared.learn {
            text.push_str(" unlearned");
        }
        declared.level.iter().for_each(|level| text.push_str(&format!(" {}", level.word())));
        declared.query.iter().for_each(|query| text.push_str(&format!(" = {query}")));
        text
    };
    service.policy.ranges.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn ranges_in_all_forms() {
    for (keys, expect) in [
        ("x-juchu: {ranges: {p95: {max: 400ms}}}", "p95 at most 0.4"),
        ("x-juchu: {ranges: {errors: {max: 1%, level: urgent}}}", "errors at most 0.01 urgent"),
        ("x-juchu: {ranges: {memory: {max: 512mb, learn: false}}}", "memory at most 536870912 unlearned"),
        ("x-juchu: {ranges: {requests: off}}", "requests off"),
        ("x-juchu: {ranges: {cpu: {min: 0.1, max: 2}}}", "cpu 0.1 to 2"),
        ("x-juchu: {ranges: {queue: {query: 'sum(q)', max: 10}}}", "queue at most 10 = sum(q)"),
        ("x-juchu: {direct: true}", ""),
    ] {
        assert_eq!(shown(keys), expect, "{keys}");
    }
}

#[test]
fn what_makes_no_sense_is_told() {
    for (ranges, expect) in [
        ("{p95: {min: 2s, max: 1s}}", "`p95`: the range is upside down: min 2 is above max 1"),
        ("{p95: {max: nonsense}}", "`nonsense` is no value of this signal"),
        ("{p95: {max: .nan}}", "is no value of this signal"),
        ("{speed: {max: 1}}", "`speed` is no signal of a service"),
        ("{a/b: {query: x}}", "a signal's name has up to 64 characters and no `/`"),
    ] {
        let said = with_keys(&format!("x-juchu: {{ranges: {ranges}}}")).refused();
        assert!(said.contains(expect), "{ranges}: {said}");
    }
}
