//! What surrounds the files: where they are, the environment with its `.env`, name and profiles.

use crate::diagnostics::Pos;
use crate::env_file::{self, Format};
use crate::interpolate::Expander;
use crate::load::Input;
use crate::paths;
use crate::tree::Node;
use crate::unit::Loader;
use model::StackName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// File names that are looked for, the preferred first, each with its override files.
const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The files of a project and the environment its values come from.
pub(crate) struct Project {
    pub files: Vec<PathBuf>,
    pub directory: PathBuf,
    pub environment: BTreeMap<String, String>,
}

/// Finds files, project directory and environment; what is missing is in the sink.
pub(crate) fn find(input: &Input, loader: &mut Loader<'_>) -> Option<Project> {
    let absolute = |path: &Path| paths::clean(&input.directory.join(path));
    let given = input.project_directory.as_deref().map(absolute);
    let first = given.clone().or_else(|| input.files.first().map(|file| parent(&absolute(file))));
    let first = first.unwrap_or_else(|| absolute(Path::new("")));
    let mut environment = dotenv(input, &first, input.environment.clone(), loader);
    let files = match input.files.is_empty() {
        false => input.files.iter().map(|file| absolute(file)).collect(),
        true => named_by_environment(&environment, &input.directory).or_else(|| search(&first, loader))?,
    };
    let directory = given.unwrap_or_else(|| parent(&files[0]));
    if directory != first {
        environment = dotenv(input, &directory, environment, loader);
    }
    Some(Project { files, directory, environment })
}

fn parent(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}

/// `environment` and, below it, what the environment files say.
fn dotenv(
    input: &Input,
    directory: &Path,
    environment: BTreeMap<String, String>,
    loader: &mut Loader<'_>,
) -> BTreeMap<String, String> {
    let from_variable = environment.get("COMPOSE_ENV_FILES").filter(|list| !list.is_empty());
    let named: Vec<PathBuf> = match (&input.env_files[..], from_variable) {
        ([], Some(list)) => list.split(',').map(|file| PathBuf::from(file.trim())).collect(),
        (files, _) => files.to_vec(),
    };
    let mut sources: Vec<(PathBuf, bool)> =
        named.iter().map(|file| (paths::clean(&input.directory.join(file)), true)).collect();
    if sources.is_empty() {
        sources.push((directory.join(".env"), false));
    }
    let mut values = BTreeMap::new();
    for (path, required) in sources {
        if !required && (!loader.files.exists(&path) || loader.files.is_dir(&path)) {
            continue;
        }
        let lookup = |name: &str| environment.get(name).or_else(|| values.get(name)).cloned();
        if let Some(variables) = read_env_file(&path, Format::Dotenv, &lookup, None, loader) {
            values.extend(variables);
        }
    }
    values.extend(environment);
    values
}

/// The variables of an environment file; problems go to the sink.
pub(crate) fn read_env_file(
    path: &Path,
    format: Format,
    lookup: &dyn Fn(&str) -> Option<String>,
    at: Option<Pos>,
    loader: &mut Loader<'_>,
) -> Option<Vec<(String, String)>> {
    let text = loader.read_text(path, "environment file", at)?;
    let file = loader.sink.add_file(path);
    let parsed = env_file::parse(&text, format, lookup);
    for problem in parsed.problems {
        let pos = Pos { file, line: problem.line, column: problem.column, length: 0 };
        match (problem.warning, problem.hint) {
            (true, Some(hint)) => loader.sink.warning_hint(pos, problem.message, hint),
            (true, None) => loader.sink.warning(pos, problem.message),
            (false, Some(hint)) => loader.sink.error_hint(pos, problem.message, hint),
            (false, None) => loader.sink.error(pos, problem.message),
        }
    }
    if let Some(trace) = &mut loader.trace {
        for variable in parsed.variables.iter().filter(|variable| variable.value.is_some()) {
            trace.line(&variable.name, Pos { file, line: variable.line, column: 1, length: 0 }, at);
        }
    }
    Some(parsed.variables.into_iter().filter_map(|v| Some((v.name, v.value?))).collect())
}

