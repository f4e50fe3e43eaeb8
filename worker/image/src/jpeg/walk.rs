//! Where every block of a scan begins.
//!
//! Huffman codes can only be read one after the other, and each waits for the one before: a processor
//! that could do five things at once does one. So several walkers start at places spread over the scan
//! and step in turn. Only the first one knows that a block begins where it starts. The others read
//! nonsense for a while, but codes soon fall into step: once a walker comes to where another began a
//! block, with the same component to follow, everything that the other has seen from there on is right.
//! What is put together this way is, bit for bit, what one walker alone would have found.
//!
//! Where there are helpers, each takes a part of the scan with walkers of its own.

use super::bits::Bits;
use super::party::{Party, pass};
use super::steps::{Pair, Steps};
use crate::helpers::Team;

/// Most blocks in a group, by the standard.
const MOST_IN_GROUP: usize = 10;

/// What the blocks of a scan are made of.
pub(super) struct Order<'a> {
    /// The codes of each component.
    pub(super) pairs: &'a [Pair<'a>],
    /// The component of each block in a group.
    pub(super) blocks: &'a [usize],
    /// Tables made of `pairs`.
    pub(super) steps: &'a Steps,
}

/// Parties of walkers, and what they have found; buffers are used again.
#[derive(Default)]
pub(super) struct Walk {
    parties: Vec<Party>,
    starts: Vec<u32>,
}

impl Walk {
    /// Finds the beginnings of all blocks: `groups` times those of `order`, of which `restart` groups at a time
    /// stand in a stretch of `bits` (all, when it is 0). `None` when the scan is not intact.
    pub(super) fn find(
        &mut self,
        bits: &Bits,
        order: &Order<'_>,
        (groups, restart): (usize, usize),
        team: &Team<'_>,
    ) -> Option<&[u32]> {
        let in_group = order.blocks.len();
        let stretch = if restart == 0 { groups } else { restart.min(groups) };
        if !(1..=MOST_IN_GROUP).contains(&in_group) || bits.stretches().len() != groups.div_ceil(stretch) {
            return None;
        }
        self.parties.iter_mut().for_each(Party::forget);
        self.parties.resize_with(self.parties.len().max(team.size()), Party::default);
        let parts = (0..).zip(&mut self.parties).take(team.size());
        team.share(parts, |(part, party)| party.walk(bits, order, groups * in_group, bits.part(part, team.size())))?;
        self.join(bits, order, groups * in_group, stretch * in_group)?;
        Some(&self.starts)
    }

