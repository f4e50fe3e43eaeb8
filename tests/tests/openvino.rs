//! OpenVINO's sessions map the weights of a model, and answer as those do that have their own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::fs;

use shoal_testkit::{models, same_alone_and_at_once};
use shoal_worker::model::tuning::LibraryFile;
use shoal_worker::model::{Device, Engine, Library, ModelSession, ModelStore, Numbers, Provider, Runtime, Threads};

const F32: Engine = Engine::new(Provider::OpenVino, Numbers::F32);

/// The bits of what a session says of so many pictures.
fn answers(session: &mut ModelSession, pictures: usize) -> Vec<u32> {
    let len = pictures * session.input().row_len();
    let mut values: Vec<f32> = (0..len).map(|at| ((at + pictures) % 251) as f32 / 100.0 - 1.0).collect();
    session.run(&mut values, pictures).unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn weights_are_mapped_and_answers_the_same_bit_by_bit() {
    if LibraryFile::here(Library::OpenVino).is_none() {
        return eprintln!("skipped without OpenVINO: `deploy/setup.sh --fast` fetches it");
    }
    let runtime = Runtime::load_library(Device::Cpu, Library::OpenVino).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = models::add_resnet50(dir.path(), false);
    let mut model = ModelStore::open(dir.path()).load(&name.parse().unwrap()).unwrap();
    let home = dir.path().join("optimised");
    model.optimise(&runtime, &home, F32);
    let shared = model.optimised.clone().unwrap();
    assert!(shared.is_for(F32) && !shared.is_for(Engine::CPU));

    let mapped = shared.session(&runtime, Threads::ONE, F32).unwrap();
    let weights = shared.folder().join("weights.bin");
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(weights.to_str().unwrap()), "{maps}");
    let own = runtime.session_with(&model.onnx, Threads::ONE, F32).unwrap();
    let [mapped, own] = [mapped, own].map(|session| {
        let mut session = ModelSession::new(session, F32, &model.manifest, 0).unwrap();
        answers(&mut session, 3)
    });
    assert_eq!(mapped, own);

    // One session that several threads run at the same time.
    let session = shared.session(&runtime, Threads { runs: 3, ..Threads::ONE }, F32).unwrap();
    let session = ModelSession::new(session, F32, &model.manifest, 0).unwrap();
    let several = vec![session.beside().unwrap(), session.beside().unwrap(), session];
    same_alone_and_at_once(several, |session, number| answers(session, 1 + number));

    // The library's own kernels have a form of their own.
    model.optimise(&runtime, &home, Engine::CPU);
    assert!(model.optimised.as_ref().unwrap().is_for(Engine::CPU));
    assert_eq!(fs::read_dir(&home).unwrap().count(), 2);
}
