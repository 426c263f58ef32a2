//! Dockerfiles by buildah and podman: built from scratch, run, refused in one sentence, and gone
//! without a trace when they are given up.

use super::build_limits::{no_file_holds, nothing_stays};
use super::machine::{Machine, Said, get};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::{ProcessGuard, free_port, wait_until};

const SECRET: &str = "correct-horse-battery";

const DOCKERFILE: &str = r#"FROM scratch AS tools
COPY busybox /bin/busybox
FROM tools AS web
ARG WHO=nobody
COPY . /site
COPY --from=more extra.txt /site/extra.txt
RUN --mount=type=secret,id=token ["/bin/busybox", "sh", "-c", "test $(/bin/busybox wc -c < /run/secrets/token) = 21 && /bin/busybox cat /run/secrets/token && echo made for $WHO > /site/who"]
USER 10001
CMD ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/site"]
FROM web AS unused
RUN ["/bin/busybox", "false"]
"#;

struct Project<'a> {
    machine: &'a Machine,
    directory: PathBuf,
}

impl<'a> Project<'a> {
    fn new(machine: &'a Machine, name: &str, build: &str, more: &str) -> Self {
        let compose = format!(
            "name: {name}\nservices:\n  web:\n    build: {build}\n    stop_grace_period: 1s\n{more}\n\
             secrets: {{token: {{file: ./secret.txt}}}}\n"
        );
        let project = Self { machine, directory: machine.project(name, &compose) };
        project.file("secret.txt", SECRET);
        project.file("app/index.html", "page");
        project.file("more/extra.txt", "extra");
        fs::copy(testkit::busybox_static(), project.directory.join("app/busybox")).expect("busybox is there");
        project
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().expect("below the project")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    fn build(&self) -> Said {
        self.machine.run(&self.directory, &["build"])
    }

    #[track_caller]
    fn refused(&self, dockerfile: &str, expect: &str) -> String {
        self.file("app/Dockerfile", dockerfile);
        let said = self.build();
        assert!(said.code != 0 && said.err.contains(expect), "{expect}: {}", said.err);
        nothing_stays(self.machine);
        said.err
    }
}

const BUILD: &str =
    "{context: ./app, secrets: [token], target: web, args: {WHO: you}, additional_contexts: {more: ./more}}";

/// A directory for `PATH` with these programs and nothing else.
fn path_with(directory: &Path, programs: &[PathBuf]) -> String {
    fs::create_dir_all(directory).expect("a directory");
    for program in programs {
        let link = directory.join(program.file_name().expect("a program"));
        std::os::unix::fs::symlink(program, link).expect("a link");
    }
    directory.to_str().expect("text").to_owned()
}

#[test]
fn a_dockerfile_becomes_a_release_that_serves() {
    let Some(machine) = Machine::new("dockerfile") else { return };
    let (Some(_), Some(_)) = (testkit::needs("buildah", "buildah"), testkit::needs("runc", "runc")) else {
        return;
    };
    let port = free_port();
    let project = Project::new(&machine, "docked", BUILD, &format!("    ports: ['{port}:8080']"));
    project.file("app/Dockerfile", DOCKERFILE);
    project.file("app/.dockerignore", "*.log\n");
    project.file("app/noise.log", "noise");
    machine.must(&project.directory, &["up", "-d"]);
    let page = |path: &str| get(&format!("127.0.0.1:{port}"), path).expect("it serves");
    assert_eq!(page("/").1, "page");
    assert_eq!(page("/who").1.trim(), "made for you");
    assert_eq!(page("/extra.txt").1, "extra");
    assert_eq!(page("/noise.log").0, 404, "`.dockerignore` leaves it out");
    nothing_stays(&machine);
    no_file_holds(machine.home(), SECRET, &project.directory);

    let again = machine.run(&project.directory, &["up", "-d"]);
    assert!(again.code == 0 && !again.err.contains("building with"), "{}", again.err);
    project.file("app/index.html", "changed");
    machine.must(&project.directory, &["deploy"]);
    wait_until(Duration::from_secs(20), "the new release", || page("/").1 == "changed");
    let checked = machine.run(&project.directory, &["build", "--check"]);
    assert!(checked.code == 0 && checked.out.contains("twice the same"), "{}{}", checked.out, checked.err);
}

#[test]
fn podman_builds_the_same_where_buildah_is_not() {
    let Some(machine) = Machine::new("podman builds") else { return };
    let (Some(podman), Some(runc)) = (testkit::needs("podman", "podman"), testkit::needs("runc", "runc"))
    else {
        return;
    };
    let project = Project::new(&machine, "podded", BUILD, "");
    project.file("app/Dockerfile", DOCKERFILE);
    let by = |path: &str| {
        let mut command = machine.command(&project.directory, &["build", "--json"]);
        command.env("PATH", path);
        machine.finish(&["build"], &mut command)
    };
    let nothing = path_with(&machine.home().join("nothing"), &[]);
    let refused = by(&nothing);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("neither buildah nor podman"), "{}", refused.err);
    assert!(refused.err.contains("hint: apt install buildah"), "{}", refused.err);
    nothing_stays(&machine);
    let mut doctor = machine.command(&project.directory, &["doctor"]);
    doctor.env("PATH", &nothing);
    let doctor = machine.finish(&["doctor"], &mut doctor);
    assert!(doctor.out.contains("nothing here builds Dockerfiles"), "{}", doctor.out);

