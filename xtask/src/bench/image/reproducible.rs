//! Same inputs, same digest: one service built again and again with everything different that must
//! not matter, every second time in a chroot of another Debian release than this machine's.

use super::peer::slim_base;
use super::room::Room;
use super::{SERVICE, program};
use crate::bench::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, Outcome, workspace};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub const BENCH: Bench = Bench {
    name: "reproducible",
    about: "same inputs, same digest, over places, times, users and releases (root, network)",
    run: measure,
};

const ROUNDS: u64 = 100;
const ZONES: [&str; 4] = ["UTC", "Asia/Tokyo", "America/St_Johns", "Pacific/Chatham"];
const LANGUAGES: [&str; 3] = ["C", "C.UTF-8", "tr_TR.UTF-8"];

fn measure(options: &Options) -> Result<Vec<Measured>, Failure> {
    let rounds = options.requests.unwrap_or(ROUNDS);
    let program = program()?;
    crate::packages::provide_image_peers()?;
    let room = Room::new("reproducible")?;
    // Another release of Debian, with its own C library and tools.
    let chroot = room.path().join("chroot");
    run(room.path(), "cp", &["-a", &slim_base()?.to_string_lossy(), &chroot.to_string_lossy()])?;
    fs::copy(&program, chroot.join("native"))?;
    fs::copy(&program, room.path().join("native"))?;
    let mut digests: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..rounds {
        let root = if round % 2 == 1 { chroot.as_path() } else { room.path() };
        *digests.entry(one(round, root, round % 2 == 1)?).or_default() += 1;
        if round == 0 {
            // What was downloaded is the same in both.
            let work = room.path().join("work").to_string_lossy().into_owned();
            run(room.path(), "cp", &["-a", &work, &chroot.to_string_lossy()])?;
        }
    }
    let most = digests.values().max().copied().unwrap_or_default();
    Ok(vec![Measured {
        number: "same inputs, same digest, in two Debian releases, other places, times, owners, modes, zones, languages and orders of files",
        promised: "100 of 100",
        value: format!("{most} of {rounds}"),
        kept: Some(most == rounds),
    }])
}

/// One build in `root`, which is entered when `enters`; the digest of its image.
fn one(round: u64, root: &Path, enters: bool) -> Result<String, Failure> {
    let place = format!("{}{round}", "p".repeat(1 + (round % 9) as usize));
    let project = root.join(&place);
    copy_otherwise(&workspace::root().join(SERVICE), &project, round)?;
    fs::create_dir_all(root.join("work"))?;
    let inside = |path: &Path| match enters {
        true => format!("/{}", path.strip_prefix(root).expect("it is below the root").display()),
        false => path.display().to_string(),
    };
    let zone = format!("TZ={}", ZONES[(round % 4) as usize]);
    let language = format!("LC_ALL={}", LANGUAGES[(round % 3) as usize]);
    let mask = ["022", "077", "002"][(round % 3) as usize];
    let mut words: Vec<String> = Vec::new();
    if enters {
        let namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        words.extend(namespaces.map(str::to_owned));
        words.push(format!("--root={}", root.display()));
    }
    let script = format!("umask {mask}; cd /tmp; exec \"$@\"");
    words.extend(
        ["env", "-i", "PATH=/usr/bin:/bin", &zone, &language, "sh", "-c", &script, "sh"].map(str::to_owned),
    );
    words.extend([
        inside(&root.join("native")),
        "service".to_owned(),
        inside(&project),
        inside(&root.join("work")),
    ]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = read(&workspace::root(), words[0], &words[1..])?;
    fs::remove_dir_all(&project)?;
    let digest = said.lines().find_map(|line| line.strip_prefix("digest "));
    digest.map(str::to_owned).ok_or_else(|| "the program did not say `digest`".into())
}

/// The files in another order, with other times, owners and modes each round.
fn copy_otherwise(from: &Path, to: &Path, round: u64) -> Outcome {
    fs::create_dir_all(to)?;
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    if round.is_multiple_of(2) {
        entries.reverse();
    }
    let turn = (round as usize) % entries.len().max(1);
    entries.rotate_left(turn);
    for entry in entries {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_otherwise(&entry.path(), &target, round)?;
            continue;
        }
        fs::copy(entry.path(), &target)?;
        std::os::unix::fs::chown(&target, Some(1000 + round as u32), Some(2000 + round as u32))?;
        let at = std::time::SystemTime::UNIX_EPOCH
            + std::time::Duration::from_secs(1_000_000_000 + round * 86_413);
        fs::File::options().write(true).open(&target)?.set_modified(at)?;
    }
    Ok(())
}
