//! Search by an uploaded image; nothing is stored.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::Stream;
use http::{HeaderMap, request::Parts};
use mediamesh_proto::search::v1::{
    SearchByImageRequest, SearchMediaRequest, SearchMediaResponse, search_by_image_request::Payload,
};
use mediamesh_transcode::runtime::Problem;

use super::{
    feed, form, media_type,
    parts::{Parts as Form, skip},
    query,
};
use crate::{Shared, problem, transcode};

/// `POST /v1/mediaItems:searchByImage`.
pub(crate) async fn search(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if media_type(&parts.headers) == "multipart/form-data" {
        let request = Request::from_parts(parts.clone(), body);
        return match Form::of(request, &shared.options).await {
            Ok(mut form) => {
                let found = in_form(&shared, &parts, &mut form).await;
                answer(&shared, &parts, found, &mut form.into_body()).await
            }
            Err(problem) => shared.answers.answer(*problem, &parts),
        };
    }
    let mut body = body.into_data_stream();
    let found = match in_query(&parts) {
        Ok(search) => by_image(&shared, &parts.headers, search, &mut body).await,
        Err(problem) => Err(problem),
    };
    answer(&shared, &parts, found, &mut body).await
}

async fn answer<E>(
    shared: &Shared,
    parts: &Parts,
    found: Result<SearchMediaResponse, Box<Problem>>,
    rest: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Response {
    match found {
        Ok(found) => Json(found).into_response(),
        Err(problem) => feed::refuse(shared, parts, *problem, rest).await,
    }
}

async fn in_form(
    shared: &Shared,
    parts: &Parts,
    form: &mut Form,
) -> Result<SearchMediaResponse, Box<Problem>> {
    let mut search = in_query(parts)?;
    while let Some(mut field) = form.next().await? {
        match field.name().unwrap_or_default() {
            "image" => {
                let found = by_image(shared, &parts.headers, search, &mut field).await?;
                skip(&mut field, &shared.options).await?;
                drop(field);
                return match form.next().await? {
                    None => Ok(found),
                    Some(late) => {
                        let rule = "field comes after the image; the search is for the image \
                                    behind it";
                        Err(problem::invalid(late.name().unwrap_or_default(), rule).into())
                    }
                };
            }
            "search" => search = parse(&form::text("search", &mut field, shared).await?)?,
            name => {
                let rule = "unknown field; known are search, image";
                return Err(problem::invalid(name, rule).into());
            }
        }
    }
    Err(problem::invalid("image", "form has no image").into())
}

fn in_query(parts: &Parts) -> Result<SearchMediaRequest, Box<Problem>> {
    let mut search = SearchMediaRequest::default();
    for (name, value) in query(&parts.uri)? {
        if name != "search" {
            return Err(problem::invalid(&name, "unknown query parameter").into());
        }
        search = parse(&value)?;
    }
    Ok(search)
}

fn parse(json: &str) -> Result<SearchMediaRequest, Box<Problem>> {
    serde_json::from_str(json).map_err(|error| problem::invalid("search", error.to_string()).into())
}

async fn by_image<E: std::error::Error + 'static>(
    shared: &Shared,
    headers: &HeaderMap,
    search: SearchMediaRequest,
    image: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Result<SearchMediaResponse, Box<Problem>> {
    let (feed, messages) = feed::feed();
    let mut client = shared.search();
    let call = client.search_by_image(transcode::with_identity(headers, Box::pin(messages)));
    let head = SearchByImageRequest {
        payload: Some(Payload::Search(search)),
    };
    // the service has the smaller limit for query images; this one only bounds what is sent
    let feeding = feed.send(head, image, shared.options.max_upload_bytes, |chunk| {
        SearchByImageRequest {
            payload: Some(Payload::Chunk(chunk)),
        }
    });
    let answer = feed::drive(call, feeding)
        .await
        .map_err(feed::Broken::into_problem)?;
    Ok(answer.search.unwrap_or_default())
}
