//! One server or a cluster behind one type.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError,
    RedisFuture, RedisResult, TlsCertificates, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};

use super::{options::RedisOptions, slots::Slots};

/// Times a command of a cluster is tried anew when its key has moved or its node is gone; the
/// deadline of the call ends it sooner.
const CLUSTER_RETRIES: u32 = 3;
/// Longest wait between those, milliseconds.
const CLUSTER_RETRY_MILLIS: u64 = 100;
/// Commands that wait for their turn to be written; more wait outside.
const PIPELINE_COMMANDS: usize = 1024;

/// A connection; clones share it, and commands of all of them are pipelined.
#[derive(Clone)]
pub(crate) enum Connection {
    /// To one server; it is made anew when it breaks.
    Single(ConnectionManager),
    /// To the nodes of a cluster, and who has which slot, as it was last told.
    Cluster(ClusterConnection, Arc<ArcSwap<Slots>>),
}

/// Makes connections.
#[derive(Clone)]
pub(crate) enum Connector {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl Connector {
    /// Reads the settings.
    ///
    /// Errors: an address that does not parse, certificates that cannot be read.
    /// Blocking: reads the file of certificates.
    pub(crate) fn new(options: &RedisOptions) -> RedisResult<Self> {
        let root_cert = options.ca_file.as_deref().map(read).transpose()?;
        let certificates = root_cert.map(|root| TlsCertificates {
            client_tls: None,
            root_cert: Some(root),
        });
        let mut nodes = Vec::new();
        for url in &options.urls {
            nodes.push(with_credentials(
                url.as_str().into_connection_info()?,
                options,
            ));
        }
        if options.cluster {
            let mut builder = ClusterClient::builder(nodes)
                .retries(CLUSTER_RETRIES)
                .max_retry_wait(CLUSTER_RETRY_MILLIS)
                .connection_timeout(options.connect_timeout())
                // calls have deadlines of their own, and a read of the feed waits on purpose
                .response_timeout(Duration::from_secs(30))
                .overall_response_timeout(None);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            return Ok(Self::Cluster(Box::new(builder.build()?)));
        }
        let node = nodes.into_iter().next().ok_or((
            ErrorKind::InvalidClientConfig,
            "no address of a Redis is given",
        ))?;
        Ok(Self::Single(Box::new(match certificates {
            Some(certificates) => Client::build_with_tls(node, certificates)?,
            None => Client::open(node)?,
        })))
    }

    /// Connects.
    ///
    /// Errors: a cluster of which no node answers. A single server is connected to at the first
    /// command.
    pub(crate) async fn connect(&self, options: &RedisOptions) -> RedisResult<Connection> {
        match self {
            Self::Single(client) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(options.connect_timeout()))
                    .set_response_timeout(None)
                    .set_pipeline_buffer_size(PIPELINE_COMMANDS)
                    .set_min_delay(Duration::from_millis(10))
                    .set_max_delay(Duration::from_millis(500))
                    .set_number_of_retries(1);
                let manager =
                    ConnectionManager::new_lazy_with_config(Client::clone(client), config)?;
                Ok(Connection::Single(manager))
            }
            Self::Cluster(client) => {
                let connection = client.get_async_connection().await?;
                Ok(Connection::Cluster(connection, Arc::default()))
            }
        }
    }
}

fn read(path: &Path) -> RedisResult<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        RedisError::from((
            ErrorKind::InvalidClientConfig,
            "its ca_file cannot be read",
            format!("{}: {error}", path.display()),
        ))
    })
}

fn with_credentials(info: ConnectionInfo, options: &RedisOptions) -> ConnectionInfo {
    let mut settings = info.redis_settings().clone();
    if let Some(username) = &options.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &options.password {
        settings = settings.set_password(&password.0);
    }
    info.set_redis_settings(settings)
}

/// A master of a cluster, or the only server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Master {
    /// Who it is; another after a fail-over.
    id: String,
    /// A slot of its.
    slot: Option<u16>,
}

impl Connection {
    /// Every master.
    pub(crate) async fn masters(&mut self) -> RedisResult<Vec<Master>> {
        let Self::Cluster(connection, slots) = self else {
            let id = String::new();
            return Ok(vec![Master { id, slot: None }]);
        };
        let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
        let command = redis::cmd("CLUSTER").arg("SLOTS").take();
        let answer = connection.route_command(command, any).await?;
        let mut masters = BTreeMap::new();
        let mut ranges = Vec::new();
        for range in items(&answer) {
            // first slot, last slot, master, replicas: each is host, port, id and more
            let [Value::Int(first), Value::Int(last), master, ..] = items(range) else {
                continue;
            };
            let (Ok(slot), Ok(last), Some(Value::BulkString(id))) = (
                u16::try_from(*first),
                u16::try_from(*last),
                items(master).get(2),
            ) else {
                continue;
            };
            let id = String::from_utf8_lossy(id).into_owned();
            ranges.push((slot..=last, id.clone()));
            masters.insert(id, slot);
        }
        slots.store(Arc::new(Slots::new(ranges)));
        let master = |(id, slot)| Master {
            id,
            slot: Some(slot),
        };
        Ok(masters.into_iter().map(master).collect())
    }

    /// Sends a command to a master.
    pub(crate) async fn ask(&mut self, master: &Master, command: Cmd) -> RedisResult<Value> {
        match (self, master.slot) {
            (Self::Cluster(connection, _), Some(slot)) => {
                let route = Route::new(slot, SlotAddr::Master);
                let node = SingleNodeRoutingInfo::SpecificNode(route);
                connection
                    .route_command(command, RoutingInfo::SingleNode(node))
                    .await
            }
            (connection, _) => connection.req_packed_command(&command).await,
        }
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection, _) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection, _) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection, _) => connection.get_db(),
        }
    }
}
