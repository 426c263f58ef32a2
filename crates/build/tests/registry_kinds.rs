//! Projects become images that run: assembled from the Debian archive and the package registries,
//! entered, asked. Needs root and the network; downloads are kept below the target directory.

mod jail;

use build::archive::ArchiveChoice;
use build::kinds::{
    Context, Kind, Machine, NoRunner, Planned, RunOutcome, RunRequest, Runner, RunnerError, plan_image,
};
use build::{Job, kinds};
use jail::{Jail, Running, copy_image};
use model::image::{BuildSpec, Builder};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::TempDir;

const START: Duration = Duration::from_secs(30);

fn spec(context: &Path) -> BuildSpec {
    BuildSpec { context: Some(context.to_owned()), builder: Builder::Native, ..BuildSpec::default() }
}

fn plan(spec: &BuildSpec, runner: &dyn Runner) -> Planned {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jail-cache");
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let say = |line: &str| eprintln!("{line}");
    let job = Job::unstoppable(&say);
    let context = Context {
        cache: &cache,
        environment: &environment,
        runner,
        job: &job,
        archive: ArchiveChoice::default(),
        machine: Machine::host(),
        states_command: false,
    };
    plan_image(spec, &context).unwrap_or_else(|error| panic!("{}", error.report()))
}

/// One request; the head and the body of the answer. Waits until the program listens.
fn ask(running: &Running, request: &str) -> (String, String) {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", 8080)) {
            Ok(stream) => break stream,
            Err(error) => {
                assert!(begun.elapsed() < START && !running.has_ended(), "{error}\n{}", running.output())
            }
        }
    };
    stream.set_read_timeout(Some(START)).unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}\n{}", running.output()));
    (head.to_owned(), body.to_owned())
}

fn get(running: &Running, path: &str, header: &str) -> (String, String) {
    ask(running, &format!("GET {path} HTTP/1.1\nHost: x\nConnection: close\n{header}\n"))
}

#[test]
fn a_static_site_is_served_with_types_ranges_and_tags() {
    if !testkit::require_root("a_static_site_is_served_with_types_ranges_and_tags") {
        return;
    }
    let site = TempDir::new();
    site.write("index.html", "<h1>hello</h1>");
    site.write("a \"b\"$.css", "body{}");
    site.write("docs/index.html", "docs");
    site.write("about.html", "about");
    site.write("404.html", "nothing here");
    site.write(".secret", "x");
    let jail = Jail::new(&plan(&spec(site.path()), &NoRunner).plan);
    let running = jail.start(&[]);
    let (head, body) = get(&running, "/", "");
    assert!(head.starts_with("HTTP/1.1 200") && body == "<h1>hello</h1>", "{head}\n{}", running.output());
    assert!(
        head.contains("Content-Type: text/html; charset=utf-8") && !head.contains("Last-Modified"),
        "{head}"
    );
    let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("an entity tag").to_owned();
    for known in [tag.clone(), format!("W/{tag}")] {
        assert!(get(&running, "/", &format!("If-None-Match: {known}\n")).0.starts_with("HTTP/1.1 304"));
    }
    assert!(get(&running, "/", "If-None-Match: \"0123\"\n").0.starts_with("HTTP/1.1 200"));
    let (head, body) = get(&running, "/a%20%22b%22$.css", "Range: bytes=0-3\n");
    assert!(head.starts_with("HTTP/1.1 206") && head.contains("text/css") && body == "body", "{head}");
    for (path, expect) in [("/docs/", "docs"), ("/about", "about")] {
        let (head, body) = get(&running, path, "");
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("ETag: ") && body == expect,
            "{path}: {head}"
        );
    }
    let (head, _) = get(&running, "/docs", "");
    assert!(head.starts_with("HTTP/1.1 301") && head.contains("Location: /docs/"), "{head}");
    let (head, body) = get(&running, "/nope", "");
    assert!(head.starts_with("HTTP/1.1 404") && body == "nothing here", "{head}");
    assert!(get(&running, "/.secret", "").0.starts_with("HTTP/1.1 404"));
    testkit::wait_until(START, "the request to be logged", || running.output().contains("GET /nope"));
    running.signal_first(rustix::process::Signal::QUIT);
    assert_eq!(running.ended(START).0, 0);
}

