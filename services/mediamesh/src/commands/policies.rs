//! The policy in force of every method, as comments below the configuration.

use std::time::Duration;

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
            hedging
                .hedging_delay
                .map_or("after the 95th percentile".to_owned(), |delay| {
                    format!("after {}", time(delay))
                })
        });
        let attempt = of
            .attempt_timeout
            .map_or(String::new(), |limit| format!("; attempt {}", time(limit)));
        text.push_str(&format!(
            "# {}\n#   deadline {deadline}{attempt}; may be repeated: {repeats}; retry {retry}; \
             hedging {hedging}\n",
            path.trim_start_matches('/')
        ));
    }
    text.push_str("\n# Policy in force towards every service\n");
    for name in ServiceName::ALL {
        let client = policy.client(Some(name));
        let limits = policy.limits(Some(name));
        text.push_str(&format!(
            "# {name}\n#   retry budget {} tokens, {} back per success; breaker opens after {} \
             failures in a row or below {:.0} % of {} calls, for {} to {}\n#   connect {}, sign of \
             life asked for after {} and awaited for {}; server runs {} to {} calls at once, {} in \
             flight\n",
            client.throttling.max_tokens,
            client.throttling.token_ratio,
            client.breaker.consecutive_failures,
            client.breaker.success_rate_floor * 100.0,
            client.breaker.minimum_calls,
            time(client.breaker.base_open),
            time(client.breaker.max_open),
            time(client.connection.connect_timeout),
            time(client.connection.silence),
            time(client.connection.probe_timeout),
            limits.min_running,
            limits.max_running,
            limits.max_in_flight,
        ));
    }
    text
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
