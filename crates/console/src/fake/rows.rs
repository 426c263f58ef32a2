//! Rows of text that are made up: a page of them, and whatever a test lets come.

use async_trait::async_trait;
use model::{Report, Timestamp};
use run::rows::{KeptRow, RowAnswer, RowCount, RowCountQuestion, RowCounts, RowQuestion, Rows};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, mpsc};

pub struct FakeRows {
    held: Mutex<Vec<KeptRow>>,
    live: broadcast::Sender<KeptRow>,
    asked: Mutex<Vec<RowQuestion>>,
}

impl Default for FakeRows {
    fn default() -> Self {
        let levels = ["info", "", "warn", "error"];
        let texts = ["listening on port 8000", "GET / 200", "slow query took=812ms", "connection refused"];
        let row = |number: usize| row(number as i64, levels[number % 4], texts[number % 4]);
        Self {
            held: Mutex::new((0..40).map(row).collect()),
            live: broadcast::Sender::new(64),
            asked: Mutex::default(),
        }
    }
}

/// A row of `web` in the stack `guestbook`, so many seconds before the present of everything here.
pub fn row(before_s: i64, level: &str, text: &str) -> KeptRow {
    KeptRow {
        time_ns: (super::NOW.0 - before_s * 1000) * 1_000_000,
        stack: "guestbook".into(),
        service: "web".into(),
        instance: "web1x7k2".into(),
        source: "stdout".into(),
        level: level.into(),
        text: text.into(),
    }
}

impl FakeRows {
    pub fn held(&self) -> MutexGuard<'_, Vec<KeptRow>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A row comes for whoever follows.
    pub fn say(&self, row: KeptRow) {
        // Nobody may be listening, which is no failure.
        let _ = self.live.send(row);
    }

    pub fn followers(&self) -> usize {
        self.live.receiver_count()
    }

    /// What was searched for, oldest first.
    pub fn asked(&self) -> Vec<RowQuestion> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Rows for FakeRows {
    async fn search(&self, question: RowQuestion) -> Result<RowAnswer, Report> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(question.clone());
        if question.query.ends_with('(') {
            return Err(Report::usage("a bracket is not closed, at column 3").hint("write `)`"));
        }
        let mut rows = self.held().clone();
        rows.sort_by_key(|row| row.time_ns);
        Ok(RowAnswer { rows, has_more: true, is_cut: false })
    }

    async fn count(&self, question: RowCountQuestion) -> Result<RowCounts, Report> {
        let to = question.rows.until.unwrap_or_else(crate::when::now);
        let step = question.interval_ms.unwrap_or(60_000) as i64;
        let count = |number: i64| RowCount {
            at: Some(Timestamp(to.0 - number * step)),
            values: vec![["info", "warn", "error"][number as usize % 3].to_owned()],
            rows: (number * number % 17) as u64,
        };
        Ok(RowCounts { counts: (1..50).map(count).collect(), others: 0, is_cut: false })
    }

    async fn follow(&self, _: RowQuestion) -> Result<mpsc::Receiver<KeptRow>, Report> {
        let mut live = self.live.subscribe();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(row) = live.recv().await {
                if sender.send(row).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}
