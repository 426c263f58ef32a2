//! The components for real: assembled from the Debian archive, run, killed, started again.
//! Needs root and the archive; what was downloaded is kept below the target directory.

#[path = "../../build/tests/jail/mod.rs"]
mod jail;

use build::archive::ArchiveChoice;
use jail::{Jail, Running};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const PASSWORD: &str = "s3cret'; \\ %q \"x";

fn jail(component: &str, test: &str) -> Option<Jail> {
    if !testkit::require_root(test) {
        return None;
    }
    let plan = catalog::image_plan(component, &json!(null), ArchiveChoice::default()).unwrap();
    Some(Jail::new(&plan))
}

fn psql(running: &Running, query: &str) -> Result<String, String> {
    let argv = ["psql", "-h", "127.0.0.1", "-U", "app", "-d", "shop", "-Atc", query];
    let output = running.exec(&argv, &[]);
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn healthy(running: &Running, component: &str) -> bool {
    let plan = catalog::image_plan(component, &json!(null), ArchiveChoice::default()).unwrap();
    let Some(check) = plan.config.healthcheck else { return false };
    let model::service::HealthTest::Shell { script } = check.test else { return false };
    running
        .exec(&["/bin/sh", "-c", &script], &[("POSTGRES_USER", "app"), ("POSTGRES_DB", "shop")])
        .status
        .success()
}

fn wait_healthy(running: &Running, component: &str) {
    let begun = std::time::Instant::now();
    while !healthy(running, component) {
        assert!(
            begun.elapsed() < START && !running.has_ended(),
            "it is not healthy:\n{}\n{:?}",
            running.output(),
            running.exec(&["redis-cli", "ping"], &[])
        );
    }
}

fn shop(jail: &mut Jail) {
    let secret = jail.write("/run/secrets/password", &format!("{PASSWORD}\n"));
    std::fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    jail.set("POSTGRES_PASSWORD_FILE", "/run/secrets/password")
        .set("POSTGRES_USER", "app")
        .set("POSTGRES_DB", "shop");
    jail.write(
        "/docker-entrypoint-initdb.d/10-table.sql",
        "CREATE TABLE item (name text); INSERT INTO item VALUES ('sql');",
    );
    jail.write(
        "/docker-entrypoint-initdb.d/20-more.sh",
        "[[ -n $POSTGRES_DB ]] && psql -v ON_ERROR_STOP=1 -U \"$POSTGRES_USER\" -d \"$POSTGRES_DB\" <<<\"INSERT INTO item VALUES ('sh')\"\n\
         echo \"work_mem = '9MB'\" >> \"$PGDATA/postgresql.conf\"\n",
    );
    jail.write("/docker-entrypoint-initdb.d/30-ignored.txt", "x");
}

#[test]
fn postgres_keeps_its_data_through_kill_and_restart() {
    let Some(mut jail) = jail("postgres", "postgres_keeps_its_data_through_kill_and_restart") else { return };
    shop(&mut jail);
    let running = jail.start(&["postgres", "-c", "max_connections=37"]);
    wait_healthy(&running, "postgres");
    assert_eq!(psql(&running, "SELECT string_agg(name, ',' ORDER BY name) FROM item").unwrap(), "sh,sql");
    assert_eq!(psql(&running, "SHOW max_connections").unwrap(), "37");
    assert_eq!(psql(&running, "SHOW work_mem").unwrap(), "9MB");
    assert_eq!(psql(&running, "SELECT 'a' < 'B'").unwrap(), "t", "names sort as people sort them");
    psql(&running, "INSERT INTO item VALUES ('kept')").unwrap();
    for line in running.command_lines() {
        assert!(!line.contains("s3cret"), "{line}");
    }
    assert!(!running.output().contains("s3cret"), "{}", running.output());
    running.kill();

    let again = jail.start(&[]);
    wait_healthy(&again, "postgres");
    assert_eq!(psql(&again, "SELECT count(*) FROM item WHERE name = 'kept'").unwrap(), "1");
    assert!(!again.output().contains("making a new database"));
    again.signal_first(Signal::INT);
    let (code, output) = again.ended(START);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("fast shutdown request"), "{output}");
}

#[test]
fn postgres_lets_strangers_in_only_with_the_password() {
    let Some(mut jail) = jail("postgres", "postgres_lets_strangers_in_only_with_the_password") else {
        return;
    };
    shop(&mut jail);
    let running = jail.start(&[]);
    wait_healthy(&running, "postgres");
    // A connection to a further address of the same machine comes from that address.
    let Some(ip) = testkit::needs("ip", "iproute2") else { return };
    let added =
        std::process::Command::new(ip).args(["addr", "add", "10.9.9.9/32", "dev", "lo"]).status().unwrap();
    assert!(added.success());
    let from_elsewhere = |password: &str| {
        let argv = ["psql", "-h", "10.9.9.9", "-U", "app", "-d", "shop", "-w", "-Atc", "SELECT 1"];
        running.exec(&argv, &[("PGPASSWORD", password)]).status.success()
    };
    assert!(from_elsewhere(PASSWORD));
    assert!(!from_elsewhere("another"));
    let stored =
        psql(&running, "SELECT rolpassword LIKE 'SCRAM-SHA-256%' FROM pg_authid WHERE rolname = 'app'");
    assert_eq!(stored.unwrap(), "t");
}

