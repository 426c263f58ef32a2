//! What a recipe has found, completed by what the project states, as an image plan.

use super::detect::Kind;
use super::settings::{Planned, Project};
use super::tree::{Tree, TreeFile, TreeKind, frame};
use crate::BuildError;
use crate::plan::{Entry, EntryKind, ImagePlan, Source, User};
use model::Digest;
use model::image::ImageConfig;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub const APP_DIRECTORY: &str = "/app";
pub const APP_USER: &str = "app";
pub const APP_UID: u32 = 10001;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The findings of one recipe. What the project states replaces them in `finish`.
#[derive(Debug, Default)]
pub struct Draft {
    pub packages: Vec<String>,
    pub exclude: Vec<String>,
    pub app: Vec<Entry>,
    /// Files beside the base packages: they change seldom, so they stand in the lower layer.
    pub base_extra: Vec<Entry>,
    /// What to run, replaced whole by a `command` of the service.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub ports: Vec<(u16, String)>,
    pub stop_signal: Option<String>,
    pub notes: Vec<String>,
    /// The lock file whose packages are compiled into the program.
    pub lock: Option<PathBuf>,
    /// Inputs that are not in the context: digests of downloads or of compiled files.
    pub inputs: Vec<(String, Digest)>,
}

impl Draft {
    /// The files of the context below `directory`, placed under `target`.
    pub fn add_tree(&mut self, tree: &Tree, directory: &str, target: &str) {
        self.add_files(tree, tree.below(directory), target);
    }

    pub fn add_files<'a>(
        &mut self,
        tree: &Tree,
        files: impl Iterator<Item = (&'a str, &'a TreeFile)>,
        target: &str,
    ) {
        self.app.push(directory(target));
        self.app.extend(files.map(|(rest, file)| entry(tree, file, format!("{target}/{rest}"))));
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub fn package(&mut self, name: &str) {
        if !self.packages.iter().any(|have| have == name) {
            self.packages.push(name.to_owned());
        }
    }

    /// Joins findings and statements; refuses an image that would run nothing.
    pub fn finish(mut self, project: &Project, kind: Kind) -> Result<Planned, BuildError> {
        let image = project.image();
        image.packages.iter().for_each(|name| self.package(name));
        if kind != Kind::Files {
            add_stated_files(&mut self, project)?;
        }
        if project.leaves_out_env_file() {
            self.note(".env is left out of the image; give it to the service with `env_file: .env`");
        }
        if project.has_tree() {
            self.notes.extend(project.tree()?.notes());
        }
        let (user, users) = user(image.user.as_deref())?;
        let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        environment.append(&mut self.environment);
        environment.extend(image.environment.clone());
        let (entrypoint, command) = start(&self, project);
        if entrypoint.is_empty() && command.is_empty() && !project.ctx.states_command {
            return Err(BuildError::input_hint(
                format!("nothing says what {} runs", project.place()),
                "add `command: [\"…\"]` to the service",
            ));
        }
        let ports = if image.expose.is_empty() { self.ports.clone() } else { ports(&image.expose)? };
        let config = ImageConfig {
            entrypoint,
            command,
            environment,
            user,
            working_dir: image.working_dir.clone().unwrap_or_else(|| APP_DIRECTORY.to_owned()),
            ports,
            volumes: image.volumes.clone(),
            stop_signal: image.stop_signal.clone().or_else(|| self.stop_signal.take()),
            labels: project.spec.labels.clone(),
            healthcheck: None,
        };
        let plan = ImagePlan {
            packages: std::mem::take(&mut self.packages),
            exclude: std::mem::take(&mut self.exclude),
            archive: project.archive.clone(),
            users,
            app: last_of_each_path(std::mem::take(&mut self.app)),
            base_extra: last_of_each_path(std::mem::take(&mut self.base_extra)),
            config,
            inputs: self.inputs_digest(&project.fingerprint),
            origin: format!("{kind} project in {}", project.place()),
            created: project.created()?,
        };
        Ok(Planned {
            plan,
            kind,
            notes: self.notes,
            lock: self.lock,
            fingerprint: project.fingerprint.clone(),
        })
    }

    fn inputs_digest(&mut self, fingerprint: &Digest) -> Digest {
        self.inputs.sort();
        let mut hasher = Sha256::new();
        frame(&mut hasher, fingerprint.as_str().as_bytes());
        for (name, digest) in &self.inputs {
            frame(&mut hasher, name.as_bytes());
            frame(&mut hasher, digest.as_str().as_bytes());
        }
        Digest::from_raw(hasher.finalize().into())
    }
}

