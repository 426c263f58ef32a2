//! Top-level keys: networks, volumes, configs, secrets, include.

use super::service::SERVICE;
use super::{Keys, Object, Shape, object, object_with, on};
use Shape::{Bool, Either, Keyed, List, Named, Nullable, Pairs, Text, TextOrNumber};

pub(super) static ROOT: Object = object(&[
    on("version", Text),
    on("name", Text),
    on("include", Nullable(&INCLUDES)),
    on("services", Keyed(Keys::Names, &Shape::Object(&SERVICE))),
    on("networks", Keyed(Keys::SomeNames, &Nullable(&Shape::Object(&NETWORK)))),
    on("volumes", Keyed(Keys::Names, &Nullable(&Shape::Object(&VOLUME)))),
    on("configs", Keyed(Keys::Names, &Shape::Object(&CONFIG))),
    on("secrets", Keyed(Keys::Names, &Shape::Object(&SECRET))),
    on("models", Keyed(Keys::SomeNames, &Shape::Object(&MODEL))),
    on("x-juchu", Shape::Object(&super::xjuchu::STACK_POLICY)),
]);

static MODEL: Object = object_with(
    &[
        on("name", Text),
        on("model", Text),
        on("context_size", Shape::OnlyInt),
        on("runtime_flags", List(&Text)),
    ],
    &["model"],
);

/// For whoever reads the schema: includes are gone before anything is checked.
static INCLUDES: Shape = List(&Either(&[Text, Shape::Object(&INCLUDE)]));
static INCLUDE: Object = object(&[
    on("path", Either(&[Text, List(&Text)])),
    on("project_directory", Text),
    on("env_file", Either(&[Text, List(&Text)])),
]);

static EXTERNAL_NAME: Object = object(&[on("name", Text)]);
/// Of configs and secrets: other keys are not looked at.
static EXTERNAL_FILE: Object = Object { unknown: super::Unknown::Allowed, ..object(&[on("name", Text)]) };

static NETWORK: Object = object(&[
    on("name", Text),
    on("driver", Text),
    on("driver_opts", Named(&TextOrNumber)),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_NAME)])),
    on("internal", Bool),
    on("labels", Pairs),
    on("attachable", Bool),
    on("enable_ipv4", Bool),
    on("enable_ipv6", Bool),
    on("ipam", Shape::Object(&IPAM)),
]);
static IPAM: Object = object(&[
    on("driver", Text),
    on("options", Named(&Text)),
    on("config", List(&Shape::Object(&IPAM_CONFIG))),
]);
static IPAM_CONFIG: Object = object(&[
    on("subnet", Text),
    on("gateway", Text),
    on("ip_range", Text),
    on("aux_addresses", Named(&Text)),
]);

static VOLUME: Object = object(&[
    on("name", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_NAME)])),
    on("driver", Text),
    on("driver_opts", Named(&TextOrNumber)),
    on("labels", Pairs),
]);

static CONFIG: Object = object(&[
    on("name", Text),
    on("file", Text),
    on("content", Text),
    on("environment", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_FILE)])),
    on("labels", Pairs),
    on("template_driver", Text),
]);
static SECRET: Object = object(&[
    on("name", Text),
    on("file", Text),
    on("environment", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_FILE)])),
    on("labels", Pairs),
    on("driver", Text),
    on("driver_opts", Named(&TextOrNumber)),
    on("template_driver", Text),
]);
