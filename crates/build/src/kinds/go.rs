//! A Go project: compiled by Debian's Go in build containers, into one static program. The first one
//! fetches modules, which go.sum checks; the second one compiles and has no network.

use super::cache::Cache;
use super::draft::{APP_DIRECTORY, Draft, directory, file_from};
use super::runner::RunMount;
use super::rust::ASSET_DIRECTORIES;
use super::settings::Project;
use super::tool::{self, Failed, Tool};
use super::tree::{Tree, file_digest};
use crate::BuildError;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const BUILT: &str = "go-builds";
/// Where modules lie while the project is compiled.
const MODULES: &str = "/modules";
/// Variables of the caller that say where modules come from.
const PASSED_ON: &[&str] = &["GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE"];

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let module = tree.text("go.mod")?.unwrap_or_default();
    let modules_are_stated = tree.has("go.sum") || tree.below("vendor").next().is_some();
    if requires(&module) && !modules_are_stated {
        return Err(BuildError::input_hint(
            format!(
                "go.mod in {} requires modules, and there is no go.sum with their digests",
                project.place()
            ),
            "run `go mod tidy` and keep both files",
        ));
    }
    let (package, name) = chosen(project, tree, &module)?;
    let cache = Cache::of(project.ctx);
    let built =
        cache.directory(BUILT, project.fingerprint.hex(), |into| compile(project, &package, &name, into))?;
    let program = built.join(&name);
    let mut draft = Draft::default();
    // A static program needs no C library, only what it reads: authorities and time zones.
    draft.package("ca-certificates");
    draft.package("tzdata");
    draft.exclude = vec!["openssl".to_owned()];
    draft.inputs.push((name.clone(), file_digest(&program)?));
    draft.app.push(directory(APP_DIRECTORY));
    for asset in ASSET_DIRECTORIES.iter().filter(|asset| tree.below(asset).next().is_some()) {
        draft.add_tree(tree, asset, &format!("{APP_DIRECTORY}/{asset}"));
    }
    let target = format!("/usr/local/bin/{name}");
    draft.app.push(file_from(target.clone(), program, true));
    draft.command = vec![target];
    Ok(draft)
}

fn requires(module: &str) -> bool {
    module.lines().any(|line| line.trim_start().starts_with("require"))
}

/// The package that is compiled, as `go build` is given it, and the program's name.
fn chosen(project: &Project, tree: &Tree, module: &str) -> Result<(String, String), BuildError> {
    let programs = programs(tree)?;
    let own = module_name(module);
    let named = |directory: &str| match directory.rsplit('/').next() {
        Some("") | None => own.clone(),
        Some(last) => last.to_owned(),
    };
    let argument =
        |directory: &str| if directory.is_empty() { ".".to_owned() } else { format!("./{directory}") };
    let wanted = project.spec.target.as_deref();
    let fitting: Vec<&String> =
        programs.iter().filter(|directory| wanted.is_none_or(|wanted| named(directory) == wanted)).collect();
    match fitting[..] {
        [one] => Ok((argument(one), named(one))),
        [] => Err(BuildError::input_hint(
            match wanted {
                Some(wanted) => format!("{} has no program `{wanted}`", project.place()),
                None => format!("{} makes no program, only packages", project.place()),
            },
            "a program is a directory with `package main`: the project itself, or one below cmd/",
        )),
        // The project itself goes before what it has beside it.
        _ if programs.contains("") && wanted.is_none() => Ok((".".to_owned(), own)),
        _ => {
            let names: Vec<String> = fitting.iter().map(|directory| named(directory)).collect();
            Err(BuildError::input_hint(
                format!("{} makes several programs: {}", project.place(), names.join(", ")),
                "choose one with `build: {target: NAME}`",
            ))
        }
    }
}

/// Directories with `package main`: the project itself and those below `cmd`.
fn programs(tree: &Tree) -> Result<BTreeSet<String>, BuildError> {
    let mut found = BTreeSet::new();
    for file in tree.files.iter().filter(|f| f.path.ends_with(".go") && !f.path.ends_with("_test.go")) {
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        if (!directory.is_empty() && !directory.starts_with("cmd/")) || found.contains(directory) {
            continue;
        }
        let text = tree.text(&file.path)?.unwrap_or_default();
        let excluded = text.lines().any(|line| line.trim() == "//go:build ignore");
        if !excluded && text.lines().any(|line| line.split_whitespace().take(2).eq(["package", "main"])) {
            found.insert(directory.to_owned());
        }
    }
    Ok(found)
}

