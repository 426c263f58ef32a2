//! Which devices may be used, on hosts with v2 groups alone: there it is no file to write but a
//! program of the kernel's own machine that is asked at each use.
//!
//! As on v1 the last rule that speaks of a kind of use decides on it; what no rule speaks of may be.

use super::place::USUAL_DEVICES;
use super::{Cgroup, Unenforced};
use crate::sys::{self, Instruction};
use serde_json::Value;
use std::io;
use std::path::Path;

/// Rules of one container.
const RULES_MAX: usize = 1024;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const USES: [(char, i32); 3] = [('m', 1), ('r', 2), ('w', 4)];

#[derive(Debug, Clone, Copy, PartialEq)]
struct Rule {
    allows: bool,
    kind: Option<i32>,
    major: Option<u32>,
    minor: Option<u32>,
    uses: i32,
}

impl Rule {
    /// `None` for what the specification does not know.
    fn read(rule: &Value) -> Option<Self> {
        let number = |field: &str| match rule[field].as_i64() {
            Some(number) if number >= 0 => u32::try_from(number).map(Some).ok(),
            _ => Some(None),
        };
        Some(Self {
            allows: rule["allow"] == true,
            kind: kind(rule["type"].as_str().unwrap_or("a"))?,
            major: number("major")?,
            minor: number("minor")?,
            uses: uses(rule["access"].as_str().filter(|access| !access.is_empty()).unwrap_or("rwm"))?,
        })
    }

    /// `c 1:3 rwm`.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = kind(words.next()?)?;
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
        let (major, minor) = (number(major)?, number(minor)?);
        Some(Self { allows: true, kind, major, minor, uses: uses(words.next()?)? })
    }

    fn speaks_of_all(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.uses == 7
    }
}

fn kind(text: &str) -> Option<Option<i32>> {
    match text {
        "a" => Some(None),
        "b" => Some(Some(BLOCK)),
        "c" | "u" => Some(Some(CHARACTER)),
        _ => None,
    }
}

fn uses(text: &str) -> Option<i32> {
    text.chars().try_fold(0, |all, letter| Some(all | USES.iter().find(|(name, _)| *name == letter)?.1))
}

