//! A span.

use super::any::Attributes;
use crate::Malformed;
use crate::protobuf::Fields;

/// Events, and links, of a span that are read; more are counted.
const EVENTS_MAX: usize = 64;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Span<'a> {
    /// 16 bytes.
    pub trace: &'a [u8],
    /// 8 bytes.
    pub id: &'a [u8],
    /// 8 bytes, or none.
    pub parent: &'a [u8],
    pub name: &'a str,
    pub kind: Kind,
    pub start_ns: u64,
    pub end_ns: u64,
    pub attributes: Attributes<'a>,
    pub events: Vec<Event<'a>>,
    pub links: Vec<Link<'a>>,
    pub status: Status,
    pub message: &'a str,
    /// Events and links beyond the limit.
    pub surplus: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl Kind {
    pub fn name(self) -> &'static str {
        ["internal", "server", "client", "producer", "consumer"][self as usize]
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Unset,
    Ok,
    Error,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event<'a> {
    pub time_ns: u64,
    pub name: &'a str,
    pub attributes: Attributes<'a>,
}

/// Another span that this one has to do with.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Link<'a> {
    pub trace: &'a [u8],
    pub id: &'a [u8],
}

impl<'a> Span<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut span = Self::default();
        for field in Fields::of(message) {
            let (number, value) = field?;
            match number {
                1 => span.trace = value.bytes()?,
                2 => span.id = value.bytes()?,
                4 => span.parent = value.bytes()?,
                5 => span.name = value.text()?,
                6 => span.kind = kind(value.number()?),
                7 => span.start_ns = value.number()?,
                8 => span.end_ns = value.number()?,
                9 => span.attributes.add(value)?,
                11 if span.events.len() < EVENTS_MAX => span.events.push(event(value.bytes()?)?),
                13 if span.links.len() < EVENTS_MAX => span.links.push(link(value.bytes()?)?),
                11 | 13 => span.surplus += 1,
                15 => (span.status, span.message) = status(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(span)
    }

    /// Whether its identifiers are some: of the right length and not zero.
    pub fn is_valid(&self) -> bool {
        let is_id = |id: &[u8], length| id.len() == length && id.iter().any(|byte| *byte != 0);
        is_id(self.trace, 16) && is_id(self.id, 8)
    }

    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

fn kind(number: u64) -> Kind {
    match number {
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => Kind::Internal,
    }
}

fn event(message: &[u8]) -> Result<Event<'_>, Malformed> {
    let mut event = Event::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => event.time_ns = value.number()?,
            (2, value) => event.name = value.text()?,
            (3, value) => event.attributes.add(value)?,
            _ => {}
        }
    }
    Ok(event)
}

fn link(message: &[u8]) -> Result<Link<'_>, Malformed> {
    let mut link = Link::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => link.trace = value.bytes()?,
            (2, value) => link.id = value.bytes()?,
            _ => {}
        }
    }
    Ok(link)
}

fn status(message: &[u8]) -> Result<(Status, &str), Malformed> {
    let (mut status, mut text) = (Status::Unset, "");
    for field in Fields::of(message) {
        match field? {
            (2, value) => text = value.text()?,
            (3, value) => {
                status = match value.number()? {
                    1 => Status::Ok,
                    2 => Status::Error,
                    _ => Status::Unset,
                }
            }
            _ => {}
        }
    }
    Ok((status, text))
}
