//! Reads Compose files from disk and shows what the loader says about them, with the line itself.

use super::args::StackArgs;
use super::screen::{Ended, Hue, Outcome, Paint, Screen, hint_line, safe};
use compose::{Input, Loaded, Resolved, Skip};
use console::text::cut;
use model::{Diagnostic, Report, Severity, Span, Stack};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{env, fmt::Write};

/// The largest file a stack is read from.
pub const FILE_MAX: u64 = 8 << 20;
/// Characters of a source line that are shown.
const SOURCE_MAX: usize = 160;
/// Diagnostics shown in full; the rest is counted.
const SHOWN_MAX: usize = 50;

/// The real file tree.
pub struct Disk;

impl compose::Files for Disk {
    /// Regular files only: a device or a pipe could keep the reader for ever.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let about = file.metadata()?;
        if about.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if !about.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut content = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut content)?;
        if content.len() as u64 > FILE_MAX {
            return Err(io::Error::other(format!("larger than {}", model::Bytes(FILE_MAX))));
        }
        Ok(content)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn follow(&self, path: &Path) -> PathBuf {
        let link = path.ancestors().filter(|part| part.is_symlink()).last();
        let followed =
            link.and_then(|link| Some((fs::canonicalize(link).ok()?, path.strip_prefix(link).ok()?)));
        match followed {
            Some((target, rest)) if rest.as_os_str().is_empty() => target,
            Some((target, rest)) => target.join(rest),
            None => path.to_owned(),
        }
    }
}

/// The file tree, and what came in on the standard input under the name `-`.
struct Given {
    stdin: Option<(PathBuf, Vec<u8>)>,
}

impl Given {
    /// Reads the standard input if it is one of the files.
    fn of(args: &StackArgs, here: &Path) -> Result<Self, Report> {
        if !args.files.iter().any(|file| file.as_os_str() == "-") {
            return Ok(Self { stdin: None });
        }
        let mut content = Vec::new();
        io::stdin().lock().take(FILE_MAX + 1).read_to_end(&mut content).map_err(|error| {
            Report::usage(format!("the standard input cannot be read: {error}")).hint("name a file with `-f`")
        })?;
        Ok(Self { stdin: Some((here.join("-"), content)) })
    }
}

impl compose::Files for Given {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.stdin {
            Some((name, content)) if name == path => Ok(content.clone()),
            _ => Disk.read(path),
        }
    }

    fn is_dir(&self, path: &Path) -> bool {
        Disk.is_dir(path)
    }

    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path)
    }

    fn follow(&self, path: &Path) -> PathBuf {
        Disk.follow(path)
    }
}

/// The stack that the arguments and the place where they were typed mean, with everything that it
/// names in the file tree.
pub fn load_present(screen: &Screen, args: &StackArgs, directory: Option<&Path>) -> Outcome<Stack> {
    let loaded = quietly(args, directory)?;
    screen.say(&show(&loaded.missing, screen));
    if loaded.missing.is_empty() {
        return understood(screen, loaded);
    }
    screen.say(&show(&loaded.diagnostics, screen));
    if !loaded.missing.iter().any(|d| d.hint.is_some()) {
        screen.hint("make what is missing, or correct the path in the Compose file");
    }
    Err(Ended::Code(1))
}

/// The same, whether or not the paths in it lead anywhere.
pub fn load(screen: &Screen, args: &StackArgs, directory: Option<&Path>) -> Outcome<Stack> {
    understood(screen, quietly(args, directory)?)
}

fn understood(screen: &Screen, loaded: Loaded) -> Outcome<Stack> {
    screen.say(&show(&loaded.diagnostics, screen));
    screen.say(&show(&loaded.refusals, screen));
    let mut errors = loaded.diagnostics.iter().chain(&loaded.refusals).filter(|d| d.is_error()).peekable();
    match loaded.stack {
        Some(stack) => Ok(stack),
        None if errors.peek().is_some() => {
            if errors.all(|d| d.hint.is_none()) {
                screen.hint("correct the file, then see with `juchu config` how it is understood");
            }
            Err(Ended::Code(1))
        }
        None => Err(Report::internal("the Compose file gave neither a stack nor an error").into()),
    }
}

/// How a file is read for itself.
#[derive(Debug, Default)]
pub struct Reading {
    pub directory: Option<PathBuf>,
    /// Only these and what they depend on; empty: all.
    pub services: Vec<String>,
    pub skip: Skip,
    /// Remember where everything came from.
    pub trace: bool,
}

