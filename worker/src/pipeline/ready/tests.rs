use super::*;

impl Due for u32 {
    fn due(&self) -> Option<Instant> {
        // From a thousand on: at once.
        (*self >= 1000).then(Instant::now)
    }
}

const SHAPE: Shape = Shape { narrow: 2, wide_rows: 1, wide_batch: 8, narrow_batch: 4 };
const WIDE_ONLY: Shape = Shape { narrow: 0, wide_rows: 0, wide_batch: 8, narrow_batch: 0 };

fn take(ready: &Ready<u32>, kind: Kind) -> (Vec<u32>, Turn<u32>, Release) {
    let mut batch = Vec::new();
    let taken = ready.take(kind, &mut batch).unwrap();
    (batch, taken.turn, taken.release)
}

fn is_turn(ready: &Ready<u32>, kind: Kind) -> bool {
    ready.0.state.lock().turn(&ready.0.shape) == Some(kind)
}

#[test]
fn one_image_goes_to_the_wide_session_and_many_to_the_narrow_ones() {
    let (ready, feeder) = Ready::new(SHAPE, Duration::ZERO);
    feeder.announce().push(0);
    assert!(is_turn(&ready, Kind::Wide) && !is_turn(&ready, Kind::Narrow));
    let (batch, turn, _) = take(&ready, Kind::Wide);
    assert_eq!(batch, [0]);
    (1..=6).for_each(|item| feeder.announce().push(item));
    assert!(!is_turn(&ready, Kind::Narrow), "the wide one has the cores");
    drop(turn);
    assert!(is_turn(&ready, Kind::Narrow) && !is_turn(&ready, Kind::Wide));
    // Shared out, although one could have taken four.
    let (first, first_turn, _) = take(&ready, Kind::Narrow);
    let (second, second_turn, _) = take(&ready, Kind::Narrow);
    assert_eq!((first.as_slice(), second.as_slice()), ([1, 2, 3].as_slice(), [4, 5, 6].as_slice()));
    // As long as one of them runs, what comes is theirs.
    drop(first_turn);
    feeder.announce().push(7);
    assert!(is_turn(&ready, Kind::Narrow) && !is_turn(&ready, Kind::Wide));
    drop(second_turn);
    assert!(is_turn(&ready, Kind::Wide));
}

#[test]
fn while_another_image_takes_long_to_decode_one_thread_is_enough() {
    let (ready, feeder) = Ready::new(SHAPE, Duration::ZERO);
    let ms = Duration::from_millis;
    ready.0.state.lock().pace[Kind::Wide as usize].ran(1, ms(10));
    feeder.announce().push(0);
    for (decoding, is_narrow) in [(ms(1), false), (ms(7), true)] {
        ready.0.state.lock().decoding = decoding;
        let coming = feeder.announce();
        assert_eq!(is_turn(&ready, Kind::Narrow), is_narrow, "{decoding:?}");
        drop(coming);
        assert!(is_turn(&ready, Kind::Wide), "nothing is being decoded any more");
    }
}

#[test]
fn takes_what_is_ready_and_never_more_than_the_session_takes() {
    let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::ZERO);
    (0..8).for_each(|item| feeder.announce().push(item));
    let (batch, turn, release) = take(&ready, Kind::Wide);
    assert_eq!((batch.len(), release), (8, Release::Full));
    drop(turn);
    (0..3).for_each(|item| feeder.announce().push(item));
    let (batch, _, release) = take(&ready, Kind::Wide);
    assert_eq!((batch.len(), release), (3, Release::Idle));
}

#[test]
fn a_delay_ends_when_the_batch_is_full_or_the_time_is_over() {
    let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::from_millis(20));
    feeder.announce().push(1);
    let (batch, turn, release) = take(&ready, Kind::Wide);
    assert_eq!((batch.len(), release), (1, Release::Delay));
    drop(turn);
    (0..8).for_each(|item| feeder.announce().push(item));
    assert_eq!(take(&ready, Kind::Wide).2, Release::Full);
}