fn named_by_environment(environment: &BTreeMap<String, String>, directory: &Path) -> Option<Vec<PathBuf>> {
    let list = environment.get("COMPOSE_FILE").filter(|list| !list.is_empty())?;
    let separator = environment.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty());
    let separator = separator.map_or(":", String::as_str);
    Some(list.split(separator).map(|file| paths::clean(&directory.join(file))).collect())
}

fn search(directory: &Path, loader: &mut Loader<'_>) -> Option<Vec<PathBuf>> {
    for directory in directory.ancestors() {
        let present = |names: &[&str], loader: &Loader<'_>| -> Vec<PathBuf> {
            let paths = names.iter().map(|name| directory.join(name));
            paths.filter(|path| loader.files.exists(path) && !loader.files.is_dir(path)).collect()
        };
        let mut found = present(&NAMES, loader);
        if found.is_empty() {
            continue;
        }
        if found.len() > 1 {
            let (used, other) = (loader.sink.show(&found[0]), loader.sink.show(&found[1]));
            let message = format!("{used} is used, {other} beside it is not");
            loader.sink.warning_hint(None, message, format!("remove one of them, or say `-f {used}`"));
        }
        found.truncate(1);
        found.extend(present(&OVERRIDES, loader).into_iter().take(1));
        return Some(found);
    }
    loader.sink.error_hint(
        None,
        format!("no compose.yaml in {} or a directory above it", directory.display()),
        "go to the directory of the project, or name the file with `-f FILE`",
    );
    None
}

/// `--profile`, else `COMPOSE_PROFILES`.
pub(crate) fn profiles(input: &Input, environment: &BTreeMap<String, String>) -> Vec<String> {
    if !input.profiles.is_empty() {
        return input.profiles.clone();
    }
    let list = environment.get("COMPOSE_PROFILES").map_or("", String::as_str);
    list.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned).collect()
}

/// `--project-name`, else `COMPOSE_PROJECT_NAME`, else the last `name:`, else the directory's name.
pub(crate) fn name(input: &Input, project: &Project, loader: &mut Loader<'_>) -> Option<StackName> {
    let from_environment = project.environment.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    if let Some(name) = input.project_name.as_ref().or(from_environment) {
        return checked(StackName::new(name.as_str()), None, loader);
    }
    let declared =
        project.files.iter().rev().find_map(|file| declared_name(file, &project.environment, loader));
    let (text, pos) = match declared {
        Some((text, pos)) => (text, Some(pos)),
        None => (project.directory.file_name().unwrap_or_default().to_string_lossy().into_owned(), None),
    };
    checked(StackName::new(normalised(&text)), pos, loader)
}

fn checked(
    name: Result<StackName, model::IdError>,
    pos: Option<Pos>,
    loader: &mut Loader<'_>,
) -> Option<StackName> {
    match name {
        Ok(name) => Some(name),
        Err(error) => {
            let hint = "set `name:` in the file or say `--project-name NAME`";
            loader.sink.error_hint(pos, error.to_string(), hint);
            None
        }
    }
}

/// The top-level `name` of a file, expanded. Problems with it are reported when the file is loaded.
fn declared_name(
    file: &Path,
    environment: &BTreeMap<String, String>,
    loader: &mut Loader<'_>,
) -> Option<(String, Pos)> {
    let documents = loader.documents(file, None)?;
    let node = documents.iter().rev().find_map(|document| document.get("name").cloned())?;
    let lookup = |name: &str| environment.get(name).cloned();
    // An empty name is none; one that comes out empty is wrong.
    let declared = node.as_text().filter(|text| !text.is_empty());
    let text = declared.and_then(|text| Expander::new(&lookup).expand(text).ok())?;
    Some((text, node.pos))
}

/// Lower case, only letters, digits, `-` and `_`, starting with a letter or digit.
fn normalised(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

/// Whether a document gives a value at all.
pub(crate) fn is_empty(document: &Node) -> bool {
    document.is_null()
}
