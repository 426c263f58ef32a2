//! The output of a service, key by key in the order in which it is printed.

use super::form::{Field, Form, capital, field, flag, int, pairs, record, size, text, texts};
use Form::{
    Command, Count, Duration, DurationGiven, Each, EnvFile, Environment, FlagGiven, Fraction, Hosts, Int,
    IntGiven, Keys, Limit, Mode, Named, NamedOrNull, Options, Part, Record, SizeGiven, Text,
};

pub(super) static SERVICE: &[Field] = &[
    texts("profiles"),
    pairs("annotations"),
    field("attach", FlagGiven),
    record("build", BUILD),
    record("develop", &[field("watch", Each(&Part(WATCH)))]),
    record("blkio_config", BLKIO),
    texts("cap_add"),
    texts("cap_drop"),
    text("cgroup_parent"),
    text("cgroup"),
    int("cpu_count"),
    field("cpu_percent", Fraction),
    int("cpu_period"),
    int("cpu_quota"),
    int("cpu_rt_period"),
    int("cpu_rt_runtime"),
    field("cpus", Fraction),
    text("cpuset"),
    int("cpu_shares"),
    field("command", Command),
    field("configs", Each(&Part(GRANT))),
    text("container_name"),
    record("credential_spec", &[text("config"), text("file"), text("registry")]),
    field("depends_on", Named(&Part(DEPENDENCY))),
    record("deploy", DEPLOY),
    texts("device_cgroup_rules"),
    field("devices", Each(&Part(&[text("source"), text("target"), text("permissions")]))),
    texts("dns"),
    texts("dns_opt"),
    texts("dns_search"),
    text("dockerfile"),
    text("domainname"),
    field("entrypoint", Command),
    record("provider", &[text("type"), field("options", Options)]),
    field("environment", Environment),
    field("env_file", Each(&EnvFile)),
    texts("expose"),
    texts("external_links"),
    field("extra_hosts", Hosts),
    texts("group_add"),
    field("gpus", Each(&Part(DEVICE_REQUEST))),
    text("hostname"),
    record("healthcheck", HEALTHCHECK),
    text("image"),
    field("init", FlagGiven),
    text("ipc"),
    text("isolation"),
    pairs("labels"),
    texts("label_file"),
    texts("links"),
    record("logging", &[text("driver"), pairs("options")]),
    text("log_driver"),
    pairs("log_opt"),
    size("mem_limit"),
    size("mem_reservation"),
    size("memswap_limit"),
    size("mem_swappiness"),
    text("mac_address"),
    field("models", NamedOrNull(&Record(&[text("endpoint_var"), text("model_var")]))),
    text("net"),
    text("network_mode"),
    field("networks", NamedOrNull(&Record(ATTACHMENT))),
    flag("oom_kill_disable"),
    int("oom_score_adj"),
    text("pid"),
    int("pids_limit"),
    text("platform"),
    field("ports", Each(&Part(PORT))),
    flag("privileged"),
    text("pull_policy"),
    flag("read_only"),
    text("restart"),
    text("runtime"),
    field("scale", IntGiven),
    field("secrets", Each(&Part(GRANT))),
    texts("security_opt"),
    size("shm_size"),
    flag("stdin_open"),
    field("stop_grace_period", DurationGiven),
    text("stop_signal"),
    pairs("storage_opt"),
    pairs("sysctls"),
    texts("tmpfs"),
    flag("tty"),
    field("ulimits", Named(&Limit)),
    flag("use_api_socket"),
    text("user"),
    text("userns_mode"),
    text("uts"),
    text("volume_driver"),
    field("volumes", Each(&Part(MOUNT))),
    texts("volumes_from"),
    text("working_dir"),
    field("post_start", Each(&Part(HOOK))),
    field("pre_stop", Each(&Part(HOOK))),
];

static BUILD: &[Field] = &[
    text("context"),
    text("dockerfile"),
    text("dockerfile_inline"),
    texts("entitlements"),
    field("args", Environment),
    text("provenance"),
    text("sbom"),
    field("ssh", Keys),
    pairs("labels"),
    texts("cache_from"),
    texts("cache_to"),
    flag("no_cache"),
    pairs("additional_contexts"),
    flag("pull"),
    field("extra_hosts", Hosts),
    text("isolation"),
    text("network"),
    text("target"),
    field("secrets", Each(&Part(GRANT))),
    size("shm_size"),
    texts("tags"),
    field("ulimits", Named(&Limit)),
    texts("platforms"),
    flag("privileged"),
];

