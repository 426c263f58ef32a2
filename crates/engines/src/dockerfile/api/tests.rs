//! The whole way through a daemon that is played by a thread: what it is asked, what comes back,
//! and that nothing stays there.

use super::*;
use crate::dockerfile::run_root::RunRoot;
use model::image::BuildSpec;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Requests as `METHOD TARGET`, and the context that came.
#[derive(Default)]
struct Asked {
    lines: Vec<String>,
    context: Vec<u8>,
}

/// Answers every request by what `answer` says for its line; `None` never answers.
fn daemon(
    path: &Path,
    answer: impl Fn(&str) -> Option<(u16, Vec<u8>)> + Send + 'static,
) -> Arc<Mutex<Asked>> {
    let listener = UnixListener::bind(path).expect("a socket");
    let asked = Arc::new(Mutex::new(Asked::default()));
    let told = asked.clone();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).expect("the body that was announced");
            let mut asked = told.lock().expect("nobody panics");
            asked.lines.push(line.clone());
            if !body.is_empty() {
                asked.context = body;
            }
            drop(asked);
            match answer(&line) {
                Some((status, body)) => {
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    // One that was given up does not listen.
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
                }
                None => silent.push(stream),
            }
        }
    });
    asked
}

struct Room {
    directory: tempfile::TempDir,
    spec: BuildSpec,
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let context = directory.path().join("app");
        std::fs::create_dir_all(context.join("sub")).expect("a directory");
        for (name, text) in [("Dockerfile", "FROM scratch\nCOPY . /\n"), ("a.txt", "a"), ("no.log", "x")] {
            std::fs::write(context.join(name), text).expect("written");
        }
        std::fs::write(context.join(".dockerignore"), "*.log\n").expect("written");
        std::os::unix::fs::symlink("../a.txt", context.join("sub/link")).expect("a link");
        let spec = BuildSpec { context: Some(context), ..BuildSpec::default() };
        Self { directory, spec }
    }
    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }
    fn build(&self, cancel: &AtomicBool) -> Result<PathBuf, Report> {
        let scratch = self.directory.path().join("scratch");
        std::fs::create_dir_all(&scratch).expect("a directory");
        let place = Place {
            run: RunRoot::new(&scratch).expect("it can be made"),
            context: self.spec.context.clone().expect("it was set"),
            file: "Dockerfile".into(),
            shown: "Dockerfile".to_owned(),
            text: "FROM scratch\nCOPY . /\n".to_owned(),
            registries: None,
            out: scratch.join("out"),
            scratch,
        };
        let environment = BTreeMap::new();
        let request = Request {
            spec: &self.spec,
            platform: Some("linux/amd64"),
            scratch: &place.scratch,
            secrets: Vec::new(),
            group: None,
            environment: &environment,
        };
        let job = Job::new(&|_| {}, cancel);
        build(&Socket { path: self.socket() }, &request, &place, &job).map(|()| place.out.clone())
    }
}

fn saved_image() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let manifest = r#"[{"Config":"c.json","Layers":["l.tar"]}]"#;
    for (name, text) in [("c.json", "{}"), ("l.tar", "layer"), ("manifest.json", manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes()).expect("written");
    }
    archive.into_inner().expect("written")
}

static NEVER: AtomicBool = AtomicBool::new(false);

