//! Two numbers that are not numbers: a NaN each, told apart by their bits.

/// The mark that a series has ended, with the bits that Prometheus gives it.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Inside the storage: nothing was measured at this tick. Never handed out.
pub const ABSENT: f64 = f64::from_bits(0x7ff4_a0b5_e000_0001);

/// Whether this is the mark [`STALE`]; any other NaN is a value.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// Whether something was measured: neither absent nor the mark of an end.
pub(crate) fn is_live(value: f64) -> bool {
    !is_stale(value) && !is_absent(value)
}
