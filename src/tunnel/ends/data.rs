//! Bulk data: made from a seed as it is sent, and made again where it arrives.

use std::sync::LazyLock;

use super::random::Random;

/// How much is sent, read and compared at once.
pub(crate) const BLOCK: usize = 128 * 1024;
/// Blocks are pieces of this much random data.
const POOL: usize = 4 * BLOCK;

/// The same for all checks: to make it costs more than most of them, and which places of it follow each
/// other is each one's own.
static RANDOM: LazyLock<Vec<u8>> = LazyLock::new(|| Random::new(0).bytes(POOL));

/// Random data without end: blocks from random places of a random pool. No two blocks are the same, so
/// what a program repeats, skips or puts elsewhere differs, also by its own buffers' sizes; and sending
/// and comparing cost little more than copying.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    places: Random,
    /// The current block's place in the pool, and how much of it is used up.
    place: usize,
    used: usize,
}

impl Data {
    pub(crate) fn new(random: &mut Random) -> Data {
        Data {
            places: Random::new(random.next()),
            place: 0,
            used: BLOCK,
        }
    }

    /// The next bytes: at least one, at most `most` of them.
    pub(crate) fn peek(&mut self, most: u64) -> &[u8] {
        if self.used == BLOCK {
            self.place = self.places.below((POOL - BLOCK) as u64) as usize;
            self.used = 0;
        }
        let left = BLOCK - self.used;
        let length = usize::try_from(most).map_or(left, |most| most.min(left));
        &RANDOM[self.place + self.used..][..length]
    }

    /// Goes on behind the next `length` bytes, no more than [`Data::peek`] has given.
    pub(crate) fn advance(&mut self, length: usize) {
        self.used += length;
    }

    /// The next `length` bytes, all at once: for little.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let piece = self.peek((length - bytes.len()) as u64);
            bytes.extend_from_slice(piece);
            let length = piece.len();
            self.advance(length);
        }
        bytes
    }

    /// The SHA-256 (FIPS 180-4) of the next `length` bytes, in hex.
    pub(crate) fn sha256(mut self, length: u64) -> String {
        let mut hash = hmac_sha256::Hash::new();
        let mut left = length;
        while left > 0 {
            let piece = self.peek(left);
            hash.update(piece);
            let length = piece.len();
            left -= length as u64;
            self.advance(length);
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_however_it_is_taken() {
        let data = Data::new(&mut Random::new(1));
        let length = 3 * BLOCK + 1;
        let whole = data.clone().take(length);
        let mut odd = data.clone();
        let mut parts = Vec::new();
        for length in [1, BLOCK - 1, 7, BLOCK, length - 2 * BLOCK - 7] {
            parts.extend(odd.take(length));
        }
        assert!(parts == whole);
        let hash = hmac_sha256::Hash::hash(&whole);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(data.sha256(length as u64), hex);
    }

    #[test]
    fn it_never_comes_again_at_the_distance_of_a_buffer() {
        let mut random = Random::new(1);
        let mut data = Data::new(&mut random);
        let mut other = Data::new(&mut random);
        let bytes = data.take(8 * BLOCK);
        for distance in [4096, 65_536, BLOCK, POOL, 2 * BLOCK - 1] {
            let equal = |at: &usize| bytes[*at..at + 32] == bytes[at + distance..][..32];
            let places = (0..bytes.len() - distance - 32).step_by(1000);
            assert_eq!(places.filter(equal).count(), 0, "{distance}");
        }
        assert!(bytes != other.take(8 * BLOCK));
    }

    #[test]
    fn the_digest_is_the_one_of_the_standard() {
        // FIPS 180-4's example "abc", through the same crate.
        let digest = hmac_sha256::Hash::hash(b"abc");
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
