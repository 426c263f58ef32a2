//! Wheels of exact versions, fetched without pip: from a lock file, or from requirements that are
//! all pinned and name everything that their packages need.

use super::Wheel;
use super::index::{IndexFile, Indexes, cached_wheel};
use super::locks::Locked;
use super::requirement::{Requirement, normalise};
use super::requirements::Requirements;
use super::target::{Target, WheelName};
use super::version::{Version, satisfies};
use crate::BuildError;
use crate::kinds::settings::Project;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

const METADATA_LIMIT: u64 = 16 << 20;

/// The wheels a lock file names. What has no wheel for this Python is built from its source, which
/// has one of the lock's digests.
pub fn locked(
    project: &Project,
    target: &Target,
    lock: &str,
    list: &[Locked],
) -> Result<Vec<Wheel>, BuildError> {
    let indexes = Indexes::new(project.ctx, &[]);
    let mut wheels = Vec::new();
    let mut sources = Vec::new();
    for package in list {
        if package.hashes.is_empty() {
            return Err(BuildError::input_hint(
                format!("{lock} has no digest for {} {}", package.name, package.version),
                "make it anew with the tool that wrote it, with digests",
            ));
        }
        if let Some(wheel) = cached_wheel(project.ctx, target, &package.hashes) {
            wheels.push(wheel);
            continue;
        }
        let files = files_of(&indexes, package)?;
        match best(target, &files, &package.name, &package.version, &package.hashes) {
            Some(file) => {
                wheels.push(indexes.fetch(project.ctx, file, file.sha256.as_deref().unwrap_or_default())?);
            }
            None if files.iter().any(|file| is_source(file, package)) => sources.push(package),
            None => return Err(no_file(target, lock, package)),
        }
    }
    if !sources.is_empty() {
        wheels.extend(super::built_from_source(project, target, &sources)?);
    }
    Ok(wheels)
}

fn files_of(indexes: &Indexes, package: &Locked) -> Result<Vec<IndexFile>, BuildError> {
    if package.files.is_empty() {
        return indexes.files(&package.name);
    }
    let stated = package.files.iter().map(|(filename, url, sha256)| IndexFile {
        filename: filename.clone(),
        url: url.clone(),
        sha256: Some(sha256.clone()),
    });
    Ok(stated.collect())
}

fn is_source(file: &IndexFile, package: &Locked) -> bool {
    let source = [".tar.gz", ".zip", ".tar.bz2"].iter().any(|end| file.filename.ends_with(end));
    source && file.sha256.as_ref().is_some_and(|hash| package.hashes.contains(hash))
}

fn no_file(target: &Target, lock: &str, package: &Locked) -> BuildError {
    BuildError::input_hint(
        format!(
            "{lock} names no file of {} {} that fits Python {} on {}",
            package.name,
            package.version,
            target.version_text(),
            target.machine.name()
        ),
        "choose a version that has one, or another Python with `x-juchu: {image: {archive: {suite: …}}}`",
    )
}

/// The wheels of pinned requirements; `None` when something is left to choose or to compile.
pub fn requirements(
    project: &Project,
    target: &Target,
    requirements: &Requirements,
    indexes: &Indexes,
) -> Result<Option<Vec<Wheel>>, BuildError> {
    let Some(wanted) = pins(target, requirements) else { return Ok(None) };
    let mut wheels = Vec::new();
    for (requirement, hashes) in &wanted {
        let version = requirement.pinned().expect("pins() lets only pinned ones pass");
        let cached = cached_wheel(project.ctx, target, hashes).filter(|wheel| wheel.name == requirement.name);
        let wheel = match cached {
            Some(wheel) => wheel,
            None => {
                let files = indexes.files(&requirement.name)?;
                let Some(file) = best(target, &files, &requirement.name, version, hashes) else {
                    return not_there(requirement, version, hashes, &files);
                };
                indexes.fetch(project.ctx, file, file.sha256.as_deref().unwrap_or_default())?
            }
        };
        wheels.push(wheel);
    }
    let missing = missing(target, &wanted, &wheels)?;
    match missing.first() {
        None => Ok(Some(wheels)),
        Some(first) if wanted.iter().any(|(_, hashes)| !hashes.is_empty()) => Err(BuildError::input_hint(
            format!("the requirements have digests, but lack {first}"),
            "make the list complete: `pip-compile --generate-hashes` or `uv pip compile --generate-hashes`",
        )),
        Some(_) => Ok(None),
    }
}

type Pin = (Requirement, Vec<String>);

/// The requirements that apply, when all of them are pinned and pip needs no option.
fn pins(target: &Target, requirements: &Requirements) -> Option<Vec<Pin>> {
    if requirements.options.iter().any(|option| option != "--require-hashes" && option != "--prefer-binary") {
        return None;
    }
    let mut pins = BTreeMap::new();
    for line in &requirements.lines {
        let requirement = line.requirement.clone()?;
        if !requirement.applies(target, &BTreeSet::new()) {
            continue;
        }
        requirement.pinned()?;
        pins.insert(requirement.name.clone(), (requirement, line.hashes.clone()));
    }
    Some(pins.into_values().collect())
}

