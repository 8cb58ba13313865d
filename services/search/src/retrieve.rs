//! The ranked lists of one search: full text and vectors.

use std::{sync::Arc, time::Duration};

use mediamesh_proto::search::v1::VectorPlan;
use mediamesh_store::search::TextDepth;
use roaring::RoaringBitmap;
use tokio::time::Instant;
use tonic::Status;

use crate::{
    embedder::QueryVector,
    error::Error,
    fusion::RankedList,
    metrics::{PlanLabels, StageLabels},
    query::{Order, Query},
    service::Service,
    spaces::Space,
};

/// What the lists of a search hold, and how they were made.
#[derive(Default)]
pub(crate) struct Retrieved {
    pub(crate) lists: Vec<RankedList>,
    pub(crate) plans: Vec<VectorPlan>,
    pub(crate) models: Vec<String>,
    pub(crate) degraded: Vec<String>,
    pub(crate) steps: Vec<String>,
    /// Items that match the filter, if one was set.
    pub(crate) filter_matches: Option<u64>,
    pub(crate) embed_time: Duration,
    pub(crate) full_text_time: Duration,
    pub(crate) vector_time: Duration,
}

impl Service {
    /// Makes the lists. Full text and query vectors are made side by side; a vector part that is
    /// down is left out and named in `degraded`.
    pub(crate) async fn retrieve(
        &self,
        query: &Query,
        corpus_version: i64,
    ) -> Result<Retrieved, Error> {
        let mut out = Retrieved::default();
        // One more than is asked for says whether there is a next page.
        let needed = query.depth() + 1 + query.examples.len();
        let depth = needed.max(self.options.list_depth as usize + query.examples.len());
        let (text, vectors, allowed) = tokio::join!(
            self.full_text_list(query, depth),
            self.query_vectors(query, corpus_version),
            self.allowed(query, corpus_version),
        );
        let allowed = allowed?;
        if !query.filter.is_empty() {
            out.filter_matches = allowed.as_ref().map(|allowed| allowed.len());
            out.steps.push(format!(
                "filter matches {} items",
                out.filter_matches.unwrap_or(0)
            ));
        }
        let text = text?;
        let alone = text.is_none();
        if let Some((list, time)) = text {
            out.steps
                .push(format!("full text found {} items", list.entries.len()));
            out.full_text_time = time;
            out.lists.push(list);
        }
        let (vectors, time) = vectors?;
        out.embed_time = time;
        out.degraded = vectors.degraded;
        // A list that stands alone in its own order is not fused: what lies deeper changes nothing.
        let alone = alone && vectors.vectors.len() == 1 && query.order == Order::Relevance;
        let depth = if alone { needed } else { depth };
        let start = Instant::now();
        for vector in vectors.vectors {
            let Some(space) = self.spaces.get(query.tenant, &vector.model).await? else {
                out.steps
                    .push(format!("no item has a vector of {}", vector.model));
                continue;
            };
            self.spaces.level(&space, corpus_version).await?;
            let (list, plan) = self
                .vector_list(&space, vector, allowed.clone(), depth)
                .await?;
            out.steps
                .push(format!("{} found {} items", list.name, list.entries.len()));
            out.models.push(plan.model.clone());
            out.plans.push(plan);
            out.lists.push(list);
        }
        out.vector_time = start.elapsed();
        for (stage, time) in [
            ("embed", out.embed_time),
            ("full_text", out.full_text_time),
            ("vector", out.vector_time),
        ] {
            if !time.is_zero() {
                self.metrics
                    .stages
                    .get_or_create(&StageLabels { stage })
                    .observe(time.as_secs_f64());
            }
        }
        // The examples themselves are no answer to "what is like these".
        if !query.examples.is_empty() {
            let keys = self.example_keys(query).await?;
            for list in &mut out.lists {
                list.entries.retain(|(key, _)| !keys.contains(key));
            }
        }
        Ok(out)
    }

