//! Package indexes as pip reads them (PEP 503, PEP 691): which files a project has, and their
//! digests. The caller's pip settings choose the index.

use super::Wheel;
use super::requirement::normalise;
use super::target::{Target, WheelName};
use crate::BuildError;
use crate::download::{self, Wanted};
use crate::http::{Http, read_body};
use crate::kinds::cache::Cache;
use crate::kinds::settings::Context;
use base64::Engine as _;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;

const DEFAULT_INDEX: &str = "https://pypi.org/simple";
const PAGE_LIMIT: u64 = 64 << 20;
pub const WHEEL_LIMIT: u64 = 4 << 30;
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.1";

pub struct Indexes {
    http: Http,
    /// Asked in this order; the first that has the project answers.
    indexes: Vec<Remote>,
}

/// An address without its credentials, and these as a header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remote {
    url: String,
    authorisation: Option<String>,
}

/// One file of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    pub filename: String,
    pub url: String,
    /// Lower-case hexadecimal, when the index gives it.
    pub sha256: Option<String>,
}

impl Indexes {
    /// `stated` are `--index-url` and `--extra-index-url` of the requirements, which win over pip's settings.
    pub fn new(ctx: &Context, stated: &[String]) -> Self {
        let urls = match stated {
            [] => settings_urls(ctx),
            stated => stated.to_vec(),
        };
        Self { http: Http::new(), indexes: urls.iter().map(|url| Remote::new(url)).collect() }
    }

    /// The addresses without credentials, for keys of the cache.
    pub fn addresses(&self) -> Vec<&str> {
        self.indexes.iter().map(|remote| remote.url.as_str()).collect()
    }

    pub fn files(&self, name: &str) -> Result<Vec<IndexFile>, BuildError> {
        for remote in &self.indexes {
            let url = format!("{}/{}/", remote.url, normalise(name));
            let mut headers = vec![("accept", ACCEPT)];
            headers.extend(remote.authorisation.as_deref().map(|value| ("authorization", value)));
            let answer = self.http.get(&url, &headers)?;
            let status = answer.status().as_u16();
            if status == 404 {
                continue;
            }
            if status != 200 {
                return Err(BuildError::Status { url, status });
            }
            let kind = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
            let is_json = kind.contains("json");
            let body = read_body(&url, answer.into_body(), PAGE_LIMIT)?;
            return if is_json {
                from_json(&url, &body)
            } else {
                Ok(from_html(&url, &String::from_utf8_lossy(&body)))
            };
        }
        Err(BuildError::input_hint(
            format!("the package index {} has no project `{name}`", self.addresses().join(", ")),
            "check the name in the requirements, or set PIP_INDEX_URL to the index that has it",
        ))
    }

    /// Downloads `file` unless the cache has it; its digest is checked.
    pub fn fetch(&self, ctx: &Context, file: &IndexFile, sha256: &str) -> Result<Wheel, BuildError> {
        let path = wheel_path(ctx, sha256, &file.filename)?;
        if !path.is_file() {
            ctx.say(&format!("fetching {}", file.filename));
            let remote = self.indexes.iter().find(|remote| same_host(&remote.url, &file.url));
            let headers: Vec<(&str, &str)> = remote
                .and_then(|remote| remote.authorisation.as_deref())
                .map(|value| ("authorization", value))
                .into_iter()
                .collect();
            let wanted = Wanted { url: &file.url, headers: &headers, sha256, size: None, limit: WHEEL_LIMIT };
            download::to_file(&self.http, &wanted, &path, ctx.job.cancel)?;
        }
        Wheel::at(path, sha256)
    }
}

/// Where a wheel lies in the cache: by its digest, under its own name.
pub fn wheel_path(ctx: &Context, sha256: &str, filename: &str) -> Result<PathBuf, BuildError> {
    Cache::of(ctx).place(&format!("wheels/{sha256}"), filename)
}

/// A wheel of one of these digests that the cache already has and that fits.
pub fn cached_wheel(ctx: &Context, target: &Target, hashes: &[String]) -> Option<Wheel> {
    hashes.iter().find_map(|sha256| {
        let directory = ctx.cache.join("wheels").join(sha256);
        fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
            let name = WheelName::parse(entry.file_name().to_str()?)?;
            target.rank(&name)?;
            crate::durable::touch(&entry.path());
            Wheel::at(entry.path(), sha256).ok()
        })
    })
}

impl Remote {
    fn new(url: &str) -> Self {
        let url = url.trim().trim_end_matches('/');
        let Some((scheme, rest)) = url.split_once("://") else {
            return Self { url: url.to_owned(), authorisation: None };
        };
        let authority_end = rest.find('/').unwrap_or(rest.len());
        match rest[..authority_end].rsplit_once('@') {
            Some((userinfo, host)) => Self {
                url: format!("{scheme}://{host}{}", &rest[authority_end..]),
                authorisation: Some(basic(userinfo)),
            },
            None => Self { url: url.to_owned(), authorisation: None },
        }
    }
}

