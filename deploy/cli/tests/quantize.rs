//! A real classifier made to compute in 8 bits, by the whole command: real weights, crops of real
//! photographs, ONNX Runtime's tooling, and both models over what the tooling has not seen.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::{Path, PathBuf};

use image::imageops;
use shoal_cli::models::quantize::{Method, Quantize, is_ready, quantize};
use shoal_shared::manifest::Manifest;
use shoal_shared::sniff::ImageLimits;
use shoal_worker::image::Preprocessor;
use shoal_worker::model::{Device, Engine, Model, ModelSession, ModelStore, Precision, Runtime, Threads, rank};

const MANIFEST: &str = r#"
name = "squeezenet"
file = "squeezenet.onnx"
labels = "imagenet-labels.txt"
[input]
color = "bgr"
shorter_side = 256
width = 224
height = 224
mean = [104.0, 117.0, 123.0]
[output]
activation = "none"
"#;
const PHOTOGRAPHS: [&str; 2] = ["cat", "espresso"];
/// Crops of each photograph.
const CROPS: u32 = 100;

fn data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?;
    Some(root.join("shared/models")).filter(|path| path.join("squeezenet.onnx").exists())
}

/// Parts of the photographs, some mirrored, some darker or brighter: the same ones each time.
fn write_crops(data: &Path, folder: &Path) {
    for name in PHOTOGRAPHS {
        let whole = image::open(data.join(format!("photos/{name}.jpg"))).unwrap().to_rgb8();
        let mut random = fastrand::Rng::with_seed(1);
        for index in 0..CROPS {
            let scale = 0.5 + random.f32() / 2.0;
            let (width, height) = ((whole.width() as f32 * scale) as u32, (whole.height() as f32 * scale) as u32);
            let (x, y) = (random.u32(0..=whole.width() - width), random.u32(0..=whole.height() - height));
            let mut crop = imageops::crop_imm(&whole, x, y, width, height).to_image();
            if random.bool() {
                imageops::flip_horizontal_in_place(&mut crop);
            }
            imageops::brighten(&crop, random.i32(-30..30)).save(folder.join(format!("{name}-{index}.png"))).unwrap();
        }
    }
}

fn class(runtime: &Runtime, model: &Model, image: &Path) -> (String, f32) {
    let session = runtime.session(&model.onnx, Threads::ONE).unwrap();
    let mut session = ModelSession::new(session, Engine::CPU, &model.manifest, model.labels.len()).unwrap();
    let (spec, input) = (&model.manifest.input, session.input());
    let mut preprocessor = Preprocessor::new(spec, input.layout, input.size, ImageLimits::default());
    let mut row = vec![0.0; preprocessor.row_len()];
    preprocessor.prepare(&std::fs::read(image).unwrap(), &mut row).unwrap();
    let top = rank(model, &session.run(&mut row, 1).unwrap()).unwrap();
    (top[0].label.to_string(), top[0].score)
}

#[test]
fn a_real_classifier_keeps_its_classes_in_eight_bits() {
    let Some(data) = data() else {
        return eprintln!("skipped: the photographs and the model beside the project are absent");
    };
    if !is_ready() {
        return eprintln!("skipped: no quantisation tooling in .tools/python-quantize (deploy/setup.sh --tests)");
    }
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    write_crops(&data, &images);
    std::fs::write(images.join("torn.jpg"), [0xff, 0xd8, 0xff, 0xe0]).unwrap();
    let store = ModelStore::open(folder.path().join("models"));
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let files = [("squeezenet.onnx", read("squeezenet.onnx")), ("imagenet-labels.txt", read("imagenet-labels.txt"))];
    store.add(&Manifest::parse(MANIFEST).unwrap(), &files.each_ref().map(|(name, bytes)| (*name, &bytes[..]))).unwrap();

    let runtime = Runtime::load(Device::Cpu).expect("ONNX Runtime: run `make setup` first");
    let mut wanted = Quantize {
        model: "squeezenet".parse().unwrap(),
        calibrate: images,
        name: None,
        holdout: 0.2,
        method: Method::Minmax,
        keep: Vec::new(),
    };
    let done = quantize(&runtime, &wanted, &store).unwrap();
    println!("{done}");
    assert_eq!((done.calibrated, done.comparison.images), (160, 40));
    assert!(done.comparison.agreement() >= 0.95, "{done}");
    assert!(done.bytes.1 * 3 < done.bytes.0, "{done}");

    let (float, small) = (store.load(&wanted.model).unwrap(), store.load(&done.name).unwrap());
    assert_eq!((small.manifest.name.as_str(), small.precision), ("squeezenet-int8", Precision::Int8));
    assert_eq!((&small.labels, &small.manifest.input), (&float.labels, &float.manifest.input));
    for part in [&float.digest.to_string(), "160 images", "onnxruntime 1."] {
        assert!(small.manifest.description.contains(part), "{}", small.manifest.description);
    }
    for name in PHOTOGRAPHS {
        let image = data.join(format!("photos/{name}.jpg"));
        let (before, after) = (class(&runtime, &float, &image), class(&runtime, &small, &image));
        assert_eq!(before.0, after.0, "{before:?} {after:?}");
    }

    // What cannot be done is said before anything is changed.
    let refusal = |wanted: &Quantize| quantize(&runtime, wanted, &store).err().unwrap().to_string();
    wanted.keep = vec!["nothing".into()];
    assert!(refusal(&wanted).contains("no node `nothing` to keep: first, last, "));
    wanted.name = Some("squeezenet".parse().unwrap());
    assert!(refusal(&wanted).contains("not made by this command"));
    wanted.model = done.name;
    assert!(refusal(&wanted).contains("has 8 bits already"));
}
