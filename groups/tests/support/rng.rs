//! A seeded generator for tests: the same seed, the same test.

/// SplitMix64.
pub(crate) struct TestRng(u64);

impl TestRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, bound)`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A position in a list of `len`.
    pub(crate) fn position(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("a position fits")
    }
}

/// The seeds of a randomised test: the one given by the environment variable, or `count` of them, the first of which
/// `RAFTYARD_SEED_FROM` may give.
pub(crate) fn seeds(variable: &str, count: u64) -> Vec<u64> {
    let given = |variable| {
        let seed = std::env::var(variable).ok();
        seed.map(|seed| seed.parse::<u64>().expect("a seed is a number"))
    };
    if let Some(seed) = given(variable) {
        return vec![seed];
    }
    let first = given("RAFTYARD_SEED_FROM").unwrap_or(0);
    (first..first + count).collect()
}

/// Prints the seed if the test fails while this lives.
pub(crate) struct Seed {
    pub(crate) variable: &'static str,
    pub(crate) seed: u64,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {}={}", self.variable, self.seed);
        }
    }
}
