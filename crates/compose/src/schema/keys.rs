//! Top-level keys: networks, volumes, configs, secrets, include.

use super::service::SERVICE;
use super::{Object, Shape, object, off, on};
use Shape::{Any, Bool, Either, List, Named, Nullable, Pairs, Scalar, Text};

pub(super) static ROOT: Object = object(&[
    on("version", Text),
    on("name", Text),
    on("include", Nullable(&INCLUDES)),
    on("services", Named(&Shape::Object(&SERVICE))),
    on("networks", Named(&Nullable(&Shape::Object(&NETWORK)))),
    on("volumes", Named(&Nullable(&Shape::Object(&VOLUME)))),
    on("configs", Named(&Nullable(&Shape::Object(&CONFIG)))),
    on("secrets", Named(&Nullable(&Shape::Object(&SECRET)))),
    off("models", Any, ""),
    on("x-juchu", Shape::Object(&super::xjuchu::STACK_POLICY)),
]);

static INCLUDES: Shape = List(&Either(&[Text, Shape::Object(&INCLUDE)]));
static INCLUDE: Object = object(&[
    on("path", Either(&[Text, List(&Text)])),
    on("project_directory", Text),
    on("env_file", Either(&[Text, List(&Text)])),
]);

static EXTERNAL_NAME: Object = object(&[on("name", Text)]);

static NETWORK: Object = object(&[
    on("name", Text),
    off("driver", Text, "every network is a bridge of its own on this host"),
    off("driver_opts", Named(&Scalar), ""),
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
    off("options", Named(&Scalar), ""),
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
    on("driver_opts", Named(&Scalar)),
    on("labels", Pairs),
]);

static CONFIG: Object = object(&[
    on("name", Text),
    on("file", Text),
    on("content", Text),
    on("environment", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_NAME)])),
    off("labels", Pairs, ""),
    off("template_driver", Text, ""),
]);
static SECRET: Object = object(&[
    on("name", Text),
    on("file", Text),
    on("environment", Text),
    on("external", Either(&[Bool, Shape::Object(&EXTERNAL_NAME)])),
    off("labels", Pairs, ""),
    off("driver", Text, ""),
    off("driver_opts", Named(&Scalar), ""),
    off("template_driver", Text, ""),
]);
