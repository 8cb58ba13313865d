//! An edge and the fake services behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use futures::stream::{self, BoxStream};
use http::{HeaderMap, Request as HttpRequest, StatusCode};
use http_body_util::BodyExt as _;
use mediamesh_edge::{Deps, Edge, Options};
use mediamesh_mesh::{
    Deadline, LocalAuthenticator, Policy, PolicyOptions, Registry, ServerBuilder, ServerDeps,
    ServiceName, admin::Guard,
};
use mediamesh_proto::{
    Error, ErrorKind, ErrorReason, FILE_DESCRIPTOR_SET,
    media::v1::{media_service_server::*, *},
    search::v1::{
        DeleteSearchHistoryRequest, DeleteSearchHistoryResponse, ListPopularSearchesRequest,
        ListPopularSearchesResponse, ListSearchHistoryRequest, ListSearchHistoryResponse,
        SuggestSearchesRequest, SuggestSearchesResponse, WarmSearchesRequest, WarmSearchesResponse,
        search_service_server::*, *,
    },
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use parking_lot::Mutex;
use serde_json::Value;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt as _;

/// What the fakes were asked and how far they are.
#[derive(Default)]
pub struct Seen {
    pub uploads: Mutex<Vec<(UploadMediaMetadata, Vec<u8>)>>,
    /// Bytes of uploads so far, finished or not.
    pub received: AtomicU64,
    pub largest_chunk: AtomicUsize,
    pub cancelled: AtomicUsize,
    pub searches: Mutex<Vec<(SearchMediaRequest, Vec<u8>)>>,
    pub listed: AtomicUsize,
}

pub const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Counts an upload that is dropped before its end.
struct Running<'a>(&'a Seen, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[derive(Clone)]
struct Fake(Arc<Seen>);

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|at| at as u8).collect()
}

pub fn item(id: &str) -> MediaItem {
    MediaItem {
        id: id.to_owned(),
        display_name: "cat.jpg".to_owned(),
        ..MediaItem::default()
    }
}

fn no_item() -> Status {
    Error::new(
        ErrorKind::NotFound,
        ErrorReason::MediaItemNotFound,
        "no such item",
    )
    .into()
}

/// Items of the fake are at version 5.
fn current(etag: &str) -> Result<(), Status> {
    match etag {
        "" | "5" => Ok(()),
        _ => Err(Error::new(ErrorKind::Conflict, ErrorReason::EtagMismatch, "stale").into()),
    }
}

#[tonic::async_trait]
impl MediaService for Fake {
    async fn upload_media(
        &self,
        request: Request<Streaming<UploadMediaRequest>>,
    ) -> Result<Response<UploadMediaResponse>, Status> {
        let mut running = Running(&self.0, false);
        let mut messages = request.into_inner();
        let mut metadata = UploadMediaMetadata::default();
        let mut bytes = Vec::new();
        while let Some(message) = messages.message().await? {
            match message.payload.unwrap() {
                upload_media_request::Payload::Metadata(given) => metadata = given,
                upload_media_request::Payload::Chunk(chunk) => {
                    self.0
                        .largest_chunk
                        .fetch_max(chunk.len(), Ordering::SeqCst);
                    self.0
                        .received
                        .fetch_add(chunk.len() as u64, Ordering::SeqCst);
                    bytes.extend_from_slice(&chunk);
                }
            }
            if metadata.display_name == "bad.txt" {
                running.1 = true;
                let reason = ErrorReason::UnsupportedMediaType;
                return Err(Error::new(ErrorKind::InvalidArgument, reason, "no image").into());
            }
        }
        running.1 = true;
        let known = bytes == b"known";
        self.0.uploads.lock().push((metadata, bytes));
        let duplicate_of = if known {
            "old".to_owned()
        } else {
            String::new()
        };
        let media_item = Some(item("new"));
        Ok(Response::new(UploadMediaResponse {
            media_item,
            duplicate_of,
            job_id: String::new(),
        }))
    }

