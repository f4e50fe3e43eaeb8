//! What is told of a request that has ended: where its time went, to metrics and traces.

use std::time::{Duration, Instant, SystemTime};

use shoal_shared::failure::Failure;
use shoal_shared::process::spans::{Part, Work};
use shoal_shared::trace::Trace;

use super::{Answered, Predictor};

impl Predictor {
    /// The trace that a request belongs to. One that begins here is recorded as often as configured.
    pub fn trace(&self, traceparent: Option<&str>, request_id: Option<&str>) -> Trace {
        let mut trace = Trace::of(traceparent, request_id);
        if trace.parent.is_none() {
            trace.sampled = self.0.spans.is_on() && fastrand::f64() < self.0.config.trace_ratio;
        }
        trace
    }

    /// Sends the span of a request that has ended, with the stages that it went through.
    pub fn span(&self, trace: &Trace, route: &'static str, begun: Instant, ended: Result<&Answered, &Failure>) {
        if !trace.sampled || !self.0.spans.is_on() {
            return;
        }
        let took = begun.elapsed();
        let (attributes, error, parts) = match ended {
            Ok(answered) => {
                let part = |(name, seconds)| Part { name, took: Duration::from_secs_f64(seconds) };
                let stages = answered.stages.iter().filter(|(_, seconds)| *seconds > 0.0).map(part).collect();
                let model = answered.entry.prediction.model.to_string();
                (vec![("model", model), ("cache", answered.source.as_str().into())], None, stages)
            }
            Err(failure) => {
                (vec![("error.type", failure.code.as_str().into())], Some(failure.message.clone()), Vec::new())
            }
        };
        let began = SystemTime::now() - took;
        self.0.spans.record(trace, Work { name: route, is_job: false, began, took, attributes, error, parts });
    }

    /// Records where the time of an answered request went that began at `begun`. What no stage has
    /// measured was spent on the answer itself.
    pub fn took(&self, answered: &mut Answered, begun: Instant) {
        let rest = begun.elapsed().as_secs_f64() - answered.stages.total();
        answered.stages.set("respond", rest.max(0.0));
        self.0.metrics.took(answered.source, &answered.stages);
    }
}
