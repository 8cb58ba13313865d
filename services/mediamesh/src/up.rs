//! What `up` and `serve` do: bind, build, serve, drain.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use mediamesh_config::Loaded;
use mediamesh_edge::Edge;
use mediamesh_mesh::{
    Identity, Policy, ServiceName, Shutdown,
    admin::{self, Guard},
    identity,
};
use mediamesh_telemetry::HealthStatus;
use tokio::net::TcpListener;

use crate::{
    cli::{Listen, Serve, Up},
    config::Config,
    data_dir::{DataDir, Ready},
    import,
    layout::Layout,
    node::{Frame, Node},
};

/// Starts the whole mesh and imports what was asked for.
pub(crate) async fn up(args: Up, config: Loaded<Config>) -> Result<()> {
    for path in &args.import {
        std::fs::metadata(path).with_context(|| format!("cannot import {}", path.display()))?;
    }
    let layout = Layout::whole(&config.value)?;
    run(config.value, layout, &args.listen, args.import).await
}

/// Starts some services; the others are peers.
pub(crate) async fn serve(args: Serve, config: Loaded<Config>) -> Result<()> {
    let layout = Layout::of(&args, &config.value)?;
    run(config.value, layout, &args.listen, Vec::new()).await
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve {what} on {address}; is the port in use? choose another with --listen or --grpc-listen"))
}

async fn run(
    config: Config,
    layout: Layout,
    listen: &Listen,
    import: Vec<std::path::PathBuf>,
) -> Result<()> {
    let shutdown = Shutdown::new();
    shutdown.signals().context("cannot listen for signals")?;
    // The folder is locked and the ports are bound before anything slow: what cannot work says so
    // at once.
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    let _locks = dir.open(&layout.here)?;
    let grpc = bind("gRPC", config.grpc_listen).await?;
    let http = bind("HTTP", config.listen).await?;
    let ready = Ready {
        http: http.local_addr()?.to_string(),
        grpc: grpc.local_addr()?.to_string(),
        pid: std::process::id(),
    };

    if !config.grpc_listen.ip().is_loopback() && !config.mesh.tls.enabled() {
        tracing::warn!(
            address = ready.grpc,
            "gRPC is served beyond this host without mesh.tls: keys and tokens can be read on the way"
        );
    }
    let drain_limit = drain_limit(&config, &layout);
    let frame = Frame::new(&config, &dir, &layout)?;
    let (registry, health) = (frame.registry(), frame.health());
    // Whoever asks is answered while a model or an index is loaded.
    answer(&frame, grpc, http, &shutdown)?;
    tokio::select! {
        started = Box::pin(start(frame, &shutdown)) => started?,
        () = shutdown.begun() => {
            tracing::info!("stopped before it had started");
            shutdown.drained(drain_limit).await;
            return outcome(&shutdown);
        }
    }
    // Ready to serve is who has heard from everybody it calls; one that falls silent later is what
    // the mesh is for.
    for name in layout.needed() {
        health.set(
            name.as_str(),
            // it is not started, which says enough: who waits for this one must not wait for that one
            HealthStatus::Degraded,
            "no server has answered yet",
        );
        tracing::info!(service = name.as_str(), "waiting for a server to answer");
        tokio::select! {
            () = registry.reached(name) => health.serving(name.as_str()),
            () = shutdown.begun() => break,
        }
    }
    // Who was told to end while it waited was never ready.
    if !shutdown.has_begun() {
        health.set_started();
        // Clients that look into the folder want somebody who takes every call.
        if layout.has(ServiceName::Edge) {
            dir.announce(&ready)?;
        }
        if let Some(path) = &listen.ready_file {
            ready.write(path)?;
        }
        tracing::info!(http = ready.http, grpc = ready.grpc, data_dir = %dir.root().display(), "mediamesh is ready");
        import::screen::say(&format!("mediamesh is ready: http://{}/", ready.http));
    }

    if !import.is_empty() {
        let channel = registry.channel(ServiceName::Media);
        let options = import::Options {
            paths: import,
            ..import::Options::default()
        };
        let stop = shutdown.begun();
        shutdown.spawn(async move {
            tokio::select! {
                () = stop => import::screen::say(
                    "import stopped partway: what went in is kept; start again with the same \
                     folder to go on",
                ),
                // whoever starts the mesh on its folder needs no key
                result = identity::scope(Identity::local(), import::run(channel, options)) => match result {
                    Ok(summary) => summary.print(),
                    Err(error) => tracing::error!("import stopped: {error:#}"),
                },
            }
        });
    }

    shutdown.begun().await;
    tracing::info!("draining; a second signal ends at once");
    health.set_draining();
    let drained = shutdown.drained(drain_limit).await;
    registry.close();
    if layout.has(ServiceName::Edge) {
        dir.retract();
    }
    match drained {
        true => tracing::info!("stopped"),
        false => tracing::warn!(
            limit_secs = drain_limit.as_secs(),
            "stopped before everything had ended"
        ),
    }
    outcome(&shutdown)
}