/// A stated entry point clears what was found; a stated command replaces it.
fn start(draft: &Draft, project: &Project) -> (Vec<String>, Vec<String>) {
    let image = project.image();
    match (&image.entrypoint, &image.command) {
        (Some(entrypoint), command) => (entrypoint.clone(), command.clone().unwrap_or_default()),
        (None, Some(command)) => (Vec::new(), command.clone()),
        (None, None) => (Vec::new(), draft.command.clone()),
    }
}

/// `x-juchu.image.files`: `{ "/in/image": "path/in/context" }`, a file or a whole directory.
pub fn add_stated_files(draft: &mut Draft, project: &Project) -> Result<(), BuildError> {
    for (target, source) in &project.image().files {
        let target = absolute(target)?;
        let source = source.trim_start_matches("./").trim_matches('/');
        let source = if source == "." { "" } else { source };
        let tree = project.tree()?;
        if let Some(file) = tree.find(source) {
            draft.app.push(entry(tree, file, target));
        } else if tree.below(source).next().is_some() {
            draft.add_tree(tree, source, &target);
        } else {
            return Err(BuildError::input_hint(
                format!("`x-juchu.image.files` names `{source}`, which is not in {}", project.place()),
                "paths are relative to the build context, and .dockerignore may leave files out",
            ));
        }
    }
    Ok(())
}

fn absolute(target: &str) -> Result<String, BuildError> {
    let clean = target.trim_end_matches('/');
    let plain =
        clean.starts_with('/') && !clean.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
    if plain {
        return Ok(clean.to_owned());
    }
    Err(BuildError::input_hint(
        format!("`x-juchu.image.files` places a file at `{target}`, which is not an absolute path"),
        "write it as `\"/path/in/image\": path/in/context`",
    ))
}

/// The image's user and the accounts it needs. A name other than `root` becomes uid 10001.
fn user(stated: Option<&str>) -> Result<(String, Vec<User>), BuildError> {
    let app = |name: &str| User {
        name: name.to_owned(),
        uid: APP_UID,
        gid: APP_UID,
        home: APP_DIRECTORY.to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
    };
    let numeric = |text: &str| {
        !text.is_empty() && text.split(':').count() <= 2 && text.split(':').all(|n| n.parse::<u32>().is_ok())
    };
    match stated.unwrap_or(APP_USER) {
        "root" => Ok(("0:0".to_owned(), vec![app(APP_USER)])),
        ids if numeric(ids) => Ok((ids.to_owned(), vec![app(APP_USER)])),
        name if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
            && name.len() <= 32 =>
        {
            Ok((format!("{APP_UID}:{APP_UID}"), vec![app(name)]))
        }
        other => Err(BuildError::input_hint(
            format!("`x-juchu.image.user` is `{other}`, which is not a user"),
            "use a name, a number or `UID:GID`",
        )),
    }
}

/// Ports such as `8000` or `53/udp`.
fn ports(stated: &[String]) -> Result<Vec<(u16, String)>, BuildError> {
    let one = |text: &String| {
        let (number, transport) = text.split_once('/').unwrap_or((text, "tcp"));
        match (number.parse::<u16>(), transport) {
            (Ok(port), "tcp" | "udp") if port > 0 => Ok((port, transport.to_owned())),
            _ => Err(BuildError::input_hint(
                format!("`x-juchu.image.expose` has `{text}`, which is not a port"),
                "write ports as `8000` or `53/udp`",
            )),
        }
    };
    stated.iter().map(one).collect()
}

pub fn directory(path: &str) -> Entry {
    Entry { path: path.to_owned(), kind: EntryKind::Directory, mode: 0o755, uid: 0, gid: 0 }
}

pub fn link(path: impl Into<String>, target: impl Into<String>) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Symlink(target.into()), mode: 0o777, uid: 0, gid: 0 }
}

pub fn file_from(path: impl Into<String>, source: PathBuf, executable: bool) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::File(Source::Path(source)),
        mode: mode(executable),
        uid: 0,
        gid: 0,
    }
}

pub fn file_with(path: impl Into<String>, content: impl Into<Vec<u8>>, executable: bool) -> Entry {
    let bytes: Vec<u8> = content.into();
    Entry {
        path: path.into(),
        kind: EntryKind::File(Source::Bytes(bytes.into())),
        mode: mode(executable),
        uid: 0,
        gid: 0,
    }
}

fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

fn entry(tree: &Tree, file: &TreeFile, path: String) -> Entry {
    match &file.kind {
        TreeKind::Link(target) => link(path, target.clone()),
        TreeKind::File { executable, .. } => file_from(path, tree.root.join(&file.path), *executable),
    }
}

/// One entry for each path, the one added last, by path.
fn last_of_each_path(entries: Vec<Entry>) -> Vec<Entry> {
    let by_path: BTreeMap<String, Entry> =
        entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    by_path.into_values().collect()
}
