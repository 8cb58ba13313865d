//! The generated trait: converts in, calls, converts out.

use mediamesh_mesh::identity;
use mediamesh_proto::{
    Error, ErrorKind, ErrorReason, SessionHandle, TenantId, Violations,
    cache::v1::{
        CreateSessionRequest, CreateSessionResponse, DeleteSessionRequest, DeleteSessionResponse,
        GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse,
        ResolveSessionRequest, ResolveSessionResponse, RevokeSessionsRequest,
        RevokeSessionsResponse, SweepSessionsRequest, SweepSessionsResponse, UpdateSessionRequest,
        UpdateSessionResponse, session_service_server::SessionService,
    },
    page_token::PageTokens,
};
use tonic::{Request, Response, Status};

use super::{convert, record::Owner, service::Sessions};

/// Sessions on a page when the request does not say, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 500;

pub(crate) struct Grpc {
    pub(crate) sessions: Sessions,
    pub(crate) page_tokens: PageTokens,
}

#[tonic::async_trait]
impl SessionService for Grpc {
    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let caller = identity(&request)?.clone();
        let wanted = convert::wanted(request.into_inner())?;
        let (owner, record, id) = self.sessions.create(&caller, wanted).await?;
        Ok(Response::new(CreateSessionResponse {
            session: Some(convert::message(&owner, record)),
            session_id: id.reveal(),
        }))
    }

    async fn get_session(
        &self,
        request: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        let id = convert::id(&request.get_ref().session_id)?;
        let (owner, record) = self.sessions.get(identity(&request)?, &id).await?;
        Ok(Response::new(GetSessionResponse {
            session: Some(convert::message(&owner, record)),
        }))
    }

    async fn update_session(
        &self,
        request: Request<UpdateSessionRequest>,
    ) -> Result<Response<UpdateSessionResponse>, Status> {
        let caller = identity(&request)?.clone();
        let (handle, etag, changes) = convert::changes(request.into_inner())?;
        let updated = self.sessions.update(&caller, handle, etag, &changes);
        let (owner, record) = updated.await?;
        Ok(Response::new(UpdateSessionResponse {
            session: Some(convert::message(&owner, record)),
        }))
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        let handle = convert::handle("handle", &request.get_ref().handle)?;
        self.sessions.delete(identity(&request)?, handle).await?;
        Ok(Response::new(DeleteSessionResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let asked = request.get_ref();
        let size = page_size(asked.page_size)?;
        convert::user_id(&asked.user_id)?;
        let caller = identity(&request)?;
        let (owner, records) = self.sessions.list(caller, &asked.user_id).await?;
        let scope = scope(&owner);
        let after: Option<(i64, String)> = self.page_tokens.open(&scope, &asked.page_token)?;
        // newest first, and by handle what was made in the same millisecond
        let position = |created: i64, handle: String| (std::cmp::Reverse(created), handle);
        let after = after.map(|(created, handle)| position(created, handle));
        let mut rest = records
            .into_iter()
            .map(|record| {
                (
                    position(record.head.created, record.handle.to_string()),
                    record,
                )
            })
            .filter(|(at, _)| after.as_ref().is_none_or(|after| at > after));
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let next_page_token = match (page.last(), rest.next()) {
            (Some((at, _)), Some(_)) => self.page_tokens.seal(&scope, &(at.0.0, &at.1)),
            _ => String::new(),
        };
        let sessions = page.into_iter();
        Ok(Response::new(ListSessionsResponse {
            sessions: sessions
                .map(|(_, record)| convert::message(&owner, record))
                .collect(),
            next_page_token,
        }))
    }

    async fn revoke_sessions(
        &self,
        request: Request<RevokeSessionsRequest>,
    ) -> Result<Response<RevokeSessionsResponse>, Status> {
        let asked = request.get_ref();
        convert::user_id(&asked.user_id)?;
        let keep = match asked.except_handle.is_empty() {
            true => None,
            false => Some(convert::handle("except_handle", &asked.except_handle)?),
        };
        let caller = identity(&request)?;
        let revoked = self.sessions.revoke(caller, &asked.user_id, keep).await?;
        let revoked = i64::try_from(revoked).unwrap_or(i64::MAX);
        Ok(Response::new(RevokeSessionsResponse { revoked }))
    }

    async fn sweep_sessions(
        &self,
        request: Request<SweepSessionsRequest>,
    ) -> Result<Response<SweepSessionsResponse>, Status> {
        let tenant = TenantId(identity(&request)?.tenant_id);
        let removed = self.sessions.sweep(Some(tenant)).await?;
        let removed = i64::try_from(removed).unwrap_or(i64::MAX);
        Ok(Response::new(SweepSessionsResponse { removed }))
    }

    /// The caller is a service, and asks for no tenant: that is what it wants to know.
    async fn resolve_session(
        &self,
        request: Request<ResolveSessionRequest>,
    ) -> Result<Response<ResolveSessionResponse>, Status> {
        let hash: Result<[u8; 32], _> = request.get_ref().session_sha256.as_ref().try_into();
        let found = match hash {
            Ok(hash) => self.sessions.resolve(SessionHandle::of_hash(&hash)).await?,
            Err(_) => None,
        };
        let Some((owner, record)) = found else {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                ErrorReason::SessionEnded,
                "the session has ended, or there never was one; log in again",
            )
            .into());
        };
        Ok(Response::new(ResolveSessionResponse {
            tenant_id: owner.tenant.to_string(),
            session: Some(convert::message(&owner, record)),
        }))
    }
}

fn page_size(asked: i32) -> Result<usize, Status> {
    let mut violations = Violations::new();
    violations.check(asked < 0, "page_size", || {
        format!("is {asked}; must not be negative")
    });
    violations.finish()?;
    Ok(match usize::try_from(asked).unwrap_or(0) {
        0 => PAGE,
        size => size.min(MAX_PAGE),
    })
}

/// What a page token is for.
fn scope(owner: &Owner) -> Vec<u8> {
    let mut scope = b"sessions".to_vec();
    scope.extend_from_slice(owner.tenant.0.as_bytes());
    scope.extend_from_slice(owner.user.as_bytes());
    scope
}
