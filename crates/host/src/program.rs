//! Finding the program to run inside an image, and saying in one sentence why it cannot run.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a program does not start, with the exit code a shell would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub code: i32,
    pub reason: String,
}

const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

impl Problem {
    pub fn other(reason: String) -> Self {
        Self { code: 125, reason }
    }
    fn not_found(reason: String) -> Self {
        Self { code: NOT_FOUND, reason }
    }
    fn not_executable(reason: String) -> Self {
        Self { code: NOT_EXECUTABLE, reason }
    }

    /// The form in which it passes the report pipe.
    pub fn parse(text: &str) -> Option<Self> {
        let (code, reason) = text.split_once('\n')?;
        Some(Self { code: code.parse().ok()?, reason: reason.to_owned() })
    }

    /// Explains what `execve` answered for a file that is there.
    pub fn of_execution(path: &str, error: &io::Error) -> Self {
        let head = head(Path::new(path));
        match error.raw_os_error() {
            Some(libc::ENOEXEC) => Self::not_executable(not_a_program(path, &head)),
            Some(libc::ENOENT) => Self::not_found(missing_interpreter(path, &head)),
            Some(libc::EACCES) => Self::not_executable(format!("`{path}` is not executable")),
            _ => Self::not_executable(format!("`{path}`: {error}")),
        }
    }
}

/// Looks `arguments[0]` up as a shell would; runs inside the container, as its user.
pub fn find_program(arguments: &[String], search_path: &str) -> Result<CString, Problem> {
    let Some(name) = arguments.first().filter(|name| !name.is_empty()) else {
        return Err(Problem::not_found("neither the image nor the service says what to run".to_owned()));
    };
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        search_path
            .split(':')
            .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
            .collect()
    };
    let mut refused = None;
    for path in candidates {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                refused = Some(format!("`{}` is a directory", path.display()))
            }
            Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
                refused = Some(format!("`{}` is not executable", path.display()));
            }
            Ok(_) => {
                return CString::new(path.into_os_string().into_encoded_bytes()).map_err(|_| zero_byte(name));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused = Some(format!("`{}` cannot be reached by the service's user", path.display()));
            }
            Err(_) => {}
        }
    }
    match refused {
        Some(reason) => Err(Problem::not_executable(reason)),
        None => Err(Problem::not_found(format!("executable `{name}` not found in the image"))),
    }
}

fn zero_byte(name: &str) -> Problem {
    Problem::not_found(format!("`{}` holds a zero byte", name.escape_debug()))
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // What cannot be read is explained without its content.
    let _ = fs::File::open(path).map(|file| file.take(256).read_to_end(&mut head));
    head
}

fn not_a_program(path: &str, head: &[u8]) -> String {
    match elf_machine(head) {
        Some(machine) if machine != own_machine() => format!(
            "`{path}` is built for {}, this machine is {}",
            machine_name(machine),
            machine_name(own_machine())
        ),
        Some(_) => format!("`{path}` is a damaged program"),
        None => format!("`{path}` is neither a program nor a script that begins with `#!`"),
    }
}

fn missing_interpreter(path: &str, head: &[u8]) -> String {
    let Some(line) = head.strip_prefix(b"#!") else {
        return format!("`{path}` needs a dynamic loader that is not in the image");
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let interpreter = String::from_utf8_lossy(line);
    let interpreter = interpreter.split_whitespace().next().unwrap_or_default().to_owned();
    if line.ends_with(b"\r") {
        return format!("`{path}` has Windows line ends, so its interpreter `{interpreter}` is not found");
    }
    format!("the interpreter `{interpreter}` of `{path}` is not in the image")
}

/// `e_machine` of an ELF file in either byte order.
fn elf_machine(head: &[u8]) -> Option<u16> {
    let bytes = head.starts_with(b"\x7fELF").then(|| head.get(18..20))??;
    let is_big_endian = head[5] == 2;
    let pair = [bytes[0], bytes[1]];
    Some(if is_big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
}

fn own_machine() -> u16 {
    match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        _ => 0,
    }
}

fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "x86 (32 bit)",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm (32 bit)",
        62 => "amd64",
        183 => "arm64",
        243 => "riscv64",
        258 => "loong64",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_machine_is_named() {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18..20].copy_from_slice(&40u16.to_le_bytes());
        assert!(
            not_a_program("/app", &elf).starts_with("`/app` is built for arm (32 bit), this machine is ")
        );
        elf[5] = 2;
        elf[18..20].copy_from_slice(&22u16.to_be_bytes());
        assert_eq!(elf_machine(&elf), Some(22));
        assert!(not_a_program("/app", b"hello").contains("neither"));
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        assert_eq!(
            missing_interpreter("/run.sh", b"#!/bin/bash -e\necho"),
            "the interpreter `/bin/bash` of `/run.sh` is not in the image"
        );
        assert!(missing_interpreter("/run.sh", b"#!/bin/sh\r\n").contains("Windows line ends"));
        assert!(missing_interpreter("/app", b"\x7fELF").contains("dynamic loader"));
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        fs::write(&path, "").unwrap();
        let search = format!("/nonexistent:{}", dir.path().display());
        let find = |name: &str| find_program(&[name.to_owned()], &search).map_err(|problem| problem.code);
        assert_eq!(find("tool"), Err(126));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("tool").unwrap().to_bytes(), path.as_os_str().as_encoded_bytes());
        assert_eq!(find("other"), Err(127));
        assert_eq!(find(""), Err(127));
        assert_eq!(find(&dir.path().display().to_string()), Err(126));
    }
}
