//! What a page is about, and how far back it looks: both are in its address, and nowhere else.

use super::panel::node_address;
use crate::api::Failure;
use crate::measured::Range;
use axum::http::{StatusCode, Uri};
use model::{IdError, InstanceId, Report, ServiceName, StackName};
use run::ranges::SignalName;

/// Characters of a name in an address that is not one of ours.
const NAME_MAX: usize = 253;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Home,
    Node(String),
    Stack(StackName),
    Service(StackName, ServiceName),
    Instance(StackName, ServiceName, InstanceId),
    /// The manyth route of a service, as in `shop/web#1`.
    Route(StackName, ServiceName, u32),
    Ranges,
    Signal(SignalName),
    Incidents,
    Incident(u64),
}

/// A subject, and how it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub subject: Subject,
    pub range: Range,
}

impl Subject {
    pub fn stack(stack: &str) -> Result<Self, Failure> {
        Ok(Self::Stack(StackName::new(stack).map_err(not_found)?))
    }

    pub fn service(stack: &str, service: &str) -> Result<Self, Failure> {
        let stack = StackName::new(stack).map_err(not_found)?;
        Ok(Self::Service(stack, ServiceName::new(service).map_err(not_found)?))
    }

    /// Names of stacks and services need no escaping in an address.
    pub fn address(&self) -> String {
        match self {
            Subject::Home => "/".to_owned(),
            Subject::Node(name) => node_address(name),
            Subject::Stack(stack) => format!("/stacks/{stack}"),
            Subject::Service(stack, service) => format!("/stacks/{stack}/services/{service}"),
            Subject::Instance(stack, service, id) => {
                format!("/stacks/{stack}/services/{service}/instances/{id}")
            }
            Subject::Route(stack, service, number) => {
                format!("/stacks/{stack}/services/{service}/routes/{number}")
            }
            Subject::Ranges => "/ranges".to_owned(),
            Subject::Signal(name) => super::ranges::address(name),
            Subject::Incidents => "/incidents".to_owned(),
            Subject::Incident(number) => format!("/incidents/{number}"),
        }
    }

    /// Names and addresses from the first page to here.
    pub fn path(&self) -> Vec<(String, String)> {
        let (mut path, name) = match self {
            Subject::Home => return vec![],
            Subject::Node(name) => (vec![], name.clone()),
            Subject::Stack(stack) => (vec![], stack.to_string()),
            Subject::Service(stack, service) => (Self::Stack(stack.clone()).path(), service.to_string()),
            Subject::Instance(stack, service, id) => {
                (Self::Service(stack.clone(), service.clone()).path(), id.to_string())
            }
            Subject::Route(stack, service, number) => {
                (Self::Service(stack.clone(), service.clone()).path(), format!("route {number}"))
            }
            Subject::Ranges => (vec![], "Ranges".to_owned()),
            Subject::Signal(name) => (Self::Ranges.path(), name.to_string()),
            Subject::Incidents => (vec![], "Incidents".to_owned()),
            Subject::Incident(number) => (Self::Incidents.path(), format!("incident {number}")),
        };
        path.push((name, self.address()));
        path
    }

    fn of(path: &str) -> Result<Self, Failure> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [] => Ok(Self::Home),
            ["nodes", name] => Ok(Self::Node(node(name)?)),
            ["ranges"] => Ok(Self::Ranges),
            ["ranges", name] => SignalName::parse(&node(name)?).map(Self::Signal).ok_or_else(no_such_page),
            ["incidents"] => Ok(Self::Incidents),
            ["incidents", number] => number.parse().map(Self::Incident).map_err(|_| no_such_page()),
            ["stacks", stack] => Self::stack(stack),
            ["stacks", stack, "services", service] => Self::service(stack, service),
            ["stacks", stack, "services", service, of, name] => {
                let Self::Service(stack, service) = Self::service(stack, service)? else {
                    return Err(no_such_page());
                };
                match *of {
                    "instances" => {
                        Ok(Self::Instance(stack, service, InstanceId::new(*name).map_err(not_found)?))
                    }
                    "routes" => Ok(Self::Route(stack, service, name.parse().map_err(|_| no_such_page())?)),
                    _ => Err(no_such_page()),
                }
            }
            _ => Err(no_such_page()),
        }
    }
}

impl View {
    /// Of an address, with or without `/live` before it.
    pub fn of(uri: &Uri) -> Result<Self, Failure> {
        let path = uri.path();
        let path = path
            .strip_prefix("/live")
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .unwrap_or(path);
        let parameter = |name: &str| {
            let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
            pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let range = Range::of(&parameter("range").unwrap_or_default());
        Ok(Self { subject: Subject::of(path)?, range })
    }
}

/// A name as it stands in an address.
fn node(part: &str) -> Result<String, Failure> {
    let name = form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
    name.filter(|name| !name.is_empty() && name.len() <= NAME_MAX).ok_or_else(no_such_page)
}

pub fn no_such_page() -> Failure {
    let report = Report::usage("there is no such page").hint("the first page lists everything: /");
    Failure::new(StatusCode::NOT_FOUND, report)
}

fn not_found(error: IdError) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, Report::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(address: &str) -> View {
        View::of(&address.parse().expect("an address"))
            .unwrap_or_else(|failure| panic!("{address}: {failure:?}"))
    }

    #[test]
    fn an_address_leads_to_its_subject_and_back() {
        for address in [
            "/",
            "/nodes/vm-1.example",
            "/nodes/a%2Fb",
            "/stacks/shop",
            "/ranges",
            "/ranges/shop%2Fweb%2Fp95",
            "/ranges/machine%2Fdisk%20left%20%2F",
            "/incidents",
            "/incidents/4",
            "/stacks/shop/services/web",
            "/stacks/shop/services/web/instances/web1x7k2",
            "/stacks/shop/services/web/routes/2",
        ] {
            assert_eq!(view(address).subject.address(), address);
            let live = if address == "/" { "/live".to_owned() } else { format!("/live{address}?range=6h") };
            assert_eq!(view(&live).subject, view(address).subject);
        }
        assert_eq!(view("/stacks/shop?range=7d").range, Range::Week);
        assert_eq!(view("/?range=%22%3E").range, Range::Hour);
        for wrong in [
            "/nothing",
            "/stacks/No%20Name",
            "/stacks/a/services/b/routes/x",
            "/liver",
            "/nodes/",
            "/ranges/x",
            "/incidents/x",
        ] {
            assert!(View::of(&wrong.parse().expect("an address")).is_err(), "{wrong}");
        }
    }
}
