//! Requests of our own to both releases, where people send too few to judge by.
//!
//! The paths are asked in turn of both alike, straight at the instances. What comes of them is counted
//! as the gateway counts, and compared apart from what people send: they ask for other things.

use crate::engine::Engine;
use model::InstanceId;
use model::flow::{Counts, LN_UNIT, Latency, LatencyBucket, bucket_edge_us};
use model::service::Asked;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Requests a second that each release is asked; people who ask both together less are too few.
pub(crate) const EACH_S: u64 = 20;
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read at most; what comes after them is not waited for.
const BODY_LIMIT: usize = 1 << 20;
/// Requests under way at a time, for both releases together.
const UNDER_WAY: usize = 64;

/// Where the instances of a release are reached.
pub(crate) type Places = Vec<(InstanceId, IpAddr)>;

/// Asks until it is dropped.
pub(crate) struct Asker {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    places: Mutex<[Places; 2]>,
    counts: Mutex<BTreeMap<InstanceId, Counts>>,
    is_needed: AtomicBool,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Asker {
    /// Must be called within a runtime. Nobody is asked before that is needed.
    pub fn start(engine: Arc<dyn Engine>, paths: Vec<Asked>) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(ask(Arc::clone(&shared), engine, paths)).abort_handle();
        Self { shared, task }
    }

    /// From here on these are asked: new, old.
    pub fn set_places(&self, places: [Places; 2]) {
        *lock(&self.shared.places) = places;
    }

    pub fn set_needed(&self, is_needed: bool) {
        self.shared.is_needed.store(is_needed, Ordering::Relaxed);
    }

    pub fn counts(&self) -> BTreeMap<InstanceId, Counts> {
        lock(&self.shared.counts).clone()
    }
}

async fn ask(shared: Arc<Shared>, engine: Arc<dyn Engine>, paths: Vec<Asked>) {
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let mut turns = interval(Duration::from_millis(1000 / EACH_S));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0usize.. {
        turns.tick().await;
        while under_way.try_join_next().is_some() {}
        if !shared.is_needed.load(Ordering::Relaxed) || paths.is_empty() {
            continue;
        }
        let path = &paths[number % paths.len()];
        let places = lock(&shared.places).clone();
        // Either both are asked or none is.
        let [new, old] =
            places.map(|of| (!of.is_empty()).then(|| of[number / paths.len() % of.len()].clone()));
        let (Some(new), Some(old)) = (new, old) else { continue };
        let Ok(permits) = Arc::clone(&room).try_acquire_many_owned(2) else { continue };
        let (shared, engine, path) = (Arc::clone(&shared), Arc::clone(&engine), path.clone());
        under_way.spawn(async move {
            let _permits = permits;
            tokio::join!(
                one(&shared, engine.as_ref(), new, &path),
                one(&shared, engine.as_ref(), old, &path)
            );
        });
    }
}

async fn one(shared: &Shared, engine: &dyn Engine, (id, host): (InstanceId, IpAddr), asked: &Asked) {
    let count = |note: &dyn Fn(&mut Counts)| note(lock(&shared.counts).entry(id.clone()).or_default());
    count(&|counts| counts.active += 1);
    let begun = Instant::now();
    let status =
        match timeout(ANSWER_LIMIT, get(engine, SocketAddr::new(host, asked.port), &asked.path)).await {
            Ok(Ok(status)) => status,
            // As the gateway would answer.
            Ok(Err(_)) => 502,
            Err(_) => 504,
        };
    let micros = begun.elapsed().as_micros() as u64;
    count(&|counts| {
        counts.active = counts.active.saturating_sub(1);
        counts.requests += 1;
        counts.classes[usize::from(status / 100).clamp(1, 5) - 1] += 1;
        note(&mut counts.latency, micros);
    });
}

fn note(latency: &mut Latency, micros: u64) {
    let ln = (micros.max(1) as f64).ln() * LN_UNIT as f64;
    latency.sum_us += micros;
    latency.ln += ln as u64;
    latency.ln_squares += (ln * ln) as u64;
    let le_us = bucket_edge_us(micros);
    match latency.buckets.binary_search_by_key(&le_us, |bucket| bucket.le_us) {
        Ok(at) => latency.buckets[at].count += 1,
        Err(at) => latency.buckets.insert(at, LatencyBucket { le_us, count: 1 }),
    }
}

/// The status, once the whole answer has come.
async fn get(engine: &dyn Engine, address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = engine.stream_socket(address)?.connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: juchu-judge\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(4096);
    stream.take(BODY_LIMIT as u64).read_to_end(&mut answer).await?;
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|s| s.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    /// Answers each connection with this, until it is dropped.
    async fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.expect("readable");
                assert!(request[..read].starts_with(b"GET /cart?of=1 HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.expect("written");
            }
        });
        port
    }

    async fn asked(port: u16) -> Counts {
        let engine: Arc<dyn Engine> = Arc::new(crate::fake::FakeMachine::new());
        let asker = Asker::start(engine, vec![Asked { port, path: "/cart?of=1".to_owned() }]);
        let id = |name: &str| InstanceId::new(name).expect("valid");
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        asker.set_places([vec![(id("n1"), here)], Vec::new()]);
        asker.set_needed(true);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(asker.counts().is_empty(), "one alone is not asked");
        asker.set_places([vec![(id("n1"), here)], vec![(id("o1"), here)]]);
        let counts = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let counts = asker.counts();
            if counts.values().filter(|counts| counts.requests >= 3).count() == 2 {
                break counts;
            }
        };
        asker.set_needed(false);
        counts[&id("n1")].clone()
    }

    #[tokio::test]
    async fn both_are_asked_and_what_they_answer_is_counted() {
        let good = asked(server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await).await;
        assert_eq!((good.requests, good.latency.count()), (good.classes[1], good.requests));
        let bad = asked(server("HTTP/1.1 503 Service Unavailable\r\n\r\n").await).await;
        assert_eq!(bad.requests, bad.classes[4]);
        let broken = asked(server("no HTTP at all").await).await;
        assert_eq!(broken.requests, broken.classes[4]);
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = closed.local_addr().expect("bound").port();
        drop(closed);
        let refused = asked(port).await;
        assert_eq!(refused.requests, refused.classes[4]);
    }
}
