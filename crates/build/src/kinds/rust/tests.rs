use crate::kinds::runner::RunRequest;
use crate::kinds::testing::{FakeRunner, Fixture};
use model::DurationMs;
use std::path::Path;

/// Compiled by this machine's cargo outside of a container, as declared.
fn project(main: &str) -> Fixture {
    let mut fixture = Fixture::new()
        .file(
            "Cargo.toml",
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
        )
        .file("src/main.rs", main)
        .file("static/a.css", "a")
        .spec(|spec| spec.tools.host = true);
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
        if let Ok(value) = std::env::var(name) {
            fixture = fixture.variable(name, &value);
        }
    }
    fixture
}

#[test]
fn a_program_is_compiled_outside_the_project() {
    let fixture = project("fn main() { println!(\"hi\") }");
    let before = fixture.fingerprint();
    let plan = fixture.plan().unwrap().plan;
    assert_eq!(plan.config.command, ["/usr/local/bin/hello"]);
    assert!(plan.packages.contains(&"libc6".to_owned()), "{:?}", plan.packages);
    assert!(plan.app.iter().any(|entry| entry.path == "/app/static/a.css"));
    assert!(!fixture.root().join("target").exists());
    // cargo itself wrote Cargo.lock, which is an input like every other file.
    assert!(fixture.root().join("Cargo.lock").exists());
    assert_ne!(fixture.fingerprint(), before);
    let again = fixture.plan().unwrap();
    assert_eq!((again.plan.inputs, again.fingerprint), (plan.inputs, fixture.fingerprint()));
}

#[test]
fn crates_beside_the_project_are_inputs() {
    let fixture = Fixture::new()
        .file("app/Cargo.toml", "[dependencies]\nb = { path = \"../b\" }\n")
        .file("b/Cargo.toml", "[dependencies]\nc = { path = \"../c\" }\n")
        .file("b/src/lib.rs", "")
        .file("c/Cargo.toml", "[package]\nname = \"c\"\n")
        .file("Cargo.toml", "[workspace]\n");
    let root = fixture.root().canonicalize().unwrap();
    let outside = super::outside::outside_inputs(&root.join("app")).unwrap();
    assert_eq!(outside, [root.join("Cargo.toml"), root.join("b"), root.join("c")]);
    let app = fixture.in_directory("app");
    let before = app.fingerprint();
    let app = app.file("b/src/lib.rs", "// changed");
    assert_ne!(app.fingerprint(), before);
}

#[test]
fn giving_up_ends_the_compiler() {
    let fixture = project("fn main() {}").file("build.rs", "fn main() { loop { std::thread::park() } }");
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let target = fixture.cache().join("cargo");
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            testkit::wait_until(std::time::Duration::from_secs(60), "cargo to start", || target.is_dir());
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        fixture.plan_until(&cancel).unwrap_err()
    });
    assert!(matches!(error, crate::BuildError::Cancelled), "{error}");
}

#[test]
fn a_lock_of_another_manifest_is_an_error_that_names_both() {
    let lock = "version = 4\n\n[[package]]\nname = \"other\"\nversion = \"0.1.0\"\n";
    let error = project("fn main() {}").file("Cargo.lock", lock).plan().unwrap_err().to_string();
    assert!(error.starts_with("Cargo.lock does not match Cargo.toml in "), "{error}");
}

#[test]
fn an_error_of_the_compiler_is_one_sentence() {
    let error = project("fn main() { let x: u8 = \"no\"; }").plan().unwrap_err().to_string();
    assert!(error.contains("mismatched types") && error.contains("src/main.rs:1"), "{error}");
}

#[test]
fn without_cargo_the_message_says_how_to_get_it() {
    let mut fixture = project("fn main() {}");
    fixture.environment.insert("PATH".into(), "/nonexistent".into());
    let error = fixture.plan().unwrap_err();
    assert!(error.to_string().contains("machine's cargo, and there is none"), "{error}");
    assert!(error.report().hints[0].contains("install"));
}

const TIMEOUT: DurationMs = DurationMs::from_secs(420);
const MANIFEST: &str = "[package]\nname = \"hello\"\n";
const LOCK: &str =
    "version = 4\n[[package]]\nname = \"itoa\"\nversion = \"1.0.0\"\nsource = \"registry+r\"\n";

/// For a build container, of Debian's Rust.
fn contained(files: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::new().variable("PATH", "/nonexistent").file("src/main.rs", "fn main() {}");
    files.iter().fold(fixture, |fixture, (path, text)| fixture.file(path, text))
}

fn mounted<'a>(request: &'a RunRequest, target: &str) -> &'a Path {
    &request.mounts.iter().find(|mount| mount.target == target).expect("mounted").source
}

