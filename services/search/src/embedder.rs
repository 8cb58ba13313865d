//! The embedding service as search sees it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use mediamesh_imaging::RgbImage;
use mediamesh_mesh::Channel;
use mediamesh_proto::{
    embedding::v1::{
        EmbedImagesRequest, EmbedTextsRequest, Image, ListModelsRequest, ListModelsResponse,
        ModelInfo, Pixels, Priority, embedding_service_client::EmbeddingServiceClient,
        image::Source,
    },
    model_key::model_key,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::patience::{at_most, within};

/// How long the list of models is trusted: a new model is searched within this time.
const MODELS_MAX_AGE: Duration = Duration::from_secs(5);

/// Longest that a search waits for it: the embedding service has it in memory.
const MODELS_TIME: Duration = Duration::from_secs(1);
/// How long it is not asked for again after that failed: nobody else needs to find out the same.
const MODELS_PAUSE: Duration = Duration::from_secs(1);
/// Longest that a search waits for a vector; half of the time it has left, if that is less. The other half
/// is for an answer without it.
const VECTOR_TIME: Duration = Duration::from_secs(5);

/// A query's vector in one model's space.
#[derive(Debug, Clone)]
pub(crate) struct QueryVector {
    /// Model key.
    pub(crate) model: String,
    /// L2-normalised.
    pub(crate) values: Vec<f32>,
    /// Least similarity that counts as relevant; -1 = any.
    pub(crate) floor: f32,
}

struct Models {
    read: Instant,
    list: Arc<ListModelsResponse>,
}

/// The list could not be had.
struct Failed {
    at: Instant,
    status: Status,
}

/// The embedding service as search sees it.
pub(crate) struct Embedder {
    client: EmbeddingServiceClient<Channel>,
    models: ArcSwapOption<Models>,
    failed: ArcSwapOption<Failed>,
}

impl Embedder {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            client: EmbeddingServiceClient::new(channel),
            models: ArcSwapOption::empty(),
            failed: ArcSwapOption::empty(),
        }
    }

    /// The loaded models, at most a few seconds old; older ones if the service is down.
    pub(crate) async fn models(&self) -> Result<Arc<ListModelsResponse>, Status> {
        let known = self.models.load_full();
        if let Some(models) = &known
            && models.read.elapsed() < MODELS_MAX_AGE
        {
            return Ok(Arc::clone(&models.list));
        }
        let stale = |status: Status| {
            known
                .as_ref()
                .map(|models| Arc::clone(&models.list))
                .ok_or(status)
        };
        if let Some(failed) = self.failed.load_full()
            && failed.at.elapsed() < MODELS_PAUSE
        {
            return stale(failed.status.clone());
        }
        let mut client = self.client.clone();
        let limit = at_most(MODELS_TIME);
        match within(limit, client.list_models(ListModelsRequest {})).await {
            Ok(answer) => {
                self.failed.store(None);
                let list = Arc::new(answer.into_inner());
                self.models.store(Some(Arc::new(Models {
                    read: Instant::now(),
                    list: Arc::clone(&list),
                })));
                Ok(list)
            }
            Err(status) => {
                // That this search had little time says nothing to others.
                let late = [Code::DeadlineExceeded, Code::Cancelled].contains(&status.code());
                if !late || limit == MODELS_TIME {
                    self.failed.store(Some(Arc::new(Failed {
                        at: Instant::now(),
                        status: status.clone(),
                    })));
                }
                stale(status)
            }
        }
    }

    /// Embeds words; `None` if no model reads text.
    pub(crate) async fn text(&self, text: &str) -> Result<Option<QueryVector>, Status> {
        let models = self.models().await?;
        if models.text_model.is_empty() {
            return Ok(None);
        }
        let request = EmbedTextsRequest {
            texts: vec![text.to_owned()],
            model: models.text_model.clone(),
            priority: Priority::Interactive.into(),
        };
        let mut client = self.client.clone();
        let answer = within(at_most(VECTOR_TIME), client.embed_texts(request)).await?;
        let answer = answer.into_inner();
        let (Some(model), Some(vector)) = (answer.model, answer.vectors.into_iter().next()) else {
            return Err(Status::internal(
                "the embedding service answered without a vector",
            ));
        };
        Ok(Some(QueryVector {
            model: model_key(&model),
            values: vector.values,
            floor: model.default_min_score,
        }))
    }

    /// Embeds a picture with every model that reads pictures.
    pub(crate) async fn image(&self, image: &RgbImage) -> Result<Vec<QueryVector>, Status> {
        let pixels = Pixels {
            width_pixels: i32::try_from(image.width).unwrap_or(i32::MAX),
            height_pixels: i32::try_from(image.height).unwrap_or(i32::MAX),
            rgb: image.data.clone().into(),
        };
        let request = EmbedImagesRequest {
            images: vec![Image {
                source: Some(Source::Pixels(pixels)),
            }],
            models: Vec::new(),
            priority: Priority::Interactive.into(),
        };
        let mut client = self.client.clone();
        let answer = within(at_most(VECTOR_TIME), client.embed_images(request)).await?;
        let answer = answer.into_inner();
        let vectors = answer.results.into_iter().filter_map(|result| {
            let model = result.model?;
            let vector = result.vectors.into_iter().next()?;
            Some(QueryVector {
                model: model_key(&model),
                values: vector.values,
                // As for stored examples: everything is more or less like a picture.
                floor: -1.0,
            })
        });
        Ok(vectors.collect())
    }

    /// Keys of the models that read pictures, the preferred one first.
    pub(crate) async fn image_models(&self) -> Result<Vec<String>, Status> {
        let models = self.models().await?;
        let mut readers: Vec<&ModelInfo> = models.models.iter().filter(|m| m.image_input).collect();
        readers.sort_by_key(|model| model.id != models.image_model);
        Ok(readers.into_iter().map(model_key).collect())
    }
}