    async fn full_text_list(
        &self,
        query: &Query,
        depth: usize,
    ) -> Result<Option<(RankedList, Duration)>, Error> {
        if query.text.is_empty() || !query.lists.full_text {
            return Ok(None);
        }
        let start = Instant::now();
        let depth = TextDepth {
            hits: depth,
            block: self.options.full_text_block as usize,
        };
        let mut filter = query.filter.clone();
        filter.newest_key = query.newest_key;
        let hits = match self
            .store
            .full_text(query.tenant, &query.text, &filter, depth)
            .await
        {
            Ok(hits) => hits,
            // Signs without a word find nothing in a text; a vector may still make sense of them.
            Err(mediamesh_store::Error::NoWords) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let entries = hits
            .into_iter()
            .map(|hit| (hit.item_key, hit.score))
            .collect();
        let list = RankedList {
            name: "full_text".to_owned(),
            weight: 1.0,
            calibrated: false,
            entries,
        };
        Ok(Some((list, start.elapsed())))
    }

    /// Items that may be answered; `None` = all.
    async fn allowed(
        &self,
        query: &Query,
        corpus_version: i64,
    ) -> Result<Option<Arc<RoaringBitmap>>, Error> {
        let mut allowed = match query.filter.is_empty() {
            true => None,
            false => Some(
                self.matching
                    .of(query.tenant, corpus_version, &query.filter)
                    .await?,
            ),
        };
        if let Some(newest) = query.newest_key {
            let mut older = RoaringBitmap::new();
            older.insert_range(0..=newest);
            if let Some(matching) = allowed {
                older &= matching.as_ref();
            }
            allowed = Some(Arc::new(older));
        }
        Ok(allowed)
    }

    async fn vector_list(
        &self,
        space: &Arc<Space>,
        vector: QueryVector,
        allowed: Option<Arc<RoaringBitmap>>,
        depth: usize,
    ) -> Result<(RankedList, VectorPlan), Error> {
        let found = space.search(vector.values, depth, allowed).await?;
        let plan = found.plan;
        self.metrics.plans.get_or_create(&PlanLabels { plan }).inc();
        let model = mediamesh_proto::model_key::model_id(&space.model).to_owned();
        let entries = found
            .neighbors
            .into_iter()
            .take_while(|(_, score)| *score >= vector.floor)
            .collect();
        let list = RankedList {
            name: format!("vector:{model}"),
            weight: 1.0,
            calibrated: true,
            entries,
        };
        let scanned = i64::try_from(found.scanned).unwrap_or(i64::MAX);
        Ok((
            list,
            VectorPlan {
                model,
                plan: plan.to_owned(),
                scanned,
            },
        ))
    }

    /// Vectors of words, picture and examples, as far as models can make them.
    async fn query_vectors(
        &self,
        query: &Query,
        corpus_version: i64,
    ) -> Result<(QueryVectors, Duration), Error> {
        let start = Instant::now();
        let mut out = QueryVectors::default();
        if !query.lists.vectors {
            return Ok((out, Duration::ZERO));
        }
        if !query.text.is_empty() {
            match self.embedder.text(&query.text).await {
                Ok(vector) => out.vectors.extend(vector.map(|mut vector| {
                    // A caller may ask for less relevant hits than the model's default.
                    vector.floor = vector.floor.min(query.min_score.unwrap_or(vector.floor));
                    vector
                })),
                Err(status) => out.degrade(status)?,
            }
        }
        if let Some(image) = &query.image {
            match self.embedder.image(image).await {
                Ok(vectors) => out.vectors.extend(vectors),
                // Without words there is nothing left to answer from.
                Err(status) if query.text.is_empty() => {
                    return Err(Error::Dependency {
                        dependency: "embedding",
                        status: Box::new(status),
                    });
                }
                Err(status) => out.degrade(status)?,
            }
        }
        let spent = start.elapsed();
        if !query.examples.is_empty() {
            self.example_vectors(query, corpus_version, &mut out)
                .await?;
        }
        Ok((out, spent))
    }

    /// Weighted mean of the examples in each model's space; Rocchio 1971 without the old query.
    async fn example_vectors(
        &self,
        query: &Query,
        corpus_version: i64,
        out: &mut QueryVectors,
    ) -> Result<(), Error> {
        let ids: Vec<_> = query.examples.iter().map(|(id, _)| *id).collect();
        let keys = self.store.keys_of(query.tenant, &ids).await?;
        let models = match self.embedder.image_models().await {
            Ok(models) => models,
            // Stored vectors need no model to be compared.
            Err(status) => {
                out.degrade(status)?;
                self.spaces
                    .of(query.tenant)
                    .await?
                    .iter()
                    .map(|space| space.model.clone())
                    .collect()
            }
        };
        let mut unready = None;
        for model in models {
            let Some(space) = self.spaces.get(query.tenant, &model).await? else {
                continue;
            };
            self.spaces.level(&space, corpus_version).await?;
            let asked: Vec<u32> = keys.iter().map(|(_, key)| *key).collect();
            let vectors = space.vectors(&asked).await?;
            let mut sum: Vec<f32> = Vec::new();
            for (id, weight) in &query.examples {
                let key = keys
                    .iter()
                    .find(|(known, _)| known == id)
                    .map(|(_, key)| *key);
                let key = key.ok_or(Error::NoSuchItem(*id))?;
                let Some(vector) = vectors.get(&key) else {
                    unready = Some(*id);
                    sum.clear();
                    break;
                };
                sum.resize(vector.len(), 0.0);
                sum.iter_mut()
                    .zip(vector)
                    .for_each(|(sum, value)| *sum += weight * value);
            }
            if sum.iter().any(|value| *value != 0.0) {
                out.vectors.push(QueryVector {
                    model,
                    values: sum,
                    floor: -1.0,
                });
            }
        }
        if out.vectors.is_empty() && query.text.is_empty() && query.image.is_none() {
            let first = query.examples.first().map(|(id, _)| *id);
            if let Some(missing) = first.filter(|id| !keys.iter().any(|(known, _)| known == id)) {
                return Err(Error::NoSuchItem(missing));
            }
            if let Some(id) = unready.or(first) {
                return Err(Error::NotReady(id));
            }
        }
        Ok(())
    }

    async fn example_keys(&self, query: &Query) -> Result<Vec<u32>, Error> {
        let ids: Vec<_> = query.examples.iter().map(|(id, _)| *id).collect();
        let keys = self.store.keys_of(query.tenant, &ids).await?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }
}

#[derive(Default)]
struct QueryVectors {
    vectors: Vec<QueryVector>,
    degraded: Vec<String>,
}

impl QueryVectors {
    /// Goes on without the embedding service, unless it is the caller's time that ran out.
    fn degrade(&mut self, status: Status) -> Result<(), Error> {
        match status.code() {
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled
                if mediamesh_mesh::Deadline::current()
                    .is_some_and(mediamesh_mesh::Deadline::has_passed) =>
            {
                Err(Error::Dependency {
                    dependency: "embedding",
                    status: Box::new(status),
                })
            }
            code => {
                tracing::warn!(%code, message = status.message(), "searching without query vectors");
                let reason = "the embedding service does not answer: only words were searched";
                if !self.degraded.iter().any(|known| known == reason) {
                    self.degraded.push(reason.to_owned());
                }
                Ok(())
            }
        }
    }
}
