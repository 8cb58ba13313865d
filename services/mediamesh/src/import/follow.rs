//! Waiting until everything is processed.

use std::time::Duration;

use anyhow::Result;
use mediamesh_mesh::Channel;
use mediamesh_proto::media::v1::{
    BatchGetMediaItemsRequest, GetQueueStatsRequest, job_service_client::JobServiceClient,
    media_item::State, media_service_client::MediaServiceClient,
};

use super::{screen::Screen, summary::Summary};

/// Between two looks at the queue.
const POLL: Duration = Duration::from_millis(300);
/// Ids of one look-up.
const BATCH: usize = 200;

/// Follows the queue until it is empty, then asks which of the new items failed.
///
/// Errors: the mesh is gone.
pub(crate) async fn follow(
    channel: &Channel,
    screen: &Screen,
    summary: &mut Summary,
) -> Result<()> {
    let mut jobs = JobServiceClient::new(channel.clone());
    loop {
        let stats = jobs.get_queue_stats(GetQueueStatsRequest {}).await;
        let stats = stats
            .map_err(|status| crate::client::explain(&status))?
            .into_inner();
        let left = stats.waiting + stats.active;
        screen.processing(u64::try_from(left).unwrap_or(0));
        // Delayed jobs wait for a dependency to come back; they are not waited for here.
        if left == 0 {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let mut media = MediaServiceClient::new(channel.clone());
    let ids: Vec<String> = summary.stored_ids().map(str::to_owned).collect();
    for batch in ids.chunks(BATCH) {
        let request = BatchGetMediaItemsRequest {
            media_item_ids: batch.to_vec(),
            with_processing: false,
        };
        let items = media.batch_get_media_items(request).await;
        for item in items
            .map_err(|status| crate::client::explain(&status))?
            .into_inner()
            .media_items
        {
            if item.state == i32::from(State::Failed) {
                summary.failed(&item.id, item.failure_detail);
            }
        }
    }
    Ok(())
}
