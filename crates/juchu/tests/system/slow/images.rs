//! Images made, compared, written out and collected by commands, with and without a daemon.

use super::machine::{Machine, tiny};
use model::Digest;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use testkit::{free_port, wait_until};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every blob that the index leads to is there and is what its name says; how many there are.
fn whole(layout: &Path) -> usize {
    let blob = |digest: &str| {
        let digest = Digest::new(digest).expect("a digest");
        let bytes = fs::read(layout.join("blobs/sha256").join(digest.hex()))
            .unwrap_or_else(|error| panic!("{digest}: {error}"));
        assert_eq!(Digest::of(&bytes), digest);
        bytes
    };
    let index = json(&fs::read_to_string(layout.join("index.json")).expect("an index"));
    let mut count = 0;
    for entry in index["manifests"].as_array().expect("a list") {
        let manifest = json(&String::from_utf8(blob(entry["digest"].as_str().expect("text"))).expect("text"));
        let layers = manifest["layers"].as_array().expect("a list").iter();
        for part in layers.chain([&manifest["config"]]) {
            blob(part["digest"].as_str().expect("text"));
            count += 1;
        }
    }
    count
}

#[test]
fn images_are_built_compared_written_out_and_collected() {
    let Some(machine) = Machine::new("images") else { return };
    let directory = tiny(&machine, "shop", free_port(), "one", "");
    let first = json(&machine.must(&directory, &["build", "--json"]));
    assert_eq!(first[0]["name"], "localhost/shop/web:latest");
    assert!(machine.daemon().is_none(), "a build needs no daemon");
    let again = json(&machine.must(&directory, &["build", "web", "--json"]));
    assert_eq!(again[0]["digest"], first[0]["digest"]);

    fs::write(directory.join("web/index.html"), "another").expect("written");
    let second = json(&machine.must(&directory, &["build", "--json"]));
    let (a, b) = (first[0]["digest"].as_str().expect("text"), second[0]["digest"].as_str().expect("text"));
    let found = json(&machine.must(&directory, &["image", "diff", a, "shop/web", "--json"]));
    let paths: Vec<_> = found["files"].as_array().expect("a list").iter().map(|f| &f["path"]).collect();
    assert_eq!(paths, ["/app/index.html", "/site/index.html"]);
    assert_eq!(
        (found["packages"].as_array(), found["configuration"].as_array()),
        (Some(&vec![]), Some(&vec![]))
    );
    let text = machine.must(&directory, &["image", "diff", &a[7..19], &b[7..19]]);
    assert!(text.contains("~ /site/index.html (layer 1): content, 3 B → 7 B"), "{text}");
    assert_eq!(machine.must(&directory, &["image", "diff", b, b]), "The two are the same.\n");

    let bill = json(&machine.must(&directory, &["image", "sbom", "shop/web"]));
    assert_eq!(
        (&bill["bomFormat"], &bill["metadata"]["component"]["version"]),
        (&"CycloneDX".into(), &b.into())
    );
    let bill = json(&machine.must(&directory, &["image", "sbom", "shop/web", "--format", "spdx"]));
    assert_eq!(bill["packages"][1]["name"], "application", "nothing but busybox is in it");
    let looked = json(&machine.must(&directory, &["image", "inspect", "shop/web", "--json"]));
    assert_eq!(looked["referrers"].as_object().expect("a map").len(), 2);
    assert!(looked["annotations"]["dev.juchu.builder"].as_str().expect("text").starts_with("juchu "));

    let out = machine.home().join("out");
    machine.must(&directory, &["image", "export", "shop/web", out.to_str().expect("text")]);
    assert_eq!(whole(&out), 2, "a layer and a configuration");
    let refused =
        machine.run(&directory, &["image", "export", "shop/web", directory.to_str().expect("text")]);
    assert_eq!(refused.code, 1, "{}", refused.err);
    let unknown = machine.run(&directory, &["image", "inspect", "nothing"]);
    assert!(unknown.code == 1 && unknown.err.contains("there is no image `nothing`"), "{}", unknown.err);
}

