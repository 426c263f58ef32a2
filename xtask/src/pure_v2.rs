//! `cargo xtask pure-v2`: the engine's tests on a machine with v2 control groups alone.
//!
//! This machine may have v1 controllers, which others can then not have. So Debian's kernel runs in
//! an emulator, with nothing but the tests, what they need, and a shell.

use crate::process::{read, run};
use crate::{Failure, Outcome, packages, workspace};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// An emulated processor is some twenty times slower, and a machine of two cores has other work.
const LIMIT: Duration = Duration::from_secs(20 * 60);
const PASSED: &str = "the tests ended with 0";
/// Parts of the kernel that are files of their own: file trees of images, networks of stacks.
const MODULES: &[&str] =
    &["overlay", "veth", "bridge", "br_netfilter", "nf_tables", "nft_chain_nat", "nft_masq", "tun"];
const MODULE_TREES: &[&str] = &["net", "fs/overlayfs", "drivers/net", "lib", "crypto", "arch/x86/crypto"];

pub fn run_all() -> Outcome {
    if std::env::consts::ARCH != "x86_64" {
        return Err("this needs an x86-64 machine, whose kernel is what is emulated".into());
    }
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Err("only root can have the emulator installed\nhint: sudo cargo xtask pure-v2".into());
    }
    let kernel = packages::provide_kernel()?;
    let programs = tests()?;
    let directory = workspace::root().join(format!("target/pure-v2-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let outcome =
        furnish(&directory, &kernel, &programs).and_then(|image| emulate(&image_of(&kernel)?, &image));
    fs::remove_dir_all(&directory)?;
    outcome
}

struct Programs {
    tests: PathBuf,
    /// The engine starts itself by it.
    engine: PathBuf,
}

fn tests() -> Result<Programs, Failure> {
    let root = workspace::root();
    // With the whole workspace, as the other tests are built: else all crates are built once more.
    let said = read(
        &root,
        "cargo",
        &["test", "--workspace", "--test", "engine", "--no-run", "--message-format=json"],
    )?;
    let programs: Vec<PathBuf> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| Some(message["executable"].as_str()?.into()))
        .collect();
    let named = |name: &str| {
        let is_it =
            |path: &&PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
        programs.iter().find(is_it).cloned().ok_or_else(|| format!("cargo made no `{name}`"))
    };
    Ok(Programs { tests: named("engine")?, engine: named("host-test")? })
}

/// The file tree of the machine, as the archive that a kernel begins with.
fn furnish(directory: &Path, kernel: &Path, programs: &Programs) -> Result<PathBuf, Failure> {
    let tree = directory.join("tree");
    for name in ["bin", "proc", "sys", "dev", "tmp", "run", "new", "etc", "root"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    let busybox = testkit::busybox_static();
    run(&tree, &busybox.to_string_lossy(), &["cp", &busybox.to_string_lossy(), "bin/busybox"])?;
    place(&tree, &busybox)?;
    for program in [&programs.tests, &programs.engine] {
        place(&tree, program)?;
        for library in libraries(program)? {
            place(&tree, &library)?;
        }
    }
    modules(&tree, kernel, &busybox)?;
    fs::write(tree.join("init"), init(&programs.tests))?;
    run(&tree, "chmod", &["+x", "init"])?;
    let archive = directory.join("tree.cpio");
    let pack = format!("find . | {0} cpio -o -H newc > ../tree.cpio", busybox.display());
    run(&tree, &busybox.to_string_lossy(), &["sh", "-c", &pack])?;
    Ok(archive)
}

/// At the same place as here, because the tests know it by that.
fn place(tree: &Path, file: &Path) -> Outcome {
    let to = tree.join(file.strip_prefix("/")?);
    fs::create_dir_all(to.parent().ok_or("a file is in a directory")?)?;
    fs::copy(file, to)?;
    Ok(())
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let said = read(Path::new("/"), "ldd", &[&program.to_string_lossy()])?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn modules(tree: &Path, kernel: &Path, busybox: &Path) -> Outcome {
    let version = version_of(kernel)?;
    let from = kernel.join("lib/modules").join(&version);
    let to = tree.join("lib/modules").join(&version);
    for name in MODULE_TREES {
        let (from, to) = (from.join("kernel").join(name), to.join("kernel").join(name));
        fs::create_dir_all(&to)?;
        run(tree, "cp", &["-R", &format!("{}/.", from.display()), &to.to_string_lossy()])?;
    }
    for name in ["modules.builtin", "modules.order"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    run(tree, &busybox.to_string_lossy(), &["depmod", "-b", &tree.to_string_lossy(), &version])
}

fn version_of(kernel: &Path) -> Result<String, Failure> {
    let mut entries = fs::read_dir(kernel.join("lib/modules"))?;
    let entry = entries.next().ok_or("the kernel's package holds no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

fn image_of(kernel: &Path) -> Result<PathBuf, Failure> {
    Ok(kernel.join("boot").join(format!("vmlinuz-{}", version_of(kernel)?)))
}

/// The tree a kernel begins with cannot be left by `pivot_root`; another can.
fn init(tests: &Path) -> String {
    let (tests, modules) = (tests.display(), MODULES.join(" "));
    let source = workspace::root().join("crates/host");
    let source = source.display();
    format!(
        "#!/bin/busybox sh
export PATH=/bin HOME=/root CI=1 EMULATED=1
if [ ! -e /bin/sh ]; then
  /bin/busybox --install -s /bin
  mount -t tmpfs -o size=90% tmpfs /new
  for one in /*; do [ $one = /new ] || cp -a $one /new/; done
  exec switch_root /new /init
fi
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm {source}
mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for one in {modules}; do modprobe $one; done
ip link set lo up; hostname pure-v2
echo \"Linux $(uname -r), control groups: $(cat /sys/fs/cgroup/cgroup.controllers)\"
cd {source}
{tests} --test-threads 2
echo \"the tests ended with $?\"
poweroff -f
"
    )
}

/// Ends with its handle.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already, or it is given up.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn emulate(kernel: &Path, tree: &Path) -> Outcome {
    let mut machine = Machine(
        Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G"])
            .args(["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-nic", "none"])
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(tree)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("qemu-system-x86_64: {error}"))?,
    );
    let output = machine.0.stdout.take().ok_or("no standard output")?;
    let (tell, lines) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + LIMIT;
    let mut has_passed = false;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{}", line.trim_end());
                has_passed |= line.trim_end() == PASSED;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) if has_passed => return Ok(()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err("the engine's tests fail on a machine with v2 control groups alone".into());
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "the emulated machine has not ended within {} min",
                    LIMIT.as_secs() / 60
                )
                .into());
            }
        }
    }
}
