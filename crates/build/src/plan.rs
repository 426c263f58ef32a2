//! The whole of an image stated as data, before anything is downloaded: what a recipe decides and
//! what `assemble` turns into bytes.

use crate::archive::ArchiveChoice;
use model::image::ImageConfig;
use model::{Digest, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

/// The whole of an image stated: what `assemble` turns into bytes. Pure data.
#[derive(Debug, Clone)]
pub struct ImagePlan {
    /// Debian binary packages; their dependencies are resolved by `assemble`. Empty: no base layer.
    pub packages: Vec<String>,
    /// Packages not to be drawn in by dependencies although one names them, such as
    /// `postgresql-common`; beside those that only maintainer scripts need, which are never drawn in.
    pub exclude: Vec<String>,
    pub archive: ArchiveChoice,
    /// Beside `root` and `nobody`, which are always there.
    pub users: Vec<User>,
    /// Files of the application layer.
    pub app: Vec<Entry>,
    /// Extra files of the base layer.
    pub base_extra: Vec<Entry>,
    pub config: ImageConfig,
    /// Hash of everything above that is known before downloading.
    pub inputs: Digest,
    pub origin: String,
    /// `SOURCE_DATE_EPOCH`, or 0.
    pub created: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// One file, directory or link of a layer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Absolute in the image.
    pub path: String,
    pub kind: EntryKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone)]
pub enum EntryKind {
    File(Source),
    Directory,
    Symlink(String),
}

#[derive(Debug, Clone)]
pub enum Source {
    Path(PathBuf),
    Bytes(Arc<[u8]>),
}
