//! Reading and writing small numbers, with every length checked.

/// The bytes end early or say something that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes cannot be read: {0}")]
pub struct Malformed(pub &'static str);

/// Seven bits in each byte, the lowest first.
pub fn put_number(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Small numbers of both signs stay small.
pub fn put_signed(into: &mut Vec<u8>, number: i64) {
    put_number(into, fold(number));
}

pub fn put_text(into: &mut Vec<u8>, text: &str) {
    put_number(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

pub const fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

pub const fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Reads what the functions above wrote.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed("they end early"))?;
        self.rest = rest;
        Ok(*first)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(Malformed("a number is too large"));
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too long"))
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        self.number().map(unfold)
    }

    /// A count of things that take at least one byte each (or `limit`, where they may take none).
    pub fn count(&mut self, limit: usize) -> Result<usize, Malformed> {
        let count = self.number()?;
        if count > limit as u64 { Err(Malformed("a count is too large")) } else { Ok(count as usize) }
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed("they end early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn float(&mut self) -> Result<f64, Malformed> {
        let bytes = self.bytes(8)?.try_into().expect("eight bytes were asked for");
        Ok(f64::from_le_bytes(bytes))
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.count(self.rest.len())?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Malformed("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.signed(), Ok(number));
            assert!(reader.is_at_end());
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_told() {
        assert!(Reader::new(&[0x80; 11]).number().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).number().is_err());
        assert!(Reader::new(&[0x80]).number().is_err());
        assert!(Reader::new(&[5, b'a']).text().is_err());
    }
}
