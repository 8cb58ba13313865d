//! The rules. Each stands for itself: tenants and users of one are nobody else's.

use std::{sync::Arc, time::Duration};

use mediamesh_proto::{
    ErrorReason, SessionId,
    cache::v1::{
        ListSessionsRequest, ResolveSessionRequest, Session, session::Scope,
        session_service_server::SessionService,
    },
    time::micros,
};
use tokio::{task::JoinSet, time::sleep};
use tonic::Code;

use crate::{
    calls::{
        all, create, delete, get, gone, list, open, pairs, refused, resolve, revoke, sweep, update,
    },
    subject::{By, MOST},
};

/// Short enough to wait for, long enough for what is done within it on a busy machine.
const BRIEF: Duration = Duration::from_millis(600);
const RACERS: usize = 30;

pub(crate) async fn an_id_is_shown_once_and_finds_what_was_stored(service: &impl SessionService) {
    let by = By::somebody();
    let wanted = Session {
        external_user_id: "firebase-1".to_owned(),
        email: "ann@example.com".to_owned(),
        subscription_tier: "pro".to_owned(),
        metadata: pairs([("theme", "dark")]),
        ..Session::default()
    };
    let (made, id) = create(service, &by, wanted.clone(), None).await.unwrap();
    assert_eq!(id.len(), 64);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(made.handle.len(), 32);
    let found = get(service, &by, &id).await.unwrap();
    assert_eq!(found.user_id, by.0.subject);
    assert_eq!(format!("key:{}", found.api_key_id), by.0.subject);
    assert_eq!(found.scopes, [Scope::Write as i32]);
    let (tenant, resolved) = resolve(service, &id).await.unwrap();
    assert_eq!(tenant, by.0.tenant_id.to_string());
    let listed = all(service, &by).await;
    for session in [&found, &resolved, &listed[0]] {
        assert_eq!(session.handle, made.handle);
        assert_eq!(session.external_user_id, wanted.external_user_id);
        assert_eq!(session.email, wanted.email);
        assert_eq!(session.subscription_tier, wanted.subscription_tier);
        assert_eq!(session.metadata, wanted.metadata);
        // use changes no version
        assert_eq!(session.etag, made.etag);
        assert!(!format!("{session:?}").contains(&id));
    }
    let (second, other) = open(service, &by).await;
    assert!(other != id && second.handle != made.handle);
}

pub(crate) async fn each_use_begins_its_time_anew_and_without_use_it_ends(
    service: &impl SessionService,
) {
    let by = By::somebody();
    let made = create(service, &by, Session::default(), Some(BRIEF)).await;
    let (made, id) = made.unwrap();
    let mut active = micros(made.last_activity_time.as_ref().unwrap());
    for _ in 0..4 {
        sleep(BRIEF / 2).await;
        let found = get(service, &by, &id).await.unwrap();
        let now = micros(found.last_activity_time.as_ref().unwrap());
        let life = micros(found.expire_time.as_ref().unwrap()) - now;
        assert!(now > active, "its use is not noted");
        assert_eq!(u128::try_from(life).unwrap(), BRIEF.as_micros());
        active = now;
    }
    sleep(BRIEF / 2).await;
    resolve(service, &id).await.unwrap();
    sleep(BRIEF / 2).await;
    let request = Session {
        handle: made.handle.clone(),
        metadata: pairs([("used", "yes")]),
        ..Session::default()
    };
    update(service, &by, request.clone(), None).await.unwrap();
    sleep(BRIEF / 2).await;
    get(service, &by, &id).await.unwrap();
    // a list is no use
    sleep(BRIEF / 2).await;
    assert_eq!(all(service, &by).await.len(), 1);
    sleep(BRIEF).await;
    assert_eq!(all(service, &by).await, []);
    gone(update(service, &by, request, None).await);
    gone(get(service, &by, &id).await);
    gone(delete(service, &by, &made.handle).await);
    let ended = resolve(service, &id).await;
    refused(ended, Code::Unauthenticated, ErrorReason::SessionEnded);
}

pub(crate) async fn it_ends_however_it_is_used(service: &impl SessionService) {
    let by = By::somebody();
    let (made, id) = open(service, &by).await;
    let ends = micros(made.end_time.as_ref().unwrap());
    let mut last = made;
    loop {
        sleep(Duration::from_millis(200)).await;
        match get(service, &by, &id).await {
            Ok(found) => last = found,
            ended => break gone(ended),
        }
        assert!(micros(last.expire_time.as_ref().unwrap()) <= ends);
    }
    let unused = ends - micros(last.last_activity_time.as_ref().unwrap());
    assert!(unused < 1_000_000, "it ended {unused} us before its end");
}

