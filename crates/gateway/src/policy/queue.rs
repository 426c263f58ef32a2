//! Where requests wait while every instance of their service is at its limit: those of a higher
//! priority first, else in the order in which they came, over all threads.
//!
//! Each place that comes free is handed to the first that waits, so that nobody who comes later is
//! quicker. Threads share a lock here, but only while a service is at its limit: who does not wait,
//! and finds nobody waiting, reads one number.

use super::shed::{self, Verdict};
use model::traffic::{Priority, Queue as Declared};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot::{Receiver, Sender, channel};

/// Requests that wait for one service, unless declared.
const SIZE: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub size: usize,
    pub timeout: Duration,
}

impl Settings {
    pub fn new(declared: &Declared) -> Self {
        Self {
            size: declared.size.map_or(SIZE, |size| size as usize),
            timeout: declared.timeout.map_or(TIMEOUT, |timeout| Duration::from_millis(timeout.0)),
        }
    }
}

/// Those that wait for one service; what they wait for is a `T`.
pub struct Line<T> {
    waiting: AtomicUsize,
    ranks: Mutex<Ranks<T>>,
    pub counts: Counts,
}

/// What came of those that found every instance at its limit.
#[derive(Default)]
pub struct Counts {
    pub waited: AtomicU64,
    pub full: AtomicU64,
    pub late: AtomicU64,
    /// Refused for the sake of others, by their priority.
    pub shed: [AtomicU64; 3],
}

struct Ranks<T> {
    next: u64,
    /// By priority, from the lowest, in the order of their numbers.
    ranks: [VecDeque<(u64, Sender<T>)>; 3],
}

/// Why one cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    Full,
    Shed,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        let ranks = Ranks { next: 0, ranks: Default::default() };
        Self { waiting: AtomicUsize::new(0), ranks: Mutex::new(ranks), counts: Counts::default() }
    }
}

impl<T> Line<T> {
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// A place at the end of those of the same priority.
    pub fn enter(
        self: &Arc<Self>,
        priority: Priority,
        settings: &Settings,
        adaptive: bool,
    ) -> Result<Place<T>, NoPlace> {
        let mut ranks = self.lock();
        let waiting = ranks.ranks.each_ref().map(VecDeque::len);
        match shed::judge(priority, waiting, settings.size, adaptive) {
            Verdict::Waits => {}
            Verdict::InPlaceOf(lower) => {
                // Its receiver notices that the sender is gone.
                ranks.ranks[lower as usize].pop_back();
                self.counts.shed[lower as usize].fetch_add(1, Relaxed);
            }
            Verdict::Shed => {
                self.counts.shed[priority as usize].fetch_add(1, Relaxed);
                return Err(NoPlace::Shed);
            }
            Verdict::Full => {
                self.counts.full.fetch_add(1, Relaxed);
                return Err(NoPlace::Full);
            }
        }
        let (hand, wait) = channel();
        ranks.next += 1;
        let number = ranks.next;
        ranks.ranks[priority as usize].push_back((number, hand));
        self.count(&ranks);
        self.counts.waited.fetch_add(1, Relaxed);
        Ok(Place { line: self.clone(), priority, number, wait })
    }

    /// Gives the first that wait whatever `next` has, until it has nothing or nobody waits.
    pub fn serve(&self, mut next: impl FnMut() -> Option<T>) {
        while self.waiting() > 0 {
            let Some(mut given) = next() else { return };
            loop {
                let Some(hand) = self.first() else { return };
                match hand.send(given) {
                    Ok(()) => break,
                    // It has just left; the next one is glad of it.
                    Err(back) => given = back,
                }
            }
        }
    }

    fn first(&self) -> Option<Sender<T>> {
        let mut ranks = self.lock();
        let first = ranks.ranks.iter_mut().rev().find_map(VecDeque::pop_front);
        self.count(&ranks);
        first.map(|(_, hand)| hand)
    }

