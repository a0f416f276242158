//! Learning rates over time.

/// How the learning rate goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The rate after warming up.
    pub rate: f64,
    /// Steps over which it rises from zero.
    pub n_warmup_steps: u64,
    /// How it goes on.
    pub decay: Decay,
}

/// How a learning rate goes on after warming up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// It falls in a straight line to `end_factor` of the rate at step `n_steps`.
    Linear {
        /// The step at which it ends, warming up included.
        n_steps: u64,
        /// What is left at the end.
        end_factor: f64,
    },
    /// It falls along half a cosine to `end_factor` of the rate at step `n_steps`.
    Cosine {
        /// The step at which it ends, warming up included.
        n_steps: u64,
        /// What is left at the end.
        end_factor: f64,
    },
}

impl Schedule {
    /// The same rate all the time.
    pub fn constant(rate: f64) -> Self {
        Self { rate, n_warmup_steps: 0, decay: Decay::Constant }
    }

    /// The rate of a step; the first step is 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.n_warmup_steps {
            return self.rate * (step + 1) as f64 / self.n_warmup_steps as f64;
        }
        let done = |n_steps: u64| {
            let span = n_steps.saturating_sub(self.n_warmup_steps).max(1);
            ((step - self.n_warmup_steps) as f64 / span as f64).min(1.0)
        };
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear { n_steps, end_factor } => 1.0 - (1.0 - end_factor) * done(n_steps),
            Decay::Cosine { n_steps, end_factor } => {
                let wave = 0.5 * (1.0 + (std::f64::consts::PI * done(n_steps)).cos());
                end_factor + (1.0 - end_factor) * wave
            }
        };
        self.rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, steps: &[u64]) -> Vec<f64> {
        steps.iter().map(|step| (schedule.at(*step) * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn a_rate_warms_up_and_then_falls_to_its_end() {
        let linear = Schedule { rate: 1.0, n_warmup_steps: 4, decay: Decay::Linear { n_steps: 14, end_factor: 0.0 } };
        assert_eq!(rates(linear, &[0, 1, 3, 4, 9, 14, 99]), [0.25, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]);
        let cosine = Schedule { rate: 2.0, n_warmup_steps: 0, decay: Decay::Cosine { n_steps: 10, end_factor: 0.1 } };
        assert_eq!(rates(cosine, &[0, 5, 10, 11]), [2.0, 1.1, 0.2, 0.2]);
        assert_eq!(rates(Schedule::constant(0.5), &[0, 1000]), [0.5, 0.5]);
    }
}
