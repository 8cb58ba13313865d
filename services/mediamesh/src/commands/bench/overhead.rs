//! The edge beside native gRPC on the same call, in turns, one at a time.

use tokio::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use mediamesh_proto::media::v1::{GetQueueStatsRequest, job_service_client::JobServiceClient};

use super::mesh::BenchMesh;
use crate::import::screen::say;

/// Turns, so that a machine that slows down slows both.
const ROUNDS: u32 = 5;

pub(super) async fn run(mesh: &BenchMesh, calls: u32) -> Result<()> {
    let client = reqwest::Client::new();
    let url = mesh.url("/v1/queue/stats");
    let mut grpc = JobServiceClient::new(mesh.remote()?);
    let mut native = Histogram::<u64>::new(3)?;
    let mut edge = Histogram::<u64>::new(3)?;
    for round in 0..=ROUNDS {
        for _ in 0..calls {
            let start = Instant::now();
            grpc.get_queue_stats(GetQueueStatsRequest {}).await?;
            if round > 0 {
                native.record(u64::try_from(start.elapsed().as_micros())?)?;
            }
        }
        for _ in 0..calls {
            let start = Instant::now();
            client
                .get(&url)
                .send()
                .await?
                .error_for_status()?
                .bytes()
                .await?;
            if round > 0 {
                edge.record(u64::try_from(start.elapsed().as_micros())?)?;
            }
        }
    }
    let (native, edge) = (native.value_at_quantile(0.5), edge.value_at_quantile(0.5));
    say(&format!(
        "edge: p50 {edge} us over HTTP beside {native} us over native gRPC: {} us added",
        i64::try_from(edge)? - i64::try_from(native)?
    ));
    Ok(())
}
