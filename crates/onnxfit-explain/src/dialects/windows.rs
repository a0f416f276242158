//! Windows: the paths of Microsoft's build machines or of a user's disk.

use super::Dialect;

pub(super) const DIALECT: Dialect =
    Dialect { id: "windows", marks: &["D:\\a\\_work\\", "C:\\Users\\", ".dll\"", "onnxruntime.dll"] };
