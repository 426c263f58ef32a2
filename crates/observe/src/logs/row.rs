//! What is kept: rows of text with a time and a level, each of a stream.

/// Who wrote a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    pub stack: String,
    pub service: String,
    pub instance: String,
    /// `stdout`, `stderr`, `otlp`, `syslog`, …
    pub source: String,
}

impl Stream {
    /// The names by which queries ask for the parts of a stream.
    pub const FIELDS: [&'static str; 4] = ["stack", "service", "instance", "source"];

    pub fn new(stack: &str, service: &str, instance: &str, source: &str) -> Self {
        let [stack, service, instance, source] = [stack, service, instance, source].map(str::to_owned);
        Self { stack, service, instance, source }
    }

    /// Whether this is what a service of this machine writes.
    pub fn is_output(&self) -> bool {
        self.source == "stdout" || self.source == "stderr"
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "stack" => Some(&self.stack),
            "service" => Some(&self.service),
            "instance" => Some(&self.instance),
            "source" => Some(&self.source),
            _ => None,
        }
    }

    pub fn parts(&self) -> [&str; 4] {
        [&self.stack, &self.service, &self.instance, &self.source]
    }
}

/// How serious a row is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// It does not say.
    #[default]
    Unknown = 0,
    Trace = 1,
    Debug = 2,
    Info = 3,
    Warn = 4,
    Error = 5,
    Fatal = 6,
}

impl Level {
    pub const ALL: [Self; 7] =
        [Self::Unknown, Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }

    pub fn name(self) -> &'static str {
        ["", "trace", "debug", "info", "warn", "error", "fatal"][self as usize]
    }

    /// A level by any of the names programs give it.
    pub fn parse(name: &str) -> Option<Self> {
        const NAMES: [(&str, Level); 24] = [
            ("trace", Level::Trace),
            ("trc", Level::Trace),
            ("verbose", Level::Trace),
            ("finest", Level::Trace),
            ("debug", Level::Debug),
            ("dbg", Level::Debug),
            ("fine", Level::Debug),
            ("info", Level::Info),
            ("inf", Level::Info),
            ("information", Level::Info),
            ("notice", Level::Info),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("wrn", Level::Warn),
            ("error", Level::Error),
            ("err", Level::Error),
            ("severe", Level::Error),
            ("fatal", Level::Fatal),
            ("critical", Level::Fatal),
            ("crit", Level::Fatal),
            ("panic", Level::Fatal),
            ("alert", Level::Fatal),
            ("emerg", Level::Fatal),
            ("emergency", Level::Fatal),
        ];
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
    }
}

/// One row as it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    pub level: Level,
    pub text: &'a str,
}