#[test]
fn postgres_refuses_to_start_without_a_password() {
    let Some(mut jail) = jail("postgres", "postgres_refuses_to_start_without_a_password") else { return };
    let (code, output) = jail.start(&[]).ended(START);
    assert_eq!(code, 1);
    assert!(
        output.contains("no password for it") && output.contains("hint: set POSTGRES_PASSWORD"),
        "{output}"
    );
    jail.set("POSTGRES_PASSWORD", "a").set("POSTGRES_PASSWORD_FILE", "/etc/hostname");
    let (code, output) = jail.start(&[]).ended(START);
    assert!(
        code == 1 && output.contains("both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set"),
        "{output}"
    );
    jail.environment.remove("POSTGRES_PASSWORD");
    jail.set("POSTGRES_PASSWORD_FILE", "/nope");
    let (code, output) = jail.start(&[]).ended(START);
    assert!(code == 1 && output.contains("/nope, which cannot be read"), "{output}");
    jail.environment.remove("POSTGRES_PASSWORD_FILE");
    jail.set("POSTGRES_HOST_AUTH_METHOD", "trust").set("POSTGRES_USER", "app").set("POSTGRES_DB", "shop");
    let running = jail.start(&[]);
    wait_healthy(&running, "postgres");
    assert!(running.output().contains("everybody who reaches this database"));
}

#[test]
fn postgres_begins_again_after_a_first_start_that_was_killed() {
    let Some(mut jail) = jail("postgres", "postgres_begins_again_after_a_first_start_that_was_killed") else {
        return;
    };
    shop(&mut jail);
    let mut killed_while_working = 0;
    for step in 0..12u64 {
        let running = jail.start(&[]);
        let wanted = Duration::from_millis(step * step * 25);
        let begun = std::time::Instant::now();
        testkit::wait_until(START, "the moment to kill", || begun.elapsed() >= wanted);
        let half_made = jail.path("/var/lib/postgresql/data/.juchu-new").exists();
        killed_while_working += u32::from(half_made);
        assert!(!(half_made && healthy(&running, "postgres")), "a half-made database is never healthy");
        running.kill();
    }
    assert!(killed_while_working > 2, "too few kills hit the first start: {killed_while_working}");
    let running = jail.start(&[]);
    wait_healthy(&running, "postgres");
    assert_eq!(psql(&running, "SELECT string_agg(name, ',' ORDER BY name) FROM item").unwrap(), "sh,sql");
    assert!(!jail.path("/var/lib/postgresql/data/.juchu-new").exists());
}

#[test]
fn postgres_starts_over_when_an_init_file_fails() {
    let Some(mut jail) = jail("postgres", "postgres_starts_over_when_an_init_file_fails") else { return };
    shop(&mut jail);
    let bad = jail.write("/docker-entrypoint-initdb.d/15-bad.sql", "SELECT nonsense;");
    let (code, output) = jail.start(&[]).ended(START);
    assert!(code != 0 && output.contains("\"nonsense\" does not exist"), "{output}");
    std::fs::remove_file(bad).unwrap();
    let running = jail.start(&[]);
    wait_healthy(&running, "postgres");
    assert!(running.output().contains("beginning again"), "{}", running.output());
    assert_eq!(psql(&running, "SELECT count(*) FROM item").unwrap(), "2");
}

fn redis(running: &Running, argv: &[&str]) -> String {
    let argv: Vec<&str> = ["redis-cli"].into_iter().chain(argv.iter().copied()).collect();
    String::from_utf8(running.exec(&argv, &[]).stdout).unwrap().trim().to_owned()
}

#[test]
fn redis_keeps_its_data_through_kill_and_restart() {
    let Some(jail) = jail("redis", "redis_keeps_its_data_through_kill_and_restart") else { return };
    let command = ["redis-server", "--appendonly", "yes", "--appendfsync", "always"];
    let running = jail.start(&command);
    wait_healthy(&running, "redis");
    assert_eq!(redis(&running, &["SET", "a", "kept"]), "OK");
    assert_eq!(redis(&running, &["CONFIG", "GET", "protected-mode"]).lines().last(), Some("no"));
    running.kill();
    let again = jail.start(&command);
    wait_healthy(&again, "redis");
    assert_eq!(redis(&again, &["GET", "a"]), "kept");
    again.signal_first(Signal::TERM);
    let (code, output) = again.ended(START);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("bye bye"), "{output}");
}

#[test]
fn redis_with_a_password_is_healthy_and_closed() {
    let Some(jail) = jail("redis", "redis_with_a_password_is_healthy_and_closed") else { return };
    let running = jail.start(&["--requirepass", "hunter2"]);
    wait_healthy(&running, "redis");
    assert!(redis(&running, &["GET", "a"]).contains("NOAUTH"));
    assert_eq!(redis(&running, &["-a", "hunter2", "--no-auth-warning", "PING"]), "PONG");
}
