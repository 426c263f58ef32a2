//! Answers kept for a while: whoever asks the same as somebody before gets the same.

use super::{Asked, Course, Measured};
use model::{Report, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Answers kept; the oldest gives way. What was asked names its time, so nothing here goes stale.
const KEPT_MAX: usize = 512;
/// How long a page waits for one answer.
const WAIT: Duration = Duration::from_secs(5);

pub type Answer = Result<Arc<Vec<Course>>, Report>;
type Place = Arc<OnceCell<Arc<Vec<Course>>>>;

/// Clones share what is kept.
#[derive(Clone, Default)]
pub struct Shelf {
    source: Option<Arc<dyn Measured>>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    places: HashMap<Asked, Place>,
    /// Oldest first.
    order: VecDeque<Asked>,
}

impl Shelf {
    pub fn new(source: Option<Arc<dyn Measured>>) -> Self {
        Self { source, kept: Arc::default() }
    }

    /// Whether anything is measured.
    pub fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// Nothing where nothing is measured. A failure is not kept.
    pub async fn ask(&self, asked: &Asked) -> Answer {
        let Some(source) = &self.source else { return Ok(Arc::default()) };
        let place = self.place(asked);
        let filled = place.get_or_try_init(async || source.ask(asked).await.map(Arc::new));
        match timeout(WAIT, filled).await {
            Ok(answer) => answer.cloned(),
            Err(_) => Err(Report::environment("the answer takes longer than 5 s")
                .hint("a shorter range is answered sooner")),
        }
    }

    /// Answers in the order of the questions, worked on side by side.
    pub async fn ask_all(&self, asked: &[Asked]) -> Vec<Answer> {
        futures_util::future::join_all(asked.iter().map(|one| self.ask(one))).await
    }

    pub async fn since(&self) -> Option<Timestamp> {
        self.source.as_ref()?.since().await
    }

    fn place(&self, asked: &Asked) -> Place {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.places.get(asked) {
            return place.clone();
        }
        while kept.order.len() >= KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.places.remove(&oldest);
        }
        kept.order.push_back(asked.clone());
        kept.places.entry(asked.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[derive(Default)]
    struct Counting {
        asked: AtomicUsize,
        fails: AtomicUsize,
    }

    #[async_trait]
    impl Measured for Counting {
        async fn ask(&self, _: &Asked) -> Result<Vec<Course>, Report> {
            self.asked.fetch_add(1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.fails.load(SeqCst) > 0 {
                self.fails.fetch_sub(1, SeqCst);
                return Err(Report::environment("the store is busy"));
            }
            Ok(vec![Course::default()])
        }

        async fn since(&self) -> Option<Timestamp> {
            None
        }
    }

    fn asked(number: i64) -> Asked {
        Asked { expression: "up".into(), from: Timestamp(number), to: Timestamp(number), step_ms: 1000 }
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_the_same_ask_the_store_once() {
        let source = Arc::new(Counting::default());
        let shelf = Shelf::new(Some(source.clone()));
        let answers =
            futures_util::future::join_all((0..50).map(|_| async { shelf.ask(&asked(1)).await })).await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|courses| courses.len() == 1)));
        assert_eq!(source.asked.load(SeqCst), 1);
        for number in 0..2 * KEPT_MAX as i64 {
            shelf.ask(&asked(number)).await.expect("answered");
        }
        assert_eq!(shelf.kept.lock().expect("held by nobody").places.len(), KEPT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_asked_about_again() {
        let source = Arc::new(Counting { fails: AtomicUsize::new(1), ..Counting::default() });
        let shelf = Shelf::new(Some(source));
        assert!(shelf.ask(&asked(1)).await.is_err());
        assert!(shelf.ask(&asked(1)).await.is_ok());
    }
}