/// A cargo that makes the program `hello`, and says where it is; it is given this much time.
fn cargo(limit: DurationMs) -> FakeRunner {
    let runner = FakeRunner::new(move |request| {
        let fetches = request.argv[1] == "fetch";
        assert_eq!(request.network, fetches, "{:?}", request.argv);
        assert_eq!(request.time_limit, limit);
        assert_eq!(request.mounts.iter().find(|m| m.target == "/cargo").unwrap().read_only, !fetches);
        assert!(request.image.packages.iter().any(|name| name == "rustc"));
        if fetches {
            std::fs::write(mounted(request, "/src").join("Cargo.lock"), LOCK).unwrap();
        } else {
            let release = mounted(request, "/target").join("release");
            std::fs::create_dir_all(&release).unwrap();
            let _ = std::fs::remove_file(release.join("hello"));
            std::fs::copy(std::env::current_exe().unwrap(), release.join("hello")).unwrap();
        }
        Ok(0)
    });
    runner.saying(
        r#"{"reason":"compiler-artifact","target":{"name":"hello","kind":["bin"]},"executable":"/target/release/hello"}"#,
    )
}

#[test]
fn crates_are_fetched_with_the_network_and_compiled_without_it() {
    let fixture = contained(&[("Cargo.toml", MANIFEST), ("Cargo.lock", LOCK)])
        .spec(|spec| spec.limits.timeout = Some(TIMEOUT));
    let runner = cargo(TIMEOUT);
    let planned = fixture.plan_by(&runner).unwrap();
    assert_eq!(planned.plan.config.command, ["/usr/local/bin/hello"]);
    assert_eq!(planned.lock, Some(fixture.root().canonicalize().unwrap().join("Cargo.lock")));
    fixture.plan_by(&runner).unwrap();
    let words = |argv: &Vec<String>| argv[1..].join(" ");
    let asked: Vec<String> = runner.asked.lock().unwrap().iter().map(words).collect();
    let build = "build --release --message-format=json-render-diagnostics --locked --offline";
    assert_eq!(asked, ["fetch --locked", build, build], "what is fetched is not fetched again");
}

#[test]
fn without_a_lock_one_is_made_once_and_shown() {
    let fixture = contained(&[("Cargo.toml", MANIFEST)]);
    let runner = cargo(DurationMs::from_secs(7200));
    let first = fixture.plan_by(&runner).unwrap();
    assert!(first.notes[0].starts_with("there is no Cargo.lock: cargo made one"), "{:?}", first.notes);
    assert!(!fixture.root().join("Cargo.lock").exists());
    let again = fixture.plan_by(&runner).unwrap();
    assert_eq!(std::fs::read_to_string(again.lock.unwrap()).unwrap(), LOCK);
    assert_eq!(runner.asked.lock().unwrap().len(), 3, "the choice is kept");
    let refused = contained(&[("Cargo.toml", MANIFEST)]).variable("JUCHU_LOCKED", "1");
    let error = refused.plan_by(&runner).unwrap_err().to_string();
    assert!(error.contains("has no Cargo.lock that fixes every version"), "{error}");
}

#[test]
fn a_program_that_is_a_link_is_no_program() {
    let fixture = contained(&[("Cargo.toml", MANIFEST), ("Cargo.lock", "version = 4\n")]);
    let linking = FakeRunner::new(|request| {
        let release = mounted(request, "/target").join("release");
        std::fs::create_dir_all(&release).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", release.join("hello")).unwrap();
        Ok(0)
    });
    let linking = linking.saying(
        r#"{"reason":"compiler-artifact","target":{"name":"hello","kind":["bin"]},"executable":"/target/release/hello"}"#,
    );
    let error = fixture.plan_by(&linking).unwrap_err().to_string();
    assert!(error.starts_with("read the program hello that cargo made"), "{error}");
}

#[test]
fn crates_beside_and_a_workspace_above_are_where_cargo_looks_for_them() {
    let fixture = contained(&[
        ("w/Cargo.toml", "[workspace]\nmembers = [\"app\", \"other\"]\n"),
        ("w/Cargo.lock", "version = 4\n"),
        ("w/other/Cargo.toml", "[package]\nname = \"other\"\n"),
        ("w/app/Cargo.toml", "[package]\nname = \"hello\"\n[dependencies]\nb = { path = \"../../b\" }\n"),
        ("b/Cargo.toml", "[package]\nname = \"b\"\n"),
    ]);
    let fixture = fixture.in_directory("w/app");
    let runner = FakeRunner::new(|request| {
        assert_eq!(request.working_dir, "/src/w/app");
        let source = mounted(request, "/src");
        for path in ["w/Cargo.toml", "w/Cargo.lock", "w/other/Cargo.toml", "w/app/Cargo.toml", "b/Cargo.toml"]
        {
            assert!(source.join(path).is_file(), "{path}");
        }
        Ok(1)
    });
    let error = fixture.plan_by(&runner.saying("error: no")).unwrap_err().to_string();
    assert!(error.starts_with("cargo could not build ") && error.ends_with(": no"), "{error}");
}

#[test]
fn without_a_container_the_way_out_is_said() {
    let fixture = contained(&[("Cargo.toml", MANIFEST), ("Cargo.lock", "version = 4\n")]);
    let report = fixture.plan().unwrap_err().report();
    assert!(report.error.contains("in a container: no engine is there"), "{}", report.error);
    assert!(report.hints[0].contains("{build: {host: true}}"), "{:?}", report.hints);
}
