//! Connections to PostgreSQL, by rustls where TLS is asked for.

use std::{path::Path, str::FromStr as _, sync::Arc, time::Duration};

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use rustls::{
    ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _,
};
use tokio_postgres::{
    CancelToken, Config, NoTls, SimpleQueryMessage, config::Host, config::SslMode,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

/// Longest that one address of the server may take to answer, unless the address says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may be silent before TCP asks whether anybody is there, unless the address asks sooner:
/// below the time after which NAT forgets it, and one that lies idle in its pool is not forgotten.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Opens connections to one database.
#[derive(Clone)]
pub(super) struct Connector {
    config: Arc<Config>,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// Reads the address.
    ///
    /// Errors: `Url` without the address, which may hold a password.
    pub(super) fn new(url: &str, ca: Option<&Path>) -> Result<Self> {
        // libpq's names for what is always done here: verify the certificate and its name
        let known = ["sslmode=verify-full", "sslmode=verify-ca"]
            .into_iter()
            .fold(url.to_owned(), |url, mode| {
                url.replace(mode, "sslmode=require")
            });
        let unfit = |message: String| Error::Url { message };
        let mut config = Config::from_str(&known).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            unfit(cause.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_application_name().is_none() {
            config.application_name("mediamesh");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_keepalives_idle() > KEEP_ALIVE {
            config.keepalives_idle(KEEP_ALIVE);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(MakeRustlsConnect::new(client_config(ca)?)),
            _ => {
                // "prefer" would fall back to plain text at the word of whoever is in between
                config.ssl_mode(SslMode::Disable);
                if config.get_hosts().iter().any(is_far) {
                    tracing::warn!(
                        "the connection to PostgreSQL is plain; sslmode=require makes it TLS"
                    );
                }
                None
            }
        };
        Ok(Self {
            config: Arc::new(config),
            tls,
        })
    }

    /// Opens a connection of its own.
    ///
    /// Errors: `Untrusted`, `Unavailable`.
    pub(super) async fn open(&self) -> Result<AsyncPgConnection> {
        self.attempt().await.map_err(|failed| failed.told())
    }

    /// Opens a connection for a pool.
    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        self.attempt().await.map_err(|failed| match failed {
            Failed::Connect(error) => ConnectionError::BadConnection(said(&error)),
            Failed::SetUp(error) => error,
        })
    }

    async fn attempt(&self) -> std::result::Result<AsyncPgConnection, Failed> {
        let connected = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
        };
        connected.map_err(Failed::SetUp)
    }

    /// Runs statements on a connection of its own, as text; answers the first column of the last rows.
    pub(super) async fn ask(
        &self,
        statements: &str,
    ) -> std::result::Result<Vec<String>, tokio_postgres::Error> {
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                client
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
        };
        let answers = client.simple_query(statements).await?;
        let row = |answer: &SimpleQueryMessage| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(answers.iter().filter_map(row).collect())
    }

    /// Cancels what the connection of `token` is at.
    pub(super) async fn cancel(
        &self,
        token: CancelToken,
    ) -> std::result::Result<(), tokio_postgres::Error> {
        match &self.tls {
            Some(tls) => token.cancel_query(tls.clone()).await,
            None => token.cancel_query(NoTls).await,
        }
    }
}

/// Why there is no connection.
enum Failed {
    Connect(tokio_postgres::Error),
    SetUp(ConnectionError),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Connect(error)
    }
}

impl Failed {
    fn told(self) -> Error {
        match self {
            Self::Connect(error) => match refused_certificate(&error) {
                Some(why) => Error::Untrusted { why },
                None => Error::Unavailable {
                    message: said(&error),
                },
            },
            Self::SetUp(error) => Error::Unavailable {
                message: error.to_string(),
            },
        }
    }
}

/// What is wrong with the certificate of the server, if that is what ended the connection.
fn refused_certificate(error: &tokio_postgres::Error) -> Option<String> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // an I/O error does not name what it wraps as its source
        let wrapped = error.downcast_ref::<std::io::Error>();
        let inner = wrapped
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let tls = error.downcast_ref::<rustls::Error>().or(inner);
        if let Some(tls @ rustls::Error::InvalidCertificate(_)) = tls {
            return Some(tls.to_string());
        }
        cause = error.source();
    }
    None
}

/// An error with its cause, which the driver's own text leaves out.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn is_far(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name != "localhost"
                && !name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
        Host::Unix(_) => false,
    }
}

fn client_config(ca: Option<&Path>) -> Result<ClientConfig> {
    let unfit = |message: String| Error::Url { message };
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let said = |what: String| unfit(format!("database.tls_ca {}: {what}", path.display()));
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| said(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| said(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| said(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(said("holds no certificate".to_owned()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(unfit(
                    "this system has no root certificates; database.tls_ca names some".to_owned(),
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
