//! A judgement in sentences.

use super::dispersion::{Learned, WINDOWS_NEEDED};
use super::second::Arm;
use super::verdict::{Decision, Finding, Ground, Judgement, Test};

/// Odds beyond which nobody wants the digits.
const MOST_ODDS: f64 = 1e9;

impl Judgement {
    /// One sentence: what was found, with its numbers.
    pub fn sentence(&self) -> String {
        if self.is_after {
            return self.sentence_after();
        }
        match self.decision {
            Decision::GoBack(test) => self.finding_of(test),
            Decision::Keep(Ground::Shown) => {
                format!("it was shown not to be much worse than the one before: {}", self.beside())
            }
            Decision::Keep(Ground::NoAlarm) => {
                format!("it was not found to be worse in {}: {}", span(self.took_ms), self.beside())
            }
            Decision::Undecided => format!(
                "too little traffic to judge it: {} and {} of the one before in {}",
                requests(self.new.due()),
                self.old.due(),
                span(self.took_ms)
            ),
            Decision::GoOn => format!("it is being judged for {}", span(self.took_ms)),
        }
    }

    /// Where nothing served beside it.
    fn sentence_after(&self) -> String {
        let (new, took) = (&self.new, span(self.took_ms));
        let Some(usual) = self.usual else {
            return "too little is known of the release before to judge it".to_owned();
        };
        let failed = format!(
            "{} of {} failed, at most {:.2} % before",
            percent(new.bad(), new.due()),
            requests(new.due()),
            usual.failing * 100.0
        );
        let takes = format!(
            "typically {} to answer, at most {} before",
            time(new.typical_us()),
            time(Some(usual.level.exp()))
        );
        match self.decision {
            Decision::GoBack(Test::Level) => format!("it takes {takes}"),
            Decision::GoBack(_) => failed,
            Decision::Keep(_) => format!("it was not found to be far worse in {took}: {failed}; {takes}"),
            Decision::Undecided => {
                format!("too little traffic to judge it: {} in {took}", requests(new.due()))
            }
            Decision::GoOn => format!("it is being judged for {took}"),
        }
    }

    fn finding_of(&self, test: Test) -> String {
        let (new, old) = (&self.new, &self.old);
        match test {
            Test::Outage | Test::Errors => format!(
                "{} of {} failed, {} of {} of the release before",
                percent(new.bad(), new.due()),
                requests(new.due()),
                percent(old.bad(), old.due()),
                old.due()
            ),
            Test::Level => format!(
                "it takes {} to answer: typically {} instead of {}",
                more(new.typical_us(), old.typical_us(), "longer", "as long"),
                time(new.typical_us()),
                time(old.typical_us())
            ),
            Test::Tail => format!(
                "{} of its answers took longer than {}, {} of those of the release before longer than {}",
                percent(new.slow, new.requests),
                time(self.slow.map(|slow| slow.new_us as f64)),
                percent(old.slow, old.requests),
                time(self.slow.map(|slow| slow.old_us as f64))
            ),
            Test::Count => format!(
                "{} of {} were never answered, {} of {} of the release before",
                new.overdue,
                requests(new.due()),
                old.overdue,
                old.due()
            ),
            Test::Cpu => {
                let more = more(cpu(new), cpu(old), "more processor time", "as much processor time");
                format!("each request takes {more}")
            }
            Test::Memory => {
                let more = more(memory(new), memory(old), "more memory", "as much memory");
                format!("its instances take {more}")
            }
        }
    }

    /// By what it was judged: which noise, and whose requests.
    pub fn basis(&self) -> String {
        if self.is_after {
            return self.basis_after();
        }
        let own = self.seconds.iter().filter(|second| second.is_own);
        match own.map(|second| second.new.due() + second.old.due()).sum() {
            0 => self.noise(),
            own => {
                format!("{}, with {} of Juchu's own, as people asked too little", self.noise(), requests(own))
            }
        }
    }

    fn basis_after(&self) -> String {
        let before = "by what was before, as both cannot serve beside each other";
        let days = |days: u32| if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        match self.usual {
            None => before.to_owned(),
            Some(usual) => format!(
                "{before}: the worst of {} min before and of the same hour of {}, {} in all; {}",
                usual.minutes,
                days(usual.days),
                requests(usual.requests),
                self.noise()
            ),
        }
    }

