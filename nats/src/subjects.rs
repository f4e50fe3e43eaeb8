//! Every subject of the fleet, built and parsed in one place.

use shoal_shared::digest::ModelDigest;
use shoal_shared::names::{JobId, Lane, ModelName, NodeId};

/// Where jobs of a model and lane are published, and what their consumer filters on.
pub fn job(model: &ModelName, lane: Lane) -> String {
    format!("jobs.{model}.{lane}")
}

/// All that jobs of a model may be published on: a lane that does not exist is nobody's.
pub fn jobs(model: &ModelName) -> impl Iterator<Item = String> + '_ {
    Lane::ALL.into_iter().map(move |lane| job(model, lane))
}

/// A model by the subject that streams of earlier releases took its jobs on, whatever the lane.
pub fn parse_any_lane(subject: &str) -> Option<ModelName> {
    subject.strip_prefix("jobs.")?.strip_suffix(".*")?.parse().ok()
}

/// Reads a job's subject.
pub fn parse_job(subject: &str) -> Option<(ModelName, Lane)> {
    let mut tokens = subject.split('.');
    let (prefix, model, lane) = (tokens.next()?, tokens.next()?, tokens.next()?);
    if prefix != "jobs" || tokens.next().is_some() {
        return None;
    }
    Some((model.parse().ok()?, lane.parse().ok()?))
}

/// Name of the durable consumer of a model and lane.
pub fn consumer(model: &ModelName, lane: Lane) -> String {
    format!("{model}-{lane}")
}

/// Where the outcome of an asynchronous job is kept.
pub fn result(job: &JobId) -> String {
    format!("results.{job}")
}

/// Where a job that cannot be done ends.
pub fn dead(model: &ModelName, lane: Lane) -> String {
    format!("dead.{model}.{lane}")
}

/// Where a gateway awaits the outcome of one job.
pub fn reply(gateway: &NodeId, job: &JobId) -> String {
    format!("shoal.reply.{gateway}.{job}")
}

/// All of a gateway's replies.
pub fn replies(gateway: &NodeId) -> String {
    format!("shoal.reply.{gateway}.*")
}

/// Where workers ask a gateway for the key that it vouches with: among its replies, where nobody else may publish.
pub fn vouch_key(gateway: &NodeId) -> String {
    format!("shoal.reply.{gateway}.{VOUCH_KEY}")
}

/// Whether a message under a gateway's reply subjects asks for its key. No id of a job: it has a character too many.
pub fn asks_for_vouch_key(subject: &str) -> bool {
    subject.rsplit('.').next() == Some(VOUCH_KEY)
}

const VOUCH_KEY: &str = "vouch=key";

/// The job a reply subject belongs to.
pub fn parse_reply(subject: &str) -> Option<JobId> {
    subject.rsplit('.').next()?.parse().ok()
}

/// A worker's heartbeat.
pub fn heartbeat(worker: &NodeId) -> String {
    format!("shoal.worker.{worker}")
}

/// Every worker's heartbeat.
pub const HEARTBEATS: &str = "shoal.worker.*";

/// Asks every worker for a heartbeat now.
pub const ROLL_CALL: &str = "shoal.roll-call";

/// A supervisor's sign of life.
pub fn supervisor(id: &NodeId) -> String {
    format!("shoal.supervisor.{id}")
}

/// Every supervisor's sign of life.
pub const SUPERVISORS: &str = "shoal.supervisor.*";

/// Where decisions about a model's workers are published.
pub fn decision(model: &ModelName) -> String {
    format!("shoal.decision.{model}")
}

/// Every decision.
pub const DECISIONS: &str = "shoal.decision.*";

/// Tells the workers of a model that nobody waits for a job any more; the payload is its id.
pub fn cancel(model: &ModelName) -> String {
    format!("shoal.cancel.{model}")
}

/// Where a worker with a model is asked for its manifest and labels.
pub fn describe(model: &ModelName) -> String {
    format!("shoal.model.{model}")
}

/// A gateway's sign of life.
pub const GATEWAY_ALIVE: &str = "shoal.gateway.alive";

