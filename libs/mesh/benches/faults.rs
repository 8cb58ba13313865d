//! The fault table: one of two or three servers in trouble under 500 calls a second (17 of 20 are reads,
//! two writes, one an upload), through the stack of this crate and through
//! `tonic::transport::Channel::balance_list`, which a user would take instead.
//!
//! `make e2e-mesh` prints it, and fails if the stack of this crate misses a bar. The rows of some faults
//! alone: `cargo bench --workspace --bench faults -- "+2 s"`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Code;
use tonic::transport::{Channel, Endpoint};

#[path = "../tests/failover/fleet.rs"]
mod fleet;

use fleet::{Fleet, Kind, Outcome, p99};
use mediamesh_mesh::policy::defaults;

const RATE: u32 = 500;
const BEFORE: Duration = Duration::from_millis(1500);
const DURING: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_millis(3500);
/// A span in which a server's share is looked at.
const SPAN: Duration = Duration::from_millis(250);

// The bars.
/// Share of reads that may fail when a server errs or is slow; none may when it dies, stops or is rolled.
const FAILED: f64 = 0.001;
const EVEN_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Stop,
    Errors(Code, u64),
    /// Two seconds more, but for so many of a hundred calls.
    Slow(u64),
    Roll,
}

impl Fault {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Kill, "kill -9"),
        (Self::Stop, "stopped (as SIGSTOP)"),
        (Self::Errors(Code::Unavailable, 100), "100 % UNAVAILABLE"),
        (Self::Errors(Code::Unavailable, 50), "50 % UNAVAILABLE"),
        (Self::Errors(Code::Internal, 100), "100 % INTERNAL"),
        (Self::Errors(Code::Internal, 50), "50 % INTERNAL"),
        (Self::Slow(0), "+2 s"),
        (Self::Slow(50), "+2 s for half of its calls"),
        (Self::Roll, "roll of all, one by one"),
    ];

    /// Time in which a server in trouble is found, and what a call that finds it waits until it is repeated.
    fn detection(self) -> Duration {
        let found = match self {
            // nothing says so but silence
            Self::Stop => {
                defaults::CLIENT.connection.silence + defaults::CLIENT.connection.probe_timeout
            }
            // the end of a connection, an error or a GOAWAY is news at once; of those that wait for a slow
            // server there are fewer than one in a hundred
            Self::Kill | Self::Errors(..) | Self::Slow(_) | Self::Roll => Duration::ZERO,
        };
        found + defaults::RETRY.initial_backoff
    }

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
            Self::Errors(code, percent) => {
                sick.conduct.fail(code, percent);
                tokio::time::sleep(DURING).await;
                sick.conduct.fail(Code::Ok, 0);
            }
            Self::Slow(spared) => {
                sick.conduct.spared.store(spared, Ordering::SeqCst);
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

struct Measured {
    reads: usize,
    failed: usize,
    others: usize,
    others_failed: usize,
    p99_before: Duration,
    p99_during: Duration,
    even_again: Option<Duration>,
}

impl Measured {
    /// The bars that are missed.
    fn misses(&self, fault: Fault) -> Vec<&'static str> {
        let allowed = match fault {
            Fault::Errors(..) | Fault::Slow(_) => FAILED,
            Fault::Kill | Fault::Stop | Fault::Roll => 0.0,
        };
        [
            (self.failed as f64 > self.reads as f64 * allowed, "failed"),
            // who is told to go ends what it began: nothing is lost by it, of no kind
            (
                matches!(fault, Fault::Roll) && self.others_failed > 0,
                "writes, uploads failed",
            ),
            (
                self.p99_during > self.p99_before * 2 + fault.detection(),
                "p99",
            ),
            (
                self.even_again.is_none_or(|after| after > EVEN_AGAIN),
                "even again",
            ),
        ]
        .into_iter()
        .filter_map(|(missed, bar)| missed.then_some(bar))
        .collect()
    }
}

async fn measure(fault: Fault, servers: usize, ours: bool) -> Measured {
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
    let count = |read: bool, failed: bool| {
        outcomes
            .iter()
            .filter(|one| (one.kind == Kind::Read) == read && (!failed || one.result.is_err()))
            .count()
    };
    Measured {
        reads: count(true, false),
        failed: count(true, true),
        others: count(false, false),
        others_failed: count(false, true),
        p99_before: p99(&outcomes, Duration::ZERO, BEFORE),
        p99_during: p99(&outcomes, BEFORE, BEFORE + DURING),
        even_again: even_again(&outcomes, servers),
    }
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only asks whether it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return std::process::ExitCode::SUCCESS;
    }
    let wanted = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!(
        "| fault | servers | client | reads failed | writes, uploads failed | p99 before, ms | \
         p99 during, ms | even again, s |\n|---|---|---|---|---|---|---|---|"
    );
    let mut missed = Vec::new();
    let named = |(_, name): &(Fault, &str)| wanted.is_none_or(|wanted| name.contains(&**wanted));
    for (fault, name) in Fault::ALL.into_iter().filter(named) {
        for servers in [2, 3] {
            for ours in [true, false] {
                let measured = runtime.block_on(measure(fault, servers, ours));
                let client = if ours { "mediamesh" } else { "balance_list" };
                let Measured {
                    reads,
                    failed,
                    others,
                    others_failed,
                    p99_before,
                    p99_during,
                    even_again,
                } = measured;
                let even_again = even_again.map_or("not in 3 s".to_owned(), |after| {
                    format!("{:.2}", after.as_secs_f64())
                });
                println!(
                    "| {name} | {servers} | {client} | {failed} of {reads} | {others_failed} of \
                     {others} | {:.1} | {:.1} | {even_again} |",
                    p99_before.as_secs_f64() * 1e3,
                    p99_during.as_secs_f64() * 1e3,
                );
                if ours {
                    let misses = measured.misses(fault).into_iter();
                    missed.extend(misses.map(|bar| format!("{name}, {servers} servers: {bar}")));
                }
            }
        }
    }
    if missed.is_empty() {
        return std::process::ExitCode::SUCCESS;
    }
    println!("\nmissed: {}", missed.join("; "));
    std::process::ExitCode::FAILURE
}
