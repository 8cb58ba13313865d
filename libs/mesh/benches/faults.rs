//! The fault table: one of two or three servers in trouble under 500 reads a second, through the
//! stack of this crate and through `tonic::transport::Channel::balance_list`, which a user would take
//! instead. `make e2e-mesh` prints it.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Code;
use tonic::transport::{Channel, Endpoint};

#[path = "../tests/failover/fleet.rs"]
mod fleet;

use fleet::{Fleet, Outcome};

const RATE: u32 = 500;
const BEFORE: Duration = Duration::from_millis(1500);
const DURING: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_millis(3500);
/// A span in which a server's share is looked at.
const SPAN: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    AllErrors,
    HalfErrors,
    Slow,
    Roll,
}

impl Fault {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Kill, "kill -9"),
        (Self::Stop, "stopped (as SIGSTOP)"),
        (Self::AllErrors, "100 % UNAVAILABLE"),
        (Self::HalfErrors, "50 % UNAVAILABLE"),
        (Self::Slow, "+2 s"),
        (Self::Roll, "roll of all, one by one"),
    ];

    async fn run(self, fleet: &mut Fleet) {
        let sick = &mut fleet.replicas[0];
        match self {
            Self::Kill => {
                sick.kill();
                tokio::time::sleep(DURING).await;
                sick.restart();
            }
            Self::Stop => {
                sick.freeze(DURING);
                tokio::time::sleep(DURING).await;
            }
            Self::AllErrors | Self::HalfErrors => {
                let percent = if matches!(self, Self::AllErrors) {
                    100
                } else {
                    50
                };
                sick.conduct.fail(Code::Unavailable, percent);
                tokio::time::sleep(DURING).await;
                sick.conduct.fail(Code::Ok, 0);
            }
            Self::Slow => {
                sick.conduct.delay_ms.store(2000, Ordering::SeqCst);
                tokio::time::sleep(DURING).await;
                sick.conduct.delay_ms.store(0, Ordering::SeqCst);
            }
            Self::Roll => {
                let each = DURING / fleet.replicas.len() as u32;
                for replica in &mut fleet.replicas {
                    replica.drain().await;
                    tokio::time::sleep(each / 3).await;
                    replica.restart();
                    tokio::time::sleep(each * 2 / 3).await;
                }
            }
        }
    }
}

fn p99(outcomes: &[Outcome], from: Duration, until: Duration) -> Duration {
    let within = |one: &&Outcome| (from..until).contains(&one.sent);
    let mut took: Vec<_> = outcomes.iter().filter(within).map(|one| one.took).collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// When every server had at least two thirds of its even share, counted from the end of the fault: the end
/// of the first span in which it had.
fn even_again(outcomes: &[Outcome], servers: usize) -> Option<Duration> {
    let end = BEFORE + DURING;
    (0..12)
        .map(|at| SPAN * at)
        .find(|from| {
            let span = end + *from..end + *from + SPAN;
            let answered = || {
                outcomes
                    .iter()
                    .filter(|one| span.contains(&one.sent))
                    .filter_map(|one| one.result.as_ref().ok())
            };
            (0..servers as u64).all(|one| {
                let own = answered().filter(|server| **server == one).count();
                own * servers * 3 >= answered().count() * 2 && own > 0
            })
        })
        .map(|from| from + SPAN)
}

async fn measure(fault: Fault, servers: usize, ours: bool) -> (usize, usize, String) {
    let mut fleet = Fleet::start(servers).await;
    fleet.warm_up().await;
    let lasts = BEFORE + DURING + AFTER;
    let running = match ours {
        true => fleet.load(RATE, lasts),
        false => {
            let endpoints = fleet.replicas.iter().map(|replica| {
                Endpoint::from_shared(format!("http://{}", replica.address))
                    .unwrap()
                    .tcp_nodelay(true)
            });
            fleet::load(Channel::balance_list(endpoints), RATE, lasts)
        }
    };
    tokio::time::sleep(BEFORE).await;
    fault.run(&mut fleet).await;
    let outcomes = running.await.unwrap();
    let failed = outcomes.iter().filter(|one| one.result.is_err()).count();
    let row = format!(
        "{:.1} | {:.1} | {}",
        p99(&outcomes, Duration::ZERO, BEFORE).as_secs_f64() * 1e3,
        p99(&outcomes, BEFORE, BEFORE + DURING).as_secs_f64() * 1e3,
        even_again(&outcomes, servers).map_or("not in 3 s".to_owned(), |after| format!(
            "{:.2}",
            after.as_secs_f64()
        )),
    );
    (outcomes.len(), failed, row)
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!(
        "| fault | servers | client | reads | failed | p99 before, ms | p99 during, ms | even again, s |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for (fault, name) in Fault::ALL {
        for servers in [2, 3] {
            for ours in [true, false] {
                let (reads, failed, row) = runtime.block_on(measure(fault, servers, ours));
                let client = if ours { "mediamesh" } else { "balance_list" };
                println!("| {name} | {servers} | {client} | {reads} | {failed} | {row} |");
            }
        }
    }
}
