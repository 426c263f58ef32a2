//! What each rule of `develop.watch` means for a path: whether it is about it, and where it is
//! inside the instances. Patterns are those of `.dockerignore`.

use build::kinds::Ignore;
use model::image::ImageSource;
use model::mount::MountSource;
use model::watch::{WatchAction, WatchRule};
use model::{Report, Service, ServiceName};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The largest `.dockerignore` that is read.
const IGNORE_FILE_MAX: u64 = 1 << 20;

/// Never watched: version control, and what editors write beside the file that is edited.
const NEVER: &[&str] = &[
    "**/.git",
    "**/.idea/**",
    "**/*___jb_old___",
    "**/*___jb_tmp___",
    "**/.#*",
    "**/#*#",
    "**/4913",
    "**/*~",
    "**/.*.swp",
    "**/.*.swx",
    "**/.*.swo",
    "**/.*.swn",
    "**/.*.kate-swp",
    "**/*-go-tmp-umask",
];

/// One rule of one service, ready to be asked.
#[derive(Debug)]
pub struct Rule {
    pub service: ServiceName,
    pub declared: WatchRule,
    /// The rule's path with all links resolved.
    pub root: PathBuf,
    include: Option<Ignore>,
    /// Patterns and the directory they start from.
    ignored: Vec<(PathBuf, Ignore)>,
}

impl Rule {
    fn new(service: &Service, declared: &WatchRule) -> Result<Self, Report> {
        let root = resolve(&declared.path);
        let bad = |reason: String| {
            let path = declared.path.display();
            Report::usage(format!("the watch rule of {} for {path} has {reason}", service.name))
        };
        let patterns = |texts: &[String]| Ignore::of(texts.iter().map(String::as_str)).map_err(bad);
        let include = (!declared.include.is_empty()).then(|| patterns(&declared.include)).transpose()?;
        let never = Ignore::of(NEVER.iter().copied()).expect("few patterns of our own");
        let mut ignored = vec![(root.clone(), never), (root.clone(), patterns(&declared.ignore)?)];
        ignored.extend(of_build(service)?);
        Ok(Self { service: service.name.clone(), declared: declared.clone(), root, include, ignored })
    }

    /// Whether a change of `path` is this rule's affair.
    pub fn is_about(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.root) else { return false };
        let included = match &self.include {
            // A file that is named itself is included whatever the patterns say.
            Some(include) if !below.as_os_str().is_empty() => {
                text(below).is_some_and(|t| include.leaves_out(&t))
            }
            _ => true,
        };
        included && !self.ignored.iter().any(|(base, ignore)| matches(base, path, |p| ignore.leaves_out(p)))
    }

    /// Whether nothing in this directory can be this rule's affair.
    pub fn prunes(&self, directory: &Path) -> bool {
        !directory.starts_with(&self.root)
            || self.ignored.iter().any(|(base, ignore)| matches(base, directory, |p| ignore.prunes(p)))
    }

    /// Where a path is inside the instances.
    pub fn target(&self, path: &Path) -> PathBuf {
        let target = Path::new("/").join(&self.declared.target);
        match path.strip_prefix(&self.root) {
            Ok(below) if !below.as_os_str().is_empty() => target.join(below),
            _ => target,
        }
    }
}

fn matches(base: &Path, path: &Path, is: impl Fn(&str) -> bool) -> bool {
    path.strip_prefix(base).ok().and_then(text).is_some_and(|below| is(&below))
}

/// The parts of a relative path, where there are any.
fn text(path: &Path) -> Option<String> {
    (!path.as_os_str().is_empty()).then(|| path.to_string_lossy().into_owned())
}

/// What the build of the service leaves out is not watched either.
fn of_build(service: &Service) -> Result<Option<(PathBuf, Ignore)>, Report> {
    let ImageSource::Build(spec) = &service.image else { return Ok(None) };
    let Some(context) = &spec.context else { return Ok(None) };
    let of_dockerfile = spec.dockerfile.as_ref().map(|file| format!("{}.dockerignore", file.display()));
    let names = of_dockerfile.into_iter().chain([".dockerignore".to_owned()]);
    let Some(file) = names.map(|name| context.join(name)).find(|file| file.is_file()) else {
        return Ok(None);
    };
    let bad = |reason: String| Report::usage(format!("{}: {reason}", file.display()));
    if fs::metadata(&file).is_ok_and(|about| about.len() > IGNORE_FILE_MAX) {
        return Err(bad(format!("larger than {}", model::Bytes(IGNORE_FILE_MAX))));
    }
    let text = fs::read_to_string(&file).map_err(|error| bad(error.to_string()))?;
    Ok(Some((resolve(context), Ignore::of_text(&text).map_err(bad)?)))
}

