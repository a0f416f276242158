//! `onnxfit serve`: models behind the Open Inference Protocol, refusing rather than dying.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use onnxfit::Bytes;
use onnxfit_server::{ModelSetup, ServeOptions, SessionSetup, TlsFiles, WorkerProgram};

use crate::arguments::parse_dim;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// ONNX files, each as `PATH` or `NAME=PATH`
    #[arg(required = true, value_name = "[NAME=]MODEL")]
    models: Vec<String>,
    /// An AWS instance type, a GPU or an amount that all models share
    #[arg(long, value_name = "TARGET")]
    on: Option<String>,
    /// Execution provider
    #[arg(long, value_enum, default_value_t = ServedProvider::Cuda)]
    provider: ServedProvider,
    /// The most that the arenas of all models may take together
    #[arg(long, value_name = "BYTES")]
    arena_limit: Option<Bytes>,
    /// Graph optimization level: `disable`, `basic`, `extended` or `all`
    #[arg(long, default_value = "all", value_parser = ["disable", "basic", "extended", "all"])]
    opt_level: String,
    /// Intra-op threads of each model
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: u32,
    /// Size of a named dimension, for what one row takes
    #[arg(long, value_name = "NAME=N", value_parser = parse_dim)]
    dim: Vec<(String, i64)>,
    /// The dimension that the batch is, if its name does not tell
    #[arg(long, value_name = "NAME")]
    batch_dim: Option<String>,
    /// Address to listen on; others than this machine can reach any but the loopback
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port of HTTP; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    http_port: u16,
    /// Port of gRPC; 0 takes a free one
    #[arg(long, default_value_t = 8001)]
    grpc_port: u16,
    /// HTTP only
    #[arg(long)]
    no_grpc: bool,
    /// Encrypt connections: the certificate in PEM, the server's own first, then those above it; read
    /// again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM, not encrypted
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file whose first line is the bearer token that callers must show
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The longest request
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    max_request: Bytes,
    /// Bytes of requests that are read at once
    #[arg(long, value_name = "BYTES", default_value = "1GiB")]
    max_reading: Bytes,
    /// Requests that may wait for one model
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Bytes of requests that may wait for one model
    #[arg(long, value_name = "BYTES", default_value = "1GiB")]
    queue_bytes: Bytes,
    /// Milliseconds that a request waits for others to run with
    #[arg(long, value_name = "MS", default_value_t = 0)]
    batch_delay_ms: u64,
    /// The most rows that run at once, however many fit
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_batch_rows: u64,
    /// Seconds that a request may wait, if it does not say
    #[arg(long, value_name = "S")]
    request_timeout: Option<u64>,
    /// Seconds that a run may take
    #[arg(long, value_name = "S", default_value_t = 300)]
    run_timeout: u64,
    /// Seconds to go on answering what waits once told to stop
    #[arg(long, value_name = "S", default_value_t = 30)]
    drain_timeout: u64,
    /// Seconds between looks for changed model files and certificates; 0 never looks
    #[arg(long, value_name = "S", default_value_t = 5)]
    reload_every: u64,
    /// Write a line of OTLP JSON for each request
    #[arg(long, value_name = "FILE")]
    trace_file: Option<PathBuf>,
    /// A rehearsal of a card that others share: a session beside each model takes up to so much of
    /// its arena, at random
    #[arg(long, value_name = "BYTES")]
    rehearse_others: Option<Bytes>,
    /// Install nothing
    #[arg(long)]
    offline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ServedProvider {
    Cpu,
    Cuda,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let options = options(arguments)?;
    let listening = |addresses: onnxfit_server::Addresses| {
        let grpc = addresses.grpc.map(|grpc| format!(", gRPC on {grpc}")).unwrap_or_default();
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        eprintln!("HTTP on {scheme}://{}{grpc}; loading {} model(s)", addresses.http, options.models.len());
        if let Some(warning) = warning(addresses.http.ip(), &options) {
            eprintln!("warning: {warning}");
        }
    };
    onnxfit_server::serve(&options, listening, || eprintln!("ready"))?;
    eprintln!("stopped");
    Ok(0)
}

