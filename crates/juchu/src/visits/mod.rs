//! Visits, wired in: a thread reads the gateway's access log and counts, the pages and the command
//! line ask for the counts, and how many there are now is measured like anything else.

mod follow;

use async_trait::async_trait;
use console::visits::{DAYS_MAX, VisitDay, VisitReport, VisitedPage};
use follow::Follower;
use juchu::home::Home;
use model::{ErrorKind, Report};
use observe::collect::{Recorder, Sink};
use observe::keep::{Ends, Metrics};
use observe::visits::{Day, Frequent, Hit, PRESENT_MINUTES, Page, Salt, Visits, v1};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const READ_EVERY: Duration = Duration::from_secs(1);
/// What is counted is written so often; after a crash the log is read again from there.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// The largest file of counts that is read back.
const FILE_MAX: u64 = 64 << 20;
/// Pages of an answer.
const PAGES_MAX: usize = 500;

/// What is counted; the thread ends with [`Counting::end`].
pub struct Counting {
    counted: Arc<Counted>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The counts, for whoever asks.
pub struct Counted(Mutex<Visits>);

impl Counting {
    pub fn start(home: &Home, metrics: Option<Arc<Metrics>>) -> Result<Self, Report> {
        let file = home.join("visits.json");
        let (visits, cursor) = read(&file).map_err(|error| {
            Report::environment(format!("read {}: {error}", file.display()))
                .hint(format!("move {} away to begin anew without the counts so far", file.display()))
        })?;
        let counted = Arc::new(Counted(Mutex::new(visits)));
        let is_over = Arc::new(AtomicBool::new(false));
        let work = Work {
            counted: counted.clone(),
            follower: Follower::new(home.join("access.log"), cursor),
            file,
            recorder: metrics.map(|metrics| (metrics, recorder())),
            saved: Instant::now(),
            is_changed: false,
        };
        let over = is_over.clone();
        let thread = std::thread::Builder::new()
            .name("visits".into())
            .spawn(move || work.run(&over))
            .map_err(|error| Report::environment(format!("start the thread that counts visits: {error}")))?;
        Ok(Self { counted, is_over, thread: Some(thread) })
    }

    pub fn counted(&self) -> Arc<Counted> {
        self.counted.clone()
    }

    /// Writes what is counted, and ends.
    pub fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // One that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

impl Counted {
    fn held(&self) -> MutexGuard<'_, Visits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Work {
    counted: Arc<Counted>,
    follower: Follower,
    file: PathBuf,
    recorder: Option<(Arc<Metrics>, Recorder)>,
    saved: Instant,
    is_changed: bool,
}

fn recorder() -> Recorder {
    Recorder::new("visits", Ends::WhenMissing, vec![("job".to_owned(), "visits".to_owned())])
}

impl Work {
    fn run(mut self, is_over: &AtomicBool) {
        let mut said = None;
        while !is_over.load(Ordering::Relaxed) {
            let is_behind = self.count();
            self.measure();
            if self.saved.elapsed() >= SAVE_EVERY {
                said = self.save(said);
            }
            let next = Instant::now() + READ_EVERY;
            while !is_behind && Instant::now() < next && !is_over.load(Ordering::Relaxed) {
                // Woken at once at the end.
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        }
        self.save(said);
    }

    fn count(&mut self) -> bool {
        let Self { counted, follower, is_changed, .. } = self;
        let mut visits = counted.held();
        let is_behind = follower.read(|line| {
            if let Some(hit) = Hit::parse(line) {
                visits.add(&hit);
                *is_changed = true;
            }
        });
        // A day ends when all of it was read.
        if !is_behind {
            visits.advance(now_ms());
        }
        is_behind
    }

    /// Today's counts begin anew each day, as counters may.
    fn measure(&mut self) {
        let Some((metrics, recorder)) = &mut self.recorder else { return };
        let now = now_ms();
        let (present, totals) = {
            let visits = self.counted.held();
            (visits.now(now), visits.today().totals())
        };
        // A tick that comes too late is left out, as one is that never came.
        let _ = recorder.tick(metrics, now.div_euclid(1000) * 1000, |sink: &mut dyn Sink| {
            sink.gauge("juchu_visitors_present", &[], present as f64);
            sink.gauge("juchu_visitors_today", &[], totals.visitors as f64);
            sink.counter("juchu_page_views_total", &[], totals.pages as f64);
            sink.counter("juchu_bot_requests_total", &[], totals.bot_requests as f64);
        });
    }

    /// Says a failure when it is another than the last.
    fn save(&mut self, said: Option<String>) -> Option<String> {
        self.saved = Instant::now();
        if !self.is_changed {
            return said;
        }
        let bytes = v1::write(&self.counted.held(), self.follower.cursor());
        match write(&self.file, &bytes) {
            Ok(()) => {
                self.is_changed = false;
                None
            }
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    eprintln!("visits are counted and not written to {}: {text}", self.file.display());
                }
                Some(text)
            }
        }
    }
}

fn read(file: &Path) -> Result<(Visits, Option<v1::Cursor>), String> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((Visits::new(now_ms(), salt), None));
        }
        Err(error) => return Err(error.to_string()),
        Ok(data) if data.len() > FILE_MAX => return Err(format!("it has more than {FILE_MAX} bytes")),
        Ok(_) => {}
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    v1::read(&bytes, salt).map_err(|error| error.to_string())
}