pub(crate) async fn of_racing_updates_none_is_lost(service: &Arc<impl SessionService>) {
    let by = By::somebody();
    let (made, _) = open(&**service, &by).await;
    let mut racers = JoinSet::new();
    for number in 0..RACERS {
        let (service, by, handle) = (Arc::clone(service), by.clone(), made.handle.clone());
        racers.spawn(async move {
            let session = Session {
                handle,
                metadata: pairs([(&*format!("k{number}"), "v")]),
                ..Session::default()
            };
            update(&*service, &by, session, None).await.unwrap()
        });
    }
    let mut etags: Vec<String> = racers
        .join_all()
        .await
        .into_iter()
        .map(|s| s.etag)
        .collect();
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), RACERS, "two updates are one version");
    let found = all(&**service, &by).await.remove(0);
    assert_eq!(found.metadata.len(), RACERS, "{:?}", found.metadata);
    // of those that ask for the same version one wins
    let mut racers = JoinSet::new();
    for number in 0..RACERS {
        let (service, by, found) = (Arc::clone(service), by.clone(), found.clone());
        racers.spawn(async move {
            let session = Session {
                handle: found.handle,
                etag: found.etag,
                email: format!("{number}@example.com"),
                ..Session::default()
            };
            update(&*service, &by, session, None).await
        });
    }
    let outcomes = racers.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let now = all(&**service, &by).await.remove(0);
    assert_eq!(now.email, won[0].as_ref().unwrap().email);
    for outcome in lost {
        refused(outcome, Code::Aborted, ErrorReason::EtagMismatch);
    }
}

pub(crate) async fn an_update_changes_what_it_names(service: &impl SessionService) {
    let by = By::somebody();
    let wanted = Session {
        email: "ann@example.com".to_owned(),
        metadata: pairs([("a", "1"), ("b", "2")]),
        ..Session::default()
    };
    let (made, id) = create(service, &by, wanted, None).await.unwrap();
    let change = Session {
        handle: made.handle.clone(),
        metadata: pairs([("c", "3")]),
        ..Session::default()
    };
    let mask: &[&str] = &["metadata.a", "metadata.c", "email"];
    let changed = update(service, &by, change.clone(), Some(mask))
        .await
        .unwrap();
    assert_eq!(changed.metadata, pairs([("b", "2"), ("c", "3")]));
    assert_eq!(changed.email, "");
    assert_ne!(changed.etag, made.etag);
    let changed = update(service, &by, change.clone(), Some(&["metadata"])).await;
    assert_eq!(changed.unwrap().metadata, pairs([("c", "3")]));
    for path in ["user_id", "scopes", "api_key_id", "metadata.A", "etag", ""] {
        let refusal = update(service, &by, change.clone(), Some(&[path])).await;
        refused(refusal, Code::InvalidArgument, ErrorReason::InvalidField);
    }
    let large = "x".repeat(3000);
    for (key, fits) in [("d", true), ("e", false)] {
        let change = Session {
            metadata: pairs([(key, &large)]),
            ..change.clone()
        };
        match update(service, &by, change, None).await {
            Ok(_) => assert!(fits),
            outcome => {
                assert!(!fits);
                refused(outcome, Code::InvalidArgument, ErrorReason::InvalidField);
            }
        }
    }
    let found = get(service, &by, &id).await.unwrap();
    assert_eq!(found.metadata, pairs([("c", "3"), ("d", &large)]));
    let stale = Session {
        etag: made.etag,
        ..change
    };
    let refusal = update(service, &by, stale, None).await;
    refused(refusal, Code::Aborted, ErrorReason::EtagMismatch);
}

