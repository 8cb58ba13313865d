//! Messages to sessions with all validation, sessions to messages.

use std::{collections::BTreeMap, time::Duration};

use mediamesh_mesh::identity::{Scope, Scopes};
use mediamesh_proto::{
    Error, SessionHandle, SessionId, Violations,
    cache::v1::{
        CreateSessionRequest, Session, UpdateSessionRequest, session::Scope as ScopeNumber,
    },
    time::{std_duration, timestamp},
};

use super::{
    change::Change,
    record::{Data, Owner, Record},
};

const MAX_USER_BYTES: usize = 128;
const MAX_EXTERNAL_BYTES: usize = 256;
/// Longest address (RFC 5321, sections 4.5.3.1.1 and 4.5.3.1.2, and the sign between).
const MAX_EMAIL_BYTES: usize = 320;
const MAX_TIER_BYTES: usize = 64;
const MAX_PAIRS: usize = 64;
const MAX_KEY_BYTES: usize = 63;

/// A session as asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Empty = the caller.
    pub(crate) user: String,
    /// Without scopes and key, which the caller decides on.
    pub(crate) data: Data,
    /// `None` = those of the caller.
    pub(crate) scopes: Option<Scopes>,
    pub(crate) ttl: Option<Duration>,
}

/// Reads what session to make.
///
/// Errors: `InvalidField` with everything that is wrong.
pub(crate) fn wanted(request: CreateSessionRequest) -> Result<Wanted, Error> {
    let session = request.session.unwrap_or_default();
    let mut v = Violations::new();
    user(&mut v, "session.user_id", &session.user_id);
    let mut scopes = Vec::new();
    for (at, number) in session.scopes.iter().enumerate() {
        match scope(*number) {
            Some(scope) => scopes.push(scope),
            None => v.add(
                format!("session.scopes[{at}]"),
                format!("{number} is not a known value"),
            ),
        }
    }
    let ttl = request.ttl.as_ref().map(std_duration);
    v.check(ttl.is_some_and(|ttl| ttl < MIN_TTL), "ttl", || {
        "must be at least a millisecond".to_owned()
    });
    texts(&mut v, &session);
    pairs(&mut v, &session);
    v.finish()?;
    Ok(Wanted {
        user: session.user_id,
        data: Data {
            external_user_id: session.external_user_id,
            email: session.email,
            subscription_tier: session.subscription_tier,
            metadata: session.metadata.into_iter().collect(),
            ..Data::default()
        },
        scopes: (!scopes.is_empty()).then(|| scopes.into_iter().collect()),
        ttl,
    })
}

/// Shortest time to live: the grain of what is stored.
const MIN_TTL: Duration = Duration::from_millis(1);

/// Reads what to change: the session, its version if one is expected, and the changes.
///
/// Errors: `InvalidField` with everything that is wrong.
pub(crate) fn changes(
    request: UpdateSessionRequest,
) -> Result<(SessionHandle, Option<String>, Vec<Change>), Error> {
    let session = request.session.unwrap_or_default();
    let mut v = Violations::new();
    let handle = read_handle(&mut v, "session.handle", &session.handle);
    texts(&mut v, &session);
    pairs(&mut v, &session);
    let mut changes = Vec::new();
    match request.update_mask {
        None => {
            let given = |text: &String| (!text.is_empty()).then(|| text.clone());
            changes.extend(given(&session.external_user_id).map(Change::ExternalUserId));
            changes.extend(given(&session.email).map(Change::Email));
            changes.extend(given(&session.subscription_tier).map(Change::SubscriptionTier));
            let all = session.metadata.iter();
            changes.extend(all.map(|(key, value)| Change::Pair(key.clone(), Some(value.clone()))));
        }
        Some(mask) => {
            for path in mask.paths {
                match named(&path, &session) {
                    Some(change) => changes.push(change),
                    None => v.add(
                        "update_mask",
                        format!("{path:?} is no field that can be changed"),
                    ),
                }
            }
        }
    }
    v.finish()?;
    let etag = (!session.etag.is_empty()).then_some(session.etag);
    Ok((handle, etag, changes))
}

fn named(path: &str, session: &Session) -> Option<Change> {
    Some(match path {
        "external_user_id" => Change::ExternalUserId(session.external_user_id.clone()),
        "email" => Change::Email(session.email.clone()),
        "subscription_tier" => Change::SubscriptionTier(session.subscription_tier.clone()),
        "metadata" => {
            let pairs: BTreeMap<_, _> = session.metadata.clone().into_iter().collect();
            Change::Metadata(pairs)
        }
        path => {
            let key = path.strip_prefix("metadata.").filter(|key| is_key(key))?;
            Change::Pair(key.to_owned(), session.metadata.get(key).cloned())
        }
    })
}

