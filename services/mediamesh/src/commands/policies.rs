//! The policy in force of every method, as comments below the configuration.

use std::time::Duration;

use mediamesh_mesh::policy::AttemptTimeout;
use mediamesh_mesh::{Idempotency, Policy, PolicyOptions, ServiceName};

/// Writes them, by path.
pub(super) fn print(options: &PolicyOptions) -> String {
    let policy = Policy::from_options(options);
    let mut methods: Vec<_> = policy.methods().collect();
    methods.sort_by_key(|(path, _)| *path);
    let mut text = String::from("\n# Policy in force of every method\n");
    for (path, of) in methods {
        let deadline = of.deadline.map_or("none".to_owned(), time);
        let repeats = match of.method.idempotency {
            Idempotency::Unknown => "no",
            Idempotency::Idempotent => "idempotent",
            Idempotency::NoSideEffects => "no side effects",
        };
        let retry = match of.retry.max_attempts {
            1 => "none".to_owned(),
            attempts => format!(
                "{attempts} attempts, {} x{} up to {}",
                time(of.retry.initial_backoff),
                of.retry.backoff_multiplier,
                time(of.retry.max_backoff)
            ),
        };
        let hedging = of.hedging.map_or("none".to_owned(), |hedging| {
            let after = hedging
                .hedging_delay
                .map_or("the 95th percentile".to_owned(), time);
            format!(
                "after {after}, never before {}, {} at once, {} % of calls",
                time(hedging.min_delay),
                hedging.max_attempts,
                percent(hedging.max_share)
            )
        });
        let attempt = match of.attempt_timeout {
            AttemptTimeout::After(limit) => format!("; attempt {}", time(limit)),
            AttemptTimeout::Half => {
                "; attempt half of what is left, if another can be asked".to_owned()
            }
            AttemptTimeout::None => String::new(),
        };
        text.push_str(&format!(
            "# {}\n#   deadline {deadline}{attempt}; may be repeated: {repeats}; retry {retry}; \
             hedging {hedging}\n",
            path.trim_start_matches('/')
        ));
    }
    text.push_str(&format!(
        "\n# Policy in force of every server\n#   streams whose client is quiet for {} end; running calls \
         get {} to finish at shutdown\n",
        time(policy.stream_idle()),
        time(policy.drain_limit()),
    ));
    text.push_str("\n# Policy in force towards every service\n");
    for name in ServiceName::ALL {
        let client = policy.client(Some(name));
        let limits = policy.limits(Some(name));
        text.push_str(&format!(
            "# {name}\n#   retry budget {} tokens, {} back per success and {} \
             a second; breaker opens after {} \
             failures in a row, or below {} % of {} calls on at most {} % of the endpoints, for \
             {} to {} less up to {} %\n#   connect {}, again after {} to {}, sign of life asked \
             for after {} and awaited for {}, calls that may not be repeated left alone for {} after it, \
             health every {}; names resolved every {}, for {} at most; {} calls to one endpoint; a slow \
             answer fades in {}, latencies that differ by less than {} are equal\n\
             #   server runs {} to {} calls at once, {} at the start, {} in flight, {} streams, {} % of \
             it for background; a call waits {} at most\n",
            client.throttling.max_tokens,
            client.throttling.token_ratio,
            client.throttling.tokens_per_second,
            client.breaker.consecutive_failures,
            percent(client.breaker.success_rate_floor),
            client.breaker.minimum_calls,
            client.breaker.max_ejection_percent,
            time(client.breaker.base_open),
            time(client.breaker.max_open),
            percent(client.breaker.jitter),
            time(client.connection.connect_timeout),
            time(client.connection.initial_backoff),
            time(client.connection.max_backoff),
            time(client.connection.silence),
            time(client.connection.probe_timeout),
            time(client.connection.keep_alive_timeout),
            time(client.connection.health_interval),
            time(client.connection.resolve_interval),
            time(client.connection.resolve_timeout),
            client.connection.max_in_flight,
            time(client.connection.latency_decay),
            time(client.connection.latency_floor),
            limits.min_running,
            limits.max_running,
            limits.initial_running,
            limits.max_in_flight,
            limits.max_streams,
            limits.background_percent,
            time(limits.max_wait),
        ));
    }
    text
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A share of one, without the digits that binary fractions add.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

#[cfg(test)]
mod tests;
