//! Changes bytes by chance.

/// Values at which counts and lengths go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Inputs are not made longer than this.
const BYTES_MAX: usize = 20_000;

/// SplitMix64, and what is done with it.
pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn one<'a>(&mut self, pool: &'a [Vec<u8>]) -> &'a [u8] {
        &pool[self.below(pool.len())]
    }

    /// Where a piece of `bytes` begins and ends; most are short.
    fn piece(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let longest = if self.below(4) == 0 { bytes.len() } else { 16 };
        let len = self.below(longest + 1);
        start..(start + len).min(bytes.len())
    }

    /// One of the pool, changed in a few places.
    pub(crate) fn mutate(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.one(pool).to_vec();
        for _ in 0..=self.below(5) {
            self.change(&mut bytes, pool);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.below(bytes.len());
        match self.below(10) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                let byte = self.byte();
                if let Some(there) = bytes.get_mut(at) {
                    *there = byte;
                }
            }
            2 => {
                let value = EDGES[self.below(EDGES.len())]
                    .wrapping_add(self.next() % 3)
                    .wrapping_sub(1);
                let width = [1, 2, 4, 8][self.below(4)];
                let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
                let number = if self.below(2) == 0 {
                    &little[..width]
                } else {
                    &big[8 - width..]
                };
                for (there, byte) in bytes.iter_mut().skip(at).zip(number) {
                    *there = *byte;
                }
            }
            3 => {
                let value = EDGES[self.below(EDGES.len())];
                let digits = value.to_string().into_bytes();
                let piece = self.piece(bytes);
                bytes.splice(piece, digits);
            }
            4 => {
                let noise: Vec<u8> = (0..=self.below(12)).map(|_| self.byte()).collect();
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), noise);
            }
            5 => drop(bytes.drain(self.piece(bytes))),
            6 => {
                let piece = self.piece(bytes);
                let copied = bytes[piece].repeat(1 + self.below(3));
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), copied);
            }
            7 | 8 => {
                let other = self.one(pool);
                let piece = self.piece(other);
                let to = self.piece(bytes);
                bytes.splice(to, other[piece].iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
}
