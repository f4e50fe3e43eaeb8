//! What supervisors on one or several hosts agree on: who runs how many workers of a model, who
//! decides, and what was decided.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{ModelName, NodeId};
use crate::presence::ModelStatus;

/// How long a supervisor that is not heard of keeps its part. Longer than a broker's change of leader,
/// shorter than a person's patience.
pub const LEASE: Duration = Duration::from_secs(10);

/// The state of one model's fleet, in one record: whoever changes it has read it before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetRecord {
    /// Who decides at the moment.
    pub leader: Option<NodeId>,
    /// Most workers that there may be.
    pub max: usize,
    /// A number of workers that a person has ordered; absent: the policy decides.
    pub fixed: Option<usize>,
    /// Every supervisor with a lease.
    pub members: BTreeMap<NodeId, Member>,
    /// The model that each worker is to keep loaded, where there are several and not all fit into each.
    pub orders: BTreeMap<NodeId, ModelName>,
}

/// One supervisor and its host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// When it was last there, Unix milliseconds by its own clock: others look only whether it changes.
    pub renewed: u64,
    /// Workers that it is to run; the leader's word.
    pub ordered: usize,
    /// Workers that take jobs.
    pub ready: usize,
    /// Ages of those that are starting, seconds.
    pub starting: Vec<f64>,
    /// Workers that finish what they hold.
    pub draining: usize,
    /// Start-up times seen since the last look, seconds.
    pub started_in: Vec<f64>,
    /// Cores of its host, or container.
    pub cores: f64,
    /// Of these, busy.
    pub busy: f64,
    /// Threads of each worker's sessions.
    pub threads: usize,
    /// Most workers that it may run.
    pub most: usize,
}

impl FleetRecord {
    /// Drops supervisors that are gone, and a leader that is none any more. `me` leads when nobody else
    /// does.
    pub fn settle(&mut self, me: &NodeId, is_there: impl Fn(&NodeId, &Member) -> bool) {
        self.members.retain(|id, member| id == me || is_there(id, member));
        if self.leader.as_ref().is_none_or(|leader| !self.members.contains_key(leader)) {
            self.leader = Some(me.clone());
        }
    }

    /// Workers ordered in all.
    pub fn ordered(&self) -> usize {
        self.members.values().map(|member| member.ordered).sum()
    }

    /// Divides `workers` between the members: nobody loses one while the sum grows, nobody gains one while
    /// it shrinks; new ones go where most cores are free for each worker, old ones go where fewest are.
    /// Gives how many found no place.
    pub fn divide(&mut self, workers: usize) -> usize {
        let spare = |member: &Member, ordered: usize| member.cores / (ordered.max(1) * member.threads.max(1)) as f64;
        while self.ordered() < workers {
            let open = self.members.values_mut().filter(|member| member.ordered < member.most);
            // By what would be left for each.
            let best = open.max_by(|a, b| spare(a, a.ordered + 1).total_cmp(&spare(b, b.ordered + 1)));
            match best {
                Some(member) => member.ordered += 1,
                None => return workers - self.ordered(),
            }
        }
        while self.ordered() > workers {
            let busy = self.members.values_mut().filter(|member| member.ordered > 0);
            if let Some(member) = busy.min_by(|a, b| spare(a, a.ordered).total_cmp(&spare(b, b.ordered))) {
                member.ordered -= 1;
            }
        }
        0
    }
}

/// A supervisor's sign of life, for gateways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// The supervisor.
    pub id: NodeId,
    /// The model.
    pub model: ModelName,
    /// Workers that it is to run.
    pub wanted: usize,
    /// Workers that all supervisors together are to run, by the record as it wrote it last.
    #[serde(default)]
    pub wanted_in_all: Option<usize>,
    /// Workers that the whole fleet would have if nothing were in the way.
    pub recommended: usize,
    /// Whether it starts a worker when a job comes, though there is none.
    pub wakes: bool,
    /// The model as its workers described it last, for gateways that have never seen one.
    pub described: Option<ModelStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(members: &[(&str, f64, usize, usize)]) -> FleetRecord {
        let member = |&(id, cores, ordered, most): &(&str, f64, usize, usize)| {
            let member = Member { cores, ordered, most, threads: 1, renewed: 1000, ..Member::default() };
            (id.parse().unwrap(), member)
        };
        FleetRecord { members: members.iter().map(member).collect(), ..FleetRecord::default() }
    }

    fn orders(record: &FleetRecord) -> Vec<usize> {
        record.members.values().map(|member| member.ordered).collect()
    }

    #[test]
    fn workers_go_where_cores_are_free_and_no_further_than_allowed() {
        let mut record = fleet(&[("a", 2.0, 1, 8), ("b", 8.0, 0, 3)]);
        assert_eq!(record.divide(4), 0);
        assert_eq!(orders(&record), [1, 3]);
        assert_eq!(record.divide(20), 9);
        assert_eq!(orders(&record), [8, 3]);
        assert_eq!(record.divide(2), 0);
        // The crowded host is relieved first.
        assert_eq!(orders(&record), [0, 2]);
    }

    #[test]
    fn a_lease_that_is_over_frees_its_workers_and_the_lead() {
        let me: NodeId = "a".parse().unwrap();
        let mut record = fleet(&[("a", 2.0, 1, 8), ("b", 8.0, 2, 8)]);
        record.leader = Some("b".parse().unwrap());
        record.settle(&me, |_, _| true);
        assert_eq!((record.members.len(), record.leader.as_ref().map(NodeId::as_str)), (2, Some("b")));
        record.settle(&me, |_, _| false);
        assert_eq!((record.members.len(), record.leader.as_ref()), (1, Some(&me)));
    }
}
