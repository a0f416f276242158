//! Keeping half-precision gradients within range: the loss is scaled up, and down again after.

/// Steps without overflow after which a larger scale is tried.
const N_GOOD_STEPS: u32 = 2000;
/// Below this the gradients themselves are no numbers.
const SCALE_MIN: f64 = 1.0 / 65536.0;
/// Single precision must hold the scaled loss.
const SCALE_MAX: f64 = 16_777_216.0;

/// What the loss is multiplied by, adapted from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LossScaler {
    pub(crate) scale: f64,
    n_good_steps: u32,
}

impl LossScaler {
    pub(crate) fn new(scale: f64) -> Self {
        Self { scale: scale.clamp(SCALE_MIN, SCALE_MAX), n_good_steps: 0 }
    }

    pub(crate) fn state(&self) -> (f64, u32) {
        (self.scale, self.n_good_steps)
    }

    pub(crate) fn of_state((scale, n_good_steps): (f64, u32)) -> Self {
        Self { n_good_steps, ..Self::new(scale) }
    }

    /// After a step that went well.
    pub(crate) fn grow(&mut self) {
        self.n_good_steps += 1;
        if self.n_good_steps >= N_GOOD_STEPS {
            *self = Self::new(self.scale * 2.0);
        }
    }

    /// After an overflow; `false` if a smaller scale would not help.
    pub(crate) fn shrink(&mut self) -> bool {
        if self.scale <= SCALE_MIN {
            return false;
        }
        *self = Self::new(self.scale / 2.0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_halves_at_once_and_doubles_slowly() {
        let mut scaler = LossScaler::new(1024.0);
        assert!(scaler.shrink());
        assert_eq!(scaler.scale, 512.0);
        (0..N_GOOD_STEPS).for_each(|_| scaler.grow());
        assert_eq!(scaler.scale, 1024.0);
        let n_halvings = (0..1000).take_while(|_| scaler.shrink()).count();
        assert!(n_halvings < 40);
    }
}
