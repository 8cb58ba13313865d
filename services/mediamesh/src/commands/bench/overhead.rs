//! The edge beside native gRPC on the same calls, in turns: added latency one call at a time, and
//! throughput with more callers than cores, where every core is busy with nothing else.

use std::{pin::Pin, time::Duration};

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use mediamesh_proto::{
    media::v1::{GetQueueStatsRequest, job_service_client::JobServiceClient},
    search::v1::{SearchMediaRequest, search_service_client::SearchServiceClient},
};
use serde_json::json;
use tokio::time::Instant;

use super::mesh::BenchMesh;
use crate::import::screen::say;

/// Turns, so that a machine that slows down slows both; the first is not counted.
const ROUNDS: u32 = 5;
const CALLERS: usize = 16;

type Call<'a> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> + 'a>;

pub(super) async fn run(mesh: &BenchMesh, calls: u32) -> Result<()> {
    let http = reqwest::Client::new();
    let channel = mesh.remote()?;

    let stats_url = mesh.url("/v1/queue/stats");
    let stats_edge: Call<'_> =
        Box::new(|| Box::pin(async { answered(http.get(&stats_url).send().await?).await }));
    let stats_native: Call<'_> = Box::new(|| {
        let mut client = JobServiceClient::new(channel.clone());
        Box::pin(async move {
            client.get_queue_stats(GetQueueStatsRequest {}).await?;
            Ok(())
        })
    });
    compare("queue stats", calls, &stats_edge, &stats_native).await?;

    // The cache answers all but the first: the work of the service is as small as it gets, and
    // twenty hits have to be written as JSON.
    let search_url = mesh.url("/v1/mediaItems:search");
    let body = json!({"query": "mountain", "limit": 20});
    let search_edge: Call<'_> = Box::new(|| {
        Box::pin(async { answered(http.post(&search_url).json(&body).send().await?).await })
    });
    let search_native: Call<'_> = Box::new(|| {
        let mut client = SearchServiceClient::new(channel.clone());
        Box::pin(async move {
            let request = SearchMediaRequest {
                query: "mountain".to_owned(),
                limit: 20,
                ..SearchMediaRequest::default()
            };
            client.search_media(request).await?;
            Ok(())
        })
    });
    compare("cached search", calls, &search_edge, &search_native).await
}

async fn answered(response: reqwest::Response) -> Result<()> {
    response.error_for_status()?.bytes().await?;
    Ok(())
}

async fn compare<'a>(name: &str, calls: u32, edge: &Call<'a>, native: &Call<'a>) -> Result<()> {
    let mut sides = [(edge, Side::new()?), (native, Side::new()?)];
    for round in 0..=ROUNDS {
        for (call, side) in &mut sides {
            side.measure(call, calls, round > 0).await?;
        }
    }
    let [(_, edge), (_, native)] = &sides;
    let (slow, quick) = (edge.median(), native.median());
    say(&format!(
        "edge, {name}: p50 {slow} us over HTTP beside {quick} us over native gRPC, {} us added; \
         {CALLERS} callers {:.0}/s beside {:.0}/s, {:.0} %",
        i64::try_from(slow)? - i64::try_from(quick)?,
        edge.rate(),
        native.rate(),
        100.0 * edge.rate() / native.rate(),
    ));
    Ok(())
}

/// What was measured of one side.
struct Side {
    alone: Histogram<u64>,
    busy_calls: u32,
    busy: Duration,
}

impl Side {
    fn new() -> Result<Self> {
        Ok(Self {
            alone: Histogram::new(3)?,
            busy_calls: 0,
            busy: Duration::ZERO,
        })
    }

    async fn measure(&mut self, call: &Call<'_>, calls: u32, counted: bool) -> Result<()> {
        for _ in 0..calls {
            let start = Instant::now();
            call().await?;
            if counted {
                self.alone
                    .record(u64::try_from(start.elapsed().as_micros())?)?;
            }
        }
        let start = Instant::now();
        let many = calls * 4;
        stream::iter(0..many)
            .map(|_| call())
            .buffer_unordered(CALLERS)
            .try_collect::<()>()
            .await?;
        if counted {
            self.busy_calls += many;
            self.busy += start.elapsed();
        }
        Ok(())
    }

    fn median(&self) -> u64 {
        self.alone.value_at_quantile(0.5)
    }

    fn rate(&self) -> f64 {
        f64::from(self.busy_calls) / self.busy.as_secs_f64()
    }
}
