//! From the target of a request to the path of a file below the directory. Pure.

use crate::rules;

/// Deepest path that is looked for.
const MAX_SEGMENTS: usize = 64;

/// What a target asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Relative; empty for the directory itself.
    pub path: String,
    /// It ends in a slash: a directory is meant.
    pub is_directory: bool,
}

/// The place of a target whose first part, `prefix`, stands for the directory. None where there
/// cannot be a file: names that begin with a dot are nobody's business (`.git`, `.env`), except
/// `.well-known`.
pub fn place(target: &str, prefix: &[u8]) -> Option<Place> {
    let path = target.split('?').next().unwrap_or_default();
    let path = rules::normal(path);
    let rest = path.as_bytes().strip_prefix(prefix)?;
    let is_directory = rest.is_empty() || rest.ends_with(b"/");
    let mut segments = Vec::new();
    for segment in rest.split(|&b| b == b'/').filter(|segment| !segment.is_empty()) {
        let name = decoded(segment)?;
        let is_hidden = name.starts_with('.') && !(segments.is_empty() && name == ".well-known");
        if is_hidden || name.contains(['/', '\0']) || segments.len() == MAX_SEGMENTS {
            return None;
        }
        segments.push(name);
    }
    Some(Place { path: segments.join("/"), is_directory })
}

fn decoded(segment: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first == b'%' {
            let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
            rest = &more[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_target_means_one_file_or_none() {
        for (target, prefix, expect) in [
            ("/", "", Some(("", true))),
            ("/a/b.css?v=1", "", Some(("a/b.css", false))),
            ("/static/b.css", "/static", Some(("b.css", false))),
            ("/static", "/static", Some(("", true))),
            ("/static/a/", "/static", Some(("a", true))),
            ("/a%20b/%C3%A9", "", Some(("a b/é", false))),
            ("/a//b/./c", "", Some(("a/b/c", false))),
            ("/a/../b", "", Some(("b", false))),
            ("/../../etc/passwd", "", Some(("etc/passwd", false))),
            ("/%2e%2e/%2e%2e/x", "", Some(("x", false))),
            ("/..%2f..%2fetc", "", None),
            ("/a%2fb", "", None),
            ("/a%00", "", None),
            ("/a%f", "", None),
            ("/a%+1", "", None),
            ("/%ff", "", None),
            ("/.git/config", "", None),
            ("/a/.env", "", None),
            ("/.well-known/security.txt", "", Some((".well-known/security.txt", false))),
            ("/a/.well-known", "", None),
        ] {
            let found = place(target, prefix.as_bytes());
            let found = found.as_ref().map(|place| (place.path.as_str(), place.is_directory));
            assert_eq!(found, expect, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_leads_out(target in "/([a-z./%2eEfF\\\\]|%2e|%2f|%5c|\\.\\.|/){0,30}") {
            if let Some(place) = place(&target, b"") {
                prop_assert!(!place.path.starts_with('/'));
                prop_assert!(place.path.split('/').all(|segment| segment != ".." && segment != "."));
            }
        }
    }
}
