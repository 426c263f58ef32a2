//! What a Node project runs: its start script where that needs no shell, else `main`, else a file
//! by one of the usual names. A project whose build leaves pages and no server is a site.

use super::manifest::Manifest;
use crate::BuildError;
use crate::kinds::detect::NODE_STARTS;
use crate::kinds::draft::APP_DIRECTORY;
use crate::kinds::python_words;
use crate::kinds::settings::Project;
use crate::kinds::tree::Tree;

/// Where bundlers and generators put pages.
const SITE_OUTPUTS: &[&str] = &["dist", "build", "out", "_site", "dist/client", ".output/public", "public"];
/// Where frameworks put a server they built.
const SERVER_OUTPUTS: &[&str] = &[
    ".output/server/index.mjs",
    "dist/server/entry.mjs",
    "dist/main.js",
    "dist/server.js",
    "dist/index.js",
    "build/index.js",
    "build/server.js",
];
/// Programs of a start script that only show what was built, or build it again on every request.
const PREVIEWS: &[&str] = &[
    "vite",
    "astro",
    "react-scripts",
    "serve",
    "http-server",
    "webpack",
    "parcel",
    "eleventy",
    "vue-cli-service",
];

/// What the result of a build is.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    Command(Vec<String>),
    /// The directory whose pages are to be served.
    Site(String),
}

/// Looks at the files as they are after the build. `programs` are the names in `node_modules/.bin`.
pub fn find(
    project: &Project,
    manifest: &Manifest,
    tree: &Tree,
    programs: &[String],
) -> Result<Start, BuildError> {
    let script = manifest.script("start");
    let words = script.and_then(python_words);
    let built = tree.root != project.tree()?.root;
    if let Some(words) = &words
        && words[0] == "node"
        && words.len() > 1
    {
        return Ok(Start::Command(words.clone()));
    }
    let site = SITE_OUTPUTS.iter().find(|directory| tree.has(&format!("{directory}/index.html")));
    // A script beside pages belongs to them.
    let of_pages = |file: &str| tree.has(&format!("{}/index.html", file.split('/').next().unwrap_or("")));
    let mut servers = SERVER_OUTPUTS.iter().filter(|file| built && tree.has(file));
    let server = servers.find(|file| file.matches('/').count() > 1 || !of_pages(file));
    if let (true, Some(site), None) = (built, site, server)
        && words
            .as_ref()
            .is_none_or(|words| PREVIEWS.contains(&words[0].as_str()) || !programs.contains(&words[0]))
    {
        return Ok(Start::Site((*site).to_owned()));
    }
    if let Some(words) = &words
        && programs.contains(&words[0])
    {
        let program = format!("{APP_DIRECTORY}/node_modules/.bin/{}", words[0]);
        let command = ["node".to_owned(), program].into_iter().chain(words[1..].iter().cloned());
        return Ok(Start::Command(command.collect()));
    }
    let main = manifest.text("/main").map(|main| main.trim_start_matches("./").to_owned());
    let main =
        main.into_iter().flat_map(|main| [main.clone(), format!("{main}.js"), format!("{main}/index.js")]);
    let usual = NODE_STARTS.iter().chain(server).map(|name| (*name).to_owned());
    if let Some(file) = main.chain(usual).find(|name| tree.has(name)) {
        return Ok(Start::Command(vec!["node".to_owned(), file]));
    }
    Err(nothing(project, script))
}

fn nothing(project: &Project, script: Option<&str>) -> BuildError {
    let place = project.place();
    match script {
        Some(script) => BuildError::input_hint(
            format!(
                "the start script of {place} is `{script}`, which is neither `node FILE` nor a program of its packages"
            ),
            "add `command: [\"node\", \"FILE.js\"]` to the service",
        ),
        None => BuildError::input_hint(
            format!("nothing says what the Node project in {place} runs"),
            "add `command: [\"node\", \"FILE.js\"]` to the service, `\"start\": \"node FILE.js\"` to package.json, or server.js",
        ),
    }
}