    async fn get_media_item(
        &self,
        request: Request<GetMediaItemRequest>,
    ) -> Result<Response<GetMediaItemResponse>, Status> {
        let id = request.into_inner().media_item_id;
        match id.as_str() {
            "missing" => Err(no_item()),
            "panic" => panic!("a bug in a handler"),
            "slow" => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Err(no_item())
            }
            // named for the milliseconds that the call has left
            "deadline" => {
                let left = Deadline::current().map_or(u128::MAX, |it| it.remaining().as_millis());
                let media_item = Some(MediaItem {
                    display_name: left.to_string(),
                    ..item(&id)
                });
                Ok(Response::new(GetMediaItemResponse { media_item }))
            }
            "tagged" => Ok(Response::new(GetMediaItemResponse {
                media_item: Some(MediaItem {
                    etag: "5".to_owned(),
                    ..item(&id)
                }),
            })),
            _ => Ok(Response::new(GetMediaItemResponse {
                media_item: Some(item(&id)),
            })),
        }
    }

    async fn list_media_items(
        &self,
        request: Request<ListMediaItemsRequest>,
    ) -> Result<Response<ListMediaItemsResponse>, Status> {
        self.0.listed.fetch_add(1, Ordering::SeqCst);
        let count = request.into_inner().page_size;
        let media_items = (0..count).map(|at| item(&at.to_string())).collect();
        Ok(Response::new(ListMediaItemsResponse {
            media_items,
            ..Default::default()
        }))
    }

    async fn batch_get_media_items(
        &self,
        _: Request<BatchGetMediaItemsRequest>,
    ) -> Result<Response<BatchGetMediaItemsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_folders(
        &self,
        _: Request<ListFoldersRequest>,
    ) -> Result<Response<ListFoldersResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn update_media_item(
        &self,
        request: Request<UpdateMediaItemRequest>,
    ) -> Result<Response<UpdateMediaItemResponse>, Status> {
        let media_item = request.into_inner().media_item.unwrap();
        current(&media_item.etag)?;
        Ok(Response::new(UpdateMediaItemResponse {
            media_item: Some(MediaItem {
                etag: "6".to_owned(),
                ..media_item
            }),
        }))
    }

    async fn delete_media_item(
        &self,
        request: Request<DeleteMediaItemRequest>,
    ) -> Result<Response<DeleteMediaItemResponse>, Status> {
        current(&request.into_inner().etag)?;
        Ok(Response::new(DeleteMediaItemResponse {}))
    }

    async fn reprocess_media_item(
        &self,
        _: Request<ReprocessMediaItemRequest>,
    ) -> Result<Response<ReprocessMediaItemResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    type DownloadMediaStream = BoxStream<'static, Result<DownloadMediaResponse, Status>>;

    async fn download_media(
        &self,
        request: Request<DownloadMediaRequest>,
    ) -> Result<Response<Self::DownloadMediaStream>, Status> {
        let request = request.into_inner();
        if request.media_item_id == "missing" {
            return Err(no_item());
        }
        let html = request.media_item_id == "html";
        let content = content();
        let start = usize::try_from(request.read_offset)
            .unwrap()
            .min(content.len());
        let end = match usize::try_from(request.read_limit).unwrap() {
            0 => content.len(),
            limit => (start + limit).min(content.len()),
        };
        let info = DownloadMediaInfo {
            content_type: if html { "text/html" } else { "image/jpeg" }.to_owned(),
            size_bytes: content.len() as i64,
            sha256: SHA.to_owned(),
            file_name: "Kätzchen.jpg".to_owned(),
            range_offset: start as i64,
            range_length: (end - start) as i64,
        };
        let info = DownloadMediaResponse {
            payload: Some(download_media_response::Payload::Info(info)),
        };
        let chunks: Vec<_> = content[start..end]
            .chunks(65_536)
            .map(|chunk| DownloadMediaResponse {
                payload: Some(download_media_response::Payload::Chunk(
                    chunk.to_vec().into(),
                )),
            })
            .collect();
        let messages = std::iter::once(info).chain(chunks).map(Ok);
        Ok(Response::new(Box::pin(stream::iter(
            messages.collect::<Vec<_>>(),
        ))))
    }
}

