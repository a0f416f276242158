//! Takes a log in chunks and keeps a bounded part that can still be explained.
//!
//! Promises: never more than a few megabytes, whatever the log; the first error and the lines
//! around it are kept; an error that repeats is kept once and counted. A fast search for
//! telling words decides which lines are looked at, so that a log of 100 MB takes a moment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::context::Context;
use crate::evidence::{Evidence, Line};
use crate::explanation::Explanation;

/// Words of a message that names memory or a failing call: lines with them have their own budget.
const STRONG: &[&str] = &[
    "requested buffer",
    "smaller than requested",
    "failed to allocate",
    "cannot allocate",
    "out of memory",
    "out-of-memory",
    "outofmemory",
    "bad_alloc",
    "bad allocation",
    "bfc_arena",
    "bfcarena",
    "cuda_call",
    "cuda failure",
    "cudnn failure",
    "cublas failure",
    "hip failure",
    "safeint",
    "onnxruntimeerror",
    "onnx runtime error",
    "non-zero status",
    "alloc_failed",
    "not_initialized",
    "8007000e",
    "oomkilled",
    "exit code 137",
    "signal: killed",
    "killed process",
    "rangeerror",
    "failed to load library",
    "loadlibrary failed",
    "illegal memory",
    "no kernel image",
    "protobuf size",
    "engine could not be created",
    "failed to create engine",
    "could not find any implementation",
    "could not be allocated",
    "cudamempoolarena",
];

/// Words that make a line worth keeping while there is room.
const WEAK: &[&str] = &[
    "memory",
    "vram",
    "alloc",
    "oom",
    "onnx",
    "cuda",
    "cudnn",
    "cublas",
    "tensorrt",
    "error",
    "exception",
    "killed",
    "status message",
    "name:'",
    "terminate called",
    "arena",
    "mib",
    "type error",
    "not enough space",
];

static STRONG_SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| search_for(STRONG));
static ANY_SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let all: Vec<&str> = STRONG.iter().chain(WEAK).copied().collect();
    search_for(&all)
});

fn search_for(words: &[&str]) -> Option<AhoCorasick> {
    AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(aho_corasick::AhoCorasickKind::DFA)).build(words).ok()
}

/// The first part of a log is kept as it is.
const HEAD_BYTES_MAX: usize = 48 << 10;
/// Room for lines that name memory or a failing call.
const STRONG_BYTES_MAX: usize = 192 << 10;
/// Room for other lines worth keeping, and for the lines around them.
const WEAK_BYTES_MAX: usize = 96 << 10;
/// A line longer than this is read in pieces.
const LINE_BYTES_MAX: usize = 16 << 10;
/// What two pieces of a long line share, so that a message on the cut is whole in one of them.
const OVERLAP_BYTES: usize = 2 << 10;
/// Different lines that are remembered in order to count their repeats.
const SHAPES_MAX: usize = 4096;
/// Lines kept before and after one that is worth keeping.
const AROUND: usize = 4;
/// Lines of one shape that the head keeps: a cascade differs only in numbers and node names.
const REPEATS_KEPT: u64 = 8;

/// Takes a log in chunks of any size.
#[derive(Clone, Debug, Default)]
pub struct LogReader {
    pending: Vec<u8>,
    line_number: u64,
    kept: BTreeMap<u64, (u64, Line)>,
    head_bytes: usize,
    strong_bytes: usize,
    weak_bytes: usize,
    shapes: BTreeMap<u64, u64>,
    before: VecDeque<(u64, Vec<u8>)>,
    after: usize,
}

impl LogReader {
    /// A reader that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one more piece of the log.
    pub fn feed(&mut self, chunk: &[u8]) {
        // Two bytes a character (UTF-16), as Windows redirects: half of them are zero.
        if memchr::memchr(0, chunk).is_some() {
            let without: Vec<u8> = chunk.iter().copied().filter(|byte| *byte != 0).collect();
            self.feed_text(&without);
        } else {
            self.feed_text(chunk);
        }
    }

