//! MD5 of several messages at once. One message is a chain in which every step waits for the one before it; sixteen
//! side by side, a message in each lane of a vector, take twice as long as one.

use std::array::from_fn;
use std::sync::LazyLock;

use fearless_simd::{Level, dispatch, prelude::*, u32x16};

/// Messages that are hashed side by side.
pub(crate) const LANES: usize = 16;

const BLOCK: usize = 64;
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
/// RFC 1321: the integer parts of 2³² times the sines of 1 to 64.
static SINES: LazyLock<[u32; 64]> =
    LazyLock::new(|| from_fn(|i| (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32));

/// The digests of any number of messages.
pub(crate) fn digests(messages: &[&[u8]]) -> Vec<[u8; 16]> {
    let ends: Vec<End> = messages.iter().map(|message| End::of(message)).collect();
    let mut digests = vec![[0; 16]; messages.len()];
    let (mut coming, level) = (0..messages.len(), Level::new());
    let mut lanes: [Option<Lane<'_>>; LANES] = [None; LANES];
    let mut states = [[0; LANES]; 4];
    loop {
        for (at, lane) in lanes.iter_mut().enumerate().filter(|(_, lane)| lane.is_none()) {
            let Some(message) = coming.next() else { break };
            *lane = Some(Lane { message, now: whole_blocks(messages[message]), then: ends[message].blocks() });
            set(&mut states, at, INITIAL);
        }
        let Some(shortest) = lanes.iter().flatten().map(|lane| lane.now).min_by_key(|now| now.len()) else { break };
        // A lane without a message computes along with one that has.
        let inputs = lanes.map(|lane| lane.map_or(shortest, |lane| lane.now));
        dispatch!(level, simd => hash(simd, &inputs, shortest.len() / BLOCK, &mut states));
        for (at, place) in lanes.iter_mut().enumerate() {
            let Some(lane) = place else { continue };
            lane.now = &lane.now[shortest.len()..];
            if lane.now.is_empty() {
                lane.now = std::mem::take(&mut lane.then);
            }
            if lane.now.is_empty() {
                digests[lane.message] = digest(&states, at);
                *place = None;
            }
        }
    }
    digests
}

/// A message on its way.
#[derive(Clone, Copy)]
struct Lane<'a> {
    message: usize,
    /// Whole blocks that come next.
    now: &'a [u8],
    /// Those after them.
    then: &'a [u8],
}

fn whole_blocks(message: &[u8]) -> &[u8] {
    &message[..message.len() - message.len() % BLOCK]
}

/// What does not fill a block, with the padding and the length in bits.
struct End {
    bytes: [u8; 2 * BLOCK],
    len: usize,
}

impl End {
    fn of(message: &[u8]) -> Self {
        let rest = &message[whole_blocks(message).len()..];
        let len = if rest.len() + 9 > BLOCK { 2 * BLOCK } else { BLOCK };
        let mut bytes = [0; 2 * BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()] = 0x80;
        bytes[len - 8..len].copy_from_slice(&(message.len() as u64).wrapping_mul(8).to_le_bytes());
        Self { bytes, len }
    }

    fn blocks(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn set(states: &mut [[u32; LANES]; 4], lane: usize, state: [u32; 4]) {
    states.iter_mut().zip(state).for_each(|(lanes, word)| lanes[lane] = word);
}

fn digest(states: &[[u32; LANES]; 4], lane: usize) -> [u8; 16] {
    let words = states.map(|lanes| lanes[lane].to_le_bytes());
    from_fn(|byte| words[byte / 4][byte % 4])
}

/// Takes so many blocks of every input.
#[inline(always)]
fn hash<S: Simd>(simd: S, inputs: &[&[u8]; LANES], blocks: usize, states: &mut [[u32; LANES]; 4]) {
    let sines = &*SINES;
    let mut state = states.map(|lanes| u32x16::from_slice(simd, &lanes));
    for at in (0..blocks).map(|block| block * BLOCK) {
        let words = words(simd, inputs, at);
        let [mut a, mut b, mut c, mut d] = state;
        // A macro, because a closure would not be compiled for the vectors of `S`.
        macro_rules! round {
            ($round:literal, $mix:expr, $word:expr) => {
                for step in 0..16 {
                    let rotation = ROTATIONS[$round][step % 4];
                    let sum = a + $mix(b, c, d) + sines[16 * $round + step] + words[$word(step) % 16];
                    let next = b + ((sum << rotation) | (sum >> (32 - rotation)));
                    (a, b, c, d) = (d, next, b, c);
                }
            };
        }
        round!(0, |x: u32x16<S>, y: u32x16<S>, z: u32x16<S>| z ^ (x & (y ^ z)), |step| step);
        round!(1, |x: u32x16<S>, y: u32x16<S>, z: u32x16<S>| y ^ (z & (x ^ y)), |step| 5 * step + 1);
        round!(2, |x: u32x16<S>, y: u32x16<S>, z: u32x16<S>| x ^ y ^ z, |step| 3 * step + 5);
        round!(3, |x: u32x16<S>, y: u32x16<S>, z: u32x16<S>| y ^ (x | !z), |step| 7 * step);
        state = [state[0] + a, state[1] + b, state[2] + c, state[3] + d];
    }
    states.iter_mut().zip(state).for_each(|(lanes, word)| word.store_slice(lanes));
}

/// The sixteen words of the blocks at `at`, each from all inputs. Without closures: they are not compiled for the
/// vectors of `S` unless they happen to be inlined.
#[inline(always)]
fn words<S: Simd>(simd: S, inputs: &[&[u8]; LANES], at: usize) -> [u32x16<S>; 16] {
    let mut words = [u32x16::splat(simd, 0); 16];
    for (row, input) in words.iter_mut().zip(inputs) {
        *row = load(simd, &input[at..at + BLOCK]);
    }
    // Rows become columns: each pass puts between two rows that are eight apart.
    for _ in 0..4 {
        let rows = words;
        for at in 0..8 {
            words[2 * at] = rows[at].zip_low(rows[at + 8]);
            words[2 * at + 1] = rows[at].zip_high(rows[at + 8]);
        }
    }
    words
}

#[inline(always)]
fn load<S: Simd>(simd: S, bytes: &[u8]) -> u32x16<S> {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    u32x16::from_slice(simd, &words)
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};

    use super::*;

    fn message(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 + seed * 17 + at / 251) as u8).collect()
    }

    fn check(messages: &[Vec<u8>]) {
        let expected: Vec<[u8; 16]> = messages.iter().map(|message| Md5::digest(message).into()).collect();
        let borrowed: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        assert_eq!(digests(&borrowed), expected);
    }

    #[test]
    fn every_length_around_a_block_is_hashed_as_by_one_lane() {
        check(&(0..200).map(|len| message(len, len)).collect::<Vec<_>>());
    }

    #[test]
    fn any_number_of_messages_of_any_lengths() {
        for count in 0..20 {
            check(&(0..count).map(|number| message(number * 7919 % 5000, number)).collect::<Vec<_>>());
        }
        check(&[message(58_000, 1), message(3, 2), message(0, 3)]);
    }
}
