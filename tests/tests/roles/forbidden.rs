//! What each role must not do.

#[derive(Debug, Clone, Copy)]
pub(crate) enum Attempt {
    Publish(&'static str),
    Subscribe(&'static str),
}

use Attempt::{Publish, Subscribe};

/// Roles with their inbox prefix, and subjects that they must not reach.
pub(crate) const FORBIDDEN: [(&str, &str, &[Attempt]); 5] = [
    (
        "gateway",
        "_INBOX_gateway",
        &[
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.digits-bulk"),
            Publish("$JS.ACK.JOBS.digits-bulk.1.1.1.1.0"),
            Publish("$JS.API.STREAM.CREATE.MINE"),
            Publish("$JS.API.STREAM.DELETE.JOBS"),
            Publish("$JS.API.STREAM.PURGE.JOBS"),
            Publish("$KV.shoal_fleet.digits"),
            Publish("shoal.worker.forged"),
            Publish("cache.forged"),
            Publish("shoal.cache.stored"),
            Subscribe("jobs.>"),
            Subscribe("_INBOX.submitter.>"),
            Subscribe("_INBOX_operator.>"),
        ],
    ),
    (
        "worker",
        "_INBOX_worker",
        &[
            Publish("jobs.digits.bulk"),
            Publish("predict.digits"),
            Publish("$JS.API.STREAM.DELETE.JOBS"),
            Publish("$JS.API.STREAM.MSG.DELETE.JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.mine"),
            Publish("$JS.API.STREAM.MSG.GET.DEAD"),
            Publish("$KV.shoal_jobs.forged"),
            Publish("shoal.cache.forget"),
            Publish("_INBOX_gateway.forged"),
            Subscribe("jobs.>"),
            Subscribe("results.>"),
            Subscribe("predict.*"),
            Subscribe("shoal.reply.>"),
        ],
    ),
    (
        "operator",
        "_INBOX_operator",
        &[
            Publish("results.forged"),
            Publish("shoal.reply.forged"),
            Publish("shoal.worker.forged"),
            Publish("cache.forged"),
            Publish("shoal.cache.stored"),
            Publish("$JS.ACK.JOBS.digits-bulk.1.1.1.1.0"),
            Subscribe("_INBOX_gateway.>"),
            Subscribe("shoal.reply.>"),
        ],
    ),
    (
        "exporter",
        "_INBOX_exporter",
        &[
            Publish("jobs.digits.bulk"),
            Publish("predict.digits"),
            Publish("$JS.API.STREAM.MSG.GET.JOBS"),
            Publish("$JS.API.DIRECT.GET.RESULTS.results.1"),
            Publish("$JS.API.STREAM.PURGE.JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.RESULTS.mine"),
            Subscribe("results.>"),
            Subscribe(">"),
        ],
    ),
    (
        "submitter",
        "_INBOX.submitter",
        &[
            Publish("results.forged"),
            Publish("dead.digits.bulk"),
            Publish("shoal.cache.forget"),
            Publish("shoal.reply.forged"),
            Publish("cache.forged"),
            Publish("shoal.cache.stored"),
            Publish("$JS.API.STREAM.MSG.GET.RESULTS"),
            Publish("$JS.API.DIRECT.GET.RESULTS.results.1"),
            Publish("$JS.API.CONSUMER.CREATE.RESULTS.mine"),
            Publish("$JS.API.STREAM.INFO.JOBS"),
            Subscribe("results.>"),
            Subscribe("jobs.>"),
            Subscribe("_INBOX.another.>"),
            Subscribe("_INBOX.>"),
            Subscribe("_INBOX_gateway.>"),
            Subscribe("shoal.>"),
        ],
    ),
];
