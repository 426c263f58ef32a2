//! The package index of one suite in a compact form that opens without being parsed: records
//! sorted by name, found by binary search, kept on disk under the digest of the index it came from.
//!
//! Layout, little-endian: magic, counts, record offsets, (name offset, name length, record) of each
//! provided name, records, and the SHA-256 of all that stands before it.

use super::version;
use super::{Package, is_sha256};
use ring::digest::{SHA256, digest};

const MAGIC: &[u8; 8] = b"JPKGv01\n";
const HEADER: usize = 16;
const CHECKSUM: usize = 32;
/// Debian has about 70,000 packages.
const MAX_PACKAGES: usize = 2_000_000;
const FIELDS: usize = 11;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(pub &'static str);

pub struct Index {
    bytes: Vec<u8>,
    packages: usize,
    provided: usize,
}

/// One stanza while the text is read.
#[derive(Default, Clone, Copy)]
struct Stanza<'a> {
    fields: [&'a str; FIELDS],
}

const NAMES: [&str; FIELDS] = [
    "Package",
    "Version",
    "Architecture",
    "Priority",
    "Size",
    "SHA256",
    "Filename",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
];
const NAME: usize = 0;
const SIZE: usize = 4;
const SHA: usize = 5;
const FILENAME: usize = 6;
const PROVIDES: usize = 9;

/// Turns the text of a `Packages` file into the compact form.
pub fn compact(text: &str) -> Result<Vec<u8>, IndexError> {
    let mut stanzas = stanzas(text)?;
    stanzas.sort_by(|a, b| {
        a.fields[NAME].cmp(b.fields[NAME]).then_with(|| version::compare(a.fields[1], b.fields[1]))
    });
    let mut records = Vec::with_capacity(text.len() / 3);
    let mut offsets = Vec::with_capacity(stanzas.len());
    let mut provided: Vec<(&str, u32)> = Vec::new();
    for (number, stanza) in stanzas.iter().enumerate() {
        offsets.push(offset(records.len())?);
        for (i, field) in stanza.fields.iter().enumerate() {
            if i > 0 {
                records.push(b'\t');
            }
            records.extend_from_slice(field.as_bytes());
        }
        records.push(b'\n');
        for group in super::relation::groups(stanza.fields[PROVIDES]) {
            provided.extend(group.iter().map(|name| (name.name, number as u32)));
        }
    }
    provided.sort_unstable();
    provided.dedup();
    let mut names = Vec::new();
    for (name, number) in &provided {
        names.push((offset(records.len())?, name.len() as u32, *number));
        records.extend_from_slice(name.as_bytes());
    }
    let mut out =
        Vec::with_capacity(HEADER + offsets.len() * 4 + names.len() * 12 + records.len() + CHECKSUM);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(offsets.len() as u32).to_le_bytes());
    out.extend_from_slice(&(names.len() as u32).to_le_bytes());
    offsets.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    for (at, length, number) in names {
        [at, length, number].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    }
    out.extend_from_slice(&records);
    let checksum = digest(&SHA256, &out);
    out.extend_from_slice(checksum.as_ref());
    Ok(out)
}

fn offset(length: usize) -> Result<u32, IndexError> {
    u32::try_from(length).map_err(|_| IndexError("the package index is too large"))
}

fn stanzas(text: &str) -> Result<Vec<Stanza<'_>>, IndexError> {
    let mut found = Vec::with_capacity(text.len() / 900);
    let mut stanza = Stanza::default();
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            if !stanza.fields[NAME].is_empty() {
                if found.len() == MAX_PACKAGES {
                    return Err(IndexError("the package index lists too many packages"));
                }
                found.push(check(stanza)?);
            }
            stanza = Stanza::default();
        } else if !line.starts_with([' ', '\t'])
            && let Some((name, value)) = line.split_once(':')
            && let Some(i) = NAMES.iter().position(|n| *n == name)
        {
            stanza.fields[i] = value.trim();
        }
    }
    Ok(found)
}

fn check(stanza: Stanza<'_>) -> Result<Stanza<'_>, IndexError> {
    let [name, version, .., _] = stanza.fields;
    let file = stanza.fields[FILENAME];
    let plain = |text: &str| !text.contains(['\t', '\0']);
    if !stanza.fields.iter().all(|field| plain(field)) {
        return Err(IndexError("a field of the package index has a tab"));
    }
    if version.is_empty() || stanza.fields[SIZE].parse::<u64>().is_err() || !is_sha256(stanza.fields[SHA]) {
        return Err(IndexError("a package of the index has no version, size or SHA-256"));
    }
    if !is_package_name(name)
        || file.starts_with('/')
        || file.split('/').any(|part| part == ".." || part.is_empty())
    {
        return Err(IndexError("a package of the index has an unusable name or path"));
    }
    Ok(stanza)
}

/// Debian's rule: at least two of `a-z 0-9 + - .`, starting with a letter or digit.
pub fn is_package_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() >= 2
        && name.len() <= 128
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|b| plain(b) || matches!(b, b'+' | b'-' | b'.'))
}

