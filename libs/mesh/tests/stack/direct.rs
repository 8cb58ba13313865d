//! The echo service over TCP with tonic's own client: no layer of ours between test and server.

use std::sync::Arc;
use std::time::Duration;

use mediamesh_mesh::{
    LocalAuthenticator, MethodTable, Policy, PolicyOptions, Registry, Routes, ServerBuilder,
    ServerDeps, ServiceName, Shutdown,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::echo::{Answer, Ask, CALL, Echo, EchoServer, descriptors};

pub(crate) struct Direct {
    pub(crate) policy: Policy,
    pub(crate) echo: Echo,
    pub(crate) routes: Routes,
    pub(crate) channel: Channel,
    _shutdown: Shutdown,
}

pub(crate) async fn serve(options: &PolicyOptions) -> Direct {
    let methods = MethodTable::from_descriptor_sets([descriptors()]).unwrap();
    let policy = Policy::new(options, &methods);
    let metrics = Metrics::new();
    let registry = Registry::new(policy.clone(), &metrics);
    let echo = Echo::new(registry.channel(ServiceName::Media));
    let deps = ServerDeps {
        policy: policy.clone(),
        metrics,
        health: HealthRegistry::new(),
        authenticator: Arc::new(LocalAuthenticator),
    };
    let routes = ServerBuilder::new(deps)
        .add_service(EchoServer(echo.clone()))
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    tokio::spawn(routes.clone().serve(listener, shutdown.begun()));
    let channel = Endpoint::from_shared(endpoint)
        .unwrap()
        .tcp_nodelay(true)
        .connect_lazy();
    Direct {
        policy,
        echo,
        routes,
        channel,
        _shutdown: shutdown,
    }
}

impl Direct {
    pub(crate) async fn call(&self, what: &str, number: u64) -> Result<Answer, Status> {
        call(self.channel.clone(), what, number, None).await
    }

    pub(crate) async fn call_within(
        &self,
        what: &str,
        number: u64,
        timeout: Duration,
    ) -> Result<Answer, Status> {
        call(self.channel.clone(), what, number, Some(timeout)).await
    }
}

pub(crate) async fn call(
    channel: Channel,
    what: &str,
    number: u64,
    timeout: Option<Duration>,
) -> Result<Answer, Status> {
    let mut request = Request::new(Ask {
        what: what.into(),
        number,
    });
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<Ask, Answer>::default();
    let path = http::uri::PathAndQuery::from_static(CALL);
    Ok(client.unary(request, path, codec).await?.into_inner())
}
