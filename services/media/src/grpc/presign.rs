//! Addresses that let others write or read one file for a while.

use std::{collections::HashMap, sync::Arc};

use mediamesh_mesh::{Identity, LOCAL_TENANT_ID, identity};
use mediamesh_proto::{
    ErrorKind, ErrorReason, TenantId,
    media::v1::{
        CompleteUploadRequest, CompleteUploadResponse, CreateDownloadUrlRequest,
        CreateDownloadUrlResponse, CreateUploadUrlRequest, CreateUploadUrlResponse,
        PutUploadRequest, PutUploadResponse, ResolveDownloadUrlRequest, ResolveDownloadUrlResponse,
        UploadMediaMetadata, presign_service_server::PresignService, put_upload_request::Payload,
    },
    time::{std_duration, timestamp},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    convert::{
        answer,
        request::{self, violation},
    },
    presign::Presign,
};

/// Longest `content-type` that can be asked for, bytes.
const MAX_CONTENT_TYPE: usize = 128;

/// `PresignService` over gRPC.
#[derive(Clone)]
pub struct PresignGrpc(pub(crate) Arc<Presign>);

/// Refuses whoever works for a tenant: what the addresses of others allow is told to edges only.
fn for_processes(caller: &Identity) -> Result<(), Status> {
    if caller.tenant_id.is_nil() || caller.tenant_id == LOCAL_TENANT_ID {
        return Ok(());
    }
    Err(mediamesh_proto::Error::new(
        ErrorKind::PermissionDenied,
        ErrorReason::PermissionDenied,
        "addresses of every tenant are opened by processes of the mesh only",
    )
    .into())
}

#[tonic::async_trait]
impl PresignService for PresignGrpc {
    async fn create_upload_url(
        &self,
        request: Request<CreateUploadUrlRequest>,
    ) -> Result<Response<CreateUploadUrlResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let request = request.into_inner();
        let ttl = request.ttl.as_ref().map(std_duration);
        let content_type = request.content_type;
        // A space at an end would be lost on the way, and the file refused for it.
        let fits = content_type.len() <= MAX_CONTENT_TYPE
            && content_type.trim() == content_type
            && content_type
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte));
        if !fits {
            let rule = format!(
                "must be at most {MAX_CONTENT_TYPE} printable ASCII characters, no space at either end"
            );
            return Err(violation("content_type", &rule).into());
        }
        let new = request::upload(UploadMediaMetadata {
            display_name: request.display_name,
            folder: request.folder,
            tags: request.tags,
            caption: request.caption,
            size_bytes: request.size_bytes,
            sha256: request.sha256,
            background: false,
        })?;
        let issued = self
            .0
            .upload(tenant, new, content_type.clone(), ttl)
            .await?;
        let typed = Some(content_type).filter(|text| !text.is_empty());
        let headers = typed.map(|text| ("content-type".to_owned(), text));
        Ok(Response::new(CreateUploadUrlResponse {
            url: issued.url,
            headers: headers.into_iter().collect::<HashMap<_, _>>(),
            expire_time: Some(timestamp(issued.until)),
            upload_token: issued.token,
        }))
    }

    async fn complete_upload(
        &self,
        request: Request<CompleteUploadRequest>,
    ) -> Result<Response<CompleteUploadResponse>, Status> {
        let caller = identity(&request)?.clone();
        let token = request.into_inner().upload_token;
        let ((item, renditions), duplicate) = self.0.complete(&caller, &token).await?;
        Ok(Response::new(CompleteUploadResponse {
            media_item: Some(answer::item(item, renditions)),
            duplicate_of: duplicate.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn create_download_url(
        &self,
        request: Request<CreateDownloadUrlRequest>,
    ) -> Result<Response<CreateDownloadUrlResponse>, Status> {
        let tenant: TenantId = request::tenant(&request)?;
        let request = request.into_inner();
        let id = request::item_id("media_item_id", &request.media_item_id)?;
        let ttl = request.ttl.as_ref().map(std_duration);
        let issued = self.0.download(tenant, id, request.rendition, ttl).await?;
        Ok(Response::new(CreateDownloadUrlResponse {
            url: issued.url,
            expire_time: Some(timestamp(issued.until)),
        }))
    }

    async fn put_upload(
        &self,
        request: Request<Streaming<PutUploadRequest>>,
    ) -> Result<Response<PutUploadResponse>, Status> {
        for_processes(identity(&request)?)?;
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let Some(Payload::Head(head)) = first.and_then(|message| message.payload) else {
            return Err(violation("head", "must be the first message").into());
        };
        let put = self.0.put(&head.token, head.size_bytes, &head.content_type);
        let mut put = put.await?;
        // A broken stream ends here with its status; dropping what was staged removes it.
        while let Some(message) = messages.message().await? {
            match message.payload {
                Some(Payload::Chunk(chunk)) => put.write(chunk).await?,
                Some(Payload::Head(_)) => {
                    return Err(violation("head", "must come once, in the first message").into());
                }
                None => {}
            }
        }
        put.finish().await?;
        Ok(Response::new(PutUploadResponse {}))
    }

    async fn resolve_download_url(
        &self,
        request: Request<ResolveDownloadUrlRequest>,
    ) -> Result<Response<ResolveDownloadUrlResponse>, Status> {
        for_processes(identity(&request)?)?;
        let get = self.0.resolve(&request.get_ref().token)?;
        Ok(Response::new(ResolveDownloadUrlResponse {
            tenant_id: get.tenant.to_string(),
            media_item_id: get.item.to_string(),
            rendition: get.rendition,
        }))
    }
}
