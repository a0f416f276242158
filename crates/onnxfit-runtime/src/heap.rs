//! Gives back to the system what the C library's heap holds and nobody uses.
//!
//! An arena that grows and shrinks asks the heap for blocks of megabytes and returns them. glibc
//! takes the first such block from the system and gives it back, but raises its threshold to the
//! block's size then (`M_MMAP_THRESHOLD` is dynamic, mallopt(3)): later ones lie in the heap between
//! small ones, and what is free between those stays resident. A service of many sizes swells to
//! several times what it uses. One call returns those pages; this says when.
//!
//! Costs a glance at the clock for each run and at the process's size five times a second; it gives
//! back only what has grown, and takes at most a fiftieth of the time.
#![allow(unsafe_code)] // The heap's own function is behind the C library's interface only.

use std::time::{Duration, Instant};

/// The least time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many times what giving back took is waited before the next look.
const REST: u32 = 50;
/// Growth that is not worth a call: this much, and an eighth of what was resident.
const SLACK_BYTES: u64 = 8 << 20;

/// When to give back.
#[derive(Debug)]
pub struct HeapRelief {
    /// What was resident when all was given back.
    resident_bytes: u64,
    next: Instant,
}

impl Default for HeapRelief {
    fn default() -> Self {
        Self { resident_bytes: resident_bytes().unwrap_or(u64::MAX), next: Instant::now() + LOOK_EVERY }
    }
}

impl HeapRelief {
    /// Gives back what the heap does not use, if the process has grown and enough time has passed.
    pub fn look(&mut self) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + LOOK_EVERY;
            self.relieve(now);
        }
    }

    fn relieve(&mut self, now: Instant) {
        let Some(resident_bytes) = resident_bytes() else { return };
        if !has_grown(self.resident_bytes, resident_bytes) {
            self.resident_bytes = self.resident_bytes.min(resident_bytes);
            return;
        }
        give_back();
        self.resident_bytes = self::resident_bytes().unwrap_or(resident_bytes);
        let took = now.elapsed();
        self.next = now + took + LOOK_EVERY.max(took * REST);
    }
}

fn has_grown(from_bytes: u64, to_bytes: u64) -> bool {
    to_bytes > from_bytes.saturating_add(from_bytes / 8).saturating_add(SLACK_BYTES)
}

/// The process's memory that lies in RAM; `None` where the system does not say.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    unsafe extern "C" {
        // From any thread at any time; takes the bytes to keep at the heap's end (malloc_trim(3)).
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // It says whether anything was given back; the next look sees that for itself.
    let _ = malloc_trim(0);
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests;
