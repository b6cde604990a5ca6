//! Data that looks random and comes again with the same seed.

/// SplitMix64: a counter whose steps are scattered by multiplying and shifting. Good enough to tell
/// mixed-up bytes apart; no use for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// One for each check: the same whatever else is run, and on however many threads.
    pub(crate) fn for_check(seed: u64, id: &str, round: u32) -> Random {
        let mut random = Random::new(seed ^ u64::from(round).rotate_left(32));
        for byte in id.bytes() {
            random.state = random.next() ^ u64::from(byte);
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        // An odd step reaches every state before any comes again.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // The high half of a product: as even as 64 bits allow for the limits of tests.
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let length = chunk.len();
            chunk.copy_from_slice(&self.next().to_le_bytes()[..length]);
        }
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_and_another_something_else() {
        let bytes = |seed, id, round| Random::for_check(seed, id, round).bytes(33);
        let one = bytes(1, "echo/44/whole", 1);
        assert_eq!(one, bytes(1, "echo/44/whole", 1));
        assert_ne!(one, bytes(2, "echo/44/whole", 1));
        assert_ne!(one, bytes(1, "echo/46/whole", 1));
        assert_ne!(one, bytes(1, "echo/44/whole", 2));
    }

    #[test]
    fn numbers_are_spread_over_the_range() {
        let mut random = Random::new(7);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        let bytes = random.bytes(100_000);
        let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert!((395_000..405_000).contains(&ones), "{ones}");
    }
}
