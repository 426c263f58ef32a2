//! A project directory without a Compose file, as the one service it would be.

use crate::cli::args::StackArgs;
use model::{Report, Service};
use serde_json::json;
use std::env;
use std::path::{Path, PathBuf};

const COMPOSE_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const NAME_MAX: usize = 63;
/// What a directory is called whose own name has no letter or digit.
const NAMELESS: &str = "app";

/// The service of a plain directory; `None` where a Compose file says what is built.
pub fn project(targets: &[String], stack: &StackArgs) -> Result<Option<Service>, Report> {
    if !stack.files.is_empty() || env::var_os("COMPOSE_FILE").is_some() {
        return Ok(None);
    }
    let here = env::current_dir()
        .map_err(|error| Report::environment(format!("the current directory cannot be found: {error}")))?;
    let directory = match targets {
        [] => here.clone(),
        [one] if one.contains('/') || matches!(one.as_str(), "." | "..") || Path::new(one).is_dir() => {
            here.join(one)
        }
        _ => return Ok(None),
    };
    let above = if targets.is_empty() { usize::MAX } else { 1 };
    if !directory.is_dir() || directory.ancestors().take(above).any(has_compose_file) {
        return Ok(None);
    }
    // A service of the Compose file here may be called like a directory beside it.
    let named_here = matches!(targets, [one] if !one.contains('/') && has_compose_file(&here) && one != "." && one != "..");
    match named_here {
        true => Ok(None),
        false => service(&directory).map(Some),
    }
}

fn has_compose_file(directory: &Path) -> bool {
    COMPOSE_FILES.iter().any(|name| directory.join(name).is_file())
}

fn service(directory: &Path) -> Result<Service, Report> {
    let directory: PathBuf = directory
        .canonicalize()
        .map_err(|error| Report::usage(format!("{} cannot be read: {error}", directory.display())))?;
    let name = name(directory.file_name().unwrap_or_default().to_string_lossy().as_ref());
    let declared = json!({
        "name": name,
        "image": { "type": "build", "context": directory, "builder": "native" },
        "replicas": 1,
        "stop_grace": 10_000,
    });
    serde_json::from_value(declared).map_err(|error| Report::internal(format!("a plain service: {error}")))
}

/// As a registry takes it: lower-case letters and digits with single `-` between them.
fn name(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-");
    name.truncate(NAME_MAX);
    if name.is_empty() { NAMELESS.to_owned() } else { name.trim_end_matches('-').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_becomes_a_service() {
        let directory = tempfile::tempdir().expect("a directory");
        let project = directory.path().join("My Site_2");
        std::fs::create_dir(&project).expect("made");
        let service = service(&project).expect("a service");
        assert_eq!(service.name.as_str(), "my-site-2");
        let model::image::ImageSource::Build(spec) = service.image else { panic!("it is built") };
        assert_eq!(spec.context, Some(project.canonicalize().expect("it is there")));
        assert_eq!(name("…"), "app");
        assert_eq!(name(&"a".repeat(80)).len(), NAME_MAX);
    }

    #[test]
    fn a_compose_file_goes_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = [format!("{}/", directory.path().display())];
        assert!(project(&target, &StackArgs::default()).expect("read").is_some());
        std::fs::write(directory.path().join("compose.yml"), "services: {}").expect("written");
        assert!(project(&target, &StackArgs::default()).expect("read").is_none());
    }
}
