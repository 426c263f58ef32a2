//! What is normal in charts: a signal's own chart, and bands in the charts of a service.

use super::chart::Band;
use super::charts::{Question, Wanted};
use super::unit::Unit;
use crate::measured::Course;
use run::ranges::{RangeStatus, SignalName};

impl Question {
    pub(super) fn takes(&self, course: &Course, of: usize) -> bool {
        self.only.as_ref().is_none_or(|name| is_of(course, name, of > 1))
    }
}

/// A signal's own chart, with what is normal; none where it is not measured.
pub fn signal(range: &RangeStatus) -> Option<Wanted> {
    let (expression, only) = (range.expression.clone()?, Some(range.name.clone()));
    let band = range.band.map(|band| Band { low: band.low, high: band.high, marks_outside: true });
    let lines = vec![Question { name: "value", expression, only }];
    Some(Wanted { id: "signal", title: "Course", unit: unit(range.unit), lines, band })
}

/// Draws what is normal into these charts.
pub fn banded(mut wanted: Vec<Wanted>, bands: &[(&'static str, Band)]) -> Vec<Wanted> {
    for (id, band) in bands {
        wanted.iter_mut().filter(|one| one.id == *id).for_each(|one| one.band = Some(*band));
    }
    wanted
}

const fn unit(unit: model::range::Unit) -> Unit {
    use model::range::Unit as Of;
    match unit {
        Of::Number => Unit::Count,
        Of::PerSecond => Unit::PerSecond,
        Of::Share => Unit::Share,
        Of::Seconds => Unit::Seconds,
        Of::Bytes => Unit::Bytes,
        Of::Cores => Unit::Processors,
    }
}

/// Whether a course is the signal's: of its stack and service, and of what its name ends with where
/// there are several.
fn is_of(course: &Course, name: &SignalName, are_several: bool) -> bool {
    let is = |label: &str, id: Option<&str>| id.is_none_or(|id| course.label(label) == id);
    let ends = |(_, value): &(String, String)| {
        name.signal.strip_suffix(value.as_str()).is_some_and(|start| start.ends_with(' '))
    };
    is("stack", name.subject.stack.as_ref().map(|stack| stack.as_str()))
        && is("service", name.subject.service.as_ref().map(|service| service.as_str()))
        && (!are_several || !name.signal.contains(' ') || course.labels.iter().any(ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_that_of_its_signal() {
        let check = |signal: &str, labels: &[(&str, &str)], are_several| {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let name = SignalName::parse(signal).expect("a name");
            is_of(&Course { labels, points: Vec::new() }, &name, are_several)
        };
        assert!(check("shop/web/p95", &[("stack", "shop"), ("service", "web")], true));
        assert!(!check("shop/web/p95", &[("stack", "shop"), ("service", "db")], true));
        assert!(check("machine/disk left /", &[("mountpoint", "/")], true));
        assert!(!check("machine/disk left /", &[("mountpoint", "/srv/")], true));
        assert!(check("machine/waiting for cpu", &[("instance", "vm-1")], false));
    }
}
