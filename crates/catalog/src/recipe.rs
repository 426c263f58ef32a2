//! A recipe as it stands in its file.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A recipe with the files it places, compiled into the program.
pub struct Embedded {
    pub name: &'static str,
    recipe: &'static str,
    files: &'static [(&'static str, &'static str)],
}

pub const EMBEDDED: &[Embedded] = &[
    Embedded {
        name: "postgres",
        recipe: include_str!("../recipes/postgres/recipe.json"),
        files: &[("entrypoint.sh", include_str!("../recipes/postgres/entrypoint.sh"))],
    },
    Embedded {
        name: "redis",
        recipe: include_str!("../recipes/redis/recipe.json"),
        files: &[
            ("entrypoint.sh", include_str!("../recipes/redis/entrypoint.sh")),
            ("health.sh", include_str!("../recipes/redis/health.sh")),
        ],
    },
];

/// `{version}` in packages, links and environment stands for the component's version in the suite.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub name: String,
    /// As people know it.
    pub title: String,
    /// Suite → version.
    pub versions: BTreeMap<String, String>,
    pub packages: Vec<String>,
    /// Dependencies that only maintainer scripts or unused parts need.
    pub exclude: Vec<String>,
    pub user: User,
    /// Path in the image → file of the recipe; all are programs.
    pub files: BTreeMap<String, String>,
    pub directories: BTreeMap<String, Directory>,
    pub links: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: String,
    pub port: u16,
    pub stop_signal: String,
    /// How long a stop may take before it is forced.
    pub stop_grace_seconds: u64,
    /// Where the data lies.
    pub volume: String,
    pub health: Health,
    /// What its entry program needs before it drops to its own user.
    pub capabilities: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub id: u32,
    pub home: String,
    pub shell: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Octal.
    pub mode: String,
    /// Belongs to the recipe's user rather than to root.
    pub owned: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub script: String,
    pub interval_seconds: u64,
    pub timeout_seconds: u64,
    pub retries: u32,
    pub start_period_seconds: u64,
}

impl Embedded {
    pub fn find(name: &str) -> Option<&'static Self> {
        EMBEDDED.iter().find(|embedded| embedded.name == name)
    }

    pub fn recipe(&self) -> Recipe {
        serde_json::from_str(self.recipe).expect("a test reads every recipe")
    }

    pub fn file(&self, name: &str) -> &'static str {
        let found = self.files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| *text).expect("a test looks for every file of every recipe")
    }

    /// Everything that decides what the recipe makes.
    pub fn text(&self) -> String {
        let files = self.files.iter().map(|(name, text)| format!("{name}\0{text}\0"));
        std::iter::once(format!("{}\0", self.recipe)).chain(files).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_can_be_read_and_has_its_files() {
        for embedded in EMBEDDED {
            let recipe = embedded.recipe();
            assert_eq!(recipe.name, embedded.name);
            recipe.files.values().for_each(|file| assert!(embedded.file(file).starts_with("#!/bin/")));
            for directory in recipe.directories.values() {
                assert!(u32::from_str_radix(&directory.mode, 8).is_ok_and(|mode| mode <= 0o7777));
            }
            assert!(recipe.directories.contains_key(&recipe.volume));
            assert!(recipe.versions.contains_key(build::archive::DEFAULT_SUITE));
        }
    }
}
