//! The port [`Rows`] over the store: questions as people ask them, bounded in time.

use async_trait::async_trait;
use model::{Report, Timestamp};
use observe::logs::query::{Filter, Query, QueryError, Test, parse};
use observe::logs::{FoundRow, Level, Logs, Order, Search, Stream};
use run::rows::{KeptRow, RowAnswer, RowCount, RowCountQuestion, RowCounts, RowQuestion, Rows};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// A search ends after this with what it has.
const SEARCH_TIME: Duration = Duration::from_secs(10);
/// Searches at the same time; more wait.
const SEARCHES_MAX: usize = 2;
/// Rows of an answer unless asked for otherwise.
const ROWS: usize = 1000;
/// Fields that are counted by.
const FIELDS_MAX: usize = 3;
/// Rows that wait for one who follows; the reading waits when they are too many.
const FOLLOWED_ROWS: usize = 256;
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// The rows of this machine.
pub struct Kept {
    logs: Arc<Logs>,
    searches: Arc<Semaphore>,
}

impl Kept {
    pub fn new(logs: Arc<Logs>) -> Self {
        Self { logs, searches: Arc::new(Semaphore::new(SEARCHES_MAX)) }
    }

    /// Does the work beside the runtime, when it is its turn.
    async fn work<T: Send + 'static>(
        &self,
        question: &RowQuestion,
        work: impl FnOnce(&Logs, &Search<'_>) -> T + Send + 'static,
    ) -> Result<T, Report> {
        let filter = filter(question)?;
        let (from_ns, to_ns) = range(question);
        let logs = self.logs.clone();
        let turn = self.searches.clone().acquire_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let started = Instant::now();
            let stop = || started.elapsed() > SEARCH_TIME;
            work(&logs, &Search { filter: &filter, from_ns, to_ns, stop: &stop })
        });
        Ok(worked.await.expect("a search does not panic"))
    }
}

#[async_trait]
impl Rows for Kept {
    async fn search(&self, question: RowQuestion) -> Result<RowAnswer, Report> {
        let limit = question.limit.unwrap_or(ROWS);
        let found =
            self.work(&question, move |logs, search| logs.search(search, Order::Newest, limit)).await?;
        let rows = found.rows.into_iter().map(told).collect();
        Ok(RowAnswer { rows, has_more: found.has_more, is_cut: found.is_cut })
    }

    async fn count(&self, question: RowCountQuestion) -> Result<RowCounts, Report> {
        if question.fields.len() > FIELDS_MAX {
            return Err(Report::usage(format!("rows are counted by {FIELDS_MAX} fields at most"))
                .hint("leave some out, and ask for one value of them: `status:503`"));
        }
        let interval =
            question.interval_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000));
        let fields = question.fields;
        let counted =
            self.work(&question.rows, move |logs, search| logs.count(search, interval, &fields)).await?;
        let counted = counted.map_err(|error| Report::usage(error.to_string()).hint("`--count-by 1m`"))?;
        let count = |cell: observe::logs::Cell| RowCount {
            at: cell.time_ns.map(|ns| Timestamp(ns / 1_000_000)),
            values: cell.values,
            rows: cell.rows,
        };
        let counts = counted.cells.into_iter().map(count).collect();
        Ok(RowCounts { counts, others: counted.others, is_cut: counted.is_cut })
    }

    async fn follow(&self, question: RowQuestion) -> Result<mpsc::Receiver<KeptRow>, Report> {
        let filter = filter(&question)?;
        let (sender, receiver) = mpsc::channel(FOLLOWED_ROWS);
        let logs = self.logs.clone();
        tokio::spawn(async move {
            let mut following = logs.follow();
            while !sender.is_closed() {
                // Rows that went by unseen are found by a search.
                let (rows, _missed) = following.more();
                for row in rows {
                    if !filter.matches(&row.stream, row.level, row.text.as_bytes()) {
                        continue;
                    }
                    let text = row.text.to_string();
                    if sender.send(kept(row.time_ns, &row.stream, row.level, text)).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
        });
        Ok(receiver)
    }
}

/// The query, of these services only.
fn filter(question: &RowQuestion) -> Result<Filter, Report> {
    let asked = parse(&question.query).map_err(|error: QueryError| {
        let hint = error.hint.clone();
        Report::usage(error.to_string()).hint(hint)
    })?;
    let is = |name: &str, value: &String| Query::Field { name: name.into(), test: Test::Is(value.clone()) };
    let mut all = vec![asked];
    all.extend(question.stack.iter().map(|stack| is("stack", stack)));
    if !question.services.is_empty() {
        all.push(Query::Or(question.services.iter().map(|service| is("service", service)).collect()));
    }
    Ok(Filter::new(&Query::And(all)))
}

fn range(question: &RowQuestion) -> (i64, i64) {
    let ns = |at: Timestamp| at.0.saturating_mul(1_000_000);
    (question.since.map_or(0, ns), question.until.map_or(i64::MAX, |until| ns(until).saturating_add(999_999)))
}

fn told(row: FoundRow) -> KeptRow {
    kept(row.time_ns, &row.stream, row.level, row.text)
}

fn kept(time_ns: i64, stream: &Stream, level: Level, text: String) -> KeptRow {
    let Stream { stack, service, instance, source } = stream.clone();
    KeptRow { time_ns, stack, service, instance, source, level: level.name().to_owned(), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::logs::{Limits, Row};
    use testkit::TempDir;

    fn store() -> (TempDir, Kept) {
        let directory = TempDir::new();
        let logs = Logs::open(directory.path(), Limits::default(), 0).unwrap();
        for (number, service) in ["web", "db", "web"].into_iter().enumerate() {
            let stream = Stream::new("shop", service, &format!("{service}-1"), "stdout");
            let row =
                Row { time_ns: number as i64 * 1_000_000_000, level: Level::Info, text: "status=200 x=y" };
            logs.append(&stream, &[row], None).unwrap();
        }
        (directory, Kept::new(Arc::new(logs)))
    }

    #[tokio::test]
    async fn rows_are_searched_and_counted_within_a_stack_and_a_time() {
        let (_directory, kept) = store();
        let question = |query: &str| RowQuestion {
            query: query.into(),
            stack: Some("shop".into()),
            ..RowQuestion::default()
        };
        assert_eq!(kept.search(question("status>=200")).await.unwrap().rows.len(), 3);
        let web = RowQuestion { services: vec!["web".into()], since: Some(Timestamp(1500)), ..question("") };
        let answer = kept.search(web).await.unwrap();
        assert_eq!((answer.rows.len(), answer.rows[0].instance.as_str()), (1, "web-1"));
        let other = RowQuestion { stack: Some("other".into()), ..question("") };
        assert!(kept.search(other).await.unwrap().rows.is_empty());
        let by =
            RowCountQuestion { rows: question(""), interval_ms: Some(2000), fields: vec!["service".into()] };
        let counts = kept.count(by).await.unwrap().counts;
        let shown: Vec<(i64, &str, u64)> =
            counts.iter().map(|count| (count.at.unwrap().0, count.values[0].as_str(), count.rows)).collect();
        assert_eq!(shown, [(0, "db", 1), (0, "web", 1), (2000, "web", 1)]);
        let wrong = kept.search(question("a (b")).await.unwrap_err();
        assert!(wrong.error.contains("at column 3") && !wrong.hints.is_empty());
    }
}
