//! Decides what to run next; runs nothing.
//!
//! A state machine without clock, files or ONNX Runtime: [`Planner::begin`] a request, run the
//! [`Piece`] that [`Planner::next`] names, and report with [`Planner::succeeded`] or
//! [`Planner::failed`] until there is none. Every failure makes the next piece smaller or is
//! answered once by shrinking the arena, so a request of `n` rows ends after at most `2 n + 2`
//! failures.

use std::ops::Range;

use onnxfit_base::Bytes;
use serde::{Deserialize, Serialize};

use super::error::DoesNotFit;
use super::learned::LearnedRoom;
use crate::OutOfMemory;

/// Requests that run without trouble before the guard tries more than it believes there is.
const PATIENCE: u32 = 8;
/// The most that patience grows to when trying fails again and again.
const PATIENCE_MAX: u32 = 256;
/// What the arena rounds requests to (bfc_arena.h, ORT 1.31).
const CHUNK: u64 = 256;

/// What the planner may ask about the request at hand.
pub trait Situation {
    /// The bytes that so many rows take; `None` if not known.
    fn need(&mut self, rows: u64) -> Option<Bytes>;

    /// No less than [`Situation::need`], and cheaper.
    fn need_at_most(&mut self, rows: u64) -> Option<Bytes> {
        self.need(rows)
    }

    /// The bytes that a run may take now, in the terms of [`Situation::need`], where that can be
    /// read; asked only once memory has run out before.
    fn room(&mut self) -> Option<Bytes> {
        None
    }
}

/// How the planner plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannerOptions {
    /// The most that a run may take; `None` when only running out of memory will tell.
    pub limit: Option<Bytes>,
}

/// Decides what to run next.
#[derive(Clone, Debug)]
pub struct Planner {
    limit: Option<Bytes>,
    /// What is believed to be there since memory ran out: in bytes, or in rows where bytes are not
    /// known.
    in_bytes: Option<LearnedRoom>,
    in_rows: Option<LearnedRoom>,
    counts: Counts,
    changed: bool,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests begun.
    pub requests: u64,
    /// Of them, those that were run in more than one piece.
    pub cut_requests: u64,
    /// Pieces that ran.
    pub runs: u64,
    /// Runs that ended because memory ran out: what was executed in vain.
    pub out_of_memory: u64,
    /// The rows of those runs.
    pub rows_in_vain: u64,
    /// Times the arena was made to give back what it does not use.
    pub shrinks: u64,
    /// Times more was tried than was believed to be there.
    pub probes: u64,
    /// Rows answered.
    pub rows: u64,
}

/// A request under way.
#[derive(Clone, Debug)]
pub struct Job {
    rows: u64,
    /// Whether the model may be cut; a single row may not be cut further.
    cuttable: bool,
    done: u64,
    /// The most rows of the next piece.
    piece: u64,
    shrink: bool,
    /// Whether the piece at hand was tried again on a shrunk arena.
    retried: bool,
    /// Whether sizes are known in bytes.
    in_bytes: bool,
    probing: bool,
    n_pieces: u64,
}

/// Rows to run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which rows of the request.
    pub rows: Range<u64>,
    /// Make the arena give back what it does not use before.
    pub shrink: bool,
}

impl Job {
    /// Whether the whole request is one piece.
    pub fn is_whole(&self) -> bool {
        self.done == 0 && self.piece >= self.rows
    }

    /// The rows of the request.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Planner {
    /// A planner that has learned nothing yet.
    pub fn new(options: PlannerOptions) -> Self {
        Self { limit: options.limit, in_bytes: None, in_rows: None, counts: Counts::default(), changed: false }
    }