#[test]
fn the_guestbook_has_its_packages() {
    if !testkit::require_root("the_guestbook_has_its_packages") {
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guestbook/web");
    let planned = plan(&spec(&example), &NoRunner);
    assert_eq!((planned.kind, planned.notes.len()), (Kind::Python, 0));
    let jail = Jail::new(&planned.plan);
    let running = jail.start(&[]);
    let (head, _) = get(&running, "/health", "");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let drivers =
        running.exec(&["python", "-c", "import pg8000, redis, ssl; print(pg8000.__version__)"], &[]);
    assert!(drivers.status.success(), "{drivers:?}");
    // Without its database it says so, and with SIGTERM it ends.
    assert!(get(&running, "/", "").0.starts_with("HTTP/1.1 503"), "{}", running.output());
    running.signal_first(rustix::process::Signal::TERM);
    assert_eq!(running.ended(START).0, 0);
}

#[test]
fn a_node_project_runs_with_its_packages() {
    if !testkit::require_root("a_node_project_runs_with_its_packages") {
        return;
    }
    let project = TempDir::new();
    project.write(
        "package.json",
        r#"{"scripts": {"start": "node server.js"}, "dependencies": {"is-number": "7.0.0"}}"#,
    );
    project.write(
        "package-lock.json",
        r#"{"lockfileVersion": 3, "packages": {"": {"dependencies": {"is-number": "7.0.0"}}, "node_modules/is-number": {"version": "7.0.0",
        "integrity": "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="}}}"#,
    );
    project.write(
        "server.js",
        "const is = require('is-number');\nrequire('http').createServer((q, a) => a.end('number ' + is(7))).listen(8080);\n",
    );
    let jail = Jail::new(&plan(&spec(project.path()), &NoRunner).plan);
    let running = jail.start(&[]);
    assert_eq!(get(&running, "/", "").1, "number true");
}

/// A file of the projects that real tools made locks for.
fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workspace of `tests/projects/node` with the lock of one tool runs on what that lock states.
fn node_workspace_runs(file: &str, lock: &str) {
    let project = TempDir::new();
    let package = fixture("node/package.json");
    let package = match file {
        "pnpm-lock.yaml" => {
            package.replace("\"util-of-ours\": \"1.0.0\"", "\"util-of-ours\": \"workspace:*\"")
        }
        _ => package,
    };
    project.write("package.json", &package);
    project.write(file, fixture(&format!("node/locks/{lock}")));
    for path in ["server.js", "packages/util/package.json", "packages/util/index.js"] {
        project.write(path, fixture(&format!("node/{path}")));
    }
    let jail = Jail::new(&plan(&spec(project.path()), &NoRunner).plan);
    let running = jail.start(&[]);
    assert_eq!(get(&running, "/", "").1, "<b>hi</b> 1.2.3 true 1000 function", "{}", running.output());
}

#[test]
fn a_node_workspace_runs_with_the_lock_of_pnpm() {
    if testkit::require_root("a_node_workspace_runs_with_the_lock_of_pnpm") {
        node_workspace_runs("pnpm-lock.yaml", "pnpm9.yaml");
    }
}

#[test]
fn a_node_workspace_runs_with_the_lock_of_yarn_1() {
    if testkit::require_root("a_node_workspace_runs_with_the_lock_of_yarn_1") {
        node_workspace_runs("yarn.lock", "yarn1.lock");
    }
}

#[test]
fn a_node_workspace_runs_with_the_lock_of_present_yarn() {
    if testkit::require_root("a_node_workspace_runs_with_the_lock_of_present_yarn") {
        node_workspace_runs("yarn.lock", "berry.lock");
    }
}

#[test]
fn a_node_workspace_runs_with_the_first_form_of_npms_lock() {
    if testkit::require_root("a_node_workspace_runs_with_the_first_form_of_npms_lock") {
        node_workspace_runs("package-lock.json", "npm1.json");
    }
}

#[test]
fn a_site_is_built_by_its_bundler_and_served() {
    if !testkit::require_root("a_site_is_built_by_its_bundler_and_served") {
        return;
    }
    let project = TempDir::new();
    // npm chooses the versions, because there is no lock; the build calls npm, as many do.
    project.write(
        "package.json",
        r#"{"type": "module", "scripts": {"build": "npm run pages", "pages": "esbuild src/main.ts --bundle --outfile=dist/main.js && cp index.html dist/"},
            "devDependencies": {"esbuild": "0.25.0"}}"#,
    );
    project.write("index.html", "<script src=main.js></script>");
    project.write("src/main.ts", "const greeting: string = 'hello';\nconsole.log(greeting);\n");
    let planned = plan(&spec(project.path()), &JailRunner);
    let notes = planned.notes.join("\n");
    assert!(notes.contains("npm made one") && notes.contains("package-lock.json"), "{notes}");
    let jail = Jail::new(&planned.plan);
    let running = jail.start(&[]);
    assert_eq!(get(&running, "/", "").1, "<script src=main.js></script>");
    let (_, script) = get(&running, "/main.js", "");
    assert!(script.contains("hello") && !script.contains("string"), "{script}");
    assert_eq!(plan(&spec(project.path()), &NoRunner).plan.inputs, planned.plan.inputs);
}

