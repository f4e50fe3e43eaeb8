//! A session that several threads run at the same time, so that what it makes of the weights for itself is there once.
//!
//! ONNX Runtime allows that of its own kernels and of OpenVINO's, not of every provider; `ort` knows no difference
//! between them and wants the session for itself at every run. So this is the one place that calls the library past it.
#![expect(unsafe_code, reason = "ort runs a session for one thread at a time only")]

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer as _;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::DynValue;

use super::Engine;

/// A session, what computes in it, and the names of its input and output.
pub(super) struct Concurrent {
    session: Arc<Session>,
    engine: Engine,
    input: CString,
    output: CString,
}

impl Concurrent {
    /// For one thread.
    pub(super) fn new(session: Session, engine: Engine, input: &str, output: &str) -> Result<Self, String> {
        let name = |name: &str| CString::new(name).map_err(|_| format!("the name {name:?} has a zero in it"));
        Ok(Self { input: name(input)?, output: name(output)?, session: Arc::new(session), engine })
    }

    /// The same session for one thread more; `None` where what computes in it does not allow that.
    pub(super) fn beside(&self) -> Option<Self> {
        let (input, output) = (self.input.clone(), self.output.clone());
        self.engine.is_on_cpu().then(|| Self { session: self.session.clone(), engine: self.engine, input, output })
    }

    /// Whether both are one session.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session)
    }

    /// The session, to ask and not to run.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Computes the output.
    pub(super) fn run(&mut self, input: &SessionInputValue<'_>, options: &RunOptions) -> ort::Result<DynValue> {
        let names = (self.input.as_c_str(), self.output.as_c_str());
        run(&self.session, names, input, options)
    }
}

fn run(
    session: &Session,
    (input_name, output_name): (&CStr, &CStr),
    input: &SessionInputValue<'_>,
    options: &RunOptions,
) -> ort::Result<DynValue> {
    let mut output = ptr::null_mut();
    // SAFETY: every pointer is to something that is borrowed for longer than the call: session, options, one name and one
    // value of the input, one name of the output, and room for one value. The library writes nothing but that last one
    // and what is inside the session, which it guards against other runs; only engines of which that is true come to run
    // at once (`beside`), others have a session for each thread.
    let status = unsafe {
        (ort::api().Run)(
            session.ptr().cast_mut(),
            options.ptr(),
            &input_name.as_ptr(),
            &input.ptr(),
            1,
            &output_name.as_ptr(),
            1,
            &mut output,
        )
    };
    // SAFETY: the status is the call's own, and nobody else has it.
    unsafe { ort::Error::result_from_status(status) }?;
    let output = NonNull::new(output).ok_or_else(|| ort::Error::new("the session gave no output"))?;
    // SAFETY: a run that succeeded has made the value for its caller, who owns it from here on.
    Ok(unsafe { DynValue::from_ptr(output, Some(session.allocator())) })
}
