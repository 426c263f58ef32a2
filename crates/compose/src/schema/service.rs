//! Keys of a service.

use super::xjuchu::SERVICE_POLICY;
use super::{Object, Shape, closed, object, object_with, on};
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
    on("annotations", Pairs),
    on("attach", Bool),
    on("blkio_config", Shape::Object(&BLKIO)),
    on("build", Either(&[Text, Shape::Object(&BUILD)])),
    on("cap_add", Unique(&Text)),
    on("cap_drop", Unique(&Text)),
    on("cgroup", Word(&["host", "private"])),
    on("cgroup_parent", Text),
    on("command", command()),
    on("configs", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("container_name", Pattern(super::Pattern::ContainerName)),
    on("cpu_count", IntIn(0, i64::MAX)),
    on("cpu_percent", IntIn(0, 100)),
    on("cpu_period", Number),
    on("cpu_quota", Number),
    on("cpu_rt_period", Number),
    on("cpu_rt_runtime", Number),
    on("cpu_shares", Number),
    on("cpus", Number),
    on("cpuset", Text),
    on("credential_spec", Shape::Object(&CREDENTIAL_SPEC)),
    on("depends_on", Either(&[Unique(&Text), Keyed(super::Keys::Names, &Shape::Object(&DEPENDENCY))])),
    on("deploy", Nullable(&Shape::Object(&DEPLOY))),
    on("develop", Nullable(&Shape::Object(&DEVELOP))),
    on("device_cgroup_rules", Unique(&Text)),
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
    on("external_links", Unique(&Text)),
    on("extra_hosts", HOSTS),
    on("gpus", Either(&[Word(&["all"]), List(&Shape::Object(&GPU))])),
    on("group_add", Unique(&Either(&[Text, Int]))),
    on("healthcheck", Shape::Object(&HEALTHCHECK)),
    on("hostname", Text),
    on("image", Text),
    on("init", Bool),
    on("ipc", Text),
    on("isolation", Text),
    on("label_file", Either(&[Text, List(&Text)])),
    on("labels", Pairs),
    on("links", Unique(&Text)),
    on("logging", Shape::Object(&LOGGING)),
    on("mac_address", Text),
    on("mem_limit", Size),
    on("mem_reservation", WholeSize),
    on("mem_swappiness", WholeSize),
    on("memswap_limit", Size),
    on("models", Either(&[Unique(&Text), Keyed(super::Keys::SomeNames, &Nullable(&Shape::Object(&MODEL)))])),
    on("network_mode", Text),
    on(
        "networks",
        Either(&[Unique(&Text), Keyed(super::Keys::Names, &Nullable(&Shape::Object(&ATTACHMENT)))]),
    ),
    on("oom_kill_disable", Bool),
    on("oom_score_adj", IntIn(-1000, 1000)),
    on("pid", Nullable(&Text)),
    on("pids_limit", Number),
    on("platform", Text),
    on("ports", Unique(&Either(&[TextOrNumber, Shape::Object(&PORT)]))),
    on("post_start", List(&Shape::Object(&HOOK))),
    on("pre_stop", List(&Shape::Object(&HOOK))),
    on("privileged", Bool),
    on("profiles", Unique(&Text)),
    on("provider", Shape::Object(&PROVIDER)),
    on("pull_policy", Pattern(super::Pattern::PullPolicy)),
    on("pull_refresh_after", Text),
    on("read_only", Bool),
    on("restart", Text),
    on("runtime", Text),
    on("scale", Int),
    on("secrets", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("security_opt", Unique(&Text)),
    on("shm_size", Size),
    on("stdin_open", Bool),
    on("stop_grace_period", Duration),
    on("stop_signal", Text),
    on("storage_opt", Named(&Any)),
    on("sysctls", Pairs),
    on("tmpfs", texts()),
    on("tty", Bool),
    on("ulimits", ULIMITS),
    on("use_api_socket", Shape::Flag),
    on("user", Text),
    on("userns_mode", Text),
    on("uts", Text),
    on("volumes", Unique(&Either(&[Text, Shape::Object(&VOLUME)]))),
    on("volumes_from", Unique(&Text)),
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
    on("additional_contexts", Pairs),
    on("cache_from", List(&Text)),
    on("cache_to", List(&Text)),
    on("entitlements", List(&Text)),
    on("extra_hosts", HOSTS),
    on("isolation", Text),
    on("network", Text),
    on("no_cache", Bool),
    on("platforms", List(&Text)),
    on("privileged", Bool),
    on("provenance", Either(&[Text, Bool])),
    on("pull", Bool),
    on("sbom", Either(&[Text, Bool])),
    on("secrets", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("shm_size", WholeSize),
    on("ssh", Pairs),
    on("tags", List(&Text)),
    on("ulimits", BUILD_ULIMITS),
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
    on("ipv6_address", Text),
    on("link_local_ips", Unique(&Text)),
    on("mac_address", Text),
    on("interface_name", Text),
    on("driver_opts", Named(&TextOrNumber)),
    on("priority", Shape::OnlyNumber),
    on("gw_priority", Shape::OnlyNumber),
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
        on("consistency", Text),
        on("bind", Shape::Object(&VOLUME_BIND)),
        on("volume", Shape::Object(&VOLUME_VOLUME)),
        on("tmpfs", Shape::Object(&VOLUME_TMPFS)),
        on("image", Shape::Object(&VOLUME_IMAGE)),
    ],
    &["type"],
);
static VOLUME_BIND: Object = object(&[
    on("create_host_path", Bool),
    on("propagation", Text),
    on("recursive", Word(&["enabled", "disabled", "writable", "readonly"])),
    on("selinux", Word(&["z", "Z"])),
]);
static VOLUME_VOLUME: Object = object(&[on("nocopy", Bool), on("subpath", Text), on("labels", Pairs)]);
static VOLUME_TMPFS: Object = object(&[on("size", Shape::SizeFromZero), on("mode", Shape::Bare)]);
static VOLUME_IMAGE: Object = object(&[on("subpath", Text)]);

static DEPLOY: Object = object(&[
    on("mode", Text),
    on("replicas", Int),
    on("endpoint_mode", Text),
    on("labels", Pairs),
    on("placement", Shape::Object(&PLACEMENT)),
    on("resources", Shape::Object(&RESOURCES)),
    on("restart_policy", Shape::Object(&RESTART_POLICY)),
    on("rollback_config", Shape::Object(&UPDATE)),
    on("update_config", Shape::Object(&UPDATE)),
]);
static RESOURCES: Object =
    object(&[on("limits", Shape::Object(&LIMITS)), on("reservations", Shape::Object(&RESERVATIONS))]);
static LIMITS: Object = object(&[on("cpus", Number), on("memory", Shape::SizeText), on("pids", Int)]);
static RESERVATIONS: Object = object(&[
    on("cpus", Number),
    on("memory", Shape::SizeText),
    on("generic_resources", List(&Shape::Object(&GENERIC))),
    on("devices", List(&Shape::Object(&DEVICE_REQUEST))),
]);
static RESTART_POLICY: Object = object(&[
    on("condition", Text),
    on("delay", Duration),
    on("max_attempts", Count),
    on("window", Duration),
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
