//! From a recipe and its options to the plan of its image.

use crate::complete::healthcheck;
use crate::error::CatalogError;
use crate::options::Choice;
use crate::recipe::{Embedded, Recipe};
use build::archive::ArchiveChoice;
use build::plan::{Entry, EntryKind, ImagePlan, Source, User};
use model::image::ImageConfig;
use model::{Digest, Timestamp};

/// The image of the component `name`. Pure: nothing is fetched, the same arguments give the same plan.
///
/// `options` is `x-juchu.options` of the service; `archive` is used unless the options name another.
pub fn image_plan(
    name: &str,
    options: &serde_json::Value,
    archive: ArchiveChoice,
) -> Result<ImagePlan, CatalogError> {
    let embedded = Embedded::find(name).ok_or_else(|| CatalogError::Unknown { name: name.to_owned() })?;
    let recipe = embedded.recipe();
    let choice = Choice::new(&recipe, options, archive)?;
    let fill = |text: &String| text.replace("{version}", &choice.version);
    let mut packages: Vec<String> = recipe.packages.iter().map(fill).collect();
    packages.extend(choice.packages.iter().cloned());
    let config = config(&recipe, &fill);
    let inputs = format!("{}\0{packages:?}\0{:?}", embedded.text(), choice.archive);
    Ok(ImagePlan {
        packages,
        exclude: recipe.exclude.clone(),
        users: vec![user(&recipe)],
        app: Vec::new(),
        base_extra: entries(embedded, &recipe, &fill),
        config,
        inputs: Digest::of(inputs.as_bytes()),
        origin: format!(
            "component {name} ({} {}, Debian {})",
            recipe.title, choice.version, choice.archive.suite
        ),
        archive: choice.archive,
        created: Timestamp(0),
    })
}

fn user(recipe: &Recipe) -> User {
    let user = recipe.user.clone();
    User { name: user.name, uid: user.id, gid: user.id, home: user.home, shell: user.shell }
}

fn config(recipe: &Recipe, fill: &dyn Fn(&String) -> String) -> ImageConfig {
    let mut environment: std::collections::BTreeMap<String, String> =
        recipe.environment.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
    environment
        .entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    ImageConfig {
        entrypoint: recipe.entrypoint.clone(),
        command: recipe.command.clone(),
        environment,
        // Root only until the entry program has handed the data to its own user.
        user: "0:0".to_owned(),
        working_dir: recipe.working_dir.clone(),
        ports: vec![(recipe.port, "tcp".to_owned())],
        volumes: vec![recipe.volume.clone()],
        stop_signal: Some(recipe.stop_signal.clone()),
        labels: Default::default(),
        healthcheck: Some(healthcheck(recipe)),
    }
}

fn entries(embedded: &Embedded, recipe: &Recipe, fill: &dyn Fn(&String) -> String) -> Vec<Entry> {
    let files = recipe.files.iter().map(|(path, file)| Entry {
        path: path.clone(),
        kind: EntryKind::File(Source::Bytes(embedded.file(file).as_bytes().into())),
        mode: 0o755,
        uid: 0,
        gid: 0,
    });
    let directories = recipe.directories.iter().map(|(path, directory)| {
        let owner = if directory.owned { recipe.user.id } else { 0 };
        let mode = u32::from_str_radix(&directory.mode, 8).expect("a test reads every mode");
        Entry { path: path.clone(), kind: EntryKind::Directory, mode, uid: owner, gid: owner }
    });
    let links = recipe.links.iter().map(|(path, target)| Entry {
        path: fill(path),
        kind: EntryKind::Symlink(target.clone()),
        mode: 0o777,
        uid: 0,
        gid: 0,
    });
    files.chain(directories).chain(links).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(name: &str, options: serde_json::Value) -> Result<ImagePlan, String> {
        image_plan(name, &options, ArchiveChoice::default()).map_err(|error| error.report().to_string())
    }

    #[test]
    fn a_recipe_becomes_a_plan() {
        let plan = check("postgres", json!(null)).unwrap();
        assert!(plan.packages.contains(&"postgresql-17".to_owned()));
        assert_eq!(plan.config.environment["PG_MAJOR"], "17");
        assert!(plan.config.environment["PATH"].contains("/usr/lib/postgresql/17/bin"));
        assert_eq!(plan.config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(format!("{plan:?}"), format!("{:?}", check("postgres", json!({})).unwrap()));
        let redis = check("redis", json!({"version": 8})).unwrap();
        assert_eq!((redis.config.working_dir.as_str(), redis.config.ports[0].0), ("/data", 6379));
    }

    #[test]
    fn options_choose_version_suite_and_packages() {
        let plan =
            check("postgres", json!({"version": 15, "packages": ["postgresql-15-postgis-3"]})).unwrap();
        assert_eq!(plan.archive.suite, "bookworm");
        assert!(plan.packages.contains(&"postgresql-15-postgis-3".to_owned()));
        let default = check("postgres", json!(null)).unwrap();
        assert_ne!(plan.inputs, default.inputs);
    }

    #[test]
    fn mistakes_say_what_there_is() {
        let error = |name: &str, options| check(name, options).unwrap_err();
        assert_eq!(
            error("mysql", json!(null)),
            "error: there is no component `mysql`\nhint: use one of postgres, redis"
        );
        assert!(
            error("postgres", json!({"version": "9.6"})).contains("no version 9.6\nhint: use one of 15, 17")
        );
        assert!(error("postgres", json!({"archive": {"suite": "sid"}})).contains("the suite `sid`"));
        assert!(error("redis", json!({"verison": 8})).contains("unknown field `verison`"));
        assert!(
            error("redis", json!({"version": 7, "archive": {"suite": "trixie"}})).contains("use one of 8.0")
        );
    }
}
