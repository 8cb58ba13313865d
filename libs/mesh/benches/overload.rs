//! Three times the calls that a service can serve, over loopback TCP and in real time: how many it goes
//! on serving, how long people wait, and who is refused. Fails where a bar is missed.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

#[path = "../tests/stack/echo.rs"]
mod echo;
#[path = "../tests/stack/load.rs"]
mod load;
#[path = "../tests/stack/mesh.rs"]
mod mesh;

use std::process::ExitCode;
use std::time::Duration;

use echo::call;
use load::{CAPACITY, Fared, SERVERS, overload, work};
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

// The bars.
/// Of the peak, while three times as many calls come as can be served.
const GOODPUT: f64 = 0.9;
/// Longest that 99 of 100 people wait who are served: half of the longest wait for a turn.
const PEOPLE_P99: Duration = Duration::from_millis(500);
/// Share of people that must be served where there is room for all of them.
const PEOPLE_SERVED: f64 = 0.99;
/// Share of background calls that may be served where people alone are too many.
const BACKGROUND_SERVED: f64 = 0.05;

/// Calls that come, as multiples of the peak.
#[derive(Clone, Copy)]
struct Offered {
    interactive: f64,
    background: f64,
}

impl Offered {
    const ALL: [Self; 4] = [
        Self::new(0.9, 0.0),
        Self::new(3.0, 0.0),
        Self::new(0.5, 2.5),
        Self::new(1.5, 1.5),
    ];

    const fn new(interactive: f64, background: f64) -> Self {
        Self {
            interactive,
            background,
        }
    }

    /// The bars that are missed.
    fn misses(self, goodput: f64, people: &mut Fared, bulk: &Fared) -> Vec<&'static str> {
        let over = self.interactive + self.background >= 3.0;
        let room_for_people = self.interactive < 1.0;
        let mixed = self.background > 0.0;
        let p99 = Duration::from_millis(people.p99());
        [
            (over && goodput < GOODPUT, "goodput"),
            (p99 > PEOPLE_P99, "p99 of people"),
            (
                room_for_people && people.share_served() < PEOPLE_SERVED,
                "people refused",
            ),
            (
                mixed && !room_for_people && bulk.share_served() > BACKGROUND_SERVED,
                "background served before people",
            ),
            (
                mixed && bulk.share_served() >= people.share_served(),
                "background not shed first",
            ),
        ]
        .into_iter()
        .filter_map(|(missed, bar)| missed.then_some(bar))
        .collect()
    }
}

/// Prints the table; returns the bars that were missed.
async fn run() -> Vec<String> {
    let peak = peak().await;
    println!(
        "peak: {peak:.0} calls/s\n\n\
         | interactive, x peak | background, x peak | goodput, of the peak | interactive: served, p99 | \
         background: served | bars |\n|---|---|---|---|---|---|"
    );
    let mut missed = Vec::new();
    for offered in Offered::ALL {
        let Offered {
            interactive,
            background,
        } = offered;
        let mesh = start(Via::Tcp).await;
        mesh.echo.gate.add_permits(SERVERS);
        let to_rate = peak / CAPACITY;
        let ([mut people, bulk], goodput) =
            overload(&mesh, interactive * to_rate, background * to_rate).await;
        let goodput = goodput / to_rate;
        let served = |of: &Fared| match of.served + of.refused {
            0 => "-".to_owned(),
            _ => format!("{:.1} %", of.share_served() * 100.0),
        };
        let misses = offered.misses(goodput, &mut people, &bulk);
        println!(
            "| {interactive} | {background} | {:.1} % | {}, {} ms | {} | {} |",
            goodput * 100.0,
            served(&people),
            people.p99(),
            served(&bulk),
            match misses.is_empty() {
                true => "held",
                false => "missed",
            },
        );
        let named = |bar| format!("{interactive} and {background} x peak: {bar}");
        missed.extend(misses.into_iter().map(named));
    }
    missed
}

fn main() -> ExitCode {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let missed = tokio::runtime::Runtime::new().unwrap().block_on(run());
    if missed.is_empty() {
        println!("\nevery bar is held");
        return ExitCode::SUCCESS;
    }
    println!("\nmissed: {}", missed.join("; "));
    ExitCode::FAILURE
}