/// What whoever opens a server to others should know.
fn warning(address: IpAddr, options: &ServeOptions) -> Option<&'static str> {
    match (address.is_loopback(), &options.token, &options.tls) {
        (true, _, _) | (false, Some(_), Some(_)) => None,
        (false, None, _) => Some("everybody who reaches this address may ask; `--token-file` wants a token"),
        (false, Some(_), None) => Some(
            "whoever is on the way reads the callers' token and their data; encrypt them with `--tls-cert` and \
             `--tls-key`, unless something in front of this server does",
        ),
    }
}

/// Holds one model for a server, as [`onnxfit_server::serve`] starts it.
pub(crate) fn worker() -> Result<u8> {
    let (input, output) = onnxfit::runtime::worker::stdio()?;
    onnxfit_server::serve_worker(input, output)?;
    Ok(0)
}

fn options(arguments: &Arguments) -> Result<ServeOptions> {
    let models: Vec<ModelSetup> =
        arguments.models.iter().map(|text| model(text, arguments.batch_dim.as_ref())).collect::<Result<_>>()?;
    for (at, model) in models.iter().enumerate() {
        if models[..at].iter().any(|earlier| earlier.name == model.name) {
            bail!("two models are called `{}`; name one of them, as `NAME=PATH`", model.name);
        }
    }
    let session = SessionSetup {
        on: arguments.on.clone(),
        cuda: arguments.provider == ServedProvider::Cuda,
        dims: arguments.dim.iter().cloned().collect(),
        optimization: arguments.opt_level.clone(),
        limit_bytes: arguments.arena_limit.map(Bytes::get),
        n_threads: arguments.threads,
        offline: arguments.offline,
        rehearsal_bytes: arguments.rehearse_others.map(Bytes::get),
    };
    // A target that does not exist is an error now and not at the first request.
    session.request(session.limit_bytes)?;
    let token = arguments.token_file.as_deref().map(token).transpose()?;
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let tls = tls.map(|(certificate, key)| TlsFiles { certificate, key });
    let program = WorkerProgram { path: super::program()?, arguments: vec!["__serve-worker".to_owned()] };
    let seconds = Duration::from_secs;
    Ok(ServeOptions {
        models,
        session,
        program,
        http: SocketAddr::new(arguments.host, arguments.http_port),
        grpc: (!arguments.no_grpc).then(|| SocketAddr::new(arguments.host, arguments.grpc_port)),
        tls,
        token,
        request_bytes_max: usize::try_from(arguments.max_request.get()).unwrap_or(usize::MAX),
        body_bytes_max: arguments.max_reading.get(),
        body_timeout: seconds(60),
        queue_requests: arguments.queue,
        queue_bytes: arguments.queue_bytes.get(),
        batch_delay: Duration::from_millis(arguments.batch_delay_ms),
        batch_rows_max: arguments.max_batch_rows.max(1),
        run_timeout: seconds(arguments.run_timeout.max(1)),
        request_timeout: arguments.request_timeout.map(seconds),
        drain_timeout: seconds(arguments.drain_timeout),
        reload_every: (arguments.reload_every > 0).then(|| seconds(arguments.reload_every)),
        trace_file: arguments.trace_file.clone(),
    })
}

fn model(text: &str, batch_dim: Option<&String>) -> Result<ModelSetup> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !Path::new(text).exists() => (name.to_owned(), PathBuf::from(path)),
        _ => {
            let path = PathBuf::from(text);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // `resnet50/model.onnx` is called resnet50.
            let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            let name = if stem == "model" { folder.unwrap_or(stem) } else { stem };
            (name, path)
        }
    };
    if !path.is_file() {
        bail!("`{}` is no file", path.display());
    }
    Ok(ModelSetup { name, path, batch_dim: batch_dim.cloned() })
}

fn token(path: &Path) -> Result<String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the token in `{shown}`"))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        bail!("the first line of `{shown}` is empty; it should be the token");
    }
    Ok(token.to_owned())
}
