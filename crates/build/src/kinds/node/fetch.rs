//! Packages from an npm registry: fetched by the lock's address, checked against its integrity,
//! unpacked once into the cache.

use super::package::{Check, Package, Platform};
use super::yarn_zip;
use crate::http::{Http, read_body};
use crate::kinds::cache::Cache;
use crate::kinds::settings::{Context, Project};
use crate::unpack::{Limited, Limits};
use crate::{BuildError, durable};
use base64::Engine as _;
use model::Digest;
use serde_json::Value;
use sha2::Digest as _;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";
const PACKAGE_LIMIT: u64 = 512 << 20;
const DESCRIPTION_LIMIT: u64 = 4 << 20;
const UNPACKED: Limits = Limits { unpacked_bytes: 4 << 30, ratio_from_bytes: 256 << 20, ratio: 200 };
const FILE_LIMIT: usize = 200_000;

pub struct Registry<'a> {
    ctx: &'a Context<'a>,
    http: Http,
    settings: Settings,
}

/// What of npm's configuration matters for fetching.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    registry: Option<String>,
    /// Scope with its `@` → registry.
    scopes: Vec<(String, String)>,
    /// Address without scheme → value of the authorization header.
    tokens: Vec<(String, String)>,
}

impl<'a> Registry<'a> {
    pub fn new(project: &'a Project<'a>) -> Result<Self, BuildError> {
        let ctx = project.ctx;
        let registry = ctx.variable("npm_config_registry").or(ctx.variable("NPM_CONFIG_REGISTRY")).map(tidy);
        let mut settings = Settings { registry, ..Settings::default() };
        if let Some(text) = project.tree()?.text(".npmrc")? {
            settings.read(&text, ctx);
        }
        if let Some(path) = user_settings(ctx) {
            settings.read(&fs::read_to_string(path).unwrap_or_default(), ctx);
        }
        Ok(Self { ctx, http: Http::new(), settings })
    }

    /// The registry of packages without a scope.
    pub fn address(&self) -> &str {
        self.settings.registry_of("")
    }

    /// The caller's own `.npmrc`, which may not exist.
    pub fn user_settings(&self) -> Option<PathBuf> {
        user_settings(self.ctx)
    }

    /// The unpacked package and a digest that stands for its bytes.
    pub fn fetch(&self, package: &Package) -> Result<(PathBuf, Digest), BuildError> {
        let (expected, url) = self.expected(package)?;
        let name = expected.name();
        let root = Cache::of(self.ctx).directory("unpacked-packages", &name, |into| {
            self.ctx.say(&format!("fetching {}@{}", package.name, package.version));
            let bytes = self.download(&url, PACKAGE_LIMIT)?;
            expected.verify(&url, &package.name, &bytes)?;
            unpack(&url, &bytes, into)
        })?;
        Ok((root, super::input_digest(&name)))
    }

    /// What the bytes must be, and where they are.
    fn expected(&self, package: &Package) -> Result<(Expected, String), BuildError> {
        match &package.check {
            Check::Integrity(text) => Ok((integrity(package, text)?, self.settings.address(package)?)),
            Check::YarnZip(sum) => {
                Ok((Expected::YarnZip(sum.to_ascii_lowercase()), self.settings.address(package)?))
            }
            Check::Registry => {
                let about = self.about(package)?;
                let dist =
                    |key: &str| about.get("dist").and_then(|dist| dist.get(key)?.as_str()).map(str::to_owned);
                let text = dist("integrity").unwrap_or_default();
                let package = Package { resolved: dist("tarball"), ..package.clone() };
                Ok((integrity(&package, &text)?, self.settings.address(&package)?))
            }
            Check::Missing => Err(no_integrity(package)),
        }
    }

    /// Whether an optional package runs here, asking the registry where the lock does not say.
    pub fn fits(&self, package: &Package) -> Result<bool, BuildError> {
        let machine = self.ctx.machine;
        match package.platform.fits(machine) {
            Some(fits) => Ok(fits),
            None if !package.optional => Ok(true),
            None => {
                let about = self.about(package)?;
                let list = |key: &str| {
                    let items = about.get(key).and_then(Value::as_array).into_iter().flatten();
                    items.filter_map(Value::as_str).map(str::to_owned).collect()
                };
                let platform = Platform::Stated { os: list("os"), cpu: list("cpu"), libc: list("libc") };
                Ok(platform.fits(machine).unwrap_or(true))
            }
        }
    }

    /// What the registry says about one version; asked once.
    fn about(&self, package: &Package) -> Result<Value, BuildError> {
        let cache = Cache::of(self.ctx);
        let url =
            format!("{}/{}/{}", self.settings.registry_of(&package.name), package.name, package.version);
        let name = format!("{}.json", Digest::of(url.as_bytes()).hex());
        if let Some(known) = cache.read("npm-versions", &name) {
            return Ok(known);
        }
        let bytes = self.download(&url, DESCRIPTION_LIMIT)?;
        let about: Value =
            serde_json::from_slice(&bytes).map_err(|error| BuildError::malformed(url, error))?;
        cache.write("npm-versions", &name, &about)?;
        Ok(about)
    }

