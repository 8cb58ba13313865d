//! One search, from cache look-up to hydrated hits.

use std::{collections::HashMap, sync::Arc};

use mediamesh_imaging::RgbImage;
use mediamesh_mesh::{identity, priority};
use mediamesh_proto::{
    MediaItemId, TenantId,
    page_token::PageTokens,
    search::v1::{
        GetIndexStatsResponse, HitExplanation, HitPart, SearchExplanation, SearchHit,
        SearchMediaRequest, SearchMediaResponse, SearchTimings, VectorIndexStats,
    },
    time::duration,
};
use mediamesh_store::{SearchStore, search::Corpus};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    convert::{self, hit},
    embedder::Embedder,
    error::Error,
    fusion::{Fused, RankedList, fuse},
    matching::MatchingSets,
    metrics::{SearchLabels, SearchMetrics, StageLabels},
    options::Options,
    past::Past,
    query::{Order, Query},
    result_cache::{Lease, Lookup, ResultCache},
    retrieve::Retrieved,
    spaces::{self, Spaces},
    warm::Tenants,
};

/// The search service without its transport.
pub(crate) struct Service {
    pub(crate) options: Options,
    pub(crate) store: Arc<dyn SearchStore>,
    pub(crate) spaces: Spaces,
    pub(crate) matching: MatchingSets,
    pub(crate) embedder: Embedder,
    /// One permit per core: query pictures are decoded no faster at once, only with more memory.
    pub(crate) decoding: Arc<Semaphore>,
    pub(crate) cache: ResultCache,
    pub(crate) past: Arc<Past>,
    pub(crate) tenants: Tenants,
    /// Seals the place after a page.
    pub(crate) page_tokens: PageTokens,
    pub(crate) metrics: SearchMetrics,
}

/// A ranked answer whose rows are not read yet.
pub(crate) struct Ranked {
    /// Hits of this page, best first.
    pub(crate) hits: Vec<Fused>,
    /// Whether more follow.
    pub(crate) more: bool,
    /// Newest item that this search could see; fixes the set for the pages that follow.
    pub(crate) newest_key: u32,
    lists: Vec<RankedList>,
    summary: SearchMediaResponse,
}

impl Ranked {
    /// The answer without its hits.
    pub(crate) fn summary(&self) -> SearchMediaResponse {
        self.summary.clone()
    }
}

