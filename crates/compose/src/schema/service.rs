//! Keys of a service.

use super::xjuchu::SERVICE_POLICY;
use super::{Object, Shape, closed, object, object_with, off, on};
use Shape::{
    Any, Bool, Count, Duration, Either, Int, IntIn, Keyed, List, Mode, Named, Nullable, Number, Pairs,
    Pattern, Size, Text, TextOrNumber, Unique, WholeSize, Word,
};

/// Text or a list of texts.
const fn texts() -> Shape {
    Either(&[Text, Unique(&Text)])
}

/// A command: text or a list of texts or nothing.
const fn command() -> Shape {
    Nullable(&Either(&[Text, List(&Text)]))
}

pub(super) static SERVICE: Object = object(&[
    off("annotations", Pairs, ""),
    off("attach", Bool, ""),
    off("blkio_config", Shape::Object(&BLKIO), ""),
    on("build", Either(&[Text, Shape::Object(&BUILD)])),
    on("cap_add", Unique(&Text)),
    on("cap_drop", Unique(&Text)),
    off("cgroup", Word(&["host", "private"]), ""),
    off("cgroup_parent", Text, ""),
    on("command", command()),
    on("configs", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("container_name", Pattern(super::Pattern::ContainerName)),
    off("cpu_count", IntIn(0, i64::MAX), ""),
    off("cpu_percent", IntIn(0, 100), ""),
    off("cpu_period", Number, "use `cpus`"),
    off("cpu_quota", Number, "use `cpus`"),
    off("cpu_rt_period", Number, ""),
    off("cpu_rt_runtime", Number, ""),
    on("cpu_shares", Number),
    on("cpus", Number),
    on("cpuset", Text),
    off("credential_spec", Shape::Object(&CREDENTIAL_SPEC), ""),
    on("depends_on", Either(&[Unique(&Text), Keyed(super::Keys::Names, &Shape::Object(&DEPENDENCY))])),
    on("deploy", Nullable(&Shape::Object(&DEPLOY))),
    on("develop", Nullable(&Shape::Object(&DEVELOP))),
    off("device_cgroup_rules", Unique(&Text), ""),
    on("devices", List(&Either(&[Text, Shape::Object(&DEVICE)]))),
    on("dns", texts()),
    on("dns_opt", Unique(&Text)),
    on("dns_search", texts()),
    on("domainname", Text),
    on("entrypoint", command()),
    on("env_file", Either(&[Text, List(&Either(&[Text, Shape::Object(&ENV_FILE)]))])),
    on("environment", Pairs),
    on("expose", Unique(&TextOrNumber)),
    on("extends", Either(&[Text, Shape::Object(&EXTENDS)])),
    off("external_links", Unique(&Text), "put both services on an external network"),
    on("extra_hosts", HOSTS),
    off("gpus", Either(&[Word(&["all"]), List(&Shape::Object(&GPU))]), ""),
    on("group_add", Unique(&Either(&[Text, Int]))),
    on("healthcheck", Shape::Object(&HEALTHCHECK)),
    on("hostname", Text),
    on("image", Text),
    on("init", Bool),
    on("ipc", Text),
    off("isolation", Text, ""),
    on("label_file", Either(&[Text, List(&Text)])),
    on("labels", Pairs),
    on("links", Unique(&Text)),
    on("logging", Shape::Object(&LOGGING)),
    off("mac_address", Text, ""),
    on("mem_limit", Size),
    on("mem_reservation", WholeSize),
    off("mem_swappiness", WholeSize, ""),
    on("memswap_limit", Size),
    off(
        "models",
        Either(&[Unique(&Text), Keyed(super::Keys::SomeNames, &Nullable(&Shape::Object(&MODEL)))]),
        "",
    ),
    on("network_mode", Text),
    on(
        "networks",
        Either(&[Unique(&Text), Keyed(super::Keys::Names, &Nullable(&Shape::Object(&ATTACHMENT)))]),
    ),
    off("oom_kill_disable", Bool, ""),
    on("oom_score_adj", IntIn(-1000, 1000)),
    on("pid", Nullable(&Text)),
    on("pids_limit", Number),
    on("platform", Text),
    on("ports", Unique(&Either(&[TextOrNumber, Shape::Object(&PORT)]))),
    off("post_start", List(&Shape::Object(&HOOK)), ""),
    off("pre_stop", List(&Shape::Object(&HOOK)), ""),
    on("privileged", Bool),
    on("profiles", Unique(&Text)),
    off("provider", Shape::Object(&PROVIDER), ""),
    on("pull_policy", Pattern(super::Pattern::PullPolicy)),
    off("pull_refresh_after", Text, ""),
    on("read_only", Bool),
    on("restart", Text),
    off("runtime", Text, ""),
    on("scale", Int),
    on("secrets", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("security_opt", Unique(&Text)),
    on("shm_size", Size),
    on("stdin_open", Bool),
    on("stop_grace_period", Duration),
    on("stop_signal", Text),
    off("storage_opt", Named(&Any), ""),
    on("sysctls", Pairs),
    on("tmpfs", texts()),
    on("tty", Bool),
    on("ulimits", ULIMITS),
    off("use_api_socket", Shape::Flag, ""),
    on("user", Text),
    off("userns_mode", Text, ""),
    off("uts", Text, ""),
    on("volumes", Unique(&Either(&[Text, Shape::Object(&VOLUME)]))),
    off("volumes_from", Unique(&Text), "declare the volume in both services"),
    on("working_dir", Text),
    on("x-juchu", Shape::Object(&SERVICE_POLICY)),
]);

static BUILD: Object = object(&[
    on("context", Text),
    on("dockerfile", Text),
    on("dockerfile_inline", Text),
    on("target", Text),
    on("args", Pairs),
    on("labels", Pairs),
    off("additional_contexts", Pairs, ""),
    off("cache_from", List(&Text), "built layers are always kept and reused"),
    off("cache_to", List(&Text), "built layers are always kept and reused"),
    off("entitlements", List(&Text), ""),
    off("extra_hosts", HOSTS, ""),
    off("isolation", Text, ""),
    off("network", Text, ""),
    off("no_cache", Bool, ""),
    off("platforms", List(&Text), "images are built for this machine"),
    off("privileged", Bool, ""),
    off("provenance", Either(&[Text, Bool]), ""),
    off("pull", Bool, ""),
    off("sbom", Either(&[Text, Bool]), ""),
    off("secrets", List(&Either(&[Text, Shape::Object(&FILE_GRANT)])), ""),
    off("shm_size", WholeSize, ""),
    off("ssh", Pairs, ""),
    off("tags", List(&Text), "images are addressed by digest"),
    off("ulimits", BUILD_ULIMITS, ""),
]);

static ENV_FILE: Object =
    closed(object_with(&[on("path", Text), on("required", Bool), on("format", Text)], &["path"]));

static DEPENDENCY: Object = object_with(
    &[
        on("condition", Word(&["service_started", "service_healthy", "service_completed_successfully"])),
        on("required", Shape::Flag),
        on("restart", Bool),
    ],
    &["condition"],
);

static DEVELOP: Object = object(&[on("watch", List(&Shape::Object(&WATCH_RULE)))]);

static WATCH_RULE: Object = object_with(
    &[
        on("path", Text),
        on("action", Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
        on("target", Text),
        on("ignore", texts()),
        on("include", texts()),
        on("initial_sync", Shape::Flag),
        on("exec", Shape::Object(&HOOK)),
    ],
    &["path", "action"],
);

/// A command that is run inside an instance.
static HOOK: Object = object_with(
    &[
        on("command", command()),
        on("user", Text),
        on("privileged", Bool),
        on("working_dir", Text),
        on("environment", Pairs),
    ],
    &["command"],
);

static EXTENDS: Object = closed(object_with(&[on("service", Text), on("file", Text)], &["service"]));

static FILE_GRANT: Object =
    object(&[on("source", Text), on("target", Text), on("uid", Text), on("gid", Text), on("mode", Mode)]);

static HEALTHCHECK: Object = object(&[
    on("disable", Bool),
    on("test", Either(&[Text, List(&Text)])),
    on("interval", Duration),
    on("timeout", Duration),
    on("retries", Count),
    on("start_period", Duration),
    on("start_interval", Duration),
]);

static LOGGING: Object = object(&[on("driver", Text), on("options", Named(&Nullable(&TextOrNumber)))]);

static ATTACHMENT: Object = object(&[
    on("aliases", Unique(&Text)),
    on("ipv4_address", Text),
    off("ipv6_address", Text, "networks are IPv4"),
    off("link_local_ips", Unique(&Text), ""),
    off("mac_address", Text, ""),
    off("interface_name", Text, ""),
    off("driver_opts", Named(&TextOrNumber), ""),
    off("priority", Shape::OnlyNumber, ""),
    off("gw_priority", Shape::OnlyNumber, ""),
]);

static PORT: Object = object(&[
    on("target", Int),
    on("published", Either(&[Text, Int])),
    on("host_ip", Text),
    on("protocol", Text),
    on("app_protocol", Text),
    on("mode", Text),
    on("name", Text),
]);

static DEVICE: Object =
    object_with(&[on("source", Text), on("target", Text), on("permissions", Text)], &["source"]);

static ULIMIT: Object = object_with(&[on("soft", Int), on("hard", Int)], &["soft", "hard"]);

static VOLUME: Object = object_with(
    &[
        on("type", Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
        on("source", Text),
        on("target", Text),
        on("read_only", Bool),
        off("consistency", Text, ""),
        on("bind", Shape::Object(&VOLUME_BIND)),
        on("volume", Shape::Object(&VOLUME_VOLUME)),
        on("tmpfs", Shape::Object(&VOLUME_TMPFS)),
        off("image", Shape::Object(&VOLUME_IMAGE), ""),
    ],
    &["type"],
);
static VOLUME_BIND: Object = object(&[
    on("create_host_path", Bool),
    off("propagation", Text, ""),
    on("recursive", Word(&["enabled", "disabled", "writable", "readonly"])),
    off("selinux", Word(&["z", "Z"]), ""),
]);
static VOLUME_VOLUME: Object = object(&[on("nocopy", Bool), on("subpath", Text), off("labels", Pairs, "")]);
static VOLUME_TMPFS: Object = object(&[on("size", Shape::SizeFromZero), on("mode", Shape::Bare)]);
static VOLUME_IMAGE: Object = object(&[on("subpath", Text)]);

static DEPLOY: Object = object(&[
    on("mode", Text),
    on("replicas", Int),
    off("endpoint_mode", Text, ""),
    off("labels", Pairs, ""),
    off("placement", Shape::Object(&PLACEMENT), "there is one machine"),
    on("resources", Shape::Object(&RESOURCES)),
    on("restart_policy", Shape::Object(&RESTART_POLICY)),
    on("rollback_config", Shape::Object(&UPDATE)),
    on("update_config", Shape::Object(&UPDATE)),
]);
static RESOURCES: Object =
    object(&[on("limits", Shape::Object(&LIMITS)), on("reservations", Shape::Object(&RESERVATIONS))]);
static LIMITS: Object = object(&[on("cpus", Number), on("memory", Shape::SizeText), on("pids", Int)]);
static RESERVATIONS: Object = object(&[
    off("cpus", Number, ""),
    on("memory", Shape::SizeText),
    off("generic_resources", List(&Shape::Object(&GENERIC)), ""),
    off("devices", List(&Shape::Object(&DEVICE_REQUEST)), ""),
]);
static RESTART_POLICY: Object = object(&[
    on("condition", Text),
    off("delay", Duration, "restarts are spaced out by themselves"),
    on("max_attempts", Count),
    off("window", Duration, ""),
]);
static UPDATE: Object = object(&[
    on("parallelism", Count),
    on("delay", Duration),
    on("failure_action", Text),
    on("monitor", Duration),
    on("max_failure_ratio", Number),
    on("order", Word(&["start-first", "stop-first"])),
]);
static PLACEMENT: Object = object(&[
    on("constraints", List(&Text)),
    on("preferences", List(&Shape::Object(&PREFERENCE))),
    on("max_replicas_per_node", Count),
]);
static PREFERENCE: Object = object(&[on("spread", Text)]);
static GENERIC: Object = object(&[on("discrete_resource_spec", Shape::Object(&DISCRETE))]);
static DISCRETE: Object = object(&[on("kind", Text), on("value", Number)]);

static DEVICE_REQUEST: Object = object_with(DEVICE_FIELDS, &["capabilities"]);
/// As the schema of the specification has it: here other keys are not looked at.
static GPU: Object = Object { unknown: super::Unknown::Allowed, ..object(DEVICE_FIELDS) };
const DEVICE_FIELDS: &[super::Field] = &[
    on("capabilities", Unique(&Text)),
    on("count", Shape::DeviceCount),
    on("device_ids", Unique(&Text)),
    on("driver", Text),
    on("options", Pairs),
];

static BLKIO: Object = closed(object(&[
    on("device_read_bps", List(&Shape::Object(&BLKIO_RATE))),
    on("device_read_iops", List(&Shape::Object(&BLKIO_RATE))),
    on("device_write_bps", List(&Shape::Object(&BLKIO_RATE))),
    on("device_write_iops", List(&Shape::Object(&BLKIO_RATE))),
    on("weight", Shape::Bare),
    on("weight_device", List(&Shape::Object(&BLKIO_WEIGHT))),
]));
static BLKIO_RATE: Object = closed(object(&[on("path", Text), on("rate", WholeSize)]));
static BLKIO_WEIGHT: Object = closed(object(&[on("path", Text), on("weight", Shape::Bare)]));

static CREDENTIAL_SPEC: Object = object(&[on("config", Text), on("file", Text), on("registry", Text)]);
static MODEL: Object = object(&[on("endpoint_var", Text), on("model_var", Text)]);
static PROVIDER: Object = object_with(&[on("type", Text), on("options", Named(&OPTION))], &["type"]);
static OPTION: Shape = Either(&[GIVEN, List(&GIVEN)]);
/// Text, a number or a boolean.
const GIVEN: Shape = Either(&[TextOrNumber, Bool]);
const HOSTS: Shape = Either(&[Unique(&Text), Named(&Either(&[Text, List(&Text)]))]);
/// As text they are not converted there.
const BUILD_ULIMITS: Shape = Keyed(super::Keys::SomeLimits, &Either(&[Shape::Bare, Shape::Object(&ULIMIT)]));
const ULIMITS: Shape = Keyed(super::Keys::SomeLimits, &Either(&[Int, Shape::Object(&ULIMIT)]));
