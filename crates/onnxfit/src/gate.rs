//! When a converted model still gives the same answers.

use onnxfit_rewrite::half::HalfType;
use onnxfit_runtime::Tensors;
use onnxfit_runtime::verify::{Comparison, Exactness, OutputComparison, compare};

/// What is measured against a limit of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// One minus the cosine.
    Cosine,
    /// The share of rows whose largest element is elsewhere.
    Top1,
    /// The relative L2 distance.
    RelativeL2,
    /// A number that a command of the user's prints for a model: how much less it becomes.
    Command,
}

/// What is done to the numbers of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IEEE half precision.
    Float16,
    /// The upper half of a 32-bit float.
    Bfloat16,
    /// Integers.
    Quantized,
}

impl Kind {
    pub(crate) fn of(half: HalfType) -> Self {
        match half {
            HalfType::Float16 => Self::Float16,
            HalfType::Bfloat16 => Self::Bfloat16,
        }
    }
}

/// A limit of the user's: `--max-drop cosine=0.001`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxDrop {
    /// What is measured.
    pub metric: Metric,
    /// The most that it may be.
    pub most: f64,
}

impl std::str::FromStr for MaxDrop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, most) = text.split_once('=').ok_or("write it as `cosine=0.001`")?;
        let metric = match name.trim() {
            "cosine" => Metric::Cosine,
            "top1" => Metric::Top1,
            "relative-l2" => Metric::RelativeL2,
            "command" => Metric::Command,
            other => return Err(format!("`{other}` is no metric; there are cosine, top1, relative-l2 and command")),
        };
        let most: f64 = most.trim().parse().map_err(|_| format!("`{most}` is no number"))?;
        if most.is_finite() && most >= 0.0 { Ok(Self { metric, most }) } else { Err(format!("`{most}` is no limit")) }
    }
}

/// The smallest normal number of IEEE half precision: below it there are fewer and fewer bits.
const HALF_NOISE: f64 = 6.103_515_625e-5;

/// What still counts as the same answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Gate {
    /// By relative L2, by the largest error as a share of the largest number (of 1 where all are
    /// smaller), and by the place of the largest element. Errors up to `noise` have no direction.
    Usual { relative_l2: f64, share: f64, top1: f64, noise: f64 },
    /// By what the user asked for.
    Asked(MaxDrop),
}

