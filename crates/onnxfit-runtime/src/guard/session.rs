//! Carries out what the planner says, with a session of ONNX Runtime's.

use std::path::Path;
use std::time::{Duration, Instant};

use onnxfit_base::Bytes;

use super::assembly::{Assembly, RowShape, row_shapes};
use super::cut::{Asked, Counted, Cut};
use super::error::GuardError;
use super::learned::LearnedLimits;
use super::planner::{Counts, Piece, Planner, PlannerOptions};
use super::{BytesNeeded, NothingKnown};
use crate::live::LiveFile;
use crate::session::bound::{Binder, Feed, RunKind, all_packed, signed};
use crate::{ElementType, HeapRelief, Library, RunError, Session, SessionSpec, Tenant, Tensor, TensorInfo, Tensors};

/// Learned limits are written at most this often, and when the guard is dropped.
const WRITTEN_EVERY: Duration = Duration::from_secs(2);
/// Sizes of requests whose outputs' shapes are remembered.
const SHAPES_MAX: usize = 16;

/// How a session is guarded.
pub struct GuardOptions {
    /// How requests may be cut, if they may.
    pub cut: Option<Cut>,
    /// What requests take.
    pub needs: Box<dyn BytesNeeded>,
    /// The most that a run may take; `None` takes the arena's limit, if it has one.
    pub limit: Option<Bytes>,
    /// Where to keep what is learned.
    pub learned: Option<LearnedLimits>,
    /// What the arena held already when the session was loaded into it, if it is shared.
    pub held_by_others: Bytes,
    /// Whether the arena's counters are read once memory has run out. They do not know of other
    /// processes on the same card.
    pub reads_counters: bool,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            cut: None,
            needs: Box::new(NothingKnown),
            limit: None,
            learned: None,
            held_by_others: Bytes::ZERO,
            reads_counters: true,
        }
    }
}

/// A session that does not fail on memory.
pub struct Guard {
    session: Session,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    binder: Option<Binder>,
    cut: Option<Cut>,
    needs: Box<dyn BytesNeeded>,
    planner: Planner,
    counted: Counted,
    /// What the session holds between runs.
    own_bytes: Bytes,
    reads_counters: bool,
    /// Shapes of one row's outputs, by the sizes of the request.
    shapes: Vec<(Vec<u64>, Vec<RowShape>)>,
    learned: Option<LearnedLimits>,
    written: Option<Instant>,
    unwritten: bool,
    live: Option<LiveFile>,
    tenant: Option<Tenant>,
    heap: HeapRelief,
}

impl Guard {
    /// Loads a model and guards it.
    pub fn open(library: &'static Library, spec: &SessionSpec, options: GuardOptions) -> Result<Self, GuardError> {
        let mut guard = Self::over(Session::open(library, spec)?, options)?;
        guard.announce(&spec.model);
        Ok(guard)
    }

    /// Says to `onnxfit watch` that this session is there, and from now on what its arena holds.
    pub fn announce(&mut self, model: &Path) {
        self.live = LiveFile::announce(model, self.session.card(), self.limit().map(Bytes::get));
        self.tell();
    }

    /// Guards a session that was loaded just now.
    pub fn over(session: Session, options: GuardOptions) -> Result<Self, GuardError> {
        let stats = session.arena_stats().ok();
        let limit_of_arena = stats.and_then(|stats| stats.limit);
        if let (Some(stats), Some(limit)) = (stats, limit_of_arena)
            && !stats.limit_is_enforced()
        {
            return Err(GuardError::LimitBelowWeights { limit, held: stats.total_allocated });
        }
        let mut planner = Planner::new(PlannerOptions { limit: options.limit.or(limit_of_arena) });
        if let Some(learned) = &options.learned {
            learned.recall(&mut planner)?;
        }
        let is_tensor = |info: &TensorInfo| info.element_type.is_some_and(|kind| kind != ElementType::String);
        // Without an arena nothing can be shrunk, and texts are no bytes that could lie elsewhere.
        let bindable = stats.is_some() && session.outputs().iter().all(is_tensor);
        let binder = if bindable { Some(Binder::new(&session)?) } else { None };
        Ok(Self {
            inputs: session.inputs().to_vec(),
            outputs: session.outputs().to_vec(),
            binder,
            cut: options.cut,
            needs: options.needs,
            planner,
            counted: Counted::default(),
            own_bytes: stats.map_or(Bytes::ZERO, |stats| stats.in_use).saturating_sub(options.held_by_others),
            reads_counters: options.reads_counters,
            shapes: Vec::new(),
            learned: options.learned,
            written: None,
            unwritten: false,
            live: None,
            tenant: None,
            heap: HeapRelief::default(),
            session,
        })
    }

