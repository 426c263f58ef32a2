//! W3C trace contexts: one that is valid passes as it is, any other is replaced by a new one.
//! <https://www.w3.org/TR/trace-context/>. Where the gateway records a span it stands in between, and only
//! there: what a service sees as its parent is what somebody recorded, or nobody.

use model::traffic::Trace;
use std::ops::Range;

/// Where in the value the id of the trace is, and that of the parent.
pub const ID: Range<usize> = 3..35;
pub const PARENT: Range<usize> = 36..52;
/// The last digits of the id of the trace, which decide whether it is recorded.
const LOT: Range<usize> = 31..35;
const FLAGS: Range<usize> = 53..55;
/// Bytes of a value of version 00, which later versions begin with.
const LENGTH: usize = 55;
/// Bytes and members of a state that is handed on.
const MAX_STATE_BYTES: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;

/// What becomes of contexts on one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Percentage of new ones that ask to be recorded; none: contexts are left alone.
    sampled: Option<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(&Trace::default())
    }
}

impl Settings {
    pub fn new(declared: &Trace) -> Self {
        let share = declared.sampled.map_or(100, |share| share.get());
        Self { sampled: (!declared.off).then_some(share) }
    }

    pub const fn off() -> Self {
        Self { sampled: None }
    }

    pub fn is_on(self) -> bool {
        self.sampled.is_some()
    }

    /// A new context, of numbers that nobody gains from guessing.
    pub fn make(self, mut random: impl FnMut() -> u64) -> [u8; LENGTH] {
        let (high, low, parent) = (random(), random(), random());
        let is_recorded = low % 100 < u64::from(self.sampled.unwrap_or_default());
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut value[ID.start..ID.start + 16], high);
        // Ids of zeros alone are not valid.
        put_hex(&mut value[ID.start + 16..ID.end], low.max(1));
        put_hex(&mut value[PARENT], parent.max(1));
        value[LENGTH - 1] = b'0' + u8::from(is_recorded);
        value
    }
}

pub fn put_hex(room: &mut [u8], word: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, digit) in room.iter_mut().enumerate() {
        *digit = DIGITS[(word >> (60 - 4 * at)) as usize & 15];
    }
}

/// Whether a valid context asks to be recorded, and is one of those that are, `share` of 65,536: the same
/// for all that passes here of one trace.
pub fn is_chosen(value: &[u8], share: u32) -> bool {
    let digit = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'a' + 10 });
    value[FLAGS.end - 1] & 1 == 1 && value[LOT].iter().fold(0, |lot, byte| lot << 4 | digit(*byte)) < share
}

/// A context with another parent, in version 00.
pub fn with_parent(value: &[u8], parent: u64) -> [u8; LENGTH] {
    let mut own = *b"00-00000000000000000000000000000000-0000000000000000-00";
    own[ID].copy_from_slice(&value[ID]);
    put_hex(&mut own[PARENT], parent.max(1));
    own[FLAGS].copy_from_slice(&value[FLAGS]);
    own
}

/// The fields of one request.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    parent: Option<&'a [u8]>,
    parents: u8,
    state_bytes: usize,
    state_members: usize,
    bad_state: bool,
}

impl<'a> Seen<'a> {
    /// Takes a `traceparent` in; of several none counts.
    pub fn parent(&mut self, value: &'a [u8]) {
        self.parents = self.parents.saturating_add(1);
        self.parent = is_valid(value).then_some(value);
    }

    /// Takes a `tracestate` in; several are one list.
    pub fn state(&mut self, value: &[u8]) {
        let members = value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
        self.state_bytes += value.len();
        for member in members {
            self.state_members += 1;
            self.bad_state |= !is_member(member);
        }
    }

    /// The context that is handed on. Of a later version what version 00 knows of it is, too, as the
    /// rest means nothing to those who do not know it.
    pub fn valid(&self) -> Option<&'a [u8]> {
        self.parent.filter(|_| self.parents == 1)
    }

    /// The state belongs to a context that is handed on, and is one.
    pub fn passes_state(&self) -> bool {
        self.valid().is_some()
            && !self.bad_state
            && self.state_bytes <= MAX_STATE_BYTES
            && self.state_members <= MAX_STATE_MEMBERS
    }
}

