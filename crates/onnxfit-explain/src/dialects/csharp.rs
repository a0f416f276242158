//! C#: `[ErrorCode:RuntimeException] ..`.

use super::Dialect;

pub(super) const DIALECT: Dialect = Dialect { id: "csharp", marks: &["[ErrorCode:", "Microsoft.ML.OnnxRuntime"] };
