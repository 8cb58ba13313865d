//! [`KeyStore`].

use async_trait::async_trait;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, OptionalExtension as _,
    QueryDsl as _, Queryable, Selectable, SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{ApiKeyId, TenantId, api_key::same_secret, time::now_micros};

use super::{
    Store,
    schema::{api_keys, api_keys::dsl as k, tenants::dsl as t},
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    key::{ApiKey, KeyScope, KeyStore, NewApiKey, USE_GRAIN},
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct KeyRow {
    id: Id,
    tenant_id: Id,
    display_name: String,
    scopes: String,
    create_time: i64,
    expire_time: Option<i64>,
    revoke_time: Option<i64>,
    last_use_time: Option<i64>,
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = Error;

    fn try_from(row: KeyRow) -> Result<Self> {
        let scope = |name: &str| KeyScope::ALL.into_iter().find(|scope| scope.name() == name);
        let corrupt = Error::Corrupt {
            what: "scopes of an API key",
        };
        Ok(Self {
            id: ApiKeyId(uuid(&row.id)?),
            tenant_id: TenantId(uuid(&row.tenant_id)?),
            display_name: row.display_name,
            scopes: row
                .scopes
                .split_ascii_whitespace()
                .map(scope)
                .collect::<Option<_>>()
                .ok_or(corrupt)?,
            create_time: row.create_time,
            expire_time: row.expire_time,
            revoke_time: row.revoke_time,
            last_use_time: row.last_use_time,
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = api_keys)]
struct NewKeyRow {
    id: Id,
    tenant_id: Id,
    display_name: String,
    scopes: String,
    secret_sha256: Vec<u8>,
    create_time: i64,
    expire_time: Option<i64>,
}

#[async_trait]
impl KeyStore for Store {
    async fn insert_key(&self, key: NewApiKey) -> Result<ApiKey> {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        let row = NewKeyRow {
            id: raw(key.id.0),
            tenant_id: raw(key.tenant_id.0),
            display_name: key.display_name,
            scopes: scopes.join(" "),
            secret_sha256: key.secret_sha256.to_vec(),
            create_time: now_micros(),
            expire_time: key.expire_time,
        };
        self.db
            .write("insert_key", move |conn| {
                Box::pin(async move {
                    diesel::insert_into(k::api_keys)
                        .values(row)
                        .returning(KeyRow::as_returning())
                        .get_result(conn)
                        .await?
                        .try_into()
                })
            })
            .await
    }

    async fn get_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
        self.db
            .read("get_key", move |conn| {
                Box::pin(async move {
                    let row: Option<KeyRow> = k::api_keys
                        .filter(k::tenant_id.eq(raw(tenant.0)))
                        .filter(k::id.eq(raw(id.0)))
                        .select(KeyRow::as_select())
                        .first(conn)
                        .await
                        .optional()?;
                    row.map(ApiKey::try_from).transpose()
                })
            })
            .await
    }

    async fn list_keys(
        &self,
        tenant: TenantId,
        after: Option<(i64, ApiKeyId)>,
        limit: i64,
    ) -> Result<Vec<ApiKey>> {
        self.db
            .read("list_keys", move |conn| {
                Box::pin(async move {
                    let mut query = k::api_keys
                        .filter(k::tenant_id.eq(raw(tenant.0)))
                        .order((k::create_time.desc(), k::id.desc()))
                        .limit(limit)
                        .select(KeyRow::as_select())
                        .into_boxed();
                    if let Some((time, id)) = after {
                        let same_time = k::create_time.eq(time).and(k::id.lt(raw(id.0)));
                        query = query.filter(k::create_time.lt(time).or(same_time));
                    }
                    let rows: Vec<KeyRow> = query.load(conn).await?;
                    rows.into_iter().map(ApiKey::try_from).collect()
                })
            })
            .await
    }

    async fn revoke_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>> {
        self.db
            .write("revoke_key", move |conn| {
                Box::pin(async move {
                    let own = || {
                        k::api_keys
                            .filter(k::tenant_id.eq(raw(tenant.0)))
                            .filter(k::id.eq(raw(id.0)))
                    };
                    diesel::update(own().filter(k::revoke_time.is_null()))
                        .set(k::revoke_time.eq(now_micros()))
                        .execute(conn)
                        .await?;
                    let row: Option<KeyRow> = own()
                        .select(KeyRow::as_select())
                        .first(conn)
                        .await
                        .optional()?;
                    row.map(ApiKey::try_from).transpose()
                })
            })
            .await
    }

    async fn find_key(&self, id: ApiKeyId, secret_sha256: [u8; 32]) -> Result<Option<ApiKey>> {
        self.db
            .read("find_key", move |conn| {
                Box::pin(async move {
                    let row: Option<(Vec<u8>, KeyRow)> = k::api_keys
                        .filter(k::id.eq(raw(id.0)))
                        .select((k::secret_sha256, KeyRow::as_select()))
                        .first(conn)
                        .await
                        .optional()?;
                    match row {
                        Some((stored, row)) if same_secret(&stored, &secret_sha256) => {
                            row.try_into().map(Some)
                        }
                        _ => Ok(None),
                    }
                })
            })
            .await
    }

    async fn find_key_by_id(&self, id: ApiKeyId) -> Result<Option<ApiKey>> {
        self.db
            .read("find_key_by_id", move |conn| {
                Box::pin(async move {
                    let row: Option<KeyRow> = k::api_keys
                        .filter(k::id.eq(raw(id.0)))
                        .select(KeyRow::as_select())
                        .first(conn)
                        .await
                        .optional()?;
                    row.map(ApiKey::try_from).transpose()
                })
            })
            .await
    }

    async fn touch_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<()> {
        let now = now_micros();
        let grain = i64::try_from(USE_GRAIN.as_micros()).unwrap_or(i64::MAX);
        self.db
            .write("touch_key", move |conn| {
                Box::pin(async move {
                    let old = k::last_use_time
                        .is_null()
                        .or(k::last_use_time.lt(now - grain));
                    let target = k::api_keys
                        .filter(k::tenant_id.eq(raw(tenant.0)))
                        .filter(k::id.eq(raw(id.0)))
                        .filter(old);
                    diesel::update(target)
                        .set(k::last_use_time.eq(now))
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn insert_tenant(&self, tenant: TenantId, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.db
            .write("insert_tenant", move |conn| {
                Box::pin(async move {
                    diesel::insert_into(t::tenants)
                        .values((
                            t::id.eq(raw(tenant.0)),
                            t::name.eq(name),
                            t::create_time.eq(now_micros()),
                        ))
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn has_tenant(&self, tenant: TenantId) -> Result<bool> {
        self.db
            .read("has_tenant", move |conn| {
                Box::pin(async move {
                    let found: Option<Id> = t::tenants
                        .filter(t::id.eq(raw(tenant.0)))
                        .select(t::id)
                        .first(conn)
                        .await
                        .optional()?;
                    Ok(found.is_some())
                })
            })
            .await
    }
}