/// What the files say, whether or not it can be run here; what cannot is told.
pub fn resolved(screen: &Screen, args: &StackArgs, reading: Reading) -> Outcome<Resolved> {
    let (input, files) = input(args, reading.directory.as_deref())?;
    let input = Input { services: reading.services, skip: reading.skip, trace: reading.trace, ..input };
    let mut loaded = compose::load(&input, &files);
    let Some(resolved) = loaded.resolved.take() else {
        return Err(understood(screen, loaded).expect_err("nothing can be run that cannot be read"));
    };
    let refused = std::mem::take(&mut loaded.refusals).into_iter();
    loaded.diagnostics.extend(refused.map(|d| Diagnostic { severity: Severity::Warning, ..d }));
    screen.say(&show(&loaded.diagnostics, screen));
    Ok(resolved)
}

/// The same without a word about what is wrong.
pub fn quietly(args: &StackArgs, directory: Option<&Path>) -> Result<Loaded, Report> {
    let (input, files) = input(args, directory)?;
    Ok(compose::load(&input, &files))
}

fn input(args: &StackArgs, directory: Option<&Path>) -> Result<(Input, Given), Report> {
    let here = env::current_dir().map_err(|error| {
        Report::environment(format!("the current directory cannot be found: {error}"))
            .hint("change to a directory that exists")
    })?;
    let absolute = |paths: &[PathBuf]| paths.iter().map(|path| here.join(path)).collect();
    let mut environment = environment();
    environment.entry("PWD".to_owned()).or_insert_with(|| here.display().to_string());
    let files = Given::of(args, &here)?;
    let input = Input {
        files: absolute(&args.files),
        directory: directory.map_or_else(|| here.clone(), |directory| here.join(directory)),
        project_directory: args.rest.project_directory.as_ref().map(|path| here.join(path)),
        project_name: args.rest.project_name.clone(),
        profiles: args.rest.profiles.clone(),
        env_files: absolute(&args.rest.env_files),
        environment,
        ..Input::default()
    };
    Ok((input, files))
}