impl Index {
    /// Opens the compact form; a damaged one is an error, after which it is made anew.
    pub fn open(bytes: Vec<u8>) -> Result<Self, IndexError> {
        let damaged = IndexError("the cached package index is damaged");
        let body = bytes.len().checked_sub(CHECKSUM).filter(|n| *n >= HEADER).ok_or(damaged)?;
        if &bytes[..8] != MAGIC || digest(&SHA256, &bytes[..body]).as_ref() != &bytes[body..] {
            return Err(damaged);
        }
        let packages = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) as usize;
        let provided = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize;
        let index = Self { bytes, packages, provided };
        if index.records_at() > body {
            return Err(damaged);
        }
        Ok(index)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.packages
    }

    /// All versions of a package, lowest first.
    pub fn versions<'a>(&'a self, name: &str) -> Vec<Package<'a>> {
        let start = partition(self.packages, |i| self.record_name(i) < name.as_bytes());
        (start..self.packages)
            .take_while(|i| self.record_name(*i) == name.as_bytes())
            .filter_map(|i| self.package(i))
            .collect()
    }

    /// The packages that provide a name, in the order of their own names.
    pub fn providers<'a>(&'a self, name: &str) -> Vec<Package<'a>> {
        let start = partition(self.provided, |i| self.provided_at(i).0 < name.as_bytes());
        (start..self.provided)
            .map(|i| self.provided_at(i))
            .take_while(|(provided, _)| *provided == name.as_bytes())
            .filter_map(|(_, record)| self.package(record))
            .collect()
    }

    /// Every package name, in order, for proposing what was meant.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.packages).filter_map(|i| std::str::from_utf8(self.record_name(i)).ok())
    }

    fn records_at(&self) -> usize {
        HEADER + self.packages * 4 + self.provided * 12
    }

    fn u32_at(&self, at: usize) -> usize {
        self.bytes
            .get(at..at + 4)
            .map_or(0, |b| u32::from_le_bytes(b.try_into().expect("four bytes")) as usize)
    }

    fn record(&self, i: usize) -> &[u8] {
        let start = self.records_at() + self.u32_at(HEADER + i * 4);
        let rest = self.bytes.get(start..).unwrap_or_default();
        &rest[..rest.iter().position(|b| *b == b'\n').unwrap_or(0)]
    }

    fn record_name(&self, i: usize) -> &[u8] {
        let start = self.records_at() + self.u32_at(HEADER + i * 4);
        let rest = self.bytes.get(start..).unwrap_or_default();
        &rest[..rest.iter().position(|b| *b == b'\t').unwrap_or(0)]
    }

    fn provided_at(&self, i: usize) -> (&[u8], usize) {
        let at = HEADER + self.packages * 4 + i * 12;
        let start = self.records_at() + self.u32_at(at);
        let name = self.bytes.get(start..start + self.u32_at(at + 4)).unwrap_or_default();
        (name, self.u32_at(at + 8))
    }

    fn package(&self, i: usize) -> Option<Package<'_>> {
        let mut fields = std::str::from_utf8(self.record(i)).ok()?.split('\t');
        let mut next = || fields.next();
        Some(Package {
            name: next()?,
            version: next()?,
            architecture: next()?,
            priority: next()?,
            size: next()?.parse().ok()?,
            sha256: next()?,
            filename: next()?,
            pre_depends: next()?,
            depends: next()?,
            provides: next()?,
            conflicts: next()?,
        })
    }
}

/// The first of `0..count` for which `before` is false.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text() -> String {
        let one = |name: &str, version: &str, more: &str| {
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nSize: 3\nSHA256: {SHA}\nFilename: pool/{name}.deb\n{more}Description: d\n more: text\n\n"
            )
        };
        [
            one("mawk", "1", "Provides: awk, x (= 2)\nDepends: libc6 (>= 2)\n"),
            one("awka", "1.10", ""),
            one("awka", "1.9", ""),
            one("gawk", "2", "Provides: awk\n"),
        ]
        .concat()
    }

    #[test]
    fn what_went_in_comes_out() {
        let index = Index::open(compact(&text()).unwrap()).unwrap();
        assert_eq!(index.len(), 4);
        let versions: Vec<_> = index.versions("awka").iter().map(|p| p.version).collect();
        assert_eq!(versions, ["1.9", "1.10"]);
        let providers: Vec<_> = index.providers("awk").iter().map(|p| p.name).collect();
        assert_eq!(providers, ["gawk", "mawk"]);
        assert_eq!(index.versions("mawk")[0].depends, "libc6 (>= 2)");
        assert!(index.versions("aw").is_empty() && index.providers("zzz").is_empty());
    }

    #[test]
    fn a_damaged_form_is_noticed() {
        let good = compact(&text()).unwrap();
        for at in [0, 9, 20, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Index::open(bad).is_err(), "byte {at}");
        }
        assert!(Index::open(good[..good.len() - 1].to_vec()).is_err());
    }

    #[test]
    fn unusable_entries_are_refused() {
        for (from, to) in
            [("pool/mawk", "../mawk"), ("Size: 3", "Size: x"), ("Package: mawk", "Package: ../x")]
        {
            assert!(compact(&text().replace(from, to)).is_err(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(Package: [a-z]{1,3}\n|Version: 1\n|Size: [0-9a]\n|\n| x\n|:|\\PC{0,9}\n){0,20}") {
            if let Ok(bytes) = compact(&text) {
                prop_assert!(Index::open(bytes).is_ok());
            }
        }
    }
}
