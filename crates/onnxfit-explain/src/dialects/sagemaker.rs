//! SageMaker endpoints and their CloudWatch logs.

use super::Dialect;

pub(super) const DIALECT: Dialect =
    Dialect { id: "sagemaker", marks: &["InvokeEndpoint", "SageMaker", "sagemaker", "ModelError"] };
