//! The log of requests (S4-9): each that ended is told to the media service, many at a time.
//!
//! Nothing waits for it: requests go into a queue of bounded length, and what does not fit is counted and
//! not kept. Of a request it holds who called, the template of its route, status, time, sizes and trace; never
//! its path, query, body, credentials or address.
//!
//! | metric | labels |
//! |---|---|
//! | `mediamesh_edge_request_log_requests_total` | outcome: written, full (the queue was), failed (the write did) |

use std::{fmt, time::Duration};

use mediamesh_mesh::{Channel, MAX_MESSAGE_BYTES, priority};
use mediamesh_proto::media::v1::{
    AppendRequestsRequest, LoggedRequest, request_log_service_client::RequestLogServiceClient,
};
use mediamesh_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// Requests of one call.
const BATCH: usize = 500;
/// How long a request waits for others to be written with it.
const LINGER: Duration = Duration::from_millis(500);
/// Longest that one write may take, its repetitions by the mesh included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest that the last write may take when the edge ends.
const LAST: Duration = Duration::from_secs(3);

/// The log of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestLogOptions {
    /// Whether requests are logged in the database: tenant, user, method, route, status, time, sizes and trace
    /// id of each; never paths, queries, bodies, credentials or addresses. `media.request_log` says how
    /// long they are kept.
    pub enabled: bool,
    /// Requests that wait to be written; more are counted and not kept.
    pub queue: usize,
}

impl Default for RequestLogOptions {
    fn default() -> Self {
        Self {
            // nobody's doings are kept unless somebody wants it
            enabled: false,
            // ten seconds at 1,000 requests a second; some MiB
            queue: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// Where requests are noted.
pub(crate) struct RequestLog {
    queue: mpsc::Sender<LoggedRequest>,
    waiting: Mutex<Option<mpsc::Receiver<LoggedRequest>>>,
    requests: Family<Labels, Counter>,
}

impl fmt::Debug for RequestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestLog")
    }
}

impl RequestLog {
    /// A log, if it is on.
    pub(crate) fn new(options: &RequestLogOptions, metrics: &Metrics) -> Option<Self> {
        let (queue, waiting) = mpsc::channel(options.queue.max(1));
        options.enabled.then(|| Self {
            queue,
            waiting: Mutex::new(Some(waiting)),
            requests: metrics.register(
                "edge_request_log_requests",
                "Requests for the log, by what became of them",
                Family::default(),
            ),
        })
    }

    /// Notes a request that ended. Never waits.
    pub(crate) fn note(&self, request: LoggedRequest) {
        if self.queue.try_send(request).is_err() {
            self.count("full", 1);
        }
    }

    fn count(&self, outcome: &'static str, many: usize) {
        self.requests
            .get_or_create(&Labels { outcome })
            .inc_by(many as u64);
    }

    /// Writes what is noted until `stop`, then what is left. Once for a log: a second call returns.
    pub(crate) async fn run(&self, media: Channel, stop: impl Future<Output = ()>) {
        let Some(mut waiting) = self.waiting.lock().take() else {
            return;
        };
        let mut client =
            RequestLogServiceClient::new(media).max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut batch = Vec::with_capacity(BATCH);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                _ = waiting.recv_many(&mut batch, BATCH) => {}
                () = &mut stop => break,
            }
            if batch.len() < BATCH {
                tokio::select! {
                    () = sleep(LINGER) => {}
                    () = &mut stop => break,
                }
                take(&mut waiting, &mut batch);
            }
            self.write(&mut client, &mut batch, PATIENCE).await;
        }
        loop {
            take(&mut waiting, &mut batch);
            if batch.is_empty() || !self.write(&mut client, &mut batch, LAST).await {
                return;
            }
        }
    }

    /// Writes a batch and empties it; whether it was written.
    async fn write(
        &self,
        client: &mut RequestLogServiceClient<Channel>,
        batch: &mut Vec<LoggedRequest>,
        patience: Duration,
    ) -> bool {
        let requests = std::mem::take(batch);
        let many = requests.len();
        let call = client.append_requests(AppendRequestsRequest { requests });
        let failed = match timeout(patience, priority::background(call)).await {
            Ok(Ok(_)) => {
                self.count("written", many);
                return true;
            }
            Ok(Err(status)) => status.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.count("failed", many);
        tracing::warn!(many, why = failed, "requests are missing from the log");
        false
    }
}

/// Fills a batch with what waits.
fn take(waiting: &mut mpsc::Receiver<LoggedRequest>, batch: &mut Vec<LoggedRequest>) {
    while batch.len() < BATCH
        && let Ok(request) = waiting.try_recv()
    {
        batch.push(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_nothing_waits() {
        let metrics = Metrics::new();
        let options = RequestLogOptions {
            enabled: true,
            queue: 2,
        };
        let log = RequestLog::new(&options, &metrics).expect("it is on");
        for _ in 0..5 {
            log.note(LoggedRequest::default());
        }
        let full = "mediamesh_edge_request_log_requests_total{outcome=\"full\"} 3";
        assert!(metrics.encode().contains(full));
        assert!(RequestLog::new(&RequestLogOptions::default(), &metrics).is_none());
    }
}
