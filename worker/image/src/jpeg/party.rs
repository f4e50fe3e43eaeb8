//! Walkers on one thread, who step through a part of a scan in turn.

use fearless_simd::{Level, dispatch};

use super::bits::Bits;
use super::steps::{BLOCK, Lookup, Pair, STANDSTILL, Steps};
use super::walk::Order;

/// Walkers that step in turn.
const WALKERS: usize = 5;
/// Steps between two looks at how far everybody is.
const STEPS_AT_ONCE: usize = 32;
/// Fewest bits that are worth another start.
const WORTH_SPLITTING: u32 = 2048;
/// Most trails: a scan in which walkers lose their way more often is not worth following.
const MOST_TRAILS: usize = 1 << 16;

/// Walkers, and the trails that they have left; buffers are used again.
#[derive(Default)]
pub(super) struct Party {
    walkers: [Walker; WALKERS],
    fresh: [Fresh; WALKERS],
    trails: Vec<Trail>,
}

impl Party {
    /// What was found before is no longer there.
    pub(super) fn forget(&mut self) {
        self.trails.clear();
    }

    /// Sends the walkers until somebody has passed every bit of `stretches`. `most`: blocks that there are in all.
    pub(super) fn walk(
        &mut self,
        bits: &Bits,
        order: &Order<'_>,
        most: usize,
        mut stretches: impl Iterator<Item = (u32, u32)>,
    ) -> Option<()> {
        let (ways, beginning, level) = (Ways::new(order), Ways::beginning(order), Level::new());
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
            if self.walkers.iter().any(|walker| walker.block > most + MOST_TRAILS) {
                return None;
            }
            dispatch!(level, _ => self.step(bits, order, &ways));
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
        while walker.block > walker.first && walker.seen[walker.block - 1] >= walker.end {
            walker.block -= 1;
        }
        let (first, last) = (walker.first, walker.block);
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
    pub(super) fn trails(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.trails.iter().map(|trail| (trail.begin, &self.walkers[trail.walker].seen[trail.first..=trail.last]))
    }

    #[inline(always)]
    fn step(&mut self, bits: &Bits, order: &Order<'_>, ways: &Ways) {
        let mut places = self.walkers.each_ref().map(|walker| walker.place);
        // Written out: as a loop, every walker would pay for the counting.
        let ([a, b, c, d, e], [of_a, of_b, of_c, of_d, of_e]) = (&mut places, &mut self.fresh);
        let scan = &Scan { bits, order, lookup: order.steps.lookup() };
        for _ in 0..STEPS_AT_ONCE {
            a.step(scan, ways, of_a);
            b.step(scan, ways, of_b);
            c.step(scan, ways, of_c);
            d.step(scan, ways, of_d);
            e.step(scan, ways, of_e);
        }
        for ((walker, place), fresh) in self.walkers.iter_mut().zip(places).zip(&self.fresh) {
            walker.arrive(place, fresh);
        }
    }
}

#[derive(Default)]
struct Walker {
    /// Beginnings of blocks, one trail behind the other.
    seen: Vec<u32>,
    place: Place,
    /// Index in `seen` of this block's beginning.
    block: usize,
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
        (self.end, self.block, self.place) = (0, 0, Place::default());
    }

    fn start(&mut self, from: u32, to: u32, way: Way) {
        let block = self.block + 1;
        if self.seen.len() <= block {
            self.seen.resize(2 * block + 64, 0);
        }
        self.seen[block] = from;
        (self.block, self.first, self.end) = (block, block, to);
        self.place = Place { at: from, way, ..Place::default() };
    }

    /// Stands somewhere else now, and has seen blocks begin on the way.
    #[inline(always)]
    fn arrive(&mut self, place: Place, fresh: &Fresh) {
        let begin = self.block + 1;
        if self.seen.len() < begin + STEPS_AT_ONCE {
            self.seen.resize(2 * (begin + STEPS_AT_ONCE), 0);
        }
        // As many as there can be: a number that is known beforehand is copied at once.
        self.seen[begin..][..STEPS_AT_ONCE].copy_from_slice(&fresh.0[..STEPS_AT_ONCE]);
        self.block += place.ended as usize;
        self.place = Place { ended: 0, ..place };
    }

