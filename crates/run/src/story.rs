//! What happened to each change, for those who follow it: replayed from the beginning, then live.

use crate::control::{Conclusion, Phase, Progress};
use model::{ServiceName, Timestamp};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Changes whose story is kept.
const STORIES_KEPT: usize = 64;
/// Lines kept of one story; the middle is left out beyond.
const LINES_KEPT: usize = 2000;
/// A follower that is further behind is cut off.
const FOLLOWER_BACKLOG: usize = 4096;

#[derive(Default)]
struct Story {
    lines: Vec<Progress>,
    followers: Vec<mpsc::Sender<Progress>>,
    /// The last text of each service, so that nothing is said twice.
    said: BTreeMap<ServiceName, (Phase, String)>,
}

/// The stories of the newest changes. Shared; calls never block.
#[derive(Default)]
pub struct Stories {
    by_change: Mutex<BTreeMap<u64, Story>>,
}

impl Stories {
    fn with<R>(&self, change: u64, act: impl FnOnce(&mut Story) -> R) -> R {
        let mut stories = self.by_change.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while stories.len() >= STORIES_KEPT && !stories.contains_key(&change) {
            stories.pop_first();
        }
        act(stories.entry(change).or_default())
    }

    pub fn say(&self, change: u64, progress: Progress) {
        self.with(change, |story| {
            story.followers.retain(|f| f.try_send(progress.clone()).is_ok());
            if matches!(progress, Progress::Concluded(_)) {
                story.followers.clear();
            }
            if story.lines.len() < LINES_KEPT || matches!(progress, Progress::Concluded(_)) {
                story.lines.push(progress);
            }
        });
    }

    /// Says where a service stands, unless that was the last thing said of it.
    pub fn say_service(&self, change: u64, service: &ServiceName, phase: Phase, text: String, at: Timestamp) {
        let news = self.with(change, |story| {
            let last = story.said.insert(service.clone(), (phase, text.clone()));
            last.as_ref() != Some(&(phase, text.clone()))
        });
        if news {
            self.say(change, Progress::Service { service: service.clone(), phase, text, at });
        }
    }

    /// Everything so far and what follows; `ended` is what the journal knows of a change whose
    /// story is not kept any more.
    pub fn follow(&self, change: u64, ended: Option<Conclusion>) -> mpsc::Receiver<Progress> {
        let (sender, receiver) = mpsc::channel(FOLLOWER_BACKLOG);
        self.with(change, |story| {
            if story.lines.is_empty()
                && let Some(conclusion) = ended
            {
                story.lines.push(Progress::Concluded(conclusion));
            }
            let mut over = false;
            for line in &story.lines {
                over |= matches!(line, Progress::Concluded(_));
                // The backlog is larger than a story.
                let _ = sender.try_send(line.clone());
            }
            if !over {
                story.followers.push(sender);
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service_line(text: &str) -> (ServiceName, String) {
        (ServiceName::new("web").expect("valid"), text.to_owned())
    }

    #[test]
    fn a_late_follower_hears_the_whole_story_once() {
        let stories = Stories::default();
        for text in ["building", "building", "starting"] {
            let (service, text) = service_line(text);
            stories.say_service(7, &service, Phase::Building, text, Timestamp(0));
        }
        let mut follower = stories.follow(7, None);
        stories.say(7, Progress::Warning { text: "late".into() });
        let mut heard = Vec::new();
        while let Ok(line) = follower.try_recv() {
            heard.push(line);
        }
        assert_eq!(heard.len(), 3, "{heard:?}");
    }
}
