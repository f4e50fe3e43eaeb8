//! Who computes the images that are at home at one gateway: the latest of them, in bounded memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shoal_shared::names::NodeId;

use super::Question;

/// Claims in one generation.
const MOST: usize = 1 << 16;
/// How long one takes claims. Two are kept, so a claim is known for this long at least, unless there are too many.
const AGE: Duration = Duration::from_secs(60);

/// Claims, the younger half and the older.
pub(super) struct Held {
    young: HashMap<u64, NodeId>,
    old: HashMap<u64, NodeId>,
    since: Instant,
}

impl Default for Held {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), since: Instant::now() }
    }
}

impl Held {
    /// `None` when the asker is to compute the image, and is written down for it; otherwise who does.
    pub(super) fn claim(&mut self, Question { image, asker, gone }: &Question) -> Option<NodeId> {
        let holder = self.young.get(image).or_else(|| self.old.get(image));
        if let Some(holder) = holder
            && holder != asker
            && Some(holder) != gone.as_ref()
        {
            return Some(holder.clone());
        }
        if self.young.len() >= MOST || self.since.elapsed() >= AGE {
            self.old = std::mem::take(&mut self.young);
            self.since = Instant::now();
        }
        self.young.insert(*image, asker.clone());
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(held: &mut Held, image: u64, asker: &str, gone: Option<&str>) -> Option<String> {
        let gone = gone.map(|gone| gone.parse().unwrap());
        held.claim(&Question { image, asker: asker.parse().unwrap(), gone }).map(|holder| holder.to_string())
    }

    #[test]
    fn the_first_to_ask_computes_and_the_others_hear_of_it() {
        let mut held = Held::default();
        assert_eq!(ask(&mut held, 1, "a", None), None);
        assert_eq!(ask(&mut held, 1, "b", None).as_deref(), Some("a"));
        assert_eq!(ask(&mut held, 1, "a", None), None, "it may ask again");
        assert_eq!(ask(&mut held, 2, "b", None), None, "another image");
    }

    #[test]
    fn whoever_finds_the_holder_gone_takes_over_and_only_one_does() {
        let mut held = Held::default();
        ask(&mut held, 1, "a", None);
        assert_eq!(ask(&mut held, 1, "b", Some("a")), None);
        assert_eq!(ask(&mut held, 1, "c", Some("a")).as_deref(), Some("b"));
    }

    #[test]
    fn the_latest_claims_are_known_however_many_there_are() {
        let mut held = Held::default();
        let many = 3 * MOST as u64;
        (0..many).for_each(|image| assert_eq!(ask(&mut held, image, "a", None), None));
        assert!(held.young.len() + held.old.len() <= 2 * MOST);
        assert!((many - MOST as u64..many).all(|image| ask(&mut held, image, "b", None).is_some()));
        assert_eq!(ask(&mut held, 0, "b", None), None);
    }
}
