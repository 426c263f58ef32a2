//! The first sentence of a page: how things are, and what wants attention.

use crate::text::beyond;
use run::control::{ServiceStatus, StackStatus, State};
use std::collections::BTreeSet;

/// A sentence and the state it is about.
pub struct Verdict {
    pub state: State,
    pub sentence: String,
}

pub fn of_all(stacks: &[StackStatus]) -> Verdict {
    let worst = worst(stacks.iter().map(worst_of)).unwrap_or(State::Stopped);
    let services: usize = stacks.iter().map(|s| s.services.len()).sum();
    let bad: Vec<_> = stacks.iter().flat_map(|s| troubled(s).map(move |service| (s, service))).collect();
    let sentence = match bad.as_slice() {
        [] if stacks.is_empty() => "Nothing runs here yet.".to_owned(),
        [] => match stacks {
            [only] => of_stack(only).sentence,
            _ => {
                let states = states(stacks.iter().flat_map(|s| &s.services));
                format!("All {} in {} stacks are {states}.", count(services, "service"), stacks.len())
            }
        },
        [(stack, service)] => {
            format!("{} in {} {}: {}.", service.name, stack.name, verb(service.state), trimmed(&service.text))
        }
        _ => format!("{} of {} want attention.", bad.len(), count(services, "service")),
    };
    Verdict { state: worst, sentence }
}

pub fn of_stack(stack: &StackStatus) -> Verdict {
    let state = worst_of(stack);
    let bad: Vec<_> = troubled(stack).collect();
    let sentence = match bad.as_slice() {
        [] if stack.services.is_empty() => format!("{} has no services.", stack.name),
        [] => match stack.services.as_slice() {
            [only] => format!("{} {}.", only.name, word_for_one(state)),
            all => format!("All {} services are {}.", all.len(), states(all.iter())),
        },
        [service] => format!("{} {}: {}.", service.name, verb(service.state), trimmed(&service.text)),
        _ => format!("{} of {} want attention.", bad.len(), count(stack.services.len(), "service")),
    };
    Verdict { state, sentence }
}

pub fn of_service(service: &ServiceStatus) -> Verdict {
    let mut sentence = format!("{} {}", service.name, word_for_one(service.state));
    match beyond(word_of(service.state), trimmed(&service.text)) {
        "" => sentence.push('.'),
        more => sentence += &format!(": {more}."),
    }
    Verdict { state: service.state, sentence }
}

/// Services first that want attention most.
pub fn by_attention(services: &[ServiceStatus]) -> Vec<&ServiceStatus> {
    let mut sorted: Vec<_> = services.iter().collect();
    sorted.sort_by(|a, b| attention(b.state).cmp(&attention(a.state)).then_with(|| a.name.cmp(&b.name)));
    sorted
}

/// Only trouble moves a row: a start or a stop leaves the order alone.
fn attention(state: State) -> Option<State> {
    is_trouble(state).then_some(state)
}

fn troubled(stack: &StackStatus) -> impl Iterator<Item = &ServiceStatus> {
    stack.services.iter().filter(|service| is_trouble(service.state))
}

const fn is_trouble(state: State) -> bool {
    matches!(state, State::Unhealthy | State::Failed)
}

/// What wants attention most. Jobs that are done leave what is ready ready.
fn worst(states: impl Iterator<Item = State> + Clone) -> Option<State> {
    match states.clone().max() {
        Some(State::Done) => states.min(),
        worst => worst,
    }
}

fn worst_of(stack: &StackStatus) -> State {
    worst(stack.services.iter().map(|s| s.state)).unwrap_or(stack.state)
}

/// `ready`, or `ready, done or stopped` when they differ.
fn states<'a>(services: impl Iterator<Item = &'a ServiceStatus>) -> String {
    let present: BTreeSet<State> = services.map(|s| s.state).collect();
    let words: Vec<_> = present.into_iter().map(word_of).collect();
    match words.as_slice() {
        [] => "ready".to_owned(),
        [only] => (*only).to_owned(),
        [some @ .., last] => format!("{} or {last}", some.join(", ")),
    }
}

const fn verb(state: State) -> &'static str {
    match state {
        State::Unhealthy => "is unhealthy",
        _ => "failed",
    }
}

fn word_for_one(state: State) -> String {
    match state {
        State::Failed => "failed".to_owned(),
        state => format!("is {}", word_of(state)),
    }
}

/// The word that stands beside the icon of each state.
pub const fn word_of(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Done => "done",
        State::Stopped => "stopped",
        State::Starting => "starting",
        State::Stopping => "stopping",
        State::Unhealthy => "unhealthy",
        State::Failed => "failed",
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn trimmed(text: &str) -> &str {
    text.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn the_sentence_names_what_is_wrong() {
        let fine = fake::guestbook_status();
        assert_eq!(of_all(&[]).sentence, "Nothing runs here yet.");
        assert_eq!(of_all(std::slice::from_ref(&fine)).sentence, "All 4 services are ready or done.");
        let mut one_bad = fine.clone();
        one_bad.services[3].state = State::Failed;
        one_bad.services[3].text = "exited with code 1".to_owned();
        assert_eq!(of_all(&[fine, one_bad]).sentence, "web in guestbook failed: exited with code 1.");
        let many = fake::troubled_status();
        assert_eq!(of_stack(&many).sentence, "2 of 4 services want attention.");
        assert_eq!(of_stack(&many).state, State::Failed);
        let order: Vec<_> = by_attention(&many.services).iter().map(|s| s.name.as_str()).collect();
        assert_eq!(order, ["web", "db", "cache", "migrate"]);
    }
}
