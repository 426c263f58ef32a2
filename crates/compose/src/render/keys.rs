//! The output of everything but services, key by key in the order in which it is printed.

use super::form::{Field, Form, field, flag, int, pairs, text, texts};
use super::service_keys::SERVICE;
use Form::{Each, FlagGiven, Named, NamedAlways, Part};

pub(super) static PROJECT: &[Field] = &[
    text("name"),
    field("services", NamedAlways(&Part(SERVICE))),
    field("networks", Named(&Part(NETWORK))),
    field("volumes", Named(&Part(VOLUME))),
    field("secrets", Named(&Part(FILE_OBJECT))),
    field("configs", Named(&Part(FILE_OBJECT))),
    field("models", Named(&Part(MODEL))),
];

static NETWORK: &[Field] = &[
    text("name"),
    text("driver"),
    pairs("driver_opts"),
    field("ipam", Part(IPAM)),
    flag("external"),
    flag("internal"),
    flag("attachable"),
    pairs("labels"),
    field("enable_ipv4", FlagGiven),
    field("enable_ipv6", FlagGiven),
];
// Its `options` are read and, as in the reference, not printed.
static IPAM: &[Field] = &[text("driver"), field("config", Each(&Form::Record(POOL)))];
static POOL: &[Field] = &[text("subnet"), text("gateway"), text("ip_range"), pairs("aux_addresses")];

static VOLUME: &[Field] =
    &[text("name"), text("driver"), pairs("driver_opts"), flag("external"), pairs("labels")];

/// Configs and secrets.
static FILE_OBJECT: &[Field] = &[
    text("name"),
    text("file"),
    text("environment"),
    text("content"),
    flag("external"),
    pairs("labels"),
    text("driver"),
    pairs("driver_opts"),
    text("template_driver"),
];

static MODEL: &[Field] = &[text("name"), text("model"), int("context_size"), texts("runtime_flags")];