/// Reads the secret id.
///
/// Errors: `InvalidField`, without what was sent.
pub(crate) fn id(text: &str) -> Result<SessionId, Error> {
    let mut v = Violations::new();
    let id = text.parse::<SessionId>();
    v.check(id.is_err(), "session_id", || {
        "must be 64 lower-case hex digits".to_owned()
    });
    v.finish()?;
    Ok(id.expect("a wrong one was refused"))
}

/// Reads a handle.
///
/// Errors: `InvalidField`.
pub(crate) fn handle(field: &str, text: &str) -> Result<SessionHandle, Error> {
    let mut v = Violations::new();
    let handle = read_handle(&mut v, field, text);
    v.finish()?;
    Ok(handle)
}

fn read_handle(v: &mut Violations, field: &str, text: &str) -> SessionHandle {
    text.parse().unwrap_or_else(|_| {
        v.add(field, "must be 32 lower-case hex digits");
        SessionHandle([0; 16])
    })
}

/// Reads whose sessions are meant.
///
/// Errors: `InvalidField`.
pub(crate) fn user_id(text: &str) -> Result<(), Error> {
    let mut v = Violations::new();
    user(&mut v, "user_id", text);
    v.finish()
}

fn user(v: &mut Violations, field: &str, text: &str) {
    v.check(
        text.len() > MAX_USER_BYTES || text.chars().any(char::is_control),
        field,
        || {
            format!(
                "is {} bytes; must be up to {MAX_USER_BYTES} without control characters",
                text.len()
            )
        },
    );
}

fn texts(v: &mut Violations, session: &Session) {
    for (field, text, limit) in [
        (
            "external_user_id",
            &session.external_user_id,
            MAX_EXTERNAL_BYTES,
        ),
        ("email", &session.email, MAX_EMAIL_BYTES),
        (
            "subscription_tier",
            &session.subscription_tier,
            MAX_TIER_BYTES,
        ),
    ] {
        v.check(
            text.len() > limit || text.chars().any(char::is_control),
            &format!("session.{field}"),
            || {
                format!(
                    "is {} bytes; must be up to {limit} without control characters",
                    text.len()
                )
            },
        );
    }
}

fn pairs(v: &mut Violations, session: &Session) {
    let count = session.metadata.len();
    v.check(count > MAX_PAIRS, "session.metadata", || {
        format!("holds {count} pairs; limit is {MAX_PAIRS}")
    });
    let wrong = session.metadata.keys().any(|key| !is_key(key));
    v.check(wrong, "session.metadata", || {
        format!("has a key that is not 1 to {MAX_KEY_BYTES} of a-z, 0-9, `_` and `-`")
    });
}

/// Holds what a session would hold to the limits.
///
/// Errors: `InvalidField`.
pub(crate) fn fits(data: &Data, limit: usize) -> Result<(), Error> {
    let mut v = Violations::new();
    let (size, count) = (data.size(), data.metadata.len());
    v.check(size > limit, "session", || {
        format!("would hold {size} bytes; limit is {limit}")
    });
    v.check(count > MAX_PAIRS, "session.metadata", || {
        format!("would hold {count} pairs; limit is {MAX_PAIRS}")
    });
    v.finish()
}

fn is_key(key: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(good)
}

fn scope(number: i32) -> Option<Scope> {
    match ScopeNumber::try_from(number).ok()? {
        ScopeNumber::Read => Some(Scope::Read),
        ScopeNumber::Write => Some(Scope::Write),
        ScopeNumber::Admin => Some(Scope::Admin),
        ScopeNumber::Unspecified => None,
    }
}

/// Scopes as numbers of the contract.
pub(crate) fn numbers(scopes: Scopes) -> Vec<i32> {
    let number = |scope| match scope {
        Scope::Read => ScopeNumber::Read,
        Scope::Write => ScopeNumber::Write,
        Scope::Admin => ScopeNumber::Admin,
    };
    scopes.iter().map(|scope| number(scope) as i32).collect()
}

/// A session as it is answered.
pub(crate) fn message(owner: &Owner, record: Record) -> Session {
    let Record { handle, head, data } = record;
    let time = |millis: i64| Some(timestamp(millis.saturating_mul(1000)));
    Session {
        handle: handle.to_string(),
        user_id: owner.user.clone(),
        external_user_id: data.external_user_id,
        email: data.email,
        subscription_tier: data.subscription_tier,
        metadata: data.metadata.into_iter().collect(),
        scopes: data.scopes,
        api_key_id: data.api_key_id,
        create_time: time(head.created),
        last_activity_time: time(head.active),
        expire_time: time(head.expires),
        end_time: time(head.ends),
        etag: head.revision.to_string(),
    }
}
