//! Serves ONNX models by the Open Inference Protocol, version 2, and refuses rather than dies.
//!
//! Requests wait in a bounded queue for each model and run as many rows at once as the memory twin
//! says fit. The model lives in a worker process behind the guard of `onnxfit-runtime`: running out
//! of memory costs a retry, a death costs a restart, and neither costs an answer. Several models
//! share one budget.

mod front;
mod hosted;
mod metrics;
mod protocol;
mod refusal;
mod setup;
mod trace;
mod worker;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use front::Front;
use front::listening::Listening;
use front::tls::{Inside, Tls};
use hosted::queue::QueueLimits;
use hosted::{Hosted, Hosting, RunRules};
use trace::TraceLog;

pub use front::tls::{TlsError, TlsFiles};
pub use refusal::{Refusal, RefusalKind};
pub use setup::{ModelSetup, SessionSetup};
pub use worker::{WorkerProgram, serve_worker};

/// What to serve, where, and within which bounds.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The models.
    pub models: Vec<ModelSetup>,
    /// Where and how they run.
    pub session: SessionSetup,
    /// What leads to [`serve_worker`].
    pub program: WorkerProgram,
    /// Where to listen for HTTP.
    pub http: SocketAddr,
    /// Where to listen for gRPC, if at all.
    pub grpc: Option<SocketAddr>,
    /// The certificate of both; without one, connections are plain.
    pub tls: Option<TlsFiles>,
    /// The bearer token that callers must show.
    pub token: Option<String>,
    /// The longest body.
    pub request_bytes_max: usize,
    /// Bytes of bodies that may be read at once.
    pub body_bytes_max: u64,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Requests that may wait for one model.
    pub queue_requests: usize,
    /// Bytes of requests that may wait for one model.
    pub queue_bytes: u64,
    /// How long a request waits for others to run with.
    pub batch_delay: Duration,
    /// The most rows of one batch.
    pub batch_rows_max: u64,
    /// How long a run may take before its worker is ended.
    pub run_timeout: Duration,
    /// How long a request may wait, if it does not say.
    pub request_timeout: Option<Duration>,
    /// How long to go on answering what waits once told to stop.
    pub drain_timeout: Duration,
    /// How often to look for changed files, the certificate's among them; never if `None`.
    pub reload_every: Option<Duration>,
    /// Where to write traces.
    pub trace_file: Option<PathBuf>,
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate, or no key to it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No thread, no signal, no file.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A model did not load.
    #[error("model `{model}`: {refusal}")]
    Model {
        /// Which.
        model: String,
        /// Why.
        refusal: Refusal,
    },
    /// The gRPC side ended.
    #[error("the gRPC server ended: {0}")]
    Grpc(String),
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
}

/// Serves until the process is told to stop (SIGTERM, SIGINT), then answers what waits.
///
/// `listening` is told the addresses before the models are loaded, `ready` once they are.
pub fn serve(
    options: &ServeOptions,
    listening: impl FnOnce(Addresses),
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| ServeError::System { doing: "start threads", source })?;
    runtime.block_on(serve_until(options, told_to_stop()?, listening, ready))
}