#[test]
fn what_a_release_needs_survives_builds_and_collections_that_are_killed() {
    let Some(machine) = Machine::new("killed collection") else { return };
    let directory = tiny(&machine, "kept", free_port(), "kept", "");
    machine.must(&directory, &["up", "-d"]);
    let store = machine.home().join("images/oci");
    let needed = json(&machine.must(&directory, &["image", "inspect", "web", "--json"]));
    assert_eq!(needed["needed_by"], serde_json::json!(["kept r1 web"]));

    let age = || {
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        for entry in fs::read_dir(store.join("blobs/sha256")).expect("blobs").flatten() {
            let file = fs::File::open(entry.path()).expect("it is there");
            file.set_modified(hour_ago).expect("its time is set");
        }
    };
    for round in 0..6u64 {
        fs::write(directory.join("web/index.html"), format!("round {round}")).expect("written");
        for arguments in [&["build"][..], &["image", "gc", "--built"]] {
            let mut child = machine
                .command(&directory, arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            // Each round strikes at another moment; whichever it is, nothing may be lost.
            std::thread::sleep(Duration::from_millis(40 * round));
            let _ = child.kill();
            child.wait().expect("it ends");
            assert!(whole(&store) >= 2);
        }
        age();
    }
    machine.must(&directory, &["build"]);
    age();
    let planned = json(&machine.must(&directory, &["image", "gc", "--built", "--dry-run", "--json"]));
    let before = whole(&store);
    assert!(!planned["removed"].as_array().expect("a list").is_empty(), "{planned}");
    let kept_built = json(&machine.must(&directory, &["image", "gc", "--json"]));
    assert!(kept_built["kept"].as_u64() >= Some(2), "the last build stays: {kept_built}");
    let gone = json(&machine.must(&directory, &["image", "gc", "--built", "--json"]));
    assert_eq!((gone["kept"].as_u64(), gone["dry_run"].as_bool()), (Some(1), Some(false)), "{gone}");
    assert!(whole(&store) < before);
    let stays = json(&machine.must(&directory, &["image", "inspect", "web", "--json"]));
    assert_eq!(stays["digest"], needed["digest"]);
    machine.must(&directory, &["restart"]);
}

#[test]
fn a_build_that_is_not_reproducible_is_told_by_file() {
    let Some(machine) = Machine::new("not reproducible") else { return };
    let same = tiny(&machine, "same", free_port(), "one", "");
    let said = machine.must(&same, &["build", "--check"]);
    assert!(said.contains("twice the same from two places"), "{said}");

    let project = machine.home().join("clock");
    fs::create_dir_all(project.join("src")).expect("a directory");
    let write = |path: &str, text: &str| fs::write(project.join(path), text).expect("written");
    write("Cargo.toml", "[package]\nname = \"clock\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    write("Cargo.lock", "version = 3\n\n[[package]]\nname = \"clock\"\nversion = \"0.1.0\"\n");
    write("src/main.rs", "fn main() { println!(\"{}\", env!(\"BUILT_AT\")) }\n");
    write(
        "build.rs",
        "fn main() { println!(\"cargo:rustc-env=BUILT_AT={:?}\", std::time::SystemTime::now()) }\n",
    );
    let said = machine.run(&project, &["build", "--check"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("✗ clock"), "{}", said.out);
    assert!(said.out.contains("/usr/local/bin/clock (layer 2): content"), "{}", said.out);
    let left = fs::read_dir(machine.home().join("builds")).expect("its place").count();
    assert_eq!(left, 0, "a check leaves nothing behind");
}

#[test]
fn a_build_that_is_given_up_leaves_nothing() {
    let Some(machine) = Machine::new("given up") else { return };
    let directory =
        machine.project("slow", "name: slow\nservices:\n  web: {build: ./web, command: [\"/app/slow\"]}\n");
    let project = directory.join("web");
    fs::create_dir_all(project.join("src")).expect("a directory");
    fs::write(project.join("Cargo.toml"), "[package]\nname = \"slow\"\nversion = \"0.1.0\"\n")
        .expect("written");
    fs::write(
        project.join("Cargo.lock"),
        "version = 3\n\n[[package]]\nname = \"slow\"\nversion = \"0.1.0\"\n",
    )
    .expect("written");
    fs::write(project.join("src/main.rs"), "fn main() {}\n").expect("written");
    let script =
        "fn main() { std::fs::write(\"/target/sign\", \"\").unwrap(); loop { std::thread::park() } }\n";
    let builds = machine.home().join("cache/cargo-builds");
    let is_signed = || {
        let places = fs::read_dir(&builds).into_iter().flatten().flatten();
        places.map(|place| place.path().join("target/sign")).any(|sign| sign.exists())
    };
    fs::write(project.join("build.rs"), script).expect("written");
    let child = machine.command(&directory, &["build"]).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_until(Duration::from_secs(120), "the compiler", is_signed);
    let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is ours");
    let said = child.wait_with_output().expect("it ends");
    assert_eq!(said.status.code(), Some(130), "{}", String::from_utf8_lossy(&said.stderr));
    let left = fs::read_dir(machine.home().join("builds")).expect("its place").count();
    assert_eq!(left, 0);
    let listed = machine.must(&directory, &["image", "ls", "--json"]);
    let of_tools = |image: &serde_json::Value| image["origin"] == "build container for cargo";
    let listed = json(&listed);
    assert!(listed.as_array().expect("a list").iter().all(of_tools), "{listed}");
}
