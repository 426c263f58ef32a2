//! Protocol buffers on the wire: the fields of a message one after the other, borrowed, and back.
//! <https://protobuf.dev/programming-guides/encoding/>

/// What was sent cannot be read; the text says what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The value of a field as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Fixed64(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message in the order in which they came; nothing comes after a mistake.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn next_field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = self.number()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed("the number of a field is too large"))?;
        if number == 0 {
            return Err(Malformed("a field has no number"));
        }
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed("a field is of a kind that is not used any more")),
        };
        Ok((number, value))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(Malformed("a number does not end"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed("a field is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.next_field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Value<'a> {
    /// Of a message, a text or bytes.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a field is of another kind than it should be")),
        }
    }

    pub fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// Of any kind of number, its bits.
    pub fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) | Self::Fixed64(number) => Ok(number),
            Self::Fixed32(number) => Ok(u64::from(number)),
            Self::Bytes(_) => Err(Malformed("a field is of another kind than it should be")),
        }
    }

    pub fn signed(self) -> Result<i64, Malformed> {
        Ok(self.number()?.cast_signed())
    }

    pub fn float(self) -> Result<f64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed("a field is of another kind than it should be")),
        }
    }

    /// Calls with each of repeated numbers of eight bytes, packed or one at a time.
    pub fn each_fixed64(self, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
        match self {
            Self::Fixed64(bits) => each(bits),
            Self::Bytes(bytes) => {
                let (all, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(Malformed("packed numbers are cut off"));
                }
                all.iter().for_each(|bits| each(u64::from_le_bytes(*bits)));
            }
            _ => return Err(Malformed("a field is of another kind than it should be")),
        }
        Ok(())
    }

    /// Calls with each of repeated numbers of variable length.
    pub fn each_number(self, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
        match self {
            Self::Number(number) => each(number),
            Self::Bytes(bytes) => {
                let mut packed = Fields::of(bytes);
                while !packed.rest.is_empty() {
                    each(packed.number()?);
                }
            }
            _ => return Err(Malformed("a field is of another kind than it should be")),
        }
        Ok(())
    }
}

/// Appends a number of variable length.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, number);
}

pub fn put_fixed64(out: &mut Vec<u8>, field: u32, bits: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

pub fn put_fixed32(out: &mut Vec<u8>, field: u32, bits: u32) {
    put_varint(out, u64::from(field) << 3 | 5);
    out.extend_from_slice(&bits.to_le_bytes());
}

pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that the length of a message takes while its end is not known.
const LENGTH_BYTES: usize = 5;

/// Appends a message that `put` writes; its length always takes five bytes, which every reader takes.
pub fn put_message<T>(out: &mut Vec<u8>, field: u32, put: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    put_varint(out, u64::from(field) << 3 | 2);
    let start = out.len() + LENGTH_BYTES;
    out.resize(start, 0);
    let done = put(out);
    let mut length = out.len() - start;
    for place in &mut out[start - LENGTH_BYTES..start] {
        *place = length as u8 | 0x80;
        length >>= 7;
    }
    out[start - 1] &= 0x7f;
    debug_assert!(length == 0, "messages are shorter than 32 GiB");
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_back_as_they_were_put() {
        let mut out = Vec::new();
        put_number(&mut out, 1, u64::MAX);
        put_bytes(&mut out, 200, "ü".as_bytes());
        put_message(&mut out, 3, |out| put_fixed64(out, 1, 0.5f64.to_bits()));
        put_fixed32(&mut out, 4, 7);
        let fields: Vec<_> = Fields::of(&out).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields[0], (1, Value::Number(u64::MAX)));
        assert_eq!(fields[1].1.text(), Ok("ü"));
        let inner: Vec<_> = Fields::of(fields[2].1.bytes().unwrap()).collect::<Result<_, _>>().unwrap();
        assert_eq!(inner[0].1.float(), Ok(0.5));
        assert_eq!(fields[3], (4, Value::Fixed32(7)));
    }

    #[test]
    fn packed_numbers_are_those_one_at_a_time() {
        let mut found = Vec::new();
        Value::Bytes(&[1, 0x80, 1]).each_number(|number| found.push(number)).unwrap();
        Value::Number(7).each_number(|number| found.push(number)).unwrap();
        Value::Bytes(&9u64.to_le_bytes()).each_fixed64(|number| found.push(number)).unwrap();
        assert_eq!(found, [1, 128, 7, 9]);
        assert!(Value::Bytes(&[0; 9]).each_fixed64(|_| {}).is_err());
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_told() {
        for (bytes, told) in [
            (&[0x08][..], "a number does not end"),
            (&[0x0a, 5, 1], "a field is cut off"),
            (&[0x0b], "a field is of a kind that is not used any more"),
            (&[0x00, 0], "a field has no number"),
            (&[0xff; 11], "a number does not end"),
        ] {
            let mut fields = Fields::of(bytes);
            assert_eq!(fields.next(), Some(Err(Malformed(told))), "{bytes:?}");
            assert_eq!(fields.next(), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let length: usize = Fields::of(&bytes)
                .map_while(Result::ok)
                .map(|(_, value)| value.bytes().map_or(1, <[u8]>::len))
                .sum();
            prop_assert!(length <= bytes.len());
        }
    }
}
