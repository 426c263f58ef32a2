//! CycloneDX 1.6, <https://cyclonedx.org/docs/1.6/json/>.

use super::Bill;
use super::licences::{expression, identifier};
use crate::inventory::{Ecosystem, Package};
use serde_json::{Map, Value, json};

const IMAGE: &str = "image";
const APPLICATION: &str = "application";

pub fn document(bill: &Bill) -> Value {
    let mut metadata = json!({
        "tools": { "components": [{
            "type": "application", "name": "juchu", "version": env!("CARGO_PKG_VERSION"),
        }] },
        "component": {
            "bom-ref": IMAGE, "type": "container", "name": "image", "version": bill.image.as_str(),
            "hashes": [hash(bill.image.hex())],
        },
    });
    if let Some(created) = &bill.created {
        metadata["timestamp"] = json!(created);
    }
    let mut components: Vec<Value> = bill.packages.iter().map(|package| component(bill, package)).collect();
    if let Some(application) = &bill.application {
        components.push(json!({
            "bom-ref": APPLICATION, "type": "application", "name": "application",
            "description": "the files of the application itself, as one layer",
            "hashes": [hash(application.hex())],
        }));
    }
    let all: Vec<Value> = components.iter().map(|component| component["bom-ref"].clone()).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(bill.image.hex()),
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [{ "ref": IMAGE, "dependsOn": all }],
    })
}

fn component(bill: &Bill, package: &Package) -> Value {
    let purl = bill.purl(package);
    let mut component = Map::new();
    component.insert("bom-ref".to_owned(), json!(purl));
    component.insert("type".to_owned(), json!("library"));
    component.insert("name".to_owned(), json!(package.name));
    component.insert("version".to_owned(), json!(package.version));
    if package.ecosystem == Ecosystem::Debian {
        component.insert("publisher".to_owned(), json!("Debian"));
    }
    if let Some(sha256) = &package.sha256 {
        component.insert("hashes".to_owned(), json!([hash(sha256)]));
    }
    let licences = licences(package);
    if !licences.is_empty() {
        component.insert("licenses".to_owned(), Value::Array(licences));
    }
    component.insert("purl".to_owned(), json!(purl));
    if let Some((name, version)) = &package.source {
        component.insert(
            "properties".to_owned(),
            json!([
                { "name": "dev.juchu:source", "value": name },
                { "name": "dev.juchu:source-version", "value": version },
            ]),
        );
    }
    Value::Object(component)
}

/// One expression where it is one, else each licence by identifier or by the name it was given.
fn licences(package: &Package) -> Vec<Value> {
    let joined = package.licences.len() == 1
        && package.licences.iter().any(|l| l.contains(" OR ") || l.contains(" AND "));
    if let Some(expression) = expression(&package.licences).filter(|_| joined) {
        return vec![json!({ "expression": expression })];
    }
    let one = |stated: &String| match identifier(stated) {
        Some(id) => json!({ "license": { "id": id } }),
        None => json!({ "license": { "name": stated } }),
    };
    package.licences.iter().map(one).collect()
}

fn hash(hex: &str) -> Value {
    json!({ "alg": "SHA-256", "content": hex })
}

/// A UUID of the vendor's own making (RFC 9562, version 8) from the image's digest.
fn serial_number(hex: &str) -> String {
    format!("urn:uuid:{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
