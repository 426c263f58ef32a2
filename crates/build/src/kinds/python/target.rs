//! The Python an image will run: the version its suite has, and which wheels fit it.

use crate::BuildError;
use crate::kinds::settings::{Machine, Project};
use crate::kinds::suite::Suite;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub version: (u32, u32),
    pub machine: Machine,
    pub glibc: (u32, u32),
}

impl Target {
    pub fn of(project: &Project) -> Result<Self, BuildError> {
        let suite = project.archive.suite.as_str();
        let facts = Suite::find(suite).ok_or_else(|| {
            BuildError::input_hint(
                format!("which Python the suite `{suite}` has is not known"),
                format!("choose one of {} as `x-juchu.image.archive.suite`", Suite::names()),
            )
        })?;
        Ok(Self { version: facts.python, machine: project.ctx.machine, glibc: facts.glibc })
    }

    pub fn version_text(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// On Debian's own search path for what the administrator installs.
    pub fn site_packages(&self) -> String {
        format!("/usr/local/lib/python{}/dist-packages", self.version_text())
    }

    /// The environment markers of PEP 508.
    pub fn marker_variable(&self, name: &str) -> Option<String> {
        Some(match name {
            "python_version" => self.version_text(),
            // The patch level is the archive's; markers on it mean "recent enough".
            "python_full_version" | "implementation_version" => format!("{}.99", self.version_text()),
            "os_name" => "posix".to_owned(),
            "sys_platform" => "linux".to_owned(),
            "platform_system" => "Linux".to_owned(),
            "platform_machine" => self.machine.name().to_owned(),
            "platform_python_implementation" => "CPython".to_owned(),
            "implementation_name" => "cpython".to_owned(),
            // Sets, of which an image has none beside the default.
            "extras" | "dependency_groups" => String::new(),
            "platform_release" | "platform_version" => String::new(),
            _ => return None,
        })
    }

    /// How well a wheel fits, higher is better, `None` when it does not. `NAME-VERSION[-BUILD]-PY-ABI-PLATFORM.whl`
    pub fn rank(&self, wheel: &WheelName) -> Option<u32> {
        let mut best = None;
        for python in wheel.python.split('.') {
            for abi in wheel.abi.split('.') {
                for platform in wheel.platform.split('.') {
                    best = best.max(self.rank_tag(python, abi, platform));
                }
            }
        }
        best
    }

    fn rank_tag(&self, python: &str, abi: &str, platform: &str) -> Option<u32> {
        let (major, minor) = self.version;
        let exact = format!("cp{major}{minor}");
        let language = match (python, abi) {
            (py, abi) if py == exact && abi == exact => 4000,
            (py, "abi3") => 3000 + self.at_most_minor(py, "cp3")?,
            (py, "none") if py == exact => 2000,
            ("py3", "none") => 1000,
            (py, "none") if py == format!("py{major}{minor}") => 1900,
            (py, "none") => 1000 + self.at_most_minor(py, "py3")?,
            _ => return None,
        };
        Some(language + self.rank_platform(platform)?)
    }

    fn at_most_minor(&self, tag: &str, prefix: &str) -> Option<u32> {
        let minor: u32 = tag.strip_prefix(prefix)?.parse().ok()?;
        (minor <= self.version.1).then_some(minor)
    }

    fn rank_platform(&self, platform: &str) -> Option<u32> {
        if platform == "any" {
            return Some(0);
        }
        let system = platform.strip_suffix(self.machine.name())?.strip_suffix('_')?;
        let glibc = match system {
            "linux" => return Some(1),
            "manylinux1" => (2, 5),
            "manylinux2010" => (2, 12),
            "manylinux2014" => (2, 17),
            other => {
                let (major, minor) = other.strip_prefix("manylinux_")?.split_once('_')?;
                (major.parse().ok()?, minor.parse().ok()?)
            }
        };
        (glibc <= self.glibc).then_some(100 + glibc.1)
    }
}

/// The parts of a wheel's file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelName {
    /// Normalised.
    pub name: String,
    pub version: String,
    python: String,
    abi: String,
    platform: String,
}

impl WheelName {
    pub fn parse(file: &str) -> Option<Self> {
        let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
        let n = parts.len();
        if !(5..=6).contains(&n) || parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(Self {
            name: super::requirement::normalise(parts[0]),
            version: parts[1].to_owned(),
            python: parts[n - 3].to_owned(),
            abi: parts[n - 2].to_owned(),
            platform: parts[n - 1].to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_fitting_wheel_is_known_by_its_name() {
        let target = Target { version: (3, 13), machine: Machine::X86_64, glibc: (2, 41) };
        let rank = |tags: &str| target.rank(&WheelName::parse(&format!("a-1.0-{tags}.whl")).unwrap());
        let order = [
            "py2.py3-none-any",
            "cp39-abi3-manylinux2014_x86_64",
            "cp313-cp313-linux_x86_64",
            "cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64",
            "cp313-cp313-manylinux_2_28_x86_64",
        ];
        for pair in order.windows(2) {
            assert!(rank(pair[0]) < rank(pair[1]), "{pair:?}");
        }
        for unfit in [
            "cp312-cp312-manylinux_2_17_x86_64",
            "cp313-cp313-manylinux_2_17_aarch64",
            "cp313-cp313-musllinux_1_2_x86_64",
            "cp313-cp313-win_amd64",
            "cp313-cp313-manylinux_2_99_x86_64",
            "cp313-cp313t-manylinux_2_17_x86_64",
            "cp314-abi3-manylinux_2_17_x86_64",
            "py2-none-any",
        ] {
            assert_eq!(rank(unfit), None, "{unfit}");
        }
        for bad in ["a.whl", "a-1.0-py3-none.whl", "a-1.0.tar.gz", "a--py3-none-any.whl"] {
            assert_eq!(WheelName::parse(bad), None, "{bad}");
        }
    }
}