pub(crate) async fn sessions_of_a_user_are_listed_and_ended(service: &impl SessionService) {
    let by = By::somebody();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(open(service, &by).await);
        sleep(Duration::from_millis(2)).await;
    }
    open(service, &by.other()).await;
    let mut seen = Vec::new();
    let mut request = ListSessionsRequest {
        page_size: 2,
        ..ListSessionsRequest::default()
    };
    let mut pages = 0;
    loop {
        let (page, next) = list(service, &by, request.clone()).await.unwrap();
        seen.extend(page.into_iter().map(|session| session.handle));
        pages += 1;
        request.page_token = next;
        if request.page_token.is_empty() {
            break;
        }
        let foreign = list(service, &by.other(), request.clone()).await;
        refused(
            foreign,
            Code::InvalidArgument,
            ErrorReason::InvalidPageToken,
        );
    }
    let newest_first: Vec<String> = made.iter().rev().map(|(s, _)| s.handle.clone()).collect();
    assert_eq!((seen, pages), (newest_first, 3));
    let negative = ListSessionsRequest {
        page_size: -1,
        ..ListSessionsRequest::default()
    };
    let refusal = list(service, &by, negative).await;
    refused(refusal, Code::InvalidArgument, ErrorReason::InvalidField);
    // one
    delete(service, &by, &made[0].0.handle).await.unwrap();
    gone(delete(service, &by, &made[0].0.handle).await);
    gone(get(service, &by, &made[0].1).await);
    refused(
        resolve(service, &made[0].1).await,
        Code::Unauthenticated,
        ErrorReason::SessionEnded,
    );
    // all but one
    assert_eq!(revoke(service, &by, &made[4].0.handle).await, 3);
    get(service, &by, &made[4].1).await.unwrap();
    for (_, id) in &made[1..4] {
        gone(get(service, &by, id).await);
    }
    // all
    assert_eq!(revoke(service, &by, "").await, 1);
    assert_eq!(revoke(service, &by, "").await, 0);
    gone(get(service, &by, &made[4].1).await);
}

pub(crate) async fn a_revocation_misses_no_racing_session(service: &Arc<impl SessionService>) {
    let by = By::somebody();
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (service, by) = (Arc::clone(service), by.clone());
        racers.spawn(async move { open(&*service, &by).await });
    }
    let mut revoked = revoke(&**service, &by, "").await;
    revoked += revoke(&**service, &by, "").await;
    let made = racers.join_all().await;
    // each is either ended or listed, and listed means live
    let left = all(&**service, &by).await;
    let expected = i64::try_from(RACERS).unwrap();
    assert_eq!(revoked + i64::try_from(left.len()).unwrap(), expected);
    let mut live = 0;
    for (_, id) in &made {
        live += usize::from(get(&**service, &by, id).await.is_ok());
    }
    assert_eq!(live, left.len());
}

pub(crate) async fn a_sweep_counts_what_it_removes(service: &impl SessionService) {
    let (by, other) = (By::somebody(), By::somebody());
    let short = Some(BRIEF);
    for by in [&by, &by.other(), &by.other(), &other] {
        create(service, by, Session::default(), short)
            .await
            .unwrap();
        open(service, by).await;
    }
    assert_eq!(sweep(service, &by).await, 0);
    sleep(BRIEF).await;
    assert_eq!(sweep(service, &by).await, 3);
    assert_eq!(sweep(service, &by).await, 0);
    // another tenant's are none of its business
    assert_eq!(sweep(service, &other).await, 1);
    assert_eq!(all(service, &by).await.len(), 1);
}

pub(crate) async fn a_session_too_many_ends_the_one_longest_without_use(
    service: &impl SessionService,
) {
    let by = By::somebody();
    let mut ids = Vec::new();
    for _ in 0..MOST {
        ids.push(open(service, &by).await.1);
        sleep(Duration::from_millis(2)).await;
    }
    get(service, &by, &ids[0]).await.unwrap();
    let (_, newest) = open(service, &by).await;
    gone(get(service, &by, &ids[1]).await);
    for id in [&ids[0], &ids[2], &newest] {
        get(service, &by, id).await.unwrap();
    }
    assert_eq!(all(service, &by).await.len(), MOST);
}