fn is_valid(value: &[u8]) -> bool {
    let is_hex = |range: Range<usize>| value[range].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |range: Range<usize>| value[range].iter().all(|&b| b == b'0');
    if value.len() < LENGTH || [2, 35, 52].iter().any(|at| value[*at] != b'-') {
        return false;
    }
    let is_known = match &value[..2] {
        b"ff" => false,
        b"00" => value.len() == LENGTH,
        _ => value.len() == LENGTH || (value[LENGTH] == b'-' && value.iter().all(u8::is_ascii_graphic)),
    };
    is_known && [0..2, ID, PARENT, 53..LENGTH].into_iter().all(is_hex) && !is_zero(ID) && !is_zero(PARENT)
}

/// `vendor=anything`, in which neither is empty.
fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|&b| b == b'=') else { return false };
    let is_key = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    (1..=256).contains(&key.len())
        && key.iter().all(is_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(|b| matches!(b, b' '..=b'~') && *b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Percent;
    use proptest::prelude::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_not_exactly_a_context_is_none() {
        for (value, expect) in [
            (GIVEN, true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01what", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", false),
            ("", false),
        ] {
            let mut seen = Seen::default();
            seen.parent(value.as_bytes());
            assert_eq!(seen.valid().is_some(), expect, "{value}");
        }
        let mut seen = Seen::default();
        seen.parent(GIVEN.as_bytes());
        seen.parent(GIVEN.as_bytes());
        assert_eq!(seen.valid(), None, "of two nobody knows which counts");
    }

    #[test]
    fn a_state_goes_with_its_context_alone() {
        let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        for (parent, state, expect) in [
            (GIVEN, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", true),
            (GIVEN, "", true),
            (GIVEN, "a=1, ,b=2", true),
            (GIVEN, "a", false),
            (GIVEN, "A=1", false),
            (GIVEN, "a=1=2", false),
            (GIVEN, many.as_str(), false),
            ("nothing", "a=1", false),
        ] {
            let mut seen = Seen::default();
            seen.parent(parent.as_bytes());
            seen.state(state.as_bytes());
            assert_eq!(seen.passes_state(), expect, "{parent} {state}");
        }
    }

    #[test]
    fn new_contexts_are_valid_and_recorded_in_their_share() {
        let settings = |text: &str| {
            let sampled = Some(Percent::parse(text).expect("a share"));
            Settings::new(&Trace { off: false, sampled })
        };
        assert_eq!(
            std::str::from_utf8(&settings("1%").make(|| 0)),
            Ok("00-00000000000000000000000000000001-0000000000000001-01")
        );
        for (share, expect) in [("100%", 1000), ("10%", 100)] {
            let mut state = 0;
            let mut recorded = 0;
            for _ in 0..1000 {
                let value = settings(share).make(|| {
                    state += 1;
                    // The second of three decides, and goes through all parts in turn.
                    (state - 1) / 3
                });
                assert!(is_valid(&value));
                recorded += usize::from(value[LENGTH - 1] == b'1');
            }
            assert_eq!(recorded, expect, "{share}");
        }
        assert!(!Settings::new(&Trace { off: true, sampled: None }).is_on());
    }

    #[test]
    fn what_is_recorded_follows_from_the_trace_and_stands_in_between() {
        // The last digits are 4736, 18,230 of 65,536.
        for (value, share, expect) in [
            (GIVEN.to_owned(), 1 << 16, true),
            (GIVEN.to_owned(), 18_231, true),
            (GIVEN.to_owned(), 18_230, false),
            (GIVEN.to_owned(), 0, false),
            (GIVEN.replace("-01", "-00"), 1 << 16, false),
            (GIVEN.replace("-01", "-03"), 1 << 16, true),
            (GIVEN.replace("4736", "ffff"), 65_535, false),
        ] {
            assert_eq!(is_chosen(value.as_bytes(), share), expect, "{value} {share}");
        }
        let own = with_parent(b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", 0xab);
        let own = std::str::from_utf8(&own).expect("digits");
        assert_eq!(own, "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert!(is_valid(own.as_bytes()));
    }

    proptest! {
        #[test]
        fn random_values_never_panic(value in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..55, byte: u8) {
            is_valid(&value);
            let mut nearly = GIVEN.as_bytes().to_vec();
            nearly[at] = byte;
            let mut seen = Seen::default();
            seen.parent(&nearly);
            seen.state(&value);
            let is_text = seen.valid().is_none_or(|value| value.iter().all(u8::is_ascii_graphic));
            prop_assert!(is_text);
        }
    }
}
