//! Node projects at the level of plans.

use crate::kinds::Kind;
use crate::kinds::testing::Fixture;

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
    assert!(
        command(&[("package.json", r#"{"scripts": {"start": "next start"}}"#)])
            .unwrap_err()
            .contains("`next start`")
    );
    assert!(command(&[("package.json", "{}")]).unwrap_err().contains("nothing says what"));
    assert!(command(&[("package.json", "[]")]).unwrap_err().contains("not a JSON object"));
}

#[test]
fn dependencies_need_npms_own_lock() {
    let package = ("package.json", r#"{"dependencies": {"a": "1"}, "main": "x.js"}"#);
    assert!(command(&[package, ("x.js", "")]).unwrap_err().contains("no package-lock.json"));
    assert!(command(&[package, ("yarn.lock", "")]).unwrap_err().contains("yarn.lock is not read yet"));
    assert!(
        command(&[package, ("pnpm-lock.yaml", "")]).unwrap_err().contains("pnpm-lock.yaml is not read yet")
    );
}

/// Uses the npm registry that the machine's settings name.
#[test]
fn registry_packages_are_unpacked_where_the_lock_says() {
    let lock = r#"{"lockfileVersion": 3, "packages": {"": {}, "node_modules/is-number": {"version": "7.0.0",
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
