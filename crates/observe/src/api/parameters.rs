//! What a client asks with: the query of the address and the form of the body, as one.

use super::answer::Refusal;
use super::number;
use crate::Matcher;
use crate::promql;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;

/// Names and values in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

/// The most of them.
const PARAMETERS_MAX: usize = 1000;

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let content = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let mut all = Self::read(query.as_bytes());
        if is_form {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(|error| Refusal::bad_data(format!("error parsing form values: {error}")))?;
            all.0.extend(Self::read(&body).0);
        }
        Ok(all)
    }
}

impl Parameters {
    fn read(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes).take(PARAMETERS_MAX);
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| &**value).filter(|v| !v.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| &**value)
    }

    pub fn time(&self, name: &str, otherwise: i64) -> Result<i64, Refusal> {
        let Some(text) = self.get(name) else { return Ok(otherwise) };
        number::time_ms(text)
            .ok_or_else(|| Refusal::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
    }

    pub fn needed_time(&self, name: &str) -> Result<i64, Refusal> {
        let text = self.get(name).unwrap_or_default();
        number::time_ms(text)
            .ok_or_else(|| Refusal::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
    }

    pub fn duration(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        number::duration_ms(text)
            .map(Some)
            .ok_or_else(|| Refusal::parameter(name, format!("cannot parse {text:?} to a valid duration")))
    }

    pub fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        match text.parse::<i64>() {
            Ok(count) if count > 0 => Ok(count as usize),
            Ok(0) => Ok(usize::MAX),
            _ => Err(Refusal::parameter(
                "limit",
                format!("limit must be a number of at least 0, not {text:?}"),
            )),
        }
    }

    /// The selectors of `match[]`.
    pub fn selectors(&self) -> Result<Vec<Vec<Matcher>>, Refusal> {
        self.all("match[]")
            .map(|text| {
                promql::selector(text).map_err(|error| Refusal::parameter("match[]", error.to_string()))
            })
            .collect()
    }
}