/// `module example.com/shop/v2` → `shop`.
fn module_name(module: &str) -> String {
    let path = module.lines().find_map(|line| line.trim().strip_prefix("module ")).unwrap_or("app");
    let mut parts = path.trim().trim_matches('"').rsplit('/');
    let is_version = |part: &str| part.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
    parts.find(|part| !is_version(part)).filter(|name| !name.is_empty()).unwrap_or("app").to_owned()
}

fn compile(project: &Project, package: &str, name: &str, into: &Path) -> Result<(), BuildError> {
    let tree = project.tree()?;
    let scratch = Cache::of(project.ctx).scratch()?;
    let (input, output) = tool::directories(&scratch.path)?;
    let is_vendored = tree.below("vendor").next().is_some();
    let modules = match requires(&tree.text("go.mod")?.unwrap_or_default()) && !is_vendored {
        true => Some(fetch(project, &scratch.path, &input)?),
        false => None,
    };
    project.ctx.say("compiling with Go");
    let flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o"];
    let target = format!("/out/{name}");
    let mut words = vec!["build"];
    words.extend(flags);
    words.extend([target.as_str(), package]);
    let mounts = modules.iter().map(|modules| RunMount {
        source: modules.clone(),
        target: MODULES.to_owned(),
        read_only: true,
    });
    let mut environment = environment(project, &input, MODULES)?;
    environment.insert("GOPROXY".to_owned(), "off".to_owned());
    let step = Step { words: &words, environment, network: false, mounts: mounts.collect() };
    go(project, step, &input, &output)?;
    let program = into.join(name);
    fs::rename(output.join(name), &program)
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
        .map_err(BuildError::io(format!("keep the program {name}")))
}

/// Fetches what go.mod requires; the directory with it.
fn fetch(project: &Project, scratch: &Path, input: &Path) -> Result<PathBuf, BuildError> {
    let modules = scratch.join("modules");
    crate::durable::create_directories(&modules)?;
    tool::open_to_all(&modules)?;
    project.ctx.say("fetching Go modules");
    // Modules are fetched into what is mounted at /out there, and can be removed afterwards.
    let words = ["mod", "download", "-modcacherw"];
    let environment = environment(project, input, "/out")?;
    let step = Step { words: &words, environment, network: true, mounts: Vec::new() };
    go(project, step, input, &modules)?;
    Ok(modules)
}

/// One command of Go.
struct Step<'a> {
    words: &'a [&'a str],
    environment: BTreeMap<String, String>,
    network: bool,
    mounts: Vec<RunMount>,
}

fn go(project: &Project, step: Step<'_>, input: &Path, output: &Path) -> Result<(), BuildError> {
    let mut source = Draft::default();
    source.add_tree(project.tree()?, "", "/src");
    let argv = ["/usr/bin/go"].iter().chain(step.words).map(|word| (*word).to_owned());
    let tool = Tool {
        project,
        name: "go",
        packages: ["golang-go", "ca-certificates"].map(str::to_owned).to_vec(),
        files: source.app,
        argv: argv.collect(),
        environment: step.environment,
        working_dir: "/src",
        network: step.network,
        input,
        output,
        mounts: step.mounts,
    };
    tool.run(&|line| line.starts_with("go: downloading")).map_err(|failed| refused(project, failed))
}

fn environment(
    project: &Project,
    input: &Path,
    modules: &str,
) -> Result<BTreeMap<String, String>, BuildError> {
    let mut environment = tool::environment(project.ctx, &[], input)?;
    environment.extend(
        PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), project.ctx.variable(name)?.to_owned()))),
    );
    let own = [
        ("CGO_ENABLED", "0"),
        ("GOTOOLCHAIN", "local"),
        ("GOTELEMETRY", "off"),
        ("GOCACHE", "/tmp/cache"),
        ("GOPATH", "/tmp/go"),
        ("GOMODCACHE", modules),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(environment)
}

fn refused(project: &Project, failed: Failed) -> BuildError {
    let (why, hint) = match failed {
        Failed::TimedOut => {
            (format!("it did not finish within {}", project.time_limit()), "look what it waits for")
        }
        Failed::Runner(error) => (error, "compile it elsewhere, and build the program with `kind: binary`"),
        Failed::Said(last)
            if last
                .iter()
                .any(|line| line.contains("go.sum") || line.contains("updates to go.mod needed")) =>
        {
            let line = last.iter().find(|line| line.contains("go.sum") || line.contains("go.mod"));
            let line = line.map_or("", |line| line.trim());
            return BuildError::input_hint(
                format!("go.sum does not match go.mod in {}: {line}", project.place()),
                "run `go mod tidy` and keep both files",
            );
        }
        Failed::Said(last) => {
            let place = last.iter().find(|line| line.contains(".go:"));
            (
                place.map_or_else(|| tool::reason(&last), |line| line.trim().to_owned()),
                "run `go build` to see everything; it is Debian's Go, without cgo",
            )
        }
    };
    BuildError::input_hint(format!("Go could not build {}: {why}", project.place()), hint)
}

