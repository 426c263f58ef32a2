//! Short-lived tokens, signed by a key that lives as long as this process: `NAME.EXPIRY.SIGNATURE`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Report;
use ring::hmac;
use ring::rand::SystemRandom;
use std::time::{SystemTime, UNIX_EPOCH};

/// Clients fetch another one after this.
pub const LIFETIME_SECONDS: u64 = 300;

pub struct Bearer {
    key: hmac::Key,
}

impl Bearer {
    pub fn new() -> Result<Self, Report> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self { key: key.map_err(|_| Report::environment("this machine gives no random numbers"))? })
    }

    /// For a user, or for anybody.
    pub fn issue(&self, name: Option<&str>) -> String {
        self.issue_until(name, now() + LIFETIME_SECONDS)
    }

    fn issue_until(&self, name: Option<&str>, expiry: u64) -> String {
        let signed = format!("{}.{expiry}", URL_SAFE_NO_PAD.encode(name.unwrap_or_default()));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whom a token is for, `Some(None)` for anybody; `None` if it does not hold.
    pub fn read(&self, token: &str) -> Option<Option<String>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let (name, expiry) = signed.split_once('.')?;
        if expiry.parse::<u64>().ok()? < now() {
            return None;
        }
        let name = String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?;
        Some((!name.is_empty()).then_some(name))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_for_their_time_and_for_their_key() {
        let bearer = Bearer::new().expect("a key");
        assert_eq!(bearer.read(&bearer.issue(Some("ci"))), Some(Some("ci".to_owned())));
        assert_eq!(bearer.read(&bearer.issue(None)), Some(None));
        assert_eq!(bearer.read(&bearer.issue_until(Some("ci"), now() - 1)), None);
        assert_eq!(Bearer::new().expect("a key").read(&bearer.issue(None)), None);
    }
}
