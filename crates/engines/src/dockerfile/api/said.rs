//! What a daemon says while it builds: steps are told, what commands print is kept for the case
//! that one fails, and the failure becomes one sentence.

use crate::dockerfile::arguments::Place;
use crate::dockerfile::child::step_of;
use crate::dockerfile::failure;
use build::Job;
use model::Report;
use serde::Deserialize;
use std::collections::VecDeque;

const LINES_KEPT: usize = 40;
/// Images of steps whose names are remembered, to be taken away.
const MADE_MAX: usize = 1000;

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    stream: String,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    code: Option<i32>,
}

pub struct Listener<'a> {
    job: &'a Job<'a>,
    last: VecDeque<String>,
    /// `RUN make`
    step: Option<String>,
    failed: Option<(String, Option<i32>)>,
    /// Ids of images that steps made.
    pub made: Vec<String>,
}

impl<'a> Listener<'a> {
    pub fn new(job: &'a Job<'a>) -> Self {
        Self { job, last: VecDeque::new(), step: None, failed: None, made: Vec::new() }
    }

    /// One line of the answer, a document in JSON.
    pub fn hear(&mut self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else { return };
        message.stream.lines().for_each(|line| self.line(line));
        if let Some(error) = message.error {
            self.failed = Some((error, message.detail.and_then(|detail| detail.code)));
        }
    }

    fn line(&mut self, line: &str) {
        let line = line.trim_end();
        // Docker's form of the same.
        let in_capitals =
            line.strip_prefix("Step ").map(|rest| format!("STEP {}", rest.replacen(" : ", ": ", 1)));
        if let Some(step) = step_of(in_capitals.as_deref().unwrap_or(line)) {
            self.step = step.split_once(": ").map(|(_, instruction)| instruction.to_owned());
            self.last.clear();
            return self.job.say(&step);
        }
        if let Some(id) = line.strip_prefix(" ---> ").filter(|id| is_id(id)) {
            if self.made.len() < MADE_MAX {
                self.made.push(id.to_owned());
            }
            return;
        }
        if line.is_empty()
            || line.starts_with(" ---> ")
            || line.starts_with("Removing intermediate container ")
        {
            return;
        }
        self.last.push_back(line.to_owned());
        if self.last.len() > LINES_KEPT {
            self.last.pop_front();
        }
    }

    /// The build did not begin.
    pub fn refuse(&mut self, message: String) {
        self.failed = Some((message, None));
    }

    /// How it ended.
    pub fn verdict(&self, place: &Place, job: &Job<'_>) -> Result<(), Report> {
        let Some((error, code)) = &self.failed else { return Ok(()) };
        let step = self.step.as_deref().unwrap_or_default();
        Err(failure::of_daemon(error, step, *code, &self.last, place, job))
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn steps_are_told_and_images_of_steps_are_remembered() {
        let told = Mutex::new(Vec::new());
        let tell = |text: &str| told.lock().expect("one thread").push(text.to_owned());
        let job = Job::unstoppable(&tell);
        let mut listener = Listener::new(&job);
        for line in [
            r#"{"stream":"Step 1/2 : FROM scratch\n"}"#,
            r#"{"stream":" ---> 0123456789ab\n"}"#,
            r#"{"stream":"STEP 2/2: RUN a : b\n"}"#,
            r#"{"stream":"out\n"}"#,
            "",
            "no JSON",
            r#"{"errorDetail":{"code":3,"message":"x"},"error":"x"}"#,
        ] {
            listener.hear(line.as_bytes());
        }
        assert_eq!(*told.lock().expect("one thread"), ["step 1/2: FROM scratch", "step 2/2: RUN a : b"]);
        assert_eq!(listener.made, ["0123456789ab"]);
        assert_eq!(listener.last, ["out"]);
        assert_eq!(listener.failed, Some(("x".to_owned(), Some(3))));
    }
}