/// All or nothing: it is written beside and renamed. Readable by its owner alone, for it has the key
/// of the day.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = file.with_extension("json.unfinished");
    let mut open = std::fs::OpenOptions::new();
    let mut written = open.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    written.write_all(bytes)?;
    written.sync_data()?;
    std::fs::rename(&beside, file)
}

fn salt() -> Salt {
    let mut bytes = [0; 32];
    crate::daemon::random(&mut bytes);
    Salt(bytes)
}

fn now_ms() -> i64 {
    crate::machine::now().0
}

#[async_trait]
impl console::visits::Visits for Counted {
    async fn report(&self, days: u32) -> Result<VisitReport, Report> {
        if days == 0 || days > DAYS_MAX {
            return Err(Report::new(ErrorKind::Usage, format!("visits are kept for {DAYS_MAX} days"))
                .hint("juchu visitors --days 90"));
        }
        let now = now_ms();
        let (present, kept) = {
            let visits = self.held();
            let newest: Vec<Day> = visits.days().rev().take(days as usize).cloned().collect();
            (visits.now(now), newest)
        };
        let mut pages = Frequent::default();
        kept.iter().for_each(|day| pages.join_all(&day.pages));
        let shown = pages.top(PAGES_MAX);
        let views: u64 = shown.iter().map(|(_, page)| page.views).sum();
        let all: u64 = kept.iter().map(|day| day.totals().pages).sum();
        Ok(VisitReport {
            now: present,
            now_minutes: PRESENT_MINUTES as u64,
            days: kept.iter().rev().map(day_of).collect(),
            pages: shown.into_iter().map(page_of).collect(),
            other_views: all.saturating_sub(views),
        })
    }
}

fn day_of(day: &Day) -> VisitDay {
    let totals = day.totals();
    VisitDay {
        date: day.date.clone(),
        visitors: totals.visitors,
        is_estimate: totals.is_estimate,
        requests: totals.requests,
        pages: totals.pages,
        files: totals.files,
        calls: totals.calls,
        refused: totals.refused,
        failed: totals.failed,
        bytes: totals.bytes,
        bots: totals.bots,
        bot_requests: totals.bot_requests,
    }
}

fn page_of((name, page): (&str, &Page)) -> VisitedPage {
    VisitedPage {
        name: name.to_owned(),
        views: page.views,
        failed: page.errors,
        bytes: page.bytes,
        mean_us: page.micros.checked_div(page.views).unwrap_or_default(),
        slowest_us: page.slowest_us,
        in_time: page.in_time,
    }
}
