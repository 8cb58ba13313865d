use mediamesh_proto::ApiKeySecret;

use super::{STRANGER, TENANT, store};
use crate::{
    KeyStore as _,
    key::{KeyScope, NewApiKey},
};

fn new_key(secret: &ApiKeySecret, name: &str) -> NewApiKey {
    NewApiKey {
        id: secret.id(),
        tenant_id: TENANT,
        display_name: name.to_owned(),
        scopes: vec![KeyScope::Read, KeyScope::Write],
        secret_sha256: secret.secret_sha256(),
        expire_time: Some(7),
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_secret_and_nothing_else() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let (secret, other) = (ApiKeySecret::generate(), ApiKeySecret::generate());
    let stored = store.insert_key(new_key(&secret, "ci")).await.unwrap();
    assert_eq!(stored.scopes, [KeyScope::Read, KeyScope::Write]);
    assert_eq!(stored.expire_time, Some(7));
    let found = store.find_key(secret.id(), secret.secret_sha256()).await;
    assert_eq!(found.unwrap().unwrap(), stored);
    let wrong = store.find_key(secret.id(), other.secret_sha256()).await;
    assert_eq!(wrong.unwrap(), None);
    let unknown = store.find_key(other.id(), secret.secret_sha256()).await;
    assert_eq!(unknown.unwrap(), None);
}

#[tokio::test]
async fn keys_of_another_tenant_are_neither_seen_nor_ended() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let secret = ApiKeySecret::generate();
    let stored = store.insert_key(new_key(&secret, "ci")).await.unwrap();
    assert_eq!(store.get_key(STRANGER, stored.id).await.unwrap(), None);
    assert_eq!(store.revoke_key(STRANGER, stored.id).await.unwrap(), None);
    assert_eq!(store.list_keys(STRANGER, None, 10).await.unwrap(), []);
    store.touch_key(STRANGER, stored.id).await.unwrap();
    assert_eq!(
        store.get_key(TENANT, stored.id).await.unwrap(),
        Some(stored)
    );
}

#[tokio::test]
async fn a_key_is_revoked_once_and_its_use_is_noted_to_the_minute() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let secret = ApiKeySecret::generate();
    let id = store.insert_key(new_key(&secret, "ci")).await.unwrap().id;
    store.touch_key(TENANT, id).await.unwrap();
    let used = store.get_key(TENANT, id).await.unwrap().unwrap();
    assert!(
        used.last_use_time
            .is_some_and(|time| time >= used.create_time)
    );
    store.touch_key(TENANT, id).await.unwrap();
    let again = store.get_key(TENANT, id).await.unwrap().unwrap();
    assert_eq!(again.last_use_time, used.last_use_time);
    let revoked = store.revoke_key(TENANT, id).await.unwrap().unwrap();
    assert!(revoked.revoke_time.is_some());
    let again = store.revoke_key(TENANT, id).await.unwrap().unwrap();
    assert_eq!(again.revoke_time, revoked.revoke_time);
}

#[tokio::test]
async fn keys_are_paged_newest_first() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    for name in ["a", "b", "c"] {
        let secret = ApiKeySecret::generate();
        store.insert_key(new_key(&secret, name)).await.unwrap();
    }
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = store.list_keys(TENANT, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.create_time, last.id));
        names.extend(page.into_iter().map(|key| key.display_name));
    }
    assert_eq!(names, ["c", "b", "a"]);
}

#[tokio::test]
async fn tenants_are_added_and_known() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    assert!(!store.has_tenant(STRANGER).await.unwrap());
    store.insert_tenant(STRANGER, "strangers").await.unwrap();
    assert!(store.has_tenant(STRANGER).await.unwrap());
    assert!(store.insert_tenant(STRANGER, "again").await.is_err());
}

/// Methods that work over all tenants, and why they must.
const OVER_ALL_TENANTS: &[(&str, &str)] = &[
    ("enqueue", "the job names its tenant"),
    ("enqueue_all", "the jobs name their tenant"),
    ("insert_item", "the item names its tenant"),
    ("insert_key", "the key names its tenant"),
    ("find_key", "finds out the tenant of a caller"),
    ("find_key_by_id", "tells whether a session's key has ended"),
    ("rung", "wakes workers; tells nothing of jobs"),
    ("claim", "workers work for all"),
    ("claim_within", "workers work for all"),
    ("progress", "by lease"),
    ("complete", "by lease"),
    ("complete_all", "by lease"),
    ("retry", "by lease"),
    ("renew", "by lease"),
    ("hand_back", "by lease"),
    ("fail", "by lease"),
    ("rescue", "leases of all"),
    ("sweep", "ended jobs of all"),
    ("register_schedule", "the schedule names its tenant"),
    ("fire", "the ticks name their tenant"),
    (
        "unreferenced_blobs",
        "the sweep of bytes; answers no content",
    ),
    ("count_stored_items", "the check of bytes looks at all"),
    ("stored_items", "the check of bytes looks at all"),
    ("sweep_searches", "old searches of all; answers no content"),
    ("vector_spaces", "opens every tenant's index at start"),
];

#[test]
fn every_method_of_every_store_takes_the_tenant() {
    let sources = [
        include_str!("../media.rs"),
        include_str!("../job.rs"),
        include_str!("../schedule.rs"),
        include_str!("../search.rs"),
        include_str!("../key.rs"),
        include_str!("../history.rs"),
        include_str!("../integrity.rs"),
    ];
    let mut methods = 0;
    let mut wrong = Vec::new();
    for source in sources {
        for part in source.split("async fn ").skip(1) {
            methods += 1;
            let signature = part.split("->").next().unwrap();
            let name = part.split('(').next().unwrap();
            let scoped = signature.contains("tenant: TenantId");
            let listed = OVER_ALL_TENANTS.iter().any(|(known, _)| *known == name);
            // the queue's depth and limits are measured for all tenants, and answered for one
            let known = ["queue_stats", "reached_limits", "missing_embeddings"].contains(&name);
            if scoped == listed && !known {
                wrong.push(name);
            }
        }
    }
    assert!(methods > 40, "{methods} methods were read");
    assert_eq!(wrong, Vec::<&str>::new());
}
