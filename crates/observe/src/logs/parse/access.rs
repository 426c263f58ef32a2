//! Access logs in the common and the combined form.
//!
//! `host ident user [time] "METHOD path PROTOCOL" status bytes "referrer" "agent"`

#[derive(Debug, PartialEq, Eq)]
pub struct Access<'a> {
    host: &'a str,
    user: &'a str,
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    pub status: &'a str,
    bytes: &'a str,
    referrer: Option<&'a str>,
    agent: Option<&'a str>,
}

impl<'a> Access<'a> {
    pub fn each_field(&self, field: &mut dyn FnMut(&str, &str)) {
        let known = [
            ("host", Some(self.host)),
            ("user", Some(self.user)),
            ("method", Some(self.method)),
            ("path", Some(self.path)),
            ("protocol", Some(self.protocol)),
            ("status", Some(self.status)),
            ("bytes", Some(self.bytes)),
            ("referrer", self.referrer),
            ("agent", self.agent),
        ];
        known
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.filter(|value| *value != "-")?)))
            .for_each(|(name, value)| field(name, value));
    }
}

pub fn parse(text: &str) -> Option<Access<'_>> {
    let (host, rest) = text.split_once(' ')?;
    let (before, rest) = rest.split_once(" [")?;
    if before.len() > 256 || host.is_empty() {
        return None;
    }
    let (_, user) = before.split_once(' ')?;
    let (_, rest) = rest.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = rest.splitn(3, ' ');
    let (status, bytes) = (words.next()?, words.next()?);
    if status.len() != 3 || !is_number(status) || !(bytes == "-" || is_number(bytes)) {
        return None;
    }
    let mut parts = request.splitn(3, ' ');
    let (method, path, protocol) = (parts.next()?, parts.next().unwrap_or("-"), parts.next().unwrap_or("-"));
    let mut quoted = words.next().unwrap_or_default().split('"').skip(1).step_by(2);
    let (referrer, agent) = (quoted.next(), quoted.next());
    Some(Access { host, user, method, path, protocol, status, bytes, referrer, agent })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let mut found = Vec::new();
        let text = r#"10.0.0.9 - ann [23/Nov/2026:08:00:00 +0000] "GET /a?b=c HTTP/1.1" 404 512 "http://x/" "curl/8 (y)" 0.003"#;
        parse(text).unwrap().each_field(&mut |name, value| found.push(format!("{name}={value}")));
        let expect = "host=10.0.0.9 user=ann method=GET path=/a?b=c protocol=HTTP/1.1 status=404 bytes=512 referrer=http://x/ agent=curl/8 (y)";
        assert_eq!(found.join(" "), expect);
        let common = parse(r#"::1 - - [x] "POST / HTTP/2" 201 -"#).unwrap();
        assert_eq!((common.method, common.status, common.agent), ("POST", "201", None));
        for text in ["", "a b [c] \"d\" e f", "some [text] \"with\" 200 words"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
