//! `keys`: who may call, in a running mesh or on the data folder.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use mediamesh_media::{
    convert::keys as convert,
    keys::{Keys, Wanted},
};
use mediamesh_mesh::{Channel, LOCAL_TENANT_ID, ServiceName};
use mediamesh_proto::{
    TenantId,
    media::v1::{
        ApiKey, CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest,
        api_key_service_client::ApiKeyServiceClient,
    },
    time::{now_micros, timestamp},
};
use mediamesh_store::{KeyStore, key::KeyScope};

use super::table::table;
use crate::{
    cli::{Keys as Command, KeysWhere, ScopeArg},
    client,
    config::Config,
    data_dir::DataDir,
    import::screen::say,
    stores::Stores,
};

/// Keys on a page of a list.
const PAGE: i32 = 500;

pub(super) async fn run(command: Command, config: &Config) -> Result<()> {
    match command {
        Command::Create {
            name,
            scope,
            expires,
            new_tenant,
            json,
            at,
        } => {
            let target = Target::open(&at, config).await?;
            let target = match new_tenant {
                Some(tenant) => target.with_new_tenant(&tenant).await?,
                None => target,
            };
            let (key, secret) = target.create(name, &scope, expires).await?;
            created(&key, &secret, json)
        }
        Command::List { json, at } => {
            let keys = Target::open(&at, config).await?.list().await?;
            list(&keys, json)
        }
        Command::Revoke { id, at } => {
            let key = Target::open(&at, config).await?.revoke(&id).await?;
            say(&format!(
                "{} ({}) is revoked; servers that know it take it for up to {} s more",
                key.display_name, key.id, config.identity.key_cache_secs
            ));
            Ok(())
        }
    }
}

/// Where the keys are.
enum Target {
    /// A running mesh, asked with an admin key.
    Mesh(ApiKeyServiceClient<Channel>),
    /// The data folder: whoever can write there needs no key.
    Folder {
        store: Arc<dyn KeyStore>,
        tenant: TenantId,
    },
}

impl Target {
    /// A running mesh if one is named or found, else the data folder.
    async fn open(at: &KeysWhere, config: &Config) -> Result<Self> {
        let dir = DataDir::locate(config.data_dir.as_deref())?;
        let running = at.endpoint.endpoint.is_some() || dir.ready().is_some();
        if running && !at.offline {
            if at.tenant.is_some() {
                bail!("--tenant goes with --offline: a running mesh goes by the key that asks");
            }
            let channel = client::connect(&at.endpoint, config)?;
            return Ok(Self::Mesh(ApiKeyServiceClient::new(channel)));
        }
        // Held by a running mesh, it is there: its database takes a second process.
        let _lock = dir.open(&ServiceName::ALL).ok();
        let tenant = match &at.tenant {
            Some(id) => id.parse().context("--tenant must be the id of a tenant")?,
            None => TenantId(LOCAL_TENANT_ID),
        };
        let store = Stores::open(&config.database, &dir, None).await?.keys;
        if at.tenant.is_some() && !store.has_tenant(tenant).await? {
            bail!("there is no tenant {tenant}; --new-tenant makes one");
        }
        Ok(Self::Folder { store, tenant })
    }

    async fn with_new_tenant(self, name: &str) -> Result<Self> {
        let Self::Folder { store, .. } = self else {
            bail!("--new-tenant goes with --offline: tenants are made on the data folder");
        };
        let tenant = TenantId::generate();
        store.insert_tenant(tenant, name).await?;
        Ok(Self::Folder { store, tenant })
    }

    async fn create(
        &self,
        name: String,
        scopes: &[ScopeArg],
        expires: Option<Duration>,
    ) -> Result<(ApiKey, String)> {
        let expire_time = expires.map(|after| {
            let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
            now_micros().saturating_add(micros)
        });
        let scopes: Vec<KeyScope> = scopes.iter().map(|scope| (*scope).into()).collect();
        match self {
            Self::Mesh(client) => {
                let key = ApiKey {
                    display_name: name,
                    scopes: scopes
                        .iter()
                        .map(|scope| i32::from(*scope as i16))
                        .collect(),
                    expire_time: expire_time.map(timestamp),
                    ..ApiKey::default()
                };
                let request = CreateApiKeyRequest { api_key: Some(key) };
                let answer = client.clone().create_api_key(request).await;
                let answer = answer
                    .map_err(|status| client::explain(&status))?
                    .into_inner();
                Ok((answer.api_key.unwrap_or_default(), answer.secret))
            }
            Self::Folder { store, tenant } => {
                let wanted = Wanted {
                    display_name: name,
                    scopes,
                    expire_time,
                };
                let keys = Keys::new(Arc::clone(store));
                let (key, secret) = keys.create(*tenant, wanted).await?;
                Ok((convert::answer(key), secret.reveal()))
            }
        }
    }