#[tonic::async_trait]
impl SearchService for Fake {
    async fn search_media(
        &self,
        request: Request<SearchMediaRequest>,
    ) -> Result<Response<SearchMediaResponse>, Status> {
        self.0
            .searches
            .lock()
            .push((request.into_inner(), Vec::new()));
        Ok(Response::new(SearchMediaResponse::default()))
    }

    type StreamSearchMediaStream = BoxStream<'static, Result<StreamSearchMediaResponse, Status>>;

    async fn stream_search_media(
        &self,
        request: Request<StreamSearchMediaRequest>,
    ) -> Result<Response<Self::StreamSearchMediaStream>, Status> {
        let search = request.into_inner().search.unwrap();
        let breaks_off = search.query == "break off";
        self.0.searches.lock().push((search, Vec::new()));
        let hit = stream_search_media_response::Payload::Hit(SearchHit {
            id: "one".to_owned(),
            ..SearchHit::default()
        });
        let end = stream_search_media_response::Payload::Summary(SearchMediaResponse::default());
        let mut messages = [hit, end].map(|payload| {
            Ok(StreamSearchMediaResponse {
                payload: Some(payload),
            })
        });
        if breaks_off {
            messages[1] = Err(no_item());
        }
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn search_by_image(
        &self,
        request: Request<Streaming<SearchByImageRequest>>,
    ) -> Result<Response<SearchByImageResponse>, Status> {
        let mut messages = request.into_inner();
        let mut search = SearchMediaRequest::default();
        let mut image = Vec::new();
        while let Some(message) = messages.message().await? {
            match message.payload.unwrap() {
                search_by_image_request::Payload::Search(given) => search = given,
                search_by_image_request::Payload::Chunk(chunk) => image.extend_from_slice(&chunk),
            }
        }
        self.0.searches.lock().push((search, image));
        let search = SearchMediaResponse {
            from_cache: true,
            ..Default::default()
        };
        Ok(Response::new(SearchByImageResponse {
            search: Some(search),
        }))
    }

    async fn index_media(
        &self,
        _: Request<IndexMediaRequest>,
    ) -> Result<Response<IndexMediaResponse>, Status> {
        Err(Status::unimplemented("fake"))
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

pub struct Rig {
    pub seen: Arc<Seen>,
    pub edge: Edge,
    pub router: Router,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        assert_eq!(options.validate(), Vec::<String>::new());
        let seen = Arc::new(Seen::default());
        let (metrics, health) = (Metrics::new(), HealthRegistry::new());
        health.set_started();
        let policy = Policy::from_options(&PolicyOptions::default());
        let registry = Registry::new(policy.clone(), &metrics);
        let faults = policy.faults();
        let deps = ServerDeps {
            policy,
            metrics: metrics.clone(),
            health: health.clone(),
            authenticator: Arc::new(LocalAuthenticator),
        };
        let routes = ServerBuilder::new(deps)
            .add_service(MediaServiceServer::new(Fake(Arc::clone(&seen))))
            .add_service(SearchServiceServer::new(Fake(Arc::clone(&seen))))
            .descriptors(FILE_DESCRIPTOR_SET)
            .build()
            .unwrap();
        registry.register_local(ServiceName::Media, routes.clone());
        registry.register_local(ServiceName::Search, routes);
        let edge = mediamesh_edge::build(
            options,
            Deps {
                media: registry.channel(ServiceName::Media),
                search: registry.channel(ServiceName::Search),
                embedding: registry.channel(ServiceName::Embedding),
                cache: registry.channel(ServiceName::Cache),
                registry: registry.clone(),
                metrics,
                health,
                authenticator: Arc::new(LocalAuthenticator),
                keys: None,
                guard: Guard::open(),
                faults,
            },
        );
        let router = edge.router();
        Self { seen, edge, router }
    }

    pub async fn send(&self, request: HttpRequest<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", uri, headers, Body::empty()).await
    }

    pub async fn request(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = HttpRequest::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost");
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}
