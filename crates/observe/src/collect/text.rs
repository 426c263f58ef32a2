//! Words, numbers and names out of the kernel's texts, without allocation.

/// The words of a line.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace()
}

pub(crate) fn number(text: &str) -> Option<f64> {
    // The common case by hand: the library's parser takes four times as long.
    let bytes = text.as_bytes();
    if (1..=15).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit) {
        return Some(bytes.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0')) as f64);
    }
    text.parse().ok()
}

/// The number of a file that holds nothing else.
pub(crate) fn only_number(text: &str) -> Option<f64> {
    number(text.trim_ascii())
}

/// `key value` on one of the lines.
pub(crate) fn keyed(text: &str, key: &str) -> Option<f64> {
    text.lines().find_map(|line| number(line.strip_prefix(key)?.strip_prefix(' ')?.trim_ascii()))
}

/// The longest name that is put together from parts.
const NAME_MAX: usize = 120;

/// A name put together from parts on the stack.
pub(crate) struct Name {
    bytes: [u8; NAME_MAX],
    length: usize,
}

impl Name {
    /// None when it would be too long, which no file of the kernel leads to.
    pub fn of(parts: &[&str]) -> Option<Self> {
        let mut name = Self { bytes: [0; NAME_MAX], length: 0 };
        for part in parts {
            let end = name.length + part.len();
            name.bytes.get_mut(name.length..end)?.copy_from_slice(part.as_bytes());
            name.length = end;
        }
        Some(name)
    }

    /// A number as a word.
    pub fn decimal(number: u32) -> Option<Self> {
        let mut digits = [0; 10];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        Self::of(&[std::str::from_utf8(&digits[at..]).ok()?])
    }

    /// What may not stand in the name of a metric becomes `_`.
    pub fn clean(mut self) -> Self {
        for byte in &mut self.bytes[..self.length] {
            if !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte != b':' {
                *byte = b'_';
            }
        }
        self
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        assert_eq!(number("42"), Some(42.0));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX as f64));
        assert_eq!(number("-1.5"), Some(-1.5));
        assert_eq!(number("x"), None);
        assert_eq!(keyed("a 1\nab 2\n", "ab"), Some(2.0));
        assert_eq!(Name::of(&["a", "(b"]).unwrap().clean().as_str(), "a_b");
        assert!(Name::of(&["a"; 121]).is_none());
        let decimal = |number| Name::decimal(number).unwrap().as_str().to_owned();
        assert_eq!([decimal(0), decimal(10), decimal(u32::MAX)], ["0", "10", "4294967295"]);
    }
}
