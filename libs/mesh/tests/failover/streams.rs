//! Streams of answers: made elsewhere before their first message, never after it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Code;

use crate::fleet::{BETWEEN, Fleet, LISTED};

#[tokio::test]
async fn a_stream_that_has_not_begun_is_made_elsewhere() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    fleet.replicas[0].conduct.fail(Code::Unavailable, 100);
    for _ in 0..8 {
        let (numbers, end) = fleet.list().await;
        end.unwrap();
        assert_eq!(numbers, [1; LISTED]);
    }
}

#[tokio::test]
async fn a_stream_whose_server_stops_before_its_first_message_is_made_elsewhere() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    let conduct = &fleet.replicas[0].conduct;
    conduct.delay_ms.store(60_000, Ordering::SeqCst);
    let before = conduct.calls();
    let lists = futures::future::join_all((0..8).map(|_| fleet.list()));
    let stop = async {
        while conduct.calls() == before {
            tokio::time::sleep(BETWEEN / 10).await;
        }
        fleet.replicas[0].freeze(Duration::from_secs(5));
    };
    let (lists, ()) = tokio::join!(lists, stop);
    for (numbers, end) in lists {
        end.unwrap();
        assert_eq!(numbers, [1; LISTED]);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_and_repeats_nothing() {
    let mut fleet = Fleet::start(1).await;
    fleet.warm_up().await;
    let mut dies = std::mem::take(&mut fleet.replicas);
    let die = async {
        tokio::time::sleep(BETWEEN * 4).await;
        tokio::task::spawn_blocking(move || dies[0].kill())
            .await
            .unwrap();
    };
    let ((numbers, end), ()) = tokio::join!(fleet.list(), die);
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    assert!((1..LISTED).contains(&numbers.len()), "{numbers:?}");
}
