//! One session with its input and output resolved: rows in, rows of scores out.

use half::f16;
use ort::session::{RunOptions, Session};
use ort::value::{Outlet, TensorElementType, ValueType};
use shoal_shared::manifest::{Layout, Manifest};
use thiserror::Error;

use super::Engine;
use super::concurrent::Concurrent;
use super::feed::{Element, Feed, Staging};

/// Why a model cannot be served with its manifest.
#[derive(Debug, Error)]
#[error("model `{model}`: {reason}")]
pub struct BadModel {
    model: String,
    reason: String,
}

/// A session that knows its model's shapes. Owned by one thread; another may run the same beside it.
pub struct ModelSession {
    session: Concurrent,
    input: Input,
    feed: Feed,
    classes: usize,
}

/// The resolved input tensor.
#[derive(Debug, Clone)]
pub struct Input {
    /// Name of the tensor.
    pub name: String,
    element: Element,
    /// Axis order.
    pub layout: Layout,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Batch size the model insists on.
    pub fixed_batch: Option<usize>,
    channels: usize,
}

impl Input {
    /// Shape of a batch of `rows`.
    pub fn shape(&self, rows: usize) -> Vec<i64> {
        let (width, height, channels) = (i64::from(self.size.0), i64::from(self.size.1), self.channels as i64);
        match self.layout {
            Layout::Nchw => vec![rows as i64, channels, height, width],
            Layout::Nhwc => vec![rows as i64, height, width, channels],
        }
    }

    /// Values in one row.
    pub fn row_len(&self) -> usize {
        self.size.0 as usize * self.size.1 as usize * self.channels
    }
}

impl ModelSession {
    /// Holds the manifest against the file: what the file says wins where the manifest is silent,
    /// and a contradiction is an error here instead of a wrong answer later. `engine` is what the session was built with.
    pub fn new(session: Session, engine: Engine, manifest: &Manifest, labels: usize) -> Result<Self, BadModel> {
        let bad = |reason: String| BadModel { model: manifest.name.to_string(), reason };
        let input = resolve_input(session.inputs(), manifest).map_err(bad)?;
        let output = pick(session.outputs(), manifest.output.name.as_deref(), "output").map_err(bad)?;
        let classes = count_classes(output).unwrap_or(labels);
        if labels != 0 && classes != 0 && labels != classes {
            return Err(bad(format!("the labels file has {labels} lines, the output has {classes} classes")));
        }
        let output = output.name().to_owned();
        let session = Concurrent::new(session, engine, &input.name, &output).map_err(bad)?;
        Ok(Self { feed: Feed::new(input.element), session, input, classes })
    }

    /// The same session, for one thread more that runs it at the same time; `None` where what computes in it does not
    /// allow that.
    pub fn beside(&self) -> Option<Self> {
        let (feed, input) = (Feed::new(self.input.element), self.input.clone());
        self.session.beside().map(|session| Self { session, input, feed, classes: self.classes })
    }