    fn noise(&self) -> String {
        match self.settings.learned {
            Some(Learned { minutes, is_beside: true }) => {
                format!("by the noise learned from {minutes} min of its replicas")
            }
            Some(Learned { minutes, is_beside: false }) => {
                format!(
                    "by the noise learned from {minutes} min of one instance, for times to answer the usual one"
                )
            }
            None => {
                format!("by the usual noise, as less than {WINDOWS_NEEDED:.0} min with requests are known")
            }
        }
    }

    /// Both arms side by side.
    fn beside(&self) -> String {
        let (new, old) = (&self.new, &self.old);
        format!(
            "{} of {} failed beside {} of {}, typically {} beside {}",
            percent(new.bad(), new.due()),
            requests(new.due()),
            percent(old.bad(), old.due()),
            old.due(),
            time(new.typical_us()),
            time(old.typical_us())
        )
    }

    /// Which evidence there was, beside what going back would have needed.
    pub fn evidence(&self) -> Option<String> {
        let finding = match self.decision {
            Decision::GoBack(test) => self.findings.iter().find(|finding| finding.test == test),
            _ => self.strongest(),
        };
        finding.filter(|finding| finding.evidence.is_finite()).map(Finding::text)
    }
}

impl Finding {
    /// `errors 2400 : 1 (333 : 1 needed)`
    pub fn text(&self) -> String {
        format!("{} {} : 1 ({} : 1 needed)", self.test.word(), odds(self.evidence), odds(self.needed))
    }
}

fn odds(ln: f64) -> String {
    match ln.exp() {
        odds if odds > MOST_ODDS => "more than 10⁹".to_owned(),
        odds if odds >= 10.0 => format!("{odds:.0}"),
        odds => format!("{odds:.1}"),
    }
}

fn requests(count: u64) -> String {
    format!("{count} {}", if count == 1 { "request" } else { "requests" })
}

fn percent(part: u64, whole: u64) -> String {
    match 100.0 * part as f64 / whole.max(1) as f64 {
        percent if part == 0 || percent >= 10.0 => format!("{percent:.0} %"),
        percent if percent >= 0.1 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}

/// By how much the first is more than the second: `20 % longer`, and beyond twice `83 times as long`.
fn more(one: Option<f64>, other: Option<f64>, more: &str, as_much: &str) -> String {
    match (one, other) {
        (Some(one), Some(other)) if other > 0.0 => match one / other {
            times if times <= 2.0 => format!("{:.0} % {more}", (times - 1.0) * 100.0),
            times if times < 10.0 => format!("{times:.1} times {as_much}"),
            times => format!("{times:.0} times {as_much}"),
        },
        _ => format!("much {more}"),
    }
}

fn time(micros: Option<f64>) -> String {
    match micros {
        None => "nothing known".to_owned(),
        Some(micros) if micros < 1_000.0 => format!("{micros:.0} µs"),
        Some(micros) if micros < 10_000.0 => format!("{:.1} ms", micros / 1e3),
        Some(micros) if micros < 1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        Some(micros) => format!("{:.1} s", micros / 1e6),
    }
}

fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

fn cpu(arm: &Arm) -> Option<f64> {
    (arm.requests > 0).then(|| arm.cpu_us as f64 / arm.requests as f64)
}

fn memory(arm: &Arm) -> Option<f64> {
    (arm.instances > 0).then(|| arm.memory_bytes as f64 / arm.instances as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_twice_is_told_in_times() {
        let check = |one, other| more(Some(one), other, "longer", "as long");
        assert_eq!(check(12.0, Some(10.0)), "20 % longer");
        assert_eq!(check(20.0, Some(10.0)), "100 % longer");
        assert_eq!(check(25.0, Some(10.0)), "2.5 times as long");
        assert_eq!(check(831.7, Some(10.0)), "83 times as long");
        assert_eq!(check(1.0, Some(0.0)), "much longer");
        assert_eq!(check(1.0, None), "much longer");
    }
}
