//! One repository at one place, the registry itself or a mirror: requests that carry what they
//! must, are answered when somebody asks who this is, and are tried again within limits.

use super::error::RegistryError;
use super::login::{Login, LoginFiles};
use super::settings::Place;
use super::token::{Applicant, Challenge};
use crate::download;
use crate::error::BuildError;
use crate::http::{self, Ask, Http, Method, Payload};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ureq::http::Response;
use ureq::{Body, ResponseExt};

/// How often something is asked at most, where asking again may help.
pub const MAX_ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A registry that wants to be left alone for longer is.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Once this much time has gone nothing is tried again.
const RETRY_WITHIN: Duration = Duration::from_secs(90);
/// Of an answer that says what is wrong.
const MAX_SAID_BYTES: u64 = 16 << 10;
const MAX_SAID_CHARS: usize = 200;

/// What is wanted of a repository, as scopes of a token say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actions {
    Pull,
    Push,
}

impl Actions {
    fn scope(self, repository: &str) -> String {
        let actions = if self == Self::Push { "pull,push" } else { "pull" };
        format!("repository:{repository}:{actions}")
    }
}

pub struct Endpoint<'a> {
    http: &'a Http,
    logins: &'a LoginFiles,
    place: Place,
    repository: String,
    /// As a person writes the image, for errors.
    reference: String,
    actions: Actions,
    attempts: u32,
    scopes: Mutex<Vec<String>>,
    login: Mutex<Option<Option<Login>>>,
    /// What the registry wants to see; learnt from its first refusal.
    authorization: Mutex<Option<String>>,
    /// It has failed and is not asked again.
    out: AtomicBool,
}

/// One request to an endpoint.
pub struct Call<'a> {
    pub method: Method,
    /// A whole URL, which may lead elsewhere.
    pub url: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub payload: Payload<'a>,
}

impl<'a> Call<'a> {
    pub fn new(method: Method, url: &'a str) -> Self {
        Self { method, url, headers: &[], payload: Payload::Nothing }
    }
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }
    pub fn payload(self, payload: Payload<'a>) -> Self {
        Self { payload, ..self }
    }
}

impl<'a> Endpoint<'a> {
    pub fn new(
        (http, logins): (&'a Http, &'a LoginFiles),
        place: Place,
        repository: &str,
        reference: String,
        actions: Actions,
    ) -> Self {
        let repository = format!("{}{repository}", place.prefix);
        let scopes = Mutex::new(vec![actions.scope(&repository)]);
        let (login, authorization) = (Mutex::default(), Mutex::default());
        let out = AtomicBool::new(false);
        let attempts = MAX_ATTEMPTS;
        Self {
            http,
            logins,
            place,
            repository,
            reference,
            actions,
            attempts,
            scopes,
            login,
            authorization,
            out,
        }
    }

    /// As one of several, it is asked once rather than again and again.
    pub fn as_mirror(self) -> Self {
        Self { attempts: 1, ..self }
    }

