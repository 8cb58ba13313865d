use uuid::Uuid;

use super::*;

const A: TenantId = TenantId(Uuid::from_u128(1));
const B: TenantId = TenantId(Uuid::from_u128(2));
const EMBED: JobKind = JobKind::EmbedMedia;
const PROCESS: JobKind = JobKind::ProcessMedia;

fn running(most: i64) -> Limit {
    Limit {
        running: Some(most),
        per_minute: None,
    }
}

fn starts(per_minute: i64) -> Limit {
    Limit {
        running: None,
        per_minute: Some(per_minute),
    }
}

#[test]
fn the_narrowest_bound_decides() {
    let limits = ClaimLimits {
        jobs: Limits {
            all: running(5),
            tenant: running(3),
        },
        kinds: vec![(
            EMBED,
            Limits {
                all: running(2),
                tenant: running(1),
            },
        )],
    };
    let mut ledger = Ledger::new(&limits, 0, [(A, PROCESS, 1)], []);
    assert_eq!((ledger.room(A, EMBED), ledger.room(A, PROCESS)), (1, 2));
    ledger.take(A, EMBED);
    assert_eq!((ledger.room(A, EMBED), ledger.room(A, PROCESS)), (0, 1));
    assert_eq!((ledger.room(B, EMBED), ledger.room(B, PROCESS)), (1, 3));
    ledger.take(B, PROCESS);
    ledger.take(B, PROCESS);
    assert_eq!((ledger.room(A, PROCESS), ledger.room(B, EMBED)), (1, 1));
    ledger.take(B, EMBED);
    assert_eq!((ledger.room(A, PROCESS), ledger.room(B, PROCESS)), (0, 0));
    let scopes: Vec<Scope> = ledger
        .reached(&[(A, EMBED, 4), (B, PROCESS, 1)])
        .iter()
        .map(|reached| reached.scope)
        .collect();
    let scope = |tenant, kind| Scope { tenant, kind };
    let expected = [
        scope(None, None),
        scope(None, Some(EMBED)),
        scope(Some(A), Some(EMBED)),
        scope(Some(B), None),
    ];
    assert_eq!(scopes, expected);
}

#[test]
fn a_bucket_holds_the_starts_of_a_second_and_refills_evenly() {
    let limits = ClaimLimits {
        jobs: Limits {
            all: starts(600),
            tenant: Limit::default(),
        },
        kinds: Vec::new(),
    };
    let mut full = Vec::new();
    let mut now = 1_000_000_000;
    let begin = now;
    let mut started = 0;
    while now < begin + MINUTE {
        let mut ledger = Ledger::new(&limits, now, [], full.iter().copied());
        let room = ledger.room(A, EMBED);
        assert!(room <= 10, "{room}");
        for _ in 0..room {
            ledger.take(A, EMBED);
        }
        started += room;
        full = ledger
            .drawn()
            .collect::<Vec<_>>()
            .into_iter()
            .chain(full)
            .collect();
        full.dedup_by_key(|(scope, _)| *scope);
        now += 70_000;
    }
    assert!((600..=610).contains(&started), "{started}");
    // an hour of rest saves up no more than a second's
    let later = Ledger::new(&limits, now + 60 * MINUTE, [], full.iter().copied());
    assert_eq!(later.room(A, EMBED), 10);
    // a clock that was far ahead closes it for nobody else
    let wrong = Scope {
        tenant: None,
        kind: None,
    };
    let ledger = Ledger::new(&limits, 0, [], [(wrong, i64::MAX)]);
    assert_eq!(ledger.room(A, EMBED), 10);
}

#[test]
fn one_a_minute_is_one_a_minute() {
    let limits = ClaimLimits {
        jobs: Limits {
            all: Limit::default(),
            tenant: starts(1),
        },
        kinds: Vec::new(),
    };
    let mut ledger = Ledger::new(&limits, 0, [], []);
    assert_eq!((ledger.room(A, EMBED), ledger.room(B, EMBED)), (1, 1));
    ledger.take(A, EMBED);
    assert_eq!((ledger.room(A, PROCESS), ledger.room(B, EMBED)), (0, 1));
    let full: Vec<_> = ledger.drawn().collect();
    let soon = Ledger::new(&limits, MINUTE - 1, [], full.clone());
    assert_eq!(soon.room(A, EMBED), 0);
    let later = Ledger::new(&limits, MINUTE, [], full);
    assert_eq!(later.room(A, EMBED), 1);
}

#[test]
fn places_go_to_who_has_least() {
    assert_eq!(deal(&[0, 0, 0], 4), [2, 1, 1]);
    assert_eq!(deal(&[3, 0], 2), [0, 2]);
    assert_eq!(deal(&[1, 0], 4), [2, 2]);
    assert_eq!(deal(&[], 4), Vec::<i64>::new());
    assert_eq!(deal(&[0], i64::MAX), [MAX_DEALT]);
}

#[test]
fn tenants_take_turns() {
    let turn = Turn::default();
    let mut tenants = [B, A];
    turn.order(&mut tenants);
    assert_eq!(tenants, [A, B]);
    turn.served(A);
    turn.order(&mut tenants);
    assert_eq!(tenants, [B, A]);
    turn.served(B);
    turn.order(&mut tenants);
    assert_eq!(tenants, [A, B]);
}
