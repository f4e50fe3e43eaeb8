//! What the server does not let this process do. It says so beside the request, which then just times
//! out: here the two come together again.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Different violations that are said; further ones are of the same cause.
const MOST: usize = 64;

/// Said with the first one.
const CAUSE: &str = ": the user it connects as lacks the permission (nats/accounts.conf), or the inbox prefix is \
                     another role's (nats.inbox_prefix)";

/// Permission violations on this connection. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Denied(Arc<Mutex<BTreeSet<String>>>);

impl Denied {
    /// Takes a server's complaint; says once what this process may not do. Gives whether it was one
    /// about permissions.
    pub(crate) fn hear(&self, complaint: &str) -> bool {
        let Some((_, what)) = split(complaint) else { return false };
        let mut said = self.0.lock();
        let cause = if said.is_empty() { CAUSE } else { "" };
        if said.len() < MOST && said.insert(what.clone()) {
            tracing::error!("NATS does not let this process {what}{cause}");
        }
        true
    }

    /// A new connection: what the user may do may have changed.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }

    /// What was refused and concerns one of these words, for whoever waits in vain.
    pub(crate) fn about(&self, concerns: impl Fn(&str) -> bool) -> Option<String> {
        self.0.lock().iter().find(|what| concerns(what)).cloned()
    }
}

/// `Permissions Violation for Publish to "x"` as what cannot be done, in words.
fn split(complaint: &str) -> Option<(&str, String)> {
    let (head, rest) = complaint.split_once("Permissions Violation for ")?;
    let what = rest.replace("Publish to", "publish to").replace("Subscription to", "subscribe to");
    Some((head, what.trim_end_matches('\'').replace('"', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_told_apart_and_remembered() {
        let denied = Denied::default();
        assert!(denied.hear("Permissions Violation for Publish to \"jobs.m.bulk\""));
        assert!(denied.hear("Permissions Violation for Subscription to \"results.*\""));
        assert!(!denied.hear("maximum connections exceeded"));
        assert_eq!(denied.about(|what| what.contains("jobs.")).as_deref(), Some("publish to jobs.m.bulk"));
        assert_eq!(denied.about(|what| what.contains("results")).as_deref(), Some("subscribe to results.*"));
        assert_eq!(denied.about(|what| what.contains("dead")), None);
        denied.forget();
        assert_eq!(denied.about(|_| true), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let denied = Denied::default();
        (0..2 * MOST).for_each(|n| assert!(denied.hear(&format!("Permissions Violation for Publish to \"{n}\""))));
        assert_eq!(denied.0.lock().len(), MOST);
    }
}
