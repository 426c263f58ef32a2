//! The little of an ELF file that decides which packages a program needs: its machine, its
//! interpreter, the libraries it names and the newest glibc it asks for. Every read is bounded.

use super::settings::Machine;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub const HEADER_BYTES: u64 = 64;
const SEGMENT_LIMIT: u16 = 256;
const DYNAMIC_LIMIT: u64 = 1 << 20;
const LIBRARY_LIMIT: usize = 512;
const STRING_LIMIT: usize = 512;

/// What a 64-bit little-endian program says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// `None` for a processor this product does not run on.
    pub machine: Option<Machine>,
    /// `e_machine`, for messages.
    pub machine_number: u16,
    /// A program rather than a shared library.
    pub program: bool,
    pub interpreter: Option<String>,
    pub needed: Vec<String>,
    /// The newest `GLIBC_x.y` among its symbol versions.
    pub glibc: Option<(u32, u32)>,
}

impl Elf {
    /// Reads the file; `Ok(None)` when it is not ELF at all.
    pub fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let file = File::open(path)?;
        let mut header = [0u8; HEADER_BYTES as usize];
        match file.read_exact_at(&mut header, 0) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        if header[..4] != *b"\x7fELF" {
            return Ok(None);
        }
        if header[4] != 2 || header[5] != 1 {
            return Ok(Some(Self { program: true, ..Self::default() })); // 32 bit or big endian
        }
        Ok(Some(Reader { file: &file, header, segments: Vec::new() }.parse().unwrap_or_default()))
    }
}

pub fn is_program(path: &Path) -> bool {
    matches!(Elf::read(path), Ok(Some(elf)) if elf.program)
}

struct Reader<'a> {
    file: &'a File,
    header: [u8; HEADER_BYTES as usize],
    segments: Vec<Segment>,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;

/// The entries of the dynamic table that matter here.
#[derive(Default)]
struct Dynamic {
    needed: Vec<u64>,
    strings: u64,
    versions: Option<u64>,
    version_count: u64,
    position_independent_program: bool,
}

