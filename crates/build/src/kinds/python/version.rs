//! Python versions and their comparison, as PEP 440 defines them.

use std::cmp::Ordering;

/// A parsed version. Local parts (`+cpu`) are kept but do not take part in specifiers without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    epoch: u64,
    release: Vec<u64>,
    /// Order of `a`, `b`, `rc` and its number.
    pre: Option<(u8, u64)>,
    post: Option<u64>,
    dev: Option<u64>,
    local: String,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['v', 'V']).to_ascii_lowercase();
        let (public, local) = text.split_once('+').unwrap_or((&text, ""));
        let (epoch, rest) = match public.split_once('!') {
            Some((epoch, rest)) => (epoch.parse().ok()?, rest),
            None => (0, public),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let release: Option<Vec<u64>> =
            rest[..end].trim_end_matches('.').split('.').map(|n| n.parse().ok()).collect();
        let mut version = Self {
            epoch,
            release: release?,
            pre: None,
            post: None,
            dev: None,
            local: local.replace(['-', '_'], "."),
        };
        version.suffixes(&rest[end..])?;
        Some(version)
    }

    fn suffixes(&mut self, mut rest: &str) -> Option<()> {
        const WORDS: [(&str, u8); 12] = [
            ("alpha", 0),
            ("beta", 1),
            ("preview", 2),
            ("pre", 2),
            ("post", 3),
            ("rev", 3),
            ("dev", 4),
            ("rc", 2),
            ("a", 0),
            ("b", 1),
            ("c", 2),
            ("r", 3),
        ];
        loop {
            let bare_post = rest.strip_prefix('-').filter(|r| r.starts_with(|c: char| c.is_ascii_digit()));
            rest = rest.trim_start_matches(['.', '-', '_']);
            if rest.is_empty() {
                return Some(());
            }
            let (kind, after) = match bare_post {
                Some(after) => (3, after),
                None => WORDS.iter().find_map(|(word, kind)| Some((*kind, rest.strip_prefix(word)?)))?,
            };
            let digits = after.trim_start_matches(['.', '-', '_']);
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let (number, next) =
                if end == 0 { (0, after) } else { (digits[..end].parse().ok()?, &digits[end..]) };
            match kind {
                3 => self.post = Some(number),
                4 => self.dev = Some(number),
                pre => self.pre = Some((pre, number)),
            }
            rest = next;
        }
    }

    pub fn is_prerelease(&self) -> bool {
        self.pre.is_some() || self.dev.is_some()
    }

    /// Sorts as PEP 440 says: dev < a < b < rc < final < post.
    fn key(&self) -> Key {
        let mut release = self.release.clone();
        while release.last() == Some(&0) {
            release.pop();
        }
        let pre = match self.pre {
            Some((kind, number)) => (kind as i8, number),
            None if self.post.is_none() && self.dev.is_some() => (-1, 0),
            None => (9, 0),
        };
        let post = self.post.map_or(0, |n| n + 1);
        let dev = self.dev.unwrap_or(u64::MAX);
        let local = self.local.split('.').filter(|p| !p.is_empty());
        let local =
            local.map(|p| p.parse().map_or((false, 0, p.to_owned()), |n| (true, n, String::new()))).collect();
        (self.epoch, release, pre, post, dev, local)
    }

    fn public(&self) -> Self {
        Self { local: String::new(), ..self.clone() }
    }
}

/// Epoch, release, pre-release, post-release, development release, local parts.
type Key = (u64, Vec<u64>, (i8, u64), u64, u64, Vec<(bool, u64, String)>);

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether `version` satisfies `specifiers`, such as `>=1.2,<2` (an empty text is satisfied).
/// `None` when a text is not in PEP 440's form.
pub fn satisfies(version: &str, specifiers: &str) -> Option<bool> {
    let version = Version::parse(version)?;
    let mut all = true;
    for specifier in specifiers.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        all &= one(&version, specifier)?;
    }
    Some(all)
}

fn one(version: &Version, specifier: &str) -> Option<bool> {
    const OPERATORS: [&str; 8] = ["===", "==", "!=", "<=", ">=", "~=", "<", ">"];
    let operator = OPERATORS.into_iter().find(|op| specifier.starts_with(op))?;
    let text = specifier[operator.len()..].trim();
    if let ("==" | "!=", Some(prefix)) = (operator, text.strip_suffix(".*")) {
        let prefix = Version::parse(prefix)?;
        return Some(starts_with(version, &prefix.release, prefix.epoch) == (operator == "=="));
    }
    let wanted = Version::parse(text)?;
    let given = if wanted.local.is_empty() { version.public() } else { version.clone() };
    Some(match operator {
        "===" | "==" => given.cmp(&wanted) == Ordering::Equal,
        "!=" => given.cmp(&wanted) != Ordering::Equal,
        "<=" => given <= wanted,
        ">=" => given >= wanted,
        "~=" => {
            given >= wanted
                && starts_with(
                    &given,
                    wanted.release.get(..wanted.release.len().checked_sub(1)?)?,
                    wanted.epoch,
                )
        }
        "<" => given < wanted && (wanted.is_prerelease() || !same_release_prerelease(&given, &wanted)),
        _ => {
            given > wanted
                && (wanted.post.is_some() || !(given.post.is_some() && given.release == wanted.release))
        }
    })
}

fn starts_with(version: &Version, prefix: &[u64], epoch: u64) -> bool {
    version.epoch == epoch
        && prefix.iter().enumerate().all(|(at, part)| version.release.get(at).copied().unwrap_or(0) == *part)
}

/// `1.0rc1` is not below `1.0` for the operator `<`.
fn same_release_prerelease(given: &Version, wanted: &Version) -> bool {
    given.is_prerelease() && given.release == wanted.release
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_pep_440_says() {
        let order = [
            "1.dev1",
            "1.0a1",
            "1.0b2",
            "1.0rc1",
            "1.0",
            "1.0+local.1",
            "1.0.post1",
            "1.0.1",
            "1.10",
            "2!0.1",
        ];
        for pair in order.windows(2) {
            assert!(Version::parse(pair[0]) < Version::parse(pair[1]), "{pair:?}");
        }
        for (a, b) in [("1.0", "1"), ("1.0-1", "1.0.post1"), ("1.0alpha", "1.0a0"), ("v1.2", "1.2")] {
            assert_eq!(
                Version::parse(a).unwrap().cmp(&Version::parse(b).unwrap()),
                Ordering::Equal,
                "{a} {b}"
            );
        }
        for bad in ["", "x", "1.x", "1.0zz", "99999999999999999999"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn specifiers_follow_pep_440() {
        for (version, specifiers, expect) in [
            ("1.4.2", ">=1.4,<2", true),
            ("1.4.2", "~=1.4.1", true),
            ("1.5", "~=1.4.1", false),
            ("2.0", "~=1.4", false),
            ("1.4.2", "==1.4.*", true),
            ("1.4.2", "!=1.4.*", false),
            ("1.0", "==1", true),
            ("1.0+cpu", "==1.0", true),
            ("1.0rc1", "<1.0", false),
            ("1.0.post1", ">1.0", false),
            ("3.13", "", true),
        ] {
            assert_eq!(satisfies(version, specifiers), Some(expect), "{version} {specifiers}");
        }
        assert_eq!(satisfies("1.0", "1.0"), None);
    }
}
