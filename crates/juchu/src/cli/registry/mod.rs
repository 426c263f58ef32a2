//! `juchu registry`: the images of this machine for others, and what others pushed.

mod serve;
mod user;

use super::args::{Registry, RegistryCommand, RegistryLs, RegistryRm};
use super::screen::{Ended, Hue, Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use build::ImageStore;
use build::repositories::{ContentDigest, Repositories, Repository, RepositoryError, RepositoryName, Tag};
use model::{ErrorKind, Report};
use serde::Serialize;
use std::path::PathBuf;

pub fn registry(screen: &Screen, home: &Home, args: Registry) -> Outcome {
    match args.command {
        RegistryCommand::Serve(args) => serve::serve(screen, home, args),
        RegistryCommand::Ls(args) => ls(screen, home, &args),
        RegistryCommand::Rm(args) => rm(screen, home, &args),
        RegistryCommand::User(args) => user::user(screen, home, args.command),
    }
}

/// The store of this machine's images, made where it is missing.
fn store(home: &Home) -> Result<PathBuf, Report> {
    let root = home.join("images");
    ImageStore::open(&root).map_err(|error| error.report())?;
    Ok(root)
}

fn repositories(home: &Home) -> Result<Repositories, Report> {
    Repositories::open(&store(home)?).map_err(|error| error.report())
}

fn failed(error: RepositoryError) -> Report {
    match error {
        RepositoryError::Store(error) => error.report(),
        error @ RepositoryError::Needed { .. } => {
            Report::from_error(ErrorKind::Conflict, &error).hint("remove that first")
        }
        error @ RepositoryError::Unknown { .. } => {
            Report::from_error(ErrorKind::Usage, &error).hint("`juchu registry ls` shows what is there")
        }
        error => Report::from_error(ErrorKind::Environment, &error),
    }
}

/// One tag, or a manifest without one, as `ls --json` prints it.
#[derive(Debug, Serialize)]
struct Listed {
    repository: RepositoryName,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    digest: ContentDigest,
    media_type: String,
    /// Of the manifest and of the blobs it names, those it shares with others included.
    size_bytes: u64,
}

fn ls(screen: &Screen, home: &Home, args: &RegistryLs) -> Outcome {
    let all = repositories(home)?;
    let mut listed = Vec::new();
    for name in all.names().map_err(|error| error.report())? {
        listed.extend(list(&all.get(&name)).map_err(failed)?);
    }
    if args.output.json {
        return screen.json(&listed);
    }
    if listed.is_empty() {
        screen.note("nobody has pushed anything here yet");
        screen.hint("`juchu registry serve` answers clients; `juchu image ls` shows what was built here");
        return Ok(());
    }
    let mut table = Table::new(vec![
        Column::kept("REPOSITORY"),
        Column::kept("TAG"),
        Column::kept("SIZE").right(),
        Column::rank("DIGEST", 1),
    ]);
    for one in listed {
        table.row(vec![
            Cell::from(one.repository.to_string()),
            one.tag.map_or(Cell::from("–").hue(Hue::Quiet), Cell::from),
            Cell::from(model::Bytes(one.size_bytes).to_string()),
            Cell::from(one.digest.to_string()).hue(Hue::Quiet),
        ]);
    }
    screen.print(&table.render(screen.width, screen.out))
}

/// Tags first, then what none stands for.
fn list(repository: &Repository) -> Result<Vec<Listed>, RepositoryError> {
    let mut listed = Vec::new();
    let mut tagged = Vec::new();
    for tag in repository.tags()? {
        if let Some(digest) = repository.resolve(&tag)? {
            listed.extend(entry(repository, Some(tag.to_string()), &digest)?);
            tagged.push(digest);
        }
    }
    for digest in repository.manifests()?.into_iter().filter(|digest| !tagged.contains(digest)) {
        listed.extend(entry(repository, None, &digest)?);
    }
    Ok(listed)
}

fn entry(
    repository: &Repository,
    tag: Option<String>,
    digest: &ContentDigest,
) -> Result<Option<Listed>, RepositoryError> {
    let Some(record) = repository.manifest(digest)? else { return Ok(None) };
    let blobs: u64 = record.blobs.iter().filter_map(|blob| repository.blob(blob)).sum();
    Ok(Some(Listed {
        repository: repository.name().clone(),
        tag,
        digest: digest.clone(),
        media_type: record.media_type,
        size_bytes: record.size + blobs,
    }))
}

/// What `rm` was asked to remove.
enum Target {
    Tag(Tag),
    Manifest(ContentDigest),
    Everything,
}

fn target(args: &RegistryRm) -> Option<(RepositoryName, Target)> {
    if args.all {
        return Some((RepositoryName::new(&args.what)?, Target::Everything));
    }
    if let Some((name, digest)) = args.what.split_once('@') {
        return Some((RepositoryName::new(name)?, Target::Manifest(ContentDigest::parse(digest)?)));
    }
    let (name, tag) = args.what.rsplit_once(':')?;
    Some((RepositoryName::new(name)?, Target::Tag(Tag::new(tag)?)))
}

fn rm(screen: &Screen, home: &Home, args: &RegistryRm) -> Outcome {
    let Some((name, target)) = target(args) else {
        let error = format!("`{}` is neither REPOSITORY:TAG nor REPOSITORY@DIGEST", args.what);
        return Err(Ended::Failed(
            Report::usage(error).hint("`--all` with a REPOSITORY removes everything in it"),
        ));
    };
    let repository = repositories(home)?.get(&name);
    if !repository.exists() {
        let unknown = Report::usage(format!("there is no repository {name}"));
        return Err(Ended::Failed(unknown.hint("`juchu registry ls` shows what is there")));
    }
    match target {
        Target::Tag(tag) => repository.delete_tag(&tag).map_err(failed)?,
        Target::Manifest(digest) => repository.delete_manifest(&digest).map_err(failed)?,
        Target::Everything => clear(&repository).map_err(failed)?,
    }
    screen.note("removed; `juchu image gc` frees what nothing needs after its grace");
    Ok(())
}

/// Indexes go before what they list.
fn clear(repository: &Repository) -> Result<(), RepositoryError> {
    let mut left = repository.manifests()?;
    // Each round removes one at least.
    while !left.is_empty() {
        let before = left.len();
        let mut last = None;
        left.retain(|digest| match repository.delete_manifest(digest) {
            Ok(()) | Err(RepositoryError::Unknown { .. }) => false,
            Err(error) => {
                last = Some(error);
                true
            }
        });
        if let Some(error) = last.filter(|_| left.len() == before) {
            return Err(error);
        }
    }
    Ok(())
}
