//! Three times the calls that a service can serve, over loopback TCP and in real time: how many it goes
//! on serving, how long people wait, and who is refused.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

#[path = "../tests/stack/echo.rs"]
mod echo;
#[path = "../tests/stack/load.rs"]
mod load;
#[path = "../tests/stack/mesh.rs"]
mod mesh;

use load::{CAPACITY, SERVERS, overload};
use mesh::{Via, start};

async fn run() {
    println!(
        "capacity: {CAPACITY} calls/s\n\n\
         | interactive, x capacity | background, x capacity | goodput | interactive: served, p99 | \
         background: served |\n|---|---|---|---|---|"
    );
    for (interactive, background) in [(0.9, 0.0), (3.0, 0.0), (0.5, 2.5), (1.5, 1.5)] {
        let mesh = start(Via::Tcp).await;
        mesh.echo.gate.add_permits(SERVERS);
        let ([mut people, bulk], goodput) = overload(&mesh, interactive, background).await;
        let served = |of: &load::Fared| match of.served + of.refused {
            0 => "-".to_owned(),
            _ => format!("{:.1} %", of.share_served() * 100.0),
        };
        println!(
            "| {interactive} | {background} | {:.1} % | {}, {} ms | {} |",
            goodput * 100.0,
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