/// Variables whose name and value are text; a file cannot mean the others.
fn environment() -> BTreeMap<String, String> {
    env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn show(diagnostics: &[Diagnostic], screen: &Screen) -> String {
    let mut sources = Sources::default();
    let wanted = |d: &&Diagnostic| d.is_error() || !screen.quiet;
    let (idle, wanted): (Vec<_>, Vec<_>) =
        diagnostics.iter().filter(wanted).partition(|d| d.no_effect.is_some() && !d.is_error());
    let mut text = super::no_effect::text(&idle, screen.err);
    for diagnostic in wanted.iter().take(SHOWN_MAX) {
        text.push_str(&diagnostic_text(diagnostic, &mut sources, screen.err));
    }
    if wanted.len() > SHOWN_MAX {
        let _ = writeln!(text, "and {} more", wanted.len() - SHOWN_MAX);
    }
    text
}

/// `error: FILE:LINE:COLUMN: message`, the line with what is meant underlined, `hint: …`.
fn diagnostic_text(diagnostic: &Diagnostic, sources: &mut Sources, paint: Paint) -> String {
    let word = match diagnostic.severity {
        Severity::Warning => paint.on(Hue::Warn, "warning:"),
        Severity::Error => paint.on(Hue::Bad, "error:"),
    };
    let place = diagnostic.span.as_ref().map(|span| format!("{span}: ")).unwrap_or_default();
    let mut text = format!("{word} {}{}\n", safe(&place), safe(&diagnostic.message));
    if let Some(shown) = diagnostic.span.as_ref().and_then(|span| sources.excerpt(span, paint)) {
        text.push_str(&shown);
    }
    if let Some(hint) = &diagnostic.hint {
        text.push_str(&hint_line(paint, hint));
    }
    text
}

/// Files already read for their lines.
#[derive(Default)]
struct Sources(BTreeMap<String, Option<String>>);

impl Sources {
    /// The line of a place and a mark under what is meant. Where the file is relative, it is so to
    /// the current directory.
    fn excerpt(&mut self, span: &Span, paint: Paint) -> Option<String> {
        let content = self.0.entry(span.file.clone()).or_insert_with(|| {
            let bytes = compose::Files::read(&Disk, Path::new(&span.file)).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        });
        let line = content.as_ref()?.lines().nth(span.line.checked_sub(1)? as usize)?;
        excerpt(line, span, paint)
    }
}

fn excerpt(line: &str, span: &Span, paint: Paint) -> Option<String> {
    let before = span.column.checked_sub(1)? as usize;
    if line.trim().is_empty() || before >= SOURCE_MAX || before > line.chars().count() {
        return None;
    }
    let margin = span.line.to_string();
    // What is cut off the line is not underlined either.
    let shown = line.chars().count().min(SOURCE_MAX) - before;
    let marks = "^".repeat((span.length as usize).min(shown).max(1));
    // A tab stays a tab above and below, so that the caret stands where the text stands.
    let lead: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let bar = paint.on(Hue::Quiet, "|");
    Some(format!(
        "{} {bar} {}\n{} {bar} {lead}{}\n",
        paint.on(Hue::Quiet, &margin),
        safe(&cut(line, SOURCE_MAX)),
        " ".repeat(margin.len()),
        paint.on(Hue::Bad, &marks),
    ))
}

/// A directory named as the first target: `.`, `..`, with a `/`, or one that exists where no
/// Compose file is. The rest are services.
pub fn split_targets(targets: &[String], args: &StackArgs) -> (Option<PathBuf>, Vec<String>) {
    let Some((first, rest)) = targets.split_first() else { return (None, Vec::new()) };
    let named = matches!(first.as_str(), "." | "..") || first.contains('/');
    if named || (args.files.is_empty() && Path::new(first).is_dir() && !has_compose_file()) {
        return (Some(first.into()), rest.to_vec());
    }
    (None, targets.to_vec())
}

fn has_compose_file() -> bool {
    let Ok(entries) = fs::read_dir(".") else { return false };
    let names = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
    entries.filter_map(Result::ok).any(|entry| names.iter().any(|name| entry.file_name() == *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use compose::Files;

    #[test]
    fn a_diagnostic_shows_its_place() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("compose.yaml").display().to_string();
        fs::write(&file, "services:\n  web:\n    imagge: nginx\n").expect("written");
        let span = Span { file: file.clone(), line: 3, column: 5, length: 6 };
        let diagnostic =
            Diagnostic::warning("`imagge` is not known", Some(span)).hint("did you mean `image`?");
        let text = diagnostic_text(&diagnostic, &mut Sources::default(), Paint(false));
        insta::assert_snapshot!(text.replace(&file, "compose.yaml"), @"
        warning: compose.yaml:3:5: `imagge` is not known
        3 |     imagge: nginx
          |     ^^^^^^
        hint: did you mean `image`?
        ");
    }

    #[test]
    fn a_place_that_is_not_there_shows_no_line() {
        let at = |column, length| Span { file: String::new(), line: 1, column, length };
        assert_eq!(excerpt("short", &at(90, 0), Paint(false)), None);
        assert_eq!(excerpt("", &at(1, 0), Paint(false)), None);
        assert_eq!(excerpt("x", &at(0, 0), Paint(false)), None);
        let shown = excerpt("short", &at(3, 90), Paint(false)).expect("a line");
        assert!(shown.ends_with("  |   ^^^\n"), "{shown}");
        let span = Span { file: "/nonexistent".to_owned(), line: 1, column: 1, length: 0 };
        let error = Diagnostic::error("gone", Some(span));
        let text = diagnostic_text(&error, &mut Sources::default(), Paint(false));
        assert_eq!(text, "error: /nonexistent:1:1: gone\n");
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        assert_eq!(Disk.read(&pipe).expect_err("a pipe").to_string(), "not a regular file");
        assert_eq!(
            Disk.read(Path::new("/dev/zero")).expect_err("a device").to_string(),
            "not a regular file"
        );
        assert_eq!(Disk.read(directory.path()).expect_err("a directory").kind(), io::ErrorKind::IsADirectory);
        let large = directory.path().join("large");
        fs::File::create(&large).and_then(|f| f.set_len(FILE_MAX + 1)).expect("a sparse file");
        assert_eq!(Disk.read(&large).expect_err("too large").to_string(), "larger than 8 MiB");
        fs::File::create(&large).and_then(|f| f.set_len(FILE_MAX)).expect("a sparse file");
        assert_eq!(Disk.read(&large).expect("the limit itself").len() as u64, FILE_MAX);
    }

    #[test]
    fn a_target_with_a_slash_is_a_directory() {
        let split = |targets: &[&str]| {
            let targets: Vec<_> = targets.iter().map(|t| (*t).to_owned()).collect();
            split_targets(&targets, &StackArgs::default())
        };
        assert_eq!(
            split(&["examples/guestbook", "web"]),
            (Some("examples/guestbook".into()), vec!["web".into()])
        );
        assert_eq!(split(&["."]), (Some(".".into()), vec![]));
        assert_eq!(split(&["web", "db"]), (None, vec!["web".into(), "db".into()]));
        assert_eq!(split(&[]), (None, vec![]));
        // Tests run in the crate's directory, which has a `src` and no Compose file.
        assert_eq!(split(&["src"]), (Some("src".into()), vec![]));
    }
}
