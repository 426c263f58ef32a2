//! What people do without us: a Dockerfile on a slim Python base. The base is made as Docker's slim
//! images are: Debian's smallest variant with Python, pip and certificates, without documentation,
//! translations and package lists. It comes from a registry on this machine.

use super::room::Room;
use crate::process::{read, run};
use crate::{Failure, Outcome, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::ProcessGuard;

const SUITE: &str = "trixie";
const MIRROR: &str = "http://deb.debian.org/debian";
const PACKAGES: &str = "--include=python3,python3-pip,ca-certificates";
/// What slim images leave out, and what only making them needed.
const LEFT_OUT: [&str; 9] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/groff",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
];
const REGISTRY_START: Duration = Duration::from_secs(20);

pub struct Peer {
    /// The base as a directory.
    pub root: PathBuf,
    /// The base packed as our layers are.
    pub packed_bytes: u64,
    project: PathBuf,
    storage: PathBuf,
    _registry: ProcessGuard,
}

impl Peer {
    pub fn start(room: &Room, project: &Path, work: &Path) -> Result<Self, Failure> {
        let root = slim_base()?;
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let registry = registry(room, &address)?;
        let peer = Self {
            packed_bytes: packed_bytes(&root, room)?,
            root,
            project: room.directory("project")?,
            storage: room.directory("buildah")?,
            _registry: registry,
        };
        peer.push_base(&address)?;
        peer.write_project(project, work, &address)?;
        Ok(peer)
    }

    fn buildah(&self, arguments: &[&str]) -> Result<String, Failure> {
        let at = |name: &str| self.storage.join(name).to_string_lossy().into_owned();
        let places = ["--root", &at("root"), "--runroot", &at("run")];
        read(&workspace::root(), "buildah", &[&places, arguments].concat())
    }

    fn push_base(&self, address: &str) -> Outcome {
        let container = self.buildah(&["from", "scratch"])?;
        let container = container.trim();
        self.buildah(&["add", "--quiet", container, &self.root.to_string_lossy(), "/"])?;
        self.buildah(&["commit", "--quiet", container, "base"])?;
        let name = format!("docker://{address}/python:slim");
        self.buildah(&["push", "--quiet", "--tls-verify=false", "base", &name])?;
        self.buildah(&["rm", container]).map(drop)
    }

    /// The service with its Dockerfile and its packages, so that nothing is downloaded.
    fn write_project(&self, project: &Path, work: &Path, address: &str) -> Outcome {
        let own = self.project.to_string_lossy().into_owned();
        run(&workspace::root(), "cp", &["-r", &format!("{}/.", project.display()), &own])?;
        fs::create_dir_all(self.project.join("wheels"))?;
        for digest in fs::read_dir(work.join("cache/wheels"))? {
            for wheel in fs::read_dir(digest?.path())? {
                let wheel = wheel?;
                if wheel.file_name().to_string_lossy().ends_with(".whl") {
                    fs::copy(wheel.path(), self.project.join("wheels").join(wheel.file_name()))?;
                }
            }
        }
        let text = format!(
            "FROM {address}/python:slim\nWORKDIR /app\nCOPY requirements.txt .\nCOPY wheels /wheels\n\
             RUN pip install --no-cache-dir --no-index --find-links /wheels --break-system-packages -r requirements.txt\n\
             COPY . .\nUSER 10001\nCMD [\"python3\", \"app.py\"]\n"
        );
        Ok(fs::write(self.project.join("Dockerfile"), text)?)
    }

    /// The whole build, as people call it; its image stays under one name.
    pub fn build(&self) -> Outcome {
        let project = self.project.to_string_lossy();
        let arguments = [
            "bud",
            "--no-cache",
            "--pull-always",
            "--tls-verify=false",
            "--isolation=chroot",
            "--quiet",
            "-t",
            "service",
            &project,
        ];
        self.buildah(&arguments).map(drop)
    }
}

/// Made once and kept below the target directory.
pub fn slim_base() -> Result<PathBuf, Failure> {
    let root = workspace::root().join("target/xtask/slim").join(SUITE);
    if root.join("complete").exists() {
        return Ok(root.join("root"));
    }
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root)?;
    let target = root.join("root");
    run(&root, "debootstrap", &["--variant=minbase", PACKAGES, SUITE, &target.to_string_lossy(), MIRROR])?;
    for directory in LEFT_OUT {
        let _ = fs::remove_dir_all(target.join(directory));
    }
    fs::write(root.join("complete"), "")?;
    Ok(target)
}

fn packed_bytes(root: &Path, room: &Room) -> Result<u64, Failure> {
    let packed = room.path().join("base.tar.zst");
    let tar = [
        "-C",
        &root.to_string_lossy(),
        "--use-compress-program=zstd -3",
        "-cf",
        &packed.to_string_lossy(),
        ".",
    ];
    read(&workspace::root(), "tar", &tar)?;
    Ok(fs::metadata(&packed)?.len())
}

fn registry(room: &Room, address: &str) -> Result<ProcessGuard, Failure> {
    let storage = room.directory("registry")?;
    let config = room.path().join("registry.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        storage.display()
    );
    fs::write(&config, text)?;
    let program = crate::packages::docker_registry()?;
    let mut command = Command::new(program);
    command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let process = ProcessGuard::spawn(&mut command);
    testkit::wait_until(REGISTRY_START, "the registry to answer", || {
        std::net::TcpStream::connect(address).is_ok()
    });
    Ok(process)
}
