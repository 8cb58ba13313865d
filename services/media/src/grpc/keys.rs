//! API keys.

use mediamesh_mesh::{LOCAL_TENANT_ID, identity};
use mediamesh_proto::{
    ErrorKind, ErrorReason, Violations,
    media::v1::{
        CheckApiKeyRequest, CheckApiKeyResponse, CreateApiKeyRequest, CreateApiKeyResponse,
        GetApiKeyRequest, GetApiKeyResponse, ListApiKeysRequest, ListApiKeysResponse,
        ResolveApiKeyRequest, ResolveApiKeyResponse, RevokeApiKeyRequest, RevokeApiKeyResponse,
        api_key_service_server::ApiKeyService,
    },
    page_token::PageTokens,
};
use tonic::{Request, Response, Status};

use super::items::scope;
use crate::{
    convert::{keys as convert, request},
    error::Error,
    keys::Keys,
};

/// `ApiKeyService` over gRPC.
#[derive(Clone)]
pub struct ApiKeyGrpc {
    pub(crate) keys: Keys,
    pub(crate) page_tokens: PageTokens,
}

#[tonic::async_trait]
impl ApiKeyService for ApiKeyGrpc {
    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let wanted = convert::wanted(request.into_inner())?;
        let (key, secret) = self.keys.create(tenant, wanted).await?;
        Ok(Response::new(CreateApiKeyResponse {
            api_key: Some(convert::answer(key)),
            secret: secret.reveal(),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let limit = request::page_size(request.page_size, 50, 500, &mut violations);
        violations.finish().map_err(Error::from)?;
        let scope = scope("api_keys", tenant, &[]);
        let position: Option<(i64, String)> = self
            .page_tokens
            .open(&scope, &request.page_token)
            .map_err(Error::from)?;
        let after = position
            .map(|(time, id)| convert::key_id(&id).map(|id| (time, id)))
            .transpose()?;
        let keys = self.keys.list(tenant, after, limit).await?;
        let full = i64::try_from(keys.len()).is_ok_and(|count| count >= limit);
        let next_page_token = match keys.last() {
            Some(last) if full => self
                .page_tokens
                .seal(&scope, &(last.create_time, last.id.to_string())),
            _ => String::new(),
        };
        Ok(Response::new(ListApiKeysResponse {
            api_keys: keys.into_iter().map(convert::answer).collect(),
            next_page_token,
        }))
    }

    async fn get_api_key(
        &self,
        request: Request<GetApiKeyRequest>,
    ) -> Result<Response<GetApiKeyResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let id = convert::key_id(&request.get_ref().api_key_id)?;
        let key = self.keys.get(tenant, id).await?;
        Ok(Response::new(GetApiKeyResponse {
            api_key: Some(convert::answer(key)),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<RevokeApiKeyResponse>, Status> {
        let tenant = request::tenant(&request)?;
        let id = convert::key_id(&request.get_ref().api_key_id)?;
        let key = self.keys.revoke(tenant, id).await?;
        Ok(Response::new(RevokeApiKeyResponse {
            api_key: Some(convert::answer(key)),
        }))
    }

    /// The caller is a service, and asks for no tenant: that is what it wants to know.
    async fn resolve_api_key(
        &self,
        request: Request<ResolveApiKeyRequest>,
    ) -> Result<Response<ResolveApiKeyResponse>, Status> {
        let (id, secret_sha256) = convert::proof(request.get_ref())?;
        let key = self.keys.resolve(id, secret_sha256).await?;
        Ok(Response::new(ResolveApiKeyResponse {
            tenant_id: key.tenant_id.to_string(),
            api_key: Some(convert::answer(key)),
        }))
    }
    /// Without a secret anybody's key is told of: to a process, not to what it does on behalf of a
    /// tenant.
    async fn check_api_key(
        &self,
        request: Request<CheckApiKeyRequest>,
    ) -> Result<Response<CheckApiKeyResponse>, Status> {
        let tenant = identity(&request)?.tenant_id;
        if !tenant.is_nil() && tenant != LOCAL_TENANT_ID {
            return Err(mediamesh_proto::Error::new(
                ErrorKind::PermissionDenied,
                ErrorReason::PermissionDenied,
                "keys of every tenant are told to processes of the mesh only",
            )
            .into());
        }
        let id = request.get_ref().api_key_id.parse();
        let key = self.keys.check(id.map_err(|_| Error::KeyUnknown)?).await?;
        Ok(Response::new(CheckApiKeyResponse {
            tenant_id: key.tenant_id.to_string(),
            api_key: Some(convert::answer(key)),
        }))
    }
}