static WATCH: &[Field] = &[
    text("path"),
    text("action"),
    text("target"),
    field("exec", Part(HOOK)),
    texts("include"),
    texts("ignore"),
    flag("initial_sync"),
];

static HOOK: &[Field] = &[
    field("command", Command),
    text("user"),
    flag("privileged"),
    text("working_dir"),
    field("environment", Environment),
];

static BLKIO: &[Field] = &[
    int("weight"),
    field("weight_device", Each(&Part(&[capital("path", "Path", Text), capital("weight", "Weight", Int)]))),
    field("device_read_bps", Each(&Part(THROTTLE))),
    field("device_read_iops", Each(&Part(THROTTLE))),
    field("device_write_bps", Each(&Part(THROTTLE))),
    field("device_write_iops", Each(&Part(THROTTLE))),
];
static THROTTLE: &[Field] = &[capital("path", "Path", Text), capital("rate", "Rate", SizeGiven)];

/// What a service is given of configs and secrets.
static GRANT: &[Field] = &[text("source"), text("target"), text("uid"), text("gid"), field("mode", Mode)];

static DEPENDENCY: &[Field] = &[text("condition"), flag("restart"), field("required", FlagGiven)];

static DEPLOY: &[Field] = &[
    text("mode"),
    field("replicas", IntGiven),
    pairs("labels"),
    record("update_config", UPDATE),
    record("rollback_config", UPDATE),
    field("resources", Part(&[record("limits", RESOURCE), record("reservations", RESOURCE)])),
    record("restart_policy", RESTART_POLICY),
    field("placement", Part(PLACEMENT)),
    text("endpoint_mode"),
];
static UPDATE: &[Field] = &[
    field("parallelism", IntGiven),
    field("delay", Duration),
    text("failure_action"),
    field("monitor", Duration),
    field("max_failure_ratio", Fraction),
    text("order"),
];
static RESOURCE: &[Field] = &[
    field("cpus", Fraction),
    size("memory"),
    int("pids"),
    field("devices", Each(&Part(DEVICE_REQUEST))),
    field("generic_resources", Each(&Part(&[record("discrete_resource_spec", DISCRETE)]))),
];
static DISCRETE: &[Field] = &[text("kind"), field("value", IntGiven)];
static DEVICE_REQUEST: &[Field] =
    &[texts("capabilities"), text("driver"), field("count", Count), texts("device_ids"), pairs("options")];
static RESTART_POLICY: &[Field] = &[
    text("condition"),
    field("delay", DurationGiven),
    field("max_attempts", IntGiven),
    field("window", DurationGiven),
];
static PLACEMENT: &[Field] = &[
    texts("constraints"),
    field("preferences", Each(&Part(&[text("spread")]))),
    int("max_replicas_per_node"),
];

static HEALTHCHECK: &[Field] = &[
    texts("test"),
    field("timeout", DurationGiven),
    field("interval", DurationGiven),
    field("retries", IntGiven),
    field("start_period", DurationGiven),
    field("start_interval", DurationGiven),
    flag("disable"),
];

static ATTACHMENT: &[Field] = &[
    texts("aliases"),
    pairs("driver_opts"),
    int("gw_priority"),
    text("interface_name"),
    text("ipv4_address"),
    text("ipv6_address"),
    texts("link_local_ips"),
    text("mac_address"),
    int("priority"),
];

static PORT: &[Field] = &[
    text("name"),
    text("mode"),
    text("host_ip"),
    int("target"),
    text("published"),
    text("protocol"),
    text("app_protocol"),
];

static MOUNT: &[Field] = &[
    text("type"),
    text("source"),
    text("target"),
    flag("read_only"),
    text("consistency"),
    record("bind", &[text("selinux"), text("propagation"), flag("create_host_path"), text("recursive")]),
    record("volume", &[pairs("labels"), flag("nocopy"), text("subpath")]),
    record("tmpfs", &[size("size"), int("mode")]),
    record("image", &[text("subpath")]),
];
