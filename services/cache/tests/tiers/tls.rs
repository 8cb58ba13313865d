//! Redis, and a cluster of it, behind TLS and a password.

use std::{net::IpAddr, path::Path};

use mediamesh_cache::{RedisOptions, redis::options::Password};
use mediamesh_testkit::{Redis, RedisCluster, RedisTls, redis::programs};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::{
    many::{get_many, set_many},
    subject::{Subject, redis, tenant},
    suite::{entry, invalidate, set, value},
};

fn certificates(folder: &Path, ip: IpAddr) -> RedisTls {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // a name of its own: OpenSSL takes a certificate named as its issuer for one signed by itself
    authority
        .distinguished_name
        .push(DnType::CommonName, "authority of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![ip.to_string()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    RedisTls {
        certificate: write("server.pem", server.pem()),
        key: write("server.key", key.serialize_pem()),
        authority: write("ca.pem", authority.pem()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_go_over_tls_to_a_redis_that_proves_itself_and_to_no_other() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = |ip| certificates(folder.path(), ip);
    let server = Redis::start_with(&programs, Some(&files), &[])
        .await
        .unwrap();
    server
        .command(&["config", "set", "requirepass", "secret"])
        .unwrap();
    let options = RedisOptions {
        ca_file: Some(folder.path().join("ca.pem")),
        password: Some(Password("secret".to_owned())),
        ..redis(vec![server.url()], false)
    };
    let trusting = Subject::connected(options.clone()).await;
    set(&trusting.direct(), tenant(1), entry("k", "v", &[])).await;
    let other = Subject::connected(options.clone()).await;
    assert_eq!(value(&other.direct(), tenant(1), "k").await.unwrap(), "v");

    // the system's authorities know nothing of ours
    let strict = Subject::new(RedisOptions {
        ca_file: None,
        ..options.clone()
    });
    let stranger = Subject::new(RedisOptions {
        password: None,
        ..options
    });
    for subject in [strict, stranger] {
        let cache = subject.direct();
        set(&cache, tenant(1), entry("own", "v", &[])).await;
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        subject.is_connected(false).await;
        assert!(
            subject.detail().starts_with("memory only"),
            "{}",
            subject.detail()
        );
        assert_eq!(value(&cache, tenant(1), "k").await, None);
        assert_eq!(value(&cache, tenant(1), "own").await.unwrap(), "v");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_go_over_tls_to_every_master_of_a_cluster_and_to_its_next_one() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = |ip| certificates(folder.path(), ip);
    let mut cluster = RedisCluster::start_with(&programs, Some(&files))
        .await
        .unwrap();
    assert!(cluster.urls()[0].starts_with("rediss://"));
    let options = RedisOptions {
        ca_file: Some(folder.path().join("ca.pem")),
        ..redis(cluster.urls(), true)
    };
    let subject = Subject::connected(options.clone()).await;
    let cache = subject.direct();
    set_many(&cache, tenant(1), ("k", 300), &["t"]).await;
    for keys in cluster.on_masters(&["dbsize"]).unwrap() {
        assert!(keys.parse::<u64>().unwrap() > 30, "{keys}");
    }
    let other = Subject::connected(options.clone()).await;
    let found = get_many(&other.direct(), tenant(1), ("k", 300)).await;
    assert_eq!(found, [true; 300]);
    // the node that takes over proves itself too
    cluster.kill_a_master().unwrap();
    cluster.whole().await.unwrap();
    other.is_connected(true).await;
    assert_eq!(
        invalidate(&other.direct(), tenant(1), &[], &["t"], "").await,
        300
    );
    set_many(&other.direct(), tenant(1), ("n", 300), &[]).await;
    let third = Subject::connected(options.clone()).await;
    let found = get_many(&third.direct(), tenant(1), ("n", 300)).await;
    assert_eq!(found, [true; 300]);

    let strict = Subject::new(RedisOptions {
        ca_file: None,
        ..options
    });
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    strict.is_connected(false).await;
    assert_eq!(value(&strict.direct(), tenant(1), "n1").await, None);
}
