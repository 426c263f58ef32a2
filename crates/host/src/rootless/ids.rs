//! Which users and groups there are inside: root is this user, and the others are those that
//! `/etc/subuid` and `/etc/subgid` give to it.

use super::{RootlessError, find_program, run};
use rustix::process::{getgid, getuid};
use std::fs;

/// Ranges of one user that are taken; the kernel takes 340 lines.
const RANGES_MAX: usize = 100;

/// Ranges of ids: first and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRanges(Vec<(u32, u32)>);

impl IdRanges {
    /// Those of a user in the text of `/etc/subuid` or `/etc/subgid`, where a user has a name or a number.
    pub fn parse(text: &str, name: Option<&str>, uid: u32) -> Self {
        let number = uid.to_string();
        let lines = text.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            (Some(owner) == name || owner == number).then_some(())?;
            let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (count > 0).then_some((first, count))
        });
        Self(lines.take(RANGES_MAX).collect())
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Arguments of `newuidmap` and `newgidmap`: inside, outside, how many; `own` is root inside.
    fn arguments(&self, own: u32) -> Vec<String> {
        let mut words = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
        let mut next = 1u64;
        for (first, count) in &self.0 {
            words.extend([next.to_string(), first.to_string(), count.to_string()]);
            next += u64::from(*count);
        }
        words
    }
}

/// What a name space of this user is given.
#[derive(Debug)]
pub struct Maps {
    users: IdRanges,
    groups: IdRanges,
}

impl Maps {
    pub fn of_this_user() -> Self {
        let uid = getuid().as_raw();
        let name = name_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let ranges = |path: &str| IdRanges::parse(&read(path), name.as_deref(), uid);
        Self { users: ranges("/etc/subuid"), groups: ranges("/etc/subgid") }
    }

    /// Only with both, and with the programs that may use them.
    pub fn has_ranges(&self) -> bool {
        self.users.count() > 0 && self.groups.count() > 0 && programs_missing().is_none()
    }

    /// What is missing for ranges: files or programs.
    pub fn lack(&self) -> Option<Missing> {
        match (self.users.count() > 0 && self.groups.count() > 0, programs_missing()) {
            (_, Some(program)) => Some(Missing::Program(program)),
            (false, None) => Some(Missing::Ranges),
            (true, None) => None,
        }
    }

    /// Gives them to the process that has just made its user name space.
    pub fn apply(&self, pid: i32) -> Result<(), RootlessError> {
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        if self.has_ranges() {
            let arguments = |own, ranges: &IdRanges| [vec![pid.to_string()], ranges.arguments(own)].concat();
            run("newuidmap", &arguments(uid, &self.users))?;
            return run("newgidmap", &arguments(gid, &self.groups));
        }
        // The kernel wants it so: who cannot have other groups must not drop any either.
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("0 {uid} 1")),
            ("gid_map", format!("0 {gid} 1")),
        ] {
            let path = format!("/proc/{pid}/{file}");
            fs::write(&path, text).map_err(RootlessError::io(format!("write {path}")))?;
        }
        Ok(())
    }
}

/// Why only one user can be had inside.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    Program(&'static str),
    Ranges,
}

fn programs_missing() -> Option<&'static str> {
    ["newuidmap", "newgidmap"].into_iter().find(|program| find_program(program).is_none())
}

/// The login of a user by the text of `/etc/passwd`.
pub fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let number = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}

/// The ids that there are in the user name space of this process.
#[derive(Debug)]
pub struct IdMap(Vec<(u64, u64)>);

impl IdMap {
    pub fn of_users() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
    }
    pub fn of_groups() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/gid_map").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    pub fn has(&self, id: u32) -> bool {
        self.0.iter().any(|(first, count)| (*first..first + count).contains(&u64::from(id)))
    }

    pub fn is_single(&self) -> bool {
        self.0.iter().map(|(_, count)| count).sum::<u64>() <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_user_by_name_or_number() {
        let text = "ann:100000:65536\n# no\nbob:1:2\n1000:300000:10\nann:x:1\nann:5:0\n";
        let ranges = IdRanges::parse(text, Some("ann"), 1000);
        assert_eq!(ranges, IdRanges(vec![(100_000, 65_536), (300_000, 10)]));
        assert_eq!(ranges.count(), 65_546);
        assert_eq!(
            ranges.arguments(1000).join(" "),
            "0 1000 1 1 100000 65536 65537 300000 10",
            "root is the user, the others follow without a gap"
        );
        assert_eq!(IdRanges::parse(text, None, 7).count(), 0);
    }

    #[test]
    fn a_map_has_what_it_covers() {
        let map = IdMap::parse("         0       1000          1\n         1     100000      65536\n");
        assert!(map.has(0) && map.has(65_536) && !map.has(65_537) && !map.is_single());
        assert!(IdMap::parse("0 1000 1").is_single());
    }

    #[test]
    fn logins_are_found_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 100), None);
    }

    #[test]
    fn a_single_user_needs_no_ranges() {
        let maps = Maps { users: IdRanges(vec![]), groups: IdRanges(vec![(1, 1)]) };
        assert!(!maps.has_ranges());
        assert!(maps.lack().is_some());
    }
}