    fn leave(&self, priority: Priority, number: u64) {
        let mut ranks = self.lock();
        let rank = &mut ranks.ranks[priority as usize];
        if let Ok(at) = rank.binary_search_by_key(&number, |(number, _)| *number) {
            rank.remove(at);
        }
        self.count(&ranks);
    }

    fn count(&self, ranks: &Ranks<T>) {
        self.waiting.store(ranks.ranks.iter().map(VecDeque::len).sum(), SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Ranks<T>> {
        // Nothing is left half done by who holds it.
        self.ranks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits; the place is free again when dropped.
pub struct Place<T> {
    line: Arc<Line<T>>,
    priority: Priority,
    number: u64,
    pub wait: Receiver<T>,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.line.leave(self.priority, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Normal};

    fn settings(size: usize) -> Settings {
        Settings { size, timeout: TIMEOUT }
    }

    /// Hands out these numbers and no more.
    fn serve(line: &Line<u32>, numbers: std::ops::Range<u32>) {
        let mut numbers = numbers;
        line.serve(|| numbers.next());
    }

    #[test]
    fn the_higher_first_and_else_in_order() {
        let line = Arc::new(Line::default());
        let mut places: Vec<Place<u32>> = [Low, Normal, High, Normal, High]
            .map(|priority| line.enter(priority, &settings(5), false).expect("there is room"))
            .into();
        assert_eq!(line.waiting(), 5);
        serve(&line, 0..3);
        assert_eq!(line.waiting(), 2);
        serve(&line, 3..100);
        let order: Vec<u32> = places.iter_mut().map(|p| p.wait.try_recv().expect("it was served")).collect();
        assert_eq!(order, [4, 2, 0, 3, 1]);
    }

    #[test]
    fn who_leaves_makes_room_and_gets_nothing() {
        let line = Arc::new(Line::default());
        let first = line.enter(Normal, &settings(2), false).expect("there is room");
        let mut second = line.enter(Normal, &settings(2), false).expect("there is room");
        assert_eq!(line.enter(Normal, &settings(2), false).err(), Some(NoPlace::Full));
        drop(first);
        let mut third = line.enter(Normal, &settings(2), false).expect("one has left");
        serve(&line, 7..9);
        assert_eq!((second.wait.try_recv(), third.wait.try_recv()), (Ok(7), Ok(8)));
        drop((second, third));
        assert_eq!(line.waiting(), 0);
        assert_eq!(line.counts.full.load(Relaxed), 1);
    }

    #[test]
    fn the_latest_of_a_lower_priority_goes_for_a_higher_one() {
        let line = Arc::<Line<u32>>::default();
        let mut early = line.enter(Low, &settings(3), false).expect("there is room");
        let mut late = line.enter(Low, &settings(3), false).expect("there is room");
        assert_eq!(line.enter(Low, &settings(3), false).err(), Some(NoPlace::Shed));
        let _normal = line.enter(Normal, &settings(3), false).expect("there is room");
        let _high = line.enter(High, &settings(3), false).expect("in place of another");
        assert!(late.wait.try_recv().is_err_and(|e| e == tokio::sync::oneshot::error::TryRecvError::Closed));
        assert_eq!(early.wait.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty));
        assert_eq!((line.waiting(), line.counts.shed[Low as usize].load(Relaxed)), (3, 2));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        const EACH: u32 = 500;
        let line = Arc::<Line<u32>>::default();
        let given = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (line, given) = (&line, &given);
                scope.spawn(move || {
                    for round in 0..EACH {
                        let Ok(mut place) = line.enter(Priority::ALL[thread], &settings(1000), false) else {
                            panic!("there is room for all");
                        };
                        if round % 7 == 0 {
                            continue;
                        }
                        line.serve(|| Some(round));
                        given.fetch_add(u64::from(place.wait.try_recv().is_ok()), Relaxed);
                    }
                });
            }
        });
        assert_eq!(line.waiting(), 0);
        assert!(given.load(Relaxed) > 0);
    }
}
