//! Gives memory back that only the start, or something rare, needed: free heap, and program text,
//! which the page cache goes on holding and which comes back by itself where it is used.

/// For a process of one thread: also the stack below this call.
pub fn trim_alone() {
    let local = 0u8;
    let here = &raw const local as usize;
    trim();
    for mapping in Mapping::all() {
        if mapping.is_stack && (mapping.start..mapping.end).contains(&here) {
            drop_pages(mapping.start, here.saturating_sub(STACK_IN_USE) & !0xfff);
        }
    }
}

/// For any process.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only returns free pages.
    unsafe {
        libc::malloc_trim(0);
    }
    for mapping in Mapping::all() {
        if mapping.is_text {
            drop_pages(mapping.start, mapping.end);
        }
    }
}

/// What may be in use below the address of a local variable: this call's own frames.
const STACK_IN_USE: usize = 16 << 10;

struct Mapping {
    start: usize,
    end: usize,
    /// Of a file, and never written.
    is_text: bool,
    is_stack: bool,
}

impl Mapping {
    fn all() -> Vec<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            is_text: rights == "r-xp" && line.contains('/'),
            is_stack: line.ends_with("[stack]"),
        })
    }
}

fn drop_pages(start: usize, end: usize) {
    if start < end {
        // SAFETY: the pages are either clean copies of a file, which are read again when needed, or
        // stack below every live frame of this only thread.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_stack_are_told_from_what_is_written() {
        let of = |line: &str| Mapping::parse(line).map(|found| (found.is_text, found.is_stack));
        assert_eq!(of("7f00-7f10 r-xp 00a73000 fe:00 17 /usr/bin/juchu"), Some((true, false)));
        assert_eq!(of("7f00-7f10 rw-p 00a73000 fe:00 17 /usr/bin/juchu"), Some((false, false)));
        assert_eq!(of("7f00-7f10 r--p 00a73000 fe:00 17 /usr/bin/juchu"), Some((false, false)));
        assert_eq!(of("7f00-7f10 r-xp 00000000 00:00 0 [vdso]"), Some((false, false)));
        assert_eq!(of("7ffc-7ffd rw-p 00000000 00:00 0 [stack]"), Some((false, true)));
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn this_process_runs_on_after_trimming() {
        assert!(Mapping::all().iter().any(|mapping| mapping.is_text));
        let text: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        trim();
        assert_eq!(text.join("").len(), 190);
    }
}
