//! Who may read and write which repositories. People and programs come with a name and a token by
//! Basic authentication, which every client has; where anybody may pull, by a short-lived Bearer
//! token as well, because clients without a login ask for nothing else.

mod bearer;
pub(crate) use bearer::LIFETIME_SECONDS;
mod rules;
mod users;

pub use rules::{Right, Rule};
pub use users::{TOKEN_MIN, User, Users, UsersError};

use crate::reply::{Code, Failure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bearer::Bearer;
use build::repositories::RepositoryName;
use hyper::StatusCode;
use hyper::header::WWW_AUTHENTICATE;
use model::Report;
use std::path::Path;

/// What those may do who do not say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anonymous {
    #[default]
    Nothing,
    Pull,
    /// And delete.
    Push,
}

pub struct Access {
    users: Users,
    anonymous: Anonymous,
    bearer: Bearer,
}

/// Whoever asks, and what for.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Absent for anybody.
    pub name: Option<String>,
    rules: Vec<Rule>,
    /// Has been through the door: by a name, or by a token for anybody.
    pub known: bool,
}

impl Caller {
    pub fn may(&self, right: Right, repository: &RepositoryName) -> bool {
        self.rules.iter().any(|rule| rule.allows(right, repository))
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or("somebody"))
    }
}

/// What a request says of who sends it.
enum Credentials {
    None,
    Basic { name: String, token: String },
    Bearer(String),
}

impl Credentials {
    fn read(header: Option<&str>) -> Option<Self> {
        let Some(header) = header else { return Some(Self::None) };
        let (scheme, value) = header.trim().split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(value.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        let (name, token) = text.split_once(':')?;
        // Some clients send an empty login where they have none.
        if name.is_empty() && token.is_empty() {
            return Some(Self::None);
        }
        Some(Self::Basic { name: name.to_owned(), token: token.to_owned() })
    }
}

impl Access {
    pub fn open(store: &Path, anonymous: Anonymous) -> Result<Self, Report> {
        let users = Users::open(store).map_err(|error| error.report())?;
        Ok(Self { users, anonymous, bearer: Bearer::new()? })
    }

    fn anybody(&self, known: bool) -> Caller {
        let rules = match self.anonymous {
            Anonymous::Nothing => Vec::new(),
            Anonymous::Pull => vec![Rule::all(Right::Read)],
            Anonymous::Push => vec![Rule::all(Right::Write)],
        };
        Caller { name: None, rules, known: known || self.anonymous == Anonymous::Push }
    }

    fn user(&self, user: User) -> Caller {
        Caller { name: Some(user.name), rules: user.rules, known: true }
    }

    /// Who sends a request. Wrong credentials are refused, none at all are not.
    pub fn identify(&self, authorization: Option<&str>) -> Result<Caller, Failure> {
        let wrong =
            || Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, "the login is not known here");
        let users = |error: UsersError| Failure::broken(error.to_string());
        match Credentials::read(authorization).ok_or_else(wrong)? {
            Credentials::None => Ok(self.anybody(false)),
            Credentials::Basic { name, token } => {
                let user = self.users.find(&name, &token).map_err(users)?;
                user.map(|user| self.user(user)).ok_or_else(wrong)
            }
            Credentials::Bearer(token) => match self.bearer.read(&token).ok_or_else(wrong)? {
                None => Ok(self.anybody(true)),
                // What a user may do is looked up each time, so that taking it away counts at once.
                Some(name) => {
                    self.users.named(&name).map_err(users)?.map(|user| self.user(user)).ok_or_else(wrong)
                }
            },
        }
    }

    /// A Bearer token for a caller; anybody gets one where anybody may pull.
    pub fn token(&self, caller: &Caller) -> Option<String> {
        let welcome = caller.name.is_some() || self.anonymous != Anonymous::Nothing;
        welcome.then(|| self.bearer.issue(caller.name.as_deref()))
    }

    /// Tells a client how to say who it is.
    pub fn challenge(&self, failure: Failure, asked: &Asked<'_>) -> Failure {
        let value = match (self.anonymous, asked.origin()) {
            (Anonymous::Pull, Some(origin)) => {
                let scope = asked.repository.map(|name| format!(",scope=\"repository:{name}:pull,push\""));
                format!(r#"Bearer realm="{origin}/token",service="juchu"{}"#, scope.unwrap_or_default())
            }
            _ => r#"Basic realm="juchu""#.to_owned(),
        };
        failure.with(WWW_AUTHENTICATE, value)
    }
}

/// Where a request came to, as far as a challenge names it.
pub struct Asked<'a> {
    pub secure: bool,
    pub host: Option<&'a str>,
    pub repository: Option<&'a RepositoryName>,
}

