//! What was searched for: requests in, answers out.

use mediamesh_mesh::{identity, priority};
use mediamesh_proto::{
    TenantId, Violations,
    search::v1::{
        DeleteSearchHistoryRequest, DeleteSearchHistoryResponse, ListPopularSearchesRequest,
        ListPopularSearchesResponse, ListSearchHistoryRequest, ListSearchHistoryResponse,
        PastSearch, PopularSearch, SuggestSearchesRequest, SuggestSearchesResponse,
        WarmSearchesRequest, WarmSearchesResponse,
    },
    time::timestamp,
};
use mediamesh_store::history::MAX_WORDING_BYTES;
use tonic::{Request, Status};

use super::Grpc;
use crate::error::Error;

/// Popular searches answered when a request does not say how many (S1-32), and at most (S1-31).
const POPULAR: Range = Range {
    default: 100,
    most: 1000,
};
/// Completions answered.
const SUGGESTIONS: Range = Range {
    default: 10,
    most: 50,
};
/// Searches warmed by one call (S1-35).
const WARMED: Range = Range {
    default: 20,
    most: 100,
};
/// Searches on one page of a history.
const PAGE: Range = Range {
    default: 50,
    most: 200,
};

/// What a number of things may be.
#[derive(Clone, Copy)]
struct Range {
    default: i32,
    most: i32,
}

impl Range {
    fn read(self, limit: i32, faults: &mut Violations) -> i32 {
        let Self { default, most } = self;
        faults.check(!(0..=most).contains(&limit), "limit", || {
            format!("must be 1 to {most}, or 0 for {default}")
        });
        if limit == 0 { default } else { limit }
    }
}

impl Grpc {
    pub(super) async fn popular(
        &self,
        request: Request<ListPopularSearchesRequest>,
    ) -> Result<ListPopularSearchesResponse, Status> {
        let user = identity(&request)?;
        let mut faults = Violations::new();
        let limit = POPULAR.read(request.get_ref().limit, &mut faults);
        faults.finish().map_err(Error::from)?;
        // while the cache service does not answer, nothing is known to be popular
        let found = self.service.past.popular(user, "", limit).await;
        let searches = found.unwrap_or_default().into_iter();
        let searches = searches.map(|one| PopularSearch {
            query: one.wording,
            count: one.searches,
        });
        Ok(ListPopularSearchesResponse {
            searches: searches.collect(),
        })
    }

    pub(super) async fn history(
        &self,
        request: Request<ListSearchHistoryRequest>,
    ) -> Result<ListSearchHistoryResponse, Status> {
        let user = identity(&request)?;
        let message = request.get_ref();
        let mut faults = Violations::new();
        faults.check(message.page_size < 0, "page_size", || {
            "must not be negative".to_owned()
        });
        faults.finish().map_err(Error::from)?;
        let limit = match message.page_size {
            0 => PAGE.default,
            wanted => wanted.min(PAGE.most),
        };
        let mut scope = b"history\0".to_vec();
        scope.extend(user.tenant_id.as_bytes());
        scope.extend(user.subject.as_bytes());
        let page_tokens = &self.service.page_tokens;
        let after: Option<(i64, String)> = page_tokens
            .open(&scope, &message.page_token)
            .map_err(Error::from)?;
        let found = self
            .service
            .past
            .list(user, after, i64::from(limit))
            .await?;
        let full = i32::try_from(found.len()).is_ok_and(|count| count >= limit);
        let next_page_token = match found.last() {
            Some(last) if full => page_tokens.seal(&scope, &(last.search_time, &last.wording)),
            _ => String::new(),
        };
        let searches = found.into_iter().map(|one| PastSearch {
            query: one.query,
            count: one.searches,
            search_time: Some(timestamp(one.search_time)),
        });
        Ok(ListSearchHistoryResponse {
            searches: searches.collect(),
            next_page_token,
        })
    }

    pub(super) async fn forget(
        &self,
        request: Request<DeleteSearchHistoryRequest>,
    ) -> Result<DeleteSearchHistoryResponse, Status> {
        let user = identity(&request)?;
        let query = &request.get_ref().query;
        let removed = self.service.past.forget(user, query).await?;
        Ok(DeleteSearchHistoryResponse {
            removed: i64::try_from(removed).unwrap_or(i64::MAX),
        })
    }

    pub(super) async fn suggest(
        &self,
        request: Request<SuggestSearchesRequest>,
    ) -> Result<SuggestSearchesResponse, Status> {
        let user = identity(&request)?;
        let message = request.get_ref();
        let mut faults = Violations::new();
        let limit = SUGGESTIONS.read(message.limit, &mut faults);
        let size = message.prefix.len();
        faults.check(size > MAX_WORDING_BYTES, "prefix", || {
            format!("is {size} bytes; limit is {MAX_WORDING_BYTES}")
        });
        faults.finish().map_err(Error::from)?;
        let limit = usize::try_from(limit).unwrap_or_default();
        let past = &self.service.past;
        let suggestions = past.suggest(user, &message.prefix, limit).await?;
        Ok(SuggestSearchesResponse { suggestions })
    }

    pub(super) async fn warm(
        &self,
        request: Request<WarmSearchesRequest>,
    ) -> Result<WarmSearchesResponse, Status> {
        let tenant = TenantId(identity(&request)?.tenant_id);
        let mut faults = Violations::new();
        let limit = WARMED.read(request.get_ref().limit, &mut faults);
        faults.finish().map_err(Error::from)?;
        // what was searched a moment ago counts
        self.service.past.flush().await;
        let warm = self.service.warm(tenant, limit);
        Ok(priority::background(warm).await?)
    }
}
