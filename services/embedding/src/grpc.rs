//! The generated trait: converts in, calls, converts out.

use std::sync::Arc;

use mediamesh_mesh::identity;
use mediamesh_proto::embedding::v1::{
    DescribeImageRequest, DescribeImageResponse, EmbedImagesRequest, EmbedImagesResponse,
    EmbedTextsRequest, EmbedTextsResponse, ListModelsRequest, ListModelsResponse,
    embedding_service_server::EmbeddingService,
};
use tonic::{Request, Response, Status};

use crate::{convert, error::Error, service::Service};

pub(crate) struct Grpc {
    pub(crate) service: Arc<Service>,
}

#[tonic::async_trait]
impl EmbeddingService for Grpc {
    async fn embed_texts(
        &self,
        request: Request<EmbedTextsRequest>,
    ) -> Result<Response<EmbedTextsResponse>, Status> {
        identity(&request)?;
        let request = request.into_inner();
        convert::check_texts(&request.texts, &self.service.options)?;
        let model = self.service.models.for_texts(&request.model)?;
        let lane = convert::lane(request.priority);
        let made = self
            .service
            .embed_texts(lane, &model, request.texts)
            .await?;
        Ok(Response::new(EmbedTextsResponse {
            vectors: convert::vectors(made),
            model: Some(model.info.clone()),
        }))
    }

    async fn embed_images(
        &self,
        request: Request<EmbedImagesRequest>,
    ) -> Result<Response<EmbedImagesResponse>, Status> {
        identity(&request)?;
        let request = request.into_inner();
        let images = convert::images(request.images, &self.service.options)?;
        let models = self.service.models.for_images(&request.models)?;
        let lane = convert::lane(request.priority);
        let made = self.service.embed_images(lane, &models, images).await?;
        let results = std::iter::zip(&models, made)
            .map(|(model, made)| convert::model_vectors(&model.info, made))
            .collect();
        Ok(Response::new(EmbedImagesResponse { results }))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        identity(&request)?;
        Ok(Response::new(self.service.models.list()))
    }

    async fn describe_image(
        &self,
        request: Request<DescribeImageRequest>,
    ) -> Result<Response<DescribeImageResponse>, Status> {
        identity(&request)?;
        Err(Error::ProviderNotConfigured {
            feature: "image description",
        }
        .into())
    }
}
