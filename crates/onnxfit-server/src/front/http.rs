//! The protocol over HTTP: paths, headers, bodies.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Front, Metadata, NAME, check_version, extensions};
use crate::protocol::json as infer_json;
use crate::refusal::{Refusal, RefusalKind};

static HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// All paths.
pub(crate) fn router(front: Arc<Front>) -> Router {
    let closed = Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/models/{model}", get(metadata))
        .route("/v2/models/{model}/ready", get(ready))
        .route("/v2/models/{model}/config", get(config))
        .route("/v2/models/{model}/stats", get(statistics))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(metadata_of_version))
        .route("/v2/models/{model}/versions/{version}/ready", get(ready_of_version))
        .route("/v2/models/{model}/versions/{version}/config", get(config_of_version))
        .route("/v2/models/{model}/versions/{version}/stats", get(statistics_of_version))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer_version))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(Arc::clone(&front), authorized));
    Router::new()
        .route("/v2/health/live", get(|| async { StatusCode::OK }))
        .route("/v2/health/ready", get(server_ready))
        .merge(closed)
        .fallback(|| async { Refusal::new(RefusalKind::NotFound, "there is no such path") })
        .with_state(front)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, json_body(&json!({ "error": self.message }))).into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}

fn json_body(value: &Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], value.to_string())
}

