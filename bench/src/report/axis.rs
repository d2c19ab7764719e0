//! Where values stand on an axis.

/// From a smallest value to a largest one, over so many pixels.
pub(super) struct Axis {
    min: f64,
    max: f64,
    is_log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// From 0 to at least `max`, from pixel `from` to pixel `to`.
    pub(super) fn linear(max: f64, from: f64, to: f64) -> Self {
        let step = step(max);
        Self {
            min: 0.0,
            max: (max / step).ceil().max(1.0) * step,
            is_log: false,
            from,
            to,
        }
    }

    /// Whole decades, around these values; those that are not positive stand at its beginning.
    pub(super) fn log(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut min, mut max) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0) {
            (min, max) = (min.min(value), max.max(value));
        }
        if max == 0.0 {
            (min, max) = (1.0, 1.0);
        }
        let (first, mut last) = (min.log10().floor(), max.log10().ceil());
        if last <= first {
            last = first + 1.0;
        }
        Self {
            min: 10_f64.powf(first),
            max: 10_f64.powf(last),
            is_log: true,
            from,
            to,
        }
    }

    /// The pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.min, self.max);
        let share = if self.is_log {
            (value / self.min).log10() / (self.max / self.min).log10()
        } else {
            value / self.max
        };
        self.from + share * (self.to - self.from)
    }

    /// Values that are marked.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![self.min];
        let step = step(self.max);
        while let Some(last) = ticks.last().filter(|last| **last < self.max * 0.999_999) {
            let next = if self.is_log { last * 10.0 } else { last + step };
            ticks.push(next);
        }
        ticks
    }
}

/// A round number of which a few make `max`.
fn step(max: f64) -> f64 {
    if max <= 0.0 || !max.is_finite() {
        return 1.0;
    }
    let decade = 10_f64.powf(max.log10().floor());
    let steps = [0.1, 0.2, 0.5, 1.0].map(|part| part * decade);
    steps.into_iter().find(|step| max / step <= 6.0).unwrap_or(2.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_between_round_numbers() {
        for (max, ticks) in [
            (1.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (47.0, vec![0.0, 10.0, 20.0, 30.0, 40.0, 50.0]),
            (
                120_000.0,
                vec![0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0, 120_000.0],
            ),
            (0.0, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ] {
            let axis = Axis::linear(max, 100.0, 200.0);
            let found = axis.ticks();
            assert_eq!(found.len(), ticks.len(), "{max}: {found:?}");
            assert!(found.iter().zip(&ticks).all(|(one, other)| (one - other).abs() < 1e-9));
            assert!((100.0..=200.0).contains(&axis.at(max)));
        }
    }

    #[test]
    fn decades_are_as_wide_as_each_other() {
        let axis = Axis::log([30.0, 4_000.0].into_iter(), 0.0, 300.0);
        assert_eq!(axis.ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert!((axis.at(100.0) - 100.0).abs() < 1e-9 && (axis.at(1_000.0) - 200.0).abs() < 1e-9);
        let nothing = Axis::log(std::iter::empty(), 0.0, 300.0);
        assert_eq!(nothing.at(0.0), 0.0);
        assert_eq!(Axis::log([100.0].into_iter(), 0.0, 300.0).ticks(), [100.0, 1_000.0]);
    }
}
