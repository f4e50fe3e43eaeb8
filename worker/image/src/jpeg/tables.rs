//! Code tables made ready for use, kept from one picture to the next: most cameras and programs write
//! the same ones into every file.

use super::codes::Codes;
use super::frame::Frame;
use super::steps::{Pair, Steps};

/// Sets of tables that are kept.
const KEPT: usize = 4;

/// The tables of a picture.
pub(super) struct Tables {
    /// As they stand in the file, DC and AC, each pair once.
    definitions: Vec<(Vec<u8>, Vec<u8>)>,
    codes: Vec<(Codes, Codes)>,
    pub(super) steps: Steps,
}

impl Tables {
    fn new(definitions: &[(&[u8], &[u8])]) -> Option<Self> {
        let codes: Vec<(Codes, Codes)> = definitions
            .iter()
            .map(|(first, others)| Some((Codes::new(first)?, Codes::new(others)?)))
            .collect::<Option<_>>()?;
        let steps = Steps::new(&pairs(&codes))?;
        let definitions = definitions.iter().map(|(first, others)| (first.to_vec(), others.to_vec())).collect();
        Some(Self { definitions, codes, steps })
    }

    /// The pairs of codes.
    pub(super) fn pairs(&self) -> Vec<Pair<'_>> {
        pairs(&self.codes)
    }

    fn are(&self, definitions: &[(&[u8], &[u8])]) -> bool {
        self.definitions.len() == definitions.len()
            && self.definitions.iter().zip(definitions).all(|(own, other)| (own.0 == other.0) && (own.1 == other.1))
    }
}

fn pairs(codes: &[(Codes, Codes)]) -> Vec<Pair<'_>> {
    codes.iter().map(|(first, others)| Pair { first, others }).collect()
}

/// The sets used last.
#[derive(Default)]
pub(super) struct TableCache {
    kept: Vec<Tables>,
}

impl TableCache {
    /// The tables of a picture, and which pair of them each component uses.
    pub(super) fn of(&mut self, frame: &Frame<'_>) -> Option<(&Tables, [usize; 3])> {
        let mut definitions: Vec<(&[u8], &[u8])> = Vec::new();
        let mut pair_of = [0; 3];
        for (component, pair) in frame.components.iter().zip(&mut pair_of) {
            let own = (frame.means[component.means]?, frame.details[component.details]?);
            *pair = definitions.iter().position(|other| *other == own).unwrap_or_else(|| {
                definitions.push(own);
                definitions.len() - 1
            });
        }
        match self.kept.iter().position(|tables| tables.are(&definitions)) {
            Some(at) => self.kept[..=at].rotate_right(1),
            None => {
                let tables = Tables::new(&definitions)?;
                self.kept.truncate(KEPT - 1);
                self.kept.insert(0, tables);
            }
        }
        self.kept.first().map(|tables| (tables, pair_of))
    }
}