    async fn list(&self) -> Result<Vec<ApiKey>> {
        let mut all = Vec::new();
        match self {
            Self::Mesh(client) => {
                let mut request = ListApiKeysRequest {
                    page_size: PAGE,
                    page_token: String::new(),
                };
                loop {
                    let answer = client.clone().list_api_keys(request.clone()).await;
                    let page = answer
                        .map_err(|status| client::explain(&status))?
                        .into_inner();
                    all.extend(page.api_keys);
                    if page.next_page_token.is_empty() {
                        return Ok(all);
                    }
                    request.page_token = page.next_page_token;
                }
            }
            Self::Folder { store, tenant } => {
                let mut after = None;
                loop {
                    let page = store.list_keys(*tenant, after, i64::from(PAGE)).await?;
                    let Some(last) = page.last() else {
                        return Ok(all);
                    };
                    after = Some((last.create_time, last.id));
                    all.extend(page.into_iter().map(convert::answer));
                }
            }
        }
    }

    async fn revoke(&self, id: &str) -> Result<ApiKey> {
        match self {
            Self::Mesh(client) => {
                let request = RevokeApiKeyRequest {
                    api_key_id: id.to_owned(),
                };
                let answer = client.clone().revoke_api_key(request).await;
                let answer = answer
                    .map_err(|status| client::explain(&status))?
                    .into_inner();
                Ok(answer.api_key.unwrap_or_default())
            }
            Self::Folder { store, tenant } => {
                let keys = Keys::new(Arc::clone(store));
                let revoked = keys.revoke(*tenant, convert::key_id(id)?).await?;
                Ok(convert::answer(revoked))
            }
        }
    }
}

fn created(key: &ApiKey, secret: &str, json: bool) -> Result<()> {
    if json {
        let answer = serde_json::json!({"apiKey": key, "secret": secret});
        say(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    say(&format!(
        "{} ({}), {}",
        key.display_name,
        key.id,
        scopes(key)
    ));
    say(secret);
    say(
        "The key above is shown this once. Send it as `authorization: Bearer mmk_...`, or set MEDIAMESH_API_KEY.",
    );
    Ok(())
}

fn list(keys: &[ApiKey], json: bool) -> Result<()> {
    if json {
        say(&serde_json::to_string_pretty(keys)?);
        return Ok(());
    }
    let mut rows = table(["id", "name", "scopes", "made", "last used", "state"]);
    for key in keys {
        rows.add_row([
            key.id.clone(),
            key.display_name.clone(),
            scopes(key),
            time(key.create_time.as_ref()),
            time(key.last_use_time.as_ref()),
            state(key),
        ]);
    }
    say(&rows.to_string());
    Ok(())
}

fn scopes(key: &ApiKey) -> String {
    let names = key.scopes().map(|scope| {
        let name = scope.as_str_name().trim_start_matches("SCOPE_");
        name.to_lowercase()
    });
    names.collect::<Vec<_>>().join(" ")
}

fn state(key: &ApiKey) -> String {
    let now = now_micros() / 1_000_000;
    match (&key.revoke_time, &key.expire_time) {
        (Some(revoked), _) => format!("revoked {}", time(Some(revoked))),
        (None, Some(expires)) if expires.seconds <= now => {
            format!("expired {}", time(Some(expires)))
        }
        (None, Some(expires)) => format!("until {}", time(Some(expires))),
        (None, None) => "good".to_owned(),
    }
}

fn time(time: Option<&mediamesh_proto::pbjson_types::Timestamp>) -> String {
    time.and_then(|time| chrono::DateTime::from_timestamp(time.seconds, 0))
        .map_or_else(String::new, |time| {
            time.format("%Y-%m-%d %H:%M").to_string()
        })
}

impl From<ScopeArg> for KeyScope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Read => Self::Read,
            ScopeArg::Write => Self::Write,
            ScopeArg::Admin => Self::Admin,
        }
    }
}
