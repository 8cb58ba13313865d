//! The generated traits: convert in, call, convert out.
//!
//! - `items`: reading, listing, changing, removing
//! - `upload`, `download`: streams of bytes
//! - `jobs`: background work
//! - `keys`: API keys
//! - `presign`: addresses for one file
//! - `request_log`: the log of requests
//! - `users`: users and what they have stored

mod download;
mod items;
mod jobs;
mod keys;
mod presign;
mod request_log;
mod upload;
mod users;

use std::sync::Arc;

use futures::stream::BoxStream;
use mediamesh_proto::media::v1::{
    BatchGetMediaItemsRequest, BatchGetMediaItemsResponse, DeleteMediaItemRequest,
    DeleteMediaItemResponse, DownloadMediaRequest, DownloadMediaResponse, GetMediaItemRequest,
    GetMediaItemResponse, ListFoldersRequest, ListFoldersResponse, ListMediaItemsRequest,
    ListMediaItemsResponse, ReprocessMediaItemRequest, ReprocessMediaItemResponse,
    UpdateMediaItemRequest, UpdateMediaItemResponse, UploadMediaRequest, UploadMediaResponse,
    media_service_server::MediaService,
};
use tonic::{Request, Response, Status, Streaming};

pub use keys::ApiKeyGrpc;
pub use presign::PresignGrpc;
pub use request_log::RequestLogGrpc;
pub use users::UserGrpc;

use crate::service::Service;

/// `MediaService` over gRPC.
#[derive(Clone)]
pub struct MediaGrpc(pub(crate) Arc<Service>);

/// `JobService` over gRPC.
#[derive(Clone)]
pub struct JobGrpc(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl MediaService for MediaGrpc {
    type DownloadMediaStream = BoxStream<'static, Result<DownloadMediaResponse, Status>>;

    async fn upload_media(
        &self,
        request: Request<Streaming<UploadMediaRequest>>,
    ) -> Result<Response<UploadMediaResponse>, Status> {
        upload::upload(&self.0, request).await
    }

    async fn get_media_item(
        &self,
        request: Request<GetMediaItemRequest>,
    ) -> Result<Response<GetMediaItemResponse>, Status> {
        items::get(&self.0, request).await
    }

    async fn batch_get_media_items(
        &self,
        request: Request<BatchGetMediaItemsRequest>,
    ) -> Result<Response<BatchGetMediaItemsResponse>, Status> {
        items::batch_get(&self.0, request).await
    }

    async fn list_media_items(
        &self,
        request: Request<ListMediaItemsRequest>,
    ) -> Result<Response<ListMediaItemsResponse>, Status> {
        items::list(&self.0, request).await
    }

    async fn list_folders(
        &self,
        request: Request<ListFoldersRequest>,
    ) -> Result<Response<ListFoldersResponse>, Status> {
        items::list_folders(&self.0, request).await
    }

    async fn update_media_item(
        &self,
        request: Request<UpdateMediaItemRequest>,
    ) -> Result<Response<UpdateMediaItemResponse>, Status> {
        items::update(&self.0, request).await
    }

    async fn delete_media_item(
        &self,
        request: Request<DeleteMediaItemRequest>,
    ) -> Result<Response<DeleteMediaItemResponse>, Status> {
        items::delete(&self.0, request).await
    }

    async fn reprocess_media_item(
        &self,
        request: Request<ReprocessMediaItemRequest>,
    ) -> Result<Response<ReprocessMediaItemResponse>, Status> {
        items::reprocess(&self.0, request).await
    }

    async fn download_media(
        &self,
        request: Request<DownloadMediaRequest>,
    ) -> Result<Response<Self::DownloadMediaStream>, Status> {
        download::download(&self.0, request).await
    }
}