/// Errors: a part failed, and the process ended for it.
fn outcome(shutdown: &Shutdown) -> Result<()> {
    ensure!(
        !shutdown.has_failed(),
        "a server of this process failed; its log says which and why"
    );
    Ok(())
}

/// Longest that running calls and jobs may take to end after the first signal: what each server
/// gives its calls, after the delay in which an edge goes on accepting, and a second in which they say what
/// they cut off.
fn drain_limit(config: &Config, layout: &Layout) -> Duration {
    let delay = match layout.has(ServiceName::Edge) {
        true => config.edge.drain_delay(),
        false => Duration::ZERO,
    };
    delay + Policy::from_options(&config.mesh).drain_limit() + Duration::from_secs(1)
}

/// Serves both addresses: of what is not built yet, the state.
///
/// Errors: a listener without an address.
pub(crate) fn answer(
    frame: &Frame<'_>,
    grpc: TcpListener,
    http: TcpListener,
    shutdown: &Shutdown,
) -> Result<()> {
    // Where clients from outside come in, they come in by either address as long as they may not know.
    let delay = frame
        .edge
        .as_ref()
        .map_or(Duration::ZERO, Edge::drain_delay);
    let begun = shutdown.begun();
    let stop = async move {
        begun.await;
        tokio::time::sleep(delay).await;
    };
    let failed = shutdown.clone();
    let opening = frame.opening.clone();
    shutdown.spawn(async move {
        if let Err(error) = opening.serve(grpc, stop).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the gRPC server failed"
            );
            failed.fail();
        }
    });
    match frame.edge.clone() {
        Some(edge) => {
            let stop = shutdown.begun();
            let failed = shutdown.clone();
            shutdown.spawn(async move {
                if let Err(error) = edge.serve(http, stop).await {
                    tracing::error!(%error, "the HTTP server failed");
                    failed.fail();
                }
            });
        }
        // Without an edge the address still answers probes and scrapes.
        None => {
            // who reaches a loopback address is on this host
            let guard = match http.local_addr()?.ip().is_loopback() {
                true => Guard::open(),
                false => frame.guard.clone(),
            };
            let admin = admin::guarded(frame.pages(), guard);
            let stop = shutdown.begun();
            let failed = shutdown.clone();
            shutdown.spawn(async move {
                if let Err(error) = axum::serve(http, admin).with_graceful_shutdown(stop).await {
                    tracing::error!(%error, "the admin server failed");
                    failed.fail();
                }
            });
        }
    }
    Ok(())
}

async fn start(frame: Frame<'_>, shutdown: &Shutdown) -> Result<()> {
    begin(frame.build().await?, shutdown).await
}

/// Opens what a node has to callers, and has it do what nobody asks for.
///
/// Errors: an index that cannot be opened.
pub(crate) async fn begin(node: Node, shutdown: &Shutdown) -> Result<()> {
    if let Some(search) = &node.search {
        search
            .open_indexes()
            .await
            .context("cannot open the vector indexes")?;
        node.health.serving("search");
    }
    for name in node.here {
        node.registry.register_local(name, node.routes.clone());
    }
    node.registry.complete();
    node.opening.open(&node.routes);
    // it calls the services
    if let Some(search) = node.search {
        let stop = shutdown.begun();
        shutdown.spawn(async move { search.run(stop).await });
    }
    if let Some(worker) = node.worker {
        let stop = shutdown.begun();
        shutdown.spawn(async move {
            if let Err(error) = worker.run(stop).await {
                tracing::error!(%error, "the worker did not start");
            }
        });
    }
    Ok(())
}
