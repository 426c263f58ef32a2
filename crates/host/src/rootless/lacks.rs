//! What this machine lacks for running without root, as this user sees it, and the command that
//! gives it. Name spaces are tried, not guessed from settings; settings only explain a failure.

use super::delegation::given_to_this_user;
use super::ids::{Maps, Missing, name_of};
use super::record::Kept;
use super::{find_program, keeper};
use run::engine::Lack;
use std::fs::{self, File};
use std::path::Path;

/// Ids that Debian gives a new user.
const USUAL_IDS: &str = "100000-165535";
/// Below this, published ports are usually the administrator's.
const USUAL_PORT: u32 = 80;

fn lack(what: &str, effect: &str, hint: &str, fatal: bool) -> Lack {
    Lack { what: what.to_owned(), effect: effect.to_owned(), hint: hint.to_owned(), fatal }
}

/// `executable` is this program; `is_running` says that a daemon runs, which tells of its own
/// control groups itself.
pub fn lacks(runtime: &Path, executable: &Path, is_running: bool) -> Vec<Lack> {
    let uid = rustix::process::getuid().as_raw();
    let name = name_of(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
    let name = name.unwrap_or_else(|| uid.to_string());
    let mut list = Vec::new();
    if let Err(reason) = keeper::probe(executable) {
        list.push(name_spaces(&reason));
    }
    list.extend(Maps::of_this_user().lack().map(|missing| users(missing, &name)));
    if !is_running {
        list.extend(given_to_this_user().err().map(|why| groups(&why)));
    }
    list.extend(way_out(runtime));
    list.extend(low_ports(&number("net/ipv4/ip_unprivileged_port_start")));
    list.extend(lingering(runtime, &name));
    list
}

fn setting(name: &str) -> String {
    fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default().trim().to_owned()
}

fn number(name: &str) -> Option<u32> {
    setting(name).parse().ok()
}

fn name_spaces(reason: &str) -> Lack {
    let hint = if setting("user/max_user_namespaces") == "0" {
        "sudo sysctl -w user.max_user_namespaces=15000"
    } else if setting("kernel/unprivileged_userns_clone") == "0" {
        "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    } else if setting("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "sudo juchu …, which needs none; containers around this one must allow user name spaces"
    };
    lack(
        &format!("user name spaces for users who are not root ({reason})"),
        "nothing can run without root",
        hint,
        true,
    )
}

fn users(missing: Missing, name: &str) -> Lack {
    let effect = "inside there is no user but root: services that run as another one cannot start";
    match missing {
        Missing::Program(program) => {
            lack(&format!("the program {program}"), effect, "sudo apt-get install uidmap", false)
        }
        Missing::Ranges => lack(
            &format!("ranges of ids for {name} in /etc/subuid and /etc/subgid"),
            effect,
            &format!(
                "sudo usermod --add-subuids {USUAL_IDS} --add-subgids {USUAL_IDS} {name}, then end what runs"
            ),
            false,
        ),
    }
}

/// Also said by a daemon of its own group.
pub fn groups(why: &str) -> Lack {
    lack(
        &format!("a control group for this user ({why})"),
        "services that ask for a limit on memory, processors or processes are refused; the others run",
        "systemd-run --user --scope -p Delegate=yes juchu up -d, where systemd runs with control groups of \
         version 2 and no daemon runs yet",
        false,
    )
}

fn way_out(runtime: &Path) -> Option<Lack> {
    let effect = "services are reached and reach each other, but nothing outside";
    if find_program("pasta").is_none() {
        return Some(lack("the program pasta", effect, "sudo apt-get install passt", false));
    }
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        let hint = "sudo modprobe tun && sudo chmod 666 /dev/net/tun";
        return Some(lack(&format!("the device /dev/net/tun ({error})"), effect, hint, false));
    }
    let kept = Kept::alive(runtime)?;
    (!kept.outbound.is_some_and(crate::process::is_alive)).then(|| {
        lack(
            "a way out of the stacks' networks: pasta does not run",
            effect,
            "the daemon's log says why",
            false,
        )
    })
}

fn low_ports(first: &Option<u32>) -> Option<Lack> {
    let first = (*first)?;
    (first > USUAL_PORT).then(|| {
        lack(
            &format!("ports below {first}"),
            "they cannot be published without root",
            "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80",
            false,
        )
    })
}

/// Where systemd ends what a user runs, and the run-time directory, when the user logs out.
fn lingering(runtime: &Path, name: &str) -> Option<Lack> {
    let is_cleared = runtime.starts_with("/run/user") && Path::new("/run/systemd/system").is_dir();
    (is_cleared && !Path::new("/var/lib/systemd/linger").join(name).exists()).then(|| {
        lack(
            "lingering",
            "everything ends when you log out",
            &format!("loginctl enable-linger {name}"),
            false,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_missed_when_the_usual_one_is_not_there() {
        assert_eq!(low_ports(&Some(1024)).map(|lack| lack.what).as_deref(), Some("ports below 1024"));
        assert_eq!(low_ports(&Some(80)), None);
        assert_eq!(low_ports(&None), None);
    }

    #[test]
    fn every_lack_names_a_command() {
        for missing in [Missing::Program("newuidmap"), Missing::Ranges] {
            assert!(users(missing, "ann").hint.starts_with("sudo "));
        }
        assert!(groups("because").what.contains("because") && !groups("because").fatal);
        assert!(name_spaces("denied").fatal);
    }
}
