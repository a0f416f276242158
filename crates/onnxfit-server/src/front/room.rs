//! Bytes of bodies that may be in memory at once: slow callers cannot fill the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::refusal::{Refusal, RefusalKind};

/// A bounded number of bytes.
pub(crate) struct Room {
    most: u64,
    taken: AtomicU64,
}

/// A part of it, given back when this is dropped.
pub(crate) struct Taken {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, taken: AtomicU64::new(0) }
    }

    /// Takes a part, or says that there is none left. A single body is always let in.
    pub(crate) fn take(room: &Arc<Self>, bytes: u64) -> Result<Taken, Refusal> {
        let before = room.taken.fetch_add(bytes, Ordering::Relaxed);
        let taken = Taken { room: Arc::clone(room), bytes };
        if before > 0 && before.saturating_add(bytes) > room.most {
            let (before, most) = (onnxfit::Bytes(before), onnxfit::Bytes(room.most));
            return Err(Refusal::new(
                RefusalKind::Busy,
                format!("{before} of requests are being read, at most {most}"),
            )
            .retry_after(Duration::from_secs(1)));
        }
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