#[test]
fn the_nearest_deadline_closes_a_batch_early() {
    let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::from_secs(3600));
    (0..3).for_each(|item| feeder.announce().push(item));
    feeder.announce().push(1000);
    let (batch, _, release) = take(&ready, Kind::Wide);
    assert_eq!((batch.len(), release), (4, Release::Deadline));
}

#[derive(Debug, PartialEq)]
struct At(Instant);

impl Due for At {
    fn due(&self) -> Option<Instant> {
        Some(self.0)
    }
}

#[test]
fn a_batch_ends_with_the_nearest_deadline_and_what_is_late_is_not_begun() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let (ready, feeder) = Ready::new(WIDE_ONLY, Duration::ZERO);
    ready.0.state.lock().pace[Kind::Wide as usize].ran(2, 120 * second);
    let [far, near, nearer] = [600, 150, 30].map(|seconds| At(now + second * seconds));
    [nearer, far, near].into_iter().for_each(|item| feeder.announce().push(item));
    (0..3).for_each(|_| feeder.announce().push(At(now + 600 * second)));
    let mut batch = Vec::new();
    let taken = ready.take(Kind::Wide, &mut batch).unwrap();
    // A row takes a minute: three would be too many for the one that is due after two and a half.
    assert_eq!(taken.late, [At(now + 30 * second)]);
    assert_eq!(batch, [At(now + 600 * second), At(now + 150 * second)]);
    assert_eq!(taken.release, Release::Deadline);
}

#[test]
fn a_deadline_leaves_time_for_the_run() {
    let now = Instant::now();
    let items = [9, 5, 7].map(|seconds| At(now + Duration::from_secs(seconds))).into();
    let state = State { items, feeders: 1, took: Duration::from_secs(1), ..State::default() };
    let after = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(state.closes_at(after(9)), (after(4), Release::Deadline));
    assert_eq!(state.closes_at(after(3)), (after(3), Release::Delay));
}

#[test]
fn a_full_queue_holds_its_feeders_and_a_closed_one_gives_its_rest() {
    let (ready, feeder) = Ready::new(SHAPE, Duration::ZERO);
    let taken = std::thread::scope(|scope| {
        let feeding = feeder.clone();
        scope.spawn(move || (0..100).for_each(|item| feeding.announce().push(item)));
        drop(feeder);
        let sessions: Vec<_> = [Kind::Wide, Kind::Narrow, Kind::Narrow]
            .into_iter()
            .map(|kind| {
                let ready = ready.clone();
                scope.spawn(move || {
                    let (mut batch, mut taken) = (Vec::new(), 0);
                    while let Some(Taken { turn, .. }) = ready.take(kind, &mut batch) {
                        assert!(ready.0.state.lock().items.len() <= SHAPE.in_flight());
                        taken += batch.len();
                        batch.clear();
                        drop(turn);
                    }
                    taken
                })
            })
            .collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum::<usize>()
    });
    assert_eq!(taken, 100);
}

#[test]
fn whenever_an_image_is_announced_none_is_left_lying() {
    let (ready, feeder) = Ready::new(SHAPE, Duration::ZERO);
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for kind in [Kind::Wide, Kind::Narrow, Kind::Narrow] {
            let (ready, taken) = (ready.clone(), &taken);
            scope.spawn(move || {
                let mut batch = Vec::new();
                while ready.take(kind, &mut batch).is_some() {
                    taken.fetch_add(batch.drain(..).len(), Ordering::Relaxed);
                }
            });
        }
        for image in 1..=5000_usize {
            ready.0.state.lock().decoding = Duration::from_secs(1);
            feeder.announce().push(0);
            // The wide session has been woken, and it may be the narrow ones' turn before it looks.
            let coming = feeder.announce();
            let until = Instant::now() + Duration::from_secs(60);
            while taken.load(Ordering::Relaxed) < image {
                assert!(Instant::now() < until, "image {image} is left lying");
                std::thread::yield_now();
            }
            drop(coming);
        }
        drop(feeder);
    });
}
