//! Which packages belong together: `Depends` and `Pre-Depends` followed from the wanted packages,
//! with versions, alternatives and provided names. Nothing recommended, nothing merely essential.

use super::Package;
use super::index::Index;
use super::relation::{self, Alternative};
use std::collections::{HashMap, VecDeque};

/// Packages that dependencies name for the sake of maintainer scripts, services of an init system,
/// or administration, none of which happen here. A dependency with one of them among its
/// alternatives counts as met. Who needs one at run time asks for it by name.
pub const SCRIPT_ONLY: &[&str] = &[
    "adduser",
    "cdebconf",
    "debconf",
    "debconf-2.0",
    "default-logind",
    "dpkg",
    "init-system-helpers",
    "install-info",
    "logrotate",
    "lsb-base",
    "opensysusers",
    "systemd",
    "systemd-standalone-sysusers",
    "systemd-standalone-tmpfiles",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "sysvinit-utils",
    "ucf",
    "update-inetd",
    "usrmerge",
    "usr-is-merged",
];

/// More packages than this are no image but a mistake.
const MAX_PACKAGES: usize = 5_000;
const MAX_PROPOSALS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("there is no package `{name}` in {suite}")]
    Unknown { name: String, suite: String, nearest: Vec<String> },
    #[error("the dependency `{wanted}` cannot be met: {chain}")]
    Unmet { wanted: String, chain: String },
    #[error("`{wanted}` is needed but version {chosen} of it was chosen: {chain}")]
    Version { wanted: String, chosen: String, chain: String },
    #[error("the packages {a} and {b} exclude each other")]
    Conflict { a: String, b: String },
    #[error("more than {MAX_PACKAGES} packages are needed")]
    TooMany,
}

/// A package that was decided on.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    pub package: Package<'a>,
    /// Which of the indexes it comes from.
    pub index: usize,
    /// Who asked for it first; `None` for a wanted package.
    parent: Option<usize>,
}

struct Resolver<'a> {
    indexes: &'a [Index],
    exclude: &'a [String],
    chosen: Vec<Chosen<'a>>,
    by_name: HashMap<&'a str, usize>,
    provided: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
    queue: VecDeque<usize>,
}

/// The wanted packages and everything they need, in the order of their names. A wanted package is
/// `name` or `name=version`.
pub fn resolve<'a>(
    indexes: &'a [Index],
    wanted: &[String],
    exclude: &'a [String],
    suite: &str,
) -> Result<Vec<Chosen<'a>>, ResolveError> {
    let mut resolver = Resolver {
        indexes,
        exclude,
        chosen: Vec::new(),
        by_name: HashMap::new(),
        provided: HashMap::new(),
        queue: VecDeque::new(),
    };
    for text in wanted {
        resolver.want(text, suite)?;
    }
    while let Some(next) = resolver.queue.pop_front() {
        resolver.follow(next)?;
    }
    resolver.check_conflicts()?;
    let mut chosen = resolver.chosen;
    chosen.sort_by(|a, b| a.package.name.cmp(b.package.name));
    Ok(chosen)
}

impl<'a> Resolver<'a> {
    fn want(&mut self, text: &str, suite: &str) -> Result<(), ResolveError> {
        let (name, version) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        let constraint = version.map(|v| (relation::Operator::Equal, v));
        let wanted = Alternative { name, constraint };
        if self.is_met(&wanted) {
            return Ok(());
        }
        match self.real(&wanted).or_else(|| self.provider(&wanted)) {
            Some((index, package)) => self.choose(index, package, None),
            None => {
                let nearest = nearest_names(self.indexes, name);
                Err(ResolveError::Unknown { name: text.to_owned(), suite: suite.to_owned(), nearest })
            }
        }
    }

    fn choose(
        &mut self,
        index: usize,
        package: Package<'a>,
        parent: Option<usize>,
    ) -> Result<(), ResolveError> {
        if self.chosen.len() == MAX_PACKAGES {
            return Err(ResolveError::TooMany);
        }
        let number = self.chosen.len();
        self.chosen.push(Chosen { package, index, parent });
        self.by_name.insert(package.name, number);
        for provided in relation::groups(package.provides).flatten() {
            let version = provided.constraint.map(|(_, version)| version);
            self.provided.entry(provided.name).or_default().push((number, version));
        }
        self.queue.push_back(number);
        Ok(())
    }

    fn follow(&mut self, number: usize) -> Result<(), ResolveError> {
        let package = self.chosen[number].package;
        for field in [package.pre_depends, package.depends] {
            for group in relation::groups(field) {
                self.meet(&group, number)?;
            }
        }
        Ok(())
    }

