//! Against real files and the kernel's real events.

use super::super::rules::tests::rules;
use super::*;
use std::os::unix::fs::symlink;

const RULE: &str = "{action: sync, path: ., target: /app, ignore: [node_modules/]}";
/// Longer than any batch is held.
const LIMIT: Duration = Duration::from_secs(20);

struct Project {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Project {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().canonicalize().expect("it exists").join("src");
        fs::create_dir(&path).expect("made");
        Self { _directory: directory, path }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn watch(&self, rule: &str) -> Tree {
        let outside = tempfile::tempdir().expect("a temporary directory");
        let rule = rule.replace("path: .", &format!("path: {}", self.path.display()));
        let (rules, _) = rules(outside.path(), "    image: a\n", &rule).expect("valid");
        Tree::new(rules.into()).expect("watched")
    }

    /// `+` is there, `-` is gone.
    async fn changes(&self, tree: &mut Tree) -> String {
        let batch =
            tokio::time::timeout(LIMIT, tree.next()).await.expect("a change is noticed").expect("watched");
        let name = |path: &PathBuf| path.strip_prefix(&self.path).expect("below").display().to_string();
        let gone = batch.changes.gone.iter().map(|path| format!("-{}", name(path)));
        let there = batch.changes.there.iter().map(|path| format!("+{}", name(path)));
        gone.chain(there).collect::<Vec<_>>().join(" ")
    }
}

#[tokio::test]
async fn a_save_is_noticed_however_it_is_done() {
    let project = Project::new();
    project.write("a.py", "1");
    let mut tree = project.watch(RULE);
    project.write("a.py", "2");
    assert_eq!(project.changes(&mut tree).await, "+a.py");
    // As editors do: beside it, then over it.
    project.write(".a.py.swp", "3");
    project.write("a.py~", "2");
    project.write("new", "3");
    fs::rename(project.path.join("new"), project.path.join("a.py")).expect("renamed");
    assert_eq!(project.changes(&mut tree).await, "+a.py");
    fs::remove_file(project.path.join("a.py")).expect("removed");
    assert_eq!(project.changes(&mut tree).await, "-a.py");
}

#[tokio::test]
async fn directories_come_move_and_go_with_everything_in_them() {
    let project = Project::new();
    project.write("sub/deep/x", "");
    let mut tree = project.watch(RULE);
    let elsewhere = project.path.with_file_name("elsewhere");
    fs::create_dir_all(elsewhere.join("in")).expect("made");
    fs::write(elsewhere.join("in/y"), "").expect("written");
    fs::rename(&elsewhere, project.path.join("moved")).expect("moved in");
    assert_eq!(project.changes(&mut tree).await, "+moved +moved/in +moved/in/y");
    project.write("moved/in/z", "");
    assert_eq!(project.changes(&mut tree).await, "+moved/in/z");
    fs::rename(project.path.join("sub"), project.path.join("other")).expect("renamed");
    assert_eq!(
        project.changes(&mut tree).await,
        "-sub -sub/deep -sub/deep/x +other +other/deep +other/deep/x"
    );
    project.write("other/deep/x", "by its new name");
    assert_eq!(project.changes(&mut tree).await, "+other/deep/x");
    fs::remove_dir_all(project.path.join("moved")).expect("removed");
    assert_eq!(project.changes(&mut tree).await, "-moved -moved/in -moved/in/y -moved/in/z");
    fs::remove_dir_all(project.path.join("other")).expect("removed");
    project.write("other", "a file now");
    assert_eq!(project.changes(&mut tree).await, "-other -other/deep -other/deep/x +other");
}

#[tokio::test]
async fn links_are_seen_and_not_followed() {
    let project = Project::new();
    let outside = project.path.with_file_name("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret"), "").expect("written");
    symlink(&outside, project.path.join("before")).expect("linked");
    let mut tree = project.watch(RULE);
    symlink(&outside, project.path.join("link")).expect("linked");
    assert_eq!(project.changes(&mut tree).await, "+link");
    fs::write(outside.join("secret"), "changed").expect("written");
    project.write("after", "");
    assert_eq!(project.changes(&mut tree).await, "+after");
    assert!(tree.seen.keys().all(|path| !path.ends_with("secret")));
}

