//! `.env`, `--env-file`, `env_file`, `label_file` and the parser behind them.

mod support;

use compose::env_file::{Format, parse};
use std::path::PathBuf;
use support::{Project, with_keys};

/// Parses one file with `OUT=outer` around it and prints its variables and problems.
fn parsed(text: &str, format: Format) -> String {
    let lookup = |name: &str| (name == "OUT").then(|| "outer".to_owned());
    let parsed = parse(text, format, &lookup);
    let variables = parsed.variables.iter().map(|v| match &v.value {
        Some(value) => format!("{}={value:?}", v.name),
        None => format!("{} unset", v.name),
    });
    let problems = parsed.problems.iter().map(|p| format!("{}:{}: {}", p.line, p.column, p.message));
    variables.chain(problems).collect::<Vec<_>>().join(" | ")
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(parsed(text, Format::Dotenv), expect, "\n{text}");
}

#[test]
fn the_dotenv_syntax_is_compose_s() {
    check("A=1\n\n# note\n  B = two words  \n", r#"A="1" | B="two words""#);
    check("export A=1\nexport  B='2'\nexport C", r#"A="1" | B="2" | C unset"#);
    check("A=un#quoted #comment\nB= # of the value", "A=\"un#quoted\" | B=\"# of the value\"");
    check("A: yaml", r#"A="yaml""#);
    check("A=\"a\\tb\\n\\\"q\\\"\" # c", r#"A="a\tb\n\"q\"""#);
    check("A='raw $OUT \\n #'", r#"A="raw $OUT \\n #""#);
    check("A='it\\'s'", r#"A="it's""#);
    check("A=\"two\nlines\"\nB=3", r#"A="two\nlines" | B="3""#);
    check("A=x\nB=$A-${A}-${NO:-d}-$$A", r#"A="x" | B="x-x-d-$A""#);
    check("A=\"\\$OUT $OUT\"", r#"A="$OUT outer""#);
    check("OUT=mine\nB=$OUT", r#"OUT="mine" | B="outer""#);
    check("OUT\nNOPE", r#"OUT="outer" | NOPE unset"#);
    check("A=a=b\r\nB=2\r\n", r#"A="a=b" | B="2""#);
    check("\u{feff}A=1", r#"A="1""#);
    check("A-B.C[1]=x", r#"A-B.C[1]="x""#);
}

#[test]
fn every_problem_of_a_file_has_its_place() {
    check("A b=1\nC=2", r#"C="2" | 1:1: the variable name `A b` contains a space"#);
    check("ok=1\n  A!=1", r#"ok="1" | 2:3: unexpected character `!` in the variable name `A!`"#);
    check("=1", "1:1: a line without the name of a variable has no effect");
    check("A=1\nB=\"open", r#"A="1" | 2:3: the value is not closed by ""#);
    check("A=${", "1:3: invalid substitution in `${`");
    check("A=${B:?no}", "1:3: required variable B is missing a value: no");
    check(
        "A=\"x\" y\nB=1",
        r#"A="x" | y unset | B="1" | 1:7: `y` after the closing quote is not part of the value"#,
    );
    check(
        "A=\"x\" \"y\"\nB=1",
        "A=\"x\" | B=\"1\" | 1:7: `\"y\"` after the closing quote is not part of the value | 1:7: unexpected character `\"` in the variable name `\"y\"`",
    );
    check("A=$B", r#"A="" | 1:3: the variable B is not set, an empty text is used"#);
}

#[test]
fn the_raw_form_takes_values_as_they_stand() {
    let raw = parsed("A=\"x\" $B # c\n# note\nOUT\n", Format::Raw);
    assert_eq!(raw, r#"A="\"x\" $B # c" | OUT="outer""#);
    assert_eq!(parsed("A b", Format::Raw), "1:1: `A b` is not a variable name");
}

#[test]
fn dotenv_feeds_interpolation_and_the_environment_wins() {
    let project = with_keys("hostname: ${H}\ndomainname: ${D}").file(".env", "H=file\nD=file");
    let stack = project.env("D", "outside").clean();
    let process = &stack.services["a"].process;
    assert_eq!((process.hostname.as_deref(), process.domainname.as_deref()), (Some("file"), Some("outside")));
    // Interpolation only: nothing of it reaches the service by itself.
    assert!(stack.services["a"].environment.is_empty());
}

#[test]
fn named_env_files_replace_dotenv_and_the_last_wins() {
    let mut project = with_keys("hostname: ${A}-${B:-unset}-${C:-unset}")
        .file(".env", "C=dotenv")
        .file("one.env", "A=1\nB=1")
        .file("two.env", "B=2$A");
    project.input.env_files = vec![PathBuf::from("one.env"), PathBuf::from("two.env")];
    assert_eq!(project.clean().services["a"].process.hostname.as_deref(), Some("1-21-unset"));
    project.input.env_files.clear();
    let project = project.env("COMPOSE_ENV_FILES", "two.env,one.env");
    assert_eq!(project.warned().0.services["a"].process.hostname.as_deref(), Some("1-1-unset"));
    let mut project = with_keys("init: true");
    project.input.env_files = vec![PathBuf::from("nope.env")];
    assert!(
        project.refused().starts_with("-: error: the environment file nope.env does not exist; hint: create")
    );
}

/// The environment of `a` with these keys; `e` and `f` are files beside, `OS=outside` is set.
#[track_caller]
fn check_service(keys: &str, expect: &str) {
    let project = with_keys(keys)
        .file("e", "A=1\nB=e\nOS=efile\nU=$$x\nV=${OS}")
        .file("f", "B=f\nB2=$B\n")
        .env("OS", "outside");
    assert_eq!(format!("{:?}", project.clean().services["a"].environment), expect, "\n{keys}");
}

#[test]
fn env_file_takes_its_three_forms() {
    let e = r#"{"A": "1", "B": "e", "OS": "efile", "U": "$x", "V": "outside"}"#;
    check_service("env_file: e", e);
    check_service("env_file: [./e]", e);
    check_service("env_file: [{path: e}]", e);
    check_service("env_file: [{path: nope, required: false}, {path: f}]", r#"{"B": "f", "B2": "f"}"#);
    check_service("env_file: [{path: f, format: raw}]", r#"{"B": "f", "B2": "$B"}"#);
    check_service(
        "env_file: [e, f]\nenvironment: {V: here, OS: }",
        r#"{"A": "1", "B": "f", "B2": "e", "OS": "outside", "U": "$x", "V": "here"}"#,
    );
}

#[test]
fn a_name_without_a_value_comes_from_the_environment() {
    check_service("environment: [OS, NOPE, X=1, Y=]", r#"{"OS": "outside", "X": "1", "Y": ""}"#);
    check_service(
        "environment: {OS: , NOPE: null, X: 1, B: true, F: 1.10}",
        r#"{"B": "true", "F": "1.1", "OS": "outside", "X": "1"}"#,
    );
}

#[test]
fn label_files_lie_below_labels() {
    let stack = with_keys("label_file: [l]\nlabels: [b=here]").file("l", "a=file\nb=file").clean();
    assert_eq!(format!("{:?}", stack.services["a"].labels), r#"{"a": "file", "b": "here"}"#);
}

#[test]
fn problems_in_env_files_name_the_file_and_the_line() {
    let said = with_keys("env_file: e").file("e", "A=1\nB c=2").refused();
    assert_eq!(said, "e:2:1: error: the variable name `B c` contains a space; hint: write NAME=value");
    let said = with_keys("env_file:\n  - path: nope").refused();
    assert_eq!(
        said,
        "compose.yaml:5:15: error: the environment file nope does not exist; \
         hint: create /p/app/nope, or correct the path"
    );
    let said = with_keys("env_file: [{path: e, format: json}]").file("e", "").refused();
    assert!(said.contains("4:34: error: `json` is not a format of environment files"), "{said}");
}

#[test]
fn an_inactive_service_needs_no_env_file() {
    Project::new("services:\n  a: {image: x}\n  b: {image: x, profiles: [p], env_file: nope}\n").clean();
}
