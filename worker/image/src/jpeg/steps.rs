//! A table of steps through a scan: what the next bits stand for, several codes at once, when only
//! the way through matters and not what is passed.

use super::codes::Codes;

/// Bits that a step is looked up by. Their codes are covered whole; the value behind the last one may
/// reach further.
const WINDOW: u32 = 13;
/// Coefficients of a block.
pub(super) const BLOCK: u32 = 64;

/// A step: its length in bits, and above them the coefficients that are passed with flags.
const LENGTH_BITS: u32 = 5;
/// The block ends here.
const END: u16 = 128;
/// No code, or one longer than the window: see [`Step::needs_care`].
const CARE: u16 = 256;
/// Coefficients and flags that cannot be added up: more coefficients than the block had left.
const NOT_PLAIN: u32 = CARE as u32 | BLOCK;

/// Codes of a component's first coefficient (DC) and of the others (AC).
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) first: &'a Codes,
    pub(super) others: &'a Codes,
}

/// What one look at the next bits tells.
#[derive(Clone, Copy)]
pub(super) struct Step(u16);

impl Step {
    /// Bits to go on.
    #[inline(always)]
    pub(super) fn length(self) -> u32 {
        u32::from(self.0) & ((1 << LENGTH_BITS) - 1)
    }

    /// Where in the block the step ends, having begun behind `done` coefficients.
    #[inline(always)]
    pub(super) fn after(self, done: u32) -> Progress {
        Progress(done + (u32::from(self.0) >> LENGTH_BITS))
    }
}

/// The place in a block after a step.
#[derive(Clone, Copy)]
pub(super) struct Progress(u32);

impl Progress {
    /// Whether the step must not be taken: the block has to be gone through code by code. Also so when it ends with
    /// its last coefficient, because what follows then is another block's.
    #[inline(always)]
    pub(super) fn needs_care(self) -> bool {
        self.0 & NOT_PLAIN != 0
    }

    /// 1 at the end of the block, else 0.
    #[inline(always)]
    pub(super) fn ended(self) -> u32 {
        self.0 >> 7
    }

    /// Coefficients that are behind; 0 at the end of the block.
    #[inline(always)]
    pub(super) fn done(self) -> u32 {
        self.0 & self.ended().wrapping_sub(1)
    }
}

/// Tables for up to three components: each has one for the beginning of a block and one for the
/// middle.
pub(super) struct Steps {
    /// Eight tables; an index of sixteen bits needs no check.
    entries: Box<[u16; 1 << 16]>,
}

/// A table that stands still.
pub(super) const STANDSTILL: u16 = 7 << WINDOW;

impl Steps {
    /// One table pair for each of up to three pairs of codes.
    pub(super) fn new(pairs: &[Pair<'_>]) -> Option<Self> {
        let entries: Box<[u16]> = vec![0; 1 << 16].into();
        let mut entries: Box<[u16; 1 << 16]> = entries.try_into().ok()?;
        let tables = entries.chunks_exact_mut(2 << WINDOW);
        for (table, pair) in tables.zip(pairs.iter().take(3)) {
            let mut others: Vec<Vec<u16>> = Vec::new();
            for width in 0..=WINDOW {
                let wider = combine(width, pair.others, other, &others);
                others.push(wider);
            }
            let (beginning, middle) = table.split_at_mut(1 << WINDOW);
            beginning.copy_from_slice(&combine(WINDOW, pair.first, first, &others));
            middle.copy_from_slice(&others[WINDOW as usize]);
            table.iter_mut().filter(|step| **step == 0).for_each(|step| *step = CARE << LENGTH_BITS);
        }
        Some(Self { entries })
    }

    /// Where the tables of a pair begin: at a block's beginning, and in its middle.
    pub(super) fn tables(pair: usize) -> (u16, u16) {
        let beginning = (pair as u16) << (WINDOW + 1);
        (beginning, beginning | 1 << WINDOW)
    }

    /// The tables, ready to be looked into.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup(&self.entries)
    }
}

/// All tables, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'a>(&'a [u16; 1 << 16]);

impl Lookup<'_> {
    /// The step that the topmost [`WINDOW`] bits tell, by one of the tables.
    #[inline(always)]
    pub(super) fn find(self, table: u16, bits: u64) -> Step {
        Step(self.0[usize::from(table) | (bits >> (64 - WINDOW)) as usize])
    }
}

/// Coefficients that a symbol stands for, with flags, and the bits of its value; `None` for what is not allowed.
fn first(symbol: u8) -> Option<(u16, u32)> {
    (symbol <= 15).then_some((1, u32::from(symbol)))
}

fn other(symbol: u8) -> Option<(u16, u32)> {
    let (run, size) = (u16::from(symbol >> 4), u32::from(symbol & 15));
    match (run, size) {
        (0, 0) => Some((END, 0)),
        (1..=14, 0) => None,
        _ => Some((run + 1, size)),
    }
}

/// Steps by the next `width` bits: the code on top, and whatever whole codes follow it there, which
/// the narrower tables know.
fn combine(width: u32, codes: &Codes, meaning: fn(u8) -> Option<(u16, u32)>, narrower: &[Vec<u16>]) -> Vec<u16> {
    let mut steps = vec![0u16; 1 << width];
    for (code, length, symbol) in codes.iter().take_while(|(_, length, _)| *length <= width) {
        let Some((advance, size)) = meaning(symbol) else { continue };
        let alone = (length + size) as u16 | advance << LENGTH_BITS;
        let range = &mut steps[(code as usize) << (width - length)..][..1 << (width - length)];
        match width.checked_sub(length + size) {
            Some(rest @ 1..) if advance & END == 0 => {
                let following = &narrower[rest as usize];
                for part in range.chunks_exact_mut(following.len()) {
                    for (step, &next) in part.iter_mut().zip(following) {
                        let both = alone + next;
                        *step = if both >> LENGTH_BITS & (END - 1) < BLOCK as u16 { both } else { alone };
                    }
                }
            }
            _ => range.fill(alone),
        }
    }
    steps
}
