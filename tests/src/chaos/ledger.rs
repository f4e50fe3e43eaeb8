//! Accepted = predictions + errors + expired + cancelled + dead; none missing, none with two answers.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;
use serde_json::Value;

/// How a job was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `POST /predict`: the gateway holds the request until the answer.
    Sync,
    /// `POST /jobs`: the gateway said 202.
    Async,
    /// Published to JetStream, which acknowledged.
    Published,
}

/// An outcome, as far as two of them can contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// A prediction and its class.
    Prediction(String),
    /// A typed error and its code.
    Error(String),
    /// The deadline passed first.
    Expired,
    /// Cancelled first.
    Cancelled,
    /// Given up after its attempts.
    Dead,
}

impl Face {
    /// Reads an answer.
    pub fn of(answer: &Value) -> Option<Self> {
        if let Some(prediction) = answer["prediction"].as_str() {
            return Some(Self::Prediction(prediction.to_owned()));
        }
        Some(match answer["error"]["code"].as_str()? {
            "deadline_exceeded" => Self::Expired,
            "cancelled" => Self::Cancelled,
            "dead_lettered" => Self::Dead,
            code => Self::Error(code.to_owned()),
        })
    }
}

/// An accepted job.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How it was handed over.
    pub kind: Kind,
    /// Its id; a held request has none.
    pub id: Option<String>,
    /// The only class that a prediction may name; none where every prediction is wrong.
    pub expected: Option<String>,
    /// Every outcome that anybody was shown, each once.
    pub faces: Vec<Face>,
}

/// Everything that was asked.
#[derive(Default)]
pub struct Ledger {
    entries: Mutex<Vec<Entry>>,
    refused: Mutex<BTreeMap<String, u64>>,
}

impl Ledger {
    /// A job was accepted; gives its place.
    pub fn accept(&self, entry: Entry) -> usize {
        let mut entries = self.entries.lock();
        entries.push(entry);
        entries.len() - 1
    }

    /// A job was not accepted, and its client was told so.
    pub fn refuse(&self, how: &str) {
        *self.refused.lock().entry(how.to_owned()).or_default() += 1;
    }

    /// Somebody was shown an outcome.
    pub fn show(&self, place: usize, face: Face) {
        let faces = &mut self.entries.lock()[place].faces;
        if !faces.contains(&face) {
            faces.push(face);
        }
    }

    /// Accepted jobs.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether nothing was accepted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the entries.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }

    /// The account.
    pub fn balance(&self) -> Balance {
        let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
        let mut faults = Vec::new();
        for entry in self.entries.lock().iter() {
            rows.entry(entry.kind).or_default().add(entry);
            if !matches!(entry.faces.as_slice(), [face] if is_right(face, entry)) {
                faults.push(entry.clone());
            }
        }
        let mut errors = BTreeMap::new();
        for entry in self.entries.lock().iter() {
            if let [Face::Error(code)] = entry.faces.as_slice() {
                *errors.entry(code.clone()).or_default() += 1;
            }
        }
        Balance { rows, errors, refused: self.refused.lock().clone(), faults }
    }
}

fn is_right(face: &Face, entry: &Entry) -> bool {
    !matches!(face, Face::Prediction(class) if Some(class) != entry.expected.as_ref())
}

#[derive(Default)]
struct Row {
    accepted: u64,
    predictions: u64,
    errors: u64,
    expired: u64,
    cancelled: u64,
    dead: u64,
    missing: u64,
    contradictory: u64,
    wrong: u64,
}

impl Row {
    fn add(&mut self, entry: &Entry) {
        self.accepted += 1;
        let column = match entry.faces.as_slice() {
            [] => &mut self.missing,
            [face] if !is_right(face, entry) => &mut self.wrong,
            [Face::Prediction(_)] => &mut self.predictions,
            [Face::Error(_)] => &mut self.errors,
            [Face::Expired] => &mut self.expired,
            [Face::Cancelled] => &mut self.cancelled,
            [Face::Dead] => &mut self.dead,
            _ => &mut self.contradictory,
        };
        *column += 1;
    }
}

/// What was accepted and what became of it.
pub struct Balance {
    rows: BTreeMap<Kind, Row>,
    errors: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    /// Jobs that are missing, contradictory or wrong.
    pub faults: Vec<Entry>,
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads =
            ["accepted", "prediction", "error", "expired", "cancelled", "dead", "missing", "two faces", "wrong"];
        write!(f, "{:<10}", "")?;
        heads.iter().try_for_each(|head| write!(f, "{head:>11}"))?;
        for (kind, row) in &self.rows {
            write!(f, "\n{:<10}", format!("{kind:?}").to_lowercase())?;
            let Row { accepted, predictions, errors, expired, cancelled, dead, missing, contradictory, wrong } = row;
            let cells = [accepted, predictions, errors, expired, cancelled, dead, missing, contradictory, wrong];
            cells.iter().try_for_each(|cell| write!(f, "{cell:>11}"))?;
        }
        write!(f, "\nerrors:")?;
        self.errors.iter().try_for_each(|(code, count)| write!(f, " {code} {count};"))?;
        write!(f, "\nnot accepted, and said so:")?;
        self.refused.iter().try_for_each(|(how, count)| write!(f, " {how} {count};"))
    }
}
