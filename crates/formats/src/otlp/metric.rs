//! A metric and its points, read one at a time.

use super::any::Attributes;
use crate::Malformed;
use crate::protobuf::{Fields, Value};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub unit: &'a str,
    pub data: Data<'a>,
}

/// Of which kind the points are; they are read by [`Number`], [`Buckets`] or [`Quantiles`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Data<'a> {
    None,
    Gauge(&'a [u8]),
    Sum { points: &'a [u8], is_delta: bool, is_monotonic: bool },
    Histogram { points: &'a [u8], is_delta: bool },
    Exponential(&'a [u8]),
    Summary(&'a [u8]),
}

impl<'a> Metric<'a> {
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut metric = Self { name: "", description: "", unit: "", data: Data::None };
        for field in Fields::of(message) {
            let (number, value) = field?;
            match number {
                1 => metric.name = value.text()?,
                2 => metric.description = value.text()?,
                3 => metric.unit = value.text()?,
                5 => metric.data = Data::Gauge(value.bytes()?),
                7 => metric.data = sum(value.bytes()?)?,
                9 => {
                    let points = value.bytes()?;
                    metric.data = Data::Histogram { points, is_delta: is_delta(points)? };
                }
                10 => metric.data = Data::Exponential(value.bytes()?),
                11 => metric.data = Data::Summary(value.bytes()?),
                _ => {}
            }
        }
        Ok(metric)
    }

    /// How many points there are.
    pub fn count(&self) -> Result<usize, Malformed> {
        let mut count = 0;
        each_point(self.data.message(), |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }
}

impl<'a> Data<'a> {
    fn message(self) -> &'a [u8] {
        match self {
            Self::None => &[],
            Self::Gauge(points) | Self::Exponential(points) | Self::Summary(points) => points,
            Self::Sum { points, .. } | Self::Histogram { points, .. } => points,
        }
    }
}

fn sum(points: &[u8]) -> Result<Data<'_>, Malformed> {
    let mut is_monotonic = false;
    for field in Fields::of(points) {
        if let (3, value) = field? {
            is_monotonic = value.number()? != 0;
        }
    }
    Ok(Data::Sum { points, is_delta: is_delta(points)?, is_monotonic })
}

/// The second field says what points count from: 1 the point before.
fn is_delta(points: &[u8]) -> Result<bool, Malformed> {
    let mut is_delta = false;
    for field in Fields::of(points) {
        if let (2, value) = field? {
            is_delta = value.number()? == 1;
        }
    }
    Ok(is_delta)
}

fn each_point<'a>(
    message: &'a [u8],
    mut each: impl FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for field in Fields::of(message) {
        if let (1, point) = field? {
            each(point.bytes()?)?;
        }
    }
    Ok(())
}

/// Nothing was measured: the series has ended.
fn is_ended(flags: Value<'_>) -> Result<bool, Malformed> {
    Ok(flags.number()? & 1 == 1)
}

/// A point of a gauge or a sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Number<'a> {
    pub time_ns: u64,
    pub value: f64,
    pub attributes: Attributes<'a>,
    pub has_ended: bool,
}

impl<'a> Number<'a> {
    pub fn each(
        points: &'a [u8],
        mut each: impl FnMut(Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        each_point(points, |message| {
            let mut point = Self::default();
            for field in Fields::of(message) {
                let (number, value) = field?;
                match number {
                    3 => point.time_ns = value.number()?,
                    4 => point.value = value.float()?,
                    6 => point.value = value.signed()? as f64,
                    7 => point.attributes.add(value)?,
                    8 => point.has_ended = is_ended(value)?,
                    _ => {}
                }
            }
            each(point)
        })
    }
}

/// Buckets of a histogram that are read; one with more is refused.
const BUCKETS_MAX: usize = 1000;

/// A point of a histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets<'a> {
    pub time_ns: u64,
    pub count: u64,
    pub sum: Option<f64>,
    /// One more than there are bounds, or none.
    pub counts: Vec<u64>,
    pub bounds: Vec<f64>,
    pub attributes: Attributes<'a>,
    pub has_ended: bool,
}

impl<'a> Buckets<'a> {
    pub fn each(
        points: &'a [u8],
        mut each: impl FnMut(Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        each_point(points, |message| {
            let mut point = Self::default();
            for field in Fields::of(message) {
                let (number, value) = field?;
                match number {
                    3 => point.time_ns = value.number()?,
                    4 => point.count = value.number()?,
                    5 => point.sum = Some(value.float()?),
                    6 => value.each_fixed64(|count| point.counts.push(count))?,
                    7 => value.each_fixed64(|bits| point.bounds.push(f64::from_bits(bits)))?,
                    9 => point.attributes.add(value)?,
                    10 => point.has_ended = is_ended(value)?,
                    _ => {}
                }
                if point.counts.len() > BUCKETS_MAX || point.bounds.len() > BUCKETS_MAX {
                    return Err(Malformed("a histogram has more than 1000 buckets"));
                }
            }
            if !point.counts.is_empty() && point.counts.len() != point.bounds.len() + 1 {
                return Err(Malformed("a histogram does not have one bucket more than bounds"));
            }
            each(point)
        })
    }
}

/// A point of a summary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quantiles<'a> {
    pub time_ns: u64,
    pub count: u64,
    pub sum: f64,
    /// From 0 to 1, and the value.
    pub quantiles: Vec<(f64, f64)>,
    pub attributes: Attributes<'a>,
    pub has_ended: bool,
}

impl<'a> Quantiles<'a> {
    pub fn each(
        points: &'a [u8],
        mut each: impl FnMut(Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        each_point(points, |message| {
            let mut point = Self::default();
            for field in Fields::of(message) {
                let (number, value) = field?;
                match number {
                    3 => point.time_ns = value.number()?,
                    4 => point.count = value.number()?,
                    5 => point.sum = value.float()?,
                    6 if point.quantiles.len() >= BUCKETS_MAX => {
                        return Err(Malformed("a summary has more than 1000 quantiles"));
                    }
                    6 => point.quantiles.push(quantile(value.bytes()?)?),
                    7 => point.attributes.add(value)?,
                    8 => point.has_ended = is_ended(value)?,
                    _ => {}
                }
            }
            each(point)
        })
    }
}

fn quantile(message: &[u8]) -> Result<(f64, f64), Malformed> {
    let mut found = (0.0, 0.0);
    for field in Fields::of(message) {
        match field? {
            (1, value) => found.0 = value.float()?,
            (2, value) => found.1 = value.float()?,
            _ => {}
        }
    }
    Ok(found)
}
