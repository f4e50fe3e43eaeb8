//! Forming a batch: whatever is ready, up to a maximum, waiting at most a moment for more.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

/// Takes one item, waiting for it, and then whatever else is ready, up to `max`. Waits at most
/// `delay` after the first item for the batch to fill. Empty once the channel is closed.
///
/// While a batch runs, the next collects in the channel by itself; so no delay is needed to form
/// batches under load, and none is paid when idle.
pub fn collect<T>(ready: &Receiver<T>, max: usize, delay: Duration, batch: &mut Vec<T>) {
    batch.clear();
    let Ok(first) = ready.recv() else { return };
    batch.push(first);
    let closes_at = Instant::now() + delay;
    while batch.len() < max {
        let next = if delay.is_zero() { ready.try_recv().ok() } else { ready.recv_deadline(closes_at).ok() };
        match next {
            Some(item) => batch.push(item),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_ready_and_never_more_than_max() {
        let (sender, ready) = crossbeam_channel::unbounded();
        (0..10).for_each(|i| sender.send(i).unwrap());
        let mut batch = Vec::new();
        collect(&ready, 8, Duration::ZERO, &mut batch);
        assert_eq!(batch, (0..8).collect::<Vec<_>>());
        collect(&ready, 8, Duration::ZERO, &mut batch);
        assert_eq!(batch, [8, 9]);
    }

    #[test]
    fn a_closed_channel_gives_its_rest_and_then_nothing() {
        let (sender, ready) = crossbeam_channel::unbounded();
        sender.send(1).unwrap();
        drop(sender);
        let mut batch = Vec::new();
        collect(&ready, 8, Duration::from_secs(60), &mut batch);
        assert_eq!(batch, [1]);
        collect(&ready, 8, Duration::from_secs(60), &mut batch);
        assert!(batch.is_empty());
    }
}