impl Gate {
    /// What may be expected of a type: errors of a model with n bits grow with 2^-n.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            // At the edge of what a map of scores shows one element may turn over: the distance of all
            // of them is what counts.
            // A tenth is meant, and what is seen here is a few samples of many.
            Kind::Quantized => Self::Usual { relative_l2: 8e-2, share: f64::INFINITY, top1: 0.9, noise: 0.0 },
            Kind::Float16 => Self::Usual { relative_l2: 2e-2, share: 1e-2, top1: 0.99, noise: HALF_NOISE },
            Kind::Bfloat16 => Self::Usual { relative_l2: 1e-1, share: 8e-2, top1: 0.95, noise: 0.0 },
        }
    }

    /// The gate that is aimed at, because what is compared is a few samples of many. What was asked
    /// for is meant as it was said.
    pub(crate) fn with_margin(self) -> Self {
        const SHARE: f64 = 0.75;
        match self {
            Self::Usual { relative_l2, share, top1, noise } => {
                Self::Usual { relative_l2: SHARE * relative_l2, share: SHARE * share, top1, noise }
            }
            asked @ Self::Asked(_) => asked,
        }
    }

    /// Whether this gate, too, lets pass what another one compared.
    pub(crate) fn allows(self, comparison: &Comparison) -> bool {
        comparison.outputs.iter().all(|output| self.problem(output).is_none())
    }

    /// Compares, and says of each output why it is not the same answer, if so.
    pub(crate) fn judge(self, before: &Tensors, after: &Tensors) -> Comparison {
        let mut comparison = compare(before, after, self.exactness());
        for output in &mut comparison.outputs {
            let shapes = [before, after].map(|side| side.get(&output.name).map(|tensor| tensor.shape().to_vec()));
            // Another shape, or none, was said already.
            if shapes[0] == shapes[1] {
                output.problem = self.problem(output);
            }
        }
        comparison.agrees = comparison.outputs.iter().all(|output| output.problem.is_none());
        comparison
    }

    /// How near two scores may be to be a tie.
    fn exactness(self) -> Exactness {
        match self {
            Self::Usual { relative_l2, .. } if relative_l2 > 2e-2 => Exactness::Quantized,
            _ => Exactness::Half,
        }
    }

    /// Whether answers that do not agree are at least near: within ten times the tolerance.
    pub(crate) fn is_near(self, comparison: &Comparison) -> bool {
        let wide = match self {
            Self::Usual { relative_l2, share, noise, .. } => {
                Self::Usual { relative_l2: 10.0 * relative_l2, share: 10.0 * share, top1: 0.9, noise }
            }
            asked @ Self::Asked(_) => asked,
        };
        // One of another shape has no error at all, but is not near.
        let is_near = |output: &OutputComparison| output.max_absolute_error > 0.0 && wide.problem(output).is_none();
        comparison.outputs.iter().all(|output| output.problem.is_none() || is_near(output))
    }

    fn problem(self, output: &OutputComparison) -> Option<String> {
        for (what, [before, after]) in [("NaN", output.nan_counts), ("infinite", output.infinite_counts)] {
            if before != after {
                return Some(format!("has {after} {what} elements instead of {before}"));
            }
        }
        let over = |what: &str, have: f64, most: f64| {
            (have > most).then(|| format!("has a {what} of {have:.3e}, at most {most:.3e} allowed"))
        };
        match self {
            Self::Usual { relative_l2, share, top1, noise } => {
                let moved = output.top1_agreement.filter(|agreement| *agreement < top1);
                let largest = over("largest error", output.max_absolute_error, share * output.largest.max(1.0));
                // Noise around zero has no direction: small next to 1 is small, and what is below the
                // smallest normal number of the type is noise in that type.
                let floor = f64::max(noise, 1e-3 * output.largest.min(1.0));
                let is_noise = output.max_absolute_error <= floor;
                let l2 = over("relative L2", output.relative_l2, relative_l2);
                let moved = moved.map(|agreement| format!("has a top-1 agreement of {agreement:.3}"));
                largest.or(l2.or(moved).filter(|_| !is_noise))
            }
            Self::Asked(MaxDrop { metric, most }) => match metric {
                Metric::Cosine => over("cosine drop", 1.0 - output.cosine, most),
                Metric::RelativeL2 => over("relative L2", output.relative_l2, most),
                Metric::Top1 => over("top-1 drop", 1.0 - output.top1_agreement.unwrap_or(1.0), most),
                // The command judges the model, not an output.
                Metric::Command => None,
            },
        }
    }

    /// How far an output moved, in the number that the gate looks at.
    pub(crate) fn error(self, output: &OutputComparison) -> f64 {
        match self {
            Self::Asked(MaxDrop { metric: Metric::Cosine, .. }) => 1.0 - output.cosine,
            Self::Asked(MaxDrop { metric: Metric::Top1, .. }) => 1.0 - output.top1_agreement.unwrap_or(1.0),
            // Noise around zero has no direction: the error is one of the numbers that there are.
            _ if output.largest < 1e-6 => output.max_absolute_error,
            _ => output.relative_l2,
        }
    }

    /// What [`Self::error`] is called.
    pub(crate) fn error_name(self) -> &'static str {
        match self {
            Self::Asked(MaxDrop { metric: Metric::Cosine, .. }) => "cosine drop",
            Self::Asked(MaxDrop { metric: Metric::Top1, .. }) => "top-1 drop",
            _ => "relative L2",
        }
    }

    /// In words.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Usual { relative_l2, share, top1, .. } if share.is_infinite() => {
                format!("relative L2 at most {relative_l2:e}, top-1 agreement at least {top1}")
            }
            Self::Usual { relative_l2, share, top1, .. } => format!(
                "relative L2 at most {relative_l2:e}, no element off by more than {share:e} of the largest (of 1 where \
                 all are smaller), top-1 agreement at least {top1}"
            ),
            Self::Asked(MaxDrop { metric: Metric::Cosine, most }) => format!("cosine at least 1 - {most}"),
            Self::Asked(MaxDrop { metric: Metric::Top1, most }) => format!("top-1 agreement at least 1 - {most}"),
            Self::Asked(MaxDrop { metric: Metric::RelativeL2, most }) => format!("relative L2 at most {most}"),
            Self::Asked(MaxDrop { metric: Metric::Command, most }) => {
                format!("the command's number at most {most} below that of the original")
            }
        }
    }

    /// The relative L2 of a value inside the model from which on a node is suspected.
    pub(crate) fn suspicion(self) -> f64 {
        match self {
            Self::Usual { relative_l2, .. } => relative_l2 / 2.0,
            Self::Asked(MaxDrop { metric: Metric::RelativeL2, most }) => most / 2.0,
            // An angle t has a cosine of 1 - t²/2, and t is about the relative L2.
            Self::Asked(MaxDrop { metric: Metric::Cosine, most }) => (2.0 * most).sqrt() / 2.0,
            Self::Asked(MaxDrop { metric: Metric::Top1 | Metric::Command, .. }) => 1e-2,
        }
    }
}

