//! OpenPGP packets and version 4 signatures (RFC 9580), only as far as verification needs them.

use super::{Malformed, OpenPgpError};

/// More packets than any archive keyring holds; a bound on work, not a promise.
const MAX_PACKETS: usize = 20_000;

pub const PUBLIC_KEY: u8 = 6;
pub const PUBLIC_SUBKEY: u8 = 14;
pub const USER_ID: u8 = 13;
pub const SIGNATURE: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub tag: u8,
    pub body: &'a [u8],
}

/// Reads from the front of a slice; every read is checked.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Malformed("a packet ends too early"))?;
        self.0 = tail;
        Ok(head)
    }
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two bytes were taken")))
    }
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }
    /// A multiprecision integer without leading zero bytes.
    pub fn mpi(&mut self) -> Result<&'a [u8], Malformed> {
        let bits = usize::from(self.u16()?);
        let bytes = self.take(bits.div_ceil(8))?;
        let leading = bytes.iter().take_while(|b| **b == 0).count();
        Ok(&bytes[leading..])
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Splits a byte string into its packets. Partial and indeterminate lengths do not occur in keys
/// and signatures and are refused.
pub fn packets(bytes: &[u8]) -> Result<Vec<Packet<'_>>, Malformed> {
    let mut reader = Reader(bytes);
    let mut found = Vec::new();
    while !reader.is_empty() {
        if found.len() == MAX_PACKETS {
            return Err(Malformed("too many packets"));
        }
        let header = reader.u8()?;
        let (tag, length) = match header {
            h if h & 0xC0 == 0xC0 => (h & 0x3F, new_length(&mut reader)?),
            h if h & 0x80 == 0x80 => (h >> 2 & 0x0F, old_length(h & 3, &mut reader)?),
            _ => return Err(Malformed("this is not OpenPGP data")),
        };
        found.push(Packet { tag, body: reader.take(length)? });
    }
    Ok(found)
}

fn old_length(kind: u8, reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    match kind {
        0 => Ok(usize::from(reader.u8()?)),
        1 => Ok(usize::from(reader.u16()?)),
        2 => Ok(reader.u32()? as usize),
        _ => Err(Malformed("a packet has no length")),
    }
}

fn new_length(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let first = reader.u8()?;
    match first {
        0..192 => Ok(usize::from(first)),
        192..224 => Ok((usize::from(first) - 192) * 256 + usize::from(reader.u8()?) + 192),
        255 => Ok(reader.u32()? as usize),
        _ => Err(Malformed("a packet has a partial length")),
    }
}

/// Subpacket lengths use the two-byte form up to 254 instead of partial lengths.
fn subpacket_length(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let first = reader.u8()?;
    match first {
        0..192 => Ok(usize::from(first)),
        192..255 => Ok((usize::from(first) - 192) * 256 + usize::from(reader.u8()?) + 192),
        255 => Ok(reader.u32()? as usize),
    }
}

/// A version 4 signature. Only what lies in its hashed part is believed, the issuer excepted,
/// which is no more than a hint which key to try.
#[derive(Debug, Clone)]
pub struct Signature<'a> {
    pub kind: u8,
    pub key_algorithm: u8,
    pub hash_algorithm: u8,
    /// Seconds since 1970.
    pub created: u32,
    /// Seconds after `created`; 0 is never.
    pub expires_after: u32,
    /// Seconds after the key's creation; 0 is never.
    pub key_expires_after: u32,
    pub key_flags: Option<u8>,
    pub issuer: Option<[u8; 8]>,
    pub embedded: Option<&'a [u8]>,
    /// From the version to the end of the hashed subpackets.
    pub hashed: &'a [u8],
    /// The algorithm's integers.
    pub value: &'a [u8],
}

impl<'a> Signature<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        if reader.u8()? != 4 {
            return Err(Malformed("a signature is not of version 4").into());
        }
        let (kind, key_algorithm, hash_algorithm) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let hashed_length = usize::from(reader.u16()?);
        let hashed_area = reader.take(hashed_length)?;
        let hashed = &body[..6 + hashed_length];
        let unhashed_length = usize::from(reader.u16()?);
        let unhashed_area = reader.take(unhashed_length)?;
        let _left_16_bits = reader.u16()?;
        let mut signature = Self {
            kind,
            key_algorithm,
            hash_algorithm,
            created: 0,
            expires_after: 0,
            key_expires_after: 0,
            key_flags: None,
            issuer: None,
            embedded: None,
            hashed,
            value: reader.0,
        };
        signature.read_subpackets(unhashed_area, false)?;
        signature.read_subpackets(hashed_area, true)?;
        if signature.created == 0 {
            return Err(Malformed("a signature has no date").into());
        }
        Ok(signature)
    }

    fn read_subpackets(&mut self, area: &'a [u8], trusted: bool) -> Result<(), Malformed> {
        let mut reader = Reader(area);
        while !reader.is_empty() {
            let length = subpacket_length(&mut reader)?;
            let mut content = Reader(reader.take(length)?);
            let tag = content.u8()?;
            match tag & 0x7F {
                2 if trusted => self.created = content.u32()?,
                3 if trusted => self.expires_after = content.u32()?,
                9 if trusted => self.key_expires_after = content.u32()?,
                27 if trusted => self.key_flags = Some(content.0.first().copied().unwrap_or(0)),
                16 => self.issuer = content.take(8)?.try_into().ok(),
                33 if content.0.len() == 21 && content.0[0] == 4 => {
                    self.issuer = content.0[13..].try_into().ok();
                }
                32 => self.embedded = Some(content.0),
                _ if trusted && tag & 0x80 != 0 => {
                    return Err(Malformed("a signature demands something unknown"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
