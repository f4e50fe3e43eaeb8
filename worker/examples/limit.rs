//! What the hardware can do: one process that decodes and infers, overlapping the two as well as it
//! can, and does nothing else. `make bench` holds Shoal against it.
//!
//! `limit MODEL MODELS_DIR IMAGE SECONDS SESSIONS THREADS BATCH DECODERS [ENGINE]` prints images a second;
//! with SESSIONS 0 one image at a time, and the median in milliseconds. ENGINE is one that `shoal tune` lists, as
//! in `openvino-bf16`; `cpu` unless given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement, not a service")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shoal_shared::sniff::ImageLimits;
use shoal_worker::image::{Normaliser, Preprocessor, Row};
use shoal_worker::model::{Device, Engine, Library, Machine, Model, ModelSession, ModelStore, Runtime, Threads};

struct Setup {
    runtime: Runtime,
    engine: Engine,
    model: Model,
    image: Vec<u8>,
    time: Duration,
}

impl Setup {
    fn session(&self, intra: usize) -> ModelSession {
        // Spinning is right here: nobody else wants the cores.
        let threads = Threads::new(intra, intra > 1);
        let session = self.runtime.session_with(&self.model.onnx, threads, self.engine).unwrap();
        ModelSession::new(session, self.engine, &self.model.manifest, self.model.labels.len()).unwrap()
    }

    fn preprocessor(&self, session: &ModelSession) -> Preprocessor {
        let (spec, input) = (&self.model.manifest.input, session.input());
        Preprocessor::new(spec, input.layout, input.size, ImageLimits::default())
    }

    fn median_ms(&self, threads: usize) -> f64 {
        let mut session = self.session(threads);
        let mut preprocessor = self.preprocessor(&session);
        let mut row = vec![0.0; preprocessor.row_len()];
        let mut took = Vec::new();
        let until = Instant::now() + self.time;
        while Instant::now() < until {
            let begun = Instant::now();
            preprocessor.prepare(&self.image, &mut row).unwrap();
            session.run(&mut row, 1).unwrap();
            took.push(begun.elapsed());
        }
        took.sort();
        took[took.len() / 2].as_secs_f64() * 1e3
    }

    fn images_a_second(&self, sessions: usize, threads: usize, batch: usize, decoders: usize) -> f64 {
        let sessions: Vec<_> = (0..sessions).map(|_| self.session(threads)).collect();
        let row_len = self.preprocessor(&sessions[0]).row_len();
        let normaliser = Normaliser::new(&self.model.manifest.input, sessions[0].input().layout);
        let (rows, ready) = crossbeam_channel::bounded::<Row>(batch * sessions.len());
        let (used, free) = crossbeam_channel::unbounded();
        (0..batch * sessions.len() * 3).for_each(|_| used.send(Row::default()).unwrap());
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..decoders {
                let (rows, free, mut preprocessor) = (rows.clone(), free.clone(), self.preprocessor(&sessions[0]));
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let mut row: Row = free.recv().unwrap();
                        preprocessor.read(&self.image, &mut row).unwrap();
                        if rows.send(row).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(rows);
            for mut session in sessions {
                let (ready, used, stop, done, normaliser) = (ready.clone(), used.clone(), &stop, &done, &normaliser);
                scope.spawn(move || {
                    let mut values = vec![0.0; batch * row_len];
                    while !stop.load(Ordering::Relaxed) {
                        for values in values.chunks_exact_mut(row_len) {
                            let Ok(row) = ready.recv() else { return };
                            normaliser.fill(&row, values);
                            let _ = used.send(row);
                        }
                        session.run(&mut values, batch).unwrap();
                        done.fetch_add(batch as u64, Ordering::Relaxed);
                    }
                });
            }
            drop(ready);
            std::thread::sleep(Duration::from_millis(500));
            // From the end of a batch to the end of a batch: whole batches in a fixed time would be a tenth off.
            let ended = || {
                let seen = done.load(Ordering::Relaxed);
                while done.load(Ordering::Relaxed) == seen {
                    std::thread::sleep(Duration::from_micros(500));
                }
                (Instant::now(), done.load(Ordering::Relaxed))
            };
            let (begun, before) = ended();
            std::thread::sleep(self.time);
            let (until, after) = ended();
            let rate = (after - before) as f64 / until.duration_since(begun).as_secs_f64();
            stop.store(true, Ordering::Relaxed);
            rate
        })
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, models, image, numbers @ ..] = args.as_slice() else { panic!("see the top of this file") };
    let (numbers, engine) = numbers.split_at(5);
    let engine = engine.first().map_or("cpu", String::as_str);
    let numbers: Vec<f64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let &[seconds, sessions, threads, batch, decoders] = numbers.as_slice() else { panic!("five numbers") };
    let library = if engine.starts_with("openvino") { Library::OpenVino } else { Library::Standard };
    let runtime = Runtime::load_library(Device::Auto, library).unwrap();
    let engines = runtime.engines(&Machine::this(1));
    let named = |one: &Engine| one.to_string().replace(' ', "-") == engine;
    let setup = Setup {
        engine: engines.iter().copied().find(named).unwrap_or_else(|| panic!("{engine} is none of {engines:?}")),
        runtime,
        model: ModelStore::open(models).load(&model.parse().unwrap()).unwrap(),
        image: std::fs::read(image).unwrap(),
        time: Duration::from_secs_f64(seconds),
    };
    match sessions as usize {
        0 => println!("{:.3}", setup.median_ms(threads as usize)),
        sessions => {
            let rate = setup.images_a_second(sessions, threads as usize, batch as usize, decoders as usize);
            println!("{rate:.1}");
        }
    }
}
