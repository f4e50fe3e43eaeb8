//! Jobs that came back are worked on one at a time, each attempt written down before it begins. So
//! when the worker dies, the record of the job that killed it grows, and no other's.

use shoal_nats::attempts::{Attempts, Record};
use shoal_shared::names::NodeId;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use super::lanes::Lanes;
use super::{Finished, FinishedSender, Held, Verdict};

/// The stage beside the lanes that every redelivered job goes through.
pub struct Quarantine {
    /// Where attempts are written down.
    pub attempts: Attempts,
    /// This worker.
    pub worker: NodeId,
    /// Attempts after which a job is given up.
    pub max_attempts: u32,
    /// Jobs that may be tried go on here.
    pub lanes: Arc<Lanes<Held>>,
    /// Jobs that may not end here.
    pub finished: FinishedSender,
}

/// Held by the job that is in quarantine; dropped with it, the next one is let in.
pub struct Pass {
    _done: oneshot::Sender<()>,
}

impl Quarantine {
    /// Lets jobs through, one after the other, until intake has ended.
    pub async fn run(self, mut suspects: mpsc::UnboundedReceiver<Held>) {
        while let Some(suspect) = suspects.recv().await {
            if let Some(done) = self.admit(suspect).await {
                let _ = done.await;
            }
        }
        self.lanes.close();
    }

    /// Gives what ends when the job does; `None` when it ends here.
    async fn admit(&self, mut held: Held) -> Option<oneshot::Receiver<()>> {
        let sequence = held.delivery.sequence;
        let record = match self.attempts.read(sequence).await {
            // A first delivery writes nothing down unless it fails: it counts as one attempt.
            Ok(record) => record.unwrap_or_else(|| Record { attempts: 1, ..Record::default() }),
            Err(error) => return self.end(held, Verdict::Returned(error.to_string())),
        };
        if record.attempts >= self.max_attempts {
            let reason = record.reason.unwrap_or_else(|| "its worker died while it worked on this job".into());
            return self.end(held, Verdict::Exhausted { reason, attempts: record.attempts, worker: record.worker });
        }
        let begun = Record { attempts: record.attempts + 1, worker: self.worker.to_string(), reason: None };
        if let Err(error) = self.attempts.write(sequence, &begun).await {
            return self.end(held, Verdict::Returned(error.to_string()));
        }
        held.attempts = begun.attempts;
        held.earlier = Some(record);
        let (pass, done) = oneshot::channel();
        held.pass = Some(Pass { _done: pass });
        self.lanes.push(held);
        Some(done)
    }

    fn end(&self, held: Held, verdict: Verdict) -> Option<oneshot::Receiver<()>> {
        let _ = self.finished.send(vec![Finished { held, verdict, batch: 0 }]);
        None
    }
}