    fn feed_text(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let room = LINE_BYTES_MAX.saturating_sub(self.pending.len()).max(1);
            let window = &chunk[..chunk.len().min(room)];
            match memchr::memchr(b'\n', window) {
                Some(end) if self.pending.is_empty() => {
                    self.take_line(&chunk[..end], true);
                    chunk = &chunk[end + 1..];
                }
                Some(end) => {
                    let mut line = std::mem::take(&mut self.pending);
                    line.extend_from_slice(&chunk[..end]);
                    self.take_line(&line, true);
                    line.clear();
                    self.pending = line;
                    chunk = &chunk[end + 1..];
                }
                None if window.len() < room => {
                    self.pending.extend_from_slice(window);
                    chunk = &[];
                }
                None => {
                    let mut line = std::mem::take(&mut self.pending);
                    line.extend_from_slice(window);
                    self.take_line(&line, false);
                    self.pending = line[line.len().saturating_sub(OVERLAP_BYTES)..].to_vec();
                    chunk = &chunk[window.len()..];
                }
            }
        }
    }

    /// Explains what was read.
    pub fn explain(mut self, context: &Context<'_>) -> Explanation {
        let line = std::mem::take(&mut self.pending);
        if !line.is_empty() {
            self.take_line(&line, true);
        }
        crate::decide::decide(&self.into_evidence(), context)
    }

    fn into_evidence(self) -> Evidence {
        let shapes = self.shapes;
        let lines = self
            .kept
            .into_values()
            .map(|(shape, line)| Line { repeats: shapes.get(&shape).copied().unwrap_or(1), ..line });
        Evidence { lines: lines.collect() }
    }

    fn take_line(&mut self, line: &[u8], ended: bool) {
        let number = self.line_number;
        self.line_number += 1;
        if self.head_bytes + line.len() < HEAD_BYTES_MAX {
            self.head_bytes += line.len() + 1;
            if is_strong(line) {
                let repeat = self.count_shape(line);
                if repeat > REPEATS_KEPT {
                    return;
                }
            }
            self.keep(number, line, ended);
            return;
        }
        // The head is full for good: a shorter line later must not slip in out of turn.
        self.head_bytes = HEAD_BYTES_MAX;
        let worth = ANY_SEARCH.as_ref().is_some_and(|search| search.is_match(line));
        if !worth {
            self.around(number, line, ended);
            return;
        }
        let strong = is_strong(line);
        if !strong && self.weak_bytes >= WEAK_BYTES_MAX {
            return;
        }
        if self.count_shape(line) > 1 {
            return;
        }
        let used = if strong { &mut self.strong_bytes } else { &mut self.weak_bytes };
        let budget = if strong { STRONG_BYTES_MAX } else { WEAK_BYTES_MAX };
        if *used + line.len() > budget {
            return;
        }
        *used += line.len() + 1;
        for (earlier, text) in std::mem::take(&mut self.before) {
            if self.weak_bytes + text.len() <= WEAK_BYTES_MAX {
                self.weak_bytes += text.len() + 1;
                self.keep(earlier, &text, true);
            }
        }
        self.keep(number, line, ended);
        self.after = AROUND;
    }

    /// A line without a telling word: kept after one that has some, or remembered for the next.
    fn around(&mut self, number: u64, line: &[u8], ended: bool) {
        if self.weak_bytes >= WEAK_BYTES_MAX {
            return;
        }
        let short = &line[..line.len().min(512)];
        if self.after > 0 {
            self.after -= 1;
            self.weak_bytes += short.len() + 1;
            self.keep(number, short, ended);
            return;
        }
        if self.before.len() == AROUND {
            self.before.pop_front();
        }
        self.before.push_back((number, short.to_vec()));
    }

    fn keep(&mut self, number: u64, line: &[u8], ended: bool) {
        self.kept.insert(number, (shape_of(line), Line { text: line.to_vec(), ended, repeats: 1 }));
    }

    /// Counts a line among those that differ only in numbers; returns how often it was seen.
    fn count_shape(&mut self, line: &[u8]) -> u64 {
        let shape = shape_of(line);
        if let Some(count) = self.shapes.get_mut(&shape) {
            *count += 1;
            return *count;
        }
        if self.shapes.len() < SHAPES_MAX {
            self.shapes.insert(shape, 1);
        }
        1
    }
}

fn is_strong(line: &[u8]) -> bool {
    STRONG_SEARCH.as_ref().is_some_and(|search| search.is_match(line))
}

/// A hash of the line with every number left out (FNV-1a).
fn shape_of(line: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in line.iter().filter(|byte| !byte.is_ascii_digit()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
