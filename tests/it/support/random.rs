//! Seeded random numbers (SplitMix64): a seed gives the same run again.

pub struct Random(u64);

impl Random {
    /// The seed from `PARLOR_SEED`, else `default`; printed, so that a failure can be run again.
    pub fn from_env(default: u64) -> Self {
        let seed =
            std::env::var("PARLOR_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(default);
        println!("PARLOR_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
