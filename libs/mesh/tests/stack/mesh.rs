//! One echo service behind the server stack, reached in process or over loopback TCP.

use std::sync::Arc;
use std::time::Duration;

use mediamesh_mesh::policy::ServicePolicyOptions;
use mediamesh_mesh::{
    Channel, LocalAuthenticator, MethodTable, Policy, PolicyOptions, Registry, ServerBuilder,
    ServerDeps, ServiceName, Shutdown,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::echo::{Answer, Ask, Echo, EchoServer, call, descriptors};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Via {
    Local,
    Tcp,
}

pub(crate) const BOTH: [Via; 2] = [Via::Local, Via::Tcp];

pub(crate) struct Mesh {
    pub(crate) channel: Channel,
    pub(crate) echo: Echo,
    pub(crate) metrics: Metrics,
    pub(crate) health: HealthRegistry,
    pub(crate) registry: Registry,
    pub(crate) shutdown: Shutdown,
    pub(crate) endpoint: String,
    pub(crate) server: Option<JoinHandle<()>>,
}

pub(crate) async fn start(via: Via) -> Mesh {
    start_with(via, PolicyOptions::default()).await
}

pub(crate) fn limits(max_running: usize, max_in_flight: usize) -> PolicyOptions {
    let mut options = PolicyOptions::default();
    options.services.insert(
        ServiceName::Media,
        ServicePolicyOptions {
            max_running: Some(max_running),
            max_in_flight: Some(max_in_flight),
            ..Default::default()
        },
    );
    options
}

pub(crate) async fn start_with(via: Via, options: PolicyOptions) -> Mesh {
    let policy = Policy::new(
        &options,
        &MethodTable::from_descriptor_sets([descriptors()]).unwrap(),
    );
    let (metrics, health) = (Metrics::new(), HealthRegistry::new());
    let registry = Registry::new(policy.clone(), &metrics);
    // Handed out before the server exists, and to the server itself: a circle.
    let channel = registry.channel(ServiceName::Media);
    let echo = Echo::new(channel.clone());
    let deps = ServerDeps {
        policy,
        metrics: metrics.clone(),
        health: health.clone(),
        authenticator: Arc::new(LocalAuthenticator),
    };
    let routes = ServerBuilder::new(deps)
        .add_service(EchoServer(echo.clone()))
        .descriptors(descriptors())
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let (mut endpoint, mut server) = (String::new(), None);
    match via {
        Via::Local => registry.register_local(ServiceName::Media, routes),
        Via::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            endpoint = format!("http://{}", listener.local_addr().unwrap());
            registry
                .register_remote(ServiceName::Media, std::slice::from_ref(&endpoint))
                .unwrap();
            let begun = shutdown.begun();
            server = Some(tokio::spawn(async move {
                routes.serve(listener, begun).await.unwrap()
            }));
        }
    }
    Mesh {
        channel,
        echo,
        metrics,
        health,
        registry,
        shutdown,
        endpoint,
        server,
    }
}

impl Mesh {
    pub(crate) async fn call(&self, what: &str, number: u64) -> Result<Answer, tonic::Status> {
        call(
            self.channel.clone(),
            Ask {
                what: what.into(),
                number,
            },
            None,
        )
        .await
    }

    pub(crate) async fn call_within(
        &self,
        what: &str,
        number: u64,
        timeout: Duration,
    ) -> Result<Answer, tonic::Status> {
        call(
            self.channel.clone(),
            Ask {
                what: what.into(),
                number,
            },
            Some(timeout),
        )
        .await
    }
}

/// Waits until `done` or fails; for effects on the other side of a socket.
pub(crate) async fn eventually(what: &str, done: impl Fn() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
