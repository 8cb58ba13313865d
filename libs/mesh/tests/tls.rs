//! TLS between services, with certificates made for the test, over real sockets.
#![allow(clippy::unwrap_used)]

use std::{io, path::Path};

use futures::StreamExt as _;
use mediamesh_mesh::tls::{Tls, TlsError, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_stream::wrappers::TcpListenerStream;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes authority, certificate and key of a process named `host`.
fn write(dir: &Path, trusted: &Authority, signer: &Authority, host: &str) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let cert = params.signed_by(&key, signer).unwrap();
    std::fs::write(dir.join("ca.pem"), trusted.as_ref().pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

fn options(dir: &Path) -> TlsOptions {
    TlsOptions {
        ca: Some(dir.join("ca.pem")),
        cert: Some(dir.join("cert.pem")),
        key: Some(dir.join("key.pem")),
        ..TlsOptions::default()
    }
}

fn open(dir: &Path) -> Tls {
    Tls::open(&options(dir)).unwrap().unwrap()
}

/// A server that answers each connection with `hello` and the hash of nothing else.
async fn serve(tls: &Tls) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = tls.server();
    tokio::spawn(async move {
        let mut incoming = Box::pin(tls.incoming(TcpListenerStream::new(listener)));
        while let Some(stream) = incoming.next().await {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"hello").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// Connects, and reads what the server says: only then is it certain that both are content.
async fn hello(tls: &Tls, host: &str, port: u16) -> io::Result<String> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut stream = tls.client().connect(host, tcp).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn two_processes_of_one_authority_trust_each_other() {
    let (mesh, dirs) = (
        authority("mesh"),
        [TempDir::new().unwrap(), TempDir::new().unwrap()],
    );
    write(dirs[0].path(), &mesh, &mesh, "media.test");
    write(dirs[1].path(), &mesh, &mesh, "search.test");
    let (media, search) = (open(dirs[0].path()), open(dirs[1].path()));
    let port = serve(&media).await;
    assert_eq!(hello(&search, "media.test", port).await.unwrap(), "hello");
    // the name must be the server's
    let error = hello(&search, "other.test", port).await.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    // endpoints by address: the name is configured
    let named = TlsOptions {
        server_name: Some("media.test".to_owned()),
        ..options(dirs[1].path())
    };
    let named = Tls::open(&named).unwrap().unwrap();
    assert_eq!(hello(&named, "127.0.0.1", port).await.unwrap(), "hello");
}

#[tokio::test]
async fn strangers_are_refused_on_both_sides() {
    let (mesh, other) = (authority("mesh"), authority("other"));
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    write(dirs[0].path(), &mesh, &mesh, "media.test");
    let media = open(dirs[0].path());
    let port = serve(&media).await;
    // a client of another authority that trusts the server
    write(dirs[1].path(), &mesh, &other, "search.test");
    let stranger = open(dirs[1].path());
    assert!(hello(&stranger, "media.test", port).await.is_err());
    // a client that does not trust the server
    write(dirs[2].path(), &other, &mesh, "search.test");
    let wary = open(dirs[2].path());
    assert!(hello(&wary, "media.test", port).await.is_err());
    // a client without a certificate
    let mut roots = rustls::RootCertStore::empty();
    let pem = mesh.as_ref().pem();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let bare = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(bare));
    let name = "media.test".try_into().unwrap();
    let mut text = String::new();
    let read = match connector.connect(name, tcp).await {
        Ok(mut stream) => stream.read_to_string(&mut text).await.map(|_| ()),
        Err(error) => Err(error),
    };
    let error = read.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    assert_eq!(text, "");
    // a client that speaks no TLS gets nothing, and the server goes on
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(5).any(|part| part == b"hello"));
    assert_eq!(hello(&media, "media.test", port).await.unwrap(), "hello");
}

#[tokio::test]
async fn new_certificates_are_used_without_a_restart_and_bad_ones_are_not() {
    let (old, new) = (authority("old"), authority("new"));
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    for dir in &dirs {
        write(dir.path(), &old, &old, "media.test");
    }
    let (server, client) = (open(dirs[0].path()), open(dirs[1].path()));
    let port = serve(&server).await;
    hello(&client, "media.test", port).await.unwrap();
    assert!(!server.reload().unwrap(), "nothing has changed");

    // half of a rotation: the key does not belong to the certificate
    let key = KeyPair::generate().unwrap().serialize_pem();
    let good = std::fs::read(dirs[0].path().join("key.pem")).unwrap();
    std::fs::write(dirs[0].path().join("key.pem"), key).unwrap();
    assert!(matches!(server.reload().unwrap_err(), TlsError::Config(_)));
    std::fs::remove_file(dirs[0].path().join("key.pem")).unwrap();
    assert!(matches!(
        server.reload().unwrap_err(),
        TlsError::Read { .. }
    ));
    hello(&client, "media.test", port).await.unwrap();
    std::fs::write(dirs[0].path().join("key.pem"), good).unwrap();

    // the server follows its files by itself
    let mut followed = options(dirs[0].path());
    followed.reload_secs = 1;
    let server = Tls::open(&followed).unwrap().unwrap();
    let port = serve(&server).await;
    tokio::spawn(server.follow());
    write(dirs[0].path(), &new, &new, "media.test");
    write(dirs[1].path(), &new, &new, "media.test");
    assert!(client.reload().unwrap());
    let mut answer = hello(&client, "media.test", port).await;
    for _ in 0..100 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        answer = hello(&client, "media.test", port).await;
    }
    assert_eq!(answer.unwrap(), "hello");
    // a client that still has the old authority is a stranger now
    let late = TempDir::new().unwrap();
    write(late.path(), &old, &old, "media.test");
    assert!(hello(&open(late.path()), "media.test", port).await.is_err());
}

#[test]
fn faults_are_named() {
    let dir = TempDir::new().unwrap();
    let mesh = authority("mesh");
    write(dir.path(), &mesh, &mesh, "media.test");
    assert!(Tls::open(&TlsOptions::default()).unwrap().is_none());
    let half = TlsOptions {
        key: None,
        server_name: Some("not a name".to_owned()),
        ..options(dir.path())
    };
    assert_eq!(half.validate().len(), 2);
    assert!(matches!(
        Tls::open(&half).unwrap_err(),
        TlsError::Incomplete
    ));
    std::fs::write(dir.path().join("cert.pem"), "nothing").unwrap();
    let error = Tls::open(&options(dir.path())).unwrap_err().to_string();
    assert!(
        error.contains("cert.pem") && error.contains("certificate"),
        "{error}"
    );
    std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let error = Tls::open(&options(dir.path())).unwrap_err().to_string();
    assert!(error.contains("ca.pem"), "{error}");
}

#[tokio::test]
async fn calls_go_over_tls_and_strangers_get_no_answer() {
    use mediamesh_mesh::{
        LocalAuthenticator, Policy, Registry, ServerBuilder, ServerDeps, ServiceName,
    };
    use mediamesh_telemetry::{HealthRegistry, Metrics};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let ours = authority("mesh");
    let dir = TempDir::new().unwrap();
    write(dir.path(), &ours, &ours, "localhost");
    let tls = open(dir.path());
    let deps = ServerDeps {
        policy: Policy::default(),
        metrics: Metrics::new(),
        health: HealthRegistry::new(),
        authenticator: std::sync::Arc::new(LocalAuthenticator),
    };
    let routes = ServerBuilder::new(deps).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes = routes.with_tls(Some(tls.server()));
    tokio::spawn(routes.serve(listener, std::future::pending()));

    let ask = async |tls: Option<&Tls>, endpoint: String| {
        let registry =
            Registry::new(Policy::default(), &Metrics::new()).with_tls(tls.map(Tls::client));
        registry
            .register_remote(ServiceName::Media, &[endpoint])
            .unwrap();
        HealthClient::new(registry.channel(ServiceName::Media))
            .check(HealthCheckRequest::default())
            .await
    };
    ask(Some(&tls), format!("https://localhost:{port}"))
        .await
        .unwrap();
    // The certificate is for the name, not for the addresses behind it.
    ask(Some(&tls), format!("dns:///localhost:{port}"))
        .await
        .unwrap();
    let refused = ask(None, format!("http://localhost:{port}")).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unavailable);
    // What cannot work, or would send a token in the clear, is not even tried.
    for (tls, scheme) in [(None, "https"), (Some(&tls), "http")] {
        let registry =
            Registry::new(Policy::default(), &Metrics::new()).with_tls(tls.map(Tls::client));
        let endpoint = format!("{scheme}://localhost:{port}");
        let refused = registry.register_remote(ServiceName::Media, &[endpoint]);
        assert!(refused.is_err(), "{scheme}");
    }
}
