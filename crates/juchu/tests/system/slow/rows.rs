//! What services write is kept and searched: each line once, however often the daemon is killed.

use super::machine::Machine;
use serde_json::Value;
use std::time::Duration;
use testkit::wait_until;

/// Numbered lines of JSON on one output, errors with a trace on the other.
const SCRIPT: &str = r#"n=0
while true; do
  echo "{\"level\":\"info\",\"n\":$n,\"who\":{\"id\":\"u-$((n % 7))\"}}"
  n=$((n+1))
  if [ $((n % 10)) = 0 ]; then
    echo "java.lang.IllegalStateException: number $n" >&2
    echo "	at a.B.c(B.java:7)" >&2
  fi
  /app/busybox usleep 4000
done
"#;

const COMPOSE: &str = r#"
name: talk
services:
  web:
    stop_signal: SIGKILL
    x-juchu:
      builder: native
      image: {kind: binary, user: root, entrypoint: ["/app/busybox", "sh", "/app/say.sh"]}
    build: ./web
"#;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The numbers of the rows that a search finds.
fn numbers(machine: &Machine, directory: &std::path::Path, query: &str) -> Vec<i64> {
    let said = machine.run(directory, &["logs", "--json", "-n", "all", "web", query]);
    let number = |row: &Value| {
        let text: Value = serde_json::from_str(row["text"].as_str().expect("a text")).expect("JSON");
        text["n"].as_i64().expect("a number")
    };
    lines(&said.out).iter().map(number).collect()
}

#[test]
fn each_line_is_found_once_although_the_daemon_was_killed() {
    let Some(machine) = Machine::new("rows") else { return };
    let directory = machine.project("talk", COMPOSE);
    let web = directory.join("web");
    std::fs::create_dir_all(&web).expect("a directory");
    std::fs::copy(testkit::busybox_static(), web.join("busybox")).expect("busybox is there");
    std::fs::write(web.join("say.sh"), SCRIPT).expect("a script");
    machine.must(&directory, &["up", "-d"]);
    for goal in [100, 300, 500] {
        wait_until(Duration::from_secs(60), "rows are found", || {
            numbers(&machine, &directory, "n>=0").last().is_some_and(|last| *last > goal)
        });
        machine.kill_daemon();
        machine.must(&directory, &["up", "-d"]);
    }
    machine.must(&directory, &["stop"]);
    let live = lines(&machine.must(&directory, &["logs", "--json"]));
    let of_stdout = live.iter().filter(|line| line["stream"] == "stdout").count() as i64;
    wait_until(Duration::from_secs(20), "all rows are kept", || {
        numbers(&machine, &directory, "n>=0").len() as i64 >= of_stdout
    });
    assert_eq!(numbers(&machine, &directory, "n>=0"), (0..of_stdout).collect::<Vec<_>>());
    assert_eq!(numbers(&machine, &directory, "n:42 who.id:u-0"), [42]);
    assert!(numbers(&machine, &directory, "n<50 !level:info").is_empty());

    // Two lines are one row, and its level is known.
    let traces =
        lines(&machine.must(&directory, &["logs", "--json", "source:stderr", "IllegalStateException"]));
    assert_eq!(traces[0]["text"], "java.lang.IllegalStateException: number 10\n\tat a.B.c(B.java:7)");
    let counted = machine.must(&directory, &["logs", "--json", "--count-by", "level,source"]);
    let counted: Value = serde_json::from_str(&counted).expect("JSON");
    let of_info =
        counted["counts"].as_array().expect("a list").iter().find(|count| count["values"][0] == "info");
    assert_eq!(of_info.expect("there are some")["rows"], of_stdout);

    let wrong = machine.run(&directory, &["logs", "a (b"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("the bracket opened here is not closed at column 3"), "{}", wrong.err);
    assert!(wrong.err.contains("hint: "), "{}", wrong.err);
    machine.must(&directory, &["down"]);
}

#[test]
fn what_cannot_be_measured_or_kept_stops_nothing() {
    let Some(machine) = Machine::new("unmeasured") else { return };
    for name in ["metrics", "rows"] {
        std::fs::write(machine.home().join(name), "in the way").expect("a file");
    }
    let directory = machine.project("talk", COMPOSE);
    let web = directory.join("web");
    std::fs::create_dir_all(&web).expect("a directory");
    std::fs::copy(testkit::busybox_static(), web.join("busybox")).expect("busybox is there");
    std::fs::write(web.join("say.sh"), SCRIPT).expect("a script");
    machine.must(&directory, &["up", "-d"]);
    let asked = machine.run(&directory, &["query", "up"]);
    assert!(asked.code != 0 && asked.err.contains("nothing is measured"), "{asked:?}");
    let asked = machine.run(&directory, &["logs", "web", "level:info"]);
    assert!(asked.code != 0 && asked.err.contains("keeps no rows"), "{asked:?}");
    assert!(machine.must(&directory, &["logs", "web"]).contains("\"n\":"));
}
