//! Who depends on whom, as declared and as seen at the gateway.

use super::finding::Subject;
use std::collections::{BTreeMap, BTreeSet};

/// How far dependencies are followed.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone, Default)]
pub struct Calls {
    of: BTreeMap<Subject, BTreeSet<Subject>>,
}

impl Calls {
    pub fn add(&mut self, caller: Subject, called: Subject) {
        if caller != called {
            self.of.entry(caller).or_default().insert(called);
        }
    }

    /// The dependency at the bottom of what fails: from `subject` along those that fail, too.
    /// In a circle the first of it, by name.
    pub fn root<'a>(&'a self, subject: &'a Subject, fails: &dyn Fn(&Subject) -> bool) -> &'a Subject {
        let mut seen = BTreeSet::from([subject]);
        let mut at = subject;
        for _ in 0..DEPTH_MAX {
            let called = self.of.get(at).into_iter().flatten();
            match called.into_iter().find(|called| fails(called) && !seen.contains(called)) {
                Some(next) => {
                    at = next;
                    seen.insert(next);
                }
                None => break,
            }
        }
        // Of a circle everybody finds the same.
        let is_circle = self.of.get(at).is_some_and(|called| called.iter().any(|c| seen.contains(c)));
        if !is_circle {
            return at;
        }
        let entered = self.of.get(at).into_iter().flatten().filter(|called| seen.contains(called));
        let reached = self.circle(at);
        entered.chain([at]).filter(|one| reached.contains(one)).min().unwrap_or(at)
    }

    /// All that can be reached from one and lead back to it.
    fn circle<'a>(&'a self, at: &'a Subject) -> BTreeSet<&'a Subject> {
        let from = self.reached(at);
        from.into_iter().filter(|one| self.reached(one).contains(at)).collect()
    }

    fn reached<'a>(&'a self, from: &'a Subject) -> BTreeSet<&'a Subject> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            open.extend(self.of.get(at).into_iter().flatten().filter(|called| reached.insert(*called)));
        }
        reached
    }

    /// Whether one depends on the other, directly or not.
    pub fn depends(&self, caller: &Subject, called: &Subject) -> bool {
        caller != called && self.reached(caller).contains(called)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ServiceName, StackName};

    fn subject(name: &str) -> Subject {
        Subject::service(StackName::new("shop").expect("valid"), ServiceName::new(name).expect("valid"))
    }

    fn calls(pairs: &[(&str, &str)]) -> Calls {
        let mut calls = Calls::default();
        pairs.iter().for_each(|(caller, called)| calls.add(subject(caller), subject(called)));
        calls
    }

    #[test]
    fn the_root_is_the_last_that_fails() {
        let calls = calls(&[("web", "api"), ("api", "db"), ("api", "cache")]);
        let root = |fails: &[&str]| {
            let fails: Vec<Subject> = fails.iter().map(|name| subject(name)).collect();
            calls.root(&subject("web"), &|one| fails.contains(one)).clone()
        };
        assert_eq!(root(&["api", "db"]), subject("db"));
        assert_eq!(root(&["db"]), subject("web"), "what lies between is well");
        assert_eq!(root(&[]), subject("web"));
        assert!(calls.depends(&subject("web"), &subject("db")));
        assert!(!calls.depends(&subject("db"), &subject("web")));
    }

    #[test]
    fn a_circle_has_one_root() {
        let calls = calls(&[("a", "b"), ("b", "a"), ("web", "b")]);
        let roots: BTreeSet<_> =
            ["a", "b", "web"].map(subject).iter().map(|s| calls.root(s, &|_| true).clone()).collect();
        assert_eq!(roots, BTreeSet::from([subject("a")]));
    }
}
