//! What both protocols put their questions to.

pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod listening;
mod room;
pub(crate) mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onnxfit::runtime::{TensorInfo, Tensors};

use crate::hosted::{Hosted, Running};
use crate::protocol::{Question, datatype};
use crate::refusal::{Refusal, RefusalKind};
use crate::trace::TraceLog;
pub(crate) use room::Room;

/// The server's name in its metadata.
pub(crate) const NAME: &str = "onnxfit";
/// What it runs.
pub(crate) const PLATFORM: &str = "onnxruntime_onnx";

/// Extensions of the protocol that it speaks.
pub(crate) fn extensions() -> [&'static str; 4] {
    ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]
}

/// What both protocols put their questions to.
pub(crate) struct Front {
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) token: Option<String>,
    pub(crate) request_bytes_max: usize,
    pub(crate) body_timeout: Duration,
    /// Bytes of bodies that may be in memory at once.
    pub(crate) bodies: Arc<Room>,
    pub(crate) traces: Option<TraceLog>,
    is_draining: AtomicBool,
}

/// A model's inputs and outputs: name, datatype, shape.
pub(crate) struct Metadata {
    pub(crate) inputs: Vec<(String, &'static str, Vec<i64>)>,
    pub(crate) outputs: Vec<(String, &'static str, Vec<i64>)>,
}

impl Front {
    pub(crate) fn new(hosted: Arc<Hosted>, options: &crate::ServeOptions, traces: Option<TraceLog>) -> Self {
        Self {
            hosted,
            token: options.token.clone(),
            request_bytes_max: options.request_bytes_max,
            body_timeout: options.body_timeout,
            bodies: Arc::new(Room::new(options.body_bytes_max)),
            traces,
            is_draining: AtomicBool::new(false),
        }
    }

    /// Whether a caller may ask at all.
    pub(crate) fn authorize(&self, header: Option<&str>) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        // Takes as long for a wrong byte in front as for one at the end.
        let differs = given.bytes().zip(token.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
        if given.len() == token.len() && differs == 0 {
            return Ok(());
        }
        Err(Refusal::new(RefusalKind::Unauthorized, "a bearer token is needed"))
    }

    /// Whether every model that was not dismissed answers.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining() && self.hosted.index().iter().any(|entry| entry.is_ready)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Refuses what would be refused anyway, before its body is read.
    pub(crate) fn admit(&self, model: &str) -> Result<(), Refusal> {
        if self.is_draining() {
            return Err(
                Refusal::new(RefusalKind::Unavailable, "the server is going down").retry_after(Duration::from_secs(5))
            );
        }
        self.hosted.is_ready(model).map(|_| ())
    }

    /// Keeps bodies in memory within bounds.
    pub(crate) fn take_room(&self, bytes: u64) -> Result<room::Taken, Refusal> {
        Room::take(&self.bodies, bytes)
    }

    /// Does what blocks where it may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Hosted) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let hosted = Arc::clone(&self.hosted);
        tokio::task::spawn_blocking(move || work(&hosted))
            .await
            .map_err(|error| Refusal::new(RefusalKind::Internal, error.to_string()))?
    }

    async fn running(&self, model: &str) -> Result<Arc<Running>, Refusal> {
        match self.hosted.running_now(model)? {
            Some(running) => Ok(running),
            None => {
                let model = model.to_owned();
                self.blocking(move |hosted| hosted.running(&model)).await
            }
        }
    }

    pub(crate) async fn metadata(&self, model: &str) -> Result<Metadata, Refusal> {
        let running = self.running(model).await?;
        let tensors = |infos: &[TensorInfo]| {
            let each = |info: &TensorInfo| {
                let datatype = info.element_type.and_then(datatype::datatype)?;
                let shape = info.shape.iter().map(|dim| dim.map_or(-1, |dim| dim as i64)).collect();
                Some((info.name.clone(), datatype, shape))
            };
            infos.iter().filter_map(each).collect()
        };
        Ok(Metadata { inputs: tensors(&running.inputs), outputs: tensors(&running.outputs) })
    }

    /// Asks a model, and waits.
    pub(crate) async fn infer(&self, model: &str, question: Question) -> Result<Tensors, Refusal> {
        let start = Instant::now();
        let span = self.traces.as_ref().map(|traces| traces.begin(question.trace_parent.as_deref()));
        let wanted = question.outputs.clone();
        let answer = self.asked(model, question).await;
        if let (Some(traces), Some(span)) = (&self.traces, span) {
            traces.end(span, model, start.elapsed(), answer.as_ref().err());
        }
        let mut outputs = answer?;
        if wanted.is_empty() {
            return Ok(outputs);
        }
        Ok(wanted.into_iter().filter_map(|name| outputs.remove(&name).map(|tensor| (name, tensor))).collect())
    }

    async fn asked(&self, model: &str, mut question: Question) -> Result<Tensors, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(RefusalKind::Unavailable, "the server is going down"));
        }
        // Between finding a model and asking it, it may have made room for another: once more, then.
        for _ in 0..3 {
            let running = self.running(model).await?;
            match self.hosted.ask(&running, &mut question) {
                Ok(answer) => {
                    return answer.await.unwrap_or_else(|_| {
                        Err(Refusal::new(RefusalKind::Unavailable, "the model went away")
                            .retry_after(Duration::from_secs(1)))
                    });
                }
                Err(refusal) if refusal.kind == RefusalKind::Unavailable => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::new(RefusalKind::Unavailable, "models make room for each other too often; try again")
            .retry_after(Duration::from_secs(1)))
    }

    /// Counts a request that never came to wait.
    pub(crate) fn refused(&self, model: &str, refusal: &Refusal) {
        let in_queue = matches!(refusal.kind, RefusalKind::DoesNotFit | RefusalKind::Deadline | RefusalKind::Internal);
        if !in_queue && let Ok(metrics) = self.hosted.metrics(model) {
            metrics.refused(refusal);
        }
    }
}

/// Refuses versions that there are none of.
pub(crate) fn check_version(model: &str, version: &str) -> Result<(), Refusal> {
    match version {
        "1" | "" => Ok(()),
        other => Err(Refusal::new(RefusalKind::NotFound, format!("model `{model}` has version 1 only, not `{other}`"))),
    }
}
