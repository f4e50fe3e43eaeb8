//! `shoal tune` for real, and workers that use what it has written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::ImageFormat;
use shoal_testkit::fleet::{Fleet, FleetPlan};
use shoal_testkit::http;
use shoal_testkit::images::{encode, variant};
use shoal_testkit::models::add_squeezenet;
use shoal_testkit::process::{binary, repository, shared_models};
use shoal_worker::model::tuning::{Bounds, Held, LibraryFile, Profile, choose};
use shoal_worker::model::{Engine, Library, Machine, Numbers, Provider};

/// Threads of the workers here.
const THREADS: usize = 2;

fn tune(models: &Path, model: &str, images: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(binary("shoal"));
    command.args(["tune", model, "--seconds", "1", "--threads", &THREADS.to_string(), "--images"]).arg(images);
    command.arg("--models-dir").arg(models).args(more).current_dir(repository()).output().unwrap()
}

fn profile_of(models: &Path, model: &str) -> (Profile, PathBuf) {
    let folder = models.join(model);
    let path = Profile::path(&folder, &Machine::this(THREADS));
    (Profile::read(&path).unwrap(), folder)
}

fn fleet(models: &Path, model: &str) -> Fleet {
    let (model, models_dir) = (model.to_owned(), Some(models.to_owned()));
    Fleet::start(FleetPlan { model, models_dir, threads: THREADS, ..FleetPlan::default() })
}

#[test]
fn a_worker_uses_the_profile_of_its_machine_and_says_so() {
    let models = tempfile::tempdir().unwrap();
    let samples = repository().join("worker/models/digits/samples");
    let tuned = tune(models.path(), "digits", &samples, &["--one-session"]);
    let told = String::from_utf8(tuned.stdout).unwrap();
    assert!(tuned.status.success() && told.contains("under load:"), "{told}");
    let (profile, _) = profile_of(models.path(), "digits");
    assert!(profile.measured.iter().all(|row| row.of.sessions == 1) && profile.choice.narrow.is_none(), "{told}");

    let tuned = tune(models.path(), "digits", &samples, &[]);
    let told = String::from_utf8(tuned.stdout).unwrap();
    assert!(tuned.status.success(), "{told}{}", String::from_utf8_lossy(&tuned.stderr));
    assert!(told.contains("IMAGES/S") && told.contains("AGREE") && told.contains("under load:"), "{told}");
    let (profile, folder) = profile_of(models.path(), "digits");
    assert_eq!((profile.bounds, profile.agreement[0].engine), (Bounds::EXACT, Engine::CPU));

    let (digit, with_profile) = (shoal_testkit::images::digit(7), fleet(models.path(), "digits"));
    let log = with_profile.workers[0].log();
    assert!(log.contains("profile used") && !log.contains("sessions measured"), "{log}");
    let status = &http::get(&with_profile.url("/models")).json()["models"][0];
    assert!(
        status["precision"] == "exact"
            && status["engine"].as_str().unwrap().starts_with(&profile.choice.wide.of.engine.to_string()),
        "{status}"
    );
    assert_eq!(http::post(&with_profile.url("/predict"), &[], &digit).json()["prediction"], "7");
    drop(with_profile);

    // Of another model: left alone, and said why.
    let other = serde_json::from_str("\"0123\"").unwrap();
    Profile { digest: other, ..profile }.write(&folder).unwrap();
    let without = fleet(models.path(), "digits");
    let log = without.workers[0].log();
    assert!(log.contains("profile not used") && log.contains("sessions measured"), "{log}");
    assert_eq!(http::post(&without.url("/predict"), &[], &digit).json()["prediction"], "7");
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    let models = tempfile::tempdir().unwrap();
    let samples = repository().join("worker/models/digits/samples");
    let refused = |model, images: &Path, more: &[&str]| {
        let output = tune(models.path(), model, images, more);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("digits", &samples, &["--precision", "fast"]).contains("carried by the binary"));
    assert!(refused("digits", models.path(), &[]).contains("no image that can be decoded"));
    assert!(refused("nobody", &samples, &[]).contains("no model `nobody`"));
    assert!(!models.path().join("digits").exists(), "nothing is written when nothing was measured");
}

/// Whichever engine is the fastest here: that of OpenVINO with the shortest numbers that the profile allows.
fn shortest(profile: &Profile) -> Option<Engine> {
    let allowed = |held: &&Held| held.objection(profile.precision, &profile.bounds).is_none();
    let allowed: Vec<Engine> = profile.agreement.iter().filter(allowed).map(|held| held.engine).collect();
    let engines = [Numbers::Bf16, Numbers::F32].map(|numbers| Engine::new(Provider::OpenVino, numbers));
    engines.into_iter().find(|engine| allowed.contains(engine))
}

#[test]
fn fast_answers_have_the_same_class_and_a_score_within_the_bound() {
    let Some(data) = shared_models() else {
        return eprintln!("skipped: the photographs and the model beside the project are absent");
    };
    let (models, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    add_squeezenet(&data, models.path());
    let photos = ["cat", "espresso"].map(|name| std::fs::read(data.join(format!("photos/{name}.jpg"))).unwrap());
    for number in 0..16 {
        let picture = variant(&image::load_from_memory(&photos[number % 2]).unwrap(), number as u64);
        std::fs::write(images.path().join(format!("{number}.jpg")), encode(&picture, ImageFormat::Jpeg)).unwrap();
    }
    let answers = |fleet: &Fleet| {
        let ask = |photo: &Vec<u8>| http::post(&fleet.url("/predict"), &[], photo).json();
        let read = |answer: serde_json::Value| (answer["prediction"].clone(), answer["score"].as_f64().unwrap());
        photos.each_ref().map(|photo| read(ask(photo)))
    };
    let exact = answers(&fleet(models.path(), "squeezenet"));

    let tuned = tune(models.path(), "squeezenet", images.path(), &["--precision", "fast"]);
    let told = String::from_utf8(tuned.stdout).unwrap();
    assert!(tuned.status.success(), "{told}{}", String::from_utf8_lossy(&tuned.stderr));
    assert!(told.contains("Beware: 16 images are few"), "{told}");
    println!("{told}");
    let (profile, folder) = profile_of(models.path(), "squeezenet");
    // Where nothing is faster in 16 bits, nothing is promised away.
    let is_exact = profile.precision.is_exact();
    assert_eq!(told.contains("precision = \"fast\" is in the manifest now"), !is_exact, "{told}");
    assert_eq!(told.contains("the manifest stays as it is"), is_exact, "{told}");
    if LibraryFile::here(Library::OpenVino).is_none() {
        eprintln!("without OpenVINO: `deploy/setup.sh --fast` fetches it");
    } else {
        let engine = shortest(&profile).expect("OpenVINO is here and was tried");
        let choice = choose(&profile.measured, |one| one == engine).unwrap();
        let library = LibraryFile::here(choice.library()).unwrap();
        Profile { choice, library, ..profile }.write(&folder).unwrap();
    }
    let fleet = fleet(models.path(), "squeezenet");
    let log = fleet.workers[0].log();
    assert!(log.contains("profile used"), "{log}");
    for ((class, score), (fast_class, fast_score)) in exact.iter().zip(answers(&fleet)) {
        println!("{class} {score}, fast: {fast_class} {fast_score}");
        assert_eq!(*class, fast_class);
        assert!((score - fast_score).abs() <= f64::from(Bounds::FAST.difference), "{score} {fast_score}");
    }
}