pub(crate) async fn nobody_reaches_beyond_itself(service: &impl SessionService) {
    let by = By::somebody();
    let (made, id) = open(service, &by).await;
    let change = Session {
        handle: made.handle.clone(),
        email: "mallory@example.com".to_owned(),
        ..Session::default()
    };
    // another tenant, however mighty: there is no such session
    let stranger = By::somebody().with_scopes("admin");
    gone(get(service, &stranger, &id).await);
    gone(update(service, &stranger, change.clone(), None).await);
    gone(delete(service, &stranger, &made.handle).await);
    let of_user = ListSessionsRequest {
        user_id: by.0.subject.clone(),
        ..ListSessionsRequest::default()
    };
    let shown = list(service, &stranger, of_user.clone()).await.unwrap();
    assert_eq!(shown.0, []);
    // another user of the tenant
    let scope = ErrorReason::ScopeMissing;
    let other = by.other();
    refused(
        list(service, &other, of_user.clone()).await,
        Code::PermissionDenied,
        scope,
    );
    refused(
        delete(service, &other, &made.handle).await,
        Code::PermissionDenied,
        scope,
    );
    let refusal = update(service, &other, change, None).await;
    refused(refusal, Code::PermissionDenied, scope);
    let as_other = Session {
        user_id: by.0.subject.clone(),
        ..Session::default()
    };
    let refusal = create(service, &other, as_other.clone(), None).await;
    refused(refusal, Code::PermissionDenied, scope);
    // an admin of the tenant
    let admin = by.other().with_scopes("admin");
    create(service, &admin, as_other, None).await.unwrap();
    assert_eq!(list(service, &admin, of_user).await.unwrap().0.len(), 2);
    delete(service, &admin, &made.handle).await.unwrap();
    gone(get(service, &by, &id).await);
    // nobody logs in without a key, or to more than it may do
    let keyless = by.clone().named("alice");
    let refusal = create(service, &keyless, Session::default(), None).await;
    refused(
        refusal,
        Code::PermissionDenied,
        ErrorReason::PermissionDenied,
    );
    let more = Session {
        scopes: vec![Scope::Admin as i32],
        ..Session::default()
    };
    let refusal = create(service, &by, more, None).await;
    refused(refusal, Code::InvalidArgument, ErrorReason::InvalidField);
    let less = Session {
        scopes: vec![Scope::Read as i32],
        ..Session::default()
    };
    let (made, _) = create(service, &by, less, None).await.unwrap();
    assert_eq!(made.scopes, [Scope::Read as i32]);
}

pub(crate) async fn what_is_forged_or_too_large_is_refused(service: &impl SessionService) {
    let by = By::somebody();
    let forged = SessionId::generate().reveal();
    gone(get(service, &by, &forged).await);
    let ended = resolve(service, &forged).await;
    refused(ended, Code::Unauthenticated, ErrorReason::SessionEnded);
    for wrong in [&[][..], &[0; 31], &[0; 33]] {
        let session_sha256 = wrong.to_vec().into();
        let request = by.asks(ResolveSessionRequest { session_sha256 });
        let ended = service.resolve_session(request).await;
        refused(ended, Code::Unauthenticated, ErrorReason::SessionEnded);
    }
    let invalid = ErrorReason::InvalidField;
    for wrong in ["", "abc", &forged.to_uppercase(), &format!("{forged}0")] {
        refused(
            get(service, &by, wrong).await,
            Code::InvalidArgument,
            invalid,
        );
    }
    // a handle opens nothing
    let (made, _) = open(service, &by).await;
    refused(
        get(service, &by, &made.handle).await,
        Code::InvalidArgument,
        invalid,
    );
    let long = "x".repeat(5000);
    let too_many = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
    for wrong in [
        Session {
            email: long.clone(),
            ..Session::default()
        },
        Session {
            external_user_id: long.clone(),
            ..Session::default()
        },
        Session {
            subscription_tier: "a\nb".to_owned(),
            ..Session::default()
        },
        Session {
            user_id: "x".repeat(129),
            ..Session::default()
        },
        Session {
            metadata: pairs([("k", &long)]),
            ..Session::default()
        },
        Session {
            metadata: pairs([("K", "v")]),
            ..Session::default()
        },
        Session {
            metadata: pairs([("", "v")]),
            ..Session::default()
        },
        Session {
            metadata: too_many,
            ..Session::default()
        },
        Session {
            scopes: vec![9],
            ..Session::default()
        },
    ] {
        refused(
            create(service, &by, wrong, None).await,
            Code::InvalidArgument,
            invalid,
        );
    }
    let zero = create(service, &by, Session::default(), Some(Duration::ZERO)).await;
    refused(zero, Code::InvalidArgument, invalid);
    // longer than may be is cut
    let week = Some(Duration::from_secs(7 * 24 * 3600));
    let (made, _) = create(service, &by, Session::default(), week)
        .await
        .unwrap();
    let time = |time: Option<_>| micros(time.as_ref().unwrap());
    let life = time(made.expire_time) - time(made.create_time);
    assert_eq!(life, 24 * 3600 * 1_000_000);
}
