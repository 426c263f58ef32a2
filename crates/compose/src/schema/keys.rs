//! Top-level keys: networks, volumes, configs, secrets, include.

use super::service::SERVICE;
use super::{Keys, Object, Shape, object, object_with, off, on};
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
    off("models", Keyed(Keys::SomeNames, &Shape::Object(&MODEL)), ""),
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
    off("driver", Text, "every network is a bridge of its own on this host"),
    off("driver_opts", Named(&TextOrNumber), ""),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_NAME)])),
    on("internal", Bool),
    on("labels", Pairs),
    off("attachable", Bool, ""),
    off("enable_ipv4", Bool, ""),
    off("enable_ipv6", Bool, "networks are IPv4"),
    on("ipam", Shape::Object(&IPAM)),
]);
static IPAM: Object = object(&[
    off("driver", Text, ""),
    off("options", Named(&Text), ""),
    on("config", List(&Shape::Object(&IPAM_CONFIG))),
]);
static IPAM_CONFIG: Object = object(&[
    on("subnet", Text),
    off("gateway", Text, "the first address of the subnet is the gateway"),
    off("ip_range", Text, ""),
    off("aux_addresses", Named(&Text), ""),
]);

static VOLUME: Object = object(&[
    on("name", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_NAME)])),
    off("driver", Text, "volumes are directories of this host, as with the driver `local`"),
    on("driver_opts", Named(&TextOrNumber)),
    on("labels", Pairs),
]);

static CONFIG: Object = object(&[
    on("name", Text),
    on("file", Text),
    on("content", Text),
    on("environment", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_FILE)])),
    off("labels", Pairs, ""),
    off("template_driver", Text, ""),
]);
static SECRET: Object = object(&[
    on("name", Text),
    on("file", Text),
    on("environment", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_FILE)])),
    off("labels", Pairs, ""),
    off("driver", Text, ""),
    off("driver_opts", Named(&TextOrNumber), ""),
    off("template_driver", Text, ""),
]);
