//! API keys as messages.

use mediamesh_proto::{
    ApiKeyId, Violations,
    media::v1::{ApiKey, CreateApiKeyRequest, ResolveApiKeyRequest, api_key::Scope},
    time::{micros, now_micros, timestamp},
};
use mediamesh_store::key::{self, KeyScope};

use super::request::violation;
use crate::{
    error::{Error, Result},
    keys::Wanted,
};

/// Most characters of a key's name.
const MAX_NAME_CHARS: usize = 100;

/// Reads the id of a key.
pub fn key_id(id: &str) -> Result<ApiKeyId> {
    id.parse().map_err(|error: mediamesh_proto::id::InvalidId| {
        violation("api_key_id", &error.to_string())
    })
}

/// Reads what key to make.
pub fn wanted(request: CreateApiKeyRequest) -> Result<Wanted> {
    let key = request.api_key.unwrap_or_default();
    let mut violations = Violations::new();
    let v = &mut violations;
    let display_name = key.display_name.trim().to_owned();
    let chars = display_name.chars().count();
    v.check(
        chars == 0 || chars > MAX_NAME_CHARS || display_name.chars().any(char::is_control),
        "api_key.display_name",
        || format!("must be 1 to {MAX_NAME_CHARS} characters without control characters"),
    );
    let mut scopes: Vec<KeyScope> = Vec::new();
    v.check(key.scopes.is_empty(), "api_key.scopes", || {
        "must name at least one scope".to_owned()
    });
    for (at, number) in key.scopes.iter().enumerate() {
        let scope = KeyScope::ALL
            .into_iter()
            .find(|scope| i32::from(*scope as i16) == *number);
        match scope {
            Some(scope) => scopes.push(scope),
            None => v.add(
                format!("api_key.scopes[{at}]"),
                format!("{number} is not a known value"),
            ),
        }
    }
    scopes.sort_unstable();
    scopes.dedup();
    let expire_time = key.expire_time.as_ref().map(micros);
    let past = expire_time.is_some_and(|time| time <= now_micros());
    v.check(past, "api_key.expire_time", || {
        "must be in the future".to_owned()
    });
    violations.finish()?;
    Ok(Wanted {
        display_name,
        scopes,
        expire_time,
    })
}

/// Reads what proves possession of a key.
///
/// Errors: `KeyUnknown`, which does not tell what is wrong.
pub fn proof(request: &ResolveApiKeyRequest) -> Result<(ApiKeyId, [u8; 32])> {
    let id = request.api_key_id.parse().map_err(|_| Error::KeyUnknown)?;
    let hash = request.secret_sha256.as_ref();
    Ok((id, hash.try_into().map_err(|_| Error::KeyUnknown)?))
}

/// A key as a message, without anything secret.
#[must_use]
pub fn answer(key: key::ApiKey) -> ApiKey {
    let scope = |scope: &KeyScope| match scope {
        KeyScope::Read => Scope::Read as i32,
        KeyScope::Write => Scope::Write as i32,
        KeyScope::Admin => Scope::Admin as i32,
    };
    ApiKey {
        id: key.id.to_string(),
        display_name: key.display_name,
        scopes: key.scopes.iter().map(scope).collect(),
        create_time: Some(timestamp(key.create_time)),
        expire_time: key.expire_time.map(timestamp),
        revoke_time: key.revoke_time.map(timestamp),
        last_use_time: key.last_use_time.map(timestamp),
    }
}
