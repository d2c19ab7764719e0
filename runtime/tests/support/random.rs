//! What happens by chance, and can be repeated.

use std::hash::{BuildHasher, RandomState};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)) % bound
    }
}

/// The seed that the environment gives, or a new one; printed, so that it can be given.
pub fn seed() -> u64 {
    let given = std::env::var("RAFTYARD_SEED").ok();
    let seed = given.map_or_else(
        || RandomState::new().hash_one(0),
        |text| text.parse().expect("RAFTYARD_SEED is a number"),
    );
    println!("RAFTYARD_SEED={seed}");
    seed
}
