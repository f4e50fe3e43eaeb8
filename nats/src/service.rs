//! The NATS request front door: `predict.<model>` as a NATS service, visible in `nats micro ls`.

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, Service, ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use shoal_shared::headers;
use shoal_shared::names::{InvalidToken, ModelName};
use shoal_shared::process::VERSION;

use crate::connect::{Bus, BusError};
use crate::subjects;

/// The running service.
pub struct PredictService {
    _service: Service,
    endpoint: Endpoint,
}

/// A request for a prediction.
pub struct PredictRequest {
    /// The model asked, from the subject.
    pub model: Result<ModelName, InvalidToken>,
    /// The image.
    pub image: Bytes,
    /// Classes wanted.
    pub top_k: Option<usize>,
    /// W3C trace context, and the id that the client gave.
    pub trace: (Option<String>, Option<String>),
    request: Request,
}

impl PredictService {
    /// Announces the service; its endpoint takes every model's requests.
    pub async fn start(bus: &Bus) -> Result<Self, BusError> {
        let failed = |error: async_nats::Error| BusError::request("starting the NATS service", error);
        let builder = bus.client.service_builder().description("Shoal: image in, prediction as JSON out");
        let service = builder.start("shoal", VERSION).await.map_err(failed)?;
        let endpoint = service.endpoint_builder().name("predict").add(subjects::PREDICT).await.map_err(failed)?;
        Ok(Self { _service: service, endpoint })
    }

    /// The next request.
    pub async fn next(&mut self) -> Option<PredictRequest> {
        loop {
            let request = self.endpoint.next().await?;
            let message = &request.message;
            let Some(model) = message.subject.strip_prefix("predict.") else { continue };
            let header =
                |name: &str| message.headers.as_ref().and_then(|map| map.get(name)).map(|value| value.as_str());
            return Some(PredictRequest {
                model: model.parse(),
                image: message.payload.clone(),
                top_k: header(headers::TOP_K).and_then(|value| value.parse().ok()),
                trace: [headers::TRACEPARENT, headers::REQUEST].map(|name| header(name).map(str::to_owned)).into(),
                request,
            });
        }
    }
}

impl PredictRequest {
    /// Answers with a JSON body; an error status also goes into the service's error headers.
    pub async fn respond(self, status: u16, message: &str, body: Vec<u8>) {
        let mut map = async_nats::HeaderMap::new();
        map.insert("Content-Type", headers::ACCEPT_JSON);
        if status >= 400 {
            map.insert(async_nats::service::NATS_SERVICE_ERROR, message.replace(['\r', '\n'], " "));
            map.insert(async_nats::service::NATS_SERVICE_ERROR_CODE, status.to_string());
        }
        if let Err(error) = self.request.respond_with_headers(Ok(body.into()), map).await {
            tracing::debug!(%error, "nobody to answer");
        }
    }
}