    let built = by(&path_with(&machine.home().join("podman"), &[podman, runc]));
    assert_eq!(built.code, 0, "{}", built.err);
    assert!(built.err.contains("building with podman"), "{}", built.err);
    nothing_stays(&machine);
}

#[test]
fn a_daemon_with_docker_s_api_builds_where_it_is_chosen() {
    let Some(machine) = Machine::new("docker api") else { return };
    let (Some(podman), Some(runc)) = (testkit::needs("podman", "podman"), testkit::needs("runc", "runc"))
    else {
        return;
    };
    let room = testkit::TempDir::new();
    let at = |name: &str| room.path().join(name).display().to_string();
    let mut service = Command::new(podman);
    service.args(["--root", &at("root"), "--runroot", &at("run"), "--storage-driver", "vfs"]);
    service.args(["--cgroup-manager", "cgroupfs", "--runtime"]).arg(runc);
    service.args(["system", "service", "--time=0", &format!("unix://{}", at("s"))]);
    let _service = ProcessGuard::spawn(service.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_until(Duration::from_secs(30), "the daemon's socket", || Path::new(&at("s")).exists());

    let by_api = |project: &Project<'_>, words: &[&str]| {
        let mut command = machine.command(&project.directory, words);
        command.env("DOCKER_HOST", format!("unix://{}", at("s"))).env("JUCHU_DOCKERFILES", "docker");
        machine.finish(words, &mut command)
    };
    let plain = Project::new(&machine, "api", "{context: ./app, target: web, args: {WHO: you}}", "");
    let copy = "FROM scratch AS web\nARG WHO\nCOPY busybox /bin/busybox\nCOPY index.html /\n";
    let run = |script: &str| format!("RUN [\"/bin/busybox\", \"sh\", \"-c\", \"{script}\"]\n");
    plain.file("app/Dockerfile", &format!("{copy}{}FROM nowhere\n", run("echo for $WHO > /who")));
    let doctor = by_api(&plain, &["doctor"]);
    assert!(doctor.out.contains(&format!("Dockerfiles are built by {}", at("s"))), "{}", doctor.out);
    let checked = by_api(&plain, &["build", "--check"]);
    assert!(checked.code == 0 && checked.out.contains("twice the same"), "{}{}", checked.out, checked.err);
    assert!(checked.err.contains("building with the daemon at"), "{}", checked.err);
    nothing_stays(&machine);

    let refused = |dockerfile: &str, expect: &str| {
        plain.file("app/Dockerfile", dockerfile);
        let said = by_api(&plain, &["build"]);
        assert!(said.code != 0 && said.err.contains(expect), "{expect}: {}", said.err);
    };
    refused(&format!("{copy}{}", run("echo first; exit 3")), "exit 3` ended with exit code 3 (");
    refused("FROM scratch AS web\nFOO bar\n", "there is no such instruction");
    refused("FROM scratch AS web\nCOPY nofile /x\n", "`COPY nofile /x` failed");
    let secret = Project::new(&machine, "secret api", BUILD, "");
    secret.file("app/Dockerfile", DOCKERFILE);
    let said = by_api(&secret, &["build"]);
    assert!(said.code != 0 && said.err.contains("`build.secrets` cannot be given"), "{}", said.err);
    let mut stream = UnixStream::connect(at("s")).expect("it answers");
    let ask = "GET /v1.41/images/json?all=1 HTTP/1.0\r\nhost: localhost\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("it listens");
    let mut images = String::new();
    stream.read_to_string(&mut images).expect("an answer");
    assert!(images.trim_end().ends_with("\r\n\r\n[]"), "nothing stays there: {images}");
}

