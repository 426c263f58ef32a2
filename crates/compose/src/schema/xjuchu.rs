//! Keys of `x-juchu`. Unknown ones are warnings, so that a file for a newer version still loads;
//! `x-juchu.image` and `x-juchu.build` are strict: what they say ends up in an image, or protects a machine.

use super::{Object, Shape, Unknown, object, on};
use Shape::{Any, Bool, Duration, Either, Int, List, Named, Scalar, Size, Text, TextOrNumber, Word};

const fn lenient(fields: &'static [super::Field]) -> Object {
    Object { fields, required: &[], extensible: true, unknown: Unknown::Warning }
}

const fn strict(fields: &'static [super::Field]) -> Object {
    Object { extensible: false, ..object(fields) }
}

pub(super) static SERVICE_POLICY: Object = lenient(&[
    on("builder", Word(&["auto", "native", "dockerfile"])),
    on("image", Shape::Object(&IMAGE)),
    on("build", Shape::Object(&BUILD)),
    on("component", Text),
    on("options", Any),
    on("direct", Bool),
    on("on_unhealthy", Word(&["restart", "drain", "rollback", "none"])),
    on("ready_timeout", Duration),
    on("rollout", Shape::Object(&ROLLOUT)),
    on("hold", Duration),
    on("log", Shape::Object(&LOG)),
    on("health", Shape::Object(&HEALTH)),
    on("protocol", Word(&["http", "tcp", "auto"])),
]);

/// The file's own `x-juchu`.
pub(super) static STACK_POLICY: Object = lenient(&[on("releases", Shape::Object(&RELEASES))]);
static RELEASES: Object = lenient(&[on("keep", Int), on("disk_floor", Size)]);

static ROLLOUT: Object = lenient(&[
    on("canary", TextOrNumber),
    on("canary_time", Duration),
    on("probes", Int),
    on("min_healthy", Duration),
    on("progress_deadline", Duration),
    on("warm", Duration),
    on("drain", Duration),
]);

static BUILD: Object = strict(&[
    on("memory", Size),
    on("cpus", TextOrNumber),
    on("weight", Int),
    on("disk", Size),
    on("pids", Int),
    on("timeout", Duration),
    on("network", Bool),
]);

static LOG: Object = lenient(&[on("max_size", Size), on("max_files", Int)]);

static HEALTH: Object = lenient(&[
    on("http", Either(&[TextOrNumber, Shape::Object(&HEALTH_HTTP)])),
    on("tcp", TextOrNumber),
    on("interval", Duration),
    on("timeout", Duration),
    on("retries", Int),
    on("start_period", Duration),
    on("start_interval", Duration),
]);
static HEALTH_HTTP: Object =
    Object { required: &["port"], ..lenient(&[on("port", TextOrNumber), on("path", Text)]) };

static IMAGE: Object = strict(&[
    on("kind", Word(&["static", "python", "node", "rust", "binary"])),
    on("packages", List(&Text)),
    on("archive", Shape::Object(&ARCHIVE)),
    on("files", Named(&Text)),
    on("user", TextOrNumber),
    on("entrypoint", List(&TextOrNumber)),
    on("command", List(&TextOrNumber)),
    on("environment", Named(&Scalar)),
    on("working_dir", Text),
    on("expose", List(&TextOrNumber)),
    on("volumes", List(&Text)),
    on("stop_signal", Text),
]);
static ARCHIVE: Object = strict(&[on("mirror", Text), on("security", Text), on("suite", Text)]);
