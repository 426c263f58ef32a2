//! What a Dockerfile's image is a function of here: the file, what of the context is not ignored,
//! further contexts, and what is declared. What a base or the network gives stands nowhere.

use build::BuildError;
use build::kinds::context_digest;
use model::image::BuildSpec;
use model::{Digest, Report};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest Dockerfile.
const FILE_MAX: u64 = 1 << 20;

/// Equal digests mean that nothing here changed.
pub fn inputs(spec: &BuildSpec, platform: Option<&str>) -> Result<Digest, Report> {
    let (file, _, text) = dockerfile(spec)?;
    // Where the project lies and what the build may take does not matter, only what it holds.
    let settings = BuildSpec {
        context: None,
        dockerfile: None,
        dockerfile_inline: None,
        limits: Default::default(),
        additional_contexts: Default::default(),
        ..spec.clone()
    };
    let mut parts = vec!["dockerfile 1".to_owned(), text, platform.unwrap_or_default().to_owned()];
    parts.push(format!("{settings:?} network {:?}", spec.limits.network));
    if let Some(context) = &spec.context {
        parts.push(of_directory(context, ignore_file(context, file.as_deref()).as_deref())?.to_string());
    }
    for (name, from) in &spec.additional_contexts {
        let path = Path::new(from);
        let content = if path.is_dir() { of_directory(path, None)?.to_string() } else { from.clone() };
        parts.extend([name.clone(), content]);
    }
    let framed: Vec<String> = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    Ok(Digest::of(framed.concat().as_bytes()))
}

/// Its path unless it stands in the Compose file, how to call it, and its text.
pub fn dockerfile(spec: &BuildSpec) -> Result<(Option<PathBuf>, String, String), Report> {
    if let Some(text) = &spec.dockerfile_inline {
        return Ok((None, "dockerfile_inline".to_owned(), text.clone()));
    }
    let name = spec.dockerfile.clone().unwrap_or_else(|| "Dockerfile".into());
    let path = spec.context.as_ref().map_or(name.clone(), |context| context.join(&name));
    let shown = path.display().to_string();
    let refused = |why: String| {
        Report::usage(format!("the Dockerfile {shown} cannot be read: {why}"))
            .hint("check `build.dockerfile`, which is relative to `build.context`")
    };
    let file = File::open(&path).map_err(|error| refused(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    match text.len() as u64 > FILE_MAX {
        true => Err(refused(format!("it has more than {} KiB", FILE_MAX >> 10))),
        false => Ok((Some(path), shown, text)),
    }
}

/// The file that says what of the context is left out.
pub fn ignore_file_of(spec: &BuildSpec) -> Option<PathBuf> {
    let context = spec.context.as_ref()?;
    let name = spec.dockerfile.clone().unwrap_or_else(|| "Dockerfile".into());
    let file = spec.dockerfile_inline.is_none().then(|| context.join(name));
    ignore_file(context, file.as_deref())
}

/// Beside the Dockerfile under its name, or in the context.
fn ignore_file(context: &Path, dockerfile: Option<&Path>) -> Option<PathBuf> {
    let own = dockerfile.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    own.filter(|path| path.is_file()).or_else(|| Some(context.join(".dockerignore")))
}

fn of_directory(directory: &Path, ignore: Option<&Path>) -> Result<Digest, Report> {
    context_digest(directory, ignore).map_err(|error: BuildError| error.report())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_ignored_does_not_count_and_everything_else_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        write("Dockerfile", "FROM scratch\n");
        write("app.py", "1");
        write(".dockerignore", "*.log\n");
        let spec = BuildSpec { context: Some(directory.path().to_owned()), ..BuildSpec::default() };
        let now = || inputs(&spec, None).expect("a digest");
        let first = now();
        write("a.log", "noise");
        assert_eq!(now(), first);
        write(".env", "A=1");
        let second = now();
        assert_ne!(second, first, "a Dockerfile may copy it");
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("out")).expect("a link");
        assert_ne!(now(), second);
        let third = now();
        write("Dockerfile", "FROM scratch\nENV A=1\n");
        assert_ne!(now(), third);
        let mut limited = spec.clone();
        limited.limits.memory = Some(model::Bytes::mib(64));
        assert_eq!(inputs(&limited, None).expect("a digest"), now());
        limited.args.insert("A".into(), "2".into());
        assert_ne!(inputs(&limited, None).expect("a digest"), now());
        let missing = BuildSpec { dockerfile: Some("Other".into()), ..spec.clone() };
        assert!(inputs(&missing, None).expect_err("none").error.contains("Other cannot be read"));
    }
}
