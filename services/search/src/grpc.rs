//! The generated trait: converts in, calls, converts out.

use std::sync::Arc;

use bytes::BytesMut;
use mediamesh_imaging::{Limits, RgbImage, decode_rgb_within};
use mediamesh_mesh::{Identity, identity};
use mediamesh_proto::{
    Error as ProtoError, ErrorKind, ErrorReason, TenantId,
    search::v1::{
        DeleteSearchHistoryRequest, DeleteSearchHistoryResponse, GetIndexStatsRequest,
        GetIndexStatsResponse, IndexMediaRequest, IndexMediaResponse, ListPopularSearchesRequest,
        ListPopularSearchesResponse, ListSearchHistoryRequest, ListSearchHistoryResponse,
        SearchByImageRequest, SearchByImageResponse, SearchMediaRequest, SearchMediaResponse,
        StreamSearchMediaRequest, StreamSearchMediaResponse, SuggestSearchesRequest,
        SuggestSearchesResponse, WarmSearchesRequest, WarmSearchesResponse,
        search_by_image_request, search_service_server::SearchService,
        stream_search_media_response::Payload,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{convert, error::Error, service::Service};

mod past;

/// Hits that a streamed search reads first: they are on their way before the last is read.
const STREAM_BATCH: usize = 16;
/// Longest side of a query picture that the models see, as of stored pictures.
const QUERY_IMAGE_SIDE: u32 = 512;

pub(crate) struct Grpc {
    pub(crate) service: Arc<Service>,
}

fn tenant<T>(request: &Request<T>) -> Result<TenantId, Status> {
    Ok(TenantId(identity(request)?.tenant_id))
}

impl Grpc {
    /// Notes a search that was answered, unless its user asked not to. Pages of one search are one.
    fn note(&self, user: &Identity, message: &SearchMediaRequest) {
        let first = message.page_token.is_empty() && message.offset == 0;
        if first && !message.private {
            self.service.past.note(user, &message.query);
        }
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
        let user = identity(&request)?.clone();
        let message = request.into_inner();
        let tenant = TenantId(user.tenant_id);
        let answer = self.service.answer(message.clone(), tenant, None).await?;
        self.note(&user, &message);
        Ok(Response::new(answer))
    }

    type StreamSearchMediaStream = ReceiverStream<Result<StreamSearchMediaResponse, Status>>;

    async fn stream_search_media(
        &self,
        request: Request<StreamSearchMediaRequest>,
    ) -> Result<Response<Self::StreamSearchMediaStream>, Status> {
        let user = identity(&request)?.clone();
        let tenant = TenantId(user.tenant_id);
        let message = request.into_inner().search.unwrap_or_default();
        let query = self.service.query(message.clone(), tenant, false)?;
        let service = Arc::clone(&self.service);
        let corpus = service.store.corpus(tenant).await.map_err(Error::from)?;
        let ranked = service.rank(&query, corpus).await?;
        let next_page = match ranked.more {
            true => service.next_page(&message, &query, ranked.newest_key),
            false => String::new(),
        };
        self.note(&user, &message);
        // A slow reader holds the channel, and with it the reading of rows, back.
        let (out, stream) = mpsc::channel(STREAM_BATCH);
        let send = async move {
            // Two reads, however many hits: the first ones, which are waited for, and all others.
            let (first, others) = ranked.hits.split_at(STREAM_BATCH.min(ranked.hits.len()));
            for batch in [first, others]
                .into_iter()
                .filter(|batch| !batch.is_empty())
            {
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
        let user = identity(&request)?.clone();
        let tenant = TenantId(user.tenant_id);
        let (message, image) = self.receive(request.into_inner()).await?;
        let answer = self.service.answer(message.clone(), tenant, Some(image));
        let search = answer.await?;
        self.note(&user, &message);
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

    async fn list_popular_searches(
        &self,
        request: Request<ListPopularSearchesRequest>,
    ) -> Result<Response<ListPopularSearchesResponse>, Status> {
        self.popular(request).await.map(Response::new)
    }

    async fn list_search_history(
        &self,
        request: Request<ListSearchHistoryRequest>,
    ) -> Result<Response<ListSearchHistoryResponse>, Status> {
        self.history(request).await.map(Response::new)
    }

    async fn delete_search_history(
        &self,
        request: Request<DeleteSearchHistoryRequest>,
    ) -> Result<Response<DeleteSearchHistoryResponse>, Status> {
        self.forget(request).await.map(Response::new)
    }

    async fn suggest_searches(
        &self,
        request: Request<SuggestSearchesRequest>,
    ) -> Result<Response<SuggestSearchesResponse>, Status> {
        self.suggest(request).await.map(Response::new)
    }

    async fn warm_searches(
        &self,
        request: Request<WarmSearchesRequest>,
    ) -> Result<Response<WarmSearchesResponse>, Status> {
        self.warm(request).await.map(Response::new)
    }

    async fn get_index_stats(
        &self,
        request: Request<GetIndexStatsRequest>,
    ) -> Result<Response<GetIndexStatsResponse>, Status> {
        let tenant = tenant(&request)?;
        Ok(Response::new(self.service.stats(tenant).await?))
    }
}
