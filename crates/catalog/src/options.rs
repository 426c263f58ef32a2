//! `x-juchu.options` of a component: which version, from which archive, with what beside it.

use crate::error::CatalogError;
use crate::recipe::Recipe;
use build::archive::ArchiveChoice;
use model::image::ArchiveSpec;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    version: Option<Version>,
    archive: Option<ArchiveSpec>,
    /// Debian packages beside those of the recipe, such as extensions.
    packages: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Version {
    Number(serde_json::Number),
    Text(String),
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What the options come to.
pub struct Choice {
    pub archive: ArchiveChoice,
    pub version: String,
    pub packages: Vec<String>,
}

impl Choice {
    pub fn new(
        recipe: &Recipe,
        options: &serde_json::Value,
        archive: ArchiveChoice,
    ) -> Result<Self, CatalogError> {
        let options = match options {
            serde_json::Value::Null => Options::default(),
            value => Options::deserialize(value).map_err(|error| CatalogError::Options {
                name: recipe.name.clone(),
                reason: error.to_string(),
            })?,
        };
        let states_suite = options.archive.as_ref().is_some_and(|archive| archive.suite.is_some());
        let mut archive = match &options.archive {
            Some(spec) => ArchiveChoice { keyring: archive.keyring, ..ArchiveChoice::from_spec(Some(spec)) },
            None => archive,
        };
        if let (Some(version), false) = (&options.version, states_suite) {
            archive.suite = suite_with(recipe, &version.to_string(), &archive.suite)?;
        }
        let Some(version) = recipe.versions.get(&archive.suite) else {
            let known = recipe.versions.keys().cloned().collect();
            return Err(CatalogError::Suite { name: recipe.name.clone(), suite: archive.suite, known });
        };
        let wanted = options.version.map(|version| version.to_string());
        if let Some(wanted) = wanted.filter(|wanted| !covers(wanted, version)) {
            return Err(CatalogError::Version {
                name: recipe.name.clone(),
                version: wanted,
                known: vec![version.clone()],
            });
        }
        Ok(Self { archive, version: version.clone(), packages: options.packages })
    }
}

/// The preferred suite when it has the version, else another that has it.
fn suite_with(recipe: &Recipe, version: &str, preferred: &str) -> Result<String, CatalogError> {
    let has = |suite: &str| recipe.versions.get(suite).is_some_and(|has| covers(version, has));
    if has(preferred) {
        return Ok(preferred.to_owned());
    }
    recipe.versions.keys().find(|suite| has(suite)).cloned().ok_or_else(|| CatalogError::Version {
        name: recipe.name.clone(),
        version: version.to_owned(),
        known: recipe
            .versions
            .values()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect(),
    })
}

/// `8` asks for any `8.x`.
fn covers(wanted: &str, version: &str) -> bool {
    version == wanted || version.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}