impl Service {
    /// Reads and answers a search, with a picture if one came with it.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        message: SearchMediaRequest,
        tenant: TenantId,
        image: Option<RgbImage>,
    ) -> Result<SearchMediaResponse, Error> {
        let mut query = self.query(message.clone(), tenant, image.is_some())?;
        query.image = image;
        self.tenants.meet(tenant);
        self.search(message, query).await
    }

    /// Reads a search.
    ///
    /// Errors: it breaks a rule.
    pub(crate) fn query(
        &self,
        message: SearchMediaRequest,
        tenant: TenantId,
        has_image: bool,
    ) -> Result<Query, Error> {
        Ok(convert::query(
            message,
            tenant,
            has_image,
            &self.options,
            &self.page_tokens,
        )?)
    }

    /// Seals the place after this page for the same request.
    pub(crate) fn next_page(
        &self,
        message: &SearchMediaRequest,
        query: &Query,
        newest_key: u32,
    ) -> String {
        let cursor: convert::Cursor = (query.depth(), newest_key);
        let scope = convert::fingerprint(query.tenant, message, &self.options);
        self.page_tokens.seal(&scope, &cursor)
    }

    async fn search(
        self: &Arc<Self>,
        message: SearchMediaRequest,
        query: Query,
    ) -> Result<SearchMediaResponse, Error> {
        let start = Instant::now();
        let corpus = self.store.corpus(query.tenant).await?;
        let models = self.models_fingerprint(&query).await;
        let lease = match self.cache.get(&query, corpus.version, &models).await {
            Lookup::Hit(mut answer, refresh) => {
                answer.from_cache = true;
                answer.timings = Some(SearchTimings {
                    total: Some(duration(start.elapsed())),
                    ..Default::default()
                });
                self.observe(&query, "hit", start, &answer);
                if let Some(lease) = refresh {
                    self.refresh(message, query, corpus, lease);
                }
                return Ok(*answer);
            }
            Lookup::Miss(lease) => lease,
        };
        let answer = self.compute(&message, &query, corpus, start).await?;
        if let Some(lease) = lease {
            self.cache.settle(lease, &answer).await;
        }
        self.observe(&query, "miss", start, &answer);
        Ok(answer)
    }

    /// Computes an answer anew beside the one that was given, for those who ask next.
    fn refresh(
        self: &Arc<Self>,
        message: SearchMediaRequest,
        query: Query,
        corpus: Corpus,
        lease: Lease,
    ) {
        let service = Arc::clone(self);
        let work = async move {
            let start = Instant::now();
            let computed = service.compute(&message, &query, corpus, start);
            // an error: the lease goes back, and the next who asks tries
            if let Ok(answer) = computed.await {
                service.cache.settle(lease, &answer).await;
            }
        };
        tokio::spawn(identity::in_current_scope(priority::background(work)));
    }

    async fn compute(
        &self,
        message: &SearchMediaRequest,
        query: &Query,
        corpus: Corpus,
        start: Instant,
    ) -> Result<SearchMediaResponse, Error> {
        let ranked = self.rank(query, corpus).await?;
        let read = Instant::now();
        let results = self.hydrate(query, &ranked, &ranked.hits).await?;
        let hydrate = read.elapsed();
        let stage = StageLabels { stage: "hydrate" };
        self.metrics
            .stages
            .get_or_create(&stage)
            .observe(hydrate.as_secs_f64());
        let mut answer = ranked.summary();
        answer.results = results;
        if ranked.more {
            answer.next_page_token = self.next_page(message, query, ranked.newest_key);
        }
        if let Some(timings) = &mut answer.timings {
            timings.hydrate = Some(duration(hydrate));
            timings.total = Some(duration(start.elapsed()));
        }
        Ok(answer)
    }

    /// Ranks without reading rows.
    pub(crate) async fn rank(&self, query: &Query, corpus: Corpus) -> Result<Ranked, Error> {
        let mut newest_key = query.newest_key.unwrap_or(corpus.newest_key);
        let (mut hits, found) = match query.is_filter_only() {
            true => (
                self.filtered(query, newest_key).await?,
                Retrieved::default(),
            ),
            false => {
                let found = self.retrieve(query, corpus.version).await?;
                let mut hits = fuse(&found.lists, self.rrf_k());
                // what came meanwhile and is on this page counts on those that follow
                newest_key = hits.iter().fold(newest_key, |key, hit| key.max(hit.key));
                if let Some(floor) = query.min_score {
                    hits.retain(|hit| hit.score >= floor);
                }
                self.reorder(query, &mut hits).await?;
                hits.drain(..query.offset.min(hits.len()));
                (hits, found)
            }
        };
        let more = hits.len() > query.limit && query.depth() < self.options.max_depth as usize;
        hits.truncate(query.limit);
        if !found.degraded.is_empty() {
            self.metrics.degraded.inc();
        }
        let explanation = query.explain.then(|| SearchExplanation {
            steps: found.steps,
            vector_plans: found.plans,
            filter_matches: found
                .filter_matches
                .map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX)),
            rrf_k: i32::try_from(self.options.rrf_k).unwrap_or(i32::MAX),
        });
        let summary = SearchMediaResponse {
            degraded: !found.degraded.is_empty(),
            degraded_reasons: found.degraded,
            models: found.models,
            timings: Some(SearchTimings {
                embed: Some(duration(found.embed_time)),
                full_text: Some(duration(found.full_text_time)),
                vector: Some(duration(found.vector_time)),
                ..Default::default()
            }),
            explanation,
            ..Default::default()
        };
        Ok(Ranked {
            hits,
            more,
            newest_key,
            lists: found.lists,
            summary,
        })
    }

    /// A page of what matches a filter, by date: there is nothing to rank by.
    async fn filtered(&self, query: &Query, newest_key: u32) -> Result<Vec<Fused>, Error> {
        let ascending = query.order == Order::Oldest;
        let [offset, limit] =
            [query.offset, query.limit + 1].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let mut filter = query.filter.clone();
        filter.newest_key = Some(newest_key);
        let keys = self
            .store
            .newest_keys(query.tenant, &filter, ascending, offset, limit)
            .await?;
        Ok(keys
            .into_iter()
            .map(|key| Fused {
                key,
                score: 1.0,
                parts: Vec::new(),
            })
            .collect())
    }

    /// Puts the relevant hits in order of date if that is asked for.
    async fn reorder(&self, query: &Query, hits: &mut [Fused]) -> Result<(), Error> {
        if query.order == Order::Relevance {
            return Ok(());
        }
        let keys: Vec<u32> = hits.iter().map(|hit| hit.key).collect();
        let times: HashMap<u32, i64> = self
            .store
            .media_times(query.tenant, &keys)
            .await?
            .into_iter()
            .collect();
        hits.sort_by_key(|hit| {
            let time = times.get(&hit.key).copied().unwrap_or(i64::MIN);
            (
                if query.order == Order::Newest {
                    time.saturating_neg()
                } else {
                    time
                },
                hit.key,
            )
        });
        Ok(())
    }

    /// Reads the rows of hits in one statement; items deleted meanwhile are left out.
    pub(crate) async fn hydrate(
        &self,
        query: &Query,
        ranked: &Ranked,
        hits: &[Fused],
    ) -> Result<Vec<SearchHit>, Error> {
        let keys: Vec<u32> = hits.iter().map(|hit| hit.key).collect();
        let items = self.store.items_by_key(query.tenant, &keys).await?;
        let mut items: HashMap<i64, _> = items
            .into_iter()
            .map(|item| (item.item_key, item))
            .collect();
        let hits = hits.iter().filter_map(|found| {
            let item = items.remove(&i64::from(found.key))?;
            let explanation = query.explain.then(|| explain(found, &ranked.lists));
            Some(hit(item, found.score, explanation))
        });
        Ok(hits.collect())
    }

    /// Stores vectors of an item and makes them searchable; an empty one takes it out of the index.
    /// Answers `false` if there is no such item.
    pub(crate) async fn index(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        vectors: Vec<(String, Vec<f32>)>,
    ) -> Result<bool, Error> {
        let mut spaces = Vec::with_capacity(vectors.len());
        for (model, values) in &vectors {
            if values.is_empty() {
                // Nothing to take out of an index that is not there.
                spaces.extend(self.spaces.get(tenant, model).await?);
                continue;
            }
            let space = self.spaces.open(tenant, model, values.len()).await?;
            space.validate(values)?;
            spaces.push(space);
        }
        let rows = vectors
            .iter()
            .map(|(model, values)| (model.clone(), spaces::encode(values)))
            .collect();
        if self.store.put_embeddings(tenant, id, rows).await?.is_none() {
            return Ok(false);
        }
        for space in spaces {
            self.spaces.catch_up(&space).await?;
        }
        Ok(true)
    }

    /// Describes what can be searched.
    pub(crate) async fn stats(&self, tenant: TenantId) -> Result<GetIndexStatsResponse, Error> {
        let spaces = self.spaces.of(tenant).await?;
        let mut vector_indexes: Vec<VectorIndexStats> =
            spaces.iter().map(|space| space.stats()).collect();
        vector_indexes.sort_by(|a, b| a.model.cmp(&b.model));
        Ok(GetIndexStatsResponse {
            vector_indexes,
            full_text_documents: self.store.document_count(tenant).await?,
            corpus_version: self.store.corpus(tenant).await?.version,
        })
    }

    /// Models as part of a cache key: an answer made without a model is stale once it is loaded.
    async fn models_fingerprint(&self, query: &Query) -> String {
        if query.is_filter_only() || !query.lists.vectors {
            return String::new();
        }
        match self.embedder.models().await {
            Ok(models) => models
                .models
                .iter()
                .map(mediamesh_proto::model_key::model_key)
                .chain([models.text_model.clone(), models.image_model.clone()])
                .collect::<Vec<_>>()
                .join("\n"),
            Err(_) => "unknown".to_owned(),
        }
    }

    fn observe(
        &self,
        query: &Query,
        cache: &'static str,
        start: Instant,
        answer: &SearchMediaResponse,
    ) {
        let kind = match (
            query.text.is_empty(),
            query.image.is_some(),
            query.examples.is_empty(),
        ) {
            (true, false, true) => "filter",
            (false, false, true) => "text",
            (true, true, _) => "image",
            (true, false, false) => "example",
            _ => "hybrid",
        };
        let labels = SearchLabels { kind, cache };
        self.metrics
            .duration
            .get_or_create(&labels)
            .observe(start.elapsed().as_secs_f64());
        let results = u32::try_from(answer.results.len()).unwrap_or(u32::MAX);
        self.metrics.results.observe(f64::from(results));
    }

    fn rrf_k(&self) -> f32 {
        u16::try_from(self.options.rrf_k).map_or(f32::from(u16::MAX), f32::from)
    }
}

fn explain(found: &Fused, lists: &[RankedList]) -> HitExplanation {
    let parts = found.parts.iter().map(|part| HitPart {
        list: lists
            .get(part.list)
            .map(|list| list.name.clone())
            .unwrap_or_default(),
        rank: i32::try_from(part.rank).unwrap_or(i32::MAX),
        score: part.score,
        contribution: part.contribution,
    });
    HitExplanation {
        parts: parts.collect(),
    }
}
