//! Where an image comes from, and what an image says about running it.

use crate::{Bytes, Cpus, Digest, DurationMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageSource {
    /// `image: NAME` without `build`.
    Pull {
        reference: String,
        #[serde(default)]
        policy: PullPolicy,
    },
    /// `build:` or `x-juchu.image`.
    Build(Box<BuildSpec>),
    /// `x-juchu.component: NAME`, a recipe of the catalogue.
    Component {
        name: String,
        /// Other keys under `x-juchu` that the recipe reads, as they were.
        #[serde(default)]
        options: serde_json::Value,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    Never,
}

/// How to make an image from a directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BuildSpec {
    /// Absolute; may be absent when `image` states everything.
    pub context: Option<PathBuf>,
    #[serde(default)]
    pub builder: Builder,
    /// Path of the Dockerfile as declared, relative to the context; `None` when not declared.
    #[serde(default)]
    pub dockerfile: Option<PathBuf>,
    #[serde(default)]
    pub dockerfile_inline: Option<String>,
    #[serde(default)]
    pub target: Option<String>,
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `x-juchu.image`: what detection cannot know, or the whole image stated by hand.
    #[serde(default)]
    pub image: NativeImage,
    /// `x-juchu.build`: what the build may take of the machine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: BuildLimits,
    /// `x-juchu.build`: what build commands find.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tools: BuildTools,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<BuildSecret>,
    /// Directories or images by the name under which a Dockerfile copies from them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_contexts: BTreeMap<String, String>,
    /// Keys for `RUN --mount=type=ssh`: id → file; `default` without a file is the agent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh: BTreeMap<String, String>,
    /// `build.platforms`, when there is exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a build may take; what is absent has a default that follows from the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Share of the processors when others want them too; a service has 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationMs>,
    /// Whether build commands reach the outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<bool>,
}

impl BuildLimits {
    /// Compilers have most of it.
    const TIMEOUT: DurationMs = DurationMs::from_secs(2 * 3600);

    /// How long the build, and each of its commands, may take.
    pub fn timeout(&self) -> DurationMs {
        self.timeout.unwrap_or(Self::TIMEOUT)
    }
}

/// Where build commands run, and with what beside the tool of their language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildTools {
    /// The compiler of this machine, as a process of it and not in a container.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host: bool,
    /// Debian packages in the build container that the image does not get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// Content that build commands may read at `/run/secrets/ID` and that never becomes part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSecret {
    pub id: String,
    pub source: BuildSecretSource,
}

/// Where it is read when the build runs; the content itself is written down nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildSecretSource {
    /// An absolute path.
    File(PathBuf),
    /// A variable of the process that builds.
    Variable(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builder {
    /// Dockerfile where one is present, else native.
    #[default]
    Auto,
    Native,
    Dockerfile,
}

/// `x-juchu.image`, all parts optional; what is stated wins over what is detected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NativeImage {
    /// `static`, `python`, `node`, `rust`, `go`, `binary`, `files`; detected when absent.
    pub kind: Option<String>,
    /// Debian packages beside those the kind needs.
    pub packages: Vec<String>,
    /// Archive: `{ mirror: URL, suite: trixie }`.
    pub archive: Option<ArchiveSpec>,
    /// `{ "/in/image": "path/in/context" }`.
    pub files: BTreeMap<String, String>,
    /// Numeric or named user the program runs as; `app` (uid 10001) when absent.
    pub user: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    /// Ports such as `8000` or `53/udp`.
    pub expose: Vec<String>,
    pub volumes: Vec<String>,
    pub stop_signal: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveSpec {
    /// Base URL, for a mirror or a dated snapshot.
    pub mirror: Option<String>,
    /// Base URL of the security archive; derived for the default mirror.
    pub security: Option<String>,
    pub suite: Option<String>,
}

/// An image that is there: in the layout on this host, addressed by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Uncompressed layer digests (`diff_ids`), lowest first.
    pub layers: Vec<Digest>,
    pub config: ImageConfig,
    /// What to say about where it came from: reference, builder, suite.
    pub origin: String,
}

/// The run-time part of an OCI image configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// As in the image: `uid`, `uid:gid`, `name`, `name:group` or empty.
    pub user: String,
    pub working_dir: String,
    /// `(port, "tcp" | "udp")`.
    pub ports: Vec<(u16, String)>,
    pub volumes: Vec<String>,
    pub stop_signal: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// A health check that comes with the image.
    pub healthcheck: Option<crate::service::Healthcheck>,
}
