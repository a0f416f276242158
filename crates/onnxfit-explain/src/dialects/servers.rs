//! Servers that start several processes or threads of one program.

use super::Dialect;

pub(super) const GUNICORN: Dialect =
    Dialect { id: "gunicorn", marks: &["gunicorn", "[INFO] Booting worker", "uvicorn.workers", "uwsgi"] };
