//! `develop.watch` as a person has it: files are saved, and what is declared happens.

use super::machine::{Machine, get};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use testkit::{free_port, wait_until};

/// Far more than anything here takes, on a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// A watch in the foreground, and what it has said.
struct Watching {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Watching {
    fn start(machine: &Machine, directory: &Path, arguments: &[&str]) -> Self {
        let file = |name: &str| machine.home().join(format!("{}.{name}", arguments.join("-")));
        let (out, err) = (file("out"), file("err"));
        let mut command = machine.command(directory, arguments);
        command.stdout(File::create(&out).expect("a file")).stderr(File::create(&err).expect("a file"));
        let watching = Self { child: command.spawn().expect("the program starts"), out, err };
        watching.wait_for("watching ");
        watching
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.err).expect("readable")
    }

    fn times(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }

    fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    fn wait_for_times(&self, text: &str, times: usize) {
        let begun = std::time::Instant::now();
        while self.times(text) < times {
            assert!(begun.elapsed() < LIMIT, "`{text}` was not said {times} times:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn interrupt(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is ours");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const COMPOSE: &str = r#"
name: NAME
services:
  web:
    ports: ["PORT:8080"]
    stop_signal: SIGKILL
    build: ./web
    deploy: { replicas: 2, update_config: { monitor: 50ms } }
    x-juchu:
      builder: native
      rollout: { min_healthy: 50ms, drain: 1s }
      image:
        kind: binary
        user: root
        files: { "/site/index.html": "index.html" }
        entrypoint: ["/app/busybox", "httpd", "-f", "-v", "-p", "8080", "-h", "/site"]
    develop:
      watch:
        - { action: sync, path: ./src, target: /site/src, ignore: ["*.log"], initial_sync: true }
        - { action: sync+restart, path: ./app.conf, target: /etc/app.conf }
        - { action: restart, path: ./restart }
        - action: sync+exec
          path: ./exec
          target: /exec
          exec: { command: ["/app/busybox", "ash", "/exec/run.sh"], environment: { WORD: hello }, privileged: true }
        - { action: rebuild, path: ./web }
"#;

struct Project<'a> {
    machine: &'a Machine,
    directory: PathBuf,
    address: String,
}

impl<'a> Project<'a> {
    fn new(machine: &'a Machine, name: &str, compose: &str) -> Self {
        let port = free_port();
        let compose = compose.replace("NAME", name).replace("PORT", &port.to_string());
        let directory = machine.project(name, &compose);
        let project = Self { machine, directory, address: format!("127.0.0.1:{port}") };
        project.write("web/index.html", "version 1");
        fs::copy(testkit::busybox_static(), project.directory.join("web/busybox")).expect("busybox is there");
        for name in ["src", "restart", "exec"] {
            fs::create_dir_all(project.directory.join(name)).expect("a directory");
        }
        project
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    fn page(&self, path: &str) -> String {
        get(&self.address, path).map(|(status, body)| format!("{status} {body}")).unwrap_or_default()
    }

    fn inside(&self, index: &str, command: &[&str]) -> String {
        let enter = ["exec", "-T", "--index", index, "web", "/app/busybox"];
        self.machine.run(&self.directory, &[&enter[..], command].concat()).out
    }

    fn wait_inside(&self, path: &str, text: &str) {
        wait_until(LIMIT, &format!("{path} in both instances"), || {
            ["1", "2"].iter().all(|index| self.inside(index, &["cat", path]) == text)
        });
    }

    fn history(&self) -> String {
        self.machine.must(&self.directory, &["history", "--json"])
    }
}

#[test]
fn every_action_is_done_when_a_file_is_saved() {
    let Some(machine) = Machine::new("watch") else { return };
    let project = Project::new(&machine, "watched", COMPOSE);
    project.write("src/first", "before the watch");
    project.write("app.conf", "1");
    let mut watch =
        Watching::start(&machine, &project.directory, &["up", "--watch", "--on-interrupt", "stop"]);
    project.wait_inside("/site/src/first", "before the watch");

    synced_as_saved(&project, &watch);
    restarted_with_what_was_synced(&project, &watch);
    commands_run_and_their_failure_is_told(&project, &watch);
    rebuilt_and_served(&project, &watch);
    a_failed_build_changes_nothing(&project, &watch);

    assert_eq!(watch.interrupt(), Some(0), "{}", watch.said());
    assert!(watch.said().contains("stopped"), "{}", watch.said());
    assert!(project.page("/").starts_with("503"), "the services were stopped");
    machine.must(&project.directory, &["verify"]);
}

fn synced_as_saved(project: &Project<'_>, watch: &Watching) {
    project.write("src/sub/page", "one");
    project.wait_inside("/site/src/sub/page", "one");
    watch.wait_for("web: synced src/sub/page to 2 instances in ");
    // As editors save: beside it, then over it.
    project.write("src/sub/new", "two");
    let path = |name: &str| project.directory.join(name);
    fs::rename(path("src/sub/new"), path("src/sub/page")).expect("renamed");
    project.wait_inside("/site/src/sub/page", "two");
    assert!(project.page("/src/sub/page").ends_with("two"));

    // A directory moved in, with a link out of the tree in it, and a file that is ignored.
    project.write("aside/deep/file", "moved in");
    project.write("aside/a.log", "ignored");
    symlink("/etc/hostname", path("aside/link")).expect("linked");
    fs::rename(path("aside"), path("src/moved")).expect("moved");
    project.wait_inside("/site/src/moved/deep/file", "moved in");
    assert_eq!(project.inside("1", &["readlink", "/site/src/moved/link"]).trim(), "/etc/hostname");
    project.write("src/a.log", "ignored at the top only, as the pattern says");
    // The instance's own links lead nowhere but into itself.
    let name = format!("juchu-watch-{}", std::process::id());
    project.inside("1", &["ln", "-s", "/../../../../../../tmp", "/site/src/escape"]);
    project.inside("1", &["mkdir", "-p", "/tmp"]);
    project.write(&format!("src/escape/{name}"), "confined");
    wait_until(LIMIT, "the file below the link", || {
        project.inside("1", &["cat", &format!("/tmp/{name}")]) == "confined"
    });
    assert!(!Path::new("/tmp").join(&name).exists(), "it stayed inside");

    fs::remove_dir_all(path("src/moved")).expect("removed");
    wait_until(LIMIT, "the directory to go", || {
        project.inside("2", &["ls", "/site/src"]).lines().all(|name| name != "moved")
    });
    assert_eq!(project.inside("2", &["ls", "/site/src"]).matches(".log").count(), 0);
}

fn restarted_with_what_was_synced(project: &Project<'_>, watch: &Watching) {
    project.write("app.conf", "2");
    watch.wait_for("web: restarted in ");
    project.wait_inside("/etc/app.conf", "2");
    project.write("restart/now", "");
    watch.wait_for_times("web: restarted in ", 2);
    project.wait_inside("/site/src/sub/page", "two");
    assert!(project.history().contains("watch: restart/now changed"), "{}", project.history());
}

fn commands_run_and_their_failure_is_told(project: &Project<'_>, watch: &Watching) {
    project.write("exec/run.sh", "echo $WORD from inside");
    watch.wait_for("web-1 | hello from inside");
    watch.wait_for("web-2: ran `/app/busybox ash /exec/run.sh` in ");
    project.write("exec/run.sh", "/app/busybox grep CapEff /proc/self/status");
    watch.wait_for("web-1 | CapEff:");
    let usual = project.inside("1", &["grep", "CapEff", "/proc/self/status"]);
    assert!(!watch.said().contains(usual.trim()), "the command has more rights than {usual}");
    project.write("exec/run.sh", "exit 3");
    watch.wait_for("web-1: `/app/busybox ash /exec/run.sh` failed with exit code 3 after ");
}

fn rebuilt_and_served(project: &Project<'_>, watch: &Watching) {
    let deploys = || project.history().matches("watch: web/index.html changed").count();
    project.write("web/index.html", "version 2");
    wait_until(LIMIT, "the new version", || project.page("/").ends_with("version 2"));
    watch.wait_for("web: rebuilt and serving in ");
    assert_eq!(deploys(), 1);
    project.wait_inside("/site/src/sub/page", "two");
    // Lines of an instance that was made while the logs were followed.
    let lines = || fs::read_to_string(&watch.out).expect("readable").matches("response:404").count();
    let before = lines();
    project.page("/nowhere");
    wait_until(LIMIT, "the log of a new instance", || lines() > before);

    // However often it is saved meanwhile, one more follows, with the last of it.
    for number in 3..=12 {
        project.write("web/index.html", &format!("version {number}"));
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_until(LIMIT, "the last version", || project.page("/").ends_with("version 12"));
    assert!(deploys() < 8, "10 saves within a second made {} deploys", deploys() - 1);
}

fn a_failed_build_changes_nothing(project: &Project<'_>, watch: &Watching) {
    let busybox = project.directory.join("web/busybox");
    let rebuilt = watch.times("web: rebuilt and serving in ");
    fs::rename(&busybox, project.directory.join("busybox")).expect("moved away");
    watch.wait_for("error: ");
    assert!(project.page("/").ends_with("version 12"), "what ran goes on");
    fs::rename(project.directory.join("busybox"), &busybox).expect("moved back");
    project.write("web/index.html", "version 13");
    wait_until(LIMIT, "the mended version", || project.page("/").ends_with("version 13"));
    watch.wait_for_times("web: rebuilt and serving in ", rebuilt + 1);
}

const MOUNTS: &str = r#"
name: NAME
services:
  web:
    ports: ["PORT:8080"]
    stop_signal: SIGKILL
    read_only: true
    build: ./web
    volumes: ["data:/data", "./bound:/bound"]
    x-juchu:
      builder: native
      image:
        kind: binary
        user: root
        files: { "/site/index.html": "index.html" }
        entrypoint: ["/app/busybox", "httpd", "-f", "-p", "8080", "-h", "/site"]
    develop:
      watch:
        - { action: sync, path: ./src, target: /site/src }
        - { action: sync, path: ./exec, target: /data/exec }
        - { action: sync, path: ./bound, target: /bound }
        - { action: restart, path: ./later/app.conf }
volumes: { data: {} }
"#;

#[test]
fn what_cannot_be_written_is_told_and_the_rest_goes_on() {
    let Some(machine) = Machine::new("watched mounts") else { return };
    let project = Project::new(&machine, "mounts", MOUNTS);
    project.write("bound/x", "");
    let mut watch = Watching::start(&machine, &project.directory, &["watch"]);
    watch.wait_for("bound is mounted into web at /bound already: it is not watched");
    watch.wait_for("later/app.conf, which web watches, does not exist; it is watched once it does");
    project.write("src/page", "1");
    watch.wait_for("warning: web: not everything was synced: /site/src/page is read-only there");
    project.write("exec/data", "in the volume");
    watch.wait_for("web: synced exec/data to 1 instance in ");
    assert_eq!(project.inside("1", &["cat", "/data/exec/data"]), "in the volume");
    project.write("later/app.conf", "");
    watch.wait_for("web: restarted in ");
    // A volume mounted below what is removed here keeps what it holds.
    fs::remove_dir_all(project.directory.join("exec")).expect("removed");
    watch.wait_for("web: removed exec/data from 1 instance in ");
    assert_eq!(project.inside("1", &["ls", "/data/exec"]), "", "the directory itself stays, empty");
    assert_eq!(watch.interrupt(), Some(0));
    assert!(project.page("/").ends_with("version 1"), "`watch` leaves the services running");
}
