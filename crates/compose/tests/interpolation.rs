//! Variables in values.

mod support;

use support::{Project, with_keys};

/// Expands `template` as the hostname of a service, with `SET=value`, `EMPTY=` and `N=80` set.
#[track_caller]
fn check(template: &str, expect: &str) {
    let keys = format!("hostname: >-\n  x{template}");
    let (stack, _) = with_keys(&keys).env("SET", "value").env("EMPTY", "").env("N", "80").warned();
    let hostname = stack.services["a"].process.hostname.clone().unwrap_or_default();
    assert_eq!(hostname.strip_prefix('x').unwrap(), expect, "{template}");
}

#[test]
fn every_operator_means_what_compose_says() {
    for (template, expect) in [
        ("$SET", "value"),
        ("${SET}", "value"),
        ("$SET$N", "value80"),
        ("${SET}s", "values"),
        ("$SET.x", "value.x"),
        ("${UNSET}", ""),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${SET:-d}", "value"),
        ("${UNSET-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${SET:+r}", "r"),
        ("${EMPTY:+r}", ""),
        ("${UNSET:+r}", ""),
        ("${EMPTY+r}", "r"),
        ("${UNSET+r}", ""),
        ("${SET:?m}", "value"),
        ("${EMPTY?m}", ""),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-a${EMPTY:-b${N}}c}", "ab80c"),
        ("${UNSET:-$SET}", "value"),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:b-c}", "a:b-c"),
        ("$$SET", "$SET"),
        ("$$$SET", "$value"),
        ("${UNSET:-$$}", "$"),
        ("$1", "$1"),
        ("a$", "a$"),
        ("$-", "$-"),
    ] {
        check(template, expect);
    }
}

#[test]
fn an_unset_variable_is_a_warning_with_its_place() {
    let (_, said) = with_keys("hostname: h$NOPE").warned();
    assert_eq!(
        said,
        "compose.yaml:4:15: warning: the variable NOPE is not set, an empty text is used; \
         hint: set NOPE in the environment or in .env, or give a default: ${NOPE:-value}"
    );
}

#[test]
fn a_missing_required_variable_says_what_to_set() {
    let said = with_keys("hostname: ${NAME:?give a name}").refused();
    assert_eq!(
        said,
        "compose.yaml:4:15: error: required variable NAME is missing a value: give a name; \
         hint: set NAME in the environment or in .env"
    );
    let said = with_keys("hostname: ${NAME?}").refused();
    assert!(said.contains("required variable NAME is missing a value; hint: set NAME"), "{said}");
}

#[test]
fn malformed_substitutions_are_errors() {
    for bad in ["${", "${}", "${A", "${A:}", "${A:=x}", "${1}", "${A!}", "${A:-${B}"] {
        let said = with_keys(&format!("hostname: '{bad}'")).refused();
        assert!(said.contains(&format!("4:15: error: invalid substitution in `{bad}`")), "{said}");
    }
}

#[test]
fn expanded_text_becomes_the_type_of_its_key() {
    let project =
        with_keys("init: ${T}\nscale: ${N}\nports: [\"$P:80\"]\nhealthcheck: {test: x, retries: '$N'}");
    let stack = project.env("T", "true").env("N", "3").env("P", "8080").clean();
    let service = &stack.services["a"];
    assert!(service.process.init);
    assert_eq!((service.replicas, service.ports[0].published), (3, 8080));
    assert_eq!(service.healthcheck.as_ref().unwrap().retries, Some(3));
}

#[test]
fn keys_are_not_interpolated_and_extensions_are() {
    let stack = with_keys("environment: {$A: $B}\nlabels: [\"$B=$B\"]").env("A", "1").env("B", "2").clean();
    let service = &stack.services["a"];
    assert_eq!(format!("{:?}", service.environment), r#"{"$A": "2"}"#);
    assert_eq!(format!("{:?}", service.labels), r#"{"2": "2"}"#);
    let stack = Project::new("x-juchu: {releases: {disk_floor: $B}}\nservices: {a: {image: x}}")
        .env("B", "2gb")
        .clean();
    assert_eq!(stack.policy["releases"]["disk_floor"], "2gb");
}

#[test]
fn values_cannot_grow_without_bound() {
    let nested = format!("{}x{}", "${U:-".repeat(40), "}".repeat(40));
    let said = with_keys(&format!("hostname: '{nested}'")).refused();
    assert!(said.contains("nested deeper than 16 levels"), "{said}");
    let many = "$BIG".repeat(64);
    let said = with_keys(&format!("hostname: {many}")).env("BIG", &"x".repeat(32 << 10)).refused();
    assert!(said.contains("longer than 1048576 bytes"), "{said}");
}
