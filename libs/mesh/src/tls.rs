//! TLS between services, proved by both sides (mTLS).
//!
//! One certificate and key per process and one authority for the mesh, from PEM files. The files
//! are read again every few seconds and what changed is used for the next connection: no restart,
//! and connections that are open stay. Files that do not fit together are reported once and leave
//! the old ones in use, so that a rotation that is half written does no harm.
//!
//! Source: TLS 1.3 (RFC 8446), ALPN `h2` (RFC 9113 section 3.2).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::Stream;
use ring::digest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::policy::defaults::{TLS_HANDSHAKE_TIMEOUT, TLS_MAX_HANDSHAKES};

mod handshakes;

/// Certificates of this process; all three files or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// Certificates of the authorities that sign the mesh's certificates, PEM.
    pub ca: Option<PathBuf>,
    /// Certificate of this process with its chain, PEM; good for servers and clients.
    pub cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    pub key: Option<PathBuf>,
    /// Name that servers' certificates must have; absent = the host of the endpoint. Set it where
    /// endpoints are addresses.
    pub server_name: Option<String>,
    /// Between two looks at the files, seconds.
    pub reload_secs: u64,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            ca: None,
            cert: None,
            key: None,
            server_name: None,
            // certificates live for hours at least, and three small files are quickly read
            reload_secs: 10,
        }
    }
}

impl TlsOptions {
    /// Returns whether connections are to use TLS.
    pub fn enabled(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// Every fault of these settings, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, missing) in [
            ("ca", self.ca.is_none()),
            ("cert", self.cert.is_none()),
            ("key", self.key.is_none()),
        ] {
            if self.enabled() && missing {
                faults.push(format!(
                    "mesh.tls.{name} is not set; ca, cert and key go together"
                ));
            }
        }
        if let Some(name) = &self.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            faults.push(format!("mesh.tls.server_name is {name:?}; it is no name"));
        }
        if self.reload_secs == 0 {
            faults.push("mesh.tls.reload_secs must be at least 1".to_owned());
        }
        faults
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not named.
    #[error("mesh.tls needs ca, cert and key")]
    Incomplete,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds nothing of its kind.
    #[error("{} has no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The parts do not fit together.
    #[error("certificate, key and authority do not fit together")]
    Config(#[from] rustls::Error),
    /// The authority cannot verify clients.
    #[error("the authority cannot verify clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The certificates of a process; clones share them.
#[derive(Clone)]
pub struct Tls {
    options: Arc<TlsOptions>,
    current: Arc<ArcSwap<Material>>,
}

struct Material {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Of the files as read.
    digest: [u8; 32],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files; `None` if none is named. Blocking: three small files.
    ///
    /// Errors: a file that is missing or wrong.
    pub fn open(options: &TlsOptions) -> Result<Option<Self>, TlsError> {
        if !options.enabled() {
            return Ok(None);
        }
        let files = Files::read(options)?;
        Ok(Some(Self {
            options: Arc::new(options.clone()),
            current: Arc::new(ArcSwap::from_pointee(files.build()?)),
        }))
    }

    /// Reads the files again; returns whether they had changed. Blocking: three small files.
    ///
    /// Errors: files that cannot be used; the old ones stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.options)?;
        if files.digest == self.current.load().digest {
            return Ok(false);
        }
        self.current.store(Arc::new(files.build()?));
        Ok(true)
    }

    /// Reads the files again and again, for ever.
    pub async fn follow(self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(self.options.reload_secs.max(1)));
        let mut failing = false;
        loop {
            ticks.tick().await;
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(changed)) => {
                    if changed {
                        tracing::info!("new certificates are in use");
                    }
                    failing = false;
                }
                Ok(Err(error)) => {
                    // once, not every few seconds until somebody mends it
                    if !failing {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "certificates cannot be used; the old ones stay"
                        );
                    }
                    failing = true;
                }
                Err(_) => return,
            }
        }
    }

    /// The side that listens.
    pub fn server(&self) -> ServerTls {
        ServerTls(self.clone())
    }

    /// The side that connects.
    pub fn client(&self) -> ClientTls {
        ClientTls(self.clone())
    }
}

/// TLS of a listener; only clients with a certificate of the mesh get through.
#[derive(Debug, Clone)]
pub struct ServerTls(Tls);

impl ServerTls {
    /// Shakes hands with who connected.
    ///
    /// Errors: no certificate of the mesh, or none in time. Cancel: the connection is closed.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let config = Arc::clone(&self.0.current.load().server);
        let accept = TlsAcceptor::from(config).accept(tcp);
        tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, accept)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Shakes hands with everybody who connects, many at a time; those who fail are left out.
    ///
    /// Must run inside a tokio runtime.
    pub fn incoming(
        self,
        tcp: impl Stream<Item = io::Result<TcpStream>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<server::TlsStream<TcpStream>>> {
        handshakes::shaken(self, tcp, TLS_MAX_HANDSHAKES)
    }
}

/// TLS of connections to other services.
#[derive(Debug, Clone)]
pub struct ClientTls(Tls);

impl ClientTls {
    /// Shakes hands with the server at the other end of `tcp`, which must prove to be `host` or
    /// the configured name.
    ///
    /// Errors: another name, no certificate of the mesh, or none in time. In TLS 1.3 a server that
    /// refuses this process' certificate says so only with the first read. Cancel: the connection
    /// is closed.
    pub async fn connect(
        &self,
        host: &str,
        tcp: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let name = self.0.options.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = Arc::clone(&self.0.current.load().client);
        let connect = TlsConnector::from(config).connect(name, tcp);
        tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, connect)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// The files as read.
struct Files {
    ca: (PathBuf, Vec<u8>),
    cert: (PathBuf, Vec<u8>),
    key: (PathBuf, Vec<u8>),
    digest: [u8; 32],
}

impl Files {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let read = |path: &Option<PathBuf>| {
            let path = path.clone().ok_or(TlsError::Incomplete)?;
            match std::fs::read(&path) {
                Ok(bytes) => Ok((path, bytes)),
                Err(source) => Err(TlsError::Read { path, source }),
            }
        };
        let (ca, cert, key) = (
            read(&options.ca)?,
            read(&options.cert)?,
            read(&options.key)?,
        );
        let mut context = digest::Context::new(&digest::SHA256);
        for (_, bytes) in [&ca, &cert, &key] {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Ok(Self {
            ca,
            cert,
            key,
            digest,
        })
    }

    fn build(self) -> Result<Material, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca.0, &self.ca.1)? {
            roots.add(authority)?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&self.cert.0, &self.cert.1)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key.1).map_err(|_| TlsError::Pem {
            path: self.key.0,
            what: "private key",
        })?;
        // named, so that no other provider of the process is picked up
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Material {
            server: Arc::new(server),
            client: Arc::new(client),
            digest: self.digest,
        })
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::Pem {
            path: path.to_owned(),
            what: "certificate",
        }),
    }
}