/// Where a gateway is asked for a flight of its own.
pub fn flight(gateway: &NodeId) -> String {
    format!("shoal.gateway.{gateway}.flight")
}

/// Where a gateway is asked who computes an image that is at home there.
pub fn claim(gateway: &NodeId) -> String {
    format!("shoal.gateway.{gateway}.claim")
}

/// Tells every gateway to forget cached predictions: of one model digest, or all when empty.
pub const FORGET: &str = "shoal.cache.forget";

/// Where predictions of a model are stored for everybody.
pub fn cached(model: &ModelDigest) -> String {
    format!("cache.{model}")
}

/// The model's digest, of such a subject.
pub fn parse_cached(subject: &str) -> Option<&str> {
    subject.strip_prefix("cache.")
}

/// Tells gateways and workers what has been stored there: fingerprint of the key and sequence, sixteen bytes each.
pub const CACHE_STORED: &str = "shoal.cache.stored";

/// Asks every gateway what its memory holds.
pub const CACHE_STATS: &str = "shoal.cache.stats";

/// An order to one of the load generators of a group.
pub fn load_order(group: &NodeId, agent: &NodeId, kind: &str) -> String {
    format!("shoal.load.{group}.to.{agent}.{kind}")
}

/// All orders to one of them.
pub fn load_orders(group: &NodeId, agent: &NodeId) -> String {
    format!("shoal.load.{group}.to.{agent}.*")
}

/// What a load generator tells whoever coordinates its group.
pub fn load_word(group: &NodeId, agent: &NodeId, kind: &str) -> String {
    format!("shoal.load.{group}.from.{agent}.{kind}")
}

/// What all of a group tell.
pub fn load_words(group: &NodeId) -> String {
    format!("shoal.load.{group}.from.*.*")
}

/// Who says it, and of what kind it is: the last two tokens of orders and words.
pub fn parse_load(subject: &str) -> Option<(NodeId, &str)> {
    let mut tokens = subject.rsplit('.');
    let (kind, agent) = (tokens.next()?, tokens.next()?);
    Some((agent.parse().ok()?, kind))
}

/// Front door for NATS requests; the second token names the model.
pub const PREDICT: &str = "predict.*";

/// Advisories about jobs that the broker will not deliver again.
pub const ADVISORIES: [&str; 1] = ["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.*"];

/// Subject prefixes that a job may name for its answer. Anything else could make a worker write
/// into streams, buckets or the JetStream API on a stranger's behalf.
const REPLY_PREFIXES: [&str; 3] = ["_INBOX.", "_INBOX_", "shoal.reply."];

/// Longest accepted reply subject.
const MAX_REPLY: usize = 256;

/// Whether an answer may be sent to a subject that came from outside.
pub fn may_reply_to(subject: &str) -> bool {
    let is_literal = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
    subject.len() <= MAX_REPLY
        && REPLY_PREFIXES.iter().any(|prefix| subject.starts_with(prefix))
        && subject.chars().all(is_literal)
        && subject.split('.').all(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_subject_is_read_back() {
        let model: ModelName = "resnet50".parse().unwrap();
        for lane in Lane::ALL {
            assert_eq!(parse_job(&job(&model, lane)), Some((model.clone(), lane)));
        }
        for bad in ["jobs.resnet50", "jobs.resnet50.bulk.x", "jobs.resnet50.slow", "dead.resnet50.bulk", ""] {
            assert_eq!(parse_job(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_go_to_inboxes_only() {
        assert!(may_reply_to("_INBOX.abc.1"));
        assert!(may_reply_to("_INBOX_cli.abc"));
        let job = JobId::mint();
        let mine = reply(&NodeId::mint("gateway"), &job);
        assert!(may_reply_to(&mine));
        assert_eq!(parse_reply(&mine), Some(job));
        for bad in [
            "cache.x",
            "$JS.API.STREAM.DELETE.JOBS",
            "jobs.m.bulk",
            "_INBOX.>",
            "_INBOX.a b",
            "_INBOX..",
            "_INBOX.\r\nPUB x",
        ] {
            assert!(!may_reply_to(bad), "{bad}");
        }
    }
}
