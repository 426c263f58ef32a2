//! What every long operation is given: where to tell its progress, and when to give up.

use crate::error::BuildError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Progress is told in whole sentences without a full stop, at most a few per second.
pub struct Job<'a> {
    pub progress: &'a dyn Fn(&str),
    /// Set by somebody else to stop the work; it ends with [`BuildError::Cancelled`].
    pub cancel: &'a AtomicBool,
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl<'a> Job<'a> {
    pub fn new(progress: &'a dyn Fn(&str), cancel: &'a AtomicBool) -> Self {
        Self { progress, cancel }
    }
    /// Work that nobody stops.
    pub fn unstoppable(progress: &'a dyn Fn(&str)) -> Self {
        Self { progress, cancel: &NEVER }
    }
    pub fn say(&self, text: &str) {
        (self.progress)(text);
    }
}

/// The check of every loop.
pub fn go_on(cancel: &AtomicBool) -> Result<(), BuildError> {
    match cancel.load(Ordering::Relaxed) {
        true => Err(BuildError::Cancelled),
        false => Ok(()),
    }
}
