//! Seeds, and what is drawn from them: small, and the same on every machine.

/// Steele, Lea and Flood's SplitMix64: good enough for jitter.
#[derive(Debug)]
pub(crate) struct SplitMix(u64);

/// What the state grows by with each number.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        scramble(self.0)
    }

    /// In 0 … 1.
    pub(crate) fn next_unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

/// Mixes two numbers into a seed.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    scramble(a ^ b.wrapping_add(1).wrapping_mul(GAMMA))
}

/// Lets every bit of the input decide about every bit of the output.
fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
