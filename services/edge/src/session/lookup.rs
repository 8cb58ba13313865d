//! A cookie to the caller that it stands for.

use std::sync::Arc;

use mediamesh_mesh::{
    AuthError, Caller, Channel, Identity, LOCAL_TENANT_ID,
    identity::{Proof, Scope},
};
use mediamesh_proto::{
    ApiKeyId, Error, ErrorKind, ErrorReason, SessionId, TenantId,
    cache::v1::{
        DeleteSessionRequest, ResolveSessionRequest, Session, session::Scope as ScopeNumber,
        session_service_client::SessionServiceClient,
    },
};
use tonic::{Code, Status};

use crate::Shared;

/// The session of a request: an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) id: SessionId,
    pub(crate) session: Session,
    pub(crate) caller: Caller,
}

pub(crate) fn client(shared: &Shared) -> SessionServiceClient<Channel> {
    SessionServiceClient::new(shared.deps.cache.clone())
}

/// Finds out whose session it is, and counts as its use.
///
/// Errors: `Lookup` with UNAUTHENTICATED if it has ended, or its API key is no good any more; with any
/// other code if that cannot be told now.
pub(crate) async fn resolve(shared: &Shared, id: &SessionId) -> Result<Current, AuthError> {
    let request = ResolveSessionRequest {
        session_sha256: id.sha256().to_vec().into(),
    };
    let answer = client(shared)
        .resolve_session(request)
        .await
        .map_err(told)?;
    let answer = answer.into_inner();
    let tenant = answer.tenant_id.parse::<TenantId>();
    let (Ok(tenant), Some(session)) = (tenant, answer.session) else {
        return Err(told(Status::internal("a session without a tenant")));
    };
    let identity = Identity {
        tenant_id: tenant.0,
        subject: session.user_id.clone(),
        scopes: scopes(&session).collect(),
    };
    let identity = match &shared.deps.keys {
        Some(keys) => {
            let Ok(key) = session.api_key_id.parse::<ApiKeyId>() else {
                // opened before keys were asked for
                return Err(ended());
            };
            match keys.holder(key).await {
                Ok(holder) if holder.identity().tenant_id != tenant.0 => return Err(ended()),
                Ok(holder) => Identity {
                    scopes: scopes(&session)
                        .filter(|scope| holder.identity().has_scope(*scope))
                        .collect(),
                    ..identity
                },
                Err(error) => {
                    if matches!(&error, AuthError::Lookup(status) if status.code() == Code::Unauthenticated)
                    {
                        end(shared, &identity, &session.handle).await;
                    }
                    return Err(error);
                }
            }
        }
        None if tenant.0 == LOCAL_TENANT_ID => identity,
        None => return Err(ended()),
    };
    Ok(Current {
        id: id.clone(),
        session,
        caller: Caller::new(identity, Proof::Session),
    })
}

/// Removes a session whose key has ended. One that stays is refused all the same.
async fn end(shared: &Shared, identity: &Identity, handle: &str) {
    let owner = Caller::new(identity.clone(), Proof::Session);
    let request = DeleteSessionRequest {
        handle: handle.to_owned(),
    };
    let mut client = client(shared);
    if let Err(status) = owner.scope(client.delete_session(request)).await {
        tracing::debug!(code = ?status.code(), "a session without a key could not be removed");
    }
}

fn scopes(session: &Session) -> impl Iterator<Item = Scope> {
    session.scopes().filter_map(|scope| match scope {
        ScopeNumber::Read => Some(Scope::Read),
        ScopeNumber::Write => Some(Scope::Write),
        ScopeNumber::Admin => Some(Scope::Admin),
        ScopeNumber::Unspecified => None,
    })
}

fn told(status: Status) -> AuthError {
    AuthError::Lookup(Arc::new(status))
}

fn ended() -> AuthError {
    told(
        Error::new(
            ErrorKind::Unauthenticated,
            ErrorReason::SessionEnded,
            "the session has ended, or there never was one; log in again",
        )
        .into(),
    )
}