fn basic(userinfo: &str) -> String {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let pair = format!("{}:{}", percent_decoded(user), percent_decoded(password));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn host_of(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split('/').next()
}

fn same_host(a: &str, b: &str) -> bool {
    host_of(a).is_some() && host_of(a) == host_of(b)
}

/// `PIP_INDEX_URL` and `PIP_EXTRA_INDEX_URL`, else pip's configuration files, else PyPI.
fn settings_urls(ctx: &Context) -> Vec<String> {
    let mut main = ctx.variable("PIP_INDEX_URL").map(str::to_owned);
    let mut extra = ctx.variable("PIP_EXTRA_INDEX_URL").map(str::to_owned);
    for path in configuration_files(ctx) {
        let text = fs::read_to_string(path).unwrap_or_default();
        main = main.or_else(|| setting(&text, "index-url"));
        extra = extra.or_else(|| setting(&text, "extra-index-url"));
    }
    let mut urls = vec![main.unwrap_or_else(|| DEFAULT_INDEX.to_owned())];
    urls.extend(extra.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned));
    urls
}

/// pip's configuration files of the caller, the most specific first.
pub fn configuration_files(ctx: &Context) -> Vec<PathBuf> {
    let mut files = Vec::new();
    files.extend(ctx.variable("PIP_CONFIG_FILE").map(PathBuf::from));
    if let Some(home) = ctx.home() {
        let config = ctx.variable("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        files.extend([config.join("pip/pip.conf"), home.join(".pip/pip.conf")]);
    }
    files.push(PathBuf::from("/etc/pip.conf"));
    files.retain(|file| file.is_file());
    files
}

/// A key of the `[global]` or `[install]` section.
fn setting(text: &str, key: &str) -> Option<String> {
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        if let Some((name, value)) = line.split_once('=')
            && matches!(section, "global" | "install")
            && name.trim().replace('_', "-") == key
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

fn from_json(url: &str, body: &[u8]) -> Result<Vec<IndexFile>, BuildError> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: std::collections::BTreeMap<String, String>,
    }
    let page: Page = serde_json::from_slice(body).map_err(|error| BuildError::malformed(url, error))?;
    let file = |file: File| IndexFile {
        url: join(url, &file.url),
        filename: file.filename,
        sha256: file.hashes.get("sha256").map(|hash| hash.to_ascii_lowercase()),
    };
    Ok(page.files.into_iter().map(file).collect())
}

/// Every `href` of a page: the last part of its path is the file, its fragment the digest.
fn from_html(base: &str, page: &str) -> Vec<IndexFile> {
    let hrefs = page.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    hrefs
        .filter_map(|href| {
            let href = href.replace("&amp;", "&");
            let (path, fragment) = href.split_once('#').unwrap_or((&href, ""));
            let filename = percent_decoded(path.split('?').next()?.rsplit('/').next()?);
            let sha256 = fragment.strip_prefix("sha256=").map(str::to_ascii_lowercase);
            (!filename.is_empty()).then(|| IndexFile { filename, url: join(base, path), sha256 })
        })
        .collect()
}

/// Resolves a reference against the address of its page.
pub fn join(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(other) = reference.strip_prefix("//") {
        return format!("{scheme}://{other}");
    }
    let mut parts: Vec<&str> = match reference.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').collect(),
    };
    if !reference.starts_with('/') {
        parts.pop();
    }
    for part in reference.trim_start_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{scheme}://{host}/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::runner::NoRunner;
    use crate::kinds::testing::Fixture;

    #[test]
    fn both_forms_of_a_page_are_read() {
        let html = "<a href=\"../../packages/a-1.0-py3-none-any.whl#sha256=AB\">x</a> <a href='/b%2B1.whl?x=1'>y</a>";
        let files = from_html("https://h/simple/a/", html);
        assert_eq!(files[0].url, "https://h/packages/a-1.0-py3-none-any.whl");
        assert_eq!(files[0].sha256.as_deref(), Some("ab"));
        assert_eq!(
            (files[1].filename.as_str(), files[1].url.as_str()),
            ("b+1.whl", "https://h/b%2B1.whl?x=1")
        );
        let json = br#"{"files": [{"filename": "a.whl", "url": "a.whl", "hashes": {"sha256": "cd"}}]}"#;
        let files = from_json("https://h/simple/a/", json).unwrap();
        assert_eq!(
            (files[0].url.as_str(), files[0].sha256.as_deref()),
            ("https://h/simple/a/a.whl", Some("cd"))
        );
        assert!(from_json("https://h/", b"{}").is_err());
    }

    #[test]
    fn pip_settings_choose_the_index_and_credentials_stay_out_of_addresses() {
        let fixture = Fixture::new().variable("PIP_INDEX_URL", "https://me:p%40ss@h.example/simple/");
        let fixture = fixture.variable("PIP_EXTRA_INDEX_URL", "http://other/simple");
        let indexes = Indexes::new(&fixture.context(&NoRunner), &[]);
        assert_eq!(indexes.addresses(), ["https://h.example/simple", "http://other/simple"]);
        assert_eq!(indexes.indexes[0].authorisation.as_deref(), Some("Basic bWU6cEBzcw=="));
        assert_eq!(setting("[global]\nindex_url = http://x\n", "index-url").as_deref(), Some("http://x"));
        assert_eq!(setting("[list]\nindex-url = http://x\n", "index-url"), None);
    }
}
