//! Finds items whose pixels or words an active model has not seen, and queues them.
//!
//! A pass begins at start, when the set of models changes, and when the embedding service comes
//! back. It walks all items once, in the order of their keys: one that no model can read does not
//! come back for ever, and what was queued is not read again. An item that becomes ready meanwhile is
//! queued by what made it so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mediamesh_mesh::priority;
use mediamesh_proto::{
    embedding::v1::{ListModelsRequest, ModelInfo},
    model_key,
};
use mediamesh_store::{
    job::{JobKind, NewJob},
    search::{ItemPlace, Missing, Reads},
};

use super::{
    Context, Failure,
    embed::{Payload, reads_words_only},
};
use crate::service::{BACKGROUND, new_job, text_job};

/// Items queued in one go.
const BATCH: usize = 1_000;

/// Items that have been queued in a pass before it ends; the next start goes on.
const MAX_PASS: usize = 1_000_000;

/// Polls for ever.
pub(super) async fn run(context: Arc<Context>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(
        context.options.worker.models_interval_secs,
    ));
    let mut pass = None;
    loop {
        ticks.tick().await;
        let models = match context
            .embedding
            .clone()
            .list_models(ListModelsRequest {})
            .await
        {
            Ok(answer) => answer.into_inner().models,
            Err(status) => {
                tracing::debug!(code = ?status.code(), "models cannot be listed");
                pass = None;
                continue;
            }
        };
        let models: BTreeMap<String, ModelInfo> = models
            .into_iter()
            .filter(|model| model.image_input || reads_words_only(model))
            .map(|model| (model_key(&model), model))
            .collect();
        let keys: BTreeSet<String> = models.keys().cloned().collect();
        if pass.as_ref().is_none_or(|pass: &Pass| pass.keys != keys) {
            pass = Some(Pass {
                keys,
                after: None,
                queued: 0,
                done: false,
            });
        }
        if let Some(current) = pass.as_mut().filter(|pass| !pass.done)
            && let Err(failure) = priority::background(current.go_on(&context, &models)).await
        {
            tracing::warn!(?failure, "backfill stopped, will go on");
        }
    }
}

struct Pass {
    keys: BTreeSet<String>,
    /// All items up to here are dealt with.
    after: Option<ItemPlace>,
    queued: usize,
    done: bool,
}

/// Models, by their ids, that lack a vector of each item, in the order of the items.
type Page = BTreeMap<(ItemPlace, Reads), (Missing, Vec<String>)>;

impl Pass {
    /// Queues items until nothing new is missing.
    async fn go_on(
        &mut self,
        context: &Context,
        models: &BTreeMap<String, ModelInfo>,
    ) -> Result<(), Failure> {
        let before = self.queued;
        while !self.done {
            let (page, last) = self.page(context, models).await?;
            let items = page.len();
            for ((_, reads), (item, models)) in page {
                let (options, tenant, id) = (&context.options, item.tenant, item.id);
                let job = match reads {
                    Reads::Text => text_job(options, tenant, id, BACKGROUND),
                    Reads::Pixels => NewJob {
                        payload: Payload::pixels(models),
                        ..new_job(options, tenant, JobKind::EmbedMedia, id, BACKGROUND)
                    },
                };
                context.jobs.enqueue(job).await?;
            }
            self.queued += items;
            self.after = last.or(self.after);
            self.done = last.is_none() || self.queued > MAX_PASS;
            if items > 0 {
                context.jobs.ring();
            }
        }
        let items = self.queued - before;
        if items > 0 {
            tracing::info!(items, models = models.len(), "items queued for embedding");
        }
        Ok(())
    }

    /// Reads what is missing next, of all models up to the same item, so that an item comes once with
    /// all of them; with the place to go on from, if there may be more.
    async fn page(
        &self,
        context: &Context,
        models: &BTreeMap<String, ModelInfo>,
    ) -> Result<(Page, Option<ItemPlace>), Failure> {
        let (mut page, mut last) = (Page::new(), None);
        for (key, model) in models {
            let reads = match reads_words_only(model) {
                true => Reads::Text,
                false => Reads::Pixels,
            };
            let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
            let store = &context.search_store;
            let found = store
                .missing_embeddings(key, reads, self.after, limit)
                .await?;
            if found.len() >= BATCH
                && let Some(end) = found.last().map(Missing::place)
            {
                // the models whose pages are full end at different items: the first of those counts
                last = Some(last.map_or(end, |last: ItemPlace| last.min(end)));
            }
            for item in found {
                let entry = page.entry((item.place(), reads));
                let (_, ids) = entry.or_insert_with(|| (item, Vec::new()));
                ids.push(model.id.clone());
            }
        }
        if let Some(last) = last {
            page.retain(|(place, _), _| *place <= last);
        }
        Ok((page, last))
    }
}
