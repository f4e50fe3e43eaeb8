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
use super::steps::{BLOCK, Lookup, Pair, STANDSTILL, Steps, WINDOW};
use crate::image::helpers::Team;

/// Walkers that step in turn.
const WALKERS: usize = 6;
/// Steps between two looks at how far everybody is.
const STEPS_AT_ONCE: usize = 32;
/// Fewest bits that are worth another start.
const WORTH_SPLITTING: u32 = 2048;
/// Most trails: a scan in which walkers lose their way more often is not worth following.
const MOST_TRAILS: usize = 1 << 16;
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

/// Walkers on one thread.
#[derive(Default)]
struct Party {
    walkers: [Walker; WALKERS],
    trails: Vec<Trail>,
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
        self.parties.iter_mut().for_each(|party| party.trails.clear());
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

impl Party {
    /// Sends the walkers until somebody has passed every bit of `stretches`. `most`: blocks that there are in all.
    fn walk(
        &mut self,
        bits: &Bits,
        order: &Order<'_>,
        most: usize,
        mut stretches: impl Iterator<Item = (u32, u32)>,
    ) -> Option<()> {
        let (ways, beginning) = (Ways::new(order), Ways::beginning(order));
        self.walkers.iter_mut().for_each(Walker::rest);
        loop {
            for index in 0..WALKERS {
                while !self.walkers[index].is_under_way() {
                    let Some((from, to)) = self.record(index)?.or_else(|| stretches.next()).or_else(|| self.split())
                    else {
                        break;
                    };
                    self.walkers[index].start(from, to, beginning);
                }
            }
            if self.walkers.iter().all(Walker::is_resting) {
                return Some(());
            }
            if self.walkers.iter().any(|walker| walker.place.block > most + MOST_TRAILS) {
                return None;
            }
            self.step(bits, order, &ways);
        }
    }

    /// Keeps what a walker has seen since its start; gives the bits that it did not come to.
    fn record(&mut self, index: usize) -> Option<Option<(u32, u32)>> {
        let walker = &mut self.walkers[index];
        if walker.is_resting() {
            return Some(None);
        }
        if self.trails.len() >= MOST_TRAILS {
            return None;
        }
        // It has gone on a little: others know that better.
        while walker.place.block > walker.first && walker.seen[walker.place.block - 1] >= walker.end {
            walker.place.block -= 1;
        }
        let (first, last) = (walker.first, walker.place.block);
        self.trails.push(Trail { begin: walker.seen[first], walker: index, first, last });
        let left = (walker.place.at + 1, walker.end);
        walker.end = 0;
        Some((left.0 < left.1).then_some(left))
    }

    /// The second half of what lies before the one who has most before them.
    fn split(&mut self) -> Option<(u32, u32)> {
        let walker = self.walkers.iter_mut().max_by_key(|walker| walker.left())?;
        let (left, end) = (walker.left(), walker.end);
        (left >= WORTH_SPLITTING).then(|| {
            walker.end -= left / 2;
            (walker.end, end)
        })
    }

    /// Where each trail begins, and the beginnings of blocks on it.
    fn trails(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.trails.iter().map(|trail| (trail.begin, &self.walkers[trail.walker].seen[trail.first..=trail.last]))
    }

    fn step(&mut self, bits: &Bits, order: &Order<'_>, ways: &Ways) {
        let mut places = self.walkers.each_ref().map(|walker| walker.place);
        let mut seen = self.walkers.each_mut().map(|walker| {
            let enough = walker.place.block + STEPS_AT_ONCE + 2;
            if walker.seen.len() < enough {
                walker.seen.resize(enough * 2, 0);
            }
            walker.seen.as_mut_slice()
        });
        // Written out: as a loop, every walker would pay for the counting.
        let ([a, b, c, d, e, f], [seen_a, seen_b, seen_c, seen_d, seen_e, seen_f]) = (&mut places, &mut seen);
        let scan = &Scan { bits, order, lookup: order.steps.lookup() };
        for _ in 0..STEPS_AT_ONCE {
            a.step(scan, ways, seen_a);
            b.step(scan, ways, seen_b);
            c.step(scan, ways, seen_c);
            d.step(scan, ways, seen_d);
            e.step(scan, ways, seen_e);
            f.step(scan, ways, seen_f);
        }
        for (walker, place) in self.walkers.iter_mut().zip(places) {
            walker.place = place;
        }
    }
}

#[derive(Default)]
struct Walker {
    /// Beginnings of blocks, one trail behind the other.
    seen: Vec<u32>,
    place: Place,
    /// Index in `seen` of this trail's beginning.
    first: usize,
    /// The bit that it walks to; 0 when it rests.
    end: u32,
}

/// Blocks one behind the other, as a walker saw them: `seen[first..=last]`, the last one not to its end.
struct Trail {
    begin: u32,
    walker: usize,
    first: usize,
    last: usize,
}

impl Walker {
    fn rest(&mut self) {
        self.end = 0;
        self.place = Place::default();
    }