    /// The most that a run may take, as far as it was given.
    pub fn limit(&self) -> Option<Bytes> {
        self.limit
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The room that is believed to be there, if memory ever ran out: bytes, rows.
    pub fn learned(&self) -> (Option<LearnedRoom>, Option<LearnedRoom>) {
        (self.in_bytes, self.in_rows)
    }

    /// Takes up what an earlier planner has learned.
    pub fn recall(&mut self, in_bytes: Option<LearnedRoom>, in_rows: Option<LearnedRoom>) {
        self.in_bytes = in_bytes;
        self.in_rows = in_rows;
    }

    /// Whether something was learned since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Plans a request: whole if it fits, else in the fewest pieces that do.
    pub fn begin(&mut self, rows: u64, cuttable: bool, situation: &mut dyn Situation) -> Job {
        self.counts.requests += 1;
        let mut job = Job {
            rows,
            cuttable,
            done: 0,
            piece: rows,
            shrink: false,
            retried: false,
            in_bytes: true,
            probing: false,
            n_pieces: 0,
        };
        if self.limit.is_none() && self.in_bytes.is_none() && self.in_rows.is_none() {
            return job;
        }
        let Some(bound) = situation.need_at_most(rows) else {
            job.in_bytes = false;
            if let Some(room) = self.in_rows.filter(|room| job.cuttable && rows > room.room) {
                let most = if room.calm < room.patience { room.room } else { self.probe(&mut job, room.room) };
                job.piece = fewest(rows, most);
            }
            return job;
        };
        let fits = |limit: Bytes, situation: &mut dyn Situation| {
            bound <= limit || situation.need(rows).is_none_or(|need| need <= limit)
        };
        let Some(limit) = self.believed(bound, situation) else { return job };
        if !job.cuttable || rows <= 1 || fits(limit, situation) {
            return job;
        }
        job.piece = piece_rows(rows, rows - 1, limit, situation);
        // Where the room cannot be read, it is tried now and then whether there is more.
        let due = self.in_bytes.filter(|room| room.room == limit.get() && room.calm >= room.patience);
        if let Some(room) = due {
            let grown = Bytes(self.probe(&mut job, room.room));
            let grown = self.limit.map_or(grown, |limit| limit.min(grown));
            if fits(grown, situation) {
                job.piece = rows;
            } else {
                let fewer = rows.div_ceil(rows.div_ceil(job.piece) - 1);
                job.piece = piece_rows(rows, rows - 1, grown, situation).max(fewer);
            }
        }
        job
    }

    /// The rows to run now; `None` when all have run.
    pub fn next(&mut self, job: &mut Job) -> Option<Piece> {
        if job.done >= job.rows && (job.rows > 0 || job.n_pieces > 0) {
            return None;
        }
        let end = job.rows.min(job.done + job.piece.max(1));
        let shrink = std::mem::take(&mut job.shrink);
        self.counts.shrinks += u64::from(shrink);
        Some(Piece { rows: job.done..end, shrink })
    }

    /// The piece ran.
    pub fn succeeded(&mut self, job: &mut Job, piece: &Piece, situation: &mut dyn Situation) {
        let n = piece.rows.end - piece.rows.start;
        job.done = piece.rows.end;
        job.n_pieces += 1;
        job.retried = false;
        self.counts.runs += 1;
        self.counts.rows += n;
        if job.n_pieces == 2 {
            self.counts.cut_requests += 1;
        }
        if self.in_bytes.is_none() && self.in_rows.is_none() {
            return;
        }
        let proven = if job.in_bytes { situation.need_at_most(n).map_or(0, Bytes::get) } else { n };
        let limit = self.limit;
        let learned = if job.in_bytes { &mut self.in_bytes } else { &mut self.in_rows };
        let Some(room) = learned else { return };
        if proven > room.room {
            room.room = proven;
            room.patience = PATIENCE;
            self.changed = true;
        }
        if job.done >= job.rows && (job.n_pieces > 1 || job.probing) {
            room.calm = room.calm.saturating_add(1);
        }
        if job.in_bytes && limit.is_some_and(|limit| room.room >= limit.get()) {
            *learned = None;
            self.changed = true;
        }
    }

    /// Memory ran out. Learns how much there was and makes the next piece smaller, or says that
    /// nothing smaller is left.
    pub fn failed(
        &mut self,
        job: &mut Job,
        piece: &Piece,
        failure: &OutOfMemory,
        situation: &mut dyn Situation,
    ) -> Result<(), Box<DoesNotFit>> {
        let n = piece.rows.end - piece.rows.start;
        self.counts.out_of_memory += 1;
        self.counts.rows_in_vain += n;
        let need = situation.need(n);
        job.in_bytes = need.is_some();
        let room = situation.room();
        let fits_in_room = matches!((need, room), (Some(need), Some(room)) if need <= room);
        // What should fit did not: the arena is in fragments. And what cannot be made smaller is
        // tried once more when the arena has given back all it can.
        let smallest = n <= 1 || !job.cuttable;
        if (fits_in_room || smallest) && !job.retried && !piece.shrink {
            job.retried = true;
            job.shrink = true;
            return Ok(());
        }
        job.shrink = true;
        if smallest {
            let failure = failure.clone();
            let room = room.or(self.limit);
            return Err(Box::new(DoesNotFit { cuttable: job.cuttable, need, room, failure }));
        }
        let left = job.rows - job.done;
        job.piece = match need {
            Some(need) => {
                let believed = match room {
                    Some(room) if !fits_in_room => room.get().min(need.get().saturating_sub(CHUNK)),
                    _ => need.get().saturating_sub(shortfall(failure)),
                };
                self.learn(true, believed, job.probing);
                piece_rows(left, n - 1, Bytes(believed), situation)
            }
            None => {
                self.learn(false, n / 2, job.probing);
                fewest(left, n / 2)
            }
        };
        job.probing = false;
        job.retried = false;
        Ok(())
    }

    fn learn(&mut self, in_bytes: bool, room: u64, probing: bool) {
        let learned = if in_bytes { &mut self.in_bytes } else { &mut self.in_rows };
        let patience = match learned {
            Some(old) if probing => (old.patience * 2).min(PATIENCE_MAX),
            Some(old) => old.patience,
            None => PATIENCE,
        };
        *learned = Some(LearnedRoom { room, calm: 0, patience });
        self.changed = true;
    }

    /// The bytes that a request of this need may be planned on; `None` for no limit.
    fn believed(&mut self, need: Bytes, situation: &mut dyn Situation) -> Option<Bytes> {
        let Some(learned) = self.in_bytes else { return self.limit };
        if need.get() > learned.room
            && let Some(room) = situation.room()
        {
            self.changed |= room.get() != learned.room;
            self.in_bytes = match self.limit {
                Some(limit) if room >= limit => None,
                _ => Some(LearnedRoom { room: room.get(), calm: 0, ..learned }),
            };
            return Some(self.limit.map_or(room, |limit| limit.min(room)));
        }
        Some(self.limit.map_or(Bytes(learned.room), |limit| limit.min(Bytes(learned.room))))
    }

    /// Half as much again as was learned, to see whether it is there.
    fn probe(&mut self, job: &mut Job, room: u64) -> u64 {
        job.probing = true;
        self.counts.probes += 1;
        room + room / 2 + 1
    }
}

/// Pieces of equal size, as few as the most rows of one allow.
fn fewest(rows: u64, most: u64) -> u64 {
    let n_pieces = rows.div_ceil(most.max(1)).max(1);
    rows.div_ceil(n_pieces)
}

/// The rows of a piece, at most `up_to`, so that there are as few as this limit allows: found by
/// the cheap bound, then fewer pieces are tried by what they really need.
fn piece_rows(rows: u64, up_to: u64, limit: Bytes, situation: &mut dyn Situation) -> u64 {
    let (mut fits, mut not) = (1, up_to.min(rows) + 1);
    while not - fits > 1 {
        let middle = fits + (not - fits) / 2;
        if situation.need_at_most(middle).is_some_and(|need| need <= limit) {
            fits = middle;
        } else {
            not = middle;
        }
    }
    let mut piece = fewest(rows, fits);
    loop {
        let n_pieces = rows.div_ceil(piece);
        if n_pieces <= 1 {
            return piece;
        }
        let larger = rows.div_ceil(n_pieces - 1);
        if larger > up_to || situation.need(larger).is_none_or(|need| need > limit) {
            return piece;
        }
        piece = larger;
    }
}

/// How much more was asked for than there was, where the message tells; else half of what was
/// asked for.
fn shortfall(failure: &OutOfMemory) -> u64 {
    let requested = failure.requested.map_or(0, Bytes::get);
    let short = match failure.available {
        Some(available) => requested.saturating_sub(available.get()),
        None => requested / 2,
    };
    short.max(CHUNK)
}

#[cfg(test)]
mod tests;
