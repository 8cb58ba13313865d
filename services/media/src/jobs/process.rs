//! Original in; renditions, colours, hashes, metadata and vectors out. One decode feeds it all.

use bytes::Bytes;
use futures::future::try_join_all;
use mediamesh_imaging::RgbImage;
use mediamesh_store::{
    job::{Job, JobKind, NewJob, Progress},
    media::{Kind, MediaItem, Processed, Rendition},
};
use tokio::time::Instant;

use super::{
    Context, Failure,
    derive::{Derived, derive},
    embed,
};
use crate::service::{BACKGROUND, extension, new_job, text_job};

pub(super) async fn run(context: &Context, job: &Job) -> Result<(), Failure> {
    let Some(item) = context.item(job).await? else {
        return Ok(());
    };
    context
        .media
        .start_processing(job.tenant_id, item.id)
        .await?;
    match item.kind {
        Kind::Image => image(context, job, item).await,
        Kind::Video => {
            video(context, job, &item).await?;
            text_or_queue(context, job, &item).await
        }
    }
}

/// Videos are kept and can be found by name and served; frames and renditions of them are not made
/// yet, so there is nothing to derive and no way to fail.
async fn video(context: &Context, job: &Job, item: &MediaItem) -> Result<(), Failure> {
    let nothing = Processed {
        width_pixels: 0,
        height_pixels: 0,
        capture_time: None,
        colors: Vec::new(),
        thumb_hash: Vec::new(),
        blur_hash: String::new(),
        perceptual_hash: None,
        exif: None,
        search_text: "video".to_owned(),
        renditions: Vec::new(),
    };
    Ok(context
        .media
        .finish_processing(&job.lease(), job.tenant_id, item.id, nothing, None)
        .await?)
}

async fn image(context: &Context, job: &Job, item: MediaItem) -> Result<(), Failure> {
    let started = Instant::now();
    let original = context
        .blobs
        .get(&item.blob_key, context.options.max_image_bytes)
        .await?;
    context.metrics.stage("read", started.elapsed());
    tell(context, job, 1, "decoding").await?;

    let (limits, plan) = (context.options.limits(), context.plan.clone());
    let Derived {
        mut processed,
        files,
        embedding_input,
    } = context
        .cpu
        .run(move || derive(&original, &limits, &plan))
        .await??;

    tell(context, job, 2, "storing").await?;
    let started = Instant::now();
    processed.renditions = store(context, &item, files).await?;
    context.metrics.stage("store", started.elapsed());
    context
        .media
        .finish_processing(&job.lease(), job.tenant_id, item.id, processed, None)
        .await?;

    tell(context, job, 3, "embedding").await?;
    text_or_queue(context, job, &item).await?;
    embed_or_queue(context, job, &item, embedding_input).await
}

/// Reading, decoding, storing, embedding.
const STEPS: i64 = 4;

async fn tell(context: &Context, job: &Job, done: i64, now: &str) -> Result<(), Failure> {
    let progress = Progress::of(done, STEPS, now);
    Ok(context.jobs.progress(&job.lease(), progress).await?)
}

/// Stores the renditions side by side: syncs of several files share the disk's work.
async fn store(
    context: &Context,
    item: &MediaItem,
    files: Vec<(Rendition, Bytes)>,
) -> Result<Vec<Rendition>, Failure> {
    let puts = files.into_iter().map(|(mut rendition, bytes)| async move {
        let extension = extension(&rendition.content_type);
        rendition.blob_key = mediamesh_blob::key::rendition(
            item.tenant_id,
            &item.sha256,
            item.id,
            &rendition.name,
            extension,
        );
        let (key, content_type) = (&rendition.blob_key, &rendition.content_type);
        context.blobs.put_typed(key, bytes, content_type).await?;
        Ok::<_, Failure>(rendition)
    });
    try_join_all(puts).await
}

/// Embeds the pixels at hand. If a service is away, a job of its own takes over, so that this
/// one's decoding is not repeated.
async fn embed_or_queue(
    context: &Context,
    job: &Job,
    item: &MediaItem,
    pixels: RgbImage,
) -> Result<(), Failure> {
    let done = embed::embed(context, item.id, pixels, Vec::new()).await;
    let priority = job.priority.max(BACKGROUND);
    let mut follow_up = new_job(
        &context.options,
        job.tenant_id,
        JobKind::EmbedMedia,
        item.id,
        priority,
    );
    follow_up.payload = embed::Payload::pixels(Vec::new());
    as_step(&mut follow_up, job, "embed_pixels");
    or_queue(context, done, follow_up).await
}

/// The same for the words, which need no decoding.
async fn text_or_queue(context: &Context, job: &Job, item: &MediaItem) -> Result<(), Failure> {
    let done = embed::text(context, item.tenant_id, item.id).await;
    let priority = job.priority.max(BACKGROUND);
    let mut follow_up = text_job(&context.options, job.tenant_id, item.id, priority);
    as_step(&mut follow_up, job, "embed_words");
    or_queue(context, done, follow_up).await
}

/// What takes over a part of a job is a step of its tree.
fn as_step(follow_up: &mut NewJob, job: &Job, name: &str) {
    follow_up.tree_id = Some(job.tree_id.unwrap_or(job.id));
    follow_up.step = name.to_owned();
}

async fn or_queue(
    context: &Context,
    done: Result<(), Failure>,
    follow_up: NewJob,
) -> Result<(), Failure> {
    match done {
        Ok(()) => Ok(()),
        Err(Failure::LeaseLost) => Err(Failure::LeaseLost),
        Err(Failure::Transient(error) | Failure::Permanent { detail: error, .. }) => {
            tracing::info!(error, "embedding failed, a job of its own will try again");
            context.jobs.enqueue(follow_up).await?;
            Ok(())
        }
    }
}
