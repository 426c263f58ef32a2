//! The zip file that yarn 2 and later make of a package, byte by byte as they make it, because
//! their lock files have its digest and not that of the registry's archive. Stored without
//! compression (cache key `10c0`), every time 1984-06-22 21:50, modes 755 and 644.

use super::package::is_plain;
use crate::BuildError;
use flate2::Crc;
use sha2::{Digest as _, Sha512};
use std::collections::BTreeSet;
use std::io::Read;

const ENTRY_LIMIT: usize = 65_000;
/// DOS form of 1984-06-22 21:50:00.
const TIME: [u8; 4] = [0x40, 0xae, 0xd6, 0x08];
const DIRECTORY_MODE: u32 = 0o040_755;
const PROGRAM_MODE: u32 = 0o100_755;
const FILE_MODE: u32 = 0o100_644;

/// SHA-512 in hexadecimal of the zip file of the package `name`, made from its archive.
pub fn digest(url: &str, name: &str, archive: &[u8]) -> Result<String, BuildError> {
    let bad = |reason: &dyn std::fmt::Display| BuildError::malformed(url, reason.to_string());
    let mut zip = Zip::default();
    let mut tar = super::fetch::archive(archive);
    for entry in tar.entries().map_err(|error| bad(&error))? {
        let mut entry = entry.map_err(|error| bad(&error))?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // The first directory of the archive, whatever its name, is the package.
        let Some((_, inner)) = path.trim_start_matches("./").split_once('/') else { continue };
        let inner = inner.trim_end_matches('/');
        let target = match inner {
            "" => format!("node_modules/{name}"),
            inner if is_plain(inner) => format!("node_modules/{name}/{inner}"),
            _ => return Err(bad(&format!("{path} leads out of it"))),
        };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            zip.directories(&target);
        } else if kind.is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|error| bad(&error))?;
            let program = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
            zip.directories(target.rsplit_once('/').expect("it begins with node_modules/").0);
            zip.add(&target, &content, if program { PROGRAM_MODE } else { FILE_MODE });
        }
        if zip.entries > ENTRY_LIMIT {
            return Err(bad(&format!("it holds more than {ENTRY_LIMIT} files")));
        }
    }
    Ok(zip.finish())
}

#[derive(Default)]
struct Zip {
    local: Sha512,
    written: u64,
    central: Vec<u8>,
    entries: usize,
    made: BTreeSet<String>,
}

impl Zip {
    /// The directory and those above it, each once, when they are first needed.
    fn directories(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let directory = &path[..at];
            if self.made.insert(directory.to_owned()) {
                self.add(&format!("{directory}/"), &[], DIRECTORY_MODE);
            }
        }
    }

    fn add(&mut self, path: &str, content: &[u8], mode: u32) {
        let mut crc = Crc::new();
        crc.update(content);
        let needed: u16 = if path.ends_with('/') { 20 } else { 10 };
        // Names beyond ASCII are marked as UTF-8.
        let flags: u16 = if path.is_ascii() { 0 } else { 0x800 };
        let mut common = Vec::with_capacity(26);
        for half in [needed, flags, 0] {
            common.extend(half.to_le_bytes());
        }
        common.extend(TIME);
        for word in [crc.sum(), content.len() as u32, content.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        common.extend((path.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        self.central.extend(b"PK\x01\x02\x3f\x03");
        self.central.extend(&common);
        self.central.extend([0; 6]);
        self.central.extend((mode << 16).to_le_bytes());
        self.central.extend((self.written as u32).to_le_bytes());
        self.central.extend(path.as_bytes());
        for part in [&b"PK\x03\x04"[..], &common, path.as_bytes(), content] {
            self.local.update(part);
            self.written += part.len() as u64;
        }
        self.entries += 1;
    }

    fn finish(mut self) -> String {
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend((self.entries as u16).to_le_bytes());
        end.extend((self.entries as u16).to_le_bytes());
        end.extend((self.central.len() as u32).to_le_bytes());
        end.extend((self.written as u32).to_le_bytes());
        end.extend([0, 0]);
        self.local.update(&self.central);
        self.local.update(&end);
        crate::download::hex(&self.local.finalize())
    }
}
