//! Who the program runs as: `user`, `user:group`, numbers or names, by the image's own files.

use std::collections::BTreeMap;

/// A user resolved to numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub supplementary: Vec<u32>,
    pub home: Option<String>,
}

/// The image's `/etc/passwd` and `/etc/group`; empty when the image has none.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

impl Accounts {
    /// `Err` is one sentence naming what the image does not have.
    pub fn resolve(&self, user: &str, group_add: &[String]) -> Result<Identity, String> {
        let (user, group) = match user.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (user, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let account = self.account(user);
        let uid = match (&account, user.parse()) {
            (Some(account), _) => account.uid,
            (None, Ok(uid)) => uid,
            (None, Err(_)) => return Err(format!("the image has no user `{user}`")),
        };
        let gid = match group {
            Some(group) => self.group_id(group)?,
            None => account.as_ref().map_or(0, |account| account.gid),
        };
        let mut supplementary = match (&account, group) {
            (Some(account), None) => self.groups_of(account.name, gid),
            _ => Vec::new(),
        };
        for group in group_add {
            supplementary.push(self.group_id(group)?);
        }
        supplementary.sort_unstable();
        supplementary.dedup();
        Ok(Identity { uid, gid, supplementary, home: account.map(|account| account.home.to_owned()) })
    }

    fn account(&self, user: &str) -> Option<Account<'_>> {
        let accounts = || self.passwd.lines().filter_map(Account::parse);
        let by_name = accounts().find(|account| account.name == user);
        by_name.or_else(|| {
            user.parse::<u32>().ok().and_then(|uid| accounts().find(|account| account.uid == uid))
        })
    }

    fn group_id(&self, group: &str) -> Result<u32, String> {
        let named = self.groups().find(|(name, _)| *name == group).map(|(_, (gid, _))| gid);
        named.or_else(|| group.parse().ok()).ok_or_else(|| format!("the image has no group `{group}`"))
    }

    fn groups_of(&self, user: &str, primary: u32) -> Vec<u32> {
        let member = |members: &str| members.split(',').any(|member| member == user);
        self.groups()
            .filter(|(_, (gid, members))| *gid != primary && member(members))
            .map(|(_, (gid, _))| gid)
            .collect()
    }

    fn groups(&self) -> impl Iterator<Item = (&str, (u32, &str))> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some((*fields.first()?, (fields.get(2)?.parse().ok()?, fields.get(3).copied().unwrap_or(""))))
        })
    }
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        Some(Self {
            name: fields.first()?,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5)?,
        })
    }
}

/// The environment with `HOME` and `PATH` where they were not given.
pub fn complete_environment(
    given: &BTreeMap<String, String>,
    identity: &Identity,
) -> BTreeMap<String, String> {
    let mut environment = given.clone();
    let home = identity.home.as_deref().filter(|home| !home.is_empty()).unwrap_or("/");
    environment.entry("HOME".to_owned()).or_insert_with(|| home.to_owned());
    environment.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    environment
}

pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(user: &str, group_add: &[&str], expect: Result<(u32, u32, &[u32]), &str>) {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\nbroken\n".into(),
            group: "root:x:0:\napp:x:1001:\nadm:x:4:app,other\nweb:x:33:app\n".into(),
        };
        let group_add: Vec<String> = group_add.iter().map(|g| g.to_string()).collect();
        let actual = accounts.resolve(user, &group_add);
        let actual = actual.as_ref().map(|i| (i.uid, i.gid, &i.supplementary[..])).map_err(String::as_str);
        assert_eq!(actual, expect, "{user}");
    }

    #[test]
    fn users_and_groups_resolve_as_in_docker() {
        check("", &[], Ok((0, 0, &[])));
        check("app", &[], Ok((1000, 1001, &[4, 33])));
        check("1000", &["web", "99"], Ok((1000, 1001, &[4, 33, 99])));
        check("app:web", &[], Ok((1000, 33, &[])));
        check("5000", &[], Ok((5000, 0, &[])));
        check("5000:6000", &[], Ok((5000, 6000, &[])));
        check("nobody", &[], Err("the image has no user `nobody`"));
        check("app:none", &[], Err("the image has no group `none`"));
        check("app", &["none"], Err("the image has no group `none`"));
    }
}
