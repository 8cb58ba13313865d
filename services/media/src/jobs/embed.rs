//! Pixels to vectors to the index.

use bytes::Bytes;
use mediamesh_imaging::{RgbImage, decode_rgb_within};
use mediamesh_proto::{
    ErrorReason, MediaItemId,
    embedding::v1::{EmbedImagesRequest, Image, Pixels, Priority, image::Source},
    model_key,
    search::v1::{Embedding, IndexMediaRequest},
    status::reason_of,
};
use mediamesh_store::{
    job::Job,
    media::{Kind, State},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{Context, Failure, derive::failure};

/// Payload of the job.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Payload {
    /// Ids of the models that lack a vector; empty = every active image model.
    pub(super) models: Vec<String>,
}

/// Decodes the original again, small, and embeds it.
pub(super) async fn run(context: &Context, job: &Job) -> Result<(), Failure> {
    let Some(item) = context.item(job).await? else {
        return Ok(());
    };
    // An item that is not ready is embedded at the end of its processing; videos have no pixels yet.
    if item.kind == Kind::Video || item.state != State::Ready {
        return Ok(());
    }
    let payload: Payload =
        serde_json::from_str(&job.payload).map_err(|error| Failure::Permanent {
            reason: ErrorReason::Internal,
            detail: format!("payload of the job cannot be read: {error}"),
        })?;
    let original = context
        .blobs
        .get(&item.blob_key, context.options.max_image_bytes)
        .await?;
    let (limits, side) = (context.options.limits(), context.plan.embedding_side);
    let pixels = context
        .cpu
        .run(move || decode_rgb_within(&original, &limits, side))
        .await?
        .map_err(failure)?;
    embed(context, item.id, pixels, payload.models).await
}

/// Embeds pixels with `models` (empty = all active) and hands the vectors to the index.
pub(super) async fn embed(
    context: &Context,
    item: MediaItemId,
    pixels: RgbImage,
    models: Vec<String>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let request = EmbedImagesRequest {
        images: vec![Image {
            source: Some(Source::Pixels(Pixels {
                width_pixels: i32::try_from(pixels.width).unwrap_or(i32::MAX),
                height_pixels: i32::try_from(pixels.height).unwrap_or(i32::MAX),
                rgb: Bytes::from(pixels.data),
            })),
        }],
        models,
        priority: Priority::Background as i32,
    };
    let answer = context.embedding.clone().embed_images(request).await;
    let answer = answer
        .map_err(|status| called("embedding", &status))?
        .into_inner();
    context.metrics.stage("embed", started.elapsed());

    let embeddings: Vec<Embedding> = answer
        .results
        .into_iter()
        .filter_map(|result| {
            let model = model_key(result.model.as_ref()?);
            let vector = result.vectors.into_iter().next()?;
            Some(Embedding {
                model,
                values: vector.values,
            })
        })
        .collect();
    if embeddings.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let request = IndexMediaRequest {
        media_item_id: item.to_string(),
        embeddings,
    };
    match context.search.clone().index_media(request).await {
        Ok(_) => {}
        // Deleted meanwhile: there is nothing to index any more.
        Err(status) if reason_of(&status) == Some(ErrorReason::MediaItemNotFound) => {}
        Err(status) => return Err(called("search", &status)),
    }
    context.metrics.stage("index", started.elapsed());
    Ok(())
}

/// Sorts the status of a call: what the request is at fault for will fail again.
fn called(service: &str, status: &Status) -> Failure {
    let detail = format!(
        "{service} answered {:?}: {}",
        status.code(),
        status.message()
    );
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::OutOfRange => {
            Failure::Permanent {
                reason: reason_of(status).unwrap_or(ErrorReason::Internal),
                detail,
            }
        }
        _ => Failure::Transient(detail),
    }
}
