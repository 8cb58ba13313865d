//! An S3 server that checks signatures, in this process.
//!
//! It is `s3s-fs`, a server of its own project over a folder. It runs on a runtime of its own, so
//! that stopping it cuts every connection, as the end of a process would; what it holds stays.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use hyper::{
    Request,
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::watch};

use crate::address::Address;

/// The one bucket. The server makes the name of a file of 255 bytes at most out of bucket and key: with
/// three letters a key may have 165 bytes, which those of renditions just need.
pub const BUCKET: &str = "pic";
/// Who may do everything.
pub const ACCESS_KEY: &str = "mediamesh-test-key";
/// Its secret.
pub const SECRET_KEY: &str = "mediamesh-test-secret";

/// An S3 server with one empty bucket, on a loopback address of its own. Ends with this value.
#[derive(Debug)]
pub struct S3 {
    running: Option<Runtime>,
    silent: watch::Sender<bool>,
    listens: SocketAddr,
    folder: TempDir,
    _address: Address,
}

impl S3 {
    /// Starts one.
    ///
    /// Errors: no address is free or the folder cannot be made.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mediamesh-s3-").tempdir()?;
        fs::create_dir(folder.path().join(BUCKET))?;
        let address = Address::claim()?;
        let mut server = Self {
            running: None,
            silent: watch::Sender::new(false),
            listens: address.port(0, 0),
            folder,
            _address: address,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Where it listens, as clients are told.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listens)
    }

    /// The environment of a process that keeps its files here.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 5] {
        [
            ("MEDIAMESH_STORAGE__BACKEND", "s3".to_owned()),
            ("MEDIAMESH_STORAGE__BUCKET", BUCKET.to_owned()),
            ("MEDIAMESH_STORAGE__ENDPOINT", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// Stops it: connections are cut and new ones are refused.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }

    /// Makes it silent, as a process that is stopped: connections are taken, nothing is answered.
    pub fn pause(&self) {
        self.silent.send_replace(true);
    }

    /// Lets it answer again, those who still wait too.
    pub fn unpause(&self) {
        self.silent.send_replace(false);
    }

    /// Starts it where it was, with what it held.
    ///
    /// Errors: the port is taken.
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        self.silent.send_replace(false);
        let files = FileSystem::new(self.folder.path()).map_err(|error| anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind(self.listens)
            .with_context(|| format!("cannot listen on {}", self.listens))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("s3")
            .enable_all()
            .build()?;
        runtime.spawn(serve(listener, service, self.silent.subscribe()));
        self.running = Some(runtime);
        Ok(())
    }

    /// Keys of all whole objects, sorted.
    ///
    /// Errors: the folder cannot be read.
    pub fn keys(&self) -> Result<Vec<String>> {
        let root = self.folder.path().join(BUCKET);
        let mut keys = Vec::new();
        for path in files(&root)? {
            keys.push(path.strip_prefix(&root)?.to_string_lossy().into_owned());
        }
        keys.sort();
        Ok(keys)
    }

    /// Parts of uploads that were neither completed nor aborted.
    ///
    /// Errors: the folder cannot be read.
    pub fn unfinished_parts(&self) -> Result<usize> {
        let mut parts = 0;
        for entry in fs::read_dir(self.folder.path())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            parts += usize::from(name.starts_with(".upload_id-") && name.contains(".part-"));
        }
        Ok(parts)
    }

    /// The folder that its objects are files of, below their keys.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Bytes of an object as they lie on disk.
    ///
    /// Errors: there is none.
    pub fn bytes(&self, key: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.path().join(BUCKET).join(key))?)
    }

    /// Changes the bytes of an object behind the server's back, or takes them away.
    ///
    /// Errors: they cannot be written.
    pub fn tamper(&self, key: &str, bytes: Option<&[u8]>) -> Result<()> {
        let path = self.folder.path().join(BUCKET).join(key);
        match bytes {
            Some(bytes) => fs::write(path, bytes)?,
            None => fs::remove_file(path)?,
        }
        Ok(())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: TcpListener, service: S3Service, silent: watch::Receiver<bool>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((socket, _)) = listener.accept().await {
        // without it a small answer waits 40 ms
        let _ = socket.set_nodelay(true);
        let (service, silent) = (service.clone(), silent.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (service, mut silent) = (service.clone(), silent.clone());
            async move {
                // the server outlives its connections
                let _ = silent.wait_for(|silent| !*silent).await;
                Service::call(&service, request).await
            }
        });
        tokio::spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            // a client that goes away is no news
            let _ = http.serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}
