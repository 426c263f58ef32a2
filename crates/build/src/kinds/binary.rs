//! A prebuilt program: the only executable of the context, with the files beside it.

use super::detect::executables;
use super::draft::{APP_DIRECTORY, Draft};
use super::libraries::packages_for;
use super::settings::Project;
use crate::BuildError;

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let name = match &executables(tree)[..] {
        [one] => one.clone(),
        [] => {
            return Err(BuildError::input_hint(
                format!("{} holds no executable", project.place()),
                "copy the compiled program there, for this machine's processor",
            ));
        }
        several => {
            return Err(BuildError::input_hint(
                format!("{} holds several executables: {}", project.place(), several.join(", ")),
                "leave only one, or state `files` and `entrypoint` under `x-juchu.image`",
            ));
        }
    };
    let mut draft = Draft::default();
    draft.add_tree(tree, "", APP_DIRECTORY);
    let target = format!("{APP_DIRECTORY}/{name}");
    draft.app.iter_mut().filter(|entry| entry.path == target).for_each(|entry| entry.mode = 0o755);
    let beside = |library: &str| tree.files.iter().any(|f| f.path.rsplit('/').next() == Some(library));
    add_packages(
        &mut draft,
        packages_for(project, &tree.root.join(&name), &name, &beside)?.unwrap_or_default(),
    );
    draft.command = vec![target];
    Ok(draft)
}

/// A dynamic program gets its libraries and what most of them read: certificates and time zones.
pub fn add_packages(draft: &mut Draft, packages: Vec<String>) {
    if packages.is_empty() {
        return;
    }
    packages.iter().for_each(|name| draft.package(name));
    draft.package("ca-certificates");
    draft.package("tzdata");
}

#[cfg(test)]
mod tests {
    use crate::kinds::Kind;
    use crate::kinds::testing::Fixture;

    #[test]
    fn the_one_executable_runs_with_its_libraries() {
        let fixture =
            Fixture::new().file("config.toml", "x = 1").copy(&std::env::current_exe().unwrap(), "prog");
        let planned = fixture.plan().unwrap();
        assert_eq!(planned.kind, Kind::Binary);
        assert_eq!(planned.plan.config.command, ["/app/prog"]);
        assert!(planned.plan.packages.contains(&"libc6".to_owned()));
        let paths: Vec<_> = planned.plan.app.iter().map(|e| (e.path.as_str(), e.mode)).collect();
        assert_eq!(paths, [("/app", 0o755), ("/app/config.toml", 0o644), ("/app/prog", 0o755)]);
    }

    #[test]
    fn two_executables_are_one_too_many() {
        let me = std::env::current_exe().unwrap();
        let fixture = Fixture::new().copy(&me, "a").copy(&me, "b").image(|i| i.kind = Some("binary".into()));
        assert!(fixture.plan().unwrap_err().to_string().contains("several executables: a, b"));
    }
}