    fn download(&self, url: &str, limit: u64) -> Result<Vec<u8>, BuildError> {
        let header = self.settings.authorisation(url);
        let headers: Vec<(&str, &str)> =
            header.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = self.http.get(url, &headers)?;
        match answer.status().as_u16() {
            200 => read_body(url, answer.into_body(), limit),
            status => Err(BuildError::Status { url: url.to_owned(), status }),
        }
    }
}

fn user_settings(ctx: &Context) -> Option<PathBuf> {
    let stated = ctx.variable("npm_config_userconfig").or(ctx.variable("NPM_CONFIG_USERCONFIG"));
    stated.map(PathBuf::from).or_else(|| ctx.home().map(|home| home.join(".npmrc")))
}

fn tidy(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

impl Settings {
    /// Reads one `.npmrc`; what is already known wins.
    fn read(&mut self, text: &str, ctx: &Context) {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), expand(value.trim().trim_matches('"'), ctx));
            if key == "registry" {
                self.registry.get_or_insert(tidy(&value));
            } else if let (true, Some(scope)) = (key.starts_with('@'), key.strip_suffix(":registry")) {
                self.scopes.push((scope.to_owned(), tidy(&value)));
            } else if let Some(place) = key.strip_suffix(":_authToken") {
                self.tokens.push((place.trim_matches('/').to_owned(), format!("Bearer {value}")));
            } else if let Some(place) = key.strip_suffix(":_auth") {
                self.tokens.push((place.trim_matches('/').to_owned(), format!("Basic {value}")));
            }
        }
    }

    fn registry_of(&self, name: &str) -> &str {
        let scope = name.split_once('/').map(|(scope, _)| scope);
        let scoped = self.scopes.iter().find(|(known, _)| Some(known.as_str()) == scope);
        scoped.map(|(_, url)| url.as_str()).or(self.registry.as_deref()).unwrap_or(DEFAULT_REGISTRY)
    }

    /// The lock's own address, with npm's public registry replaced by the configured one.
    fn address(&self, package: &Package) -> Result<String, BuildError> {
        let registry = self.registry_of(&package.name);
        let plain = package.name.rsplit('/').next().unwrap_or(&package.name);
        match &package.resolved {
            None => Ok(format!("{registry}/{}/-/{plain}-{}.tgz", package.name, package.version)),
            Some(url) if url.starts_with(DEFAULT_REGISTRY) => Ok(url.replacen(DEFAULT_REGISTRY, registry, 1)),
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => Ok(url.clone()),
            Some(other) => Err(BuildError::input_hint(
                format!("the lock file takes {} from `{other}`, not from a registry", package.name),
                "use a version from a registry",
            )),
        }
    }

    fn authorisation(&self, url: &str) -> Option<String> {
        let place = url.split_once("://")?.1;
        let covers = |prefix: &str| place.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        self.tokens.iter().find(|(prefix, _)| covers(prefix)).map(|(_, value)| value.clone())
    }
}

/// `${NAME}` of the environment, as npm does it.
fn expand(value: &str, ctx: &Context) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(ctx.variable(name).unwrap_or(""));
        rest = tail;
    }
    out + rest
}

/// What the bytes of a package must be.
enum Expected {
    /// Algorithm and digest of the archive.
    Archive(&'static str, Vec<u8>),
    /// SHA-512 of the zip file that yarn would make of it.
    YarnZip(String),
}

impl Expected {
    /// A name for the unpacked package.
    fn name(&self) -> String {
        match self {
            Self::Archive(algorithm, digest) => format!("{algorithm}-{}", hexadecimal(digest)),
            Self::YarnZip(digest) => format!("yarn-{digest}"),
        }
    }