impl Reader<'_> {
    fn parse(mut self) -> Option<Elf> {
        let machine_number = u16_at(&self.header, 18)?;
        let kind = u16_at(&self.header, 16)?;
        self.read_segments()?;
        let interpreter = match self.segment(INTERPRETER) {
            Some(segment) => Some(self.text(segment.offset)?),
            None => None,
        };
        let dynamic = self.dynamic().unwrap_or_default();
        let strings = self.file_offset(dynamic.strings);
        let string = |at: u64| self.text(strings?.checked_add(at)?);
        let needed = dynamic.needed.iter().filter_map(|at| string(*at)).collect();
        let glibc = self.glibc(&dynamic, &string);
        let program =
            kind == 2 || (kind == 3 && (interpreter.is_some() || dynamic.position_independent_program));
        let machine = match machine_number {
            62 => Some(Machine::X86_64),
            183 => Some(Machine::Aarch64),
            _ => None,
        };
        Some(Elf { machine, machine_number, program, interpreter, needed, glibc })
    }

    fn read_segments(&mut self) -> Option<()> {
        let start = u64_at(&self.header, 32)?;
        let size = u16_at(&self.header, 54)?;
        let count = u16_at(&self.header, 56)?.min(SEGMENT_LIMIT);
        if size < 56 {
            return None;
        }
        for n in 0..u64::from(count) {
            let mut raw = [0u8; 56];
            self.file.read_exact_at(&mut raw, start.checked_add(n * u64::from(size))?).ok()?;
            self.segments.push(Segment {
                kind: u32_at(&raw, 0)?,
                offset: u64_at(&raw, 8)?,
                address: u64_at(&raw, 16)?,
                size: u64_at(&raw, 32)?,
            });
        }
        Some(())
    }

    fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    fn file_offset(&self, address: u64) -> Option<u64> {
        let holds = |s: &&Segment| s.kind == LOAD && address >= s.address && address - s.address < s.size;
        let segment = self.segments.iter().find(holds)?;
        segment.offset.checked_add(address - segment.address)
    }

    fn dynamic(&self) -> Option<Dynamic> {
        let segment = self.segment(DYNAMIC)?;
        let mut raw = vec![0u8; segment.size.min(DYNAMIC_LIMIT) as usize];
        self.file.read_exact_at(&mut raw, segment.offset).ok()?;
        let mut dynamic = Dynamic::default();
        for pair in raw.chunks_exact(16) {
            let (tag, value) = (u64_at(pair, 0)?, u64_at(pair, 8)?);
            match tag {
                0 => break,
                1 if dynamic.needed.len() < LIBRARY_LIMIT => dynamic.needed.push(value),
                5 => dynamic.strings = value,
                0x6fff_fffe => dynamic.versions = Some(value),
                0x6fff_ffff => dynamic.version_count = value,
                0x6fff_fffb => dynamic.position_independent_program = value & 0x0800_0000 != 0,
                _ => {}
            }
        }
        Some(dynamic)
    }

    /// Walks the version needs: one record for each library, each with a list of names.
    fn glibc(&self, dynamic: &Dynamic, string: &dyn Fn(u64) -> Option<String>) -> Option<(u32, u32)> {
        let mut newest = None;
        let mut at = self.file_offset(dynamic.versions?)?;
        for _ in 0..dynamic.version_count.min(LIBRARY_LIMIT as u64) {
            let need = self.bytes::<16>(at)?;
            let mut name_at = at.checked_add(u64::from(u32_at(&need, 8)?))?;
            for _ in 0..u16_at(&need, 2)? {
                let aux = self.bytes::<16>(name_at)?;
                newest = newest.max(glibc_version(&string(u64::from(u32_at(&aux, 8)?))?));
                match u32_at(&aux, 12)? {
                    0 => break,
                    next => name_at = name_at.checked_add(u64::from(next))?,
                }
            }
            match u32_at(&need, 12)? {
                0 => break,
                next => at = at.checked_add(u64::from(next))?,
            }
        }
        newest
    }

    fn bytes<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut raw = [0u8; N];
        self.file.read_exact_at(&mut raw, offset).ok()?;
        Some(raw)
    }

    fn text(&self, offset: u64) -> Option<String> {
        let mut raw = [0u8; STRING_LIMIT];
        let n = self.file.read_at(&mut raw, offset).ok()?;
        let end = raw[..n].iter().position(|byte| *byte == 0)?;
        String::from_utf8(raw[..end].to_vec()).ok()
    }
}

fn glibc_version(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.strip_prefix("GLIBC_")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn u16_at(raw: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(raw.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(raw: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(raw.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(raw: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(raw.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_is_understood() {
        let elf = Elf::read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert_eq!(elf.machine, Some(Machine::host()));
        assert!(elf.program);
        assert!(elf.interpreter.unwrap().contains("ld-linux"));
        assert!(elf.needed.iter().any(|name| name == "libc.so.6"), "{:?}", elf.needed);
        assert!(elf.glibc.unwrap() >= (2, 17));
    }

    #[test]
    fn text_and_short_files_are_not_elf() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"#!/bin/sh\n", &[b'x'; 4096]] {
            let path = dir.path().join("file");
            std::fs::write(&path, content).unwrap();
            assert_eq!(Elf::read(&path).unwrap(), None);
        }
    }

    #[test]
    fn a_damaged_header_is_read_without_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let real = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for at in 0..256 {
            let mut head = real[..real.len().min(64 << 10)].to_vec();
            head[at] = 0xff;
            if head[..4] == *b"\x7fELF" {
                std::fs::write(&path, &head).unwrap();
                assert!(Elf::read(&path).unwrap().is_some());
            }
        }
    }
}
