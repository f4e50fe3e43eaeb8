//! Many at once, answered in order.

use std::pin::pin;

use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc::Sender;

use super::arrivals::Arrival;
use crate::config::BatchConfig;

/// Gives every arrival to `answer`, several at once, and sends on what comes of them in the order of
/// arrival. Reads ahead within bounds; ends with the arrivals, or when nobody listens any more.
pub(super) async fn run<T, A>(
    arrivals: impl Stream<Item = Arrival>,
    bounds: &BatchConfig,
    answer: impl Fn(usize, Arrival) -> A,
    answers: &Sender<T>,
) where
    A: Future<Output = T>,
{
    let mut arrivals = pin!(arrivals.enumerate().fuse());
    let mut waiting = FuturesOrdered::new();
    let mut ahead = 0;
    loop {
        let has_room = waiting.len() < bounds.concurrency && (ahead < bounds.max_ahead_bytes || waiting.is_empty());
        tokio::select! {
            biased;
            Some((index, arrival)) = arrivals.next(), if has_room => {
                let length = arrival.len();
                let answering = answer(index, arrival);
                ahead += length;
                waiting.push_back(async move { (length, answering.await) });
            }
            Some((length, answered)) = waiting.next() => {
                ahead -= length;
                if answers.send(answered).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use shoal_shared::failure::{Failure, FailureCode};

    use super::*;

    #[tokio::test]
    async fn answers_keep_the_order_of_arrival_within_the_bound() {
        let at_once = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let arrivals = futures_util::stream::iter(0..50)
            .map(|_| Arrival::Broken(Failure::new(FailureCode::BadRequest, "stands for any")));
        let answer = |index: usize, _| {
            let (at_once, most) = (&at_once, &most);
            async move {
                most.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                // The later ones of each ten are done first.
                for _ in 0..10 - index % 10 {
                    tokio::task::yield_now().await;
                }
                at_once.fetch_sub(1, Ordering::Relaxed);
                index
            }
        };
        let bounds = BatchConfig { concurrency: 7, ..BatchConfig::default() };
        let (sender, mut answers) = tokio::sync::mpsc::channel(100);
        run(arrivals, &bounds, answer, &sender).await;
        drop(sender);
        let mut order = Vec::new();
        while let Some(index) = answers.recv().await {
            order.push(index);
        }
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert_eq!(most.into_inner(), 7);
    }
}
