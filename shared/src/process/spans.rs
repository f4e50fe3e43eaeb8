//! Spans for a tracing system, sent as OTLP over HTTP. They are made when a request has ended, from the
//! times that were measured anyway: what is not exported costs nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};

use super::VERSION;
use crate::trace::Trace;

/// Where spans go. Cheap to clone; without an endpoint nothing happens.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<Exporting>>);

struct Exporting {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

/// A part of the work that took its time.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it was.
    pub name: &'static str,
    /// How long.
    pub took: Duration,
}

/// The work of this process on one request.
#[derive(Debug, Clone)]
pub struct Work {
    /// What it was.
    pub name: &'static str,
    /// Whether it was asked for over the network, or taken from the queue.
    pub is_job: bool,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What it was about.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Its parts, one after the other from the beginning.
    pub parts: Vec<Part>,
}

impl Spans {
    /// Sends spans to `endpoint`, such as `http://127.0.0.1:4318`, under the name of a service.
    ///
    /// Must be called outside an asynchronous runtime: the exporter has a thread of its own.
    pub fn export(endpoint: &str, service: &'static str) -> Result<Self, String> {
        // The client can encrypt, and asks at once which provider is meant; a second choice changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .build()
            .map_err(|error| error.to_string())?;
        let processor = BatchSpanProcessor::builder(exporter).build();
        let attributes = [KeyValue::new("service.version", VERSION)];
        let resource = Resource::builder().with_service_name(service).with_attributes(attributes).build();
        let mut exporting = Exporting { processor, scope: InstrumentationScope::builder("shoal").build() };
        exporting.processor.set_resource(&resource);
        Ok(Self(Some(Arc::new(exporting))))
    }

    /// Whether spans go anywhere.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records the work on one request.
    pub fn record(&self, trace: &Trace, work: Work) {
        let Some(exporting) = &self.0 else { return };
        let own = SpanId::from_bytes(trace.span);
        let kind = if work.is_job { SpanKind::Consumer } else { SpanKind::Server };
        let mut at = work.began;
        for part in &work.parts {
            let id = SpanId::from_bytes(fastrand::u64(1..).to_be_bytes());
            let mut span = exporting.span(trace, id, part.name, (at, at + part.took));
            span.parent_span_id = own;
            at = span.end_time;
            exporting.processor.on_end(span);
        }
        let mut span = exporting.span(trace, own, work.name, (work.began, work.began + work.took));
        if let Some(parent) = trace.parent {
            span.parent_span_id = SpanId::from_bytes(parent);
            span.parent_span_is_remote = true;
        }
        span.span_kind = kind;
        span.attributes = work.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        span.attributes.push(KeyValue::new("request.id", trace.request_id()));
        if let Some(error) = work.error {
            span.status = Status::error(error);
        }
        exporting.processor.on_end(span);
    }

    /// Sends what is left. Must be called outside an asynchronous runtime.
    pub fn finish(&self) {
        if let Some(exporting) = &self.0
            && let Err(error) = exporting.processor.shutdown_with_timeout(Duration::from_secs(2))
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

impl Exporting {
    fn span(&self, trace: &Trace, id: SpanId, name: &'static str, (from, to): (SystemTime, SystemTime)) -> SpanData {
        let (trace, flags) = (TraceId::from_bytes(trace.trace), TraceFlags::SAMPLED);
        SpanData {
            span_context: SpanContext::new(trace, id, flags, false, TraceState::default()),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: from,
            end_time: to,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}