    fn start(&mut self, from: u32, to: u32, way: Way) {
        let block = self.place.block + 1;
        if self.seen.len() <= block {
            self.seen.resize(2 * block + 64, 0);
        }
        self.seen[block] = from;
        (self.first, self.end) = (block, to);
        self.place = Place { at: from, done: 0, way, block };
    }

    fn left(&self) -> u32 {
        self.end.saturating_sub(self.place.at)
    }

    fn is_resting(&self) -> bool {
        self.end == 0
    }

    fn is_under_way(&self) -> bool {
        self.place.at < self.end && self.place.way.table != STANDSTILL
    }
}

/// What is walked through.
struct Scan<'a> {
    bits: &'a Bits,
    order: &'a Order<'a>,
    lookup: Lookup<'a>,
}

/// Where a walker stands.
#[derive(Clone, Copy, Default)]
struct Place {
    at: u32,
    /// Coefficients of this block that are behind.
    done: u32,
    way: Way,
    /// Index in `seen` of this block's beginning.
    block: usize,
}

impl Place {
    /// Goes on by one step. The end of a block is no branch: it would be guessed wrong every time.
    #[inline(always)]
    fn step(&mut self, scan: &Scan<'_>, ways: &Ways, seen: &mut [u32]) {
        let step = scan.lookup.find(self.way.table, scan.bits.peek::<WINDOW>(self.at));
        let progress = step.after(self.done);
        if progress.needs_care() {
            return self.finish_block(scan, ways, seen);
        }
        self.at += step.length();
        self.done = progress.done();
        self.arrive(progress.ended(), ways, seen);
    }

    #[inline(always)]
    fn arrive(&mut self, ended: u32, ways: &Ways, seen: &mut [u32]) {
        if let Some(next) = seen.get_mut(self.block + 1) {
            *next = self.at;
        }
        self.block += ended as usize;
        self.way = ways.ways[(u32::from(self.way.from) + ended) as usize % ways.ways.len()];
    }

    #[cold]
    #[inline(never)]
    fn finish_block(&mut self, scan: &Scan<'_>, ways: &Ways, seen: &mut [u32]) {
        let Scan { bits, order, .. } = scan;
        let codes = order.blocks.get(self.way.block()).and_then(|component| order.pairs.get(*component));
        match codes.and_then(|codes| pass(bits, *codes, self.at, self.done)) {
            Some(at) => {
                (self.at, self.done) = (at, 0);
                self.arrive(1, ways, seen);
            }
            None => self.way = Way::OUT,
        }
    }
}

/// The table that the next step is looked up in, and where that step leads.
#[derive(Clone, Copy)]
struct Way {
    table: u16,
    /// Index in [`Ways`]: the way on when the block goes on; behind it the one when it has ended.
    from: u16,
}

struct Ways {
    /// Twice as many as blocks in a group, and where no way leads out.
    ways: [Way; 32],
}

impl Default for Way {
    fn default() -> Self {
        Self::OUT
    }
}

impl Way {
    /// Nowhere: it leads back to itself.
    const OUT: Self = Self { table: STANDSTILL, from: 30 };

    /// Which block of the group this is.
    fn block(self) -> usize {
        usize::from(self.from / 2)
    }
}

impl Ways {
    fn new(order: &Order<'_>) -> Self {
        let mut ways = [Way::OUT; 32];
        let blocks = order.blocks.len();
        for (block, ways) in ways.as_chunks_mut::<2>().0.iter_mut().enumerate().take(blocks) {
            let next = (block + 1) % blocks;
            ways[0] = Way { table: Steps::tables(order.blocks[block]).1, from: 2 * block as u16 };
            ways[1] = Way { table: Steps::tables(order.blocks[next]).0, from: 2 * next as u16 };
        }
        Self { ways }
    }

    /// At the beginning of a group.
    fn beginning(order: &Order<'_>) -> Way {
        Way { table: Steps::tables(order.blocks[0]).0, from: 0 }
    }
}

/// The position behind a block that begins, or goes on behind `done` coefficients, at a position.
fn pass(bits: &Bits, codes: Pair<'_>, mut at: u32, mut done: u32) -> Option<u32> {
    if done == 0 {
        let (size, length) = codes.first.find(bits.window(at))?;
        if size > 15 {
            return None;
        }
        at += length + u32::from(size);
        done = 1;
    }
    while done < BLOCK {
        let (symbol, length) = codes.others.find(bits.window(at))?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        at += length + size;
        match (run, size) {
            (0, 0) => return Some(at),
            (1..=14, 0) => return None,
            _ => done += run + 1,
        }
    }
    (done == BLOCK).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::helpers::Helpers;
    use crate::image::jpeg::codes::Codes;

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
