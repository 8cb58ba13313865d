//! Where a running mesh is found.

use anyhow::{Context as _, Result};
use mediamesh_mesh::{
    Channel, Policy,
    client::{self, credentials::Credentials},
    tls::Tls,
};
use mediamesh_telemetry::Metrics;

use crate::{cli::Endpoint, config::Config, data_dir::DataDir};

/// gRPC address when nothing says otherwise.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// Connects to the mesh that was named, else to the process that holds the data folder.
///
/// Errors: an address that is none. A mesh that is not there shows at the first call.
pub(crate) fn connect(endpoint: &Endpoint, config: &Config) -> Result<Channel> {
    let tls = Tls::open(&config.mesh.tls)?.map(|tls| tls.client());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let uri = match &endpoint.endpoint {
        Some(uri) if uri.contains("://") => uri.clone(),
        Some(address) => format!("{scheme}://{address}"),
        None => DataDir::locate(config.data_dir.as_deref())
            .ok()
            .and_then(|dir| dir.ready())
            .map_or_else(
                || DEFAULT_ENDPOINT.to_owned(),
                |ready| format!("{scheme}://{}", ready.grpc),
            ),
    };
    let channel = client::connect_with(&uri, Policy::default(), &Metrics::new(), tls)
        .with_context(|| format!("{uri} is no address of a mesh"))?;
    let credentials = match &endpoint.key.api_key {
        Some(key) => {
            Credentials::api_key(key.trim()).context("the API key has characters that none has")?
        }
        None => Credentials::none(),
    };
    Ok(credentials.on(channel))
}

/// Says in people's words why a call failed.
pub(crate) fn explain(status: &tonic::Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unavailable => anyhow::anyhow!(
            "no mesh answers ({}); start one with `mediamesh up`, or name it with --endpoint",
            status.message()
        ),
        tonic::Code::Unauthenticated => anyhow::anyhow!(
            "{}; give a key with --api-key or $MEDIAMESH_API_KEY (`mediamesh keys create --offline` \
             makes the first one on the data folder)",
            status.message()
        ),
        code => anyhow::anyhow!("{} ({code:?})", status.message()),
    }
}
