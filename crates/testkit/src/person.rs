//! An ordinary user of this machine for one test: programs run as it, with a login and ranges of
//! ids that only they see. Nothing in `/etc` is changed.

use crate::TempDir;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Users of tests are from here on; each process has a few.
const FIRST: u32 = 600_000_000;
const PER_PROCESS: u32 = 8;
/// Their ranges are from here on.
const FIRST_RANGE: u32 = 700_000_000;
const RANGES: u32 = 20_000;
const RANGE: u32 = 65_536;

/// Shows the program the user's own files in the place of the machine's, and becomes the user.
const BECOME: &str = r#"for name in passwd group subuid subgid; do
  [ ! -e "$PERSON/$name" ] || mount --bind "$PERSON/$name" "/etc/$name" || exit 125
done
exec setpriv --reuid "$PERSON_ID" --regid "$PERSON_ID" --clear-groups -- "$@""#;

/// The same where no user name space can be made: the kernel makes none for those in a changed root.
const BECOME_CONFINED: &str = r#"for name in passwd group subuid subgid; do
  [ ! -e "$PERSON/$name" ] || mount --bind "$PERSON/$name" "/etc/$name" || exit 125
done
mount --rbind / "$PERSON/root" || exit 125
exec chroot --userspec="$PERSON_ID:$PERSON_ID" --groups="" "$PERSON/root" \
  sh -c 'cd "$0" && exec "$@"' "$PWD" "$@""#;

#[derive(Debug)]
pub struct Person {
    files: TempDir,
    id: u32,
    script: &'static str,
}

impl Person {
    /// With a range of ids; `None`, with the reason printed, where that cannot be.
    pub fn new(test: &str) -> Option<Self> {
        if !crate::require_root(test) {
            return None;
        }
        crate::needs("newuidmap", "uidmap")?;
        let person = Self::make(BECOME)?;
        let slot = (person.id - FIRST) % RANGES;
        let ranges = format!("{}:{}:{RANGE}\n", person.id, FIRST_RANGE + slot * RANGE);
        for name in ["subuid", "subgid"] {
            person.files.write(name, &ranges);
        }
        Some(person)
    }

    /// With no id but its own.
    pub fn without_ranges(test: &str) -> Option<Self> {
        let person = crate::require_root(test).then(|| Self::make(BECOME))??;
        for name in ["subuid", "subgid"] {
            person.files.write(name, "");
        }
        Some(person)
    }

    /// One that the kernel lets make no user name space.
    pub fn confined(test: &str) -> Option<Self> {
        let person = crate::require_root(test).then(|| Self::make(BECOME_CONFINED))??;
        fs::create_dir(person.files.join("root")).expect("a new directory");
        Some(person)
    }

    fn make(script: &'static str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for program in ["unshare", "setpriv", "mount"] {
            crate::needs(program, "util-linux")?;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = FIRST + std::process::id() % 10_000_000 * PER_PROCESS + number % PER_PROCESS;
        let person = Self { files: TempDir::reachable(), id, script };
        let of_machine = |name: &str| fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
        let home = person.home();
        let login = format!("person{id}:x:{id}:{id}::{}:/bin/sh\n", home.display());
        person.files.write("passwd", of_machine("passwd") + &login);
        person.files.write("group", of_machine("group") + &format!("person{id}:x:{id}:\n"));
        fs::create_dir(&home).expect("a new directory");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("it is ours");
        person.give(&home);
        Some(person)
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Only this user can enter it.
    pub fn home(&self) -> PathBuf {
        self.files.join("home")
    }

    /// Makes everything at and below `path` this user's.
    pub fn give(&self, path: &Path) {
        lchown(path, Some(self.id), Some(self.id)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            for entry in fs::read_dir(path).expect("readable").flatten() {
                self.give(&entry.path());
            }
        }
    }

    /// A program that this user may run, wherever it was built.
    pub fn program(&self, built: &Path) -> PathBuf {
        let path = self.files.join(built.file_name().expect("a program has a name"));
        if !path.exists() && fs::hard_link(built, &path).is_err() {
            fs::copy(built, &path).unwrap_or_else(|e| panic!("copy {}: {e}", built.display()));
        }
        path
    }

    /// Runs a program as this user; its environment is clean but for what is needed.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c", self.script, "sh"])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home())
            .env("PERSON", self.files.path())
            .env("PERSON_ID", self.id.to_string());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &mut Command) -> String {
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn a_person_has_a_login_and_a_range_and_nothing_else() {
        let Some(person) = Person::new("a person") else { return };
        assert_eq!(said(person.command("id").arg("-u")), person.id().to_string());
        assert_eq!(said(person.command("id").arg("-G")), person.id().to_string());
        assert_eq!(said(person.command("id").arg("-un")), format!("person{}", person.id()));
        let ranges = said(person.command("cat").arg("/etc/subuid"));
        assert!(ranges.starts_with(&format!("{}:", person.id())) && ranges.ends_with(":65536"), "{ranges}");
        let machine = fs::read_to_string("/etc/passwd").expect("readable");
        assert!(!machine.contains(&format!("person{}", person.id())), "the machine does not know it");
    }

    #[test]
    fn a_confined_person_makes_no_name_space() {
        let Some(person) = Person::confined("a confined person") else { return };
        assert_eq!(said(person.command("id").arg("-u")), person.id().to_string());
        let made = person.command("unshare").args(["-U", "true"]).output().expect("it runs");
        assert!(!made.status.success());
    }
}