    pub fn host(&self) -> &str {
        &self.place.host
    }
    pub fn base(&self) -> &str {
        &self.place.base
    }
    pub fn repository(&self) -> &str {
        &self.repository
    }
    pub fn reference(&self) -> &str {
        &self.reference
    }
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
    pub fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }
    pub fn put_out(&self) {
        self.out.store(true, Ordering::Relaxed);
    }

    pub fn url(&self, kind: &str, target: &str) -> String {
        format!("{}/v2/{}/{kind}/{target}", self.place.base, self.repository)
    }

    /// From now on tokens are also for reading this repository.
    pub fn also_read(&self, repository: &str) {
        let scope = Actions::Pull.scope(repository);
        let mut scopes = self.scopes.lock().expect(UNPOISONED);
        if !scopes.contains(&scope) {
            scopes.push(scope);
            // The token at hand is not for it; the next refusal brings one that is.
            *self.authorization.lock().expect(UNPOISONED) = None;
        }
    }

    /// Asks until there is an answer that asking again would not change.
    pub fn call(&self, call: &Call<'_>, cancel: &AtomicBool) -> Result<Response<Body>, BuildError> {
        retry(self.attempts, cancel, || self.once(call, cancel))
    }

    /// Asks, and once more with what the registry wants to see.
    pub fn once(&self, call: &Call<'_>, cancel: &AtomicBool) -> Result<Response<Body>, BuildError> {
        let response = self.send(call)?;
        let mine = http::origin(&response.get_uri().to_string()) == http::origin(&self.place.base);
        // Who answers after a redirect to another host is told nothing.
        if response.status().as_u16() != 401 || !mine {
            return self.judge(call, response);
        }
        let header = response.headers().get("www-authenticate").and_then(|v| v.to_str().ok());
        let challenge = header.and_then(Challenge::parse);
        let Some(challenge) = challenge else { return self.judge(call, response) };
        drain(response);
        let login = self.login(cancel)?;
        let scopes = self.scopes.lock().expect(UNPOISONED).clone();
        let applicant = Applicant {
            http: self.http,
            origin: http::origin(&self.place.base),
            authorities: &self.place.authorities,
            login: login.as_ref(),
            scopes: &scopes,
        };
        let Some(value) = applicant.answer(challenge)? else { return Err(self.unauthorised()) };
        *self.authorization.lock().expect(UNPOISONED) = Some(value);
        let response = self.send(call)?;
        self.judge(call, response)
    }

    fn send(&self, call: &Call<'_>) -> Result<Response<Body>, BuildError> {
        let own = http::origin(call.url) == http::origin(&self.place.base);
        let authorization = self.authorization.lock().expect(UNPOISONED).clone().filter(|_| own);
        let mut headers = call.headers.to_vec();
        headers.extend(authorization.iter().map(|value| ("authorization", value.as_str())));
        let authorities = if own { self.place.authorities.as_slice() } else { &[] };
        let (method, url, payload) = (call.method.clone(), call.url, call.payload);
        self.http.ask(&Ask { method, url, headers: &headers, payload, authorities })
    }

    /// Found once; a helper may take its time.
    fn login(&self, cancel: &AtomicBool) -> Result<Option<Login>, BuildError> {
        let mut known = self.login.lock().expect(UNPOISONED);
        if known.is_none() {
            *known = Some(self.logins.find(&self.place.host, &self.repository, cancel)?);
        }
        Ok(known.clone().flatten())
    }

    /// Turns answers that end a request into errors.
    fn judge(&self, call: &Call<'_>, response: Response<Body>) -> Result<Response<Body>, BuildError> {
        let (host, url) = (self.place.host.clone(), call.url.to_owned());
        let after = retry_after(&response);
        Err(match response.status().as_u16() {
            401 => self.unauthorised(),
            403 => {
                let action = if self.actions == Actions::Push { "to store" } else { "access to" };
                let (reference, said) = (self.reference.clone(), said(response));
                RegistryError::Denied { host, action, reference, said }.into()
            }
            429 => RegistryError::Busy { host, after }.into(),
            status @ 500.. => RegistryError::Failing { url, status, said: said(response), after }.into(),
            _ => return Ok(response),
        })
    }

    fn unauthorised(&self) -> BuildError {
        BuildError::Unauthorised { registry: self.place.host.clone(), reference: self.reference.clone() }
    }

    /// The error of an answer that nobody expects.
    pub fn unexpected(&self, url: &str, response: Response<Body>) -> BuildError {
        let status = response.status().as_u16();
        RegistryError::Unexpected { url: url.to_owned(), status, said: said(response) }.into()
    }
}

const UNPOISONED: &str = "nothing panics while it holds this";

/// So that the connection can be used again.
pub fn drain(response: Response<Body>) {
    // What cannot be read is closed instead.
    let _ = http::read_body("", response.into_body(), MAX_SAID_BYTES);
}

/// `: message` of the first error in an answer, where it is one of a registry.
fn said(response: Response<Body>) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let bytes = http::read_body("", response.into_body(), MAX_SAID_BYTES).unwrap_or_default();
    let said: Option<Said> = serde_json::from_slice(&bytes).ok();
    let first = said.and_then(|said| said.errors.into_iter().next());
    let text =
        first.map(|one| if one.message.is_empty() { one.code } else { one.message }).unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_SAID_CHARS).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// Seconds; the other form, a date, is rare and needs a clock that agrees.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Tries again what may pass by itself, with growing pauses or those that are asked for.
pub fn retry<T>(
    attempts: u32,
    cancel: &AtomicBool,
    mut attempt: impl FnMut() -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let began = Instant::now();
    let mut number = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match pause_before(&error, number) {
            Some(pause) if number < attempts && began.elapsed() + pause < RETRY_WITHIN => {
                download::pause(pause, cancel)?;
            }
            _ => return Err(error),
        }
        number += 1;
    }
}

/// How long to wait after the failure of an attempt; `None` where asking again is of no use.
pub fn pause_before(error: &BuildError, attempt: u32) -> Option<Duration> {
    let growing = FIRST_PAUSE * 2u32.pow(attempt.min(MAX_ATTEMPTS) - 1);
    match error {
        BuildError::Unreachable { .. } => Some(growing),
        BuildError::Status { status, .. } if *status == 416 => Some(Duration::ZERO),
        BuildError::Registry(error) => {
            error.pause().map(|asked| asked.unwrap_or(growing)).filter(|p| *p <= MAX_PAUSE)
        }
        _ => None,
    }
}
