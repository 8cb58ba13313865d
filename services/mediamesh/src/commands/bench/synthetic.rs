//! Many made-up items: rows and clustered vectors straight into the store, so that search is
//! measured at scale without decoding as many photos.

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use mediamesh_mesh::LOCAL_TENANT_ID;
use mediamesh_proto::{
    MediaItemId, TenantId,
    embedding::v1::{ListModelsRequest, embedding_service_client::EmbeddingServiceClient},
    model_key::model_key,
    search::v1::{Embedding, IndexMediaRequest, search_service_client::SearchServiceClient},
};
use mediamesh_store::{
    job::{JobKind, NewJob},
    media::{Inserted, Kind, NewMediaItem, Processed},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use super::mesh::BenchMesh;
use crate::{import::screen::say, stores::Stores};

/// Items under way at once: one waits for the disk while another computes.
const AT_ONCE: usize = 8;
/// Clusters of the vectors; noise makes them overlap.
const CLUSTERS: usize = 500;
const WORDS: [&str; 16] = [
    "beach", "sunset", "mountain", "red", "flower", "city", "night", "water", "green", "forest",
    "photo", "family", "car", "dog", "snow", "street",
];

/// Stores `count` items with vectors of the preferred image model.
pub(super) async fn fill(mesh: &BenchMesh, count: u32) -> Result<()> {
    let store = mesh.store().await?;
    let channel = mesh.remote()?;
    let models = EmbeddingServiceClient::new(channel.clone())
        .list_models(ListModelsRequest {})
        .await?
        .into_inner();
    let Some(model) = models.models.iter().find(|model| model.image_input) else {
        return Ok(());
    };
    let dims = usize::try_from(model.dims)?;
    let mut random = StdRng::seed_from_u64(7);
    let centres: Vec<Vec<f32>> = (0..CLUSTERS)
        .map(|_| vector(&mut random, dims, None))
        .collect();
    let search = SearchServiceClient::new(channel);
    let start = tokio::time::Instant::now();
    let bar = ProgressBar::new(u64::from(count));
    stream::iter(0..count)
        .map(|n| {
            let mut random = StdRng::seed_from_u64(u64::from(n));
            let centre = &centres[n as usize % CLUSTERS];
            let (store, mut search, bar) = (store.clone(), search.clone(), bar.clone());
            let embedding = Embedding {
                model: model_key(model),
                values: vector(&mut random, dims, Some(centre)),
            };
            async move {
                let id = insert(&store, n, &mut random).await?;
                let request = IndexMediaRequest {
                    media_item_id: id.to_string(),
                    embeddings: vec![embedding],
                };
                search.index_media(request).await?;
                bar.inc(1);
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    bar.finish_and_clear();
    say(&format!(
        "stored and indexed {count} synthetic items of {dims} dims in {:.0} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

async fn insert(store: &Stores, n: u32, random: &mut StdRng) -> Result<MediaItemId> {
    let tenant = TenantId(LOCAL_TENANT_ID);
    let id = MediaItemId::generate();
    let mut word = || WORDS[random.random_range(0..WORDS.len())];
    let item = NewMediaItem {
        tenant_id: tenant,
        id,
        kind: Kind::Image,
        display_name: format!("{} {} {n}.jpg", word(), word()),
        folder: format!("synthetic/{}", word()),
        tags: vec![word().to_owned()],
        caption: String::new(),
        content_type: "image/jpeg".to_owned(),
        size_bytes: i64::from(n) + 1,
        sha256: Sha256::digest(n.to_be_bytes()).into(),
        blob_key: format!("synthetic/{id}"),
        uploader: None,
    };
    let job = NewJob {
        // The worker must leave it alone until it is ended below.
        priority: 9,
        max_attempts: 1,
        media_item_id: Some(id),
        ..NewJob::new(tenant, JobKind::EmbedMedia)
    };
    if let Inserted::New { .. } = store.media.insert_item(item, job).await? {
        for job in store
            .jobs
            .claim("bench", Duration::from_secs(60), 1)
            .await?
        {
            let lease = job.lease();
            let processed = Processed {
                width_pixels: 4000,
                height_pixels: if n.is_multiple_of(3) { 6000 } else { 3000 },
                capture_time: None,
                colors: Vec::new(),
                thumb_hash: Vec::new(),
                blur_hash: String::new(),
                perceptual_hash: Some(u64::from(n)),
                exif: None,
                search_text: "synthetic".to_owned(),
                renditions: Vec::new(),
            };
            if let Some(item) = job.media_item_id {
                store
                    .media
                    .finish_processing(&lease, tenant, item, processed, None)
                    .await?;
            }
            store.jobs.complete(&lease).await?;
        }
    }
    Ok(id)
}

/// A unit vector, near a centre if there is one.
fn vector(random: &mut StdRng, dims: usize, centre: Option<&Vec<f32>>) -> Vec<f32> {
    let mut values: Vec<f32> = (0..dims)
        .map(|n| {
            let noise: f32 = random.random_range(-1.0..1.0);
            centre.map_or(noise, |centre| centre[n] + 0.05 * noise)
        })
        .collect();
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter_mut().for_each(|value| *value /= norm);
    values
}
