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
    on("gateway", Shape::Object(&GATEWAY)),
    on("log", Shape::Object(&LOG)),
    on("health", Shape::Object(&HEALTH)),
    on("protocol", Word(&["http", "tcp", "auto"])),
    on("metrics", Either(&[METRICS, List(&METRICS)])),
    on("probes", Either(&[PROBE, List(&PROBE)])),
    on("ranges", Named(&RANGE)),
    on("objectives", Shape::Object(&OBJECTIVES)),
    on("tls", Either(&[Word(&["internal", "auto", "off"]), Shape::Object(&TLS)])),
]);

const METRICS: Shape = Either(&[TextOrNumber, Bool, Shape::Object(&METRICS_ENDPOINT)]);
static METRICS_ENDPOINT: Object = lenient(&[
    on("port", TextOrNumber),
    on("path", Text),
    on("interval", Duration),
    on("timeout", Duration),
    on("job", TextOrNumber),
    on("labels", Named(&Scalar)),
]);

const PROBE: Shape = Either(&[Text, Shape::Object(&PROBED)]);
static PROBED: Object = Object {
    required: &["url"],
    ..lenient(&[on("url", Text), on("interval", Duration), on("timeout", Duration), on("insecure", Bool)])
};

const RANGE: Shape = Either(&[Word(&["off"]), Shape::Object(&RANGE_DECLARED)]);
static RANGE_DECLARED: Object = strict(&[
    on("min", TextOrNumber),
    on("max", TextOrNumber),
    on("learn", Bool),
    on("level", Word(&["information", "important", "urgent"])),
    on("query", Text),
]);

static OBJECTIVES: Object =
    strict(&[on("availability", TextOrNumber), on("latency", Shape::Object(&QUICKNESS))]);
static QUICKNESS: Object = Object {
    required: &["target", "within"],
    ..strict(&[on("target", TextOrNumber), on("within", Duration)])
};

static TLS: Object = lenient(&[
    on("from", Word(&["internal", "auto", "off"])),
    on("certificate", Text),
    on("key", Text),
    on("hosts", List(&Text)),
    on("ports", List(&TextOrNumber)),
    on("redirect", Bool),
    on("email", Text),
    on("accept_terms", Bool),
    on("directory", Text),
    on("trust", Text),
    on("challenge", Word(&["http", "tls"])),
    on("hsts", Either(&[Bool, Shape::Object(&HSTS)])),
]);
static HSTS: Object = strict(&[on("max_age", Duration), on("subdomains", Bool), on("preload", Bool)]);

/// The file's own `x-juchu`.
pub(super) static STACK_POLICY: Object =
    lenient(&[on("releases", Shape::Object(&RELEASES)), on("notify", Named(&Shape::Object(&RECEIVER)))]);
static RECEIVER: Object = Object {
    required: &["kind", "secret"],
    ..strict(&[
        on("kind", Word(&["webhook", "slack", "alertmanager", "mail"])),
        on("secret", Text),
        on("least", Word(&["important", "urgent"])),
    ])
};
static RELEASES: Object = lenient(&[on("keep", Int), on("disk_floor", Size)]);

/// Strict: who reads a route must be able to trust it.
static GATEWAY: Object = strict(&[
    on("routes", List(&Shape::Object(&ROUTE))),
    on("protocol", Word(&["http", "h2c", "grpc"])),
    on("timeouts", Shape::Object(&TIMEOUTS)),
    on("retries", Shape::Object(&RETRIES)),
    on("breaker", Either(&[Word(&["off"]), Shape::Object(&BREAKER)])),
    on("rates", List(&Shape::Object(&RATE))),
    on("faults", List(&Shape::Object(&FAULT))),
    on("proxy_protocol", Shape::Object(&PROXY)),
    on("limit", Either(&[TextOrNumber, Shape::Object(&LIMIT)])),
    on("queue", Either(&[Word(&["off"]), Shape::Object(&QUEUE)])),
    on("priority", Either(&[PRIORITY, Shape::Object(&PRIORITY_FIELD)])),
    on("trace", Either(&[Bool, Shape::Object(&TRACE)])),
    on("mirror", Shape::Object(&MIRROR)),
    on("compression", Either(&[Bool, Shape::Object(&COMPRESSION)])),
]);
static MIRROR: Object =
    Object { required: &["to"], ..strict(&[on("to", Text), on("port", Int), on("share", TextOrNumber)]) };
