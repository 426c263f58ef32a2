//! Whose files an unpacked layer can have: that depends on who unpacks. What is in an image does
//! not: there owners are numbers in an archive.

use rustix::io::Errno;
use std::fs;

/// The first line of an identity map of everything.
const EVERYTHING: &str = "4294967295";

/// Each kind has a directory of layers of its own: what one has unpacked is of no use to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Root of the machine: every owner, and attributes that only overlays of root understand.
    Machine,
    /// Root of a user name space with a range of users.
    Range,
    /// One user, whoever it is: everything belongs to it.
    Single,
}

impl Ownership {
    pub const ALL: [Self; 3] = [Self::Machine, Self::Range, Self::Single];

    pub fn of_process() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self::from_map(rustix::process::geteuid().is_root(), &map)
    }

    fn from_map(is_root: bool, map: &str) -> Self {
        let lines = || map.lines().map(|line| line.split_ascii_whitespace().nth(2).unwrap_or_default());
        match is_root {
            true if map.is_empty() || lines().any(|count| count == EVERYTHING) => Self::Machine,
            true if lines().any(|count| count != "1") => Self::Range,
            _ => Self::Single,
        }
    }

    /// The name of the directory below the store.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Machine => "layers",
            Self::Range => "layers-of-range",
            Self::Single => "layers-of-one",
        }
    }

    pub fn gives_files_away(self) -> bool {
        self != Self::Single
    }

    /// The prefix of the overlay's attributes.
    pub fn overlay_attributes(self) -> &'static str {
        match self {
            Self::Machine => "trusted.overlay",
            Self::Range | Self::Single => "user.overlay",
        }
    }

    /// Says what the kernel means by refusing an owner.
    pub fn explain(self, error: Errno, user: u32, group: u32) -> std::io::Error {
        match (self, error) {
            (Self::Range, Errno::INVAL) => std::io::Error::other(format!(
                "it belongs to {user}:{group}, and this user has no id for that: /etc/subuid and /etc/subgid \
                 give too few"
            )),
            _ => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_given_away_follows_from_the_map() {
        let check = |is_root, map, expect| assert_eq!(Ownership::from_map(is_root, map), expect, "{map}");
        check(true, "         0          0 4294967295\n", Ownership::Machine);
        check(false, "         0          0 4294967295\n", Ownership::Single);
        check(true, "         0       1000          1\n         1     100000      65536\n", Ownership::Range);
        check(true, "         0       1000          1\n", Ownership::Single);
    }

    #[test]
    fn each_kind_has_a_place_of_its_own() {
        let names: std::collections::BTreeSet<_> = Ownership::ALL.map(Ownership::directory).into();
        assert_eq!(names.len(), Ownership::ALL.len());
    }
}
