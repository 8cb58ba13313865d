//! Completions of what a user begins to write: first what it searched for itself, then what is
//! popular in its tenant.

use std::collections::HashSet;

use mediamesh_mesh::Identity;
use mediamesh_proto::{
    TenantId,
    search::v1::{SearchSuggestion, search_suggestion::Source},
};

use crate::{error::Error, past::Past, wording::beginning};

impl Past {
    /// Completes `prefix`, the likeliest first. What is popular is left out while the cache service
    /// does not answer.
    pub(crate) async fn suggest(
        &self,
        user: &Identity,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<SearchSuggestion>, Error> {
        let prefix = beginning(prefix);
        // what is written already is no suggestion, and may be in either
        let wanted = limit + 1;
        let tenant = TenantId(user.tenant_id);
        let own = self.store.past_searches_like(
            tenant,
            &user.subject,
            &prefix,
            i64::try_from(wanted).unwrap_or(i64::MAX),
        );
        // as many again as the user's own may take away
        let most = i32::try_from(2 * wanted).unwrap_or(i32::MAX);
        let (own, popular) = tokio::join!(own, self.popular(user, &prefix, most));
        let own = own?.into_iter();
        let own = own.map(|one| (one.wording, one.query, Source::History));
        let popular = popular.unwrap_or_default().into_iter();
        let popular = popular.map(|one| (one.wording.clone(), one.wording, Source::Popular));
        let mut seen = HashSet::from([prefix.trim_end().to_owned()]);
        let suggestions = own
            .chain(popular)
            .filter(|(wording, ..)| seen.insert(wording.clone()))
            .map(|(_, query, source)| SearchSuggestion {
                query,
                source: source.into(),
            });
        Ok(suggestions.take(limit).collect())
    }
}
