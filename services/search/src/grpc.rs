//! The generated trait: converts in, calls, converts out.

use std::sync::Arc;

use bytes::BytesMut;
use mediamesh_imaging::{Limits, RgbImage, decode_rgb_within};
use mediamesh_mesh::identity;
use mediamesh_proto::{
    Error as ProtoError, ErrorKind, ErrorReason, TenantId,
    page_token::PageTokens,
    search::v1::{
        GetIndexStatsRequest, GetIndexStatsResponse, IndexMediaRequest, IndexMediaResponse,
        SearchByImageRequest, SearchByImageResponse, SearchMediaRequest, SearchMediaResponse,
        StreamSearchMediaRequest, StreamSearchMediaResponse, search_by_image_request,
        search_service_server::SearchService, stream_search_media_response::Payload,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{convert, error::Error, query::Query, service::Service};

/// Hits read at a time by a streamed search: the first are on their way before the last is read.
const STREAM_BATCH: usize = 16;
/// Longest side of a query picture that the models see, as of stored pictures.
const QUERY_IMAGE_SIDE: u32 = 512;

pub(crate) struct Grpc {
    pub(crate) service: Arc<Service>,
    pub(crate) page_tokens: PageTokens,
}

fn tenant<T>(request: &Request<T>) -> Result<TenantId, Status> {
    Ok(TenantId(identity(request)?.tenant_id))
}

impl Grpc {
    fn query(
        &self,
        message: SearchMediaRequest,
        tenant: TenantId,
        image: bool,
    ) -> Result<Query, Error> {
        Ok(convert::query(
            message,
            tenant,
            image,
            &self.service.options,
            &self.page_tokens,
        )?)
    }

    async fn answer(
        &self,
        message: SearchMediaRequest,
        query: Query,
    ) -> Result<SearchMediaResponse, Error> {
        self.service
            .search(&query, |newest| self.next_page(message, &query, newest))
            .await
    }

    /// Seals the place after this page for the same request.
    fn next_page(&self, mut message: SearchMediaRequest, query: &Query, newest_key: u32) -> String {
        message.page_token.clear();
        let cursor: convert::Cursor = (query.depth(), newest_key);
        let scope = convert::fingerprint(query.tenant, &message);
        self.page_tokens.seal(&scope, &cursor)
    }

    /// Reads a search by image: its parameters, then the file.
    async fn receive(
        &self,
        mut stream: Streaming<SearchByImageRequest>,
    ) -> Result<(SearchMediaRequest, RgbImage), Status> {
        use search_by_image_request::Payload as In;
        let first = stream.message().await?.and_then(|message| message.payload);
        let Some(In::Search(search)) = first else {
            return Err(ProtoError::new(
                ErrorKind::InvalidArgument,
                ErrorReason::InvalidField,
                "the first message must hold `search`",
            )
            .violation("search", "must come first")
            .into());
        };
        let limit = self.service.options.max_query_image_bytes;
        let mut file = BytesMut::new();
        while let Some(message) = stream.message().await? {
            let Some(In::Chunk(chunk)) = message.payload else {
                return Err(ProtoError::new(
                    ErrorKind::InvalidArgument,
                    ErrorReason::InvalidField,
                    "messages after the first must hold `chunk`",
                )
                .violation("chunk", "must follow")
                .into());
            };
            if (file.len() + chunk.len()) as u64 > limit {
                return Err(ProtoError::new(
                    ErrorKind::InvalidArgument,
                    ErrorReason::TooLarge,
                    format!("query image is larger than {limit} bytes"),
                )
                .meta("maxSizeBytes", limit)
                .into());
            }
            file.extend_from_slice(&chunk);
        }
        let limits = Limits {
            max_alloc_bytes: self.service.options.max_query_image_memory_bytes,
            ..Limits::default()
        };
        // The permit goes with the work: a caller that leaves does not make room early.
        let permit = Arc::clone(&self.service.decoding).acquire_owned().await;
        let decode = move || {
            let _permit = permit;
            decode_rgb_within(&file, &limits, QUERY_IMAGE_SIDE)
        };
        let image = tokio::task::spawn_blocking(decode)
            .await
            .map_err(Error::from)?;
        Ok((search, image.map_err(Error::from)?))
    }
}

#[tonic::async_trait]
impl SearchService for Grpc {
    async fn search_media(
        &self,
        request: Request<SearchMediaRequest>,
    ) -> Result<Response<SearchMediaResponse>, Status> {
        let tenant = tenant(&request)?;
        let message = request.into_inner();
        let query = self.query(message.clone(), tenant, false)?;
        Ok(Response::new(self.answer(message, query).await?))
    }

    type StreamSearchMediaStream = ReceiverStream<Result<StreamSearchMediaResponse, Status>>;

    async fn stream_search_media(
        &self,
        request: Request<StreamSearchMediaRequest>,
    ) -> Result<Response<Self::StreamSearchMediaStream>, Status> {
        let tenant = tenant(&request)?;
        let message = request.into_inner().search.unwrap_or_default();
        let query = self.query(message.clone(), tenant, false)?;
        let service = Arc::clone(&self.service);
        let corpus_version = service
            .store
            .corpus_version(tenant)
            .await
            .map_err(Error::from)?;
        let ranked = service.rank(&query, corpus_version).await?;
        let next_page = match ranked.more {
            true => self.next_page(message, &query, ranked.newest_key),
            false => String::new(),
        };
        // A slow reader holds the channel, and with it the reading of rows, back.
        let (out, stream) = mpsc::channel(STREAM_BATCH);
        let send = async move {
            for batch in ranked.hits.chunks(STREAM_BATCH) {
                match service.hydrate(&query, &ranked, batch).await {
                    Ok(hits) => {
                        for hit in hits {
                            let message = StreamSearchMediaResponse {
                                payload: Some(Payload::Hit(hit)),
                            };
                            if out.send(Ok(message)).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        // Whether or not the reader is still there, the stream ends here.
                        let _ = out.send(Err(error.into())).await;
                        return;
                    }
                }
            }
            let summary = SearchMediaResponse {
                next_page_token: next_page,
                ..ranked.summary()
            };
            let message = StreamSearchMediaResponse {
                payload: Some(Payload::Summary(summary)),
            };
            let _ = out.send(Ok(message)).await;
        };
        tokio::spawn(tracing::Instrument::in_current_span(send));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn search_by_image(
        &self,
        request: Request<Streaming<SearchByImageRequest>>,
    ) -> Result<Response<SearchByImageResponse>, Status> {
        let tenant = tenant(&request)?;
        let (message, image) = self.receive(request.into_inner()).await?;
        let mut query = self.query(message.clone(), tenant, true)?;
        query.image = Some(image);
        let search = self.answer(message, query).await?;
        Ok(Response::new(SearchByImageResponse {
            search: Some(search),
        }))
    }

    async fn index_media(
        &self,
        request: Request<IndexMediaRequest>,
    ) -> Result<Response<IndexMediaResponse>, Status> {
        let tenant = tenant(&request)?;
        let (id, vectors) = convert::vectors(request.into_inner()).map_err(Error::from)?;
        match self.service.index(tenant, id, vectors).await? {
            true => Ok(Response::new(IndexMediaResponse {})),
            false => Err(Error::NoSuchItem(id).into()),
        }
    }

    async fn get_index_stats(
        &self,
        request: Request<GetIndexStatsRequest>,
    ) -> Result<Response<GetIndexStatsResponse>, Status> {
        let tenant = tenant(&request)?;
        Ok(Response::new(self.service.stats(tenant).await?))
    }
}
