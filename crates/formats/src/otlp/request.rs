//! What all requests share: items of a scope of a resource.

use super::any::Attributes;
use crate::Malformed;
use crate::protobuf::Fields;

/// Who sends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource<'a> {
    pub attributes: Attributes<'a>,
}

impl Resource<'_> {
    /// The name of its service, as the specification wants it where nothing is said.
    pub fn service(&self) -> String {
        Some(self.attributes.text("service.name"))
            .filter(|name| !name.is_empty())
            .unwrap_or("unknown_service".into())
    }
}

/// What is called with a resource, the name of a scope, and an item.
pub type Each<'e, 'a> = dyn FnMut(&Resource<'a>, &'a str, &'a [u8]) -> Result<(), Malformed> + 'e;

/// Calls with each span, log record or metric of a request, its resource and the name of its scope.
pub fn each_item<'a>(request: &'a [u8], each: &mut Each<'_, 'a>) -> Result<(), Malformed> {
    for field in Fields::of(request) {
        let (1, of_resource) = field? else { continue };
        let of_resource = of_resource.bytes()?;
        let mut resource = Resource::default();
        // It may stand behind what belongs to it.
        for field in Fields::of(of_resource) {
            if let (1, value) = field? {
                read_resource(value.bytes()?, &mut resource)?;
            }
        }
        for field in Fields::of(of_resource) {
            let (2, scope) = field? else { continue };
            each_of_scope(scope.bytes()?, &resource, each)?;
        }
    }
    Ok(())
}

fn read_resource<'a>(message: &'a [u8], resource: &mut Resource<'a>) -> Result<(), Malformed> {
    for field in Fields::of(message) {
        if let (1, value) = field? {
            resource.attributes.add(value)?;
        }
    }
    Ok(())
}

fn each_of_scope<'a>(
    message: &'a [u8],
    resource: &Resource<'a>,
    each: &mut Each<'_, 'a>,
) -> Result<(), Malformed> {
    let mut name = "";
    for field in Fields::of(message) {
        let (1, scope) = field? else { continue };
        for field in Fields::of(scope.bytes()?) {
            if let (1, value) = field? {
                name = value.text()?;
            }
        }
    }
    for field in Fields::of(message) {
        if let (2, item) = field? {
            each(resource, name, item.bytes()?)?;
        }
    }
    Ok(())
}