async fn authorized(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match front.authorize(token) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn server() -> impl IntoResponse {
    json_body(&json!({ "name": NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": extensions() }))
}

async fn server_ready(State(front): State<Arc<Front>>) -> StatusCode {
    if front.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn ready(State(front): State<Arc<Front>>, Path(model): Path<String>) -> Result<StatusCode, Refusal> {
    let is_ready = !front.is_draining() && front.hosted.is_ready(&model)?;
    Ok(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

async fn ready_of_version(
    State(front): State<Arc<Front>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    check_version(&model, &version)?;
    ready(State(front), Path(model)).await
}

async fn metadata(State(front): State<Arc<Front>>, Path(model): Path<String>) -> Result<impl IntoResponse, Refusal> {
    let Metadata { inputs, outputs } = front.metadata(&model).await?;
    let tensors = |tensors: Vec<(String, &'static str, Vec<i64>)>| -> Vec<Value> {
        let each = |(name, datatype, shape)| json!({ "name": name, "datatype": datatype, "shape": shape });
        tensors.into_iter().map(each).collect()
    };
    Ok(json_body(&json!({
        "name": model,
        "versions": ["1"],
        "platform": super::PLATFORM,
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
    })))
}

async fn metadata_of_version(
    State(front): State<Arc<Front>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    check_version(&model, &version)?;
    metadata(State(front), Path(model)).await
}

async fn config(State(front): State<Arc<Front>>, Path(model): Path<String>) -> Result<impl IntoResponse, Refusal> {
    let Metadata { inputs, outputs } = front.metadata(&model).await?;
    let tensors = |tensors: Vec<(String, &'static str, Vec<i64>)>| -> Vec<Value> {
        let data_type = |name: &str| if name == "BYTES" { "TYPE_STRING".to_owned() } else { format!("TYPE_{name}") };
        let each = |(name, datatype, dims)| json!({ "name": name, "data_type": data_type(datatype), "dims": dims });
        tensors.into_iter().map(each).collect()
    };
    // Batches are made of whole requests, whose shapes hold the batch: Triton's "no batch dimension".
    Ok(json_body(&json!({
        "name": model,
        "platform": super::PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": 0,
        "input": tensors(inputs),
        "output": tensors(outputs),
    })))
}

async fn config_of_version(
    State(front): State<Arc<Front>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    check_version(&model, &version)?;
    config(State(front), Path(model)).await
}

fn statistics_of(front: &Front, model: &str) -> Result<Value, Refusal> {
    let statistics = front.hosted.metrics(model)?.statistics();
    let count = |count: u64, ns: u64| json!({ "count": count, "ns": ns });
    Ok(json!({
        "name": model,
        "version": "1",
        "inference_count": statistics.n_rows,
        "execution_count": statistics.n_batches,
        "inference_stats": {
            "success": count(statistics.n_ok, statistics.request_ns),
            "fail": count(statistics.n_failed, 0),
            "compute_infer": count(statistics.n_batches, statistics.run_ns),
        },
    }))
}

async fn statistics(State(front): State<Arc<Front>>, Path(model): Path<String>) -> Result<impl IntoResponse, Refusal> {
    Ok(json_body(&json!({ "model_stats": [statistics_of(&front, &model)?] })))
}

async fn statistics_of_version(
    State(front): State<Arc<Front>>,
    Path((model, version)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    check_version(&model, &version)?;
    statistics(State(front), Path(model)).await
}

async fn all_statistics(State(front): State<Arc<Front>>) -> Result<impl IntoResponse, Refusal> {
    let each: Result<Vec<Value>, Refusal> = front.hosted.names().map(|model| statistics_of(&front, model)).collect();
    Ok(json_body(&json!({ "model_stats": each? })))
}

async fn infer(
    State(front): State<Arc<Front>>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let answered = answer(&front, &model, &parts.headers, body).await;
    if let Err(refusal) = &answered {
        front.refused(&model, refusal);
    }
    answered
}

async fn infer_version(
    State(front): State<Arc<Front>>,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    check_version(&model, &version)?;
    infer(State(front), Path(model), request).await
}

async fn answer(front: &Arc<Front>, model: &str, headers: &HeaderMap, body: Body) -> Result<Response, Refusal> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(Refusal::bad(format!("content encoding {encoding:?} is not supported; send it as it is")));
    }
    let number = |name: &HeaderName| match headers.get(name) {
        None => Ok(None),
        Some(value) => match value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Refusal::bad(format!("header `{name}` is {value:?}, which is no number of bytes"))),
        },
    };
    let most = front.request_bytes_max;
    // Refused by what it says, before a byte of it is read.
    if let Some(length) = number(&header::CONTENT_LENGTH)?
        && length > most as u64
    {
        let (length, most) = (onnxfit::Bytes(length), onnxfit::Bytes(most as u64));
        return Err(Refusal::new(RefusalKind::TooLarge, format!("the body has {length}, the server takes {most}")));
    }
    let header_length = number(&HEADER_LENGTH)?.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    front.admit(model)?;
    let _room = front.take_room(number(&header::CONTENT_LENGTH)?.unwrap_or(0))?;
    let body: Bytes = tokio::time::timeout(front.body_timeout, to_bytes(body, most))
        .await
        .map_err(|_| Refusal::new(RefusalKind::Deadline, "the body did not arrive in time"))?
        .map_err(|error| match error.to_string().contains("length limit") {
            true => {
                Refusal::new(RefusalKind::TooLarge, format!("the body has more than {}", onnxfit::Bytes(most as u64)))
            }
            false => Refusal::bad(format!("the body did not arrive whole: {error}")),
        })?;
    let (mut question, form) = infer_json::read(&body, header_length)?;
    drop(body);
    question.trace_parent = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let id = question.id.clone();
    let outputs = front.infer(model, question).await?;
    let (body, header_length) = infer_json::write(model, &id, &outputs, &form)?;
    let mut response = Response::new(Body::from(body));
    let content_type = match header_length {
        None => "application/json",
        Some(length) => {
            response.headers_mut().insert(&HEADER_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

async fn index(State(front): State<Arc<Front>>) -> impl IntoResponse {
    let entry = |entry: crate::hosted::Entry| {
        let state = if entry.is_ready { "READY" } else { "UNAVAILABLE" };
        json!({ "name": entry.name, "version": "1", "state": state, "reason": entry.reason })
    };
    json_body(&front.hosted.index().into_iter().map(entry).collect())
}

async fn load(State(front): State<Arc<Front>>, Path(model): Path<String>) -> Result<StatusCode, Refusal> {
    front.blocking(move |hosted| hosted.load(&model)).await.map(|()| StatusCode::OK)
}

async fn unload(State(front): State<Arc<Front>>, Path(model): Path<String>) -> Result<StatusCode, Refusal> {
    front.blocking(move |hosted| hosted.unload(&model)).await.map(|()| StatusCode::OK)
}

async fn metrics(State(front): State<Arc<Front>>) -> impl IntoResponse {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(header::CONTENT_TYPE, kind)], crate::metrics::render(&front.hosted.shown()))
}