#[test]
fn a_rust_project_runs_on_its_libraries() {
    if !testkit::require_root("a_rust_project_runs_on_its_libraries") {
        return;
    }
    let project = TempDir::new();
    project.write(
        "Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    project.write("src/main.rs", "fn main() { println!(\"hello from rust\") }\n");
    let mut spec = spec(project.path());
    spec.tools.host = true;
    let jail = Jail::new(&plan(&spec, &NoRunner).plan);
    let (code, output) = jail.start(&[]).ended(START);
    assert_eq!((code, output.as_str()), (0, "hello from rust"));
}

#[test]
fn a_go_project_is_compiled_and_runs_without_a_library() {
    if !testkit::require_root("a_go_project_is_compiled_and_runs_without_a_library") {
        return;
    }
    let project = TempDir::new();
    project.write("go.mod", "module example.com/shop\n\ngo 1.21\n");
    project.write(
        "main.go",
        "package main\n\nimport (\n\t\"fmt\"\n\t\"time\"\n)\n\nfunc main() {\n\
         \tplace, err := time.LoadLocation(\"Asia/Tokyo\")\n\tfmt.Println(place, err)\n}\n",
    );
    let planned = plan(&spec(project.path()), &JailRunner);
    let jail = Jail::new(&planned.plan);
    assert!(!jail.path("/usr/lib/x86_64-linux-gnu/libc.so.6").exists(), "a static program needs no library");
    assert!(jail.path("/etc/ssl/certs/ca-certificates.crt").exists());
    let (code, output) = jail.start(&[]).ended(START);
    assert_eq!((code, output.as_str()), (0, "Asia/Tokyo <nil>"));
}

/// Runs build tools for these tests: what is mounted is copied in, what is writable copied out.
struct JailRunner;

impl Runner for JailRunner {
    fn run(&self, request: &RunRequest, output: &mut dyn FnMut(&str)) -> Result<RunOutcome, RunnerError> {
        let root = copy_image(&request.image).1;
        let inside = |path: &str| root.path().join(path.trim_start_matches('/'));
        fs::copy("/etc/resolv.conf", inside("/etc/resolv.conf")).unwrap();
        for mount in &request.mounts {
            fs::create_dir_all(inside(&mount.target).parent().unwrap()).unwrap();
            let source = if mount.source.is_dir() { mount.source.join(".") } else { mount.source.clone() };
            let copied =
                Command::new("cp").arg("-rL").arg(source).arg(inside(&mount.target)).status().unwrap();
            assert!(copied.success());
        }
        let (user, _) = request.image.config.user.split_once(':').unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(format!("--root={}", root.path().display())).arg(format!("--wd={}", request.working_dir));
        let chown = Command::new("chown").arg(user).arg(inside("/out")).status().unwrap();
        assert!(chown.success());
        command.args([&format!("--setuid={user}"), &format!("--setgid={user}"), "--"]).args(&request.argv);
        let done = command.env_clear().envs(&request.environment).output().unwrap();
        for line in String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).lines() {
            output(line);
        }
        for mount in request.mounts.iter().filter(|mount| !mount.read_only) {
            let from = inside(&mount.target).join(".");
            assert!(Command::new("cp").arg("-r").arg(from).arg(&mount.source).status().unwrap().success());
        }
        Ok(RunOutcome { code: done.status.code().unwrap_or(-1), timed_out: false })
    }
}

#[test]
fn open_requirements_are_resolved_by_pip_in_a_container() {
    if !testkit::require_root("open_requirements_are_resolved_by_pip_in_a_container") {
        return;
    }
    let project = TempDir::new();
    project.write("requirements.txt", "flask>=3\ngunicorn\n");
    project.write("app.py", "from flask import Flask\n\napp = Flask(__name__)\n\n@app.get('/')\ndef index():\n    return 'flask'\n");
    let planned = plan(&spec(project.path()), &JailRunner);
    assert_eq!(planned.plan.config.command[..3], ["python3", "-m", "gunicorn"]);
    let jail = Jail::new(&planned.plan);
    let running = jail.start(&[]);
    assert_eq!(get(&running, "/", "").1, "flask");
    // What was chosen is kept: planning again needs no container.
    assert_eq!(plan(&spec(project.path()), &NoRunner).plan.inputs, planned.plan.inputs);
    assert_eq!(kinds::Kind::Python, planned.kind);
}
