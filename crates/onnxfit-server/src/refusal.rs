//! Why a request got no answer, in the words of both protocols.

use std::time::Duration;

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of no it is.
    pub kind: RefusalKind,
    /// What, where, how much.
    pub message: String,
    /// When it is worth asking again.
    pub retry_after: Option<Duration>,
}

/// What kind of no it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request itself is wrong.
    BadRequest,
    /// No token, or a wrong one.
    Unauthorized,
    /// No such model.
    NotFound,
    /// The body is longer than the server takes.
    TooLarge,
    /// Not even one row fits the memory there is.
    DoesNotFit,
    /// The queue is full.
    Busy,
    /// The model is not ready, or the server is going down.
    Unavailable,
    /// It waited longer than it said it would.
    Deadline,
    /// The model failed.
    Internal,
}

impl RefusalKind {
    /// The status code of HTTP.
    pub const fn http(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::TooLarge | Self::DoesNotFit => 413,
            Self::Busy => 429,
            Self::Unavailable => 503,
            Self::Deadline => 504,
            Self::Internal => 500,
        }
    }

    /// The status code of gRPC.
    pub const fn grpc(self) -> tonic::Code {
        match self {
            Self::BadRequest => tonic::Code::InvalidArgument,
            Self::Unauthorized => tonic::Code::Unauthenticated,
            Self::NotFound => tonic::Code::NotFound,
            Self::TooLarge | Self::DoesNotFit | Self::Busy => tonic::Code::ResourceExhausted,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Deadline => tonic::Code::DeadlineExceeded,
            Self::Internal => tonic::Code::Internal,
        }
    }

    /// The label that metrics carry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::DoesNotFit => "does_not_fit",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
        }
    }
}

impl Refusal {
    /// A refusal of a kind.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// The request itself is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::BadRequest, message)
    }

    /// The same, with the time after which it is worth asking again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
