//! Wheels become files of the image: unzipped into the cache once, placed on Python's path, with
//! the programs they declare. No bytecode is written, so that the same wheel gives the same bytes.

use super::Wheel;
use super::target::Target;
use crate::BuildError;
use crate::kinds::cache::Cache;
use crate::kinds::draft::{Draft, file_from, file_with};
use crate::kinds::settings::Context;
use crate::kinds::tree::{Tree, TreeKind};
use crate::unpack::{Limits, ceiling};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PYTHON: &str = "/usr/bin/python3";
const PROGRAMS: &str = "/usr/local/bin";
const FILE_LIMIT: usize = 200_000;
const UNPACKED: Limits = Limits { unpacked_bytes: 8 << 30, ratio_from_bytes: 256 << 20, ratio: 200 };

pub fn add(draft: &mut Draft, ctx: &Context, target: &Target, wheel: &Wheel) -> Result<(), BuildError> {
    let name = format!("{}-{}", wheel.sha256, wheel.name);
    let root = Cache::of(ctx).directory("unpacked-wheels", &name, |into| unzip(wheel, into))?;
    let tree = Tree::everything(&root)?;
    let site = target.site_packages();
    for file in &tree.files {
        let TreeKind::File { executable, .. } = file.kind else { continue };
        let source = root.join(&file.path);
        let Some((data, rest)) = data_part(&file.path) else {
            draft.base_extra.push(file_from(format!("{site}/{}", file.path), source, executable));
            continue;
        };
        match data {
            "purelib" | "platlib" => {
                draft.base_extra.push(file_from(format!("{site}/{rest}"), source, executable))
            }
            "scripts" => draft.base_extra.push(script(&source, rest)?),
            "data" => draft.base_extra.push(file_from(format!("/usr/local/{rest}"), source, executable)),
            _ => {} // headers are for compilers
        }
    }
    if let Some(file) = tree.files.iter().find(|file| file.path.ends_with(".dist-info/entry_points.txt")) {
        let text = tree.text(&file.path)?.unwrap_or_default();
        draft.base_extra.extend(console_scripts(&text).into_iter().map(|(name, module, call)| {
            file_with(format!("{PROGRAMS}/{name}"), launcher(&module, &call), true)
        }));
    }
    Ok(())
}

/// `NAME-VERSION.data/KIND/REST`.
fn data_part(path: &str) -> Option<(&str, &str)> {
    let (first, rest) = path.split_once('/')?;
    first.ends_with(".data").then(|| rest.split_once('/'))?
}

/// A script of a wheel starts with `#!python`, which names whatever Python it is installed for.
fn script(source: &Path, name: &str) -> Result<crate::plan::Entry, BuildError> {
    let bytes = fs::read(source).map_err(BuildError::io(format!("read {}", source.display())))?;
    let path = format!("{PROGRAMS}/{name}");
    Ok(match bytes.strip_prefix(b"#!python") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            file_with(path, [format!("#!{PYTHON}").as_bytes(), &rest[end..]].concat(), true)
        }
        None => file_from(path, source.to_owned(), true),
    })
}

/// `(name, module, attribute)` of each entry in `[console_scripts]`.
fn console_scripts(text: &str) -> Vec<(String, String, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[console_scripts]";
        } else if let (true, Some((name, target))) = (inside, line.split_once('=')) {
            found.extend(entry_point(name, target));
        }
    }
    found
}

/// `module:attribute [extras]`, refused unless every part is a plain name.
pub fn entry_point(name: &str, target: &str) -> Option<(String, String, String)> {
    let (module, call) = target.split('[').next()?.trim().split_once(':')?;
    let (name, module, call) = (name.trim(), module.trim(), call.trim());
    let dotted =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    let plain =
        !name.is_empty() && !name.contains('/') && !name.starts_with('.') && dotted(module) && dotted(call);
    plain.then(|| (name.to_owned(), module.to_owned(), call.to_owned()))
}

pub fn launcher(module: &str, call: &str) -> String {
    let first = call.split('.').next().unwrap_or(call);
    format!(
        "#!{PYTHON}\nimport sys\n\nfrom {module} import {first}\n\nif __name__ == \"__main__\":\n    sys.exit({call}())\n"
    )
}