    /// Follows the scan from trail to trail into `starts`: `blocks` in all, as many in each stretch as `in_stretch`.
    fn join(&mut self, bits: &Bits, order: &Order<'_>, blocks: usize, in_stretch: usize) -> Option<()> {
        let mut trails: Vec<(u32, &[u32])> = self.parties.iter().flat_map(Party::trails).collect();
        trails.sort_unstable_by_key(|(begin, _)| *begin);
        self.starts.clear();
        let mut trails = trails.into_iter().peekable();
        let in_group = order.blocks.len();
        for (begin, end) in bits.stretches() {
            let (mut at, from) = (begin, self.starts.len());
            let until = blocks.min(from + in_stretch);
            while let Some((_, seen)) = trails.next_if(|(begin, _)| *begin < end) {
                let mut next = 0;
                while self.starts.len() < until {
                    next += seen[next..].iter().take_while(|&&start| start < at).count();
                    let block = self.starts.len() - from;
                    match seen.get(next) {
                        None => break,
                        Some(start) if *start == at && next % in_group == block % in_group => {
                            let last = (seen.len() - 1).min(next + until - self.starts.len());
                            self.starts.extend_from_slice(&seen[next..last]);
                            at = seen[last];
                            break;
                        }
                        Some(_) => {
                            self.starts.push(at);
                            at = pass(bits, order.pairs[order.blocks[block % in_group]], at, 0)?;
                            if at > end {
                                return None;
                            }
                        }
                    }
                }
            }
            while self.starts.len() < until {
                let block = (self.starts.len() - from) % in_group;
                self.starts.push(at);
                at = pass(bits, order.pairs[order.blocks[block]], at, 0)?;
                if at > end {
                    return None;
                }
            }
            // Behind a stretch there are fewer bits than make a byte; what comes behind the scan does not matter.
            if at > end || (until < blocks && end - at >= 8) {
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpers::Helpers;
    use crate::jpeg::codes::Codes;
    use crate::jpeg::steps::BLOCK;

    fn codes(by_length: &[(usize, &[u8])]) -> Codes {
        let mut definition = vec![0; 16];
        by_length.iter().for_each(|(length, symbols)| definition[length - 1] = symbols.len() as u8);
        by_length.iter().for_each(|(_, symbols)| definition.extend(*symbols));
        Codes::new(&definition).unwrap()
    }

    /// A scan of random blocks, and where they begin.
    #[derive(Default)]
    struct Made {
        bits: Vec<bool>,
        /// Where stretches end.
        ends: Vec<usize>,
        starts: Vec<u32>,
    }

    impl Made {
        fn push(&mut self, codes: &Codes, symbol: u8, random: &mut fastrand::Rng) {
            let (code, length, _) = codes.iter().find(|(_, _, of)| *of == symbol).unwrap();
            self.bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
            self.bits.extend((0..symbol & 15).map(|_| random.bool()));
        }

        fn push_block(&mut self, pair: Pair<'_>, random: &mut fastrand::Rng) {
            self.starts.push(self.bits.len() as u32);
            self.push(pair.first, random.u8(..5), random);
            let mut done = 1;
            while done < BLOCK {
                let all = [1, 1, 1, 2, 2, 0x11, 0x11, 0x21, 3, 0xf0, 0x0a, 0, 0];
                let symbol = all[random.usize(..all.len())];
                if symbol == 0 || done + u32::from(symbol >> 4) + 1 > BLOCK {
                    return self.push(pair.others, 0, random);
                }
                self.push(pair.others, symbol, random);
                done += u32::from(symbol >> 4) + 1;
            }
        }

        fn end_stretch(&mut self) {
            self.bits.resize(self.bits.len().next_multiple_of(8), true);
            self.ends.push(self.bits.len());
        }

        /// As it stands in a file, with escapes and markers.
        fn scan(&self) -> Vec<u8> {
            let mut scan = Vec::new();
            for (at, bits) in self.bits.chunks(8).enumerate() {
                if self.ends.contains(&(at * 8)) {
                    scan.extend([0xff, 0xd0]);
                }
                let byte = bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
                scan.push(byte);
                scan.extend((byte == 0xff).then_some(0));
            }
            scan
        }
    }

    #[test]
    fn several_walkers_find_what_was_written() {
        let first = codes(&[(2, &[0, 1, 2]), (3, &[3]), (4, &[4])]);
        let others = codes(&[(2, &[1, 0]), (3, &[2, 0x11]), (4, &[0x21]), (5, &[3]), (12, &[0xf0]), (16, &[0x0a])]);
        let short = codes(&[(1, &[1]), (2, &[0]), (5, &[2, 0x11, 0x21]), (9, &[3, 0xf0, 0x0a])]);
        let pairs = [Pair { first: &first, others: &others }, Pair { first: &first, others: &short }];
        let steps = Steps::new(&pairs).unwrap();
        let (mut walk, mut bits, mut random) = (Walk::default(), Bits::default(), fastrand::Rng::with_seed(5));
        let helpers = Helpers::of(3);
        for run in 0..60 {
            let blocks: &[usize] = [&[0][..], &[0, 1, 1], &[0, 0, 0, 0, 1, 1]][run % 3];
            let groups = random.usize(1..[40, 400, 4000][run / 3 % 3]);
            let restart = if random.bool() { random.usize(1..200) } else { 0 };
            let mut made = Made::default();
            for group in 0..groups {
                if restart > 0 && group > 0 && group % restart == 0 {
                    made.end_stretch();
                }
                blocks.iter().for_each(|pair| made.push_block(pairs[*pair], &mut random));
            }
            made.bits.resize(made.bits.len().next_multiple_of(8), true);
            let stretches = if restart == 0 { 1 } else { groups.div_ceil(restart) };
            let order = Order { pairs: &pairs, blocks, steps: &steps };
            let scan = made.scan();
            bits.fill(&scan, stretches).unwrap();
            let team = helpers.team(run % 4);
            assert_eq!(walk.find(&bits, &order, (groups, restart), &team), Some(&made.starts[..]), "run {run}");
            // The last byte holds bits of the last block.
            let escape = usize::from(scan.ends_with(&[0xff, 0]));
            bits.fill(&scan[..scan.len() - 1 - escape], stretches).unwrap();
            assert_eq!(walk.find(&bits, &order, (groups, restart), &team), None, "run {run}, cut off");
        }
    }

    #[test]
    fn noise_leads_to_an_end() {
        let first = codes(&[(2, &[0, 1, 2]), (3, &[3]), (4, &[4])]);
        let others = codes(&[(1, &[0xf0]), (3, &[0, 2]), (9, &[0x0f])]);
        let pairs = [Pair { first: &first, others: &others }];
        let order = Order { pairs: &pairs, blocks: &[0], steps: &Steps::new(&pairs).unwrap() };
        let (mut walk, mut bits, mut random) = (Walk::default(), Bits::default(), fastrand::Rng::with_seed(6));
        let helpers = Helpers::of(1);
        for _ in 0..30 {
            let noise: Vec<u8> = (0..random.usize(..60_000)).map(|_| random.u8(..255)).collect();
            bits.fill(&noise, 1).unwrap();
            let _ = walk.find(&bits, &order, (random.usize(1..100_000), 0), &helpers.team(1));
        }
    }
}
