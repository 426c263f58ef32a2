//! From the libraries a program names to the Debian packages that hold them.

use super::elf::Elf;
use super::settings::{Machine, Project};
use super::suite::Suite;
use crate::BuildError;
use std::collections::BTreeSet;
use std::path::Path;

/// Library and package. A `*` at the end stands for `t64` from trixie on, for nothing before.
const TABLE: &[(&str, &str)] = &[
    ("ld-linux-aarch64.so.1", "libc6"),
    ("ld-linux-x86-64.so.2", "libc6"),
    ("libacl.so.1", "libacl1"),
    ("libatomic.so.1", "libatomic1"),
    ("libattr.so.1", "libattr1"),
    ("libbrotlidec.so.1", "libbrotli1"),
    ("libbrotlienc.so.1", "libbrotli1"),
    ("libbz2.so.1.0", "libbz2-1.0"),
    ("libc.so.6", "libc6"),
    ("libcap.so.2", "libcap2"),
    ("libcrypt.so.1", "libcrypt1"),
    ("libcrypto.so.3", "libssl3*"),
    ("libcurl.so.4", "libcurl4*"),
    ("libdbus-1.so.3", "libdbus-1-3"),
    ("libdl.so.2", "libc6"),
    ("libev.so.4", "libev4*"),
    ("libevent-2.1.so.7", "libevent-2.1-7*"),
    ("libexpat.so.1", "libexpat1"),
    ("libffi.so.8", "libffi8"),
    ("libfontconfig.so.1", "libfontconfig1"),
    ("libfreetype.so.6", "libfreetype6"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libgfortran.so.5", "libgfortran5"),
    ("libgmp.so.10", "libgmp10"),
    ("libgnutls.so.30", "libgnutls30*"),
    ("libgomp.so.1", "libgomp1"),
    ("libgssapi_krb5.so.2", "libgssapi-krb5-2"),
    ("libidn2.so.0", "libidn2-0"),
    ("libjemalloc.so.2", "libjemalloc2"),
    ("liblz4.so.1", "liblz4-1"),
    ("liblzma.so.5", "liblzma5"),
    ("libm.so.6", "libc6"),
    ("libmagic.so.1", "libmagic1*"),
    ("libmariadb.so.3", "libmariadb3"),
    ("libncursesw.so.6", "libncursesw6"),
    ("libnghttp2.so.14", "libnghttp2-14"),
    ("libnuma.so.1", "libnuma1"),
    ("libpam.so.0", "libpam0g"),
    ("libpcre2-8.so.0", "libpcre2-8-0"),
    ("libpq.so.5", "libpq5"),
    ("libpthread.so.0", "libc6"),
    ("librdkafka.so.1", "librdkafka1"),
    ("libreadline.so.8", "libreadline8*"),
    ("libresolv.so.2", "libc6"),
    ("librt.so.1", "libc6"),
    ("libseccomp.so.2", "libseccomp2"),
    ("libselinux.so.1", "libselinux1"),
    ("libsnappy.so.1", "libsnappy1v5"),
    ("libsodium.so.23", "libsodium23"),
    ("libsqlite3.so.0", "libsqlite3-0"),
    ("libssh2.so.1", "libssh2-1*"),
    ("libssl.so.3", "libssl3*"),
    ("libstdc++.so.6", "libstdc++6"),
    ("libsystemd.so.0", "libsystemd0"),
    ("libtinfo.so.6", "libtinfo6"),
    ("libudev.so.1", "libudev1"),
    ("libunwind.so.8", "libunwind8"),
    ("libutil.so.1", "libc6"),
    ("libuuid.so.1", "libuuid1"),
    ("libuv.so.1", "libuv1*"),
    ("libxml2.so.2", "libxml2"),
    ("libyaml-0.so.2", "libyaml-0-2"),
    ("libz.so.1", "zlib1g"),
    ("libzmq.so.5", "libzmq5"),
    ("libzstd.so.1", "libzstd1"),
];

/// The Debian packages one program needs, `None` when it is not ELF. `name` is for messages; the
/// libraries in `beside` come with the project itself.
pub fn packages_for_binary(
    path: &Path,
    name: &str,
    project_suite: &str,
    machine: Machine,
    more_packages_stated: bool,
    beside: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<String>>, BuildError> {
    let elf = Elf::read(path).map_err(BuildError::io(format!("read {}", path.display())))?;
    let Some(elf) = elf else { return Ok(None) };
    check_machine(&elf, name, machine)?;
    check_glibc(&elf, name, project_suite)?;
    check_interpreter(&elf, name)?;
    let mut packages = BTreeSet::new();
    for library in elf.needed.iter().filter(|library| !beside(library)) {
        match package_of(library, project_suite) {
            Some(package) => drop(packages.insert(package)),
            None if more_packages_stated => {}
            None => return Err(unknown_library(name, library)),
        }
    }
    if elf.interpreter.is_some() {
        packages.insert("libc6".to_owned());
    }
    Ok(Some(packages.into_iter().collect()))
}

/// The same for a recipe's own program.
pub fn packages_for(
    project: &Project,
    path: &Path,
    name: &str,
    beside: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<String>>, BuildError> {
    let stated = !project.image().packages.is_empty();
    packages_for_binary(path, name, &project.archive.suite, project.ctx.machine, stated, beside)
}

fn package_of(library: &str, suite: &str) -> Option<String> {
    let at = TABLE.binary_search_by(|(soname, _)| (*soname).cmp(library)).ok()?;
    let package = TABLE[at].1;
    let suffix = if Suite::find(suite).is_none_or(|suite| suite.t64) { "t64" } else { "" };
    Some(match package.strip_suffix('*') {
        Some(stem) => format!("{stem}{suffix}"),
        None => package.to_owned(),
    })
}

fn check_machine(elf: &Elf, name: &str, machine: Machine) -> Result<(), BuildError> {
    if elf.machine == Some(machine) {
        return Ok(());
    }
    let made_for = match (elf.machine, elf.machine_number) {
        (Some(other), _) => other.name().to_owned(),
        (None, 0) => "a 32-bit or big-endian processor".to_owned(),
        (None, number) => format!("another processor (ELF machine {number})"),
    };
    Err(BuildError::input_hint(
        format!("{name} is made for {made_for}, this machine is {}", machine.name()),
        format!("build it for {}-unknown-linux-gnu", machine.name()),
    ))
}

fn check_glibc(elf: &Elf, name: &str, suite: &str) -> Result<(), BuildError> {
    let (Some(wanted), Some(has)) = (elf.glibc, Suite::find(suite).map(|suite| suite.glibc)) else {
        return Ok(());
    };
    if wanted <= has {
        return Ok(());
    }
    Err(BuildError::input_hint(
        format!("{name} needs glibc {}.{}, but {suite} has {}.{}", wanted.0, wanted.1, has.0, has.1),
        format!(
            "build it on {suite} or older, build it static (`--target {}-unknown-linux-musl`), or choose a \
             newer suite with `x-juchu: {{image: {{archive: {{suite: …}}}}}}`",
            std::env::consts::ARCH
        ),
    ))
}

fn check_interpreter(elf: &Elf, name: &str) -> Result<(), BuildError> {
    match &elf.interpreter {
        Some(interpreter) if interpreter.contains("ld-musl") => Err(BuildError::input_hint(
            format!("{name} is linked dynamically against musl, which Debian packages do not provide"),
            "link it statically (`-C target-feature=+crt-static`) or against glibc",
        )),
        _ => Ok(()),
    }
}

fn unknown_library(name: &str, library: &str) -> BuildError {
    BuildError::input_hint(
        format!("{name} needs {library}, and no package is known that holds it"),
        "name the package with `x-juchu: {image: {packages: […]}}`; `apt-file search` or \
         packages.debian.org finds it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_for_its_search() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn package_names_follow_the_suite() {
        assert_eq!(package_of("libssl.so.3", "trixie").as_deref(), Some("libssl3t64"));
        assert_eq!(package_of("libssl.so.3", "bookworm").as_deref(), Some("libssl3"));
        assert_eq!(package_of("libz.so.1", "bookworm").as_deref(), Some("zlib1g"));
        assert_eq!(package_of("libnope.so.1", "trixie"), None);
    }

    fn check(path: &Path, suite: &str, machine: Machine) -> Result<Option<Vec<String>>, String> {
        packages_for_binary(path, "prog", suite, machine, false, &|_| false).map_err(|e| e.to_string())
    }

    #[test]
    fn a_program_names_its_packages_or_the_reason_it_cannot_run() {
        let me = std::env::current_exe().unwrap();
        let packages = check(&me, "trixie", Machine::host()).unwrap().unwrap();
        assert!(packages.contains(&"libc6".to_owned()), "{packages:?}");
        let other = if Machine::host() == Machine::X86_64 { Machine::Aarch64 } else { Machine::X86_64 };
        assert!(check(&me, "trixie", other).unwrap_err().contains("is made for"));
        let elf = Elf { glibc: Some((2, 99)), ..Elf::default() };
        let error = check_glibc(&elf, "prog", "trixie").unwrap_err().to_string();
        assert_eq!(error, "prog needs glibc 2.99, but trixie has 2.41");
    }
}
