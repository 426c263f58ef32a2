//! `develop.watch`.

mod support;

use model::watch::{WatchAction, WatchExec};
use std::path::Path;
use support::{service, with_keys};

#[test]
fn a_rule_has_its_paths_patterns_and_command() {
    let rules = service(
        "develop:
  watch:
    - {path: ./src, action: sync, target: /app, ignore: node_modules/, include: ['*.py'], initial_sync: true}
    - {path: ~/lib/../deps, action: rebuild}
    - path: a
      action: sync+exec
      target: /a
      exec: {command: \"run 'it all'\", user: app, working_dir: /a, environment: [A=1], privileged: true}",
    )
    .watch;
    assert_eq!(
        rules.iter().map(|rule| rule.action.word()).collect::<Vec<_>>(),
        ["sync", "rebuild", "sync+exec"]
    );
    assert_eq!(rules[0].path, Path::new("/p/app/src"));
    assert_eq!((rules[0].target.as_str(), rules[0].initial_sync), ("/app", true));
    assert_eq!(
        (&rules[0].ignore[..], &rules[0].include[..]),
        (&["node_modules/".into()][..], &["*.py".into()][..])
    );
    assert_eq!(
        (rules[1].path.as_path(), rules[1].action),
        (Path::new("/home/me/deps"), WatchAction::Rebuild)
    );
    let exec = WatchExec {
        command: vec!["run".into(), "it all".into()],
        user: Some("app".into()),
        working_dir: Some("/a".into()),
        environment: [("A".to_owned(), "1".to_owned())].into(),
        privileged: true,
    };
    assert_eq!(rules[2].exec, Some(exec));
}

#[test]
fn nothing_to_watch_is_valid() {
    for keys in ["develop:", "develop: {}", "develop: {watch: []}", "develop: {x-mine: 1}"] {
        assert!(service(keys).watch.is_empty(), "{keys}");
    }
}

#[test]
fn what_a_rule_lacks_is_said_with_its_place() {
    let said = |rule: &str| with_keys(&format!("develop: {{watch: [{rule}]}}")).refused();
    for (rule, expect) in [
        ("{path: a, action: sync}", "4:23: error: a watch rule of `a` with `action: sync` has no `target`"),
        ("{path: a, action: sync+exec, target: ''}", "with `action: sync+exec` has no `target`"),
        ("{path: '', action: rebuild}", "the `path` of a watch rule of the service `a` is empty"),
        ("{action: rebuild}", "needs `path`"),
        ("{path: a}", "needs `action`"),
        ("{path: a, action: copy}", "copy"),
        ("{path: a, action: restart, exec: {user: b}}", "needs `command`"),
        ("{path: a, action: restart, targt: b}", "targt"),
    ] {
        assert!(said(rule).contains(expect), "{rule}: {}", said(rule));
    }
}
