//! Finds the endpoints of a service and keeps its pool up to date.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::address::{Address, EndpointError, Target};
use super::pool::Pool;

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
            let look_up = async |host: String, port| {
                let found = lookup_host((host, port)).await;
                found.map(Iterator::collect)
            };
            tokio::spawn(resolve(Arc::downgrade(pool), targets, look_up));
        }
    }
    Ok(())
}

async fn resolve<L, F>(pool: Weak<Pool>, targets: Vec<Target>, look_up: L)
where
    L: Fn(String, u16) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut known: Vec<Vec<Address>> = vec![Vec::new(); targets.len()];
    // Names that do not resolve, and of which that was told.
    let mut told = vec![false; targets.len()];
    loop {
        let Some(policy) = pool.upgrade().map(|pool| pool.shared.policy.connection) else {
            return;
        };
        for ((target, known), told) in targets.iter().zip(&mut known).zip(&mut told) {
            match target {
                Target::Fixed(address) => *known = vec![address.clone()],
                Target::Dns { host, port, tls } => {
                    let looked_up = look_up(host.clone(), *port);
                    let found = match timeout(policy.resolve_timeout, looked_up).await {
                        Ok(found) => found,
                        Err(slow) => Err(slow.into()),
                    };
                    match found {
                        Ok(sockets) => {
                            let mut addresses: Vec<Address> = sockets
                                .into_iter()
                                .map(|socket| Address::of_socket(socket, host, *tls))
                                .collect();
                            // Resolvers rotate their answers, and say some twice.
                            addresses.sort_by_key(ToString::to_string);
                            addresses.dedup();
                            *known = addresses;
                            *told = false;
                        }
                        Err(error) => {
                            if !std::mem::replace(told, true) {
                                tracing::warn!(host, %error, kept = known.len(), "name does not resolve");
                            }
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
        tokio::time::sleep(policy.resolve_interval).await;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::super::script;
    use super::*;

    /// What the name server says; `None` is nothing at all.
    type Answer = Option<io::Result<Vec<u8>>>;

    /// A pool that follows a name, and what the name server says next.
    fn following() -> (Arc<Pool>, Arc<Mutex<Answer>>) {
        let pool = script::pool();
        let says: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Some(Ok(vec![1]))));
        let answers = Arc::clone(&says);
        let look_up = move |_: String, port: u16| {
            let answer = match &*answers.lock() {
                None => None,
                Some(Err(error)) => Some(Err(error.kind().into())),
                Some(Ok(hosts)) => Some(Ok(hosts
                    .iter()
                    .map(|host| SocketAddr::from(([127, 0, 0, *host], port)))
                    .collect())),
            };
            async {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let target = Target::parse("dns:///media.example:50051", false).unwrap();
        tokio::spawn(resolve(Arc::downgrade(&pool), vec![target], look_up));
        (pool, says)
    }

    /// The hosts of the pool once the name was resolved anew.
    async fn hosts(pool: &Pool) -> Vec<String> {
        let policy = pool.shared.policy.connection;
        tokio::time::sleep(policy.resolve_interval + policy.resolve_timeout).await;
        let endpoints = pool.endpoints();
        endpoints
            .iter()
            .map(|endpoint| endpoint.address.host_port().0.to_owned())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_follow_the_answers_of_the_name_server() {
        let (pool, says) = following();
        assert_eq!(hosts(&pool).await, ["127.0.0.1"]);
        let kept = Arc::clone(&pool.endpoints()[0]);
        *says.lock() = Some(Ok(vec![2, 1, 2]));
        assert_eq!(hosts(&pool).await, ["127.0.0.1", "127.0.0.2"]);
        assert!(
            Arc::ptr_eq(&kept, &pool.endpoints()[0]),
            "its connection is kept"
        );
        *says.lock() = Some(Ok(vec![2]));
        assert_eq!(hosts(&pool).await, ["127.0.0.2"]);
    }

    /// Counts the warnings of this thread.
    #[derive(Clone, Default)]
    struct Warnings(Arc<std::sync::atomic::AtomicUsize>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _context: tracing_subscriber::layer::Context<'_, S>,
        ) {
            if *event.metadata().level() == tracing::Level::WARN {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_name_that_does_not_resolve_is_told_of_once_whatever_the_others_do() {
        use tracing_subscriber::layer::SubscriberExt as _;
        let warnings = Warnings::default();
        let subscriber = tracing_subscriber::registry().with(warnings.clone());
        let _guard = tracing::subscriber::set_default(subscriber);
        let pool = script::pool();
        let names = [
            "dns:///bad.example:1",
            "dns:///good.example:1",
            "dns:///worse.example:1",
        ];
        let targets = names.map(|name| Target::parse(name, false).unwrap());
        let look_up = async |host: String, port| match host.as_str() {
            "good.example" => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let following = resolve(Arc::downgrade(&pool), targets.to_vec(), look_up);
        let _ = tokio::time::timeout(Duration::from_secs(60), following).await;
        assert_eq!(warnings.0.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_in_trouble_takes_no_endpoint_away() {
        let (pool, says) = following();
        assert_eq!(hosts(&pool).await, ["127.0.0.1"]);
        for trouble in [
            Some(Err(io::ErrorKind::NotFound.into())),
            Some(Ok(vec![])),
            None,
        ] {
            *says.lock() = trouble;
            assert_eq!(hosts(&pool).await, ["127.0.0.1"]);
        }
        *says.lock() = Some(Ok(vec![3]));
        // The look-up that hung is given up first.
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(hosts(&pool).await, ["127.0.0.3"]);
    }
}
