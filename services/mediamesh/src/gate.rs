//! Who may call this process, and how it finds that out.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mediamesh_media::keys::Keys;
use mediamesh_mesh::{
    Authenticator, Channel, Identity, IdentityOptions, LocalAuthenticator, TokenAuthenticator,
    client::credentials::Credentials,
    identity::{FoundKey, KeyLookup, KeyRing, Scope, lookup::KeyCache},
};
use mediamesh_proto::{
    ApiKeyId, ApiKeySecret, TenantId,
    media::v1::{
        ApiKey, CheckApiKeyRequest, ResolveApiKeyRequest, api_key,
        api_key_service_client::ApiKeyServiceClient,
    },
};
use mediamesh_store::key::{self, KeyScope};
use tonic::Status;

/// The gate of a process: open to everybody, or with keys.
pub(crate) struct Gate {
    ring: Option<KeyRing>,
    fresh: Duration,
    stale: Duration,
    local: Arc<OnceLock<Keys>>,
}

impl Gate {
    /// Makes the gate that is configured.
    pub(crate) fn new(options: &IdentityOptions, folder_secret: &[u8]) -> Self {
        Self {
            ring: options.key_ring(folder_secret),
            fresh: Duration::from_secs(options.key_cache_secs),
            stale: Duration::from_secs(options.key_stale_secs),
            local: Arc::default(),
        }
    }

    /// What calls of this process carry.
    pub(crate) fn credentials(&self) -> Credentials {
        self.ring
            .clone()
            .map_or_else(Credentials::none, Credentials::tokens)
    }

    /// Looks keys up in this process: the media service runs here.
    ///
    /// Also because a call that holds one of the media service's places must not wait for another.
    pub(crate) fn look_up_here(&self, keys: Keys) {
        // Set once: a process has one media service.
        let _ = self.local.set(keys);
    }

    /// Authenticators of the gRPC services and of the edge, and the keys that sessions are opened with,
    /// if any are asked for; `media` is the way to the keys.
    pub(crate) fn authenticators(
        &self,
        media: Channel,
    ) -> (
        Arc<dyn Authenticator>,
        Arc<dyn Authenticator>,
        Option<KeyCache>,
    ) {
        let Some(ring) = self.ring.clone() else {
            return (
                Arc::new(LocalAuthenticator),
                Arc::new(LocalAuthenticator),
                None,
            );
        };
        let lookup = Arc::new(Lookup {
            local: Arc::clone(&self.local),
            remote: ApiKeyServiceClient::new(media),
        });
        let keys = KeyCache::new(lookup, self.fresh, self.stale);
        (
            Arc::new(TokenAuthenticator::for_services(ring, Some(keys.clone()))),
            Arc::new(TokenAuthenticator::for_edge(keys.clone())),
            Some(keys),
        )
    }
}

/// Asks the media service who holds a key.
struct Lookup {
    local: Arc<OnceLock<Keys>>,
    remote: ApiKeyServiceClient<Channel>,
}

impl KeyLookup for Lookup {
    fn lookup(&self, key: &ApiKeySecret) -> BoxFuture<'static, Result<FoundKey, Status>> {
        let (id, secret_sha256) = (key.id(), key.secret_sha256());
        if let Some(keys) = self.local.get().cloned() {
            return async move { Ok(stored(&keys.resolve(id, secret_sha256).await?)) }.boxed();
        }
        let mut remote = self.remote.clone();
        async move {
            let request = ResolveApiKeyRequest {
                api_key_id: id.to_string(),
                secret_sha256: secret_sha256.to_vec().into(),
            };
            let answer = remote.resolve_api_key(request).await?.into_inner();
            told(&answer.tenant_id, answer.api_key.unwrap_or_default())
        }
        .boxed()
    }

    fn check(&self, id: ApiKeyId) -> BoxFuture<'static, Result<FoundKey, Status>> {
        if let Some(keys) = self.local.get().cloned() {
            return async move { Ok(stored(&keys.check(id).await?)) }.boxed();
        }
        let mut remote = self.remote.clone();
        async move {
            let api_key_id = id.to_string();
            let request = CheckApiKeyRequest { api_key_id };
            let answer = remote.check_api_key(request).await?.into_inner();
            told(&answer.tenant_id, answer.api_key.unwrap_or_default())
        }
        .boxed()
    }
}

fn stored(key: &key::ApiKey) -> FoundKey {
    let scope = |scope: &KeyScope| match scope {
        KeyScope::Read => Scope::Read,
        KeyScope::Write => Scope::Write,
        KeyScope::Admin => Scope::Admin,
    };
    FoundKey {
        identity: Identity {
            tenant_id: key.tenant_id.0,
            subject: format!("key:{}", key.id),
            scopes: key.scopes.iter().map(scope).collect(),
        },
        expires: key.expire_time.map(|micros| seconds(micros / 1_000_000)),
    }
}

fn told(tenant: &str, key: ApiKey) -> Result<FoundKey, Status> {
    let tenant = tenant.parse::<TenantId>();
    let tenant = tenant.map_err(|error| Status::internal(error.to_string()))?;
    let scopes = key.scopes().filter_map(|scope| match scope {
        api_key::Scope::Read => Some(Scope::Read),
        api_key::Scope::Write => Some(Scope::Write),
        api_key::Scope::Admin => Some(Scope::Admin),
        api_key::Scope::Unspecified => None,
    });
    Ok(FoundKey {
        identity: Identity {
            tenant_id: tenant.0,
            subject: format!("key:{}", key.id),
            scopes: scopes.collect(),
        },
        expires: key.expire_time.as_ref().map(|time| seconds(time.seconds)),
    })
}

/// A time before the epoch is long over.
fn seconds(since_epoch: i64) -> u64 {
    u64::try_from(since_epoch).unwrap_or_default()
}