    /// Whether both are one session, run by two threads.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.session.is_beside(&other.session)
    }

    /// Has its input wait in that memory for the device that computes.
    pub fn stage_in(&mut self, staging: Staging) -> Result<(), String> {
        self.feed.stage(self.session.session(), staging).map_err(|error| error.to_string())
    }

    /// The resolved input.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Number of classes; 0 until the first run when neither model nor labels say.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Runs `rows` rows, laid out one after the other; gives `rows` rows of raw scores.
    ///
    /// A model with a fixed batch gets its missing rows as zeros.
    pub fn run(&mut self, values: &mut Vec<f32>, rows: usize) -> Result<Vec<f32>, String> {
        let batch = self.input.fixed_batch.unwrap_or(rows);
        if rows == 0 || rows > batch {
            return Err(format!("{rows} rows for a batch of {batch}"));
        }
        values.resize(batch * self.input.row_len(), 0.0);
        let run = RunOptions::new().and_then(|options| self.run_batch(values, batch, &options));
        let mut scores = run.map_err(|error| error.to_string())?;
        let per_row = scores.len() / batch;
        if per_row == 0 || scores.len() % batch != 0 {
            return Err(format!("the output has {} values for {batch} images", scores.len()));
        }
        self.classes = per_row;
        scores.truncate(rows * per_row);
        Ok(scores)
    }

    /// Gives memory back that larger batches have needed, by a run of one row.
    pub fn shrink(&mut self) -> Result<(), String> {
        let batch = self.input.fixed_batch.unwrap_or(1);
        let values = vec![0.0; batch * self.input.row_len()];
        let mut run = || {
            let mut options = RunOptions::new()?;
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
            self.run_batch(&values, batch, &options)
        };
        run().map(drop).map_err(|error: ort::Error| error.to_string())
    }

    fn run_batch(&mut self, values: &[f32], batch: usize, options: &RunOptions) -> ort::Result<Vec<f32>> {
        let tensor = self.feed.tensor(self.input.shape(batch), values)?;
        let output = self.session.run(&tensor, options)?;
        match output.dtype().tensor_type() {
            Some(TensorElementType::Float16) => {
                Ok(output.try_extract_tensor::<f16>()?.1.iter().map(|value| value.to_f32()).collect())
            }
            _ => Ok(output.try_extract_tensor::<f32>()?.1.to_vec()),
        }
    }
}

fn pick<'a>(outlets: &'a [Outlet], name: Option<&str>, kind: &str) -> Result<&'a Outlet, String> {
    let names = || outlets.iter().map(|outlet| outlet.name().to_owned()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => outlets
            .iter()
            .find(|outlet| outlet.name() == name)
            .ok_or_else(|| format!("it has no {kind} `{name}`; there are: {}", names())),
        None => outlets.first().ok_or_else(|| format!("it has no {kind}")),
    }
}

fn resolve_input(inputs: &[Outlet], manifest: &Manifest) -> Result<Input, String> {
    let spec = &manifest.input;
    let outlet = pick(inputs, spec.name.as_deref(), "input")?;
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!("input `{}` is no tensor", outlet.name()));
    };
    let Some(element) = Element::of(*ty) else {
        return Err(format!("input `{}` takes {ty:?}: float32, float16 or uint8 are served", outlet.name()));
    };
    let &[batch, second, third, fourth] = &shape[..] else {
        return Err(format!("input `{}` has shape {shape:?}: four axes are expected", outlet.name()));
    };
    let channels = spec.color.channels();
    let (in_channels, height, width) = match spec.layout {
        Layout::Nchw => (second, third, fourth),
        Layout::Nhwc => (fourth, second, third),
    };
    if in_channels > 0 && in_channels as usize != channels {
        return Err(format!(
            "input `{}` has shape {shape:?}: that does not fit color = {:?} with layout = {:?}",
            outlet.name(),
            spec.color,
            spec.layout
        ));
    }
    let size = (side("width", spec.width, width)?, side("height", spec.height, height)?);
    if let Some(shorter) = spec.shorter_side.filter(|&shorter| shorter < size.0.max(size.1)) {
        return Err(format!("input.shorter_side is {shorter}, less than the {}x{} input", size.0, size.1));
    }
    Ok(Input {
        name: outlet.name().to_owned(),
        element,
        layout: spec.layout,
        size,
        fixed_batch: (batch > 0).then_some(batch as usize),
        channels,
    })
}

fn side(what: &str, manifest: Option<u32>, model: i64) -> Result<u32, String> {
    match (manifest, u32::try_from(model).ok().filter(|&side| side > 0)) {
        (Some(wanted), Some(fixed)) if wanted != fixed => {
            Err(format!("the manifest says {what} {wanted}, the model is fixed to {fixed}"))
        }
        (Some(side), _) | (None, Some(side)) => Ok(side),
        (None, None) => Err(format!("input.{what} must be given in the manifest: the model takes any")),
    }
}

/// The product of the axes after the batch, when all are fixed.
fn count_classes(output: &Outlet) -> Option<usize> {
    let ValueType::Tensor { shape, .. } = output.dtype() else { return None };
    shape.iter().skip(1).map(|&side| usize::try_from(side).ok().filter(|&side| side > 0)).product()
}
