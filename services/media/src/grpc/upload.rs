//! Uploads: a stream of messages in, one answer out.

use std::sync::Arc;

use mediamesh_proto::{
    TenantId,
    media::v1::{UploadMediaRequest, UploadMediaResponse, upload_media_request::Payload},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    convert::{
        answer,
        request::{self, violation},
    },
    service::Service,
    upload::{Upload, Uploaded},
};

pub(super) async fn upload(
    service: &Arc<Service>,
    request: Request<Streaming<UploadMediaRequest>>,
) -> Result<Response<UploadMediaResponse>, Status> {
    let uploaded = receive(service, request).await;
    if uploaded.is_err() {
        service.metrics.upload("rejected");
    }
    uploaded
}

async fn receive(
    service: &Arc<Service>,
    request: Request<Streaming<UploadMediaRequest>>,
) -> Result<Response<UploadMediaResponse>, Status> {
    let caller = mediamesh_mesh::identity(&request)?.clone();
    let tenant = TenantId(caller.tenant_id);
    let mut messages = request.into_inner();
    let metadata = match messages
        .message()
        .await?
        .and_then(|message| message.payload)
    {
        Some(Payload::Metadata(metadata)) => metadata,
        _ => return Err(violation("metadata", "must be the first message").into()),
    };
    let mut upload = Upload::begin(Arc::clone(service), &caller, request::upload(metadata)?)?;
    if let Some(known) = upload.known().await? {
        return answer_with(service, tenant, known).await;
    }
    // A broken stream ends here with its status; dropping the upload removes what was staged.
    while let Some(message) = messages.message().await? {
        match message.payload {
            Some(Payload::Chunk(chunk)) => upload.write(chunk).await?,
            Some(Payload::Metadata(_)) => {
                return Err(violation("metadata", "must come once, in the first message").into());
            }
            None => {}
        }
    }
    let uploaded = upload.finish().await?;
    answer_with(service, tenant, uploaded).await
}

async fn answer_with(
    service: &Arc<Service>,
    tenant: TenantId,
    uploaded: Uploaded,
) -> Result<Response<UploadMediaResponse>, Status> {
    let id = uploaded.item.id;
    let renditions = if uploaded.duplicate {
        service.get(tenant, id).await?.1
    } else {
        Vec::new()
    };
    Ok(Response::new(UploadMediaResponse {
        media_item: Some(answer::item(uploaded.item, renditions)),
        duplicate_of: if uploaded.duplicate {
            id.to_string()
        } else {
            String::new()
        },
        job_id: uploaded.job_id.map(|id| id.to_string()).unwrap_or_default(),
    }))
}
