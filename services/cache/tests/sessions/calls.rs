//! What the rules ask of a service, in short.

use std::{collections::HashMap, time::Duration};

use mediamesh_proto::{
    ErrorReason, SessionId,
    cache::v1::{
        CreateSessionRequest, DeleteSessionRequest, GetSessionRequest, ListSessionsRequest,
        ResolveSessionRequest, RevokeSessionsRequest, Session, SweepSessionsRequest,
        UpdateSessionRequest, session_service_server::SessionService,
    },
    pbjson_types::FieldMask,
    status::reason_of,
    time::duration,
};
use tonic::{Code, Status};

use crate::subject::By;

pub(crate) async fn create(
    service: &impl SessionService,
    by: &By,
    session: Session,
    ttl: Option<Duration>,
) -> Result<(Session, String), Status> {
    let request = CreateSessionRequest {
        session: Some(session),
        ttl: ttl.map(duration),
    };
    let made = service.create_session(by.asks(request)).await?.into_inner();
    Ok((made.session.unwrap(), made.session_id))
}

pub(crate) async fn open(service: &impl SessionService, by: &By) -> (Session, String) {
    create(service, by, Session::default(), None).await.unwrap()
}

pub(crate) async fn get(
    service: &impl SessionService,
    by: &By,
    id: &str,
) -> Result<Session, Status> {
    let session_id = id.to_owned();
    let request = by.asks(GetSessionRequest { session_id });
    let found = service.get_session(request).await?.into_inner();
    Ok(found.session.unwrap())
}

pub(crate) async fn resolve(
    service: &impl SessionService,
    id: &str,
) -> Result<(String, Session), Status> {
    let session_sha256 = id.parse::<SessionId>().unwrap().sha256().to_vec().into();
    let request = By::somebody().asks(ResolveSessionRequest { session_sha256 });
    let found = service.resolve_session(request).await?.into_inner();
    Ok((found.tenant_id, found.session.unwrap()))
}

pub(crate) async fn update(
    service: &impl SessionService,
    by: &By,
    session: Session,
    mask: Option<&[&str]>,
) -> Result<Session, Status> {
    let paths = |mask: &[&str]| mask.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateSessionRequest {
        session: Some(session),
        update_mask: mask.map(|mask| FieldMask { paths: paths(mask) }),
    };
    let done = service.update_session(by.asks(request)).await?.into_inner();
    Ok(done.session.unwrap())
}

pub(crate) async fn delete(
    service: &impl SessionService,
    by: &By,
    handle: &str,
) -> Result<(), Status> {
    let handle = handle.to_owned();
    let request = by.asks(DeleteSessionRequest { handle });
    service.delete_session(request).await.map(drop)
}

pub(crate) async fn list(
    service: &impl SessionService,
    by: &By,
    request: ListSessionsRequest,
) -> Result<(Vec<Session>, String), Status> {
    let found = service.list_sessions(by.asks(request)).await?.into_inner();
    Ok((found.sessions, found.next_page_token))
}

pub(crate) async fn all(service: &impl SessionService, by: &By) -> Vec<Session> {
    list(service, by, ListSessionsRequest::default())
        .await
        .unwrap()
        .0
}

pub(crate) async fn revoke(service: &impl SessionService, by: &By, except: &str) -> i64 {
    let request = RevokeSessionsRequest {
        except_handle: except.to_owned(),
        ..RevokeSessionsRequest::default()
    };
    let done = service.revoke_sessions(by.asks(request)).await.unwrap();
    done.into_inner().revoked
}

pub(crate) async fn sweep(service: &impl SessionService, by: &By) -> i64 {
    let admin = by.clone().with_scopes("admin");
    let request = admin.asks(SweepSessionsRequest {});
    let done = service.sweep_sessions(request).await;
    done.unwrap().into_inner().removed
}

pub(crate) fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    outcome: Result<T, Status>,
    code: Code,
    reason: ErrorReason,
) {
    let status = outcome.unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status)),
        (code, Some(reason)),
        "{status:?}"
    );
}

#[track_caller]
pub(crate) fn gone<T: std::fmt::Debug>(outcome: Result<T, Status>) {
    refused(outcome, Code::NotFound, ErrorReason::SessionNotFound);
}
