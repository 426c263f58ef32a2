//! `cargo xtask fresh`: the README's commands on a machine with nothing but Debian 12 and Rust.
//!
//! The machine is a directory made by debootstrap, entered in name spaces of its own; into it come
//! this machine's Rust and a clean clone of HEAD. Takes about half an hour and 15 GB of disk.

mod room;

use crate::process::{answers, read, run};
use crate::{Outcome, packages, readme, workspace};
use room::Room;
pub use room::{HOLD, hold};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const SUITE: &str = "bookworm";
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// What the README asks for beside Debian and Rust.
const ASKED_FOR: &[&str] = &["gcc", "libc6-dev", "ca-certificates"];
const AUTHORITIES: &str = "/usr/local/share/ca-certificates";
const SOURCES: &str = "/root/juchu";
const PROGRAM: &str = "/root/juchu/target/release/juchu";
/// As `examples/guestbook` publishes it.
const ADDRESS: &str = "127.0.0.1:8080";
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

pub fn run_all() -> Outcome {
    refuse_to_begin()?;
    let begun = Instant::now();
    let directory = workspace::root().join(format!("target/fresh-{}", std::process::id()));
    let room = Room::new(&directory)?;
    furnish(&directory)?;
    room.open()?;
    room.run("/", &words(&["update-ca-certificates"]))?;
    let [first, second] = commands()?;
    example(&room, &first)?;
    room.run(SOURCES, &second)?;
    println!("both commands of the README pass on a fresh {SUITE}, {} min", begun.elapsed().as_secs() / 60);
    Ok(())
}

fn refuse_to_begin() -> Outcome {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Err("only root can make a machine\nhint: sudo cargo xtask fresh".into());
    }
    if TcpStream::connect(ADDRESS).is_ok() {
        return Err(format!("something already answers at {ADDRESS}, where the example will be").into());
    }
    if !answers("debootstrap", &["--version"]) {
        packages::install(&["debootstrap"])?;
    }
    Ok(())
}

/// Debian and the sources; Rust is shown to it when it is opened.
fn furnish(directory: &Path) -> Outcome {
    let root = workspace::root();
    let place = directory.to_string_lossy();
    let include = format!("--include={}", ASKED_FOR.join(","));
    run(&root, "debootstrap", &["--variant=minbase", &include, SUITE, &place, ARCHIVE])?;
    std::fs::copy("/etc/resolv.conf", directory.join("etc/resolv.conf"))?;
    authorities(directory)?;
    let clone = directory.join(SOURCES.trim_start_matches('/'));
    run(
        &root,
        "git",
        &["clone", "--quiet", "--no-hardlinks", &root.to_string_lossy(), &clone.to_string_lossy()],
    )?;
    // What is checked out here may be a branch that the clone would not take.
    let head = read(&root, "git", &["rev-parse", "HEAD"])?;
    run(&clone, "git", &["checkout", "--quiet", "--detach", head.trim()])
}

/// Those that were added to this machine: without them a network that inspects its traffic is none.
fn authorities(directory: &Path) -> Outcome {
    let to = directory.join(AUTHORITIES.trim_start_matches('/'));
    for entry in std::fs::read_dir(AUTHORITIES).into_iter().flatten() {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The two commands the README begins with, as words.
fn commands() -> Result<[Vec<String>; 2], crate::Failure> {
    let text = std::fs::read_to_string(workspace::root().join("README.md"))?;
    let commands = readme::commands(&text).into_iter().map(|(_, command)| readme::words(&command));
    let words: Option<Vec<Vec<String>>> = commands.collect();
    let words = words.ok_or("a command of the README needs a shell")?;
    <[Vec<String>; 2]>::try_from(words)
        .map_err(|found| format!("the README has {} commands and not two", found.len()).into())
}

/// The first command, detached because nobody sits before it; the page; and the end of it.
/// Its foreground form is part of the tests that the second command runs.
fn example(room: &Room, command: &[String]) -> Outcome {
    let up = command.iter().position(|word| word == "up").ok_or("the first command has no `up`")?;
    let mut detached = command.to_vec();
    detached.insert(up + 1, "-d".to_owned());
    let page = room.run(SOURCES, &detached).and_then(|()| page());
    let ended = room.run(SOURCES, &words(&[PROGRAM, "down", "--volumes", "-p", "guestbook"]));
    let page = page?;
    match page.starts_with("HTTP/1.1 200 ") && page.to_lowercase().contains("guestbook") {
        true => ended,
        false => Err(format!("{ADDRESS} does not show the guestbook:\n{page}").into()),
    }
}

fn page() -> Result<String, crate::Failure> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
