//! Log in, look, log out.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use mediamesh_mesh::status::refused;
use mediamesh_proto::{
    SessionId,
    cache::v1::{CreateSessionRequest, DeleteSessionRequest, Session},
    time::micros,
};
use mediamesh_transcode::runtime::Problem;
use serde::Serialize;
use tonic::Code;

use super::{
    PATH,
    cookie::{self, Found},
    csrf,
    lookup::{self, Current},
};
use crate::{Shared, cache_table::NO_STORE, problem, transcode::with_identity};

/// Longest body of a log-in, bytes: far above the most data of a session.
const MAX_BODY_BYTES: usize = 64 << 10;

/// What is said of a session.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    session: Session,
    csrf_token: String,
}

type Answer = Result<Response, Box<Problem>>;

pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(PATH, post(log_in).get(look).delete(log_out))
        .with_state(Arc::clone(shared))
}

async fn log_in(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let made = open(&shared, &parts, body).await;
    settle(&shared, &parts, made)
}

async fn look(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let shown = current(&shared, &parts).await.map(|current| {
        Json(Shown {
            csrf_token: csrf::token(&current.id),
            session: current.session,
        })
        .into_response()
    });
    settle(&shared, &parts, shown)
}

async fn log_out(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let ended = close(&shared, &parts).await;
    settle(&shared, &parts, ended)
}

/// Answers are of this moment and of nobody else.
fn settle(shared: &Shared, parts: &Parts, answer: Answer) -> Response {
    let mut response = answer.unwrap_or_else(|problem| shared.answers.answer(*problem, parts));
    let value = HeaderValue::from_static(NO_STORE);
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
}

/// Always a new id, whatever cookie came along: a planted one is never logged in.
async fn open(shared: &Shared, parts: &Parts, body: Body) -> Answer {
    let wanted = read(shared, &parts.headers, body).await?;
    let request = with_identity(&parts.headers, wanted);
    let made = lookup::client(shared).create_session(request).await;
    let made = made.map_err(of_status)?.into_inner();
    let session = made.session.unwrap_or_default();
    let id = made.session_id.parse::<SessionId>();
    let id = id.map_err(|_| Box::new(problem::bad_answer("a session came without an id")))?;
    // who logs in anew is done with the session before
    if let Found::Id(before) = cookie::read(&shared.options.session, &parts.headers) {
        let handle = before.handle().to_string();
        let request = with_identity(&parts.headers, DeleteSessionRequest { handle });
        if let Err(status) = lookup::client(shared).delete_session(request).await {
            tracing::debug!(code = ?status.code(), "the session before stays until its time is up");
        }
    }
    let time = |time: Option<_>| time.as_ref().map_or(0, micros);
    let life = time(session.end_time) - time(session.create_time);
    let max_age = Duration::from_micros(u64::try_from(life).unwrap_or(0));
    let set = cookie::set(&shared.options.session, &parts.headers, &id, max_age);
    let shown = Shown {
        csrf_token: csrf::token(&id),
        session,
    };
    Ok((
        StatusCode::CREATED,
        [(header::SET_COOKIE, set)],
        Json(shown),
    )
        .into_response())
}

/// What the body asks for: a `CreateSessionRequest` in JSON, or nothing.
async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<CreateSessionRequest, Box<Problem>> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(shared.options.idle_timeout(), body).await {
        Err(_) => return Err(Problem::late_body().into()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(problem::too_large(MAX_BODY_BYTES as u64, None).into());
        }
        Ok(Err(error)) => return Err(problem::unreadable_body(&*error).into()),
        Ok(Ok(body)) => body.to_bytes(),
    };
    if body.is_empty() {
        return Ok(CreateSessionRequest::default());
    }
    // not what a form of another page can send
    let media_type = crate::grpc::admit::media_type(headers);
    if !media_type.eq_ignore_ascii_case("application/json") {
        let reason = mediamesh_transcode::runtime::problem::reason::UNSUPPORTED_MEDIA_TYPE;
        let detail = format!("content type is {media_type:?}; application/json is expected");
        return Err(Problem::new(Code::InvalidArgument, reason, detail)
            .with("contentType", media_type)
            .into());
    }
    serde_json::from_slice(&body)
        .map_err(|error| Box::new(problem::invalid("body", error.to_string())))
}

/// The session of a request: known by now where keys are asked for, else by its cookie.
async fn current(shared: &Shared, parts: &Parts) -> Result<Current, Box<Problem>> {
    if let Some(current) = parts.extensions.get::<Current>() {
        return Ok(current.clone());
    }
    match cookie::read(&shared.options.session, &parts.headers) {
        Found::Id(id) => {
            csrf::check(shared, (&parts.method, &parts.uri, &parts.headers), &id)?;
            let found = lookup::resolve(shared, &id).await;
            found.map_err(|error| of_status(refused(&error)))
        }
        Found::None | Found::Bad(_) => Err(Problem::new(
            Code::NotFound,
            "ERROR_REASON_SESSION_NOT_FOUND",
            "the request has no cookie of a session",
        )
        .into()),
    }
}

async fn close(shared: &Shared, parts: &Parts) -> Answer {
    let current = current(shared, parts).await?;
    let handle = current.session.handle;
    let mut client = lookup::client(shared);
    let ended = current
        .caller
        .scope(client.delete_session(DeleteSessionRequest { handle }))
        .await;
    match ended {
        Ok(_) => {}
        // somebody else ended it meanwhile
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(of_status(status)),
    }
    let clear = cookie::clear(&shared.options.session, &parts.headers);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, clear)]).into_response())
}

fn of_status(status: tonic::Status) -> Box<Problem> {
    Box::new(Problem::from_status(&status))
}
