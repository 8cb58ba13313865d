//! Finds items whose pixels or words an active model has not seen, and queues them.
//!
//! A pass begins at start, when the set of models changes, and when the embedding service comes
//! back. Within a pass an item is queued once, so one that no model can read does not come back
//! for ever.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use mediamesh_proto::{
    MediaItemId, TenantId,
    embedding::v1::{ListModelsRequest, ModelInfo},
    model_key,
};
use mediamesh_store::{
    job::{JobKind, NewJob},
    search::Reads,
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
                queued: HashSet::new(),
                done: false,
            });
        }
        if let Some(current) = pass.as_mut().filter(|pass| !pass.done)
            && let Err(failure) = current.go_on(&context, &models).await
        {
            tracing::warn!(?failure, "backfill stopped, will go on");
        }
    }
}

struct Pass {
    keys: BTreeSet<String>,
    queued: HashSet<(Reads, MediaItemId)>,
    done: bool,
}

impl Pass {
    /// Queues items until nothing new is missing.
    async fn go_on(
        &mut self,
        context: &Context,
        models: &BTreeMap<String, ModelInfo>,
    ) -> Result<(), Failure> {
        let mut total = 0;
        loop {
            let mut missing: HashMap<(Reads, TenantId, MediaItemId), Vec<String>> = HashMap::new();
            let limit = i64::try_from(self.queued.len() + BATCH).unwrap_or(i64::MAX);
            for (key, model) in models {
                let reads = match reads_words_only(model) {
                    true => Reads::Text,
                    false => Reads::Pixels,
                };
                let found = context
                    .search_store
                    .missing_embeddings(key, reads, limit)
                    .await?;
                for (tenant, item) in found {
                    if !self.queued.contains(&(reads, item)) {
                        missing
                            .entry((reads, tenant, item))
                            .or_default()
                            .push(model.id.clone());
                    }
                }
            }
            if missing.is_empty() || self.queued.len() > MAX_PASS {
                self.done = true;
                break;
            }
            for ((reads, tenant, item), models) in missing {
                let options = &context.options;
                let job = match reads {
                    Reads::Text => text_job(options, tenant, item, BACKGROUND),
                    Reads::Pixels => NewJob {
                        payload: Payload::pixels(models),
                        ..new_job(options, tenant, JobKind::EmbedMedia, item, BACKGROUND)
                    },
                };
                context.jobs.enqueue(job).await?;
                self.queued.insert((reads, item));
                total += 1;
            }
            context.jobs.ring();
        }
        if total > 0 {
            tracing::info!(
                items = total,
                models = models.len(),
                "items queued for embedding"
            );
        }
        Ok(())
    }
}
