//! Users.

use mediamesh_mesh::{Identity, identity, identity::Scope};
use mediamesh_proto::{
    ErrorKind, ErrorReason, TenantId,
    media::v1::{GetUserRequest, GetUserResponse, user_service_server::UserService},
};
use tonic::{Request, Response, Status};

use crate::{
    convert::request::{MAX_USER_BYTES, violation},
    users::Users,
};

/// `UserService` over gRPC.
#[derive(Clone)]
pub struct UserGrpc(pub(crate) Users);

#[tonic::async_trait]
impl UserService for UserGrpc {
    async fn get_user(
        &self,
        request: Request<GetUserRequest>,
    ) -> Result<Response<GetUserResponse>, Status> {
        let caller = identity(&request)?.clone();
        let wanted = wanted(&caller, request.into_inner().user_id)?;
        let itself = wanted == caller.subject;
        let tenant = TenantId(caller.tenant_id);
        let user = self.0.get(tenant, &wanted, itself).await?;
        Ok(Response::new(GetUserResponse { user: Some(user) }))
    }
}

/// The user that is meant, if the caller may see it: itself, or any of an admin's tenant.
fn wanted(caller: &Identity, user: String) -> Result<String, Status> {
    if user.is_empty() || user.len() > MAX_USER_BYTES || user.chars().any(char::is_control) {
        let rule = format!("must be `me` or an id of at most {MAX_USER_BYTES} bytes");
        return Err(violation("user_id", &rule).into());
    }
    let user = match user.as_str() {
        "me" => caller.subject.clone(),
        _ => user,
    };
    if user != caller.subject && !caller.has_scope(Scope::Admin) {
        let method = "mediamesh.media.v1.UserService/GetUser";
        return Err(mediamesh_proto::Error::new(
            ErrorKind::PermissionDenied,
            ErrorReason::ScopeMissing,
            format!("{method} of another user needs the scope `admin`"),
        )
        .meta("requiredScope", Scope::Admin)
        .meta("method", method)
        .into());
    }
    Ok(user)
}
