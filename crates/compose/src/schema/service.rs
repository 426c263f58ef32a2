//! Keys of a service.

use super::xjuchu::SERVICE_POLICY;
use super::{Object, Shape, object, object_with, off, on};
use Shape::{
    Any, Bool, Duration, Either, Int, List, Mode, Named, Nullable, Number, Pairs, Scalar, Size, Text,
    TextOrNumber, Word,
};

/// Text or a list of texts.
const fn texts() -> Shape {
    Either(&[Text, List(&Text)])
}

/// A command: text or a list of texts or nothing.
const fn command() -> Shape {
    Nullable(&Either(&[Text, List(&Text)]))
}

pub(super) static SERVICE: Object = object(&[
    off("annotations", Pairs, ""),
    off("attach", Bool, ""),
    off("blkio_config", Any, ""),
    on("build", Either(&[Text, Shape::Object(&BUILD)])),
    on("cap_add", List(&Text)),
    on("cap_drop", List(&Text)),
    off("cgroup", Word(&["host", "private"]), ""),
    off("cgroup_parent", Text, ""),
    on("command", command()),
    on("configs", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("container_name", Text),
    off("cpu_count", TextOrNumber, ""),
    off("cpu_percent", TextOrNumber, ""),
    off("cpu_period", TextOrNumber, "use `cpus`"),
    off("cpu_quota", TextOrNumber, "use `cpus`"),
    off("cpu_rt_period", TextOrNumber, ""),
    off("cpu_rt_runtime", TextOrNumber, ""),
    on("cpu_shares", Int),
    on("cpus", TextOrNumber),
    on("cpuset", Text),
    off("credential_spec", Any, ""),
    on("depends_on", Either(&[List(&Text), Named(&Shape::Object(&DEPENDENCY))])),
    on("deploy", Nullable(&Shape::Object(&DEPLOY))),
    on("develop", Nullable(&Shape::Object(&DEVELOP))),
    off("device_cgroup_rules", List(&Text), ""),
    on("devices", List(&Either(&[Text, Shape::Object(&DEVICE)]))),
    on("dns", texts()),
    on("dns_opt", List(&Text)),
    on("dns_search", texts()),
    on("domainname", Text),
    on("entrypoint", command()),
    on("env_file", Either(&[Text, List(&Either(&[Text, Shape::Object(&ENV_FILE)]))])),
    on("environment", Pairs),
    on("expose", List(&TextOrNumber)),
    on("extends", Either(&[Text, Shape::Object(&EXTENDS)])),
    off("external_links", List(&Text), "put both services on an external network"),
    on("extra_hosts", Either(&[List(&Text), Named(&Either(&[Text, List(&Text)]))])),
    off("gpus", Any, ""),
    on("group_add", List(&TextOrNumber)),
    on("healthcheck", Shape::Object(&HEALTHCHECK)),
    on("hostname", Text),
    on("image", Text),
    on("init", Bool),
    on("ipc", Text),
    off("isolation", Text, ""),
    on("label_file", texts()),
    on("labels", Pairs),
    on("links", List(&Text)),
    on("logging", Shape::Object(&LOGGING)),
    off("mac_address", Text, ""),
    on("mem_limit", Size),
    on("mem_reservation", Size),
    off("mem_swappiness", TextOrNumber, ""),
    on("memswap_limit", Size),
    off("models", Any, ""),
    on("network_mode", Text),
    on("networks", Either(&[List(&Text), Named(&Nullable(&Shape::Object(&ATTACHMENT)))])),
    off("oom_kill_disable", Bool, ""),
    on("oom_score_adj", Int),
    on("pid", Text),
    on("pids_limit", Int),
    on("platform", Text),
    on("ports", List(&Either(&[TextOrNumber, Shape::Object(&PORT)]))),
    off("post_start", Any, ""),
    off("pre_stop", Any, ""),
    on("privileged", Bool),
    on("profiles", List(&Text)),
    off("provider", Any, ""),
    on("pull_policy", Text),
    off("pull_refresh_after", Text, ""),
    on("read_only", Bool),
    on("restart", Text),
    off("runtime", Text, ""),
    on("scale", Int),
    on("secrets", List(&Either(&[Text, Shape::Object(&FILE_GRANT)]))),
    on("security_opt", List(&Text)),
    on("shm_size", Size),
    on("stdin_open", Bool),
    on("stop_grace_period", Duration),
    on("stop_signal", Text),
    off("storage_opt", Any, ""),
    on("sysctls", Pairs),
    on("tmpfs", texts()),
    on("tty", Bool),
    on("ulimits", Named(&Either(&[Int, Shape::Object(&ULIMIT)]))),
    off("use_api_socket", Bool, ""),
    on("user", Text),
    off("userns_mode", Text, ""),
    off("uts", Text, ""),
    on("volumes", List(&Either(&[Text, Shape::Object(&VOLUME)]))),
    off("volumes_from", List(&Text), "declare the volume in both services"),
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
    off("extra_hosts", Any, ""),
    off("isolation", Text, ""),
    off("network", Text, ""),
    off("no_cache", Bool, ""),
    off("platforms", List(&Text), "images are built for this machine"),
    off("privileged", Bool, ""),
    off("provenance", Scalar, ""),
    off("pull", Bool, ""),
    off("sbom", Scalar, ""),
    off("secrets", List(&Any), ""),
    off("shm_size", Size, ""),
    off("ssh", Pairs, ""),
    off("tags", List(&Text), "images are addressed by digest"),
    off("ulimits", Any, ""),
]);

static ENV_FILE: Object =
    object_with(&[on("path", Text), on("required", Bool), on("format", Text)], &["path"]);

static DEPENDENCY: Object = object_with(
    &[
        on("condition", Word(&["service_started", "service_healthy", "service_completed_successfully"])),
        on("required", Bool),
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
        on("initial_sync", Bool),
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

static EXTENDS: Object = object_with(&[on("service", Text), on("file", Text)], &["service"]);

static FILE_GRANT: Object = object(&[
    on("source", Text),
    on("target", Text),
    on("uid", TextOrNumber),
    on("gid", TextOrNumber),
    on("mode", Mode),
]);

static HEALTHCHECK: Object = object(&[
    on("disable", Bool),
    on("test", Either(&[Text, List(&Text)])),
    on("interval", Duration),
    on("timeout", Duration),
    on("retries", Int),
    on("start_period", Duration),
    on("start_interval", Duration),
]);

static LOGGING: Object = object(&[on("driver", Text), on("options", Named(&Scalar))]);

static ATTACHMENT: Object = object(&[
    on("aliases", List(&Text)),
    on("ipv4_address", Text),
    off("ipv6_address", Text, "networks are IPv4"),
    off("link_local_ips", List(&Text), ""),
    off("mac_address", Text, ""),
    off("interface_name", Text, ""),
    off("driver_opts", Named(&Scalar), ""),
    off("priority", Number, ""),
    off("gw_priority", Number, ""),
]);

static PORT: Object = object(&[
    on("target", TextOrNumber),
    on("published", TextOrNumber),
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
        off("image", Any, ""),
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
static VOLUME_TMPFS: Object = object(&[on("size", Size), on("mode", Mode)]);

static DEPLOY: Object = object(&[
    on("mode", Text),
    on("replicas", Int),
    off("endpoint_mode", Text, ""),
    off("labels", Pairs, ""),
    off("placement", Any, "there is one machine"),
    on("resources", Shape::Object(&RESOURCES)),
    on("restart_policy", Shape::Object(&RESTART_POLICY)),
    on("rollback_config", Shape::Object(&UPDATE)),
    on("update_config", Shape::Object(&UPDATE)),
]);
static RESOURCES: Object =
    object(&[on("limits", Shape::Object(&LIMITS)), on("reservations", Shape::Object(&RESERVATIONS))]);
static LIMITS: Object = object(&[on("cpus", TextOrNumber), on("memory", Text), on("pids", Int)]);
static RESERVATIONS: Object = object(&[
    off("cpus", TextOrNumber, ""),
    on("memory", Text),
    off("generic_resources", Any, ""),
    off("devices", Any, ""),
]);
static RESTART_POLICY: Object = object(&[
    on("condition", Text),
    off("delay", Duration, "restarts are spaced out by themselves"),
    on("max_attempts", Int),
    off("window", Duration, ""),
]);
static UPDATE: Object = object(&[
    on("parallelism", Int),
    on("delay", Duration),
    on("failure_action", Text),
    on("monitor", Duration),
    on("max_failure_ratio", Number),
    on("order", Word(&["start-first", "stop-first"])),
]);