/// The path with every link in it resolved, as far as it exists.
pub fn resolve(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut known = path;
    loop {
        if let Ok(found) = known.canonicalize() {
            return missing.iter().rev().fold(found, |path: PathBuf, name| path.join(name));
        }
        match (known.components().next_back(), known.parent()) {
            (Some(Component::Normal(name)), Some(parent)) => {
                missing.push(name.to_owned());
                known = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// The rules of these services (all when none is named), and remarks about those left out.
pub fn of<'a>(services: impl Iterator<Item = &'a Service>) -> Result<(Vec<Rule>, Vec<String>), Report> {
    let (mut rules, mut remarks) = (Vec::new(), Vec::new());
    for service in services {
        for declared in &service.watch {
            check(service, declared)?;
            if let Some(target) = mounted_at(service, declared) {
                let (path, name) = (declared.path.display(), &service.name);
                remarks.push(format!("{path} is mounted into {name} at {target} already: it is not watched"));
                continue;
            }
            let rule = Rule::new(service, declared)?;
            if !rule.root.exists() {
                let (path, name) = (declared.path.display(), &service.name);
                remarks.push(format!(
                    "{path}, which {name} watches, does not exist; it is watched once it does"
                ));
            }
            rules.push(rule);
        }
    }
    match rules.is_empty() {
        true => Err(nothing_to_watch(&remarks)),
        false => Ok((rules, remarks)),
    }
}

fn nothing_to_watch(remarks: &[String]) -> Report {
    let mut report = Report::usage("none of the services has anything to watch");
    report.hints.extend(remarks.iter().cloned());
    report.hint("declare it: `develop: {watch: [{action: sync, path: ./src, target: /app}]}`")
}

/// What makes a rule impossible to follow.
fn check(service: &Service, rule: &WatchRule) -> Result<(), Report> {
    let (name, path) = (&service.name, rule.path.display());
    if rule.action == WatchAction::Rebuild && !matches!(service.image, ImageSource::Build(_)) {
        return Err(Report::usage(format!("{name} is not built, so {path} cannot rebuild it"))
            .hint(format!("give {name} a `build`, or use another action than `rebuild`")));
    }
    let has_command = rule.exec.as_ref().is_some_and(|exec| !exec.command.is_empty());
    if rule.action == WatchAction::SyncExec && !has_command {
        return Err(Report::usage(format!("the watch rule of {name} for {path} has no command to run"))
            .hint("say which: `exec: {command: …}`"));
    }
    Ok(())
}

/// Where the rule's files are in the instance already.
fn mounted_at(service: &Service, rule: &WatchRule) -> Option<String> {
    let copies = matches!(rule.action, WatchAction::Sync | WatchAction::SyncRestart);
    let mut mounts = service.mounts.iter().filter(|_| copies);
    let found = mounts.find(|mount| match &mount.source {
        MountSource::Bind { path, .. } => resolve(&rule.path).starts_with(resolve(path)),
        _ => false,
    });
    found.map(|mount| mount.target.clone())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A rule in the form it has in a Compose file, of a service with these further keys.
    pub fn rules(directory: &Path, keys: &str, rules: &str) -> Result<(Vec<Rule>, Vec<String>), Report> {
        let yaml = format!("name: shop\nservices:\n  web:\n{keys}    develop: {{watch: [{rules}]}}\n");
        fs::write(directory.join("compose.yaml"), yaml).expect("written");
        let input = compose::Input { directory: directory.to_owned(), ..compose::Input::default() };
        let loaded = compose::load(&input, &crate::cli::load::Disk);
        let stack = loaded.stack.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        of(stack.services.values())
    }

    fn check(rule: &str, about: &[&str], not: &[&str]) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let here = directory.path().canonicalize().expect("it exists");
        let (rules, _) = rules(&here, "    build: .\n", rule).expect("valid");
        for path in about {
            assert!(rules[0].is_about(&here.join(path)), "{path} is the affair of {rule}");
        }
        for path in not {
            assert!(!rules[0].is_about(&here.join(path)), "{path} is not the affair of {rule}");
        }
    }

    #[test]
    fn patterns_start_from_the_rules_path() {
        let rule = "{action: sync, path: src, target: /app, ignore: [node_modules/, '**/*.log']}";
        check(
            rule,
            &["src/a.js", "src/sub/node_modules.js"],
            &["a.js", "src/node_modules/x/y", "src/sub/a.log"],
        );
        let rule = "{action: sync, path: ., target: /app, include: ['**/*.py']}";
        check(rule, &["a.py", "sub/b.py"], &["a.js", "sub/b.pyc", ".git/x.py"]);
        let rule = "{action: rebuild, path: package.json, include: ['*.py']}";
        check(rule, &["package.json"], &["package.json.bak", "sub/package.json"]);
    }

    #[test]
    fn version_control_and_editors_are_left_alone() {
        let never =
            [".git/HEAD", "sub/.git/index", ".main.py.swp", "main.py~", ".#main.py", "4913", ".idea/x.xml"];
        check("{action: restart, path: .}", &["main.py", ".gitignore", "a.swf"], &never);
    }

    #[test]
    fn what_the_build_leaves_out_is_not_watched() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let here = directory.path().canonicalize().expect("it exists");
        fs::write(here.join(".dockerignore"), "# no\nnode_modules\n*.md\n!README.md\n").expect("written");
        let (rules, _) = rules(&here, "    build: .\n", "{action: rebuild, path: .}").expect("valid");
        let about = |path: &str| rules[0].is_about(&here.join(path));
        assert!(about("a.js") && about("README.md") && !about("b.md") && !about("node_modules/x"));
        assert!(!rules[0].prunes(&here.join("node_modules")), "something could be taken back");
        fs::write(here.join(".dockerignore"), "node_modules\n").expect("written");
        let (rules, _) = self::rules(&here, "    build: .\n", "{action: rebuild, path: .}").expect("valid");
        assert!(rules[0].prunes(&here.join("node_modules")) && !rules[0].prunes(&here.join("src")));
        assert!(rules[0].prunes(&here.join(".git")) && rules[0].prunes(Path::new("/elsewhere")));
    }

    #[test]
    fn files_have_their_place_below_the_target() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let here = directory.path().canonicalize().expect("it exists");
        let place = |rule: &str, path: &str| {
            let (rules, _) = rules(&here, "    image: a\n", rule).expect("valid");
            rules[0].target(&here.join(path)).display().to_string()
        };
        assert_eq!(place("{action: sync, path: src, target: /app}", "src/a/b.py"), "/app/a/b.py");
        assert_eq!(place("{action: sync, path: src/a.py, target: /app/main.py}", "src/a.py"), "/app/main.py");
        assert_eq!(place("{action: sync, path: ., target: srv}", "x"), "/srv/x");
    }

    #[test]
    fn what_cannot_be_followed_is_refused_in_words() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let said = |keys: &str, rule: &str| rules(directory.path(), keys, rule).map(|(_, remarks)| remarks);
        let rebuild = said("    image: a\n", "{action: rebuild, path: .}").expect_err("not built");
        assert!(rebuild.error.starts_with("web is not built, so "), "{rebuild}");
        let exec =
            said("    image: a\n", "{action: sync+exec, path: ., target: /a}").expect_err("no command");
        assert!(exec.error.ends_with("has no command to run"), "{exec}");
        let none = said("    image: a\n", "").expect_err("no rules");
        assert_eq!(none.error, "none of the services has anything to watch");
        let keys = "    image: a\n    volumes: ['.:/app']\n";
        let mounted = said(keys, "{action: sync, path: src, target: /app}").expect_err("nothing is left");
        assert!(
            mounted.hints[0].ends_with("is mounted into web at /app already: it is not watched"),
            "{mounted}"
        );
        let missing = said("    image: a\n", "{action: restart, path: nowhere}").expect("watched later");
        assert!(missing[0].ends_with("does not exist; it is watched once it does"), "{missing:?}");
    }
}