    fn meet(&mut self, group: &[Alternative<'a>], parent: usize) -> Result<(), ResolveError> {
        if group.iter().any(|a| self.is_left_out(a.name)) || group.iter().any(|a| self.is_met(a)) {
            return Ok(());
        }
        let found = group.iter().find_map(|a| {
            let free = !self.by_name.contains_key(a.name);
            free.then(|| self.real(a)).flatten().or_else(|| self.provider(a))
        });
        match found {
            Some((index, package)) => self.choose(index, package, Some(parent)),
            None => Err(self.unmet(group, parent)),
        }
    }

    fn is_left_out(&self, name: &str) -> bool {
        let wanted = self.by_name.contains_key(name);
        !wanted && (SCRIPT_ONLY.contains(&name) || self.exclude.iter().any(|n| n == name))
    }

    fn is_met(&self, wanted: &Alternative<'_>) -> bool {
        let real = self.by_name.get(wanted.name);
        real.is_some_and(|n| wanted.admits(self.chosen[*n].package.version))
            || self.provided.get(wanted.name).is_some_and(|provided| {
                provided.iter().any(|(_, version)| match version {
                    Some(version) => wanted.admits(version),
                    None => wanted.constraint.is_none(),
                })
            })
    }

    /// The highest fitting version of the package itself.
    fn real(&self, wanted: &Alternative<'_>) -> Option<(usize, Package<'a>)> {
        let all = self.indexes.iter().enumerate();
        all.flat_map(|(i, index)| index.versions(wanted.name).into_iter().map(move |p| (i, p)))
            .filter(|(_, package)| wanted.admits(package.version))
            .max_by(|(_, a), (_, b)| super::version::compare(a.version, b.version))
    }

    /// A package that provides the name: the most important one, else the first by name.
    fn provider(&self, wanted: &Alternative<'_>) -> Option<(usize, Package<'a>)> {
        let all = self.indexes.iter().enumerate();
        all.flat_map(|(i, index)| index.providers(wanted.name).into_iter().map(move |p| (i, p)))
            .filter(|(_, package)| provides(package, wanted) && !self.by_name.contains_key(package.name))
            .min_by(|(_, a), (_, b)| {
                let rank = rank(a.priority).cmp(&rank(b.priority)).then_with(|| a.name.cmp(b.name));
                rank.then_with(|| super::version::compare(b.version, a.version))
            })
    }

    fn unmet(&self, group: &[Alternative<'_>], parent: usize) -> ResolveError {
        let wanted = group.iter().map(alternative_text).collect::<Vec<_>>().join(" | ");
        let chain = self.chain(parent);
        match group.iter().find_map(|a| self.by_name.get(a.name)) {
            Some(n) => {
                ResolveError::Version { wanted, chosen: self.chosen[*n].package.version.to_owned(), chain }
            }
            None => ResolveError::Unmet { wanted, chain },
        }
    }

    /// `python3 → libpython3-stdlib → …`, from the wanted package on.
    fn chain(&self, number: usize) -> String {
        let mut names = vec![self.chosen[number].package.name];
        let mut at = number;
        while let Some(parent) = self.chosen[at].parent {
            names.push(self.chosen[parent].package.name);
            at = parent;
        }
        names.reverse();
        format!("it is needed by {}", names.join(" → "))
    }

    fn check_conflicts(&self) -> Result<(), ResolveError> {
        for (number, chosen) in self.chosen.iter().enumerate() {
            for wanted in relation::groups(chosen.package.conflicts).flatten() {
                let real = self.by_name.get(wanted.name).copied();
                let real = real.filter(|n| wanted.admits(self.chosen[*n].package.version));
                let provided = self.provided.get(wanted.name).into_iter().flatten();
                let provided = provided.filter(|_| wanted.constraint.is_none()).map(|(n, _)| *n);
                if let Some(other) = real.into_iter().chain(provided).find(|n| *n != number) {
                    let name = |n: usize| self.chosen[n].package.name.to_owned();
                    return Err(ResolveError::Conflict { a: name(number), b: name(other) });
                }
            }
        }
        Ok(())
    }
}

fn provides(package: &Package<'_>, wanted: &Alternative<'_>) -> bool {
    relation::groups(package.provides).flatten().filter(|p| p.name == wanted.name).any(|p| {
        match p.constraint {
            Some((_, version)) => wanted.admits(version),
            None => wanted.constraint.is_none(),
        }
    })
}

fn rank(priority: &str) -> u8 {
    match priority {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "optional" => 3,
        _ => 4,
    }
}

fn alternative_text(alternative: &Alternative<'_>) -> String {
    let Some((operator, version)) = alternative.constraint else { return alternative.name.to_owned() };
    let sign = match operator {
        relation::Operator::Less => "<<",
        relation::Operator::LessEqual => "<=",
        relation::Operator::Equal => "=",
        relation::Operator::GreaterEqual => ">=",
        relation::Operator::Greater => ">>",
    };
    format!("{} ({sign} {version})", alternative.name)
}

/// What may have been meant: names at a small distance, and names that continue this one.
fn nearest_names(indexes: &[Index], name: &str) -> Vec<String> {
    let mut scored: Vec<(usize, &str)> = indexes
        .iter()
        .flat_map(Index::names)
        .filter(|other| other.len().abs_diff(name.len()) <= 2)
        .map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= 2)
        .collect();
    if scored.is_empty() && name.len() >= 4 {
        let longer = indexes.iter().flat_map(Index::names).filter(|other| other.starts_with(name));
        scored.extend(longer.map(|other| (other.len(), other)));
    }
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(MAX_PROPOSALS).map(|(_, name)| name.to_owned()).collect()
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::compact;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn index(packages: &[(&str, &str, &str)]) -> Index {
        let stanza = |(name, version, more): &(&str, &str, &str)| {
            format!(
                "Package: {name}\nVersion: {version}\nSize: 1\nSHA256: {SHA}\nFilename: p/{name}\n{more}\n\n"
            )
        };
        Index::open(compact(&packages.iter().map(stanza).collect::<String>()).unwrap()).unwrap()
    }

    fn check(indexes: &[Index], wanted: &[&str], expect: &str) {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let got = match resolve(indexes, &wanted, &[], "trixie") {
            Ok(chosen) => {
                let one = |c: &Chosen<'_>| format!("{}={}", c.package.name, c.package.version);
                chosen.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn dependencies_are_followed() {
        let main = index(&[
            ("app", "1", "Depends: libx (>= 2), debconf (>= 1) | debconf-2.0, awk\nRecommends: never"),
            ("libx", "2", "Pre-Depends: liby"),
            ("liby", "1", "Depends: libx"),
            ("never", "1", ""),
            ("debconf", "1", ""),
            ("gawk", "1", "Provides: awk\nPriority: optional"),
            ("mawk", "1", "Provides: awk\nPriority: required"),
        ]);
        check(&[main], &["app"], "app=1 libx=2 liby=1 mawk=1");
    }

    #[test]
    fn the_highest_version_of_all_suites_is_taken() {
        let main = index(&[
            ("app", "1", "Depends: libx (= 1+u1)"),
            ("libx", "1", ""),
            ("old", "1", "Depends: libx (= 1)"),
        ]);
        let security = index(&[("libx", "1+u1", "")]);
        check(&[main, security], &["app"], "app=1 libx=1+u1");
        let main = index(&[("libx", "1", "")]);
        let security = index(&[("libx", "1+u1", "")]);
        check(&[main, security], &["libx=1"], "libx=1");
    }

    #[test]
    fn an_alternative_already_there_is_enough() {
        let main = index(&[("aa", "1", "Depends: xx | yy"), ("xx", "1", ""), ("yy", "1", "")]);
        check(&[main], &["aa", "yy"], "aa=1 yy=1");
        let main = index(&[("aa", "1", "Depends: xx | yy"), ("xx", "1", ""), ("yy", "1", "")]);
        check(&[main], &["yy", "aa"], "aa=1 yy=1");
    }

    #[test]
    fn versioned_provides_count_with_their_version() {
        let one = [
            ("aa", "1", "Depends: api (>= 2)"),
            ("bb", "9", "Provides: api (= 1)"),
            ("cc", "9", "Provides: api (= 2)"),
        ];
        check(&[index(&one)], &["aa"], "aa=1 cc=9");
        let unversioned = [("aa", "1", "Depends: api (>= 2)"), ("bb", "9", "Provides: api")];
        check(
            &[index(&unversioned)],
            &["aa"],
            "the dependency `api (>= 2)` cannot be met: it is needed by aa",
        );
    }

    #[test]
    fn what_cannot_be_met_names_the_way_there() {
        let main = [("aa", "1", "Depends: bb"), ("bb", "1", "Depends: cc (>> 3)"), ("cc", "3", "")];
        check(&[index(&main)], &["aa"], "the dependency `cc (>> 3)` cannot be met: it is needed by aa → bb");
        check(
            &[index(&main)],
            &["cc", "aa"],
            "`cc (>> 3)` is needed but version 3 of it was chosen: it is needed by aa → bb",
        );
        let main = [("aa", "1", "Conflicts: bb"), ("bb", "1", "")];
        check(&[index(&main)], &["aa", "bb"], "the packages aa and bb exclude each other");
    }

    #[test]
    fn an_unknown_package_comes_with_proposals() {
        let main = [index(&[("python3", "1", ""), ("python3-pip", "1", ""), ("perl", "1", "")])];
        let wrong = |name: &str| match resolve(&main, &[name.to_owned()], &[], "trixie") {
            Err(ResolveError::Unknown { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong("pyton3"), ["python3"]);
        assert_eq!(wrong("pyth"), ["python3", "python3-pip"]);
        assert!(wrong("zz").is_empty());
    }

    #[test]
    fn a_plan_may_leave_out_more() {
        let main = [index(&[("aa", "1", "Depends: bb"), ("bb", "1", "Depends: nowhere")])];
        let exclude = ["bb".to_owned()];
        assert_eq!(resolve(&main, &["aa".to_owned()], &exclude, "t").unwrap().len(), 1);
    }
}