#[tokio::test]
async fn what_is_ignored_is_not_even_watched() {
    let project = Project::new();
    for number in 0..50 {
        project.write(&format!("node_modules/m{number}/index.js"), "");
    }
    let mut tree = project.watch(RULE);
    assert_eq!(tree.events.count(), 2, "the directory and the one above it");
    project.write("node_modules/m1/index.js", "2");
    project.write("node_modules/new/index.js", "2");
    project.write("a.js", "");
    assert_eq!(project.changes(&mut tree).await, "+a.js");
    assert_eq!(tree.events.count(), 2);
}

#[tokio::test]
async fn thousands_of_files_at_once_are_all_noticed() {
    let project = Project::new();
    let mut tree = project.watch(RULE);
    for number in 0..5_000 {
        project.write(&format!("d{}/f{number}", number % 40), "");
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 5_040 {
        let batch = tokio::time::timeout(LIMIT, tree.next()).await.expect("a change").expect("watched");
        seen.extend(batch.changes.there);
    }
    assert_eq!(tree.seen.len(), 5_041, "and the directory itself");
}

#[tokio::test]
async fn after_an_overflow_everything_is_compared() {
    let project = Project::new();
    project.write("stays", "");
    project.write("goes", "");
    project.write("changes", "1");
    let mut tree = project.watch(RULE);
    fs::remove_file(project.path.join("goes")).expect("removed");
    project.write("changes", "22");
    project.write("new/one", "");
    // The kernel's queue lost every single event of that.
    tree.events.ready().await;
    tree.events.drain(|_| {}).expect("read");
    (tree.everywhere, tree.first) = (true, Some(Instant::now()));
    assert_eq!(project.changes(&mut tree).await, "-goes +changes +new +new/one");
    project.write("new/one", "it is watched, too");
    assert_eq!(project.changes(&mut tree).await, "+new/one");
}

#[tokio::test]
async fn more_places_than_are_noted_are_as_good_as_an_overflow() {
    let project = Project::new();
    let mut tree = project.watch(RULE);
    tree.places = (0..PLACES_MAX).map(|n| (project.path.join(n.to_string()), false)).collect();
    project.write("one", "");
    tree.events.ready().await;
    tree.drain().expect("read");
    assert!(tree.everywhere && tree.places.len() == PLACES_MAX);
    tree.first = Some(Instant::now());
    assert_eq!(project.changes(&mut tree).await, "+one");
}

#[tokio::test]
async fn the_watched_directory_itself_may_go_and_come_back() {
    let project = Project::new();
    project.write("a", "1");
    let mut tree = project.watch(RULE);
    let aside = project.path.with_file_name("aside");
    fs::rename(&project.path, &aside).expect("moved away");
    assert_eq!(project.changes(&mut tree).await, "- -a");
    fs::rename(&aside, &project.path).expect("moved back");
    assert_eq!(project.changes(&mut tree).await, "+ +a");
    project.write("a", "22");
    assert_eq!(project.changes(&mut tree).await, "+a");
}

#[tokio::test]
async fn a_single_file_is_watched_from_before_it_exists() {
    let project = Project::new();
    let rule = format!("{{action: restart, path: {}/etc/app.conf}}", project.path.display());
    let mut tree = project.watch(&rule);
    project.write("etc/other.conf", "");
    project.write("etc/app.conf", "1");
    assert_eq!(project.changes(&mut tree).await, "+etc/app.conf");
    project.write("etc/new", "2");
    fs::rename(project.path.join("etc/new"), project.path.join("etc/app.conf")).expect("renamed");
    assert_eq!(project.changes(&mut tree).await, "+etc/app.conf");
    fs::remove_dir_all(project.path.join("etc")).expect("removed");
    assert_eq!(project.changes(&mut tree).await, "-etc/app.conf");
    project.write("etc/app.conf", "3");
    assert_eq!(project.changes(&mut tree).await, "+etc/app.conf");
}

#[tokio::test]
async fn too_many_files_are_refused_with_the_way_out() {
    let project = Project::new();
    (0..20).for_each(|number| project.write(&number.to_string(), ""));
    let tree = project.watch(RULE);
    let refused = Tree::with_limit(Rc::clone(&tree.rules), 20).err().expect("21 with the directory");
    assert!(refused.error.starts_with("there are more than 20 files to watch below"), "{refused}");
    assert!(refused.hints[0].contains("ignore:"), "{refused}");
    assert!(Tree::with_limit(Rc::clone(&tree.rules), 21).is_ok());
}
