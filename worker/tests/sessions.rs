//! Manifests against real models in a real ONNX Runtime: element types, layouts, fixed batches.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is its failure")]

use std::path::Path;
use std::sync::OnceLock;

use shoal_shared::manifest::Manifest;
use shoal_shared::sniff::ImageLimits;
use shoal_worker::image::Preprocessor;
use shoal_worker::model::{BadModel, Device, Engine, ModelSession, Runtime, Staging, Threads};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::load(Device::Cpu).expect("ONNX Runtime: run `make setup` first"))
}

fn manifest(name: &str, input: &str) -> Manifest {
    let resize = if input.contains("resize") { "" } else { "resize = \"stretch\"\n" };
    let text =
        format!("name = \"m\"\nfile = \"{name}.onnx\"\n[input]\n{resize}{input}\n[output]\nactivation = \"none\"\n");
    Manifest::parse(&text).unwrap()
}

fn session(name: &str, input: &str) -> Result<(ModelSession, Manifest), BadModel> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/{name}.onnx"));
    let onnx = std::fs::read(path).unwrap();
    let manifest = manifest(name, input);
    let session = runtime().session(&onnx, Threads::ONE).unwrap();
    ModelSession::new(session, Engine::CPU, &manifest, 0).map(|session| (session, manifest))
}

/// Runs a solid colour through the whole way; gives the means the model computed, a row each.
fn means(name: &str, input: &str, rows: usize) -> Vec<f32> {
    let (mut session, manifest) = session(name, input).unwrap();
    let solid = image::RgbImage::from_pixel(8, 6, image::Rgb([10, 20, 30]));
    let mut png = std::io::Cursor::new(Vec::new());
    image::DynamicImage::ImageRgb8(solid).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let resolved = session.input().clone();
    let mut preprocessor = Preprocessor::new(&manifest.input, resolved.layout, resolved.size, ImageLimits::default());
    let mut row = vec![0.0; preprocessor.row_len()];
    preprocessor.prepare(png.get_ref(), &mut row).unwrap();
    let mut values = row.repeat(rows);
    let scores = session.run(&mut values, rows).unwrap();
    session.stage_in(Staging::Host).unwrap();
    assert_eq!(session.run(&mut values, rows).unwrap(), scores, "staged");
    assert!(session.stage_in(Staging::Pinned).is_err(), "there is no GPU to pin memory for");
    scores
}

#[test]
fn element_types_layouts_and_channel_orders() {
    let size = "width = 8\nheight = 6";
    assert_eq!(means("float32-nchw", size, 2), [10.0, 20.0, 30.0].repeat(2));
    assert_eq!(means("float32-nchw", &format!("{size}\ncolor = \"bgr\""), 1), [30.0, 20.0, 10.0]);
    assert_eq!(means("float32-nchw", &format!("{size}\nscale = 0.5\nmean = [1.0]\nstd = [2.0]"), 1), [2.0, 4.5, 7.0]);
    assert_eq!(means("float16-nchw", "", 3), [10.0, 20.0, 30.0].repeat(3));
    assert_eq!(means("uint8-nhwc-batch4", "layout = \"nhwc\"", 4), [10.0, 20.0, 30.0].repeat(4));
}

#[test]
fn a_fixed_batch_is_filled_up_and_its_answers_cut_to_what_was_asked() {
    assert_eq!(means("uint8-nhwc-batch4", "layout = \"nhwc\"", 1), [10.0, 20.0, 30.0]);
    let (mut session, _) = session("uint8-nhwc-batch4", "layout = \"nhwc\"").unwrap();
    let mut values = vec![0.0; 5 * session.input().row_len()];
    assert!(session.run(&mut values, 5).is_err());
}

#[test]
fn contradictions_are_found_at_load_and_named() {
    let wrong = |name: &str, input: &str| session(name, input).err().unwrap().to_string();
    assert!(wrong("float32-nchw", "").contains("input.width must be given"));
    assert!(wrong("float16-nchw", "width = 9").contains("the manifest says width 9, the model is fixed to 8"));
    assert!(wrong("float16-nchw", "color = \"gray\"").contains("color"));
    assert!(wrong("float16-nchw", "layout = \"nhwc\"").contains("layout"));
    assert!(wrong("float16-nchw", "name = \"image\"").contains("pixels"));
    assert!(wrong("float16-nchw", "resize = \"shorter-side\"\nshorter_side = 4").contains("shorter_side"));
}

#[test]
fn a_file_that_is_no_model_is_an_error() {
    assert!(runtime().session(b"not a model", Threads::ONE).is_err());
}