#[test]
fn an_image_comes_back_and_nothing_stays_there() {
    let mut room = Room::new();
    room.spec.args.insert("WHO".into(), "you & me".into());
    room.spec.labels.insert("a".into(), "b".into());
    room.spec.target = Some("web".into());
    room.spec.limits.network = Some(false);
    room.spec.limits.memory = Some(model::Bytes::mib(64));
    room.spec.limits.cpus = Some(model::Cpus(1500));
    let asked = daemon(&room.socket(), |line| {
        Some(match line {
            line if line.starts_with("POST /v1.41/build?") => (
                200,
                b"{\"stream\":\"Step 1/2 : FROM scratch\\n\"}\n{\"stream\":\" ---> 0123456789ab\\n\"}\n\
                  {\"stream\":\" ---> aaaaaaaaaaaa\\n\"}\n"
                    .to_vec(),
            ),
            line if line.ends_with("/get") => (200, saved_image()),
            // One that a killed build left, and one of somebody else.
            "GET /v1.41/images/json" => (
                200,
                br#"[{"RepoTags":["localhost/juchu-build-4294967294:latest","mine:1"]},{"RepoTags":null}]"#
                    .to_vec(),
            ),
            line if line.contains("0123456789ab/json") => (200, br#"{"RepoTags":["scratch:1"]}"#.to_vec()),
            line if line.contains("aaaaaaaaaaaa/json") => {
                (200, br#"{"RepoTags":[],"RepoDigests":[]}"#.to_vec())
            }
            line if line.starts_with("DELETE ") => (200, b"[]".to_vec()),
            _ => (404, br#"{"message":"no such thing"}"#.to_vec()),
        })
    });
    let out = room.build(&NEVER).expect("an image");
    assert!(out.join("index.json").is_file());
    let asked = asked.lock().expect("nobody panics");
    let build = asked.lines.iter().find(|line| line.starts_with("POST ")).expect("a build");
    for expected in [
        "nocache=true&pull=true",
        "networkmode=none",
        "buildargs=%7B%22WHO%22%3A%22you+%26+me%22%7D",
        "labels=%7B%22a%22%3A%22b%22%7D",
        "target=web",
        "platform=linux%2Famd64",
        "memory=67108864",
        "cpuperiod=100000&cpuquota=150000",
        "timestamp=0",
    ] {
        assert!(build.contains(expected), "{expected}: {build}");
    }
    let own = format!("juchu-build-{}", std::process::id());
    let removed: Vec<&str> =
        asked.lines.iter().filter_map(|line| line.strip_prefix("DELETE /v1.41/images/")).collect();
    assert_eq!(
        removed,
        ["juchu-build-4294967294:latest?force=true", &format!("{own}?force=true"), "aaaaaaaaaaaa"]
    );
    let mut context = tar::Archive::new(&asked.context[..]);
    let names = context
        .entries()
        .expect("an archive")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string());
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["Dockerfile", "a.txt", "sub", "sub/link", ".juchu-dockerfile", ".dockerignore"]);
}

#[test]
fn what_goes_wrong_is_one_sentence_and_is_cleared_away() {
    let room = Room::new();
    let asked = daemon(&room.socket(), |line| {
        Some(match line {
            line if line.starts_with("POST ") => (
                200,
                b"{\"stream\":\"Step 2/2 : COPY . /\\n\"}\n{\"error\":\"no space left on device\"}\n"
                    .to_vec(),
            ),
            _ => (404, b"{}".to_vec()),
        })
    });
    let error = room.build(&NEVER).expect_err("refused").error;
    assert_eq!(error, "`COPY . /` failed (Dockerfile:2): no space left on device");
    let lines = &asked.lock().expect("nobody panics").lines;
    assert!(lines.last().is_some_and(|line| line.starts_with("DELETE ")), "{lines:?}");

    let room = Room::new();
    daemon(&room.socket(), |line| {
        let is_build = line.starts_with("POST ");
        Some((if is_build { 500 } else { 404 }, br#"{"message":"no such target"}"#.to_vec()))
    });
    let error = room.build(&NEVER).expect_err("refused").error;
    assert_eq!(error, "Dockerfile cannot be built: no such target");

    let mut room = Room::new();
    let error = room.build(&NEVER).expect_err("nobody listens").error;
    assert!(error.contains("does not answer"), "{error}");
    room.spec.additional_contexts.insert("lib".into(), "/srv".into());
    let error = room.build(&NEVER).expect_err("refused").error;
    assert_eq!(error, "`build.additional_contexts` cannot be given to a builder behind Docker's API");
}

#[test]
fn a_build_that_is_given_up_does_not_wait_for_the_daemon() {
    let room = Room::new();
    let cancel = Arc::new(AtomicBool::new(false));
    let stop = cancel.clone();
    daemon(&room.socket(), move |line| {
        if line.starts_with("POST ") {
            stop.store(true, Ordering::Relaxed);
            return None;
        }
        Some((404, b"{}".to_vec()))
    });
    let error = room.build(&cancel).expect_err("given up").error;
    assert_eq!(error, "cancelled");
}
