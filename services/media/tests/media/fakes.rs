//! Stand-ins for the embedding and search services.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures::stream::BoxStream;
use mediamesh_proto::{
    Error, ErrorKind, ErrorReason, TenantId,
    embedding::v1::{
        DescribeImageRequest, DescribeImageResponse, EmbedImagesRequest, EmbedImagesResponse,
        EmbedTextsRequest, EmbedTextsResponse, ListModelsRequest, ListModelsResponse, ModelInfo,
        ModelVectors, Priority, Vector, embedding_service_server::EmbeddingService, image::Source,
    },
    search::v1::{
        DeleteSearchHistoryRequest, DeleteSearchHistoryResponse, GetIndexStatsRequest,
        GetIndexStatsResponse, IndexMediaRequest, IndexMediaResponse, ListPopularSearchesRequest,
        ListPopularSearchesResponse, ListSearchHistoryRequest, ListSearchHistoryResponse,
        SearchByImageRequest, SearchByImageResponse, SearchMediaRequest, SearchMediaResponse,
        StreamSearchMediaRequest, StreamSearchMediaResponse, SuggestSearchesRequest,
        SuggestSearchesResponse, WarmSearchesRequest, WarmSearchesResponse,
        search_service_server::SearchService,
    },
};
use mediamesh_store::SearchStore;
use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};

/// What the fakes are told and what they were asked.
#[derive(Default)]
pub struct Seen {
    pub embedding_down: AtomicBool,
    /// Calls that embed pixels never end.
    pub embedding_hangs: AtomicBool,
    /// Such calls that somebody still waits for.
    pub hanging: Arc<AtomicUsize>,
    pub embedded: AtomicUsize,
    pub models: Mutex<Vec<ModelInfo>>,
    /// Every text that was embedded.
    pub texts: Mutex<Vec<String>>,
    /// Item and models of each call of `IndexMedia`.
    pub indexed: Mutex<Vec<(String, Vec<String>)>>,
}

pub fn model(id: &str) -> ModelInfo {
    ModelInfo {
        id: id.to_owned(),
        version: "1".to_owned(),
        precision: "f32".to_owned(),
        dims: 2,
        image_input: true,
        ..ModelInfo::default()
    }
}

/// A model that reads words only.
pub fn words_model(id: &str) -> ModelInfo {
    ModelInfo {
        text_input: true,
        image_input: false,
        ..model(id)
    }
}

#[derive(Clone)]
pub struct FakeEmbedding(pub Arc<Seen>);

/// Counts a call for as long as it is not dropped.
struct Hanging(Arc<AtomicUsize>);

impl Hanging {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeEmbedding {
    fn check(&self) -> Result<(), Status> {
        if self.0.embedding_down.load(Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::DependencyDown,
                ErrorReason::DependencyDown,
                "down",
            )
            .into());
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl EmbeddingService for FakeEmbedding {
    async fn embed_texts(
        &self,
        request: Request<EmbedTextsRequest>,
    ) -> Result<Response<EmbedTextsResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        let models = self.0.models.lock().clone();
        let model = models.into_iter().find(|model| model.id == request.model);
        assert!(model.as_ref().is_some_and(|model| model.text_input));
        self.0.texts.lock().extend(request.texts);
        Ok(Response::new(EmbedTextsResponse {
            vectors: vec![Vector {
                values: vec![1.0, 0.0],
                from_cache: false,
            }],
            model,
        }))
    }

    async fn embed_images(
        &self,
        request: Request<EmbedImagesRequest>,
    ) -> Result<Response<EmbedImagesResponse>, Status> {
        self.check()?;
        let request = request.into_inner();
        assert_eq!(request.priority, Priority::Background as i32);
        let Some(Source::Pixels(pixels)) = &request.images[0].source else {
            panic!("pixels are sent")
        };
        assert_eq!(
            pixels.rgb.len(),
            (pixels.width_pixels * pixels.height_pixels * 3) as usize
        );
        self.0.embedded.fetch_add(1, Ordering::SeqCst);
        if self.0.embedding_hangs.load(Ordering::SeqCst) {
            let _hanging = Hanging::new(&self.0.hanging);
            std::future::pending::<()>().await;
        }
        let wanted = |model: &ModelInfo| {
            model.image_input && (request.models.is_empty() || request.models.contains(&model.id))
        };
        let models = self.0.models.lock().clone();
        let results = models.into_iter().filter(wanted).map(|model| ModelVectors {
            model: Some(model),
            vectors: vec![Vector {
                values: vec![1.0, 0.0],
                from_cache: false,
            }],
        });
        Ok(Response::new(EmbedImagesResponse {
            results: results.collect(),
        }))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        self.check()?;
        let models = self.0.models.lock().clone();
        Ok(Response::new(ListModelsResponse {
            models,
            ..ListModelsResponse::default()
        }))
    }

    async fn describe_image(
        &self,
        _: Request<DescribeImageRequest>,
    ) -> Result<Response<DescribeImageResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

#[derive(Clone)]
pub struct FakeSearch(pub Arc<Seen>, pub Arc<dyn SearchStore>);

#[tonic::async_trait]
impl SearchService for FakeSearch {
    type StreamSearchMediaStream = BoxStream<'static, Result<StreamSearchMediaResponse, Status>>;

    async fn search_media(
        &self,
        _: Request<SearchMediaRequest>,
    ) -> Result<Response<SearchMediaResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn stream_search_media(
        &self,
        _: Request<StreamSearchMediaRequest>,
    ) -> Result<Response<Self::StreamSearchMediaStream>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn search_by_image(
        &self,
        _: Request<Streaming<SearchByImageRequest>>,
    ) -> Result<Response<SearchByImageResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn index_media(
        &self,
        request: Request<IndexMediaRequest>,
    ) -> Result<Response<IndexMediaResponse>, Status> {
        let tenant = TenantId(mediamesh_mesh::identity(&request)?.tenant_id);
        let request = request.into_inner();
        let vectors = request
            .embeddings
            .iter()
            .map(|embedding| {
                let bytes = vec![0_u8; 2 * embedding.values.len()];
                (embedding.model.clone(), bytes)
            })
            .collect();
        let id = request.media_item_id.parse().unwrap();
        self.1.put_embeddings(tenant, id, vectors).await.unwrap();
        let models = request
            .embeddings
            .into_iter()
            .map(|embedding| embedding.model)
            .collect();
        self.0.indexed.lock().push((request.media_item_id, models));
        Ok(Response::new(IndexMediaResponse {}))
    }

    async fn list_popular_searches(
        &self,
        _: Request<ListPopularSearchesRequest>,
    ) -> Result<Response<ListPopularSearchesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_search_history(
        &self,
        _: Request<ListSearchHistoryRequest>,
    ) -> Result<Response<ListSearchHistoryResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn delete_search_history(
        &self,
        _: Request<DeleteSearchHistoryRequest>,
    ) -> Result<Response<DeleteSearchHistoryResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn suggest_searches(
        &self,
        _: Request<SuggestSearchesRequest>,
    ) -> Result<Response<SuggestSearchesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn warm_searches(
        &self,
        _: Request<WarmSearchesRequest>,
    ) -> Result<Response<WarmSearchesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_index_stats(
        &self,
        _: Request<GetIndexStatsRequest>,
    ) -> Result<Response<GetIndexStatsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}
