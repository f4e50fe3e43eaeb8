//! Calls about jobs: made once their outcome is known, signed, tried again for hours, and never to
//! an address inside.

mod address;
mod signature;

use std::net::IpAddr;
use std::time::Duration;

use shoal_nats::webhooks::{Call, Calls, Taken};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::process::shutdown::Shutdown;
use tokio::sync::Semaphore;

use crate::accounts::Accounts;
use crate::jobs::{JobState, JobView};
use crate::predict::Predictor;
use address::PublicOnly;

/// Outcomes that can be told.
pub const EVENTS: [&str; 4] = ["done", "failed", "expired", "cancelled"];

/// Longest address.
const MAX_URL: usize = 2000;
/// Calls that one gateway has in hand, of those that wait and of those that are due.
const IN_HAND: usize = 32;
/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a job's outcome is waited for before the call makes room for others.
const LOOK: Duration = Duration::from_secs(2);
/// Pause before the next look.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// Pauses after a failed call; after the last one it is given up.
const PAUSES: [Duration; 8] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(3 * 3600),
    Duration::from_secs(6 * 3600),
];

/// Whether an address may be called, so far as it can be told without asking for its name.
pub fn check(url: &str, private: bool) -> Result<(), Failure> {
    let invalid = |message: &str| Err(Failure::new(FailureCode::Invalid, format!("`webhook`: {message}")));
    if url.len() > MAX_URL {
        return invalid("the address is too long");
    }
    let Ok(parsed) = reqwest::Url::parse(url) else { return invalid("this is no address") };
    if parsed.scheme() != "https" && !(private && parsed.scheme() == "http") {
        return invalid("the address must begin with https://");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return invalid("the address must hold no credentials");
    }
    let Some(host) = parsed.host_str() else { return invalid("the address has no host") };
    // A literal address is never looked up, so it is judged here.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_local = matches!(host.trim_end_matches('.').rsplit('.').next(), Some("localhost"));
    if !private && (is_local || literal.is_ok_and(|address| !address::is_public(address))) {
        return invalid("the address is not a public one");
    }
    Ok(())
}

/// Makes calls. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    predictor: Predictor,
    accounts: Accounts,
    client: reqwest::Client,
    private: bool,
}

impl Webhooks {
    /// With a client that follows no redirects and looks up public addresses only.
    pub fn new(predictor: Predictor, accounts: Accounts) -> anyhow::Result<Self> {
        let private = predictor.config().webhooks_to_private_addresses;
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")));
        let client = if private { client } else { client.dns_resolver(PublicOnly) };
        Ok(Self { predictor, accounts, client: client.build()?, private })
    }

    /// Follows the calls in both states until shutdown is ordered.
    pub async fn run(self, shutdown: Shutdown) {
        let (waiting, due) = (self.clone(), self);
        let stop = shutdown.clone();
        tokio::join!(
            waiting.follow("waiting", stop, |hooks, taken| async move { hooks.wait_for(taken).await }),
            due.follow("due", shutdown, |hooks, taken| async move { hooks.deliver(taken).await }),
        );
    }

