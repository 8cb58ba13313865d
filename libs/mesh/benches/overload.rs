//! Three times the calls that a service can serve, over loopback TCP and in real time: how many it goes
//! on serving, how long people wait, and who is refused.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

#[path = "../tests/stack/echo.rs"]
mod echo;
#[path = "../tests/stack/load.rs"]
mod load;
#[path = "../tests/stack/mesh.rs"]
mod mesh;

use std::time::Duration;

use echo::call;
use load::{CAPACITY, SERVERS, overload, work};
use mesh::{Via, start};
use tokio::time::Instant;

/// Calls a second with as many callers as the service has servers: timers are a millisecond wide, so
/// its true capacity is a little below the one in theory.
async fn peak() -> f64 {
    let mesh = start(Via::Tcp).await;
    mesh.echo.gate.add_permits(SERVERS);
    let (started, lasts) = (Instant::now(), Duration::from_secs(3));
    let callers = (0..SERVERS).map(|_| {
        let channel = mesh.channel.clone();
        async move {
            let mut answered = 0.0;
            while started.elapsed() < lasts {
                call(channel.clone(), work(), None).await.unwrap();
                answered += 1.0;
            }
            answered
        }
    });
    let answered: Vec<f64> = futures::future::join_all(callers).await;
    answered.iter().sum::<f64>() / started.elapsed().as_secs_f64()
}

async fn run() {
    let peak = peak().await;
    println!(
        "peak: {peak:.0} calls/s\n\n\
         | interactive, x peak | background, x peak | goodput, of the peak | interactive: served, p99 | \
         background: served |\n|---|---|---|---|---|"
    );
    for (interactive, background) in [(0.9, 0.0), (3.0, 0.0), (0.5, 2.5), (1.5, 1.5)] {
        let mesh = start(Via::Tcp).await;
        mesh.echo.gate.add_permits(SERVERS);
        let to_rate = peak / CAPACITY;
        let ([mut people, bulk], goodput) =
            overload(&mesh, interactive * to_rate, background * to_rate).await;
        let served = |of: &load::Fared| match of.served + of.refused {
            0 => "-".to_owned(),
            _ => format!("{:.1} %", of.share_served() * 100.0),
        };
        println!(
            "| {interactive} | {background} | {:.1} % | {}, {} ms | {} |",
            goodput / to_rate * 100.0,
            served(&people),
            people.p99(),
            served(&bulk),
        );
    }
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}
