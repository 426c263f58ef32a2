//! Mail by SMTP: where it goes, as one address that is a secret, and sending it.
//!
//! `smtps://user:password@mail.example.org?from=juchu@example.org&to=ops@example.org`; `smtp://` begins
//! in clear and turns to TLS (STARTTLS), which is demanded unless `tls=none` says otherwise.

use crate::message::{Message, What};
use crate::send::{LIMIT, SAID_MAX, SendError};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport};
use std::time::{Duration, SystemTime};
use url::{Host, Url};

const SMTPS: u16 = 465;
const SUBMISSION: u16 = 587;
/// Those who get one mail.
const TO_MAX: usize = 16;
/// Characters of a subject.
const SUBJECT_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// From the first byte.
    Whole,
    StartTls,
    None,
}

/// Where mail goes. Not for logs: it has a password.
#[derive(Clone)]
pub struct Post {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<(String, String)>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Post {
    /// None for what is no such address, and where a password would go out in clear.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let parameter = |name: &'static str| {
            url.query_pairs().filter(move |(key, _)| key == name).map(|(_, value)| value)
        };
        let is_plain = parameter("tls").any(|value| value == "none");
        let security = match (url.scheme(), is_plain) {
            ("smtps", false) => Security::Whole,
            ("smtp", false) => Security::StartTls,
            ("smtp", true) => Security::None,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.trim_matches(['[', ']']).to_owned();
        let port = url.port().unwrap_or(if security == Security::Whole { SMTPS } else { SUBMISSION });
        let decoded = |part: &str| {
            percent_encoding::percent_decode_str(part).decode_utf8().ok().map(|text| text.into_owned())
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some((decoded(user)?, decoded(password?)?)),
        };
        if credentials.is_some() && security == Security::None && !is_here(&url) {
            return None;
        }
        let from = parameter("from").next()?.parse().ok()?;
        let to: Option<Vec<Mailbox>> = parameter("to")
            .flat_map(|all| all.split(',').map(|one| one.trim().parse().ok()).collect::<Vec<_>>())
            .collect();
        let to = to.filter(|to| (1..=TO_MAX).contains(&to.len()))?;
        Some(Self { host, port, security, credentials, from, to })
    }

    /// `ops@example.org by mail.example.org:465`
    pub fn place(&self) -> String {
        let to: Vec<String> = self.to.iter().map(|one| one.email.to_string()).collect();
        format!("{} by {}:{}", to.join(", "), self.host, self.port)
    }

    pub fn send(&self, message: &Message) -> Result<(), SendError> {
        let mail = self.mail(message).map_err(|error| SendError::Never(error.to_string()))?;
        let tls = || {
            TlsParameters::new(self.host.clone())
                .map_err(|error| SendError::Never(self.said(&error.to_string())))
        };
        let tls = match self.security {
            Security::Whole => Tls::Wrapper(tls()?),
            Security::StartTls => Tls::Required(tls()?),
            Security::None => Tls::None,
        };
        let mut transport = SmtpTransport::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .timeout(Some(LIMIT))
            .hello_name(ClientId::Domain("localhost".to_owned()));
        if let Some((user, password)) = &self.credentials {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        match transport.build().send(&mail) {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(SendError::Never(self.said(&error.to_string()))),
            Err(error) => Err(SendError::Later(self.said(&error.to_string()))),
        }
    }

    fn mail(&self, message: &Message) -> Result<Mail, lettre::error::Error> {
        let machine: String =
            message.machine.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
        // All mails of one incident are one thread.
        let thread = format!("<incident-{}.{}@{machine}.juchu>", message.incident, message.opened_ms);
        let own = format!("<incident-{}.{}@{machine}.juchu>", message.incident, message.at_ms);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(message.at_ms.max(0) as u64);
        let subject: String =
            message.title().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_MAX).collect();
        let mut mail = Mail::builder().from(self.from.clone()).subject(subject).date(at);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        mail = match message.what {
            What::Opened => mail.message_id(Some(thread)),
            What::Test => mail.message_id(Some(own)),
            _ => mail.message_id(Some(own)).in_reply_to(thread.clone()).references(thread),
        };
        let mut lines = vec![message.title()];
        lines.extend(message.lines());
        mail.header(ContentType::TEXT_PLAIN).body(lines.join("\n") + "\n")
    }

    /// What a server said, without what is secret.
    fn said(&self, text: &str) -> String {
        let text = match &self.credentials {
            Some((_, password)) if !password.is_empty() => text.replace(password.as_str(), "(the password)"),
            _ => text.to_owned(),
        };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_MAX).collect()
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || is_loopback(name),
        None => false,
    }
}

/// Of a scheme that is not the web's, an address is read as a name.
fn is_loopback(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "from=juchu@example.org&to=ops@example.org";

    #[test]
    fn addresses_say_all_and_show_nothing_secret() {
        let post = Post::parse(&format!("smtps://u%40a:p%2Fw@mail.example.org?{FORM},b@example.org"))
            .expect("valid");
        assert_eq!(post.place(), "ops@example.org, b@example.org by mail.example.org:465");
        assert_eq!(post.credentials.clone().expect("given").1, "p/w");
        assert_eq!(post.said("no: p/w\r\nx"), "no: (the password)  x");
        let post = Post::parse(&format!("smtp://mail.example.org?{FORM}")).expect("valid");
        assert_eq!((post.port, post.security), (587, Security::StartTls));
        assert!(Post::parse(&format!("smtp://u:p@127.0.0.1:25?{FORM}&tls=none")).is_some());
        for wrong in [
            format!("smtp://u:p@mail.example.org?{FORM}&tls=none"),
            format!("smtps://mail.example.org?{FORM}&tls=none"),
            format!("http://mail.example.org?{FORM}"),
            format!("smtp://u@mail.example.org?{FORM}"),
            "smtp://mail.example.org?from=a@b.c".to_owned(),
            "smtp://mail.example.org?from=nobody&to=a@b.c".to_owned(),
            format!("smtp://?{FORM}"),
            "nonsense".to_owned(),
        ] {
            assert!(Post::parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn mails_of_one_incident_are_one_thread_and_no_line_is_smuggled_in() {
        let post = Post::parse(&format!("smtp://localhost?{FORM}")).expect("valid");
        let message = |what, at_ms| Message {
            what,
            incident: 4,
            level: model::range::Level::Urgent,
            machine: "vm 1".into(),
            subject: "shop/web".into(),
            stack: None,
            service: None,
            release: None,
            signal: "p95".into(),
            value: "1.4 s".into(),
            range: "at most 400 ms".into(),
            text: "shop/web: p95 is 1.4 s\r\nBcc: other@example.org".into(),
            changed: "deploy web by ada".into(),
            suspects: Vec::new(),
            command: "juchu incidents 4".into(),
            opened_ms: 1_795_348_800_000,
            at_ms,
        };
        let text = |what, at_ms| {
            String::from_utf8(post.mail(&message(what, at_ms)).expect("a mail").formatted()).expect("text")
        };
        let opened = text(What::Opened, 1_795_348_800_000);
        assert!(opened.contains("Message-ID: <incident-4.1795348800000@vm1.juchu>"), "{opened}");
        let head = opened.split("\r\n\r\n").next().expect("a head");
        assert!(!head.contains("\r\nBcc:"), "{head}");
        assert!(opened.contains("changed before: deploy web by ada"), "{opened}");
        let over = text(What::Over, 1_795_348_900_000);
        assert!(over.contains("In-Reply-To: <incident-4.1795348800000@vm1.juchu>"), "{over}");
    }
}
