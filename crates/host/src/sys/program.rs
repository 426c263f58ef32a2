//! Programs of the kernel's own machine that decide who may use which device.

use super::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One instruction of the kernel's own machine, as in `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Instruction {
    pub code: u8,
    /// The source in the upper half, the destination in the lower.
    pub registers: u8,
    pub offset: i16,
    pub value: i32,
}

impl Instruction {
    pub const END: Self = Self { code: 0x95, registers: 0, offset: 0, value: 0 };

    pub const fn load(to: u8, from: u8, offset: i16) -> Self {
        Self { code: 0x61, registers: from << 4 | to, offset, value: 0 }
    }

    pub const fn copy(to: u8, from: u8) -> Self {
        Self { code: 0xbf, registers: from << 4 | to, offset: 0, value: 0 }
    }

    pub const fn set(to: u8, value: i32) -> Self {
        Self { code: 0xb7, registers: to, offset: 0, value }
    }

    pub const fn and(to: u8, value: i32) -> Self {
        Self { code: 0x57, registers: to, offset: 0, value }
    }

    pub const fn shift_right(to: u8, value: i32) -> Self {
        Self { code: 0x77, registers: to, offset: 0, value }
    }

    /// Compares the lower 32 bits.
    pub const fn skip_if_equal(register: u8, value: i32, offset: i16) -> Self {
        Self { code: 0x16, registers: register, offset, value }
    }

    pub const fn skip_unless_equal(register: u8, value: i32, offset: i16) -> Self {
        Self { code: 0x56, registers: register, offset, value }
    }
}

/// The part of `union bpf_attr` that loading a program needs.
#[repr(C)]
struct LoadProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part that attaching one needs.
#[repr(C)]
struct AttachProgram {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// From now on `program` is asked whether a process of the group may use a device.
pub fn attach_device_program(group: &impl AsFd, program: &[Instruction]) -> io::Result<()> {
    const LOAD: libc::c_int = 5;
    const ATTACH: libc::c_int = 8;
    const KIND: u32 = 15;
    const ATTACHED_AS: u32 = 6;
    const BESIDE_OTHERS: u32 = 2;
    let load = LoadProgram {
        kind: KIND,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        licence: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the record and what it points to live until the call returns; the kernel checks the program.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of_val(&load)) };
    // SAFETY: a new descriptor that nobody else has.
    let loaded = unsafe { OwnedFd::from_raw_fd(check(loaded as libc::c_int)?) };
    let attach = AttachProgram {
        target: group.as_fd().as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        kind: ATTACHED_AS,
        flags: BESIDE_OTHERS,
    };
    // SAFETY: the record lives until the call returns; both descriptors are open.
    check(unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attach, size_of_val(&attach)) }
        as libc::c_int)?;
    Ok(())
}