    /// Runs a request of any size; rows come back in order.
    pub fn run(&mut self, inputs: &Tensors) -> Result<Tensors, GuardError> {
        self.session.check_inputs(inputs)?;
        let shape = |name: &str| inputs.get(name).map(Tensor::shape);
        self.counted.count(self.cut.as_ref(), self.inputs.iter().map(|info| info.name.as_str()), shape);
        let answer = self.run_counted(inputs);
        self.heap.look();
        if self.live.as_ref().is_some_and(LiveFile::is_due) {
            self.tell();
        }
        self.unwritten |= self.planner.take_changed();
        if self.unwritten && self.written.is_none_or(|written| written.elapsed() >= WRITTEN_EVERY) {
            self.write_learned()?;
        }
        answer
    }

    /// A rehearsal: before each piece that runs, another session in the arena may take more of it or
    /// give some back.
    pub fn rehearse(&mut self, tenant: Tenant) {
        self.tenant = Some(tenant);
    }

    fn tell(&mut self) {
        if let (Some(live), Ok(arena)) = (&mut self.live, self.session.arena_stats()) {
            live.tell(&arena, self.planner.counts().runs);
        }
    }

    /// The session that is guarded.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session past the guard: what runs on it is neither cut nor tried again.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// How requests are cut, if they are.
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// The most that a run may take, as far as it was given.
    pub fn limit(&self) -> Option<Bytes> {
        self.planner.limit()
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.planner.counts()
    }

    /// What a request of these inputs is predicted to take as a whole.
    pub fn bytes_needed(&mut self, inputs: &Tensors) -> Option<Bytes> {
        let shape = |name: &str| inputs.get(name).map(Tensor::shape);
        self.counted.count(self.cut.as_ref(), self.inputs.iter().map(|info| info.name.as_str()), shape);
        self.needs.bytes_needed(&self.counted.sizes, self.counted.rows)
    }

    /// The rows of a request: 1 where it may not be cut.
    pub fn rows(&mut self, inputs: &Tensors) -> u64 {
        let shape = |name: &str| inputs.get(name).map(Tensor::shape);
        self.counted.count(self.cut.as_ref(), self.inputs.iter().map(|info| info.name.as_str()), shape);
        self.counted.rows
    }

    /// Writes what was learned now, rather than when this is dropped.
    pub fn write_learned(&mut self) -> Result<(), GuardError> {
        self.unwritten = false;
        self.written = Some(Instant::now());
        self.learned.as_ref().map_or(Ok(()), |learned| learned.keep(&self.planner))
    }

    fn run_counted(&mut self, inputs: &Tensors) -> Result<Tensors, GuardError> {
        let Self {
            session,
            inputs: infos,
            outputs,
            binder,
            cut,
            needs,
            planner,
            counted,
            own_bytes,
            reads_counters,
            shapes,
            tenant,
            ..
        } = self;
        let binder = binder.as_ref().filter(|_| all_packed(inputs));
        let session = std::cell::RefCell::new(session);
        let room = || if *reads_counters { room(&session.borrow(), *own_bytes) } else { None };
        let mut asked = Asked { needs: needs.as_ref(), sizes: &counted.sizes, room };
        let mut job = planner.begin(counted.rows, counted.cuttable, &mut asked);
        let known = shapes.iter().find(|(sizes, _)| *sizes == counted.sizes).map(|(_, rows)| rows.as_slice());
        let is_known = known.is_some();
        let mut assembly = Assembly::new(outputs, known.filter(|_| binder.is_some()), counted.rows);
        while let Some(piece) = planner.next(&mut job) {
            tenant.iter_mut().for_each(Tenant::stir);
            let run = PieceRun { infos, cut: cut.as_ref(), inputs, n_rows: counted.rows, piece: &piece };
            let result = match binder {
                Some(binder) => run.bound(binder, &mut session.borrow_mut(), &mut assembly),
                None => run.copied(&mut session.borrow_mut(), &mut assembly),
            };
            match result {
                Ok(()) => planner.succeeded(&mut job, &piece, &mut asked),
                Err(RunError::OutOfMemory(failure)) => {
                    planner.failed(&mut job, &piece, &failure, &mut asked).map_err(GuardError::DoesNotFit)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let answer = assembly.finish()?;
        let follows = cut.as_ref().is_some_and(|cut| cut.shapes_follow);
        if !is_known
            && follows
            && let Some(rows) = row_shapes(outputs, cut.as_ref(), &answer, counted.rows)
        {
            if shapes.len() >= SHAPES_MAX {
                shapes.remove(0);
            }
            shapes.push((counted.sizes.clone(), rows));
        }
        Ok(answer)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.unwritten {
            // Nobody is left to tell; what was learned is learned again.
            let _ = self.write_learned();
        }
    }
}

/// What a run may take now, as far as the arena's own counters tell: its limit less what others
/// hold of it. A limit that is not enforced says nothing.
fn room(session: &Session, own_bytes: Bytes) -> Option<Bytes> {
    let stats = session.arena_stats().ok()?;
    let limit = stats.limit.filter(|_| stats.limit_is_enforced())?;
    Some(limit.saturating_sub(stats.in_use.saturating_sub(own_bytes)))
}

/// One piece of a request.
struct PieceRun<'a> {
    infos: &'a [TensorInfo],
    cut: Option<&'a Cut>,
    inputs: &'a Tensors,
    n_rows: u64,
    piece: &'a Piece,
}

/// A piece's part of an input: its bytes where they lie, or a copy of them.
struct Part<'t> {
    shape: Vec<u64>,
    bytes: &'t [u8],
    copy: Option<Tensor>,
}

impl PieceRun<'_> {
    /// Reads rows where they lie and writes them where they belong.
    fn bound(&self, binder: &Binder, session: &mut Session, assembly: &mut Assembly<'_>) -> Result<(), RunError> {
        let too_large = |info: &TensorInfo| RunError::Input {
            name: info.name.clone(),
            reason: "is larger than any memory".to_owned(),
        };
        let mut parts = Vec::with_capacity(self.infos.len());
        for (at, info) in self.infos.iter().enumerate() {
            let Some(tensor) = self.inputs.get(&info.name) else { continue };
            let part = self.part(info, tensor)?;
            let shape = signed(&part.shape).ok_or_else(|| too_large(info))?;
            parts.push((at, tensor.element_type(), shape, part));
        }
        let feeds: Vec<Feed<'_>> = parts
            .iter()
            .map(|(at, element_type, shape, part)| Feed {
                input: *at,
                element_type: *element_type,
                shape,
                bytes: part.copy.as_ref().and_then(Tensor::bytes).unwrap_or(part.bytes),
            })
            .collect();
        if self.piece.shrink {
            // It says that it was told to stop; whether it shrank shows in the run that follows.
            let _ = binder.run(session, &feeds, &mut [], RunKind::ShrinkOnly);
        }
        let mut fetches = assembly.fetches(&self.piece.rows);
        let any_bound = fetches.iter().any(Option::is_some);
        let made = match binder.run(session, &feeds, &mut fetches, RunKind::Plain) {
            Err(RunError::Failed { .. }) if any_bound => {
                // Perhaps an output is not of the shape that it had before.
                drop(fetches);
                assembly.unbind(&self.piece.rows);
                binder.run(session, &feeds, &mut [], RunKind::Plain)?
            }
            made => made?,
        };
        assembly.take(self.cut, &self.piece.rows, self.n_rows, made)
    }

