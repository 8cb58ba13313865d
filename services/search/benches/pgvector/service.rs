//! The search service on the store behind the whole stack of the mesh, called in this process: validation, the
//! query's vector, corpus version, nearest vectors, and the rows of the hits. The model's own time is left
//! out: the words `query 17` get the vector of query 17. No answer is taken from a cache.

use std::{path::PathBuf, sync::Arc};

use mediamesh_mesh::{
    Channel, LocalAuthenticator, MethodTable, Policy, PolicyOptions, Registry, ServerBuilder,
    ServerDeps, ServiceName,
};
use mediamesh_near::NearCache;
use mediamesh_proto::{
    embedding::v1::{
        DescribeImageRequest, DescribeImageResponse, EmbedImagesRequest, EmbedImagesResponse,
        EmbedTextsRequest, EmbedTextsResponse, ListModelsRequest, ListModelsResponse, ModelInfo,
        Vector,
        embedding_service_server::{EmbeddingService, EmbeddingServiceServer},
    },
    page_token::PageTokens,
    search::v1::{
        SearchFilter, SearchMediaRequest, search_media_request::Mode,
        search_service_client::SearchServiceClient,
    },
};
use mediamesh_search::{Deps, Options, build};
use mediamesh_store::postgres::PostgresStore;
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{K, data::Set, load::id};

pub(crate) struct Rig {
    client: SearchServiceClient<Channel>,
    _registry: Registry,
}

impl Rig {
    pub(crate) fn new(store: PostgresStore, set: &Set) -> Self {
        let metrics = Metrics::new();
        let policy = Policy::new(&PolicyOptions::default(), &MethodTable::of_contract());
        let registry = Registry::new(policy.clone(), &metrics);
        let words = Words {
            model: ModelInfo {
                id: "bench".to_owned(),
                version: "1".to_owned(),
                precision: "f32".to_owned(),
                dims: i32::try_from(set.dims).unwrap(),
                text_input: true,
                default_min_score: -1.0,
                ..ModelInfo::default()
            },
            queries: set.queries.clone(),
        };
        let store = Arc::new(store);
        let options = Options {
            cache_ttl_secs: 0,
            ..Options::default()
        };
        let deps = Deps {
            store: Arc::clone(&store) as _,
            history: Arc::clone(&store) as _,
            vectors: Some(store),
            index_dir: PathBuf::new(),
            embedding: registry.channel(ServiceName::Embedding),
            cache: NearCache::without_memory(registry.channel(ServiceName::Cache)),
            page_tokens: PageTokens::new(b"bench"),
            metrics,
        };
        let search = build(options, deps);
        let deps = ServerDeps {
            policy,
            metrics: Metrics::new(),
            health: HealthRegistry::new(),
            authenticator: Arc::new(LocalAuthenticator),
        };
        let routes = ServerBuilder::new(deps)
            .add_service(EmbeddingServiceServer::new(words))
            .add_service(search.server())
            .build()
            .unwrap();
        for name in [ServiceName::Embedding, ServiceName::Search] {
            registry.register_local(name, routes.clone());
        }
        Self {
            client: SearchServiceClient::new(registry.channel(ServiceName::Search)),
            _registry: registry,
        }
    }

    /// Keys of the hits of a search, and where its time went as the service says: all of it, making the
    /// vector, asking for the nearest, reading rows; in microseconds.
    pub(crate) async fn search(
        &self,
        query: usize,
        percent: u32,
        least: i64,
    ) -> (Vec<u32>, [f64; 4]) {
        let filter = (percent < 100).then(|| SearchFilter {
            min_size_bytes: least,
            ..SearchFilter::default()
        });
        let request = SearchMediaRequest {
            query: format!("query {query}"),
            limit: i32::try_from(K).unwrap(),
            filter,
            mode: Mode::Vector.into(),
            ..SearchMediaRequest::default()
        };
        let answer = self.client.clone().search_media(request).await;
        let answer = answer.unwrap().into_inner();
        assert!(!answer.degraded, "{answer:?}");
        let key = |text: &str| {
            let item = Uuid::parse_str(text).unwrap().as_u128();
            let key = u32::try_from(item & u128::from(u32::MAX)).unwrap();
            assert_eq!(item, id(key).as_u128());
            key
        };
        let hits = answer.results.iter().map(|hit| key(&hit.id));
        let timings = answer.timings.unwrap();
        let parts = [
            timings.total,
            timings.embed,
            timings.vector,
            timings.hydrate,
        ];
        let micros = parts.map(|part| {
            let part = part.unwrap_or_default();
            part.seconds as f64 * 1e6 + f64::from(part.nanos) / 1e3
        });
        (hits.collect(), micros)
    }
}

/// An embedding service that knows the vectors of the queries.
struct Words {
    model: ModelInfo,
    queries: Vec<Vec<f32>>,
}

#[tonic::async_trait]
impl EmbeddingService for Words {
    async fn embed_texts(
        &self,
        request: Request<EmbedTextsRequest>,
    ) -> Result<Response<EmbedTextsResponse>, Status> {
        let texts = request.into_inner().texts;
        let number = |text: &String| text.rsplit(' ').next()?.parse::<usize>().ok();
        let vectors = texts.iter().map(|text| {
            let number = number(text).ok_or_else(|| Status::invalid_argument("no number"))?;
            Ok(Vector {
                values: self.queries[number].clone(),
                ..Vector::default()
            })
        });
        Ok(Response::new(EmbedTextsResponse {
            vectors: vectors.collect::<Result<_, Status>>()?,
            model: Some(self.model.clone()),
        }))
    }

    async fn embed_images(
        &self,
        _: Request<EmbedImagesRequest>,
    ) -> Result<Response<EmbedImagesResponse>, Status> {
        Err(Status::unimplemented("words only"))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Ok(Response::new(ListModelsResponse {
            models: vec![self.model.clone()],
            text_model: self.model.id.clone(),
            ..ListModelsResponse::default()
        }))
    }

    async fn describe_image(
        &self,
        _: Request<DescribeImageRequest>,
    ) -> Result<Response<DescribeImageResponse>, Status> {
        Err(Status::unimplemented("words only"))
    }
}
