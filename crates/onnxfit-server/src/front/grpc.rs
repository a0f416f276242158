//! The protocol over gRPC: `inference.GRPCInferenceService`.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use prost::Message;
use tonic::codegen::{Body, BoxFuture, Context, Poll, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::{Front, Metadata, NAME, PLATFORM, check_version, extensions};
use crate::protocol::Question;
use crate::protocol::grpc::{
    Empty, Index, IndexEntry, IndexRequest, InferRequest, InferResponse, LoadRequest, ModelMetadata, ModelName,
    ServerMetadata, TensorMetadata, Yes, answer,
};
use crate::refusal::Refusal;

/// The service.
#[derive(Clone)]
pub(crate) struct InferenceService(pub(crate) Arc<Front>);

impl NamedService for InferenceService {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

type Answer = http::Response<tonic::body::Body>;

impl<B> Service<http::Request<B>> for InferenceService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<Answer, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let front = Arc::clone(&self.0);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let is_health = matches!(method.as_str(), "ServerLive" | "ServerReady");
        if !is_health && let Err(refusal) = front.authorize(token.as_deref()) {
            return Box::pin(async move { Ok(status(&refusal).into_http()) });
        }
        match method.as_str() {
            "ServerLive" => unary(front, request, |_, _: Empty| async { Ok(Yes { yes: true }) }),
            "ServerReady" => unary(front, request, |front, _: Empty| async move { Ok(Yes { yes: front.is_ready() }) }),
            "ModelReady" => unary(front, request, model_ready),
            "ServerMetadata" => unary(front, request, |_, _: Empty| async { Ok(server_metadata()) }),
            "ModelMetadata" => unary(front, request, model_metadata),
            "ModelInfer" => {
                let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
                let trace = trace.map(str::to_owned);
                unary(front, request, move |front, asked| model_infer(front, asked, trace.clone()))
            }
            "RepositoryIndex" => {
                unary(
                    front,
                    request,
                    |front, asked: IndexRequest| async move { Ok(repository_index(&front, asked.ready)) },
                )
            }
            "RepositoryModelLoad" => unary(front, request, |front, asked: LoadRequest| async move {
                front.blocking(move |hosted| hosted.load(&asked.model_name)).await.map(|()| Empty {})
            }),
            "RepositoryModelUnload" => unary(front, request, |front, asked: LoadRequest| async move {
                front.blocking(move |hosted| hosted.unload(&asked.model_name)).await.map(|()| Empty {})
            }),
            other => {
                let status = Status::unimplemented(format!("there is no method `{other}` here"));
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

fn server_metadata() -> ServerMetadata {
    ServerMetadata {
        name: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: extensions().map(str::to_owned).to_vec(),
    }
}

async fn model_ready(front: Arc<Front>, asked: ModelName) -> Result<Yes, Refusal> {
    check_version(&asked.name, &asked.version)?;
    Ok(Yes { yes: !front.is_draining() && front.hosted.is_ready(&asked.name)? })
}

async fn model_metadata(front: Arc<Front>, asked: ModelName) -> Result<ModelMetadata, Refusal> {
    check_version(&asked.name, &asked.version)?;
    let Metadata { inputs, outputs } = front.metadata(&asked.name).await?;
    let tensors = |tensors: Vec<(String, &'static str, Vec<i64>)>| {
        let each =
            |(name, datatype, shape): (String, &str, _)| TensorMetadata { name, datatype: datatype.to_owned(), shape };
        tensors.into_iter().map(each).collect()
    };
    Ok(ModelMetadata {
        name: asked.name,
        versions: vec!["1".to_owned()],
        platform: PLATFORM.to_owned(),
        inputs: tensors(inputs),
        outputs: tensors(outputs),
    })
}

async fn model_infer(
    front: Arc<Front>,
    asked: InferRequest,
    trace_parent: Option<String>,
) -> Result<InferResponse, Refusal> {
    let (model, id) = (asked.model_name.clone(), asked.id.clone());
    let outputs = async {
        check_version(&model, &asked.model_version)?;
        front.admit(&model)?;
        front.infer(&model, Question { trace_parent, ..asked.question()? }).await
    }
    .await;
    let outputs = outputs.inspect_err(|refusal| front.refused(&model, refusal))?;
    answer(&model, id, outputs)
}

fn repository_index(front: &Front, only_ready: bool) -> Index {
    let entries = front.hosted.index().into_iter().filter(|entry| entry.is_ready || !only_ready);
    let entry = |entry: crate::hosted::Entry| IndexEntry {
        name: entry.name,
        version: "1".to_owned(),
        state: if entry.is_ready { "READY" } else { "UNAVAILABLE" }.to_owned(),
        reason: entry.reason,
    };
    Index { models: entries.map(entry).collect() }
}

fn status(refusal: &Refusal) -> Status {
    let mut status = Status::new(refusal.kind.grpc(), refusal.message.clone());
    if let Some(after) = refusal.retry_after
        && let Ok(seconds) = after.as_secs().max(1).to_string().parse()
    {
        status.metadata_mut().insert("retry-after", seconds);
    }
    status
}

/// One method: decodes, asks, encodes.
fn unary<B, Q, A, F, W>(front: Arc<Front>, request: http::Request<B>, work: W) -> BoxFuture<Answer, Infallible>
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = Result<A, Refusal>> + Send + 'static,
    W: Fn(Arc<Front>, Q) -> F + Send + Sync + 'static,
{
    let most = front.request_bytes_max;
    let method = Method { front, work, question: std::marker::PhantomData };
    Box::pin(async move {
        let codec = ProstCodec::<A, Q>::default();
        Ok(Grpc::new(codec).apply_max_message_size_config(Some(most), Some(usize::MAX)).unary(method, request).await)
    })
}

struct Method<W, Q> {
    front: Arc<Front>,
    work: W,
    question: std::marker::PhantomData<fn(Q)>,
}

impl<W, Q, A, F> UnaryService<Q> for Method<W, Q>
where
    A: Message + Default + 'static,
    F: Future<Output = Result<A, Refusal>> + Send + 'static,
    W: Fn(Arc<Front>, Q) -> F,
{
    type Response = A;
    type Future = BoxFuture<Response<A>, Status>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = (self.work)(Arc::clone(&self.front), request.into_inner());
        Box::pin(async move { answer.await.map(Response::new).map_err(|refusal| status(&refusal)) })
    }
}
