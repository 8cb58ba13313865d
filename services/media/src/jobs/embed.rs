//! Pixels and words to vectors to the index.

use bytes::Bytes;
use mediamesh_imaging::{RgbImage, decode_rgb_within};
use mediamesh_proto::{
    ErrorReason, MediaItemId, TenantId,
    embedding::v1::{
        EmbedImagesRequest, EmbedTextsRequest, Image, ListModelsRequest, ModelInfo, Pixels,
        Priority, image::Source,
    },
    model_key,
    search::v1::{Embedding, IndexMediaRequest},
    status::reason_of,
};
use mediamesh_store::{
    job::Job,
    media::{Kind, MediaItem, State},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{Context, Failure, derive::failure, patience::patiently};
use crate::words::item_text;

/// How often words that change while they are embedded are embedded again before the job waits.
const MAX_ROUNDS: usize = 4;

/// Payload of the job.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Payload {
    /// What is to be embedded.
    pub(super) part: Part,
    /// Ids of the image models that lack a vector; empty = every active one.
    pub(super) models: Vec<String>,
}

/// What of an item is to be embedded.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Pixels and words.
    #[default]
    Whole,
    /// Pixels only.
    Pixels,
    /// Words only.
    Text,
}

impl Payload {
    /// Of a job about an item's words, as JSON.
    pub(crate) fn text() -> String {
        let payload = Self {
            part: Part::Text,
            models: Vec::new(),
        };
        serde_json::json!(payload).to_string()
    }

    /// Of a job about the pixels and these models, as JSON.
    pub(super) fn pixels(models: Vec<String>) -> String {
        let payload = Self {
            part: Part::Pixels,
            models,
        };
        serde_json::json!(payload).to_string()
    }
}

/// Embeds the words; decodes the original again, small, and embeds the pixels.
pub(super) async fn run(context: &Context, job: &Job) -> Result<(), Failure> {
    let Some(item) = context.item(job).await? else {
        return Ok(());
    };
    // An item that is not ready is embedded at the end of its processing.
    if item.state != State::Ready {
        return Ok(());
    }
    let payload: Payload =
        serde_json::from_str(&job.payload).map_err(|error| Failure::Permanent {
            reason: ErrorReason::Internal,
            detail: format!("payload of the job cannot be read: {error}"),
        })?;
    if payload.part != Part::Pixels {
        text(context, item.tenant_id, item.id).await?;
    }
    // Videos have no pixels yet.
    if payload.part == Part::Text || item.kind == Kind::Video {
        return Ok(());
    }
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

/// Whether a model's space holds the words of items.
///
/// Models that read pictures as well do not: their space holds the pictures, and their texts lie so
/// near each other that words of people would find every item.
pub(super) fn reads_words_only(model: &ModelInfo) -> bool {
    model.text_input && !model.image_input
}

/// Embeds the words of an item with every model that reads words only. An item without words is
/// taken out of the space.
pub(super) async fn text(
    context: &Context,
    tenant: TenantId,
    id: MediaItemId,
) -> Result<(), Failure> {
    let request = ListModelsRequest {};
    let models = patiently(request, |request| {
        let mut embedding = context.embedding.clone();
        async move { embedding.list_models(request).await }
    })
    .await
    .map_err(|status| called("embedding", &status))?
    .models;
    let models: Vec<ModelInfo> = models.into_iter().filter(reads_words_only).collect();
    if models.is_empty() {
        return Ok(());
    }
    let Some(mut words) = read_words(context, tenant, id).await? else {
        return Ok(());
    };
    for _ in 0..MAX_ROUNDS {
        let mut embeddings = Vec::with_capacity(models.len());
        for model in &models {
            embeddings.push(embed_words(context, model, &words).await?);
        }
        index(context, id, embeddings).await?;
        // Another job may have read newer words and been first. Whoever wrote last sees them here.
        match read_words(context, tenant, id).await? {
            Some(newer) if newer != words => words = newer,
            _ => return Ok(()),
        }
    }
    Err(Failure::Transient(
        "the words changed faster than they were embedded".to_owned(),
    ))
}

async fn read_words(
    context: &Context,
    tenant: TenantId,
    id: MediaItemId,
) -> Result<Option<String>, Failure> {
    let found: Option<MediaItem> = context.media.get_items(tenant, &[id]).await?.pop();
    Ok(found.as_ref().map(item_text))
}

async fn embed_words(
    context: &Context,
    model: &ModelInfo,
    words: &str,
) -> Result<Embedding, Failure> {
    let mut embedding = Embedding {
        model: model_key(model),
        values: Vec::new(),
    };
    if words.is_empty() {
        return Ok(embedding);
    }
    let started = Instant::now();
    let request = EmbedTextsRequest {
        texts: vec![words.to_owned()],
        model: model.id.clone(),
        priority: Priority::Background as i32,
    };
    let answer = patiently(request, |request| {
        let mut embedding = context.embedding.clone();
        async move { embedding.embed_texts(request).await }
    })
    .await
    .map_err(|status| called("embedding", &status))?;
    context.metrics.stage("embed", started.elapsed());
    let vector = answer.vectors.into_iter().next().ok_or_else(|| {
        Failure::Transient("the embedding service answered without a vector".to_owned())
    })?;
    embedding.values = vector.values;
    Ok(embedding)
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
    let answer = patiently(request, |request| {
        let mut embedding = context.embedding.clone();
        async move { embedding.embed_images(request).await }
    })
    .await
    .map_err(|status| called("embedding", &status))?;
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
    index(context, item, embeddings).await
}

async fn index(
    context: &Context,
    item: MediaItemId,
    embeddings: Vec<Embedding>,
) -> Result<(), Failure> {
    if embeddings.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let request = IndexMediaRequest {
        media_item_id: item.to_string(),
        embeddings,
    };
    let indexed = patiently(request, |request| {
        let mut search = context.search.clone();
        async move { search.index_media(request).await }
    });
    match indexed.await {
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
