//! Models as this machine computes them: the same answers from weights that are shared, and nothing lost where
//! they cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::{eventually, models, same_alone_and_at_once};
use shoal_worker::model::{Crew, Device, Engine, Model, ModelSession, ModelStore, Runtime, Threads, Wanted};
use shoal_worker::serving::CpuBudget;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::load(Device::Cpu).expect("ONNX Runtime: run `make setup` first"))
}

/// ResNet-50 with made-up weights, read anew.
fn load(dir: &Path, int8: bool) -> Model {
    let name = if int8 { "resnet50-synth-int8" } else { "resnet50-synth" };
    if !dir.join(name).exists() {
        models::add_resnet50(dir, int8);
    }
    ModelStore::open(dir).load(&name.parse().unwrap()).unwrap()
}

fn optimised(dir: &Path, home: &Path) -> Model {
    let mut model = load(dir, true);
    model.optimise(runtime(), home, Engine::CPU);
    model
}

/// The bits of what a session says of so many pictures.
fn answers(session: &mut ModelSession, pictures: usize) -> Vec<u32> {
    let len = pictures * session.input().row_len();
    let mut values: Vec<f32> = (0..len).map(|at| ((at + pictures) % 251) as f32 / 100.0 - 1.0).collect();
    session.run(&mut values, pictures).unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_answers_are_the_same_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    for int8 in [false, true] {
        let mut model = load(dir.path(), int8);
        model.optimise(runtime(), &dir.path().join("optimised"), Engine::CPU);
        let shared = model.optimised.as_ref().unwrap().session(runtime(), Threads::ONE, Engine::CPU).unwrap();
        let own = runtime().session(&model.onnx, Threads::ONE).unwrap();
        let [mut shared, mut own] =
            [shared, own].map(|one| ModelSession::new(one, Engine::CPU, &model.manifest, 0).unwrap());
        assert_eq!(answers(&mut shared, 3), answers(&mut own, 3));
        assert_eq!(model.shares_weights(), !int8);

        let several = vec![shared.beside().unwrap(), shared.beside().unwrap(), shared];
        same_alone_and_at_once(several, |session, number| answers(session, 1 + number));
    }
    assert_eq!(fs::read_dir(dir.path().join("optimised")).unwrap().count(), 2);
}

#[test]
fn it_is_made_once_and_again_when_it_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("optimised");
    let folder = optimised(dir.path(), &home).optimised.unwrap().folder().to_owned();
    let made = |file: &str| fs::metadata(folder.join(file)).unwrap().modified().unwrap();
    let (first, size) = (made("graph.onnx"), fs::metadata(folder.join("weights.bin")).unwrap().len());
    assert!(optimised(dir.path(), &home).optimised.is_some());
    assert_eq!(made("graph.onnx"), first);

    fs::File::options().write(true).open(folder.join("weights.bin")).unwrap().set_len(size / 2).unwrap();
    let again = optimised(dir.path(), &home);
    assert!(again.optimised.unwrap().session(runtime(), Threads::ONE, Engine::CPU).is_ok());
    assert_eq!(fs::metadata(folder.join("weights.bin")).unwrap().len(), size);

    // Another release of ONNX Runtime, another processor: what nobody uses any more goes.
    let old = home.join("0123456789abcdef0123456789abcdef");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("sizes"), "1 1\n").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(60 * 24 * 3600);
    fs::File::options().write(true).open(old.join("sizes")).unwrap().set_modified(long_ago).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(optimised(dir.path(), &home).optimised.is_some());
    assert!(!old.exists());
}

#[test]
fn where_it_cannot_be_had_sessions_are_built_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("no folder");
    fs::write(&home, "a file").unwrap();
    let model = optimised(dir.path(), &home);
    assert!(model.optimised.is_none());
    let (wanted, budget) = (Wanted { threads: 2, max_batch: 2 }, CpuBudget::new(2));
    assert_eq!(Crew::assemble(runtime(), &model, wanted, &budget).unwrap().shape.wide_batch, 2);

    // Gone after it was found.
    let model = optimised(dir.path(), &dir.path().join("optimised"));
    fs::remove_dir_all(model.optimised.as_ref().unwrap().folder()).unwrap();
    assert!(Crew::assemble(runtime(), &model, wanted, &budget).is_ok());
}

#[test]
fn what_was_measured_is_remembered_for_as_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let model = optimised(dir.path(), &dir.path().join("optimised"));
    let (wanted, budget) = (Wanted { threads: 2, max_batch: 0 }, CpuBudget::new(2));
    let kept = model.optimised.as_ref().unwrap();
    assert_eq!(kept.measured(wanted), None);
    let crew = Crew::assemble(runtime(), &model, wanted, &budget).unwrap();
    kept.remember(wanted, crew.measured());
    let known = kept.measured(wanted).unwrap();
    assert_eq!(known, crew.measured());
    assert_eq!(kept.measured(Wanted { threads: 3, ..wanted }), None);
    let again = Crew::reassemble(runtime(), &model, wanted, &budget, known).unwrap();
    assert_eq!((again.shape, again.narrow.len()), (crew.shape, crew.narrow.len()));
    // All narrow ones are one session, where there are any.
    assert_eq!(again.copies(), 1 + crew.narrow.len().min(1));
}

/// Beside the weights that the session computes with, 128 MiB have room for everything else, but not for the file that
/// they were read from as well.
#[test]
fn an_idle_worker_gives_back_the_file_of_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = models::add_resnet50(dir.path(), false);
    let file = fs::metadata(dir.path().join(&model).join("model.onnx")).unwrap().len();
    let fleet = Fleet::start(FleetPlan { model, models_dir: Some(dir.path().into()), ..FleetPlan::default() });
    eventually("the file is given back", || fleet.workers[0].memory() < file + (128 << 20));
}
