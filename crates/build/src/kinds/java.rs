//! A Java program as a jar that says what it starts: it runs on Debian's Java, with the files beside
//! it.

use super::draft::{APP_DIRECTORY, Draft};
use super::settings::Project;
use super::suite::Suite;
use super::tree::{Tree, TreeKind};
use crate::BuildError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zip::ZipArchive;
use zip::result::ZipError;

const MANIFEST: &str = "META-INF/MANIFEST.MF";
const MANIFEST_MAX: u64 = 1 << 20;
/// Of the first class of a jar.
const CLASS_HEADER: usize = 8;
/// Classes of Java 8 have the number 52, each release since one more.
const CLASS_OF_RELEASE_0: u32 = 44;
const CLASSES_LOOKED_AT: usize = 16;
/// Memory is the container's, whose limit Java reads; a heap that is full ends the program, so that
/// it is started anew.
const OPTIONS: [&str; 2] = ["-XX:MaxRAMPercentage=75", "-XX:+ExitOnOutOfMemoryError"];

/// Jars at the top of the context that can be started.
pub fn startable(tree: &Tree) -> Vec<String> {
    let jars = tree.files.iter().filter(|file| {
        matches!(file.kind, TreeKind::File { .. }) && file.path.ends_with(".jar") && !file.path.contains('/')
    });
    // One that cannot be read is told by whoever chooses it.
    let starts = |path: &str| Jar::read(&tree.root.join(path)).is_ok_and(|jar| jar.main.is_some());
    jars.filter(|file| starts(&file.path)).map(|file| file.path.clone()).collect()
}

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let name = match &startable(tree)[..] {
        [one] => one.clone(),
        [] => {
            return Err(BuildError::input_hint(
                format!("{} holds no jar with a Main-Class in its manifest", project.place()),
                "copy the one that `mvn package` or `gradle build` makes there; a source tree is not built",
            ));
        }
        several => {
            return Err(BuildError::input_hint(
                format!("{} holds several jars that can be started: {}", project.place(), several.join(", ")),
                "leave only one, or state `files` and `entrypoint` under `x-juchu.image`",
            ));
        }
    };
    let jar = Jar::read(&tree.root.join(&name)).map_err(BuildError::io(format!("read {name}")))?;
    let has = java_of(project)?;
    if let Some(wanted) = jar.release.filter(|wanted| *wanted > has) {
        return Err(BuildError::input_hint(
            format!("{name} needs Java {wanted}, and {} has Java {has}", project.archive.suite),
            format!(
                "compile it for Java {has} (`maven.compiler.release`), or choose a newer suite with `x-juchu: {{image: {{archive: {{suite: …}}}}}}`"
            ),
        ));
    }
    let mut draft = Draft::default();
    draft.package(&format!("openjdk-{has}-jre-headless"));
    draft.package("ca-certificates");
    draft.package("tzdata");
    draft.add_tree(tree, "", APP_DIRECTORY);
    let words = ["/usr/bin/java"].into_iter().chain(OPTIONS).chain(["-jar"]);
    draft.command = words.map(str::to_owned).chain([format!("{APP_DIRECTORY}/{name}")]).collect();
    Ok(draft)
}

fn java_of(project: &Project) -> Result<u32, BuildError> {
    let suite = &project.archive.suite;
    Suite::find(suite).map(|suite| suite.java).ok_or_else(|| {
        BuildError::input_hint(
            format!("it is not known which Java {suite} has"),
            format!("use one of {}", Suite::names()),
        )
    })
}

/// What a jar says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Jar {
    main: Option<String>,
    /// The release of Java that its first classes were compiled for.
    release: Option<u32>,
}

impl Jar {
    fn read(path: &Path) -> io::Result<Self> {
        let mut archive = ZipArchive::new(File::open(path)?).map_err(io::Error::from)?;
        let main = main_class(&mut archive)?;
        let release = release(&mut archive)?;
        Ok(Self { main, release })
    }
}

fn main_class(archive: &mut ZipArchive<File>) -> io::Result<Option<String>> {
    let manifest = match archive.by_name(MANIFEST) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    manifest.take(MANIFEST_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Main-Class:"));
    Ok(line.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()))
}

/// Classes for newer releases lie under META-INF and do not count.
fn release(archive: &mut ZipArchive<File>) -> io::Result<Option<u32>> {
    let is_class = |name: &&str| name.ends_with(".class") && !name.starts_with("META-INF/");
    let names: Vec<String> =
        archive.file_names().filter(is_class).take(CLASSES_LOOKED_AT).map(str::to_owned).collect();
    let mut newest = None;
    for name in names {
        let mut header = [0; CLASS_HEADER];
        archive.by_name(&name)?.read_exact(&mut header)?;
        let number = u32::from(u16::from_be_bytes([header[6], header[7]]));
        newest = newest.max(number.checked_sub(CLASS_OF_RELEASE_0));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::Fixture;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    /// A jar with this manifest and one class for a release.
    fn jar(fixture: &Fixture, name: &str, manifest: &str, release: u16) {
        let file = std::fs::File::create(fixture.root().join(name)).unwrap();
        let mut jar = zip::ZipWriter::new(file);
        jar.start_file("META-INF/MANIFEST.MF", SimpleFileOptions::default()).unwrap();
        jar.write_all(manifest.as_bytes()).unwrap();
        jar.start_file("a/Main.class", SimpleFileOptions::default()).unwrap();
        jar.write_all(&[&[0xca, 0xfe, 0xba, 0xbe, 0, 0], (44 + release).to_be_bytes().as_slice()].concat())
            .unwrap();
        jar.finish().unwrap();
    }

    const MAIN: &str = "Manifest-Version: 1.0\r\nMain-Class: a.Main\r\n";

    #[test]
    fn the_one_jar_that_starts_runs_on_the_java_of_the_suite() {
        let fixture = Fixture::new().file("config.properties", "x=1");
        jar(&fixture, "shop.jar", MAIN, 17);
        jar(&fixture, "library.jar", "Manifest-Version: 1.0\r\n", 17);
        let planned = fixture.plan().unwrap();
        assert_eq!(planned.kind.to_string(), "java");
        assert_eq!(planned.plan.packages, ["openjdk-21-jre-headless", "ca-certificates", "tzdata"]);
        assert_eq!(planned.plan.config.command.last().unwrap(), "/app/shop.jar");
        assert!(planned.plan.app.iter().any(|entry| entry.path == "/app/config.properties"));
        assert!(planned.plan.app.iter().any(|entry| entry.path == "/app/library.jar"));
    }

    #[test]
    fn what_cannot_run_is_told() {
        let said =
            |fixture: &Fixture| fixture.plan().unwrap_err().to_string().replace(&fixture.place(), "DIR");
        let fixture = Fixture::new().image(|image| image.kind = Some("java".into()));
        assert_eq!(said(&fixture), "DIR holds no jar with a Main-Class in its manifest");
        jar(&fixture, "a.jar", MAIN, 30);
        assert_eq!(said(&fixture), "a.jar needs Java 30, and trixie has Java 21");
        jar(&fixture, "b.jar", MAIN, 17);
        assert_eq!(said(&fixture), "DIR holds several jars that can be started: a.jar, b.jar");
        let fixture = Fixture::new().file("broken.jar", "no zip").image(|i| i.kind = Some("java".into()));
        assert!(said(&fixture).contains("holds no jar"));
    }
}