#[test]
fn what_is_wrong_with_a_dockerfile_is_one_sentence() {
    let Some(machine) = Machine::new("bad dockerfiles") else { return };
    let (Some(_), Some(_)) = (testkit::needs("buildah", "buildah"), testkit::needs("runc", "runc")) else {
        return;
    };
    let project = Project::new(&machine, "bad", "{context: ./app, network: none}", "");
    let copy = "FROM scratch\nCOPY busybox /bin/busybox\n";
    let said = project.refused(
        &format!("{copy}RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo first; echo last >&2; exit 3\"]\n"),
        "exit 3` ended with exit code 3 (",
    );
    assert!(said.contains("app/Dockerfile:3)"), "{said}");
    assert!(said.contains("│ first") && said.contains("│ last"), "{said}");
    let network = "test \"$(/bin/busybox ls /sys/class/net)\" = lo";
    project.file(
        "app/Dockerfile",
        &format!("{copy}RUN [\"/bin/busybox\", \"sh\", \"-c\", {}]\n", serde_json::json!(network)),
    );
    let cut_off = project.build();
    assert_eq!(cut_off.code, 0, "{}", cut_off.err);

    project.refused("FROM scratch\nFOO bar\n", "app/Dockerfile:2): there is no such instruction");
    project.refused("FROM 127.0.0.1:1/none:1\n", "cannot be fetched: ");
    project.refused("FROM scratch\nCOPY nofile /x\n", "`COPY nofile /x` failed");
    // A link that leads out of the context, and a path that does.
    std::os::unix::fs::symlink("/etc/passwd", project.directory.join("app/leak")).expect("a link");
    project.refused("FROM scratch\nCOPY leak /leak\n", "`COPY leak /leak` failed");
    project.refused("FROM scratch\nCOPY ../secret.txt /leak\n", "failed (");
    fs::remove_file(project.directory.join("app/Dockerfile")).expect("removed");
    let missing = Project::new(&machine, "none", "{context: ./app, dockerfile: Other}", "");
    let said = missing.build();
    assert!(said.code != 0 && said.err.contains("Other"), "{}", said.err);
    // Outside its context is a place like any other.
    let outside = Project::new(&machine, "outside", "{context: ./app, dockerfile: ../Some.Dockerfile}", "");
    outside.file("Some.Dockerfile", "FROM scratch\nCOPY index.html /\nCMD [\"/x\"]\n");
    let said = outside.build();
    assert_eq!(said.code, 0, "{}", said.err);
    nothing_stays(&machine);
}

#[test]
fn a_dockerfile_that_takes_too_much_or_is_given_up_leaves_nothing() {
    let Some(machine) = Machine::new("greedy dockerfiles") else { return };
    let (Some(_), Some(_)) = (testkit::needs("buildah", "buildah"), testkit::needs("runc", "runc")) else {
        return;
    };
    let limits = "    x-juchu: {build: {memory: 200m, disk: 120m, timeout: 60s}}";
    let project = Project::new(&machine, "greedy", "{context: ./app}", limits);
    let run = |script: &str| {
        let script = serde_json::json!(script);
        format!("FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", {script}]\n")
    };
    project.refused(
        &run("/bin/busybox dd if=/dev/zero of=/big bs=1M count=4000; /bin/busybox sleep 30"),
        "the build wrote more than its limit of 120 MiB",
    );
    project.refused(
        &run("x=$(/bin/busybox dd if=/dev/zero bs=1M count=600 | /bin/busybox tr '\\0' x)"),
        "the build needed more than its limit of 200 MiB of memory",
    );

    project.file("app/Dockerfile", &run("/bin/busybox sleep 1234567"));
    let is_asleep = || !sleepers().is_empty();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let mut child = machine
            .command(&project.directory, &["build"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait_until(Duration::from_secs(60), "the command", is_asleep);
        let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
        rustix::process::kill_process(pid, signal).expect("it is ours");
        child.wait().expect("it ends");
        if signal == rustix::process::Signal::KILL {
            project.refused(&run("exit 4"), "ended with exit code 4");
        }
        assert!(!is_asleep(), "after {signal:?}: {:?}", sleepers());
        nothing_stays(&machine);
    }
}

/// Processes that this test's Dockerfile started.
fn sleepers() -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains("busybox sleep 1234567")).collect()
}