fn unzip(wheel: &Wheel, into: &Path) -> Result<(), BuildError> {
    let place = wheel.path.display().to_string();
    let bad = |reason: &dyn std::fmt::Display| BuildError::malformed(place.clone(), reason.to_string());
    let file = File::open(&wheel.path).map_err(BuildError::io(format!("read {place}")))?;
    let packed = file.metadata().map_err(BuildError::io(format!("read {place}")))?.len();
    let mut archive = zip::ZipArchive::new(file).map_err(|error| bad(&error))?;
    if archive.len() > FILE_LIMIT {
        return Err(bad(&format!("it holds more than {FILE_LIMIT} files")));
    }
    let limit = ceiling(packed, UNPACKED);
    let mut left = limit;
    for at in 0..archive.len() {
        let mut member = archive.by_index(at).map_err(|error| bad(&error))?;
        if member.is_dir() {
            continue;
        }
        if member.is_symlink() {
            return Err(bad(&format!("{} is a link", member.name())));
        }
        let relative =
            member.enclosed_name().ok_or_else(|| bad(&format!("{} leads out of it", member.name())))?;
        let executable = member.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        let path = into.join(relative);
        let context = || format!("write {}", path.display());
        crate::durable::create_directories(path.parent().unwrap_or(into))?;
        let mut out = File::create(&path).map_err(|error| BuildError::io(context())(error))?;
        let copied =
            std::io::copy(&mut member.by_ref().take(left + 1), &mut out).map_err(|error| bad(&error))?;
        left = left
            .checked_sub(copied)
            .ok_or_else(|| bad(&format!("it unpacks to more than {}", model::Bytes(limit))))?;
        if executable {
            let mode = Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode).map_err(|error| BuildError::io(context())(error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::kinds::runner::NoRunner;
    use crate::kinds::settings::Machine;
    use crate::kinds::testing::{Fixture, content};
    use std::io::Write;

    /// A wheel with these files, in the form of the wheel specification.
    pub fn make_wheel(path: &Path, files: &[(&str, &str)]) {
        let mut writer = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, text) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
    }

    fn target() -> Target {
        Target { version: (3, 13), machine: Machine::X86_64, glibc: (2, 41) }
    }

    #[test]
    fn a_wheel_lands_where_python_looks() {
        let fixture = Fixture::new();
        let path = fixture.root().join("demo-1.0-py3-none-any.whl");
        make_wheel(
            &path,
            &[
                ("demo/__init__.py", "x = 1\n"),
                ("demo-1.0.data/scripts/tool", "#!python\nprint(1)\n"),
                ("demo-1.0.data/data/share/demo.txt", "d"),
                ("demo-1.0.data/headers/demo.h", "h"),
                (
                    "demo-1.0.dist-info/entry_points.txt",
                    "[console_scripts]\ndemo = demo.cli:main.run [extra]\nbad/name = a:b\n[other]\nx = y:z\n",
                ),
            ],
        );
        let wheel = Wheel::at(path, "00").unwrap();
        let mut draft = Draft::default();
        add(&mut draft, &fixture.context(&NoRunner), &target(), &wheel).unwrap();
        let mut paths: Vec<_> = draft.base_extra.iter().map(|entry| entry.path.as_str()).collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                "/usr/local/bin/demo",
                "/usr/local/bin/tool",
                "/usr/local/lib/python3.13/dist-packages/demo-1.0.dist-info/entry_points.txt",
                "/usr/local/lib/python3.13/dist-packages/demo/__init__.py",
                "/usr/local/share/demo.txt",
            ]
        );
        assert_eq!(content(&draft.base_extra, "/usr/local/bin/tool"), "#!/usr/bin/python3\nprint(1)\n");
        let launcher = content(&draft.base_extra, "/usr/local/bin/demo");
        assert!(
            launcher.contains("from demo.cli import main\n") && launcher.contains("sys.exit(main.run())")
        );
    }

    #[test]
    fn a_small_wheel_cannot_become_a_large_package() {
        let fixture = Fixture::new();
        let path = fixture.root().join("demo-1.0-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        writer.start_file("demo/x.py", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::copy(&mut std::io::repeat(b' ').take(300 << 20), &mut writer).unwrap();
        writer.finish().unwrap();
        let wheel = Wheel::at(path, "02").unwrap();
        let error = add(&mut Draft::default(), &fixture.context(&NoRunner), &target(), &wheel).unwrap_err();
        assert!(error.to_string().contains("it unpacks to more than 256 MiB"), "{error}");
        assert_eq!(fs::read_dir(fixture.cache().join("unpacked-wheels")).unwrap().count(), 0);
    }

    #[test]
    fn a_wheel_that_leads_out_of_itself_is_refused_and_leaves_nothing() {
        let fixture = Fixture::new();
        let path = fixture.root().join("demo-1.0-py3-none-any.whl");
        make_wheel(&path, &[("../../evil.py", "x")]);
        let wheel = Wheel::at(path, "01").unwrap();
        let error = add(&mut Draft::default(), &fixture.context(&NoRunner), &target(), &wheel).unwrap_err();
        assert!(error.to_string().contains("leads out of it"), "{error}");
        assert_eq!(fs::read_dir(fixture.cache().join("unpacked-wheels")).unwrap().count(), 0);
    }
}