    fn left(&self) -> u32 {
        self.end.saturating_sub(self.place.at)
    }

    fn is_resting(&self) -> bool {
        self.end == 0
    }

    fn is_under_way(&self) -> bool {
        self.place.at < self.end && !self.place.way.is_out()
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
    /// Blocks that have ended since the last look.
    ended: u32,
}

/// Where the blocks behind those that have ended since the last look begin; the last of them is where the walker stands.
/// An index of six bits needs no check.
struct Fresh([u32; 64]);

const _: () = assert!(STEPS_AT_ONCE < 64);

impl Default for Fresh {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Place {
    /// Goes on by one step. The end of a block is no branch: it would be guessed wrong every time.
    #[inline(always)]
    fn step(&mut self, scan: &Scan<'_>, ways: &Ways, fresh: &mut Fresh) {
        let step = scan.lookup.find(self.way.table(), scan.bits.window(self.at));
        let progress = step.after(self.done);
        if progress.needs_care() {
            *self = self.behind_block(scan);
            return self.arrive(u32::from(!self.way.is_out()), ways, fresh);
        }
        self.at += step.length();
        self.done = progress.done();
        self.arrive(progress.ended(), ways, fresh);
    }

    /// `ended`: 1 behind a block, else 0.
    #[inline(always)]
    fn arrive(&mut self, ended: u32, ways: &Ways, fresh: &mut Fresh) {
        fresh.0[self.ended as usize % fresh.0.len()] = self.at;
        self.ended += ended;
        self.way = ways.after(self.way, ended);
    }

    /// Where the block ends, code by code. By value: a place that is lent cannot stay in registers.
    #[cold]
    #[inline(never)]
    fn behind_block(self, Scan { bits, order, .. }: &Scan<'_>) -> Self {
        let codes = order.blocks.get(self.way.block()).and_then(|component| order.pairs.get(*component));
        match codes.and_then(|codes| pass(bits, *codes, self.at, self.done)) {
            Some(at) => Self { at, done: 0, ..self },
            None => Self { way: Way::OUT, ..self },
        }
    }
}

/// The table that the next step is looked up in (upper half), and where that step leads (lower half): the index in [`Ways`]
/// of the way on when the block goes on; behind it is the one when it has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way(u32);

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
    const OUT: Self = Self::new(STANDSTILL, 30);

    const fn new(table: u16, from: u16) -> Self {
        Self((table as u32) << 16 | from as u32)
    }

    #[inline(always)]
    fn table(self) -> u16 {
        (self.0 >> 16) as u16
    }

    fn is_out(self) -> bool {
        self == Self::OUT
    }

    /// Which block of the group this is.
    fn block(self) -> usize {
        usize::from(self.0 as u16 / 2)
    }
}

impl Ways {
    fn new(order: &Order<'_>) -> Self {
        let mut ways = [Way::OUT; 32];
        let blocks = order.blocks.len();
        for (block, ways) in ways.as_chunks_mut::<2>().0.iter_mut().enumerate().take(blocks) {
            let next = (block + 1) % blocks;
            ways[0] = Way::new(Steps::tables(order.blocks[block]).1, 2 * block as u16);
            ways[1] = Way::new(Steps::tables(order.blocks[next]).0, 2 * next as u16);
        }
        Self { ways }
    }

    /// At the beginning of a group.
    fn beginning(order: &Order<'_>) -> Way {
        Way::new(Steps::tables(order.blocks[0]).0, 0)
    }

    /// `ended`: 1 behind a block, else 0.
    #[inline(always)]
    fn after(&self, way: Way, ended: u32) -> Way {
        self.ways[(u32::from(way.0 as u16) + ended) as usize % self.ways.len()]
    }
}

/// The position behind a block that begins, or goes on behind `done` coefficients, at a position.
pub(super) fn pass(bits: &Bits, codes: Pair<'_>, mut at: u32, mut done: u32) -> Option<u32> {
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
