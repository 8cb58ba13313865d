use std::ops::RangeInclusive;

use super::super::pool::Pool;
use super::super::script::pool;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A pool with one endpoint that cannot be connected to: the system refuses a broadcast address at once, so
/// that nothing but waiting takes time.
fn unreachable() -> (Arc<Pool>, Arc<Endpoint>) {
    let pool = pool();
    let broadcast = ([255, 255, 255, 255], 1).into();
    pool.set(&[Address::of_socket(broadcast, "test", false)]);
    let endpoint = Arc::clone(&pool.endpoints()[0]);
    (pool, endpoint)
}

/// The times between failures to connect within `lasts`; with `wanted`, calls ask for it all the time.
async fn waits(endpoint: &Endpoint, wanted: bool, lasts: Duration) -> Vec<Duration> {
    let (began, mut last, mut waits) = (Instant::now(), None, vec![]);
    let mut seen = endpoint.failures();
    while began.elapsed() < lasts {
        if wanted {
            endpoint.want();
        }
        tokio::time::sleep(MS).await;
        if endpoint.failures() > seen {
            assert_eq!(endpoint.failures(), seen + 1, "two attempts at once");
            seen += 1;
            let before: Option<Instant> = last.replace(Instant::now());
            waits.extend(before.map(|before| before.elapsed()));
        }
    }
    waits
}

/// Asserts that each wait is within its bounds, in milliseconds, and the last bounds hold for the rest. The
/// test looks once a millisecond, and a timer is a millisecond wide.
#[track_caller]
fn assert_waits(waits: &[Duration], bounds: &[RangeInclusive<u64>]) {
    let last = bounds.last().unwrap();
    for (at, wait) in waits.iter().enumerate() {
        let bound = bounds.get(at).unwrap_or(last);
        let allowed = MS * *bound.start() as u32 - MS..=MS * *bound.end() as u32 + 2 * MS;
        assert!(
            allowed.contains(wait),
            "wait {at} is {wait:?}, not {bound:?}: {waits:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_between_attempts_double_to_their_bound_and_half_of_each_is_drawn_by_lot() {
    fastrand::seed(1);
    let (_pool, endpoint) = unreachable();
    endpoint.want();
    let waits = waits(&endpoint, false, Duration::from_secs(20)).await;
    assert!(waits.len() > 40, "{}", waits.len());
    assert_waits(
        &waits,
        &[25..=50, 50..=100, 100..=200, 200..=400, 250..=500],
    );
    // Clients of one peer must not come back together.
    let drawn = &waits[5..];
    let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
    assert!(
        *least < 300 * MS && *most > 450 * MS,
        "{least:?} to {most:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_wanted_is_tried_after_a_quarter_and_never_stormed() {
    fastrand::seed(2);
    let (_pool, endpoint) = unreachable();
    let waits = waits(&endpoint, true, Duration::from_secs(10)).await;
    assert_waits(&waits, &[20..=20, 20..=25, 25..=50, 50..=100, 62..=125]);
    assert!(waits.len() > 70, "{}", waits.len());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_connected_to_before_a_call_wants_it_or_after_it_was_removed() {
    let (pool, endpoint) = unreachable();
    let none = waits(&endpoint, false, Duration::from_secs(60)).await;
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(endpoint.failures(), 0, "nobody wanted it");
    endpoint.want();
    waits(&endpoint, false, Duration::from_secs(1)).await;
    let before = endpoint.failures();
    assert!(before > 2, "{before}");
    pool.set(&[]);
    let none = waits(&endpoint, true, Duration::from_secs(60)).await;
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(endpoint.failures(), before);
}
