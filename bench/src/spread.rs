//! One figure over several rounds.

/// The middle one, the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` if there is nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        // The middle one, or the mean of the two in the middle.
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self {
            median: low.midpoint(*high),
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_both_ends() {
        let spread = |values: &[f64]| {
            let spread = Spread::of(values.iter().copied());
            spread.map(|spread| (spread.median, spread.min, spread.max))
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[10.0]), Some((10.0, 10.0, 10.0)));
        assert_eq!(spread(&[10.0, 100.0, 20.0]), Some((20.0, 10.0, 100.0)));
        assert_eq!(spread(&[10.0, 100.0, 20.0, 30.0]), Some((25.0, 10.0, 100.0)));
    }
}
