//! Lists: tags, repositories, and what refers to a manifest; in pages where they are long.

use crate::access::{Caller, Right};
use crate::handle::{Input, Registry, parameter};
use crate::limits::{PAGE_MAX, REFERRERS_BYTES_MAX};
use crate::reply::{Answer, Code, FILTERS, Failure, bytes, json, set};
use build::repositories::{ContentDigest, RepositoryName};
use hyper::StatusCode;
use hyper::header::LINK;
use std::sync::Arc;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Which part of a list: so many, after this one.
struct Page {
    n: usize,
    last: Option<String>,
}

impl Page {
    fn of(query: &str) -> Result<Self, Failure> {
        let n = match parameter(query, "n") {
            None => PAGE_MAX,
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| Failure::bad(Code::Unsupported, "`n` is how many are wanted at most"))?,
        };
        Ok(Self { n: n.min(PAGE_MAX), last: parameter(query, "last") })
    }

    /// That part, and whether more follows. `all` is sorted.
    fn cut(&self, all: Vec<String>) -> (Vec<String>, bool) {
        let after = all.into_iter().filter(|one| self.last.as_ref().is_none_or(|last| one > last));
        let mut part: Vec<String> = after.take(self.n + 1).collect();
        let more = part.len() > self.n && self.n > 0;
        part.truncate(self.n);
        (part, more)
    }
}

/// Points at the next page.
fn link(answer: &mut Answer, path: &str, parameters: &[(&str, &str)]) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    set(answer, LINK, format!("<{path}?{}>; rel=\"next\"", query.finish()));
}

fn page(
    path: &str,
    page: &Page,
    all: Vec<String>,
    of: impl FnOnce(&[String]) -> serde_json::Value,
) -> Answer {
    let (part, more) = page.cut(all);
    let mut answer = json(StatusCode::OK, &of(&part));
    if let Some(last) = part.last().filter(|_| more) {
        link(&mut answer, path, &[("n", &page.n.to_string()), ("last", last)]);
    }
    answer
}

impl Registry {
    /// `GET …/tags/list`.
    pub(crate) async fn tags(
        self: &Arc<Self>,
        name: RepositoryName,
        input: Input,
    ) -> Result<Answer, Failure> {
        let wanted = Page::of(&input.query)?;
        let registry = Arc::clone(self);
        self.blocking(move || {
            let place = registry.place(&name)?;
            if !place.exists() {
                return Err(Failure::missing(Code::NameUnknown, format!("there is no repository {name}")));
            }
            let tags = place.tags()?.iter().map(ToString::to_string).collect();
            let path = format!("/v2/{name}/tags/list");
            Ok(page(&path, &wanted, tags, |tags| serde_json::json!({ "name": name, "tags": tags })))
        })
        .await
    }

    /// `GET /v2/_catalog`: the repositories that the caller may read.
    pub(crate) async fn catalog(self: &Arc<Self>, caller: &Caller, input: Input) -> Result<Answer, Failure> {
        let wanted = Page::of(&input.query)?;
        let (registry, caller) = (Arc::clone(self), caller.clone());
        self.blocking(move || {
            let readable = registry.names()?.into_iter().filter(|name| caller.may(Right::Read, name));
            let names = readable.map(|name| name.to_string()).collect();
            Ok(page("/v2/_catalog", &wanted, names, |names| serde_json::json!({ "repositories": names })))
        })
        .await
    }

    /// `GET …/referrers/DIGEST`.
    pub(crate) async fn referrers(
        self: &Arc<Self>,
        name: RepositoryName,
        subject: ContentDigest,
        input: Input,
    ) -> Result<Answer, Failure> {
        let kind = parameter(&input.query, "artifactType").filter(|kind| !kind.is_empty());
        let last = parameter(&input.query, "last");
        let registry = Arc::clone(self);
        self.blocking(move || {
            let place = registry.place(&name)?;
            let mut manifests = Vec::new();
            let (mut size, mut next) = (0, None);
            for digest in place.referrers(&subject)? {
                let text = digest.to_string();
                if last.as_ref().is_some_and(|last| text <= *last) {
                    continue;
                }
                let Some(referrer) = place.referrer(&digest)? else { continue };
                if kind.is_some() && referrer.artifact_type != kind {
                    continue;
                }
                let referrer = serde_json::to_string(&referrer).expect("plain data");
                size += referrer.len();
                if size > REFERRERS_BYTES_MAX && !manifests.is_empty() {
                    break;
                }
                next = Some(text);
                manifests.push(referrer);
            }
            let text = format!(
                r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
                manifests.join(",")
            );
            let mut answer = bytes(StatusCode::OK, INDEX, text);
            if kind.is_some() {
                set(&mut answer, FILTERS, "artifactType");
            }
            if let Some(next) = next.filter(|_| size > REFERRERS_BYTES_MAX) {
                let mut parameters = vec![("last", next.as_str())];
                parameters.extend(kind.as_deref().map(|kind| ("artifactType", kind)));
                link(&mut answer, &format!("/v2/{name}/referrers/{subject}"), &parameters);
            }
            Ok(answer)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || ["a", "b", "c"].map(str::to_owned).to_vec();
        for (query, expect, more) in [
            ("", "abc", false),
            ("n=2", "ab", true),
            ("n=2&last=b", "c", false),
            ("n=3", "abc", false),
            ("n=0", "", false),
            ("last=a", "bc", false),
            ("last=aa", "bc", false),
            ("last=z", "", false),
            ("n=99999999", "abc", false),
        ] {
            let (part, follows) = Page::of(query).expect(query).cut(all());
            assert_eq!((part.concat().as_str(), follows), (expect, more), "{query}");
        }
        for bad in ["n=-1", "n=x", "n="] {
            assert_eq!(Page::of(bad).err().expect(bad).status.as_u16(), 400);
        }
    }
}
