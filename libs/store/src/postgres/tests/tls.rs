//! TLS to PostgreSQL: with a real server that has it, and the whole store through a server of TLS in front
//! of one that has none.

use std::{net::SocketAddr, path::Path, sync::Arc};

use mediamesh_testkit::{
    Postgres,
    postgres::{programs, programs_with_tls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    KeyStore as _,
    error::{Error, Result},
};

const PASSWORD: &str = "s3cret-of-the-test";
/// What a client sends to ask for TLS: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A certificate for `localhost` (not for an address) of an authority of its own.
struct Identity {
    authority: String,
    certificate: String,
    key: String,
}

fn identity(authority_name: &str) -> Identity {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // with a name: OpenSSL takes a certificate named as its issuer for one signed by itself
    authority
        .distinguished_name
        .push(DnType::CommonName, authority_name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    Identity {
        authority: authority.pem(),
        certificate: server.pem(),
        key: key.serialize_pem(),
    }
}

/// Options for a server that is called `host` and lies at `address`.
fn options(address: SocketAddr, host: &str, query: &str, ca: &Path) -> DatabaseOptions {
    let mut options = DatabaseOptions::at(format!(
        "postgres://postgres:{PASSWORD}@{host}:{}/postgres?hostaddr={}&{query}",
        address.port(),
        address.ip()
    ));
    options.tls_ca = Some(ca.to_owned());
    options.min_connections = 1;
    options
}

async fn one(database: &Database, sql: &'static str) -> Result<String> {
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }
    let read = database.read("one", move |conn| {
        Box::pin(async move {
            let row: Row = diesel::sql_query(sql).get_result(conn).await?;
            Ok(row.value)
        })
    });
    read.await
}

/// What must be refused is, by its name, and tells no password.
async fn refuses(address: SocketAddr, ca: &Path, wrong: &Path) {
    for (host, ca, says) in [
        ("localhost", wrong, "UnknownIssuer"),
        // the certificate is not for that name
        ("database.example", ca, "NotValidForName"),
    ] {
        for mode in ["require", "verify-ca", "verify-full"] {
            let options = options(address, host, &format!("sslmode={mode}"), ca);
            let refused = Database::open(options.clone()).await.err().unwrap();
            let told = format!("{refused} {refused:?}");
            assert!(matches!(refused, Error::Untrusted { .. }), "{told}");
            assert!(
                told.contains("database.tls_ca") && !told.contains(PASSWORD),
                "{told}"
            );
            assert!(
                told.contains(says) || told.to_lowercase().contains("not valid for name"),
                "{told}"
            );
            // a pool that was open when the certificate changed
            let later = one(&Database::lazy(options).unwrap(), "SELECT 'a' AS value").await;
            let later = later.unwrap_err();
            let told = format!("{later} {later:?}");
            assert!(matches!(later, Error::Unavailable { .. }), "{told}");
            assert!(
                told.contains("certificate") && !told.contains(PASSWORD),
                "{told}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_verified_name_and_authority() {
    let Some(programs) = programs_with_tls() else {
        return;
    };
    let files = tempfile::tempdir().unwrap();
    let [good, other] = ["the authority", "another authority"].map(identity);
    let ca = files.path().join("ca.pem");
    let wrong = files.path().join("wrong.pem");
    std::fs::write(&ca, &good.authority).unwrap();
    std::fs::write(&wrong, &other.authority).unwrap();
    let server = Postgres::start_with_tls(&programs, &good.certificate, &good.key)
        .await
        .unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}");
        let options = options(server.address(), "localhost", &query, &ca);
        let database = Database::lazy(options).unwrap();
        let ssl = "SELECT ssl::text AS value FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(one(&database, ssl).await.unwrap(), "true", "{mode}");
        // what says that a statement is not waited for goes by TLS too
        let gone = one(&database, "SELECT pg_sleep(600)::text AS value");
        let gone = tokio::time::timeout(std::time::Duration::from_millis(300), gone).await;
        assert!(gone.is_err());
        let left = "SELECT count(*)::text AS value FROM pg_stat_activity \
                    WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() \
                    AND state = 'active'";
        let start = tokio::time::Instant::now();
        while one(&database, left).await.unwrap() != "0" {
            assert!(start.elapsed() < std::time::Duration::from_secs(10));
        }
    }
    refuses(server.address(), &ca, &wrong).await;
    // without a word about TLS it is plain, which this server allows
    let plain = options(server.address(), "localhost", "sslmode=disable", &ca);
    let database = Database::lazy(plain).unwrap();
    let ssl = "SELECT ssl::text AS value FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(one(&database, ssl).await.unwrap(), "false");
}

/// Answers TLS at an address of its own and passes on what it holds to `target`.
async fn front(target: SocketAddr, identity: &Identity) -> SocketAddr {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut asked = [0; 8];
                client.read_exact(&mut asked).await?;
                assert_eq!(asked, SSL_REQUEST, "nothing goes in the clear");
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_store_works_over_tls_and_never_in_the_clear() {
    let Some(programs) = programs() else {
        return;
    };
    let files = tempfile::tempdir().unwrap();
    let [good, other] = ["the authority", "another authority"].map(identity);
    let ca = files.path().join("ca.pem");
    let wrong = files.path().join("wrong.pem");
    std::fs::write(&ca, &good.authority).unwrap();
    std::fs::write(&wrong, &other.authority).unwrap();
    let cluster = Postgres::start(&programs, &[]).await.unwrap();
    let address = front(cluster.address(), &good).await;
    let database = Database::open(options(address, "localhost", "sslmode=verify-full", &ca));
    let store = PostgresStore::new(database.await.unwrap());
    store.insert_tenant(TENANT, "t").await.unwrap();
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let items = store.get_items(TENANT, &[item.id]).await.unwrap();
    assert_eq!(items.len(), 1);
    refuses(address, &ca, &wrong).await;
    // a server that has no TLS gets neither password nor statement
    let plain = options(cluster.address(), "localhost", "sslmode=require", &ca);
    let refused = Database::open(plain).await.err().unwrap();
    let told = format!("{refused} {refused:?}");
    assert!(matches!(refused, Error::Unavailable { .. }), "{told}");
    assert!(told.contains("TLS") && !told.contains(PASSWORD), "{told}");
}
