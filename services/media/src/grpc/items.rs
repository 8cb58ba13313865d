//! Reading, listing, changing and removing items.

use std::sync::Arc;

use mediamesh_proto::{
    MediaItemId, TenantId, Violations,
    media::v1::{
        BatchGetMediaItemsRequest, BatchGetMediaItemsResponse, DeleteMediaItemRequest,
        DeleteMediaItemResponse, GetMediaItemRequest, GetMediaItemResponse, ListFoldersRequest,
        ListFoldersResponse, ListMediaItemsRequest, ListMediaItemsResponse,
        ReprocessMediaItemRequest, ReprocessMediaItemResponse, UpdateMediaItemRequest,
        UpdateMediaItemResponse,
    },
};
use mediamesh_store::job::JobKind;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status};

use crate::{
    convert::{answer, request},
    error::Error,
    service::{NORMAL, Service, Wanted},
};

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Position {
    create_time: i64,
    id: String,
    /// Counted for the first page and carried along.
    total: i64,
}

pub(super) async fn get(
    service: &Arc<Service>,
    request: Request<GetMediaItemRequest>,
) -> Result<Response<GetMediaItemResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let id = request::item_id("media_item_id", &request.get_ref().media_item_id)?;
    let (item, renditions) = service.get(tenant, id).await?;
    Ok(Response::new(GetMediaItemResponse {
        media_item: Some(answer::item(item, renditions)),
    }))
}

pub(super) async fn batch_get(
    service: &Arc<Service>,
    request: Request<BatchGetMediaItemsRequest>,
) -> Result<Response<BatchGetMediaItemsResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let ids = request::item_ids(&request.get_ref().media_item_ids)?;
    let found = service.batch_get(tenant, &ids).await?;
    let processing = match request.get_ref().with_processing {
        true => {
            let derived = service.derived(tenant, &found).await?;
            let ids = found.iter().map(|(item, _)| item.id);
            let pairs = ids.zip(derived);
            pairs
                .map(|(id, derived)| answer::processing(id, derived))
                .collect()
        }
        false => Vec::new(),
    };
    let media_items = found
        .into_iter()
        .map(|(item, renditions)| answer::item(item, renditions))
        .collect();
    Ok(Response::new(BatchGetMediaItemsResponse {
        media_items,
        processing,
    }))
}

pub(super) async fn list(
    service: &Arc<Service>,
    request: Request<ListMediaItemsRequest>,
) -> Result<Response<ListMediaItemsResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let mut request = request.into_inner();
    let mut query = request::list(&request)?;
    let token = std::mem::take(&mut request.page_token);
    request.page_size = 0;
    let scope = scope("items", tenant, &request.encode_to_vec());
    let position: Option<Position> = service
        .page_tokens
        .open(&scope, &token)
        .map_err(Error::from)?;
    if let Some(position) = &position {
        let id: MediaItemId = request::item_id("page_token", &position.id)?;
        query.after = Some((position.create_time, id));
    }
    let page = service.list(tenant, &query).await?;
    let total = page
        .total
        .or(position.map(|position| position.total))
        .unwrap_or_default();
    let next_page_token = match page.items.last() {
        Some((last, _)) if page.more => {
            let next = Position {
                create_time: last.create_time,
                id: last.id.to_string(),
                total,
            };
            service.page_tokens.seal(&scope, &next)
        }
        _ => String::new(),
    };
    let media_items = page
        .items
        .into_iter()
        .map(|(item, renditions)| answer::item(item, renditions))
        .collect();
    Ok(Response::new(ListMediaItemsResponse {
        media_items,
        next_page_token,
        total_size: total,
    }))
}

pub(super) async fn list_folders(
    service: &Arc<Service>,
    request: Request<ListFoldersRequest>,
) -> Result<Response<ListFoldersResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let request = request.into_inner();
    let mut violations = Violations::new();
    let limit = request::page_size(request.page_size, 1_000, 10_000, &mut violations);
    violations.finish().map_err(Error::from)?;
    let scope = scope("folders", tenant, &[]);
    let after: Option<String> = service
        .page_tokens
        .open(&scope, &request.page_token)
        .map_err(Error::from)?;
    let folders = service.folders(tenant, after.as_deref(), limit).await?;
    let full = i64::try_from(folders.len()).is_ok_and(|count| count >= limit);
    let next_page_token = match folders.last() {
        Some(last) if full => service.page_tokens.seal(&scope, &last.path),
        _ => String::new(),
    };
    let folders = folders.into_iter().map(answer::folder).collect();
    Ok(Response::new(ListFoldersResponse {
        folders,
        next_page_token,
    }))
}

pub(super) async fn update(
    service: &Arc<Service>,
    request: Request<UpdateMediaItemRequest>,
) -> Result<Response<UpdateMediaItemResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let (item, renditions) = service
        .update(tenant, request::update(request.into_inner())?)
        .await?;
    Ok(Response::new(UpdateMediaItemResponse {
        media_item: Some(answer::item(item, renditions)),
    }))
}

pub(super) async fn delete(
    service: &Arc<Service>,
    request: Request<DeleteMediaItemRequest>,
) -> Result<Response<DeleteMediaItemResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let request = request.into_inner();
    let id = request::item_id("media_item_id", &request.media_item_id)?;
    let version = request::etag("etag", &request.etag)?;
    service.delete(tenant, id, version).await?;
    Ok(Response::new(DeleteMediaItemResponse {}))
}

pub(super) async fn reprocess(
    service: &Arc<Service>,
    request: Request<ReprocessMediaItemRequest>,
) -> Result<Response<ReprocessMediaItemResponse>, Status> {
    let tenant = request::tenant(&request)?;
    let id = request::item_id("media_item_id", &request.get_ref().media_item_id)?;
    let job_id = service
        .queue(tenant, Wanted::new(JobKind::ProcessMedia, id, NORMAL))
        .await?;
    Ok(Response::new(ReprocessMediaItemResponse {
        job_id: job_id.to_string(),
    }))
}

/// What a page token is bound to: list, tenant, and the rest of the request.
pub(super) fn scope(list: &str, tenant: TenantId, rest: &[u8]) -> Vec<u8> {
    let mut scope = format!("media.{list}/{tenant}/").into_bytes();
    scope.extend_from_slice(rest);
    scope
}
