//! The draw of a sale that is ordered `random_at_open`: who gathered before the opening is dealt a queue position by a
//! permutation that anyone can work out again from what is published.
//!
//! Before the opening the SHA-256 of a [`Seed`] is published; after it, the seed and how many had entered. `docs/DRAW.md`
//! specifies every step for those who check it in another language, and says what a draw proves and what it does not.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::ConcertId;

/// Names this way of drawing, so that a later one can't be mistaken for it.
pub const ALGORITHM: &str = "fisher-yates-sha256-v1";

/// The most entries that one draw is for; dealing these takes 400 MB. Whoever is told a number by a stranger compares it
/// with this before dealing.
pub const MAX_ENTRIES: u32 = 100_000_000;

const SEED_BYTES: usize = 32;
const WORDS_PER_BLOCK: usize = 8;

/// What a draw is worked out from: secret until the sale opens, since whoever knows it and all entries knows the outcome.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; SEED_BYTES]);

/// The text was not 32 bytes in hexadecimal. It is not repeated: it may be a seed with a slip of the pen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a seed is 64 hexadecimal digits")]
pub struct InvalidSeed;

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

impl Seed {
    /// A new one, from `rand`'s generator, which is fit for secrets.
    pub fn generate() -> Self {
        let mut bytes = [0; SEED_BYTES];
        rand::fill(&mut bytes);
        Self(bytes)
    }

    /// From 64 hexadecimal digits, in either case.
    pub fn from_hex(text: &str) -> Result<Self, InvalidSeed> {
        let mut bytes = [0; SEED_BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidSeed)?;
        Ok(Self(bytes))
    }

    /// As 64 hexadecimal digits in lower case: the form in which it is published, and kept secret before.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// What is published before the opening: the SHA-256 of the 32 bytes, as 64 hexadecimal digits in lower case.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }

    /// The positions dealt to entries 1 to `entries` of a concert: `positions[entry - 1]`, each of 1 to `entries` once.
    ///
    /// Four bytes an entry; `entries` is the caller's to bound, by [`MAX_ENTRIES`] or less.
    pub fn positions(&self, concert: ConcertId, entries: u32) -> Vec<u32> {
        let mut words = Words::new(self, concert, entries);
        let mut positions: Vec<u32> = (1..=entries).collect();
        // Fisher–Yates from the end: the last place takes one of all, the one before it one of those left.
        for last in (1..entries).rev() {
            let other = below(last + 1, || words.next());
            positions.swap(last as usize, other as usize);
        }
        positions
    }
}

/// A number from 0 to `bound - 1`, each as likely as any other: words from the incomplete last run of `bound` numbers
/// below 2³², which would favour the smaller ones, are passed over.
fn below(bound: u32, mut word: impl FnMut() -> u32) -> u32 {
    let words = 1_u64 << u32::BITS;
    let fair = words - words % u64::from(bound);
    loop {
        let word = word();
        if u64::from(word) < fair {
            return word % bound;
        }
    }
}

/// 32-bit numbers from SHA-256 in counter mode.
struct Words {
    key: [u8; 32],
    block: u64,
    current: [u32; WORDS_PER_BLOCK],
    used: usize,
}

impl Words {
    /// Concert and number of entries are part of the key: one seed deals differently to another concert, and who knows
    /// the seed early still can't tell who wins while the entries are open.
    fn new(seed: &Seed, concert: ConcertId, entries: u32) -> Self {
        let key = Sha256::new()
            .chain_update(seed.0)
            .chain_update(concert.as_uuid().as_bytes())
            .chain_update(u64::from(entries).to_be_bytes())
            .finalize();
        Self { key: key.into(), block: 0, current: [0; WORDS_PER_BLOCK], used: WORDS_PER_BLOCK }
    }

    fn next(&mut self) -> u32 {
        if self.used == WORDS_PER_BLOCK {
            self.refill();
        }
        let word = self.current[self.used];
        self.used += 1;
        word
    }