#[cfg(test)]
mod tests {
    use crate::kinds::Kind;
    use crate::kinds::testing::{FakeRunner, Fixture};

    const MAIN: &str = "package main\n\nfunc main() {}\n";

    fn go(code: i32) -> FakeRunner {
        FakeRunner::new(move |request| {
            let out = request.mounts.iter().find(|mount| mount.target == "/out").unwrap();
            if request.argv[1] == "build" {
                assert!(!request.network && request.environment["GOPROXY"] == "off");
                let target = request.argv.iter().find_map(|word| word.strip_prefix("/out/")).unwrap();
                std::fs::write(out.source.join(target), request.argv.last().unwrap()).unwrap();
                let modules = request.mounts.iter().find(|mount| mount.target == "/modules");
                if let Some(modules) = modules {
                    assert!(modules.read_only && modules.source.join("fetched").is_file());
                }
            } else {
                assert!(request.network && request.environment["GOMODCACHE"] == "/out");
                std::fs::write(out.source.join("fetched"), "").unwrap();
            }
            Ok(code)
        })
    }

    fn check(files: &[(&str, &str)], expect: &str) {
        let fixture = Fixture::new().file("go.mod", "module example.com/shop/v2\n");
        let fixture = files.iter().fold(fixture, |fixture, (path, text)| fixture.file(path, text));
        let runner = go(0);
        let found = match fixture.plan_by(&runner) {
            Ok(planned) => {
                assert_eq!(planned.kind, Kind::Go);
                let asked = runner.asked.lock().unwrap();
                format!("{} {}", planned.plan.config.command.join(" "), asked[0].last().unwrap())
            }
            Err(error) => error.to_string().replace(&fixture.place(), "DIR"),
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn the_program_is_found_where_projects_have_it() {
        check(&[("main.go", MAIN), ("main_test.go", "package main_test\n")], "/usr/local/bin/shop .");
        check(&[("shop.go", "package shop\n"), ("cmd/web/web.go", MAIN)], "/usr/local/bin/web ./cmd/web");
        check(&[("main.go", MAIN), ("cmd/tool/a.go", MAIN)], "/usr/local/bin/shop .");
        check(&[("cmd/a/a.go", MAIN), ("cmd/b/b.go", MAIN)], "DIR makes several programs: a, b");
        check(&[("a.go", "package a\n")], "DIR makes no program, only packages");
    }

    #[test]
    fn modules_need_their_digests() {
        let module = "module m\n\nrequire example.com/x v1.0.0\n";
        let fixture = Fixture::new().file("go.mod", module).file("main.go", MAIN);
        let error = fixture.plan().unwrap_err();
        assert!(error.to_string().contains("there is no go.sum with their digests"), "{error}");
        let fixture = fixture.file("go.sum", "");
        let runner = go(1).saying("main.go:3:8: missing go.sum entry for module providing package x");
        let error = fixture.plan_by(&runner).unwrap_err().to_string().replace(&fixture.place(), "DIR");
        assert!(error.starts_with("go.sum does not match go.mod in DIR: main.go:3:8: missing"), "{error}");
    }

    #[test]
    fn modules_are_fetched_apart_from_compiling_and_only_where_some_are_required() {
        let module = "module m\n\nrequire example.com/x v1.0.0\n";
        let asked = |more: &str| {
            let fixture = Fixture::new().file("go.mod", module).file("main.go", MAIN).file("go.sum", "");
            let fixture = if more.is_empty() { fixture } else { fixture.file(more, "") };
            let runner = go(0);
            fixture.plan_by(&runner).unwrap();
            let asked = runner.asked.into_inner().unwrap();
            asked.into_iter().map(|argv| argv[1].clone()).collect::<Vec<_>>()
        };
        assert_eq!(asked(""), ["mod", "build"]);
        assert_eq!(asked("vendor/modules.txt"), ["build"]);
    }

    #[test]
    fn the_image_has_the_program_and_what_it_reads() {
        let fixture =
            Fixture::new().file("go.mod", "module m\n").file("main.go", MAIN).file("static/a.css", "");
        let plan = fixture.plan_by(&go(0)).unwrap().plan;
        assert_eq!(plan.packages, ["ca-certificates", "tzdata"]);
        assert!(plan.app.iter().any(|entry| entry.path == "/app/static/a.css"));
        // Kept: no runner is asked again.
        assert_eq!(fixture.plan().unwrap().plan.inputs, plan.inputs);
    }
}
