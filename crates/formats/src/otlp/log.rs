//! A log record.

use super::any::{Any, Attributes};
use crate::Malformed;
use crate::protobuf::Fields;

#[derive(Debug, Clone, PartialEq)]
pub struct Log<'a> {
    pub time_ns: u64,
    /// When it was first seen; counts where it does not say when it happened.
    pub observed_ns: u64,
    /// 1 to 24, 0 where it does not say.
    pub severity: u64,
    pub severity_text: &'a str,
    pub body: Any<'a>,
    pub attributes: Attributes<'a>,
    pub trace: &'a [u8],
    pub span: &'a [u8],
    pub event: &'a str,
}

impl<'a> Log<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut log = Self {
            time_ns: 0,
            observed_ns: 0,
            severity: 0,
            severity_text: "",
            body: Any::None,
            attributes: Attributes::default(),
            trace: &[],
            span: &[],
            event: "",
        };
        for field in Fields::of(message) {
            let (number, value) = field?;
            match number {
                1 => log.time_ns = value.number()?,
                2 => log.severity = value.number()?,
                3 => log.severity_text = value.text()?,
                5 => log.body = Any::read(value.bytes()?)?,
                6 => log.attributes.add(value)?,
                9 => log.trace = value.bytes()?,
                10 => log.span = value.bytes()?,
                11 => log.observed_ns = value.number()?,
                12 => log.event = value.text()?,
                _ => {}
            }
        }
        Ok(log)
    }
}
