//! Damage, done with method: what arrives at a parser is mostly right and wrong in one place.

use std::path::Path;

use fastrand::Rng;

/// Values at which lengths, counts and dimensions go wrong.
const EDGES: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// Makes damaged copies of a corpus. Everything follows the seed.
pub struct Mutator {
    rng: Rng,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    /// Starts from these inputs.
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        assert!(!corpus.is_empty(), "an empty corpus tests nothing");
        Self { rng: Rng::with_seed(seed), corpus }
    }

    /// The next input: now and then an untouched one, mostly one with a few damages.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.rng.choice(&self.corpus).cloned().unwrap_or_default();
        for _ in 0..self.rng.u8(0..5) {
            self.damage(&mut input);
        }
        input
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            input.push(self.rng.u8(..));
            return;
        }
        let at = self.rng.usize(0..input.len());
        let length = self.rng.usize(1..=(input.len() - at).min(64));
        match self.rng.u8(0..9) {
            0 => input[at] ^= 1 << self.rng.u8(0..8),
            1 => input[at] = self.rng.u8(..),
            2 => input.truncate(at),
            3 => drop(input.drain(at..at + length)),
            4 => {
                let copied = input[at..at + length].to_vec();
                let to = self.rng.usize(0..=input.len());
                input.splice(to..to, copied);
            }
            5 => {
                let noise: Vec<u8> = (0..length).map(|_| self.rng.u8(..)).collect();
                input.splice(at..at, noise);
            }
            6 | 7 => {
                let edge = EDGES[self.rng.usize(0..EDGES.len())];
                let bytes = if self.rng.bool() { edge.to_be_bytes() } else { edge.to_le_bytes() };
                let width = [1, 2, 4][self.rng.usize(0..3)].min(input.len() - at);
                let from = if self.rng.bool() { 0 } else { 4 - width };
                input[at..at + width].copy_from_slice(&bytes[from..from + width]);
            }
            _ => {
                // The beginning of one and the end of another.
                let other = self.rng.choice(&self.corpus).cloned().unwrap_or_default();
                let from = self.rng.usize(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// Every file of a folder, in a fixed order.
pub fn folder(path: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "py"))
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}
