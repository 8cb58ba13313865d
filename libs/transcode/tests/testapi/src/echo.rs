//! A service that echoes what it was asked, so that a test sees what arrived.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{google::api::HttpBody, library::v1::*};

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// Records sent into streams so far, by all calls.
    pub sent: Arc<AtomicUsize>,
}

fn failure(code: Code, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    let metadata = HashMap::from([("bookId".to_owned(), "nope".to_owned())]);
    details.set_error_info(reason, "test", metadata);
    details.set_retry_info(Some(Duration::from_millis(1500)));
    details.add_bad_request_violation("book_id", "first thing");
    details.add_bad_request_violation("book.title", "second thing");
    Status::with_error_details(code, message, details)
}

type Stream<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl library_service_server::LibraryService for Library {
    type WatchBooksStream = Stream<WatchBooksResponse>;
    type ReadFilePartsStream = Stream<HttpBody>;

    async fn get_book(
        &self,
        request: Request<GetBookRequest>,
    ) -> Result<Response<GetBookResponse>, Status> {
        let title = request
            .metadata()
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let id = request.into_inner().book_id;
        match id.as_str() {
            "nope" => Err(failure(
                Code::NotFound,
                "ERROR_REASON_BOOK_NOT_FOUND",
                "no book nope",
            )),
            "busy" => Err(failure(Code::Unavailable, "ERROR_REASON_LOAD_SHED", "busy")),
            "huge" => Err(failure(
                Code::InvalidArgument,
                "ERROR_REASON_TOO_MANY_PIXELS",
                "huge",
            )),
            "field" => {
                let mut details = ErrorDetails::new();
                details.add_bad_request_violation("book.full_title", "too long");
                Err(Status::with_error_details(
                    Code::InvalidArgument,
                    "book.full_title: too long",
                    details,
                ))
            }
            "plain" => Err(Status::permission_denied("no details")),
            "none" => Ok(Response::new(GetBookResponse { book: None })),
            "tagged" => Ok(Response::new(GetBookResponse {
                book: Some(Book {
                    id,
                    etag: "7".to_owned(),
                    ..Book::default()
                }),
            })),
            _ => Ok(Response::new(GetBookResponse {
                book: Some(Book {
                    id,
                    title,
                    size_bytes: 1 << 60,
                    genre: Genre::Science.into(),
                    ..Book::default()
                }),
            })),
        }
    }

    async fn list_books(
        &self,
        request: Request<ListBooksRequest>,
    ) -> Result<Response<ListBooksResponse>, Status> {
        let mut request = request.into_inner();
        let mask = request.read_mask.take().unwrap_or_default().paths;
        Ok(Response::new(ListBooksResponse {
            request: Some(request),
            mask,
        }))
    }

    async fn create_book(
        &self,
        request: Request<CreateBookRequest>,
    ) -> Result<Response<CreateBookResponse>, Status> {
        let request = Some(request.into_inner());
        Ok(Response::new(CreateBookResponse { request }))
    }

    async fn update_book(
        &self,
        request: Request<UpdateBookRequest>,
    ) -> Result<Response<UpdateBookResponse>, Status> {
        let UpdateBookRequest { book, update_mask } = request.into_inner();
        let mut details = ErrorDetails::new();
        match book.as_ref().map(|book| book.etag.as_str()) {
            Some("old") => {
                details.set_error_info("ERROR_REASON_ETAG_MISMATCH", "test", HashMap::new());
                return Err(Status::with_error_details(Code::Aborted, "stale", details));
            }
            Some("never") => {
                details.add_bad_request_violation("book.etag", "is no etag");
                let code = Code::InvalidArgument;
                return Err(Status::with_error_details(code, "malformed", details));
            }
            _ => {}
        }
        let mask = update_mask.unwrap_or_default().paths;
        Ok(Response::new(UpdateBookResponse { book, mask }))
    }

    async fn lend_book(
        &self,
        request: Request<LendBookRequest>,
    ) -> Result<Response<LendBookResponse>, Status> {
        let request = Some(request.into_inner());
        Ok(Response::new(LendBookResponse { request }))
    }

    async fn search_books(
        &self,
        request: Request<SearchBooksRequest>,
    ) -> Result<Response<SearchBooksResponse>, Status> {
        let request = request.into_inner();
        let results = vec![Book {
            title: request.query.clone(),
            ..Book::default()
        }];
        Ok(Response::new(SearchBooksResponse {
            results,
            request: Some(request),
        }))
    }

    async fn watch_books(
        &self,
        request: Request<WatchBooksRequest>,
    ) -> Result<Response<Self::WatchBooksStream>, Status> {
        let WatchBooksRequest {
            count,
            fail,
            forever,
        } = request.into_inner();
        let (sender, receiver) = mpsc::channel(1);
        let sent = Arc::clone(&self.sent);
        tokio::spawn(async move {
            let mut number = 0;
            while forever || number < i64::from(count) {
                number += 1;
                let record = Ok(WatchBooksResponse { number });
                if sender.send(record).await.is_err() {
                    return;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
            if fail {
                let error = failure(Code::Unavailable, "ERROR_REASON_LOAD_SHED", "shelf broke");
                // the reader may be gone
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<HttpBody>, Status> {
        Ok(Response::new(HttpBody {
            content_type: "text/x-path".to_owned(),
            data: request.into_inner().path.into_bytes(),
            extensions: Vec::new(),
        }))
    }

    async fn read_file_parts(
        &self,
        request: Request<ReadFilePartsRequest>,
    ) -> Result<Response<Self::ReadFilePartsStream>, Status> {
        let path = request.into_inner().path;
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(async move {
            for part in path.split('-') {
                let body = HttpBody {
                    content_type: "text/x-part".to_owned(),
                    data: part.as_bytes().to_vec(),
                    extensions: Vec::new(),
                };
                if sender.send(Ok(body)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn reindex(
        &self,
        _: Request<ReindexRequest>,
    ) -> Result<Response<ReindexResponse>, Status> {
        Ok(Response::new(ReindexResponse {}))
    }
}