impl Cgroup {
    /// Nothing where the rules allow everything, or where a user name space keeps devices away.
    pub(super) fn limit_devices_by_program(&self, resources: &Value) -> Result<(), Unenforced> {
        let section = resources["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let failed = |reason: String| Unenforced::new("devices", reason);
        if section.len() > RULES_MAX {
            return Err(failed(format!("{} rules; at most {RULES_MAX} are taken", section.len())));
        }
        let mut rules = Vec::new();
        for rule in section {
            rules.push(Rule::read(rule).ok_or_else(|| failed(format!("{rule} is no rule for devices")))?);
        }
        if rules.iter().all(|rule| rule.allows) || !sys::is_first_user_namespace() {
            return Ok(());
        }
        rules.extend(USUAL_DEVICES.iter().filter_map(|text| Rule::parse(text)));
        let Some(dir) = self.unified_dir() else { return Ok(()) };
        attach(&dir, &program(&rules)).map_err(|error| failed(format!("{}: {error}", dir.display())))
    }
}

fn attach(dir: &Path, program: &[Instruction]) -> io::Result<()> {
    sys::attach_device_program(&std::fs::File::open(dir)?, program)
}

/// Registers: 2 the kind of device, 3 the uses that are not decided on yet, 4 and 5 its numbers.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        Instruction::load(2, 1, 0),
        Instruction::copy(3, 2),
        Instruction::shift_right(3, 16),
        Instruction::and(2, 0xffff),
        Instruction::load(4, 1, 4),
        Instruction::load(5, 1, 8),
    ];
    // Nothing before the last rule about everything can matter.
    let first = rules.iter().rposition(Rule::speaks_of_all).unwrap_or(0);
    for rule in rules[first..].iter().rev() {
        let verdict = match rule.allows {
            // Decided; the answer is yes when nothing is left to decide on.
            true => vec![
                Instruction::and(3, !rule.uses),
                Instruction::skip_unless_equal(3, 0, 2),
                Instruction::set(0, 1),
                Instruction::END,
            ],
            false => vec![
                Instruction::copy(6, 3),
                Instruction::and(6, rule.uses),
                Instruction::skip_if_equal(6, 0, 2),
                Instruction::set(0, 0),
                Instruction::END,
            ],
        };
        let mut conditions = Vec::new();
        conditions.extend(rule.kind.map(|kind| (2, kind)));
        conditions.extend(rule.major.map(|major| (4, major.cast_signed())));
        conditions.extend(rule.minor.map(|minor| (5, minor.cast_signed())));
        for (number, (register, value)) in conditions.iter().enumerate() {
            let rest = conditions.len() - number - 1 + verdict.len();
            code.push(Instruction::skip_unless_equal(*register, *value, rest as i16));
        }
        code.extend(verdict);
    }
    code.extend([Instruction::set(0, 1), Instruction::END]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the kernel would answer, by running the program.
    fn may(rules: &[Rule], kind: i32, major: u32, minor: u32, uses: i32) -> bool {
        let program = program(rules);
        let mut registers = [0i64; 7];
        let context = [(uses << 16 | kind) as u32, major, minor];
        let mut at = 0;
        loop {
            let one = program[at];
            at += 1;
            let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
            match one.code {
                0x61 => registers[to] = i64::from(context[one.offset as usize / 4]),
                0xbf => registers[to] = registers[from],
                0x77 => registers[to] >>= one.value,
                0x57 => registers[to] &= i64::from(one.value),
                0xb7 => registers[to] = i64::from(one.value),
                0x56 if registers[to] as i32 != one.value => at += one.offset as usize,
                0x16 if registers[to] as i32 == one.value => at += one.offset as usize,
                0x56 | 0x16 => {}
                0x95 => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_about_a_use_decides_on_it() {
        let rules: Vec<Rule> = [
            json!({ "allow": false, "access": "rwm" }),
            json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }),
            json!({ "allow": true, "type": "c", "major": 42, "access": "rw" }),
            json!({ "allow": false, "type": "c", "major": 42, "minor": 7, "access": "w" }),
            json!({ "allow": true, "type": "b", "major": 8, "minor": 0 }),
        ]
        .iter()
        .map(|rule| Rule::read(rule).unwrap())
        .collect();
        let [make, read, write] = [1, 2, 4];
        for (kind, major, minor, uses, expect) in [
            (CHARACTER, 1, 11, read, true),
            (CHARACTER, 1, 11, read | write, false),
            (CHARACTER, 42, 6, read | write, true),
            (CHARACTER, 42, 6, make, false),
            (CHARACTER, 42, 7, read, true),
            (CHARACTER, 42, 7, read | write, false),
            (BLOCK, 42, 6, read, false),
            (BLOCK, 8, 0, make | read | write, true),
            (CHARACTER, 8, 0, read, false),
            (BLOCK, 8, 1, read, false),
        ] {
            assert_eq!(may(&rules, kind, major, minor, uses), expect, "{kind} {major}:{minor} {uses}");
        }
        assert!(may(&rules[1..2], BLOCK, 9, 9, 7), "what no rule speaks of");
    }

    #[test]
    fn rights_to_one_device_may_come_from_several_rules() {
        let rule =
            |access: &str| json!({ "allow": true, "type": "c", "major": 5, "minor": 3, "access": access });
        let rules = [json!({ "allow": false }), rule("r"), rule("w")].map(|rule| Rule::read(&rule).unwrap());
        assert!(may(&rules, CHARACTER, 5, 3, 6));
        assert!(!may(&rules, CHARACTER, 5, 3, 7));
    }

    #[test]
    fn the_usual_devices_are_rules() {
        let rules: Vec<_> = USUAL_DEVICES.iter().map(|text| Rule::parse(text).unwrap()).collect();
        assert_eq!(
            rules[2],
            Rule { allows: true, kind: Some(CHARACTER), major: Some(1), minor: Some(3), uses: 7 }
        );
        assert_eq!(rules[0].uses, 1);
        assert!(Rule::read(&json!({ "allow": true, "type": "x" })).is_none());
        assert!(Rule::read(&json!({ "allow": true, "access": "q" })).is_none());
    }
}
