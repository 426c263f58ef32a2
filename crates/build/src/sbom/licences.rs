//! Licences by the identifiers of the SPDX list, as far as what packages write can be told apart.

/// Identifiers that packages write as they are.
const IDENTIFIERS: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Artistic-1.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "FTL",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "OFL-1.1",
    "OpenSSL",
    "PostgreSQL",
    "Python-2.0",
    "PSF-2.0",
    "Unicode-3.0",
    "Unlicense",
    "WTFPL",
    "X11",
    "Zlib",
    "ZPL-2.1",
];

/// Debian's short names, and what else is often written.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("Apache 2.0", "Apache-2.0"),
    ("Apache License 2.0", "Apache-2.0"),
    ("Apache-2", "Apache-2.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSL-1", "BSL-1.0"),
    ("CC0", "CC0-1.0"),
    ("Expat", "MIT"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("MIT License", "MIT"),
    ("MPL-2", "MPL-2.0"),
    ("zlib", "Zlib"),
];

/// The identifier for one licence, where it is certain.
pub fn identifier(stated: &str) -> Option<&'static str> {
    let own = IDENTIFIERS.iter().copied().find(|id| *id == stated);
    own.or_else(|| OTHER_NAMES.iter().find(|(name, _)| *name == stated).map(|(_, id)| *id))
}

/// An expression for all of them, where each is certain: `MIT AND Zlib`, `MIT OR Apache-2.0`.
pub fn expression<'a>(stated: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let mut parts: Vec<String> = stated.into_iter().map(|text| one(text)).collect::<Option<_>>()?;
    parts.sort();
    parts.dedup();
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => {
            let parts = parts.into_iter().map(|p| if p.contains(" OR ") { format!("({p})") } else { p });
            Some(parts.collect::<Vec<_>>().join(" AND "))
        }
    }
}

fn one(text: &str) -> Option<String> {
    let split = |mark: &str| -> Option<String> {
        let parts: Option<Vec<_>> = text.split(mark).map(|part| identifier(part.trim())).collect();
        parts.map(|parts| parts.join(mark))
    };
    identifier(text).map(str::to_owned).or_else(|| split(" OR ")).or_else(|| split(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_has_an_identifier() {
        let check = |stated: &[&str], expect: Option<&str>| {
            let stated: Vec<String> = stated.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(expression(&stated).as_deref(), expect, "{stated:?}");
        };
        check(&["Expat", "GPL-2+"], Some("GPL-2.0-or-later AND MIT"));
        check(&["MIT OR Apache-2.0"], Some("MIT OR Apache-2.0"));
        check(&["MIT OR Apache-2.0", "zlib"], Some("(MIT OR Apache-2.0) AND Zlib"));
        check(&["Expat", "somebody's own"], None);
        check(&[], None);
    }
}