async fn serve_until(
    options: &ServeOptions,
    stop: impl Future<Output = ()>,
    listening: impl FnOnce(Addresses),
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let traces = match &options.trace_file {
        None => None,
        Some(path) => {
            Some(TraceLog::create(path).map_err(|source| ServeError::System { doing: "open the trace file", source })?)
        }
    };
    let tls = options.tls.as_ref().map(Tls::open).transpose()?.map(Arc::new);
    let inside = |inside| tls.as_ref().map(|tls| (Arc::clone(tls), inside));
    let hosted = Arc::new(Hosted::new(hosting(options), options.models.clone()));
    let front = Arc::new(Front::new(Arc::clone(&hosted), options, traces));
    let (stopped, stopping) = watch::channel(false);
    let when_stopped = |mut stopping: watch::Receiver<bool>| async move {
        // A sender that is gone means the same as one that says so.
        let _ = stopping.wait_for(|stopped| *stopped).await;
    };

    let (http, http_address) = listen(options.http, inside(Inside::Http1)).await?;
    let router = front::http::router(Arc::clone(&front));
    let http =
        tokio::spawn(axum::serve(http, router).with_graceful_shutdown(when_stopped(stopping.clone())).into_future());
    let mut grpc_address = None;
    let mut grpc = None;
    if let Some(address) = options.grpc {
        let (incoming, address) = listen(address, inside(Inside::Http2)).await?;
        grpc_address = Some(address);
        let service = front::grpc::InferenceService(Arc::clone(&front));
        let served = tonic::transport::Server::builder().add_service(service);
        grpc = Some(tokio::spawn(served.serve_with_incoming_shutdown(incoming, when_stopped(stopping))));
    }
    listening(Addresses { http: http_address, grpc: grpc_address });

    for model in options.models.iter().map(|model| model.name.clone()) {
        let loading = model.clone();
        // With several models there may be room for some only; those that leave come back when asked.
        match front.blocking(move |hosted| hosted.running(&loading).map(|_| ())).await {
            Ok(()) => {}
            Err(refusal) => return Err(ServeError::Model { model, refusal }),
        }
    }
    ready();

    let reloading = options.reload_every.map(|every| {
        let (hosted, tls) = (Arc::clone(&hosted), tls.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let (hosted, tls) = (Arc::clone(&hosted), tls.clone());
                let look = move || {
                    match tls.map(|tls| tls.reload_changed()) {
                        Some(Ok(true)) => eprintln!("the certificate was read again"),
                        Some(Err(error)) => eprintln!("{error}; new connections are shown the certificate before it"),
                        Some(Ok(false)) | None => {}
                    }
                    hosted.reload_changed();
                };
                // A panic in there was printed; looking goes on.
                let _ = tokio::task::spawn_blocking(look).await;
            }
        })
    });
    stop.await;
    front.begin_draining();
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    let draining = tokio::task::spawn_blocking(move || hosted.drain());
    if tokio::time::timeout(options.drain_timeout, draining).await.is_err() {
        eprintln!("some requests were not answered within {} s", options.drain_timeout.as_secs());
        // Their workers end with this process.
    }
    let _ = stopped.send(true);
    let ended = async {
        if let Some(grpc) = grpc {
            let ended = grpc.await.map_err(|error| ServeError::Grpc(error.to_string()))?;
            ended.map_err(|error| ServeError::Grpc(error.to_string()))?;
        }
        let ended = http.await.map_err(std::io::Error::other).and_then(|ended| ended);
        ended.map_err(|source| ServeError::System { doing: "serve HTTP", source })
    };
    // Callers that keep a connection open without using it do not keep the server.
    tokio::time::timeout(Duration::from_secs(2), ended).await.unwrap_or(Ok(()))
}

fn hosting(options: &ServeOptions) -> Hosting {
    Hosting {
        session: options.session.clone(),
        program: options.program.clone(),
        rules: RunRules {
            batch_delay: options.batch_delay,
            batch_rows_max: options.batch_rows_max,
            run_timeout: options.run_timeout,
        },
        queue: QueueLimits { requests: options.queue_requests, bytes: options.queue_bytes },
        request_timeout: options.request_timeout,
    }
}

async fn listen(address: SocketAddr, tls: Option<(Arc<Tls>, Inside)>) -> Result<(Listening, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listening = Listening::bind(address, tls).await.map_err(failed)?;
    let address = listening.address().map_err(failed)?;
    Ok((listening, address))
}

/// Ends when the process is told to.
fn told_to_stop() -> Result<impl Future<Output = ()>, ServeError> {
    Ok(async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let terminate = signal(SignalKind::terminate());
            match terminate {
                Ok(mut terminate) => {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = tokio::signal::ctrl_c() => {}
                    }
                }
                Err(_) => {
                    let _ = tokio::signal::ctrl_c().await;
                }
            }
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
        }
    })
}
