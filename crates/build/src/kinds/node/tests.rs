//! Node projects at the level of plans.

use super::lock::Lock;
use super::manifest::Manifest;
use super::package::{Installation, Package, Wanted};
use crate::kinds::Kind;
use crate::kinds::settings::{Machine, Planned};
use crate::kinds::testing::{FakeRunner, Fixture};

fn command(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let fixture = files.iter().fold(Fixture::new(), |fixture, (path, text)| fixture.file(path, text));
    fixture.plan().map(|planned| planned.plan.config.command).map_err(|error| error.to_string())
}

#[test]
fn a_project_without_dependencies_needs_no_lock() {
    let fixture = Fixture::new().file("package.json", r#"{"main": "src/app"}"#).file("src/app.js", "");
    let planned = fixture.plan().unwrap();
    assert_eq!(planned.kind, Kind::Node);
    assert_eq!(planned.plan.config.command, ["node", "src/app.js"]);
    assert_eq!(planned.plan.config.environment["NODE_ENV"], "production");
    assert!(planned.plan.packages.contains(&"nodejs".to_owned()));
}

#[test]
fn the_start_command_is_found_in_order() {
    let package = r#"{"scripts": {"start": "node --enable-source-maps dist/main.js"}, "main": "x.js"}"#;
    assert_eq!(
        command(&[("package.json", package), ("x.js", "")]).unwrap(),
        ["node", "--enable-source-maps", "dist/main.js"]
    );
    assert_eq!(
        command(&[("package.json", "{}"), ("index.js", ""), ("server.js", "")]).unwrap(),
        ["node", "server.js"]
    );
    assert!(command(&[("package.json", "{}")]).unwrap_err().contains("nothing says what"));
    assert!(command(&[("package.json", "[]")]).unwrap_err().contains("not a JSON object"));
}

#[test]
fn a_start_script_may_name_a_program_but_not_need_a_shell() {
    let check = |script: &str| {
        command(&[("package.json", &format!(r#"{{"scripts": {{"start": "{script}"}}}}"#))]).unwrap_err()
    };
    assert!(check("node a.js && node b.js").contains("which is neither `node FILE` nor a program"));
    assert!(check("serve dist").contains("`serve dist`"));
}

const PACKAGE: &str = include_str!("../../../tests/projects/node/package.json");
const LOCKS: [(&str, &str); 6] = [
    ("package-lock.json", include_str!("../../../tests/projects/node/locks/npm1.json")),
    ("package-lock.json", include_str!("../../../tests/projects/node/locks/npm3.json")),
    ("pnpm-lock.yaml", include_str!("../../../tests/projects/node/locks/pnpm6.yaml")),
    ("pnpm-lock.yaml", include_str!("../../../tests/projects/node/locks/pnpm9.yaml")),
    ("yarn.lock", include_str!("../../../tests/projects/node/locks/yarn1.lock")),
    ("yarn.lock", include_str!("../../../tests/projects/node/locks/berry.lock")),
];

/// The project of `tests/projects/node` with one of its locks.
fn locked(file: &str, lock: &str) -> Fixture {
    // pnpm writes a package of the workspace in its own way.
    let package = match file {
        "pnpm-lock.yaml" => {
            PACKAGE.replace("\"util-of-ours\": \"1.0.0\"", "\"util-of-ours\": \"workspace:*\"")
        }
        _ => PACKAGE.to_owned(),
    };
    Fixture::new()
        .file("package.json", &package)
        .file("server.js", include_str!("../../../tests/projects/node/server.js"))
        .file(
            "packages/util/package.json",
            include_str!("../../../tests/projects/node/packages/util/package.json"),
        )
        .file("packages/util/index.js", include_str!("../../../tests/projects/node/packages/util/index.js"))
        .file(file, lock)
}

fn installation(fixture: &Fixture, development: bool) -> Result<Installation, String> {
    fixture
        .with(|project| {
            let manifest = Manifest::read(project, "")?;
            let lock = Lock::read(project, &manifest)?.expect("the fixture has a lock");
            let fits =
                |package: &Package| Ok(package.platform.fits(Machine::X86_64).unwrap_or(!package.optional));
            lock.install("the lock", &Wanted { development, fits: &fits })
        })
        .map_err(|error| error.to_string().replace(&fixture.place(), "DIR"))
}

#[test]
fn every_tools_lock_names_the_same_packages() {
    for (file, lock) in LOCKS {
        let fixture = locked(file, lock);
        let names = |development| {
            let all = installation(&fixture, development).unwrap().packages;
            let mut all: Vec<_> = all.iter().map(|p| format!("{}@{}", p.name, p.version)).collect();
            all.sort();
            all.join(" ")
        };
        let expect = "debug@4.4.3 is-number@7.0.0 js-tokens@4.0.0 loose-envify@1.4.0 ms@2.0.0 ms@2.1.3 \
                      react-dom@18.3.1 react@18.3.1 scheduler@0.23.2 semver@7.8.6";
        assert_eq!(names(false), expect, "{file}: {lock:.60}");
        assert!(names(true).contains("prettier@3.10.1"), "{file}");
    }
}

#[test]
fn a_lock_of_another_manifest_is_an_error_that_names_both() {
    for (file, lock) in LOCKS {
        let fixture = locked(file, lock);
        let changed = std::fs::read_to_string(fixture.root().join("package.json")).unwrap();
        let changed = changed.replace("\"^4.3.4\"", "\"^5.0.0\"").replace("\"semver\"", "\"semver-next\"");
        let error = installation(&fixture.file("package.json", &changed), false).unwrap_err();
        let start = format!("DIR/{file} does not match package.json: it asks for `");
        assert!(error.starts_with(&start), "{error}");
        let first = "debug` ^5.0.0, the lock has `";
        assert!(
            error.contains(first) || error.ends_with("semver-next` ^7.5.0, the lock does not have it"),
            "{error}"
        );
    }
}

#[test]
fn several_locks_are_one_too_many_unless_the_manifest_says_which() {
    let fixture = locked(LOCKS[1].0, LOCKS[1].1).file("yarn.lock", LOCKS[4].1);
    let error = installation(&fixture, false).map(|_| ()).unwrap_err();
    assert_eq!(error, "DIR has lock files of several tools: package-lock.json, yarn.lock");
    let stated = PACKAGE.replace("\"private\"", "\"packageManager\": \"yarn@1.22.22\", \"private\"");
    let places = installation(&fixture.file("package.json", &stated), false).unwrap().packages;
    assert!(places[0].place.starts_with("node_modules/.store/"), "{:?}", places[0].place);
}

#[test]
fn broken_and_hostile_locks_are_refused() {
    let check = |file: &str, lock: &str, expect: &str| {
        let error = Fixture::new().file("package.json", "{}").file(file, lock);
        let error = installation(&error, false).map(|_| ()).unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    check("pnpm-lock.yaml", "lockfileVersion: '5.4'\n", "has version 5.4, only 6 and 9 are read");
    check("pnpm-lock.yaml", "lockfileVersion: [\n", "DIR/pnpm-lock.yaml: ");
    check(
        "pnpm-lock.yaml",
        "lockfileVersion: '9.0'\nimporters: {.: {dependencies: {a: {specifier: '1', version: link:../../x}}}}\n",
        "outside the project",
    );
    check("yarn.lock", "a@1:\n   odd\n", "yarn.lock:2: `odd` is not of yarn 1");
    check("bun.lock", "", "is bun's");
    let evil = "lockfileVersion: '9.0'\nimporters: {.: {dependencies: {a: {specifier: '1', version: 1.0.0}}}}\n\
        packages: {'a@1.0.0': {resolution: {integrity: x}, name: ../../etc}}\nsnapshots: {'a@1.0.0': {}}\n";
    let package = r#"{"dependencies": {"a": "1"}}"#;
    let fixture = Fixture::new().file("package.json", package).file("pnpm-lock.yaml", evil);
    assert!(installation(&fixture, false).map(|_| ()).unwrap_err().contains("not a package's name"));
}

/// A project whose build script leaves these files.
fn built(package: &str, left: &'static [(&'static str, &'static str)]) -> Result<Planned, String> {
    let fixture = Fixture::new().file("package.json", package).file("src/a.ts", "");
    let runner = FakeRunner::new(move |request| {
        assert!(!request.network, "a build script has no network");
        let out = request.mounts.iter().find(|mount| mount.target == "/out").ok_or("no /out")?;
        for (path, text) in left.iter().chain(&[("package.json", "{}")]) {
            let path = out.source.join("app").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Ok(if left.is_empty() { 1 } else { 0 })
    });
    let planned =
        fixture.plan_by(&runner).map_err(|error| error.to_string().replace(&fixture.place(), "DIR"))?;
    // What was built is kept: no runner is asked again.
    assert_eq!(fixture.plan().unwrap().plan.inputs, planned.plan.inputs);
    Ok(planned)
}

#[test]
fn a_build_that_leaves_pages_is_a_site() {
    let vite = r#"{"scripts": {"build": "vite build", "start": "vite preview"}}"#;
    let planned = built(vite, &[("dist/index.html", "x"), ("dist/assets/a.js", "y")]).unwrap();
    assert_eq!(planned.plan.packages, ["nginx"]);
    assert!(planned.plan.app.iter().any(|entry| entry.path == "/app/assets/a.js"));
    assert!(planned.notes[0].contains("built by `vite build`"), "{:?}", planned.notes);
}

#[test]
fn a_build_that_leaves_a_server_runs_it() {
    let check = |package: &str, left, expect: &[&str]| {
        let plan = built(package, left).unwrap().plan;
        assert_eq!(plan.config.command, expect);
        assert!(plan.packages.contains(&"nodejs".to_owned()));
    };
    let tsc = r#"{"scripts": {"build": "tsc", "start": "node dist/main.js"}}"#;
    check(tsc, &[("dist/main.js", "")], &["node", "dist/main.js"]);
    let both = r#"{"scripts": {"build": "nuxt build"}}"#;
    let left = &[(".output/server/index.mjs", ""), (".output/public/index.html", "")];
    check(both, left, &["node", ".output/server/index.mjs"]);
}

#[test]
fn a_build_that_fails_says_what_it_said() {
    let error = built(r#"{"scripts": {"build": "tsc"}}"#, &[]).map(|_| ()).unwrap_err();
    assert_eq!(error, "the build script of DIR, `tsc`, failed: the tool says hello");
}

#[test]
fn without_a_lock_npm_makes_one_unless_that_is_forbidden() {
    let package = r#"{"dependencies": {"is-number": "^7.0.0"}, "main": "x.js"}"#;
    let fixture = Fixture::new().file("package.json", package).file("x.js", "");
    let forbidden = fixture.variable(crate::kinds::settings::LOCKED, "1");
    let error = forbidden.plan().unwrap_err();
    assert!(error.to_string().contains("`--locked` lets nothing be chosen"), "{error}");
}

/// Uses the npm registry that the machine's settings name.
#[test]
fn registry_packages_of_every_tool_are_fetched_and_checked() {
    for (file, lock) in LOCKS {
        let fixture = locked(file, lock);
        let plan = fixture.plan().unwrap_or_else(|error| panic!("{file}: {error}")).plan;
        let find = |path: &str| plan.base_extra.iter().find(|entry| entry.path == path);
        let program = find("/app/node_modules/.bin/semver").map(|entry| format!("{:?}", entry.kind));
        assert!(
            program.as_ref().is_some_and(|to| to.contains("../semver/bin/semver.js")),
            "{file}: {program:?}"
        );
        let wrong =
            lock.replace("c0/d79136ec6c83", "c0/e79136ec6c83").replace("sha512-RGwwWnwQ", "sha512-SGwwWnwQ");
        let wrong = fixture.file(file, &wrong).plan().map(|_| ()).unwrap_err().to_string();
        assert!(wrong.contains("debug-4.4.3.tgz has digest"), "{file}: {wrong}");
    }
}

/// Uses the npm registry that the machine's settings name.
#[test]
fn registry_packages_are_unpacked_where_the_lock_says() {
    let lock = r#"{"lockfileVersion": 3, "packages": {"": {"dependencies": {"is-number": "7"}}, "node_modules/is-number": {"version": "7.0.0",
        "resolved": "https://registry.npmjs.org/is-number/-/is-number-7.0.0.tgz",
        "integrity": "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="},
        "node_modules/a/node_modules/semver": {"version": "5.7.2", "bin": {"semver": "bin/semver"},
        "integrity": "sha512-cBznnQ9KjJqU67B52RMC65CMarK2600WFnbkcaiwWq3xy/5haFJlshgnpjovMVJ+Hff49d8GEn0b87C5pDQ10g=="}}}"#;
    let fixture = Fixture::new()
        .file("package.json", r#"{"dependencies": {"is-number": "7"}, "main": "x.js"}"#)
        .file("x.js", "")
        .file("package-lock.json", lock);
    let plan = fixture.plan().unwrap().plan;
    let find = |path: &str| plan.base_extra.iter().find(|entry| entry.path == path);
    assert!(find("/app/node_modules/is-number/index.js").is_some());
    assert_eq!(find("/app/node_modules/a/node_modules/semver/bin/semver").unwrap().mode, 0o755);
    let link = format!("{:?}", find("/app/node_modules/a/node_modules/.bin/semver").unwrap().kind);
    assert!(link.contains("../semver/bin/semver"), "{link}");
    let again = fixture.plan().unwrap().plan;
    assert_eq!(again.inputs, plan.inputs);
    let wrong = fixture.file("package-lock.json", &lock.replace("41Cifkg6", "51Cifkg6"));
    assert!(wrong.plan().unwrap_err().to_string().contains("has digest"));
}
