//! `cargo xtask screenshots`: every page of the console in light and dark, wide and narrow, for people
//! to look at. The pages are of a made-up system, so that every state can be seen.

use crate::browser::Browser;
use crate::{Outcome, workspace};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const PAGES: [(&str, &str); 17] = [
    ("panel", "/"),
    ("node", "/nodes/vm-1?range=24h"),
    ("stack", "/stacks/guestbook"),
    ("service", "/stacks/guestbook/services/web?range=6h"),
    ("instance", "/stacks/guestbook/services/web/instances/web1x7k2"),
    ("route", "/stacks/guestbook/services/web/routes/1?range=7d"),
    ("map", "/map?minutes=60"),
    ("logs", "/logs?q=level%3E%3Dwarn&service=web"),
    ("logs-refused", "/logs?q=a+("),
    ("traces", "/traces?service=web"),
    ("trace", "/traces/4bf92f3577b34da6a3ce929d0e0e4736"),
    ("ranges", "/ranges"),
    ("signal", "/ranges/guestbook%2Fweb%2Fp95"),
    ("incidents", "/incidents"),
    ("incident", "/incidents/2"),
    ("visitors", "/visitors?days=30"),
    ("not-found", "/stacks/nothing"),
];
/// Width and name; a telephone is narrow.
const WIDTHS: [(u32, &str); 2] = [(1200, "wide"), (400, "narrow")];

/// The made-up console; ends when it is dropped.
struct Console(Child);

impl Drop for Console {
    fn drop(&mut self) {
        // Its input ends with the process that holds it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

pub fn run() -> Outcome {
    let root = workspace::root();
    let arguments = ["run", "--quiet", "-p", "console", "--features", "fake", "--example", "pages"];
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(&root).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut console = Console(command.spawn()?);
    let mut link = String::new();
    let said = console.0.stdout.take().ok_or("the console says nothing")?;
    BufReader::new(said).read_line(&mut link)?;
    let link = link.trim();
    let base =
        link.split("/enter/").next().filter(|base| !base.is_empty()).ok_or("the console gave no link")?;
    let directory = root.join("target/screenshots");
    std::fs::create_dir_all(&directory)?;
    let mut browser = Browser::start()?;
    browser.open(link, "location.pathname === '/'")?;
    let mut wrong = Vec::new();
    for (name, address) in PAGES {
        for (width, size) in WIDTHS {
            for (is_dark, scheme) in [(false, "light"), (true, "dark")] {
                browser.look(width, is_dark)?;
                browser.open(&format!("{base}{address}"), "document.querySelector('main h1')")?;
                browser.picture(&directory.join(format!("{name}-{size}-{scheme}.png")))?;
            }
            if browser.value("document.documentElement.scrollWidth > innerWidth")? == json!(true) {
                wrong.push(format!("{name} is wider than a {size} screen"));
            }
        }
    }
    println!("{} pictures in {}", PAGES.len() * 4, directory.display());
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}
