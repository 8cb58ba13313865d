//! More calls than a service can serve: it goes on serving as many as it can, people first.
//!
//! `load` makes the calls; in simulated time here, in real time and over TCP in the bench `overload`.

use std::time::Duration;

use mediamesh_mesh::policy::ServicePolicyOptions;
use mediamesh_mesh::{ServiceName, priority};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::direct::{self, serve};
use crate::echo::{Answer, Ask, call, stream};
use crate::load::{CAPACITY, MILLIS, SERVERS, assert_shed, overload};
use crate::mesh::{BOTH, Mesh, Via, limits, start, start_with};

async fn simulated() -> Mesh {
    let mesh = start(Via::Local).await;
    mesh.echo.gate.add_permits(SERVERS);
    mesh
}

#[tokio::test(start_paused = true)]
async fn at_three_times_the_capacity_goodput_stays() {
    let mesh = simulated().await;
    let ([mut people, _], goodput) = overload(&mesh, 3.0, 0.0).await;
    let p99 = people.p99();
    assert!(goodput >= 0.9, "goodput is {goodput:.2} of the capacity");
    assert!(p99 <= 350, "p99 is {p99} ms");
}

#[tokio::test(start_paused = true)]
async fn background_calls_are_shed_first() {
    let mesh = simulated().await;
    // People alone could be served well; bulk work alone is more than can be.
    let ([mut people, bulk], goodput) = overload(&mesh, 0.5, 2.5).await;
    let (p99, served) = (people.p99(), people.share_served());
    assert!(goodput >= 0.9, "goodput is {goodput:.2} of the capacity");
    assert!(
        served >= 0.999,
        "{served:.4} of the interactive calls served"
    );
    assert!(p99 <= 60, "p99 of the interactive calls is {p99} ms");
    assert!(bulk.served > 0 && bulk.refused > bulk.served);
}

#[tokio::test(start_paused = true)]
async fn when_people_alone_are_too_many_nothing_else_is_served() {
    let mesh = simulated().await;
    let ([mut people, bulk], goodput) = overload(&mesh, 1.5, 1.5).await;
    let p99 = people.p99();
    assert!(goodput >= 0.9, "goodput is {goodput:.2} of the capacity");
    assert!(p99 <= 350, "p99 is {p99} ms");
    assert!(people.share_served() >= 0.55, "{people:?}");
    assert!(bulk.share_served() <= 0.05, "{}", bulk.share_served());
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_served_whole() {
    let mesh = simulated().await;
    let mut calls = JoinSet::new();
    // Half a second of work at once.
    for _ in 0..(CAPACITY / 2.0) as usize {
        let ask = Ask {
            what: "work".into(),
            number: MILLIS,
        };
        calls.spawn(call(mesh.channel.clone(), ask, None));
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().expect("nobody is refused");
    }
}

#[tokio::test]
async fn over_tcp_goodput_stays_too() {
    // Few and slow calls: other tests keep the machine busy meanwhile.
    const SERVERS: usize = 4;
    const MILLIS: u64 = 100;
    const CAPACITY: f64 = SERVERS as f64 * 1000.0 / MILLIS as f64;
    let direct = serve(&Default::default()).await;
    direct.echo.gate.add_permits(SERVERS);
    // Calls at `rate`; returns how many were answered a second.
    let go = |rate: f64, time: Duration| {
        let channel = direct.channel.clone();
        async move {
            let started = Instant::now();
            let mut calls = JoinSet::new();
            for count in 0.. {
                let due = Duration::from_secs_f64(f64::from(count) / rate);
                if due >= time {
                    break;
                }
                tokio::time::sleep_until(started + due).await;
                let channel = channel.clone();
                calls.spawn(async move {
                    let result = direct::call(channel, "work", MILLIS, None).await;
                    (started.elapsed(), result)
                });
            }
            let mut served = 0;
            while let Some(done) = calls.join_next().await {
                match done.unwrap() {
                    (ended, Ok(Answer { .. })) => served += u32::from(ended < time),
                    (_, Err(status)) => assert_shed(&status),
                }
            }
            f64::from(served) / time.as_secs_f64()
        }
    };
    let peak = go(CAPACITY, Duration::from_secs(2)).await;
    let goodput = go(CAPACITY * 3.0, Duration::from_secs(4)).await;
    let loads = direct.routes.loads();
    let load = loads.iter().find(|load| load.service == "media").unwrap();
    assert!(load.refused > 0 && load.working == 0, "{load:?}");
    // The paused clock holds the bar of 0.9.
    let part = goodput / peak;
    assert!(part >= 0.75, "{goodput:.1}/s of {peak:.1}/s, {load:?}");
}

#[tokio::test]
async fn the_priority_goes_along() {
    for via in BOTH {
        let mesh = start(via).await;
        let asked = mesh.call("priority", 2).await.unwrap();
        assert_eq!(asked.text, "interactive", "{via:?}");
        let asked = priority::background(mesh.call("priority", 2))
            .await
            .unwrap();
        assert_eq!(asked.text, "background", "{via:?}: after two hops");
        let streamed = stream(mesh.channel.clone(), "priority", None);
        let (texts, _) = priority::background(streamed).await;
        assert_eq!(texts, ["first", "background"], "{via:?}: within a stream");
    }
}

#[tokio::test]
async fn a_long_stream_takes_no_place_from_other_calls() {
    for via in BOTH {
        let mut options = limits(8, 64);
        let media = options.services.entry(ServiceName::Media).or_default();
        *media = ServicePolicyOptions {
            min_running: Some(1),
            initial_running: Some(1),
            ..media.clone()
        };
        let mesh = start_with(via, options).await;
        let channel = mesh.channel.clone();
        let endless = tokio::spawn(async move { stream(channel, "endless", None).await });
        crate::mesh::eventually("the stream runs", || {
            mesh.echo.running.load(std::sync::atomic::Ordering::SeqCst) == 1
        })
        .await;
        mesh.call("tenant", 0)
            .await
            .expect("one call may work beside the stream");
        let text = mesh.metrics.encode();
        assert!(
            text.contains(r#"mediamesh_load_streaming_calls{service="media"} 1"#),
            "{via:?}\n{text}"
        );
        endless.abort();
    }
}
