//! The service as its callers see it: through the mesh, in process, with only the built-in model.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, sync::Arc};

use mediamesh_embedding::{Deps, Options, build};
use mediamesh_mesh::{
    Channel, LocalAuthenticator, Policy, Registry, ServerBuilder, ServerDeps, ServiceName,
};
use mediamesh_near::NearCache;
use mediamesh_proto::{
    ErrorReason,
    cache::v1::{
        BatchGetEntriesRequest, BatchGetEntriesResponse, BatchSetEntriesRequest,
        BatchSetEntriesResponse, CountSearchesRequest, CountSearchesResponse, Entry,
        GetCacheStatsRequest, GetCacheStatsResponse, GetEntryRequest, GetEntryResponse,
        InvalidateEntriesRequest, InvalidateEntriesResponse, ListPopularSearchesRequest,
        ListPopularSearchesResponse, Lookup, ReleaseLeaseRequest, ReleaseLeaseResponse,
        SetEntryRequest, SetEntryResponse, WatchInvalidationsRequest, WatchInvalidationsResponse,
        cache_service_server::{CacheService, CacheServiceServer},
    },
    embedding::v1::{
        DescribeImageRequest, EmbedImagesRequest, EmbedTextsRequest, Image, ListModelsRequest,
        Pixels, Vector, embedding_service_client::EmbeddingServiceClient, image::Source,
    },
    model_key::model_key,
    status::reason_of,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use parking_lot::Mutex;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

/// The two batch methods of a cache, in a map.
#[derive(Clone, Default)]
struct MapCache(Arc<Mutex<HashMap<String, Entry>>>);

#[tonic::async_trait]
impl CacheService for MapCache {
    async fn batch_get_entries(
        &self,
        request: Request<BatchGetEntriesRequest>,
    ) -> Result<Response<BatchGetEntriesResponse>, Status> {
        let keys = request.into_inner().keys;
        assert!(keys.len() <= 100);
        let entries = self.0.lock();
        let lookups = keys
            .iter()
            .map(|key| Lookup {
                entry: entries.get(key).cloned(),
            })
            .collect();
        Ok(Response::new(BatchGetEntriesResponse { lookups }))
    }

    async fn batch_set_entries(
        &self,
        request: Request<BatchSetEntriesRequest>,
    ) -> Result<Response<BatchSetEntriesResponse>, Status> {
        let entries = request.into_inner().entries.into_iter();
        self.0
            .lock()
            .extend(entries.map(|entry| (entry.key.clone(), entry)));
        Ok(Response::new(BatchSetEntriesResponse {}))
    }

    async fn get_entry(
        &self,
        _: Request<GetEntryRequest>,
    ) -> Result<Response<GetEntryResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn set_entry(
        &self,
        _: Request<SetEntryRequest>,
    ) -> Result<Response<SetEntryResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn release_lease(
        &self,
        _: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn invalidate_entries(
        &self,
        _: Request<InvalidateEntriesRequest>,
    ) -> Result<Response<InvalidateEntriesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    type WatchInvalidationsStream =
        futures::stream::Empty<Result<WatchInvalidationsResponse, Status>>;

    async fn watch_invalidations(
        &self,
        _: Request<WatchInvalidationsRequest>,
    ) -> Result<Response<Self::WatchInvalidationsStream>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn count_searches(
        &self,
        _: Request<CountSearchesRequest>,
    ) -> Result<Response<CountSearchesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn list_popular_searches(
        &self,
        _: Request<ListPopularSearchesRequest>,
    ) -> Result<Response<ListPopularSearchesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn get_cache_stats(
        &self,
        _: Request<GetCacheStatsRequest>,
    ) -> Result<Response<GetCacheStatsResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }
}

fn client(cache: Option<MapCache>) -> EmbeddingServiceClient<Channel> {
    let metrics = Metrics::new();
    let registry = Registry::new(Policy::default(), &metrics);
    let server = || {
        ServerBuilder::new(ServerDeps {
            policy: Policy::default(),
            metrics: metrics.clone(),
            health: HealthRegistry::new(),
            authenticator: Arc::new(LocalAuthenticator),
        })
    };
    if let Some(cache) = cache {
        let routes = server()
            .add_service(CacheServiceServer::new(cache))
            .build()
            .unwrap();
        registry.register_local(ServiceName::Cache, routes);
    }
    let deps = Deps {
        cache: NearCache::without_memory(registry.channel(ServiceName::Cache)),
        metrics: metrics.clone(),
        model: None,
        hint: "run `mediamesh models pull clip`".to_owned(),
        text_only_hint: String::new(),
    };
    let embedding = build(
        Options {
            max_image_pixels: 10_000,
            ..Options::default()
        },
        deps,
    );
    let routes = server().add_service(embedding.server()).build().unwrap();
    registry.register_local(ServiceName::Embedding, routes);
    EmbeddingServiceClient::new(registry.channel(ServiceName::Embedding))
}

fn rgb(width: usize, height: usize) -> Vec<u8> {
    (0..width * height * 3)
        .map(|index| (index * 37 % 251) as u8)
        .collect()
}

fn pixels(width: i32, height: i32, rgb: Vec<u8>) -> Image {
    let pixels = Pixels {
        width_pixels: width,
        height_pixels: height,
        rgb: rgb.into(),
    };
    Image {
        source: Some(Source::Pixels(pixels)),
    }
}

fn jpeg(width: usize, height: usize) -> Vec<u8> {
    let data = rgb(width, height);
    let image = turbojpeg::Image {
        pixels: &data[..],
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::None)
        .unwrap()
        .to_vec()
}

fn file(bytes: Vec<u8>) -> Image {
    Image {
        source: Some(Source::Encoded(bytes.into())),
    }
}

fn images(images: Vec<Image>) -> EmbedImagesRequest {
    EmbedImagesRequest {
        images,
        ..EmbedImagesRequest::default()
    }
}

async fn embed(client: &mut EmbeddingServiceClient<Channel>, sent: Vec<Image>) -> Vec<Vector> {
    let mut answer = client
        .embed_images(images(sent))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.results.len(), 1);
    let result = answer.results.remove(0);
    let version = mediamesh_imaging::descriptor::VERSION;
    let expected = format!("builtin/visual@v{version}/f32");
    assert_eq!(model_key(&result.model.unwrap()), expected);
    result.vectors
}