#[cfg(test)]
mod tests {
    use onnxfit_runtime::Tensor;

    use super::*;

    fn agrees(gate: Gate, before: &[f32], after: &[f32]) -> bool {
        let side = |numbers: &[f32]| -> Tensors {
            [("y".to_owned(), Tensor::from_f32(vec![numbers.len() as u64], numbers).unwrap())].into_iter().collect()
        };
        gate.judge(&side(before), &side(after)).agrees
    }

    #[test]
    fn a_margin_is_aimed_at_unless_a_limit_was_asked_for() {
        let compared = |gate: Gate| {
            let side = |number: f32| -> Tensors {
                [("y".to_owned(), Tensor::from_f32(vec![2], &[100.0, number]).unwrap())].into_iter().collect()
            };
            let comparison = gate.judge(&side(1.0), &side(1.9));
            (comparison.agrees, gate.with_margin().allows(&comparison))
        };
        assert_eq!(compared(Gate::of(Kind::Float16)), (true, false));
        assert_eq!(compared(Gate::Asked(MaxDrop { metric: Metric::RelativeL2, most: 0.0091 })), (true, true));
    }

    #[test]
    fn the_usual_gate_wants_a_hundredth_of_the_largest_number_or_of_one() {
        let gate = Gate::of(Kind::Float16);
        assert!(agrees(gate, &[100.0, 1.0], &[100.9, 1.0]));
        assert!(!agrees(gate, &[100.0, 1.0], &[101.1, 1.0]));
        assert!(!agrees(gate, &[0.5, 0.1], &[0.52, 0.1]));
        assert!(!agrees(gate, &[1.0, 0.1], &[1.0, f32::NAN]));
        assert!(!agrees(gate, &[1.0], &[1.0, 1.0]));
    }

    #[test]
    fn integers_may_turn_over_an_element_but_not_the_whole() {
        let gate = Gate::of(Kind::Quantized);
        let mut map = vec![0.0; 1000];
        map[..200].fill(1.0);
        let mut edge = map.clone();
        edge[200] = 0.7;
        assert!(agrees(gate, &map, &edge));
        edge[201..203].fill(0.9);
        assert!(!agrees(gate, &map, &edge));
        assert_eq!(gate.text(), "relative L2 at most 8e-2, top-1 agreement at least 0.9");
    }

    #[test]
    fn the_users_gate_replaces_the_usual_one() {
        let gate = Gate::Asked("relative-l2=0.5".parse().unwrap());
        assert!(agrees(gate, &[1.0, 0.0], &[1.4, 0.0]));
        assert!(!agrees(gate, &[1.0, 0.0], &[1.6, 0.0]));
        assert_eq!(
            "l2=1".parse::<MaxDrop>(),
            Err("`l2` is no metric; there are cosine, top1, relative-l2 and command".into())
        );
        assert!("cosine=nan".parse::<MaxDrop>().is_err());
    }
}