static COMPRESSION: Object = strict(&[on("types", ONE_OR_MORE), on("min_size", TextOrNumber)]);
static TRACE: Object = strict(&[on("sampled", TextOrNumber)]);
static PROXY: Object = strict(&[
    on("accept", Either(&[Bool, List(&TextOrNumber)])),
    on("from", ONE_OR_MORE),
    on("send", Either(&[TextOrNumber, Bool, Named(&Word(&["v1", "v2"]))])),
]);
static LIMIT: Object = strict(&[on("min", Int), on("max", Int)]);
static QUEUE: Object = strict(&[on("size", Int), on("timeout", Duration)]);
const PRIORITY: Shape = Word(&["low", "normal", "high"]);
static PRIORITY_FIELD: Object = Object { required: &["header"], ..strict(&[on("header", Text)]) };
static TIMEOUTS: Object = strict(&[on("connect", Duration), on("response", Duration), on("idle", Duration)]);
static RETRIES: Object = strict(&[on("attempts", Int), on("on", List(&Int)), on("budget", TextOrNumber)]);
static BREAKER: Object = strict(&[on("failures", Int), on("pause", Duration), on("stall", Duration)]);
static RATE: Object = Object {
    required: &["limit"],
    ..strict(&[
        on("limit", Text),
        on("burst", Int),
        on("key", Either(&[Word(&["all", "client"]), Shape::Object(&RATE_KEY)])),
    ])
};
static RATE_KEY: Object = Object { required: &["header"], ..strict(&[on("header", Text)]) };
static FAULT: Object = Object {
    required: &["share"],
    ..strict(&[on("share", TextOrNumber), on("delay", Duration), on("status", Int)])
};
static ROUTE: Object = strict(&[
    on("listen", TextOrNumber),
    on("host", ONE_OR_MORE),
    on("path", Either(&[Text, Shape::Object(&ROUTE_PATH)])),
    on("method", ONE_OR_MORE),
    on("headers", Named(&Scalar)),
    on("port", Int),
    on("to", Either(&[Text, List(&Either(&[Text, Shape::Object(&ROUTE_TARGET)]))])),
    on("sticky", Either(&[Word(&["client"]), Shape::Object(&ROUTE_STICKY)])),
    on("redirect", Shape::Object(&ROUTE_REDIRECT)),
    on("answer", Shape::Object(&ROUTE_ANSWER)),
    on("files", Text),
    on("rewrite", Shape::Object(&ROUTE_REWRITE)),
    on("priority", PRIORITY),
    on("request_headers", Shape::Object(&HEADER_EDITS)),
    on("response_headers", Shape::Object(&HEADER_EDITS)),
]);
const ONE_OR_MORE: Shape = Either(&[Text, List(&Text)]);
static ROUTE_PATH: Object = strict(&[on("prefix", Text), on("exact", Text)]);
static ROUTE_TARGET: Object =
    Object { required: &["service"], ..strict(&[on("service", Text), on("port", Int), on("weight", Int)]) };
static ROUTE_STICKY: Object = strict(&[on("cookie", Text), on("header", Text)]);
static ROUTE_REDIRECT: Object =
    strict(&[on("scheme", Word(&["http", "https"])), on("host", Text), on("path", Text), on("status", Int)]);
static ROUTE_ANSWER: Object =
    Object { required: &["status"], ..strict(&[on("status", Int), on("body", Text)]) };
static ROUTE_REWRITE: Object = strict(&[on("prefix", Text), on("host", Text)]);
static HEADER_EDITS: Object = strict(&[on("set", Named(&Scalar)), on("remove", ONE_OR_MORE)]);

static ROLLOUT: Object = lenient(&[
    on("canary", TextOrNumber),
    on("canary_time", Duration),
    on("probes", Int),
    on("min_healthy", Duration),
    on("progress_deadline", Duration),
    on("warm", Duration),
    on("drain", Duration),
    on("judge", Either(&[Bool, Shape::Object(&JUDGE)])),
]);
static JUDGE: Object = lenient(&[
    on("limit", Duration),
    on("cold_start", Duration),
    on("without_traffic", Word(&["keep", "wait", "rollback", "pause"])),
    on("ask", ONE_OR_MORE),
]);

static BUILD: Object = strict(&[
    on("memory", Size),
    on("cpus", TextOrNumber),
    on("weight", Int),
    on("disk", Size),
    on("pids", Int),
    on("timeout", Duration),
    on("network", Bool),
    on("host", Bool),
    on("packages", List(&Text)),
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
    on("kind", Word(&["static", "python", "node", "rust", "go", "binary", "files"])),
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
