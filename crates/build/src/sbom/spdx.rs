//! SPDX 2.3, <https://spdx.github.io/spdx-spec/v2.3/>.

use super::Bill;
use super::licences::expression;
use crate::inventory::{Ecosystem, Package};
use serde_json::{Value, json};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const APPLICATION: &str = "SPDXRef-Application";
const UNKNOWN: &str = "NOASSERTION";
/// Without a time of the inputs; the format wants one.
const EPOCH: &str = "1970-01-01T00:00:00Z";

pub fn document(bill: &Bill) -> Value {
    let mut packages = vec![plain(IMAGE, "image", "CONTAINER", bill.image.hex())];
    packages[0]["versionInfo"] = json!(bill.image.as_str());
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    for (number, package) in bill.packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}-{}", number + 1, plain_name(&package.name));
        relations.push(relation(IMAGE, "CONTAINS", &id));
        packages.push(described(bill, package, &id));
    }
    if let Some(application) = &bill.application {
        relations.push(relation(IMAGE, "CONTAINS", APPLICATION));
        packages.push(plain(APPLICATION, "application", "APPLICATION", application.hex()));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": format!("image {}", bill.image.short()),
        "documentNamespace": format!("https://spdx.org/spdxdocs/juchu-image-{}", bill.image.hex()),
        "creationInfo": {
            "created": bill.created.as_deref().unwrap_or(EPOCH),
            "creators": [concat!("Tool: juchu-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    })
}

fn plain(id: &str, name: &str, purpose: &str, sha256: &str) -> Value {
    json!({
        "SPDXID": id, "name": name, "downloadLocation": UNKNOWN, "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN, "licenseDeclared": UNKNOWN, "copyrightText": UNKNOWN,
        "primaryPackagePurpose": purpose,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sha256 }],
    })
}

fn described(bill: &Bill, package: &Package, id: &str) -> Value {
    let declared = expression(&package.licences);
    let mut value = json!({
        "SPDXID": id, "name": package.name, "versionInfo": package.version,
        "downloadLocation": UNKNOWN, "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": declared.as_deref().unwrap_or(UNKNOWN),
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "LIBRARY",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
            "referenceLocator": bill.purl(package),
        }],
    });
    if package.ecosystem == Ecosystem::Debian {
        value["supplier"] = json!("Organization: Debian");
    }
    if let Some((name, version)) = &package.source {
        value["sourceInfo"] = json!(format!("built from the source package {name} {version}"));
    }
    if declared.is_none() && !package.licences.is_empty() {
        let stated: Vec<&str> = package.licences.iter().map(String::as_str).collect();
        value["licenseComments"] = json!(format!("the package states: {}", stated.join("; ")));
    }
    if let Some(sha256) = &package.sha256 {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
    }
    value
}

/// Letters, digits, `.` and `-` are all that an identifier may have.
fn plain_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}