#[tokio::test]
async fn the_second_call_is_answered_from_the_cache_with_the_same_vectors() {
    let cache = MapCache::default();
    let mut client = client(Some(cache.clone()));
    let sent = vec![pixels(20, 10, rgb(20, 10)), file(jpeg(64, 48))];
    let first = embed(&mut client, sent.clone()).await;
    assert!(first.iter().all(|vector| !vector.from_cache));
    for vector in &first {
        let norm = vector
            .values
            .iter()
            .map(|value| value * value)
            .sum::<f32>()
            .sqrt();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
    assert_ne!(first[0].values, first[1].values);
    let second = embed(&mut client, sent.clone()).await;
    assert!(second.iter().all(|vector| vector.from_cache));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.values, second.values);
    }

    // A value of something else under the key is a miss.
    for entry in cache.0.lock().values_mut() {
        let mut value = entry.value.to_vec();
        value[5] ^= 1;
        entry.value = value.into();
    }
    let third = embed(&mut client, sent).await;
    assert!(third.iter().all(|vector| !vector.from_cache));
}

#[tokio::test]
async fn a_cache_that_is_down_costs_only_the_saving() {
    let mut client = client(None);
    let sent = vec![pixels(20, 10, rgb(20, 10)); 2];
    let vectors = embed(&mut client, sent).await;
    assert_eq!(vectors.len(), 2);
    assert_eq!(vectors[0].values, vectors[1].values);
}

#[tokio::test]
async fn bad_images_are_refused_by_their_own_reasons() {
    let mut client = client(None);
    let mut cut = jpeg(64, 48);
    cut.truncate(cut.len() / 2);
    for (image, reason) in [
        (file(cut), ErrorReason::CorruptImage),
        (
            file(b"words, not a picture".to_vec()),
            ErrorReason::UnsupportedMediaType,
        ),
        (file(Vec::new()), ErrorReason::EmptyFile),
        (file(jpeg(200, 100)), ErrorReason::TooManyPixels),
        (pixels(200, 100, rgb(200, 100)), ErrorReason::TooManyPixels),
        (pixels(20, 10, rgb(20, 9)), ErrorReason::InvalidField),
        (pixels(0, 10, Vec::new()), ErrorReason::InvalidField),
        (Image { source: None }, ErrorReason::InvalidField),
    ] {
        let sent = vec![pixels(2, 2, rgb(2, 2)), image];
        let status = client.embed_images(images(sent)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason_of(&status)),
            (Code::InvalidArgument, Some(reason))
        );
        let field = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .remove(0)
            .field;
        assert!(field.starts_with("images[1]"), "{field}");
    }
    let too_many = vec![pixels(2, 2, rgb(2, 2)); 33];
    for sent in [Vec::new(), too_many] {
        let status = client.embed_images(images(sent)).await.unwrap_err();
        assert_eq!(reason_of(&status), Some(ErrorReason::InvalidField));
    }
}

#[tokio::test]
async fn models_that_are_not_there_or_read_something_else_are_named() {
    let mut client = client(None);
    let text = |model: &str| EmbedTextsRequest {
        texts: vec!["a red car".to_owned()],
        model: model.to_owned(),
        priority: 0,
    };
    for (model, code, reason) in [
        ("no/such", Code::NotFound, ErrorReason::ModelNotFound),
        ("", Code::NotFound, ErrorReason::ModelNotFound),
        (
            "builtin/visual",
            Code::FailedPrecondition,
            ErrorReason::ModelInputUnsupported,
        ),
    ] {
        let status = client.embed_texts(text(model)).await.unwrap_err();
        assert_eq!((status.code(), reason_of(&status)), (code, Some(reason)));
        assert_eq!(
            status.get_details_error_info().unwrap().metadata["model"],
            model
        );
    }
    let request = EmbedImagesRequest {
        images: vec![pixels(2, 2, rgb(2, 2))],
        models: vec!["builtin/visual".to_owned(), "no/such".to_owned()],
        priority: 0,
    };
    let status = client.embed_images(request).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(ErrorReason::ModelNotFound));
    let long = EmbedTextsRequest {
        texts: vec!["x".repeat(32 * 1024 + 1)],
        ..text("")
    };
    let status = client.embed_texts(long).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(ErrorReason::InvalidField));
}

#[tokio::test]
async fn without_a_semantic_model_the_list_says_how_to_get_one() {
    let list = client(None)
        .list_models(ListModelsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.models.len(), 1);
    assert_eq!(
        (&*list.text_model, &*list.image_model),
        ("", "builtin/visual")
    );
    assert_eq!(list.hint, "run `mediamesh models pull clip`");
}

#[tokio::test]
async fn a_description_needs_a_provider() {
    let status = client(None)
        .describe_image(DescribeImageRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason_of(&status), Some(ErrorReason::ProviderNotConfigured));
    assert_eq!(
        status.get_details_error_info().unwrap().metadata["feature"],
        "image description"
    );
}
