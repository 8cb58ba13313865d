//! Keeps the connection of one endpoint, from the first call that wants it until it is removed.
//!
//! - **Connecting** ends with an answer of the peer to a health check, not with an accepted socket:
//!   the kernel accepts for a process that is stopped.
//! - **Failing** to connect is repeated with growing waits, after a quarter of them if a call has no
//!   other endpoint.
//! - **Connected**, the peer is asked for a sign of life each `health_interval`, and when it has calls in
//!   flight and said nothing for `silence`; without one within `probe_timeout` it is given up. This is
//!   the keep-alive of the connection.
//! - **Given up**, the connection is left to the calls on it that may not be repeated, until it has said
//!   nothing for `keep_alive_timeout` more. So is that of an endpoint that was **removed**.

use std::net::Shutdown;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::connector::{self, ConnectError, Connection, Sender, Sign};
use super::endpoint::{Endpoint, Live};
use crate::policy::ConnectionPolicy;
use crate::policy::defaults::WATCH_INTERVAL;

/// Least wait between two attempts to connect, however much it is wanted.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// Health checks in a row without an answer after which an idle connection is given up.
const MISSED: u32 = 2;

/// Why a connection is no longer used.
enum End {
    Closed,
    Silent,
    Removed,
}

pub(super) async fn keep(endpoint: Arc<Endpoint>) {
    tokio::select! {
        () = endpoint.wanted.notified() => {}
        () = endpoint.removed.cancelled() => return,
    }
    let mut failures = 0;
    loop {
        if failures == 0 {
            endpoint.connecting();
        }
        let connected = tokio::select! {
            connected = connect(&endpoint) => connected,
            () = endpoint.removed.cancelled() => return,
        };
        let error = match connected {
            Ok((connection, sign)) => {
                let began = Instant::now();
                let end = hold(&endpoint, connection, sign, failures).await;
                let lasted = began.elapsed() > endpoint.policy().max_backoff;
                // What was good says that the failures before it are over, however it ended.
                if lasted {
                    failures = 0;
                }
                match end {
                    End::Removed => return,
                    // What lasts can be had again at once; what does not is waited for.
                    End::Closed if lasted => continue,
                    End::Closed => "the connection was closed at once".to_owned(),
                    End::Silent => "no sign of life".to_owned(),
                }
            }
            Err(error) => text(&error),
        };
        failures += 1;
        if failures == 1 {
            tracing::warn!(
                service = endpoint.shared.service,
                endpoint = %endpoint.address,
                error,
                "endpoint cannot be reached"
            );
        }
        endpoint.failed(error);
        if !pause(&endpoint, failures).await {
            return;
        }
    }
}

async fn connect(endpoint: &Endpoint) -> Result<(Connection, Sign), ConnectError> {
    let limit = endpoint.policy().connect_timeout;
    let connecting = connector::connect(&endpoint.address, endpoint.shared.tls.as_ref());
    tokio::time::timeout(limit, connecting)
        .await
        .unwrap_or(Err(ConnectError::TimedOut(limit)))
}

/// Waits before the next attempt; false if the endpoint was removed.
async fn pause(endpoint: &Endpoint, failures: u32) -> bool {
    let policy = endpoint.policy();
    let bound = policy
        .initial_backoff
        .saturating_mul(1 << (failures - 1).min(16))
        .min(policy.max_backoff);
    // Between half and all of it: clients of one peer must not come back together.
    let wait = bound.mul_f64(0.5 + fastrand::f64() / 2.0).max(LEAST_PAUSE);
    // However many calls want it: a peer that is down must not be stormed.
    let least = Instant::now() + (wait / 4).max(LEAST_PAUSE);
    tokio::select! {
        () = tokio::time::sleep(wait) => true,
        () = async {
            endpoint.wanted.notified().await;
            tokio::time::sleep_until(least).await;
        } => true,
        () = endpoint.removed.cancelled() => false,
    }
}

async fn hold(endpoint: &Endpoint, connection: Connection, sign: Sign, failures: u32) -> End {
    let Connection {
        sender,
        closed,
        socket,
    } = connection;
    let silent = CancellationToken::new();
    let live = Arc::new(Live {
        sender: sender.clone(),
        silent: silent.clone(),
    });
    let used = Arc::downgrade(&live);
    endpoint.connected(live, sign);
    if failures > 0 {
        tracing::info!(
            service = endpoint.shared.service,
            endpoint = %endpoint.address,
            failures,
            "endpoint is reached again"
        );
    }
    let end = tokio::select! {
        () = closed.cancelled() => End::Closed,
        () = listen(endpoint, sender) => End::Silent,
        () = endpoint.removed.cancelled() => End::Removed,
    };
    if !matches!(end, End::Removed) {
        endpoint.connecting();
    }
    if matches!(end, End::Silent) {
        silent.cancel();
    }
    if !matches!(end, End::Closed) {
        let address = endpoint.address.clone();
        tokio::spawn(outlast(used, address, *endpoint.policy(), socket));
    }
    end
}

/// Watches a connection that takes no new calls until the last on it has ended; ends it, and them, when it
/// has said nothing for `keep_alive_timeout`.
async fn outlast(
    used: Weak<Live>,
    address: Address,
    policy: ConnectionPolicy,
    socket: std::net::TcpStream,
) {
    while let Some(sender) = used.upgrade().map(|live| live.sender.clone()) {
        let answer = connector::probe(sender, &address);
        match tokio::time::timeout(policy.keep_alive_timeout, answer).await {
            Ok(Ok(_)) => tokio::time::sleep(policy.health_interval).await,
            Ok(Err(_)) => return,
            Err(_) => {
                // One that is closed already is what is wanted.
                let _ = socket.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Completes when the peer gives no sign of life.
async fn listen(endpoint: &Endpoint, sender: Sender) {
    let policy = endpoint.policy();
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = ticks.tick().await;
    let mut asked = last;
    let mut missed = 0;
    loop {
        let now = ticks.tick().await;
        // A late tick says that this process gets no CPU, which is not the peer's silence.
        let starved = now.duration_since(last) > WATCH_INTERVAL * 3;
        last = now;
        let silent = !starved && endpoint.load.silence() >= policy.silence;
        // A peer may begin or cease to serve while its connection stands.
        let due = asked.elapsed() >= policy.health_interval;
        if !silent && !due {
            continue;
        }
        asked = Instant::now();
        let probe = connector::probe(sender.clone(), &endpoint.address);
        match tokio::time::timeout(policy.probe_timeout, probe).await {
            Ok(Ok(sign)) => {
                missed = 0;
                endpoint.load.heard();
                endpoint.signed(sign);
            }
            // The connection broke; its end is noticed elsewhere.
            Ok(Err(_)) => {}
            Err(_) if asked.elapsed() > policy.probe_timeout + WATCH_INTERVAL * 2 => {}
            // Idle, it may be a packet that was lost.
            Err(_) if endpoint.load.in_flight() == 0 => {
                missed += 1;
                if missed == MISSED {
                    return;
                }
            }
            // Silent to the probe, but not to a call meanwhile.
            Err(_) if !silent || endpoint.load.silence() < policy.probe_timeout => {}
            Err(_) => return,
        }
    }
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
