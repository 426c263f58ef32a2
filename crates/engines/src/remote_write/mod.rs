//! Samples to Prometheus, VictoriaMetrics, Mimir and others by remote write 1.0.

use crate::send::{Client, Delivered, Destination};
use formats::packed::snap;
use formats::remote_write::put_series;

/// Samples of one message, so that receivers with small limits take it.
pub const SAMPLES_MAX: usize = 10_000;

pub struct RemoteWrite {
    client: Client,
}

impl RemoteWrite {
    /// The whole address is that of the client's place.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Destination for RemoteWrite {
    fn deliver(&self, payload: &[u8], items: u64) -> Delivered {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        match self.client.post("", &headers, payload) {
            Ok(answer) => answer.delivered(items),
            Err(error) => Delivered::Again { why: error.to_string(), after: None },
        }
    }
}

/// Series with their samples, put into messages of at most [`SAMPLES_MAX`].
#[derive(Debug, Default)]
pub struct Messages {
    open: Vec<u8>,
    samples: usize,
    done: Vec<(Vec<u8>, u64)>,
}

impl Messages {
    /// Labels in the order of their names; times rise.
    pub fn add<'l>(
        &mut self,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
        samples: &[(i64, f64)],
    ) {
        for some in samples.chunks(SAMPLES_MAX) {
            if self.samples + some.len() > SAMPLES_MAX {
                self.close();
            }
            put_series(&mut self.open, labels.clone(), some.iter().copied());
            self.samples += some.len();
        }
    }

    fn close(&mut self) {
        if self.samples > 0 {
            self.done.push((snap(&self.open), self.samples as u64));
        }
        self.open.clear();
        self.samples = 0;
    }

    /// Payloads and how many samples are in each.
    pub fn finish(mut self) -> Vec<(Vec<u8>, u64)> {
        self.close();
        self.done
    }
}
