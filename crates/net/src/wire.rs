//! The netlink byte form, both ways: messages with a fixed header followed by attributes, each a
//! length, a type and a payload padded to four bytes. Integers are in the byte order of the host
//! except where a name says `be`. Source: `include/uapi/linux/netlink.h`.

/// Length of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// Set on the type of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// The part of an attribute's type that is its type; the rest are flags.
const TYPE_MASK: u16 = 0x3fff;

const fn padded(len: usize) -> usize {
    (len + 3) & !3
}

/// A run of attributes being written.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn bytes(mut self, kind: u16, payload: &[u8]) -> Self {
        let len = ATTRIBUTE_HEADER_LEN + payload.len();
        let len_field = u16::try_from(len).expect("no attribute written here reaches 64 KiB");
        self.0.extend_from_slice(&len_field.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(padded(self.0.len()), 0);
        self
    }

    /// Text with its closing NUL, as the kernel expects names.
    pub fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub fn u8(self, kind: u16, value: u8) -> Self {
        self.bytes(kind, &[value])
    }

    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub fn u32_be(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// A fixed structure in front of the attributes of a nest, as `VETH_INFO_PEER` has it.
    pub fn nest_with_header(self, kind: u16, header: &[u8], inner: Attributes) -> Self {
        self.bytes(kind | NESTED, &[header, &inner.0].concat())
    }
}

/// One request, complete but for its sequence number.
#[derive(Debug, Clone)]
pub struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// `header` is the fixed structure of the family, a multiple of four bytes long.
    pub fn new(kind: u16, flags: i32, header: &[u8], attributes: Attributes) -> Self {
        debug_assert_eq!(header.len() % 4, 0);
        let flags = u16::try_from(flags).expect("netlink flags have 16 bits");
        Self { kind, flags, body: [header, &attributes.0].concat() }
    }

    /// Appends the message to `buffer`; `port` 0 names the kernel's own numbering.
    pub fn write(&self, buffer: &mut Vec<u8>, extra_flags: u16, sequence: u32) {
        let len = u32::try_from(HEADER_LEN + self.body.len()).expect("a message is far below 4 GiB");
        buffer.extend_from_slice(&len.to_ne_bytes());
        buffer.extend_from_slice(&self.kind.to_ne_bytes());
        buffer.extend_from_slice(&(self.flags | extra_flags).to_ne_bytes());
        buffer.extend_from_slice(&sequence.to_ne_bytes());
        buffer.extend_from_slice(&0u32.to_ne_bytes());
        buffer.extend_from_slice(&self.body);
        buffer.resize(padded(buffer.len()), 0);
    }
}

/// One received message.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: &'a [u8],
}

/// Splits a datagram into its messages; stops at the first malformed one.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(datagram, 0)? as usize;
        let body = datagram.get(HEADER_LEN..len)?;
        let received = Received {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            body,
        };
        datagram = datagram.get(padded(len)..).unwrap_or(&[]);
        Some(received)
    })
}

/// The attributes of a run as (type, payload); stops at the first malformed one.
pub fn attributes(mut run: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u16_at(run, 0)? as usize;
        let kind = u16_at(run, 2)? & TYPE_MASK;
        let payload = run.get(ATTRIBUTE_HEADER_LEN..len)?;
        run = run.get(padded(len)..).unwrap_or(&[]);
        Some((kind, payload))
    })
}

/// The payload of the first attribute of a type.
pub fn attribute(run: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(run).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

/// Text up to its NUL.
pub fn text(payload: &[u8]) -> String {
    let end = payload.iter().position(|b| *b == 0).unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let inner = Attributes::new().u32(7, 42).text(8, "abc");
        let message = Message::new(16, 5, &[1, 2, 3, 4], Attributes::new().nest(3, inner).u8(4, 9));
        let mut buffer = Vec::new();
        message.write(&mut buffer, 0x400, 77);
        message.write(&mut buffer, 0, 78);
        let all: Vec<_> = messages(&buffer).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].flags, all[0].sequence), (16, 0x405, 77));
        let run = &all[1].body[4..];
        let nest = attribute(run, 3).expect("the nest is there");
        assert_eq!(u32_at(attribute(nest, 7).unwrap(), 0), Some(42));
        assert_eq!(text(attribute(nest, 8).unwrap()), "abc");
        assert_eq!(attribute(run, 4), Some(&[9u8][..]));
    }

    #[test]
    fn damaged_input_ends_quietly() {
        assert_eq!(messages(&[1, 0, 0]).count(), 0);
        assert_eq!(messages(&[4, 0, 0, 0, 1, 0, 0, 0]).count(), 0, "a length below the header");
        assert_eq!(messages(&[0xff; 64]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0, "a zero length must not loop for ever");
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
    }
}