impl Asked<'_> {
    fn origin(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let host = self.host.filter(|host| !host.is_empty() && host.chars().all(plain))?;
        Some(format!("{}://{host}", if self.secure { "https" } else { "http" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    fn access(anonymous: Anonymous) -> (TempDir, Access, String) {
        let store = TempDir::new();
        std::fs::create_dir(store.path().join("registry")).expect("a directory");
        let users = Users::open(store.path()).expect("users");
        let rules = vec![
            Rule::new("app/*", Right::Write).expect("a rule"),
            Rule::new("base", Right::Read).expect("a rule"),
        ];
        let token = users.add("ci", rules, None).expect("added");
        let access = Access::open(store.path(), anonymous).expect("access");
        let basic = format!("Basic {}", STANDARD.encode(format!("ci:{token}")));
        (store, access, basic)
    }

    fn may(caller: &Caller) -> String {
        let name = |text| RepositoryName::new(text).expect("a name");
        let one = |repository| match () {
            () if caller.may(Right::Write, &name(repository)) => 'w',
            () if caller.may(Right::Read, &name(repository)) => 'r',
            () => '-',
        };
        ["app/web", "base", "other"].map(one).into_iter().collect()
    }

    #[test]
    fn callers_may_what_their_rules_say() {
        let (_store, access, basic) = access(Anonymous::Nothing);
        assert_eq!(may(&access.identify(Some(&basic)).expect("known")), "wr-");
        let anybody = access.identify(None).expect("nobody in particular");
        assert_eq!((may(&anybody).as_str(), anybody.known), ("---", false));
        let empty = format!("Basic {}", STANDARD.encode(":"));
        assert!(!access.identify(Some(&empty)).expect("as if nothing was sent").known);
        let wrong = format!("Basic {}", STANDARD.encode("ci:wrong"));
        let nobody = format!("Basic {}", STANDARD.encode("nobody:x"));
        for bad in [
            wrong.as_str(),
            &nobody,
            "Basic",
            "Basic !",
            "Digest x",
            "Bearer x",
            "Bearer a.b",
            "",
            "\u{1f600}",
        ] {
            assert_eq!(access.identify(Some(bad)).expect_err(bad).status, StatusCode::UNAUTHORIZED);
        }
    }

    #[test]
    fn tokens_stand_for_who_fetched_them_until_they_may_no_longer() {
        let (store, access, basic) = access(Anonymous::Pull);
        let caller = access.identify(Some(&basic)).expect("known");
        let bearer = format!("Bearer {}", access.token(&caller).expect("a token"));
        assert_eq!(may(&access.identify(Some(&bearer)).expect("known")), "wr-");
        let anybody = access.identify(None).expect("anybody");
        let public = format!("Bearer {}", access.token(&anybody).expect("a token"));
        let anybody = access.identify(Some(&public)).expect("anybody");
        assert_eq!((may(&anybody).as_str(), anybody.known), ("rrr", true));
        let altered = bearer.replace("Bearer ", "Bearer A");
        assert!(access.identify(Some(&altered)).is_err());
        Users::open(store.path()).expect("users").remove("ci").expect("removed");
        assert!(access.identify(Some(&bearer)).is_err());
        assert!(access.identify(Some(&basic)).is_err());
    }

    #[test]
    fn challenges_say_what_clients_have_to_do() {
        let repository = RepositoryName::new("a/b").expect("a name");
        let text = |access: &Access, host| {
            let asked = Asked { secure: true, host, repository: Some(&repository) };
            let failure = access.challenge(Failure::bad(Code::Unauthorized, ""), &asked);
            failure.headers[0].1.clone()
        };
        let (_one, closed, _) = access(Anonymous::Nothing);
        assert_eq!(text(&closed, Some("r:5000")), r#"Basic realm="juchu""#);
        let (_two, open, _) = access(Anonymous::Pull);
        assert_eq!(
            text(&open, Some("r:5000")),
            r#"Bearer realm="https://r:5000/token",service="juchu",scope="repository:a/b:pull,push""#
        );
        assert_eq!(text(&open, Some("r\" x")), r#"Basic realm="juchu""#);
        assert!(closed.token(&closed.identify(None).expect("anybody")).is_none());
    }
}
