//! One request: cache, then flights, then cache.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use mediamesh_mesh::Deadline;
use tokio::sync::Semaphore;

use crate::{
    error::Error,
    flight::Flights,
    input::{Content, ImageInput, Input, text_content},
    models::{Model, Models},
    options::Options,
    pool::Lane,
    vector_cache::{Place, VectorCache},
};

/// Images of one call that are decoded or waiting to be run at once.
const IMAGES_AT_ONCE: usize = 16;
/// Texts of one call that wait to be run at once.
const TEXTS_AT_ONCE: usize = 64;

/// A vector and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) values: Vec<f32>,
    pub(crate) from_cache: bool,
}

/// The service.
pub(crate) struct Service {
    pub(crate) options: Options,
    pub(crate) models: Models,
    pub(crate) cache: VectorCache,
    pub(crate) flights: Flights,
    /// Image files decoded at once.
    pub(crate) decoding: Arc<Semaphore>,
}

/// One vector that is wanted.
struct Wanted {
    model: Arc<Model>,
    content: Content,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Text(Arc<str>),
    Image(Arc<ImageInput>),
}

impl Service {
    /// Embeds texts, in order.
    ///
    /// Errors: those of the model; `QueueFull`, `DeadlineExceeded`, `CutOff`.
    pub(crate) async fn embed_texts(
        &self,
        lane: Lane,
        model: &Arc<Model>,
        texts: Vec<String>,
    ) -> Result<Vec<Made>, Error> {
        let wanted: Vec<Wanted> = (texts.into_iter())
            .map(|text| Wanted {
                model: Arc::clone(model),
                content: text_content(&text),
                source: Source::Text(text.into()),
            })
            .collect();
        in_time(self.make(lane, &wanted, TEXTS_AT_ONCE)).await
    }

    /// Embeds images with each model: one list per model, each in the order of the images.
    ///
    /// Errors: `Image`, those of the model; `QueueFull`, `DeadlineExceeded`, `CutOff`.
    pub(crate) async fn embed_images(
        &self,
        lane: Lane,
        models: &[Arc<Model>],
        images: Vec<ImageInput>,
    ) -> Result<Vec<Vec<Made>>, Error> {
        let images: Vec<Arc<ImageInput>> = images.into_iter().map(Arc::new).collect();
        // Image by image, so that the pixels of one serve all models and are then forgotten.
        let wanted: Vec<Wanted> = (images.iter())
            .flat_map(|image| {
                models.iter().map(|model| Wanted {
                    model: Arc::clone(model),
                    content: image.content,
                    source: Source::Image(Arc::clone(image)),
                })
            })
            .collect();
        drop(images);
        let made = in_time(self.make(lane, &wanted, IMAGES_AT_ONCE)).await?;
        let mut by_model = vec![Vec::new(); models.len()];
        for (index, made) in made.into_iter().enumerate() {
            by_model[index % models.len()].push(made);
        }
        Ok(by_model)
    }

    async fn make(
        &self,
        lane: Lane,
        wanted: &[Wanted],
        at_once: usize,
    ) -> Result<Vec<Made>, Error> {
        let places: Vec<Place> = wanted
            .iter()
            .map(|wanted| Place::new(&wanted.model, &wanted.content))
            .collect();
        let mut made: Vec<Option<Made>> = (self.cache.get(&places).await.into_iter())
            .map(|found| {
                found.map(|values| Made {
                    values,
                    from_cache: true,
                })
            })
            .collect();
        let missing: Vec<usize> = (0..wanted.len())
            .filter(|&index| made[index].is_none())
            .collect();
        if !missing.is_empty() {
            let work: Vec<_> = missing
                .iter()
                .map(|&index| self.compute(lane, &wanted[index]))
                .collect();
            let vectors: Vec<_> = stream::iter(work).buffered(at_once).try_collect().await?;
            let new: Vec<_> = std::iter::zip(&missing, &vectors)
                .map(|(&index, vector)| (&places[index], Arc::clone(vector)))
                .collect();
            self.cache.put(&new).await;
            for (index, vector) in missing.into_iter().zip(vectors) {
                made[index] = Some(Made {
                    values: vector.to_vec(),
                    from_cache: false,
                });
            }
        }
        Ok(made.into_iter().flatten().collect())
    }

    async fn compute(&self, lane: Lane, wanted: &Wanted) -> Result<crate::pool::Shared, Error> {
        let input = match &wanted.source {
            Source::Text(text) => Input::Text(Arc::clone(text)),
            Source::Image(image) => Input::Image(image.pixels(&self.decoding).await?),
        };
        self.flights
            .embed(lane, &wanted.model, wanted.content, input)
            .await
    }
}

/// Drops `work`, and with it whatever it still waits for, when the caller's time is up.
async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match Deadline::current() {
        Some(deadline) => tokio::time::timeout_at(deadline.at(), work)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded)),
        None => work.await,
    }
}

#[cfg(test)]
mod tests;
