//! Secrets of a build: gathered when it begins, gone when it ends, and cut out of everything that
//! is said while it goes on.

use model::image::{BuildSecretSource, ImageSource};
use model::{Report, Service};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// As BuildKit has it.
const SECRET_MAX: u64 = 500 << 10;
/// Shorter ones would cut ordinary words out of what is said.
const HIDDEN_LEAST: usize = 4;
const HIDDEN: &str = "***";

/// One secret in a file that only this user reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    pub id: String,
    pub path: PathBuf,
}

/// Copies the secrets of a service's build into `directory`, which is made if there are any.
pub fn gather(service: &Service, directory: &Path) -> Result<Vec<SecretFile>, Report> {
    let ImageSource::Build(spec) = &service.image else { return Ok(Vec::new()) };
    let mut gathered = Vec::new();
    for secret in &spec.secrets {
        let content = match &secret.source {
            BuildSecretSource::File(path) => read(&secret.id, path)?,
            BuildSecretSource::Variable(name) => variable(&secret.id, name)?,
        };
        let path = directory.join(&secret.id);
        write(directory, &path, &content)
            .map_err(|error| Report::environment(format!("keep the build secret {}: {error}", secret.id)))?;
        gathered.push(SecretFile { id: secret.id.clone(), path });
    }
    Ok(gathered)
}

fn read(id: &str, path: &Path) -> Result<Vec<u8>, Report> {
    let refused = |why: String| {
        Report::usage(format!("build secret {id}: {}: {why}", path.display()))
            .hint(format!("create the file, or correct `secrets.{id}.file` in the Compose file"))
    };
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(refused("it is not a file".to_owned()));
    }
    let mut content = Vec::new();
    file.take(SECRET_MAX + 1).read_to_end(&mut content).map_err(|error| refused(error.to_string()))?;
    match content.len() as u64 > SECRET_MAX {
        true => Err(refused(format!("it has more than {} KiB", SECRET_MAX >> 10))),
        false => Ok(content),
    }
}

fn variable(id: &str, name: &str) -> Result<Vec<u8>, Report> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(|| {
        Report::usage(format!("build secret {id}: the variable {name} is not set where the image is built"))
            .hint(format!(
                "set it for `juchu build`, or for the daemon when it starts; or use `secrets.{id}.file`, which is read at every build"
            ))
    })
}

fn write(directory: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    File::options().write(true).create_new(true).mode(0o400).open(path)?.write_all(content)
}

/// Takes secrets out of text.
#[derive(Default, Clone)]
pub struct Redactor {
    /// Longest first, so that no part of one stays.
    hidden: Vec<String>,
}

impl Redactor {
    pub fn of(secrets: &[SecretFile]) -> Self {
        let mut hidden = Vec::new();
        for secret in secrets {
            let content = fs::read(&secret.path).unwrap_or_default();
            let text = String::from_utf8_lossy(&content);
            hidden.extend(text.lines().map(|line| line.trim().to_owned()));
        }
        hidden.retain(|line| line.len() >= HIDDEN_LEAST);
        hidden.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        hidden.dedup();
        Self { hidden }
    }

    pub fn text(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, hidden| text.replace(hidden.as_str(), HIDDEN))
    }

    pub fn report(&self, report: Report) -> Report {
        let hints = report.hints.iter().map(|hint| self.text(hint)).collect();
        Report { kind: report.kind, error: self.text(&report.error), hints }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    fn service(secrets: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "name": "a", "replicas": 1, "stop_grace": 1000,
            "image": { "type": "build", "context": "/", "secrets": secrets },
        }))
        .expect("a service")
    }

    #[test]
    fn secrets_are_files_for_us_alone_and_vanish_from_what_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = directory.path().join("tok");
        fs::write(&source, "first-line\nsecond-line-first-line\nab\n").expect("written");
        let place = directory.path().join("secrets");
        let gathered = gather(&service(json!([{ "id": "t", "source": { "file": source } }])), &place);
        let gathered = gathered.expect("gathered");
        let mode = fs::metadata(&gathered[0].path).expect("there").permissions().mode();
        assert_eq!((mode & 0o777, gathered[0].path.parent()), (0o400, Some(place.as_path())));
        let redactor = Redactor::of(&gathered);
        assert_eq!(redactor.text("x=second-line-first-line y=first-line ab"), "x=*** y=*** ab");
        let report = redactor.report(Report::usage("no first-line").hint("see first-line"));
        assert_eq!(report, Report::usage("no ***").hint("see ***"));
    }

    #[test]
    fn a_secret_that_is_not_there_is_told_with_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let said = |source: serde_json::Value| {
            let one = service(json!([{ "id": "t", "source": source }]));
            gather(&one, &directory.path().join("s")).expect_err("refused").error
        };
        assert!(said(json!({ "file": "/no/such/file" })).starts_with("build secret t: /no/such/file: "));
        assert!(said(json!({ "file": directory.path() })).contains("it is not a file"));
        assert!(said(json!({ "variable": "JUCHU_NO_SUCH_VARIABLE" })).contains("JUCHU_NO_SUCH_VARIABLE"));
    }
}
