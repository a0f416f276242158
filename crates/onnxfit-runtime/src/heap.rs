//! Gives back to the system what the C library's heap holds and nobody uses.
//!
//! An arena that grows and shrinks asks the heap for aligned blocks of megabytes and returns them.
//! glibc takes the first such block from the system and gives it back, but raises its threshold to the
//! block's size then (`M_MMAP_THRESHOLD` is dynamic, mallopt(3)): later ones lie in the heap between
//! small ones, and what is free between those stays resident. A block that is aligned needs a hole
//! larger than itself, so the hole that it leaves often does not hold the next of its size, and while
//! memory runs out again and again the heap grows by a hundred megabytes a second, of which next to
//! nothing is used. One call returns those pages; this says when.
//!
//! A fixed threshold (`MALLOC_MMAP_THRESHOLD_`) would keep the process as small, but every block that
//! an arena takes would be new pages: the server's soak took fourteen times as many page faults and
//! more than twice the processor time with one of 1 MiB as without, and hardly fewer with 4 MiB.
//!
//! Costs a glance at the clock for each run and at the process's size five times a second, twenty
//! times while it grows. It gives back only what has grown, and waits at least nine times as long as
//! the last call worked: to wait much longer lets a heap that grows fast outrun it, as the longer the
//! heap the longer the call and then the wait.
#![allow(unsafe_code)] // The heap's own function is behind the C library's interface only.

use std::time::{Duration, Instant};

/// The time between two looks at a process that keeps its size.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The time between two looks at one that grows.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How many times what giving back took of the processor is waited before the next look.
const REST: u32 = 9;
/// Growth that is not worth a call: this much, and a quarter of what was resident. What is given back
/// too early is asked for again.
const SLACK_BYTES: u64 = 48 << 20;

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
        let before = processor_time();
        give_back();
        self.resident_bytes = self::resident_bytes().unwrap_or(resident_bytes);
        // Of the processor and not of the clock: on a busy machine the heap grows no faster.
        let took =
            processor_time().zip(before).map_or_else(|| now.elapsed(), |(after, before)| after.saturating_sub(before));
        self.next = now + now.elapsed() + LOOK_AGAIN.max(took * REST);
    }
}

/// What this thread has had of the processor.
#[cfg(target_os = "linux")]
fn processor_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(target_os = "linux"))]
fn processor_time() -> Option<Duration> {
    None
}

fn has_grown(from_bytes: u64, to_bytes: u64) -> bool {
    to_bytes > from_bytes.saturating_add(from_bytes / 4).saturating_add(SLACK_BYTES)
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
