//! A batch's values as the model's input tensor: in its numbers, and where its device reads them.

use std::fmt::Debug;

use half::f16;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef};

/// Numbers that an input may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Float32,
    Float16,
    Uint8,
}

impl Element {
    /// `None`: no model with such an input is served.
    pub(super) fn of(element: TensorElementType) -> Option<Self> {
        match element {
            TensorElementType::Float32 => Some(Self::Float32),
            TensorElementType::Float16 => Some(Self::Float16),
            TensorElementType::Uint8 => Some(Self::Uint8),
            _ => None,
        }
    }
}

/// Where input waits for the device that computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staging {
    /// Memory that the system never moves, from which a GPU fetches by itself; from any other the driver has to copy first.
    Pinned,
    /// The library's memory for the CPU. Gains nothing: it shows, where there is no GPU, that what is staged arrives.
    Host,
}

/// Makes tensors; buffers are used again.
pub(super) struct Feed {
    element: Element,
    staging: Option<Allocator>,
    halves: Vec<f16>,
    bytes: Vec<u8>,
}

impl Feed {
    /// For a CPU, which reads values where they are.
    pub(super) fn new(element: Element) -> Self {
        Self { element, staging: None, halves: Vec::new(), bytes: Vec::new() }
    }

    /// From now on tensors are made in the session's memory of that kind.
    pub(super) fn stage(&mut self, session: &Session, staging: Staging) -> ort::Result<()> {
        let (device, kind) = match staging {
            Staging::Pinned => (AllocationDevice::CUDA_PINNED, MemoryType::CPUInput),
            Staging::Host => (AllocationDevice::CPU, MemoryType::Default),
        };
        let memory = MemoryInfo::new(device, 0, AllocatorType::Device, kind)?;
        self.staging = Some(Allocator::new(session, memory)?);
        Ok(())
    }

    /// A tensor of such a shape; on a CPU, values of 32 bits are not copied.
    pub(super) fn tensor<'v>(&'v mut self, shape: Vec<i64>, values: &'v [f32]) -> ort::Result<SessionInputValue<'v>> {
        let byte = |value: f32| value.round().clamp(0.0, 255.0) as u8;
        if let Some(memory) = &self.staging {
            return match self.element {
                Element::Float32 => staged(memory, shape, values, |value| value),
                Element::Float16 => staged(memory, shape, values, f16::from_f32),
                Element::Uint8 => staged(memory, shape, values, byte),
            };
        }
        Ok(match self.element {
            Element::Float32 => TensorRef::from_array_view((shape, values))?.into(),
            Element::Float16 => {
                self.halves.clear();
                self.halves.extend(values.iter().map(|&value| f16::from_f32(value)));
                TensorRef::from_array_view((shape, self.halves.as_slice()))?.into()
            }
            Element::Uint8 => {
                self.bytes.clear();
                self.bytes.extend(values.iter().map(|&value| byte(value)));
                TensorRef::from_array_view((shape, self.bytes.as_slice()))?.into()
            }
        })
    }
}

/// Taken anew for every batch, of whatever size: the session's allocator keeps what was given back.
fn staged<'v, T: PrimitiveTensorElementType + Debug>(
    memory: &Allocator,
    shape: Vec<i64>,
    values: &[f32],
    of: impl Fn(f32) -> T,
) -> ort::Result<SessionInputValue<'v>> {
    let mut tensor = Tensor::<T>::new(memory, shape)?;
    for (to, &value) in tensor.extract_tensor_mut().1.iter_mut().zip(values) {
        *to = of(value);
    }
    Ok(tensor.into())
}
