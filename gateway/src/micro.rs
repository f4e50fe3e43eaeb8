//! The NATS front door: `predict.<model>` takes an image and answers as HTTP does.

use std::sync::Arc;
use std::time::Instant;

use shoal_nats::service::{PredictRequest, PredictService};
use shoal_shared::answer::{ErrorBody, Success};
use shoal_shared::digest::ImageKey;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Lane;
use shoal_shared::process::shutdown::Shutdown;

use crate::admission::{Refusal, Tenant};
use crate::predict::{Ask, Caching, Predictor};

/// Serves until shutdown is ordered.
pub async fn run(mut service: PredictService, predictor: Predictor, shutdown: Shutdown) {
    loop {
        let request = tokio::select! {
            request = service.next() => request,
            () = shutdown.ordered() => return,
        };
        let Some(request) = request else { return };
        let predictor = predictor.clone();
        shutdown.spawn(async move { answer(request, &predictor).await });
    }
}

async fn answer(request: PredictRequest, predictor: &Predictor) {
    let result = predict(&request, predictor).await;
    let status = result.as_ref().map_or_else(|refusal| refusal.failure.code.http_status(), |_| 200);
    let label = status.to_string();
    predictor.metrics().requests.with_label_values(&["nats:predict", &label]).inc();
    match result {
        Ok(success) => request.respond(status, "", to_json(&success)).await,
        Err(Refusal { failure, .. }) => {
            request.respond(status, &failure.message, to_json(&ErrorBody::of(&failure))).await;
        }
    }
}

async fn predict(request: &PredictRequest, predictor: &Predictor) -> Result<Success, Refusal> {
    let begun = Instant::now();
    let model = match &request.model {
        Ok(model) => model.clone(),
        Err(error) => return Err(Failure::new(FailureCode::BadRequest, error.to_string()).into()),
    };
    let mut charge = predictor.admission().charge();
    charge.grow(request.image.len())?;
    let ask = Ask {
        model: Some(model),
        image: request.image.clone(),
        digest: ImageKey::of(predictor.digest_kind(), &request.image),
        lane: Lane::Interactive,
        timeout: None,
        caching: Caching::default(),
        trace: predictor.trace(request.trace.0.as_deref(), request.trace.1.as_deref()),
        tenant: Tenant::on_nats(),
        charge: Arc::new(charge),
    };
    let mut answered = predictor.predict(ask).await?;
    predictor.took(&mut answered, begun);
    let (name, version) = &answered.named;
    let success = Success::of(&answered.entry.prediction, request.top_k).named(name, version.as_ref());
    let success = match &answered.served {
        Some(served) => success.served(served),
        None => success,
    };
    Ok(Success {
        image_sha256: answered.entry.sha256.map(|sha256| sha256.to_string()),
        cache: Some(answered.source.as_str().to_owned()),
        ..success
    })
}

fn to_json(body: &impl serde::Serialize) -> Vec<u8> {
    // Plain structs of numbers and strings always serialise.
    serde_json::to_vec(body).unwrap_or_default()
}