/// The best wheel of that version, among those with one of `hashes` when there are any.
fn best<'a>(
    target: &Target,
    files: &'a [IndexFile],
    name: &str,
    version: &str,
    hashes: &[String],
) -> Option<&'a IndexFile> {
    let version = Version::parse(version)?;
    let rank = |file: &IndexFile| {
        let wheel = WheelName::parse(&file.filename)?;
        let same = wheel.name == normalise(name) && Version::parse(&wheel.version)? == version;
        let sha256 = file.sha256.as_ref()?;
        (same && (hashes.is_empty() || hashes.contains(sha256))).then(|| target.rank(&wheel))?
    };
    files
        .iter()
        .filter_map(|file| Some((rank(file)?, file)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, file)| file)
}

/// No fitting wheel: a source archive is for pip, a wrong digest or version is an error.
fn not_there(
    requirement: &Requirement,
    version: &str,
    hashes: &[String],
    files: &[IndexFile],
) -> Result<Option<Vec<Wheel>>, BuildError> {
    let prefixes = [
        format!("{}-{version}", requirement.name),
        format!("{}-{version}", requirement.name.replace('-', "_")),
    ];
    let of_version: Vec<&IndexFile> = files
        .iter()
        .filter(|file| prefixes.iter().any(|p| file.filename.to_ascii_lowercase().starts_with(p.as_str())))
        .collect();
    let allowed = |file: &&IndexFile| {
        file.sha256.as_ref().is_none_or(|hash| hashes.is_empty() || hashes.contains(hash))
    };
    if of_version.iter().any(allowed) {
        return Ok(None);
    }
    let name = &requirement.name;
    Err(match of_version.is_empty() {
        true => BuildError::input_hint(
            format!("the package index has no {name} {version}"),
            format!("`pip index versions {name}` shows which versions there are"),
        ),
        false => BuildError::input_hint(
            format!(
                "no file of {name} {version} in the package index has a digest that the requirements name"
            ),
            "make the digests anew with `pip-compile --generate-hashes`; if they were right, do not trust the index",
        ),
    })
}

/// What the wheels need beyond the list, as `name needed by other`.
fn missing(target: &Target, wanted: &[Pin], wheels: &[Wheel]) -> Result<Vec<String>, BuildError> {
    let have: BTreeMap<&str, &str> = wheels.iter().map(|w| (w.name.as_str(), w.version.as_str())).collect();
    let mut extras: BTreeMap<String, BTreeSet<String>> = wanted
        .iter()
        .map(|(requirement, _)| (requirement.name.clone(), requirement.extras.clone()))
        .collect();
    let metadata: Vec<(&Wheel, Vec<Requirement>)> =
        wheels.iter().map(|wheel| Ok((wheel, requires(wheel)?))).collect::<Result<_, BuildError>>()?;
    // Extras can ask for further extras; each round adds at least one, so this ends.
    loop {
        let mut grown = false;
        let mut missing = Vec::new();
        for (wheel, needs) in &metadata {
            let own = extras.get(&wheel.name).cloned().unwrap_or_default();
            for need in needs.iter().filter(|need| need.applies(target, &own)) {
                match have.get(need.name.as_str()) {
                    Some(version) if satisfies(version, &need.specifiers) != Some(false) => {
                        let known = extras.entry(need.name.clone()).or_default();
                        let before = known.len();
                        known.extend(need.extras.iter().cloned());
                        grown |= known.len() > before;
                    }
                    _ => missing.push(format!("{}{} (needed by {})", need.name, need.specifiers, wheel.name)),
                }
            }
        }
        if !grown {
            return Ok(missing);
        }
    }
}

/// `Requires-Dist` of a wheel's metadata.
fn requires(wheel: &Wheel) -> Result<Vec<Requirement>, BuildError> {
    let place = wheel.path.display().to_string();
    let file = File::open(&wheel.path).map_err(BuildError::io(format!("read {place}")))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| BuildError::malformed(&place, error))?;
    let name = archive
        .file_names()
        .find(|name| name.ends_with(".dist-info/METADATA") && name.matches('/').count() == 1);
    let Some(name) = name.map(str::to_owned) else {
        return Err(BuildError::malformed(&place, "it has no METADATA"));
    };
    let mut text = String::new();
    let member = archive.by_name(&name).map_err(|error| BuildError::malformed(&place, error))?;
    member
        .take(METADATA_LIMIT)
        .read_to_string(&mut text)
        .map_err(|error| BuildError::malformed(&place, error))?;
    let head = text.lines().take_while(|line| !line.is_empty());
    Ok(head.filter_map(|line| Requirement::parse(line.strip_prefix("Requires-Dist:")?)).collect())
}