    fn refill(&mut self) {
        let mut message = [0; 40];
        message[..32].copy_from_slice(&self.key);
        message[32..].copy_from_slice(&self.block.to_be_bytes());
        let digest: [u8; 32] = Sha256::digest(message).into();
        for (word, bytes) in self.current.iter_mut().zip(digest.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        self.block += 1;
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn concert(number: u128) -> ConcertId {
        Uuid::from_u128(number).into()
    }

    fn seed(number: u32) -> Seed {
        Seed(Sha256::digest(number.to_be_bytes()).into())
    }

    /// The vectors of docs/DRAW.md; the program there, in another language, arrives at the same.
    #[test]
    fn the_published_vectors_are_dealt() {
        let seed = Seed::from_hex("1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100").unwrap();
        let concert = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20".parse().unwrap();
        assert_eq!(seed.hash(), "69c55c9002eb8c7a4e75d0b49629c4cf83d12cfb56670a8cd6e2db1491a996c4");
        assert_eq!(seed.positions(concert, 10), [10, 2, 5, 6, 4, 7, 9, 8, 3, 1]);
        // Ten entries pass over no word; a million do.
        let million: Vec<u8> = seed.positions(concert, 1_000_000).into_iter().flat_map(u32::to_be_bytes).collect();
        assert_eq!(
            hex::encode(Sha256::digest(million)),
            "6294cb1005a6dc9c2fc9ac1a9b9d1f6a244997a7b02c86ad41ee12eb8c69d604"
        );
    }

    proptest! {
        #[test]
        fn everyone_is_dealt_one_position(bytes: [u8; 32], id: u128, entries in 0_u32..2_000) {
            let mut dealt = Seed(bytes).positions(concert(id), entries);
            dealt.sort_unstable();
            prop_assert_eq!(dealt, (1..=entries).collect::<Vec<_>>());
        }

        #[test]
        fn the_same_is_dealt_again_and_only_for_the_same(bytes: [u8; 32], id: u128, entries in 30_u32..2_000) {
            let seed = Seed(bytes);
            let dealt = seed.positions(concert(id), entries);
            prop_assert_eq!(&dealt, &Seed::from_hex(&seed.to_hex()).unwrap().positions(concert(id), entries));
            prop_assert_ne!(&dealt, &seed.positions(concert(id ^ 1), entries));
            prop_assert_ne!(&dealt, &Seed::generate().positions(concert(id), entries));
            // Another number of entries is another draw, not the same with one more at its end.
            let more = seed.positions(concert(id), entries + 1);
            let order = |dealt: &[u32]| {
                let mut entries: Vec<usize> = (0..dealt.len().min(entries as usize)).collect();
                entries.sort_unstable_by_key(|entry| dealt[*entry]);
                entries
            };
            prop_assert_ne!(order(&dealt), order(&more));
        }
    }

    /// Pearson's statistic for counts that should all be `expected`.
    fn chi_square(counts: impl IntoIterator<Item = u32>, expected: f64) -> f64 {
        counts.into_iter().map(|count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn every_order_is_as_likely_as_any_other() {
        let mut counts: HashMap<Vec<u32>, u32> = HashMap::new();
        for number in 0..24_000 {
            *counts.entry(seed(number).positions(concert(7), 5)).or_default() += 1;
        }
        assert_eq!(counts.len(), 120);
        // 119 degrees of freedom: a fair draw exceeds this once in a thousand times, and these seeds are always the same.
        let statistic = chi_square(counts.into_values(), 200.0);
        assert!(statistic < 173.6, "{statistic}");
    }

    #[test]
    fn every_position_is_as_likely_for_the_first_as_for_the_last() {
        const ENTRIES: usize = 40;
        let mut counts = [[0; ENTRIES]; ENTRIES];
        for number in 0..8_000 {
            for (entry, position) in seed(number).positions(concert(7), 40).into_iter().enumerate() {
                counts[entry][position as usize - 1] += 1;
            }
        }
        for (entry, counts) in counts.into_iter().enumerate() {
            // 39 degrees of freedom, once in a hundred thousand times; there are forty entries.
            let statistic = chi_square(counts, 200.0);
            assert!(statistic < 86.0, "entry {}: {statistic}", entry + 1);
        }
    }

    #[test]
    fn words_that_would_favour_small_numbers_are_passed_over() {
        let draw = |bound, words: &[u32]| {
            let mut words = words.iter().copied();
            below(bound, || words.next().unwrap())
        };
        let three_quarters = 3 << 30;
        assert_eq!(draw(three_quarters, &[three_quarters, u32::MAX, three_quarters - 1]), three_quarters - 1);
        assert_eq!(draw(3, &[u32::MAX, 7]), 1);
        // A power of two divides them all: none is passed over.
        assert_eq!(draw(4, &[u32::MAX]), 3);
        assert_eq!(draw(u32::MAX, &[u32::MAX, u32::MAX - 1]), u32::MAX - 1);
    }

    #[test]
    fn a_seed_reads_back_and_is_never_shown_by_accident() {
        let seed = Seed::generate();
        assert_eq!(Seed::from_hex(&seed.to_hex()).unwrap(), seed);
        assert_eq!(Seed::from_hex(&seed.to_hex().to_uppercase()).unwrap(), seed);
        assert_eq!(format!("{seed:?}"), "Seed(…)");
        assert_ne!(seed, Seed::generate());
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Seed::from_hex(bad), Err(InvalidSeed), "{bad}");
        }
    }
}
