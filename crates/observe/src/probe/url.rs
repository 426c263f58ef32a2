//! An address that can be probed: `http://host:port/path?query`, or the same with `https`.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub is_tls: bool,
    /// Brackets belong to an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub target: String,
    /// As the `host` field has it.
    pub authority: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("an address begins with http:// or https://, and {0:?} does not")]
    Scheme(String),
    #[error("{0:?} names no host")]
    Host(String),
    #[error("{0:?} is no port")]
    Port(String),
    #[error("an address holds no user, no blanks and no control characters")]
    Characters,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Characters);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| UrlError::Port(port.to_owned()))?)
            }
            _ => (authority, if is_tls { 443 } else { 80 }),
        };
        if host.is_empty() {
            return Err(UrlError::Host(text.to_owned()));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            target: format!("{slash}{target}"),
            authority: authority.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str| Url::parse(text).map(|url| (url.is_tls, url.host, url.port, url.target));
        let is = |tls, host: &str, port, target: &str| Ok((tls, host.to_owned(), port, target.to_owned()));
        assert_eq!(check("http://a"), is(false, "a", 80, "/"));
        assert_eq!(check("https://a.b:8443/c?d#e"), is(true, "a.b", 8443, "/c?d"));
        assert_eq!(check("http://[::1]:80?x"), is(false, "[::1]", 80, "/?x"));
        assert_eq!(check("https://[::1]"), is(true, "[::1]", 443, "/"));
        assert_eq!(check("a.b"), Err(UrlError::Scheme("a.b".into())));
        assert_eq!(check("http://:80"), Err(UrlError::Host("http://:80".into())));
        assert_eq!(check("http://a:99999"), Err(UrlError::Port("99999".into())));
        assert_eq!(check("http://u:p@a/"), Err(UrlError::Characters));
        assert_eq!(check("http://a/ b\r\n"), Err(UrlError::Characters));
    }
}
