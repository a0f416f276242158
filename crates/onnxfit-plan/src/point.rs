//! One way to run a model, and what the twin says of it.

use onnxfit_base::Bytes;

/// The numbers a model computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// As the file has it.
    #[default]
    Original,
    /// `float16` inside, inputs and outputs as they were.
    Half,
    /// `bfloat16` inside: the range of single precision, three bits less than `float16`.
    Bfloat16,
    /// Weights kept as eight-bit integers; computation as it was.
    Weights8,
    /// Weights kept as four-bit integers where there is a kernel, as eight-bit ones elsewhere.
    Weights4,
}

impl Precision {
    /// All of them, those that move answers least first.
    pub const ALL: [Self; 5] = [Self::Original, Self::Half, Self::Bfloat16, Self::Weights8, Self::Weights4];

    /// Whether every number is computed in half the width.
    pub fn is_half(self) -> bool {
        matches!(self, Self::Half | Self::Bfloat16)
    }

    /// Whether weights are kept as integers.
    pub fn is_rounded(self) -> bool {
        matches!(self, Self::Weights8 | Self::Weights4)
    }

    /// Whether answers stay as they were.
    pub fn is_exact(self) -> bool {
        self == Self::Original
    }

    /// What differs, in words.
    pub const fn change(self) -> Option<&'static str> {
        match self {
            Self::Original => None,
            Self::Half => Some("float16 inside, inputs and outputs as they were"),
            Self::Bfloat16 => Some("bfloat16 inside, inputs and outputs as they were"),
            Self::Weights8 => Some("weights kept as int8, computation as it was"),
            Self::Weights4 => Some("weights kept as int4 where there is a kernel, as int8 elsewhere"),
        }
    }
}

/// The settings of a session that move memory and leave every answer the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Levers {
    /// `enable_mem_pattern`.
    pub mem_pattern: bool,
    /// `arena_extend_strategy` = `kSameAsRequested`.
    pub same_as_requested: bool,
    /// `session.use_device_allocator_for_initializers`.
    pub device_allocator_for_initializers: bool,
    /// `initial_chunk_size_bytes`; `None` is ONNX Runtime's own.
    pub initial_chunk: Option<Bytes>,
    /// `max_dead_bytes_per_chunk`; `None` is ONNX Runtime's own.
    pub dead_per_chunk_max: Option<Bytes>,
    /// `memory.enable_memory_arena_shrinkage` with every run.
    pub shrink_after_run: bool,
}

impl Default for Levers {
    /// ONNX Runtime's own defaults.
    fn default() -> Self {
        Self {
            mem_pattern: true,
            same_as_requested: false,
            device_allocator_for_initializers: false,
            initial_chunk: None,
            dead_per_chunk_max: None,
            shrink_after_run: false,
        }
    }
}

impl Levers {
    /// Every combination of the switches, those with the fewest changes first.
    pub fn all(with_device_allocator: bool) -> Vec<Self> {
        let mut all = Vec::new();
        for device_allocator_for_initializers in [false, true] {
            for same_as_requested in [false, true] {
                for mem_pattern in [true, false] {
                    if with_device_allocator || !device_allocator_for_initializers {
                        let switches = Self { mem_pattern, same_as_requested, ..Self::default() };
                        all.push(Self { device_allocator_for_initializers, ..switches });
                    }
                }
            }
        }
        all.sort_by_key(Self::n_changes);
        all
    }

    /// How many settings differ from the defaults.
    pub fn n_changes(&self) -> usize {
        usize::from(!self.mem_pattern)
            + usize::from(self.same_as_requested)
            + usize::from(self.device_allocator_for_initializers)
            + usize::from(self.initial_chunk.is_some())
            + usize::from(self.dead_per_chunk_max.is_some())
            + usize::from(self.shrink_after_run)
    }

    /// The changes in ONNX Runtime's words.
    pub fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        if !self.mem_pattern {
            changes.push("enable_mem_pattern = False".to_owned());
        }
        if self.same_as_requested {
            changes.push("arena_extend_strategy = kSameAsRequested".to_owned());
        }
        if self.device_allocator_for_initializers {
            changes.push("session.use_device_allocator_for_initializers = 1".to_owned());
        }
        if let Some(chunk) = self.initial_chunk {
            changes.push(format!("initial_chunk_size_bytes = {}", chunk.get()));
        }
        if let Some(dead) = self.dead_per_chunk_max {
            changes.push(format!("max_dead_bytes_per_chunk = {}", dead.get()));
        }
        if self.shrink_after_run {
            changes.push("memory.enable_memory_arena_shrinkage with every run".to_owned());
        }
        changes
    }
}

/// One way to run a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The numbers it computes with.
    pub precision: Precision,
    /// The session's settings.
    pub levers: Levers,
    /// Rows of one run; `None` takes the whole batch at once.
    pub micro_batch: Option<u64>,
}

impl Point {
    /// What differs from running the model as it is, in words.
    pub fn changes(&self, batch: Option<u64>) -> Vec<String> {
        let mut changes: Vec<String> = self.precision.change().map(str::to_owned).into_iter().collect();
        if let (Some(rows), Some(batch)) = (self.micro_batch, batch) {
            changes.push(format!("{} runs of at most {rows} rows instead of one of {batch}", batch.div_ceil(rows)));
        }
        changes.extend(self.levers.changes());
        changes
    }
}

/// A predicted number of bytes with its uncertainty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Band {
    /// Not less.
    pub low: Bytes,
    /// Most likely.
    pub expected: Bytes,
    /// Not more.
    pub high: Bytes,
}

/// Whether a prediction fits the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Even the high end.
    Fits,
    /// The budget lies inside the band.
    Tight,
    /// Not even the low end.
    DoesNotFit,
}

/// What the twin says of one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The point.
    pub point: Point,
    /// The most that it takes.
    pub peak: Band,
    /// What it holds after the runs.
    pub held: Bytes,
    /// Whether that fits.
    pub fit: Fit,
}