    /// Copies rows out and in again: texts, and sessions without an arena.
    fn copied(&self, session: &mut Session, assembly: &mut Assembly<'_>) -> Result<(), RunError> {
        let mut part = Tensors::new();
        for info in self.infos {
            let Some(tensor) = self.inputs.get(&info.name) else { continue };
            let piece = self.rows_of(info, tensor)?;
            part.insert(info.name.clone(), piece.unwrap_or_else(|| tensor.clone()));
        }
        let outputs = session.run(&part)?;
        let made = session.outputs().iter().map(|info| outputs.get(&info.name).cloned()).collect();
        assembly.take(self.cut, &self.piece.rows, self.n_rows, made)
    }

    /// The piece's part of an input.
    fn part<'t>(&self, info: &TensorInfo, tensor: &'t Tensor) -> Result<Part<'t>, RunError> {
        let bytes = tensor.bytes().unwrap_or_default();
        let mut shape = tensor.shape().to_vec();
        if self.is_whole(info) {
            return Ok(Part { shape, bytes, copy: None });
        }
        let n_rows = self.n_rows as usize;
        let axis = self.axis(info);
        if axis == Some(0) && bytes.len().is_multiple_of(n_rows) && tensor.element_type().bits().is_multiple_of(8) {
            let row = bytes.len() / n_rows;
            shape[0] = shape[0] / self.n_rows * (self.piece.rows.end - self.piece.rows.start);
            let range = row * self.piece.rows.start as usize..row * self.piece.rows.end as usize;
            return Ok(Part { shape, bytes: &bytes[range], copy: None });
        }
        let copy = self.rows_of(info, tensor)?.unwrap_or_else(|| tensor.clone());
        Ok(Part { shape: copy.shape().to_vec(), bytes: &[], copy: Some(copy) })
    }

    /// A copy of the piece's rows of an input; `None` if it has no rows or all of them.
    fn rows_of(&self, info: &TensorInfo, tensor: &Tensor) -> Result<Option<Tensor>, RunError> {
        let Some(axis) = self.axis(info).filter(|_| !self.is_whole(info)) else { return Ok(None) };
        let each = tensor.shape().get(axis).map_or(0, |size| size / self.n_rows);
        let range = each * self.piece.rows.start..each * self.piece.rows.end;
        let refuse = || RunError::Input { name: info.name.clone(), reason: "cannot be cut into rows".to_owned() };
        tensor.slice(axis, range).map(Some).ok_or_else(refuse)
    }

    fn axis(&self, info: &TensorInfo) -> Option<usize> {
        self.cut.and_then(|cut| cut.inputs.get(&info.name)).copied()
    }

    fn is_whole(&self, info: &TensorInfo) -> bool {
        self.piece.rows == (0..self.n_rows) || self.axis(info).is_none()
    }
}

#[cfg(test)]
mod tests;
