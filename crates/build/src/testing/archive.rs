//! A Debian archive of a few packages in a directory, signed with a test key.

use super::Signer;
use crate::archive::{ArchiveChoice, host_architecture};
use crate::download::hex;
use ring::digest::{SHA256, digest};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

pub enum FakeFile {
    Text(&'static str),
    Script(&'static str),
    Directory,
    Symlink(&'static str),
    Hardlink(&'static str),
}

pub struct FakePackage {
    pub name: &'static str,
    pub fields: &'static str,
    pub files: Vec<(&'static str, FakeFile)>,
    xz: bool,
}

impl FakePackage {
    pub fn new(name: &'static str, fields: &'static str, files: Vec<(&'static str, FakeFile)>) -> Self {
        Self { name, fields, files, xz: false }
    }

    pub fn packed_by_xz(self) -> Self {
        Self { xz: true, ..self }
    }

    fn control(&self) -> String {
        format!("Package: {}\nVersion: 1.0\nArchitecture: all\n{}", self.name, self.fields)
            .trim_end()
            .to_owned()
    }

    fn deb(&self) -> Vec<u8> {
        let mut control = tar::Builder::new(Vec::new());
        add(&mut control, "./control", &FakeFile::Text(Box::leak(self.control().into_boxed_str())));
        let mut data = tar::Builder::new(Vec::new());
        for (path, file) in &self.files {
            add(&mut data, path, file);
        }
        let data = data.into_inner().unwrap();
        let (name, data) = match self.xz {
            true => {
                let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
                xz.write_all(&data).unwrap();
                ("data.tar.xz", xz.finish().unwrap())
            }
            false => ("data.tar.zst", zstd::encode_all(&data[..], 1).unwrap()),
        };
        let mut deb = b"!<arch>\n".to_vec();
        member(&mut deb, "debian-binary", b"2.0\n");
        member(&mut deb, "control.tar", &control.into_inner().unwrap());
        member(&mut deb, name, &data);
        deb
    }
}

fn member(deb: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    deb.extend(
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, bytes.len()).into_bytes(),
    );
    deb.extend(bytes);
    if bytes.len() % 2 == 1 {
        deb.push(b'\n');
    }
}

fn add(builder: &mut tar::Builder<Vec<u8>>, path: &str, file: &FakeFile) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    let (kind, mode, content) = match file {
        FakeFile::Text(text) => (EntryType::Regular, 0o644, *text),
        FakeFile::Script(text) => (EntryType::Regular, 0o4755, *text),
        FakeFile::Directory => (EntryType::Directory, 0o755, ""),
        FakeFile::Symlink(to) => {
            header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
            (EntryType::Symlink, 0o777, "")
        }
        FakeFile::Hardlink(to) => {
            header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
            (EntryType::Link, 0o644, "")
        }
    };
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content.as_bytes()).unwrap();
}

pub struct FakeArchive {
    root: PathBuf,
    signer: Signer,
}

impl FakeArchive {
    /// Writes the archive into `root/mirror`, and its key beside it.
    pub fn new(root: &Path, packages: &[FakePackage]) -> Self {
        let archive = Self { root: root.to_owned(), signer: Signer::new(7) };
        fs::create_dir_all(archive.mirror().join("pool")).unwrap();
        fs::write(root.join("key.gpg"), archive.signer.keyring()).unwrap();
        let mut index = String::new();
        for package in packages {
            let deb = package.deb();
            let (size, sha) = (deb.len(), hex(digest(&SHA256, &deb).as_ref()));
            let file = format!("pool/{}_1.0.deb", package.name);
            fs::write(archive.mirror().join(&file), deb).unwrap();
            index.push_str(&package.control());
            index.push_str(&format!("\nFilename: {file}\nSize: {size}\nSHA256: {sha}\n\n"));
        }
        archive.publish(&index, "");
        archive
    }

    pub fn mirror(&self) -> PathBuf {
        self.root.join("mirror")
    }
    fn suite(&self) -> PathBuf {
        self.mirror().join("dists/trixie")
    }

    /// Writes the index and a signed release file, which has `more` fields.
    pub fn publish(&self, index: &str, more: &str) {
        let folder = format!("main/binary-{}", host_architecture());
        fs::create_dir_all(self.suite().join(&folder)).unwrap();
        fs::write(self.suite().join(&folder).join("Packages"), index).unwrap();
        let sha = hex(digest(&SHA256, index.as_bytes()).as_ref());
        let date = if more.contains("Date:") { "" } else { "Date: Sat, 12 Sep 2026 07:55:41 UTC\n" };
        let text = format!(
            "Suite: stable\nCodename: trixie\n{date}{more}SHA256:\n {sha} {} {folder}/Packages\n",
            index.len()
        );
        fs::write(self.release(), self.signer.clearsign(&text)).unwrap();
    }

    pub fn release(&self) -> PathBuf {
        self.suite().join("InRelease")
    }
    pub fn index(&self) -> String {
        let path = self.suite().join(format!("main/binary-{}/Packages", host_architecture()));
        fs::read_to_string(path).unwrap()
    }
    pub fn url(&self) -> String {
        format!("file://{}", self.mirror().display())
    }
    pub fn choice(&self) -> ArchiveChoice {
        ArchiveChoice {
            mirror: self.url(),
            security: None,
            suite: "trixie".to_owned(),
            keyring: Some(self.root.join("key.gpg")),
        }
    }
}
