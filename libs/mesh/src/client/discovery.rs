//! Finds the endpoints of a service and keeps its pool up to date.

use std::sync::{Arc, Weak};

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::address::{Address, EndpointError, Target};
use super::pool::Pool;
use crate::policy::defaults::RESOLVE_TIMEOUT;

/// Points `pool` at `endpoints`; names are resolved now and then again and again, by a task that ends
/// with the pool.
///
/// A name that does not resolve keeps the addresses it had. Must run inside a tokio runtime.
pub(crate) fn follow(
    pool: &Arc<Pool>,
    endpoints: &[String],
    tls: bool,
) -> Result<(), EndpointError> {
    let targets = endpoints
        .iter()
        .map(|endpoint| Target::parse(endpoint, tls))
        .collect::<Result<Vec<_>, _>>()?;
    let fixed = targets
        .iter()
        .map(|target| match target {
            Target::Fixed(address) => Some(address.clone()),
            Target::Dns { .. } => None,
        })
        .collect::<Option<Vec<_>>>();
    match fixed {
        Some(addresses) => pool.set(&addresses),
        None => {
            tokio::spawn(resolve(Arc::downgrade(pool), targets));
        }
    }
    Ok(())
}

async fn resolve(pool: Weak<Pool>, targets: Vec<Target>) {
    let mut known: Vec<Vec<Address>> = vec![Vec::new(); targets.len()];
    let mut complaints = 0_u32;
    loop {
        let Some(interval) = pool
            .upgrade()
            .map(|pool| pool.shared.policy.connection.resolve_interval)
        else {
            return;
        };
        for (target, known) in targets.iter().zip(&mut known) {
            match target {
                Target::Fixed(address) => *known = vec![address.clone()],
                Target::Dns { host, port, tls } => {
                    let looked_up = lookup_host((host.as_str(), *port));
                    let found = match timeout(RESOLVE_TIMEOUT, looked_up).await {
                        Ok(found) => found,
                        Err(slow) => Err(slow.into()),
                    };
                    match found {
                        Ok(sockets) => {
                            let mut addresses: Vec<Address> = sockets
                                .map(|socket| Address::of_socket(socket, host, *tls))
                                .collect();
                            // Resolvers rotate their answers, and say some twice.
                            addresses.sort_by_key(ToString::to_string);
                            addresses.dedup();
                            *known = addresses;
                            complaints = 0;
                        }
                        Err(error) => {
                            if complaints == 0 {
                                tracing::warn!(host, %error, kept = known.len(), "name does not resolve");
                            }
                            complaints = complaints.saturating_add(1);
                        }
                    }
                }
            }
        }
        let all: Vec<Address> = known.concat();
        match pool.upgrade() {
            Some(pool) if changed(&pool, &all) => pool.set(&all),
            Some(_) => {}
            None => return,
        }
        tokio::time::sleep(interval).await;
    }
}

fn changed(pool: &Pool, addresses: &[Address]) -> bool {
    let endpoints = pool.endpoints();
    // An empty answer is more often a resolver's fault than a service without servers.
    !addresses.is_empty()
        && (endpoints.len() != addresses.len()
            || endpoints
                .iter()
                .any(|endpoint| !addresses.contains(&endpoint.address)))
}
