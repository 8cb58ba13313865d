//! What callers may rely on; every test runs both ways.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mediamesh_mesh::{LOCAL_TENANT_ID, ServiceName};
use mediamesh_proto::ErrorReason;
use mediamesh_proto::status::reason_of;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::echo::{Answer, Ask, call, stream};
use crate::mesh::{BOTH, Via, eventually, limits, start, start_with};

/// A message of more than one write may wait some 40 ms for the delayed ACK of its peer. The sockets' own
/// option against that, `TCP_NODELAY`, is looked at where they are made.
#[tokio::test]
async fn no_message_waits_for_a_delayed_ack_whichever_way_it_goes() {
    for via in BOTH {
        let mesh = start(via).await;
        for kilobytes in [2, 20] {
            let padding = format!("pad {}", "x".repeat(kilobytes * 1024));
            let reply = median(async || mesh.call("bytes", kilobytes as u64 * 1024).await).await;
            let request = median(async || mesh.call(&padding, 0).await).await;
            for (way, median) in [("reply", reply), ("request", request)] {
                assert!(
                    median < Duration::from_millis(20),
                    "{via:?}: the median {way} of {kilobytes} KB takes {median:?}"
                );
            }
        }
    }
}

async fn median(call: impl AsyncFn() -> Result<Answer, Status>) -> Duration {
    let mut times = vec![];
    for _ in 0..31 {
        let started = Instant::now();
        call().await.unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn the_handler_knows_who_calls() {
    for via in BOTH {
        let answer = start(via).await.call("tenant", 0).await.unwrap();
        assert_eq!(answer.text, LOCAL_TENANT_ID.to_string());
    }
}

#[tokio::test]
async fn the_deadline_shrinks_by_hop() {
    for via in BOTH {
        let mesh = start(via).await;
        let limit = Duration::from_millis(2_000);
        // Each of three hops spends 20 ms and passes on what is left.
        let left = mesh.call_within("hop", 3, limit).await.unwrap().number;
        assert!(
            left <= 2_000 - 60,
            "{via:?}: {left} ms left after three hops of 20 ms"
        );
        assert!(left > 500, "{via:?}: {left} ms left of 2 s");
        // With no timeout of its own the caller gets the method's default: 30 s.
        let left = mesh.call("deadline", 0).await.unwrap().number;
        assert!((25_000..=30_000).contains(&left), "{via:?}: {left} ms");
    }
}

#[tokio::test]
async fn a_passed_deadline_answers_in_time_and_drops_the_handler() {
    for via in BOTH {
        let mesh = start(via).await;
        mesh.call("tenant", 0).await.unwrap();
        let dropped = mesh.echo.dropped.load(Ordering::SeqCst);
        let started = Instant::now();
        let status = mesh
            .call_within("sleep", 5_000, Duration::from_millis(100))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{via:?}: {status:?}");
        assert_eq!(
            reason_of(&status),
            Some(ErrorReason::DeadlineExceeded),
            "{via:?}"
        );
        assert!(started.elapsed() < Duration::from_millis(1_000), "{via:?}");
        eventually("the handler is dropped", || {
            mesh.echo.dropped.load(Ordering::SeqCst) == dropped + 1
        })
        .await;
        let status = mesh
            .call_within("tenant", 0, Duration::ZERO)
            .await
            .unwrap_err();
        assert_eq!(
            status.code(),
            Code::DeadlineExceeded,
            "{via:?}: no time means no call"
        );
        assert_eq!(mesh.echo.dropped.load(Ordering::SeqCst), dropped + 1);
    }
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_too() {
    for via in BOTH {
        let mesh = start(via).await;
        let limit = Some(Duration::from_millis(150));
        let (texts, end) = stream(mesh.channel.clone(), "endless", limit).await;
        assert_eq!(texts, ["first"], "{via:?}");
        assert_eq!(end.unwrap_err().code(), Code::DeadlineExceeded, "{via:?}");
        eventually("the stream is dropped", || {
            mesh.echo.running.load(Ordering::SeqCst) == 0
        })
        .await;
        let (texts, end) = stream(mesh.channel.clone(), "short", None).await;
        assert_eq!(texts, ["first", "last"], "{via:?}");
        end.unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_call_along() {
    for via in BOTH {
        let mesh = start(via).await;
        let waiting = call(
            mesh.channel.clone(),
            Ask {
                what: "wait".into(),
                number: 0,
            },
            None,
        );
        let given_up = tokio::time::timeout(Duration::from_millis(100), waiting).await;
        assert!(given_up.is_err());
        eventually("the handler is dropped", || {
            mesh.echo.dropped.load(Ordering::SeqCst) == 1
        })
        .await;
        let counted = r#"code="CANCELLED""#;
        eventually("it counts as cancelled", || {
            mesh.metrics.encode().matches(counted).count() >= 2
        })
        .await;
    }
}

#[tokio::test]
async fn a_panic_becomes_internal_and_tells_nothing() {
    for via in BOTH {
        let mesh = start(via).await;
        for what in ["panic", "leak"] {
            let status = mesh.call(what, 0).await.unwrap_err();
            let (_, end) = stream(mesh.channel.clone(), what, None).await;
            for status in [status, end.unwrap_err()] {
                assert_eq!(status.code(), Code::Internal, "{via:?} {what}: {status:?}");
                assert_eq!(
                    reason_of(&status),
                    Some(ErrorReason::Internal),
                    "{via:?} {what}"
                );
                assert!(
                    status.get_details_request_info().is_some(),
                    "{via:?} {what}"
                );
                assert!(
                    !format!("{status:?}").contains("secret"),
                    "{via:?} {what}: {status:?}"
                );
            }
        }
        mesh.call("tenant", 0).await.expect("the server goes on");
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_are_shed_and_the_rest_are_served() {
    for via in BOTH {
        let mesh = start_with(via, limits(2, 3)).await;
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let ask = Ask {
                    what: "wait".into(),
                    number: 0,
                };
                tokio::spawn(call(mesh.channel.clone(), ask, None))
            })
            .collect();
        eventually("two calls run", || {
            mesh.echo.running.load(Ordering::SeqCst) == 2
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let status = mesh.call("tenant", 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{via:?}: {status:?}");
        assert_eq!(reason_of(&status), Some(ErrorReason::LoadShed), "{via:?}");
        let retry = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        assert!(retry.is_some_and(|delay| delay > Duration::ZERO), "{via:?}");
        assert_eq!(
            mesh.echo.peak.load(Ordering::SeqCst),
            2,
            "{via:?}: the third waits"
        );
        mesh.echo.gate.add_permits(3);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        mesh.call("tenant", 0).await.expect("places are given back");
    }
}

#[tokio::test]
async fn a_stream_keeps_its_place_until_it_is_read_and_no_other_call_from_theirs() {
    for via in BOTH {
        let mut options = limits(1, 1);
        let media = options.services.get_mut(&ServiceName::Media).unwrap();
        media.max_streams = Some(1);
        let mesh = start_with(via, options).await;
        let endless = tokio::spawn({
            let channel = mesh.channel.clone();
            async move { stream(channel, "endless", None).await }
        });
        eventually("the stream runs", || {
            mesh.echo.running.load(Ordering::SeqCst) == 1
        })
        .await;
        let channel = mesh.channel.clone();
        let status = stream(channel, "endless", None).await.1.unwrap_err();
        assert_eq!(reason_of(&status), Some(ErrorReason::LoadShed), "{via:?}");
        mesh.call("tenant", 0).await.unwrap();
        endless.abort();
        eventually("its place is free", || {
            mesh.echo.running.load(Ordering::SeqCst) == 0
        })
        .await;
        mesh.call("tenant", 0).await.unwrap();
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let mesh = start(Via::Local).await;
    let status = call(
        mesh.registry.channel(ServiceName::Search),
        Ask {
            what: "tenant".into(),
            number: 0,
        },
        None,
    )
    .await
    .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("search "),
        "{}",
        status.message()
    );
    mesh.registry.close();
    let status = mesh.call("tenant", 0).await.unwrap_err();
    assert!(
        status.message().starts_with("media "),
        "{}",
        status.message()
    );
    let nobody = mediamesh_mesh::client::connect("http://127.0.0.1:1", Default::default()).unwrap();
    let status = call(nobody, Ask::default(), None).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status), Some(ErrorReason::DependencyDown));
    assert!(mediamesh_mesh::client::connect("not an endpoint", Default::default()).is_err());
}

#[tokio::test]
async fn both_sides_count_and_strangers_make_no_series() {
    for via in BOTH {
        let mesh = start(via).await;
        mesh.call("tenant", 0).await.unwrap();
        mesh.call("nonsense", 0).await.unwrap_err();
        for side in ["client", "server"] {
            for code in ["OK", "INVALID_ARGUMENT"] {
                let series = format!(
                    r#"mediamesh_rpc_duration_seconds_count{{service="mediamesh.media.v1.Echo",method="Call",side="{side}",code="{code}"}} 1"#
                );
                let text = mesh.metrics.encode();
                assert!(
                    text.contains(&series),
                    "{via:?}: {series} is not in\n{text}"
                );
            }
        }
        let mut stranger = tonic::client::Grpc::new(mesh.channel.clone());
        stranger.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/made.up.Service/Method");
        let codec = tonic_prost::ProstCodec::<Ask, Ask>::default();
        let status = stranger
            .unary(tonic::Request::new(Ask::default()), path, codec)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{via:?}");
        let text = mesh.metrics.encode();
        let series = r#"{service="unknown",method="unknown",side="server",code="UNIMPLEMENTED"} 1"#;
        assert!(text.contains(series), "{via:?}\n{text}");
    }
}