    async fn follow<F, R>(&self, state: &str, shutdown: Shutdown, handle: F)
    where
        F: Fn(Webhooks, Taken) -> R,
        R: Future<Output = ()> + Send + 'static,
    {
        let mut calls = tokio::select! {
            calls = self.attach(state) => calls,
            () = shutdown.ordered() => return,
        };
        let places = std::sync::Arc::new(Semaphore::new(IN_HAND));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let taken = tokio::select! {
                taken = calls.next() => taken,
                // What is in hand comes again, to another gateway.
                () = shutdown.ordered() => return,
            };
            let work = handle(self.clone(), taken);
            tokio::spawn(async move {
                work.await;
                drop(place);
            });
        }
    }

    async fn attach(&self, state: &str) -> Calls {
        loop {
            match self.predictor.bus().calls(state).await {
                Ok(calls) => return calls,
                Err(error) => tracing::debug!(%error, "webhooks are not followed yet"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Passes a call on when its job has an outcome that is to be told.
    async fn wait_for(&self, taken: Taken) {
        let Call { job, owner, .. } = &taken.call;
        match self.predictor.job(owner, job, LOOK).await {
            Ok(view) if view.state == JobState::Accepted => taken.later(LOOK_AGAIN).await,
            Ok(view) if !wants(&taken.call, view.state) => taken.done().await,
            Ok(_) => match self.predictor.bus().call_is_due(&taken.call).await {
                Ok(()) => taken.done().await,
                Err(_) => taken.later(LOOK_AGAIN).await,
            },
            // Older than anything that is kept.
            Err(failure) if failure.code == FailureCode::NotFound => taken.done().await,
            Err(_) => taken.later(LOOK_AGAIN).await,
        }
    }

    async fn deliver(&self, taken: Taken) {
        let metrics = &self.predictor.metrics().webhooks;
        let outcome = match self.predictor.job(&taken.call.owner, &taken.call.job, Duration::ZERO).await {
            Ok(view) => self.call(&taken.call, &view).await,
            Err(failure) if failure.code == FailureCode::NotFound => return taken.done().await,
            Err(failure) => Err(Failed::Passing(failure.to_string())),
        };
        let pause = PAUSES.get(taken.attempt.saturating_sub(1) as usize).copied();
        match (outcome, pause) {
            (Ok(()), _) => {
                metrics.with_label_values(&["delivered"]).inc();
                taken.done().await;
            }
            (Err(Failed::Passing(reason)), Some(pause)) => {
                metrics.with_label_values(&["retried"]).inc();
                tracing::info!(job = %taken.call.job, attempt = taken.attempt, reason, ?pause, "webhook not delivered");
                taken.later(pause).await;
            }
            (Err(Failed::Passing(reason) | Failed::Final(reason)), _) => {
                metrics.with_label_values(&["given_up"]).inc();
                tracing::warn!(job = %taken.call.job, attempt = taken.attempt, reason, "webhook given up");
                taken.done().await;
            }
        }
    }

    async fn call(&self, call: &Call, view: &JobView) -> Result<(), Failed> {
        check(&call.url, self.private).map_err(|failure| Failed::Final(failure.to_string()))?;
        let secret = self.accounts.webhook_secret(&call.owner).await;
        let secret = secret.map_err(|failure| Failed::Passing(failure.to_string()))?;
        let body = serde_json::json!({ "type": format!("job.{}", view.state.as_str()), "data": view }).to_string();
        let signed = signature::sign(&secret, call.job.as_str(), &body);
        let mut request = self.client.post(&call.url).header("content-type", "application/json");
        for (name, value) in signed {
            request = request.header(name, value);
        }
        if let Some(traceparent) = &call.traceparent {
            request = request.header("traceparent", traceparent);
        }
        let passing = |error: reqwest::Error| Failed::Passing(error.without_url().to_string());
        let answer = request.body(body).send().await.map_err(passing)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            reqwest::StatusCode::GONE => Err(Failed::Final("the receiver is gone for good (410)".into())),
            status => Err(Failed::Passing(format!("the receiver answered {status}"))),
        }
    }
}

enum Failed {
    /// May work later.
    Passing(String),
    /// Will not.
    Final(String),
}

fn wants(call: &Call, state: JobState) -> bool {
    call.events.is_empty() || call.events.iter().any(|event| event == state.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_addresses_are_refused_before_anybody_calls() {
        for url in [
            "https://127.0.0.1/",
            "https://localhost/",
            "https://a.LOCALHOST./",
            "https://[::1]/",
            "https://10.0.0.8/x",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:192.168.0.1]/",
            "http://example.com/",
            "ftp://example.com/",
            "https://u:p@example.com/",
            "x",
        ] {
            assert!(check(url, false).is_err(), "{url}");
        }
        assert!(check("https://example.com/hook?x=1", false).is_ok());
        assert!(check("http://127.0.0.1:9/", true).is_ok());
    }
}