    fn verify(&self, url: &str, package: &str, bytes: &[u8]) -> Result<(), BuildError> {
        let (expected, found) = match self {
            Self::YarnZip(expected) => (expected.clone(), yarn_zip::digest(url, package, bytes)?),
            Self::Archive(algorithm, expected) => {
                let found = match *algorithm {
                    "sha512" => sha2::Sha512::digest(bytes).to_vec(),
                    "sha384" => sha2::Sha384::digest(bytes).to_vec(),
                    _ => sha2::Sha256::digest(bytes).to_vec(),
                };
                (hexadecimal(expected), hexadecimal(&found))
            }
        };
        match expected == found {
            true => Ok(()),
            false => Err(BuildError::Digest { what: url.to_owned(), expected, found }),
        }
    }
}

/// The strongest digest of an integrity.
fn integrity(package: &Package, text: &str) -> Result<Expected, BuildError> {
    for algorithm in ["sha512", "sha384", "sha256"] {
        let value = text.split_whitespace().find_map(|part| part.strip_prefix(algorithm)?.strip_prefix('-'));
        let value = value.map(|value| value.split('?').next().unwrap_or(value));
        let bytes = value.and_then(|value| base64::engine::general_purpose::STANDARD.decode(value).ok());
        if let Some(bytes) = bytes {
            return Ok(Expected::Archive(algorithm, bytes));
        }
    }
    Err(no_integrity(package))
}

fn no_integrity(package: &Package) -> BuildError {
    BuildError::input_hint(
        format!("the lock file has no usable digest for {}", package.name),
        "make it anew with a present version of the tool, after removing node_modules and the lock file",
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    crate::download::hex(bytes)
}

/// The entries of a package, up to what its size allows.
pub fn archive(bytes: &[u8]) -> tar::Archive<impl Read> {
    tar::Archive::new(Limited::new(flate2::read::GzDecoder::new(bytes), bytes.len() as u64, UNPACKED))
}

/// Unpacks a package without its first directory; links and odd paths are refused.
fn unpack(url: &str, bytes: &[u8], into: &Path) -> Result<(), BuildError> {
    let bad = |reason: &dyn std::fmt::Display| BuildError::malformed(url, reason.to_string());
    let mut archive = archive(bytes);
    for (count, entry) in archive.entries().map_err(|error| bad(&error))?.enumerate() {
        if count >= FILE_LIMIT {
            return Err(bad(&format!("it holds more than {FILE_LIMIT} files")));
        }
        let mut entry = entry.map_err(|error| bad(&error))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(|error| bad(&error))?.into_owned();
        let inner: PathBuf = path.components().skip(1).collect();
        let plain = inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || inner.as_os_str().is_empty() {
            return Err(bad(&format!("{} leads out of it", path.display())));
        }
        let target = into.join(inner);
        durable::create_directories(target.parent().unwrap_or(into))?;
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let mut file =
            File::create(&target).map_err(BuildError::io(format!("write {}", target.display())))?;
        std::io::copy(&mut entry, &mut file).map_err(|error| bad(&error))?;
        if executable {
            fs::set_permissions(&target, Permissions::from_mode(0o755))
                .map_err(BuildError::io(format!("write {}", target.display())))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::runner::NoRunner;
    use crate::kinds::testing::Fixture;

    fn package(resolved: Option<&str>) -> Package {
        let (name, version) = ("@s/a".to_owned(), "1.0.0".to_owned());
        Package { name, version, resolved: resolved.map(str::to_owned), ..Package::default() }
    }

    #[test]
    fn npm_settings_choose_the_registry_and_its_token() {
        let fixture = Fixture::new().variable("TOKEN", "secret");
        let ctx = fixture.context(&NoRunner);
        let mut settings = Settings::default();
        settings.read("registry=https://r.example/npm/\n@s:registry=https://s.example/\n//s.example/:_authToken=${TOKEN}\n", &ctx);
        let from_lock = package(Some("https://registry.npmjs.org/@s/a/-/a-1.0.0.tgz"));
        assert_eq!(settings.address(&from_lock).unwrap(), "https://s.example/@s/a/-/a-1.0.0.tgz");
        assert_eq!(settings.authorisation("https://s.example/@s/a").as_deref(), Some("Bearer secret"));
        assert_eq!(settings.authorisation("https://s.example.evil/@s/a"), None);
        settings.scopes.clear();
        assert_eq!(settings.address(&package(None)).unwrap(), "https://r.example/npm/@s/a/-/a-1.0.0.tgz");
        assert!(settings.address(&package(Some("git+ssh://x/y"))).is_err());
    }

    #[test]
    fn wrong_bytes_and_missing_digests_are_refused() {
        let package = package(None);
        assert!(integrity(&package, "").is_err());
        assert!(integrity(&package, "sha1-AAAA").is_err());
        let both = "sha1-AAAA sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let expected = integrity(&package, both).unwrap();
        assert!(expected.verify("u", "a", b"").is_ok());
        assert!(expected.verify("u", "a", b"x").unwrap_err().to_string().contains("has digest"));
    }

    #[test]
    fn a_small_archive_cannot_become_a_large_package() {
        let dir = tempfile::tempdir().unwrap();
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let mut builder = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_size(300 << 20);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, "package/x", std::io::repeat(0).take(300 << 20)).unwrap();
        let bytes = builder.into_inner().unwrap().finish().unwrap();
        let error = unpack("u", &bytes, dir.path()).unwrap_err().to_string();
        assert!(error.contains("it unpacks to more than 256 MiB"), "{error}");
    }

    #[test]
    fn an_archive_cannot_write_outside_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..14].copy_from_slice(b"package/../../");
        header.as_gnu_mut().unwrap().name[14..18].copy_from_slice(b"evil");
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap().finish().unwrap();
        let error = unpack("u", &bytes, dir.path()).unwrap_err().to_string();
        assert!(error.contains("leads out of it"), "{error}");
    }
}
