//! One request, from the moment it is due until it is written down.

mod login;
mod pending;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, Uri};

use self::pending::Pending;
use crate::board::Board;
use crate::body::Pieces;
use crate::check::Check;
use crate::client::{Connection, Destination, Trouble};
use crate::outcome::Outcome;
use crate::pool::{Pool, Shot};
use crate::scenario::{Scenario, Task, Upload};

/// What requests of one run have in common.
pub struct Engine {
    /// What was asked for.
    pub scenario: Scenario,
    /// Where everything is written down.
    pub board: Arc<Board>,
    pool: Pool,
    check: Check,
    destination: Destination,
    paths: Vec<Uri>,
    sources: AtomicUsize,
    warm_up: AtomicU64,
    /// The login that arrivals share.
    shared: tokio::sync::Mutex<Option<HeaderValue>>,
}

/// A user's connection and login.
pub struct Session {
    connection: Connection,
    token: Option<HeaderValue>,
}

/// What a request leaves to its user.
pub enum After {
    /// It ended.
    Ended,
    /// Come back after so long, with the same image.
    Refused(Duration, Option<Shot>),
    /// There was no connection.
    Lost,
}

/// Longest wait that a refusal may ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

impl Engine {
    /// Reads the images and resolves the target's name. `run` is common to all agents.
    pub async fn new(scenario: Scenario, run: u64) -> anyhow::Result<Self> {
        let destination = Destination::resolve(&scenario.target).await?;
        let pool = Pool::new(&scenario.images, run)?;
        let paths = scenario.tasks.iter().map(|task| task.path.parse()).collect::<Result<_, _>>()?;
        Ok(Self {
            board: Arc::new(Board::new(scenario.names().len())),
            check: Check::new(&pool),
            pool,
            destination,
            paths,
            sources: AtomicUsize::new(0),
            warm_up: AtomicU64::new(0),
            shared: tokio::sync::Mutex::new(None),
            scenario,
        })
    }

    /// A connection of its own, from the next source address.
    pub fn session(&self) -> Session {
        let sources = &self.scenario.target.sources;
        let next = self.sources.fetch_add(1, Ordering::Relaxed);
        let source = (!sources.is_empty()).then(|| sources[next % sources.len()]);
        Session { connection: Connection::new(source), token: None }
    }

    /// A task, drawn by weight.
    pub fn draw(&self) -> usize {
        let tasks = &self.scenario.tasks;
        let mut left = fastrand::u32(..tasks.iter().map(|task| task.weight).sum::<u32>().max(1));
        let found = tasks.iter().position(|task| {
            let here = left < task.weight;
            left = left.saturating_sub(task.weight);
            here
        });
        found.unwrap_or(0)
    }

    /// Logs in once where that is needed, and asks for every image once, so that what the right
    /// labels are does not depend on the first answers under load. Nothing of it is counted.
    pub async fn warm_up(&self) -> anyhow::Result<u64> {
        let mut session = self.session();
        if self.scenario.target.login.is_some() {
            let token = self
                .ask_for_token(&mut session)
                .await
                .map_err(|outcome| anyhow::anyhow!("{}: login: {}", self.scenario.target.url, outcome.title()))?;
            *self.shared.lock().await = Some(token.clone());
            session.token = Some(token);
        }
        let checked = self.scenario.tasks.iter().position(|task| task.is_checked() && task.weight > 0);
        let Some(task) = checked else { return Ok(0) };
        for image in 0..self.pool.len() {
            let shot = self.pool.fresh_of(image);
            let request = self.request(task, Some(&shot), session.token.as_ref());
            self.warm_up.fetch_add(1, Ordering::Relaxed);
            match session.connection.exchange(&self.destination, request).await {
                Ok(answer) => drop(self.judge(task, Some(&shot), &answer)),
                Err(Trouble::Theirs(Outcome::Unreachable)) => {
                    bail!("{}: nobody accepts a connection", self.scenario.target.url)
                }
                // Whatever else is wrong shows, counted, under load.
                Err(_) => {}
            }
        }
        Ok(self.warm_up.load(Ordering::Relaxed))
    }

    /// One request of a user that is due at `due`.
    pub async fn perform(&self, session: &mut Session, task: usize, due: Instant, again: Option<Shot>) -> After {
        let kind = &self.scenario.tasks[task];
        let shot = kind.upload.and_then(|_| again.or_else(|| Some(self.pool.draw())));
        let request = self.request(task, shot.as_ref(), session.token.as_ref());
        let guard = Pending::new(self.board.clone(), task, due);
        match session.connection.exchange(&self.destination, request).await {
            Ok(answer) => {
                let outcome = self.judge(task, shot.as_ref(), &answer);
                let cache = answer.headers().get("x-cache").and_then(|value| value.to_str().ok());
                guard.end(outcome, answer.body().len(), cache.map(str::to_owned));
                match outcome {
                    Outcome::Refused => return After::Refused(retry_after(&answer), shot),
                    // It has run out; the next request asks for another one.
                    Outcome::Status(401) if kind.token => session.token = None,
                    _ => {}
                }
                After::Ended
            }
            Err(trouble) => {
                guard.trouble(trouble);
                After::Lost
            }
        }
    }

    fn request(&self, task: usize, shot: Option<&Shot>, token: Option<&HeaderValue>) -> Request<Pieces> {
        let kind: &Task = &self.scenario.tasks[task];
        let body = match (kind.upload, shot) {
            (Some(Upload::Raw), Some(shot)) => Pieces::whole(shot.body.clone()),
            (Some(Upload::Multipart), Some(shot)) => Pieces::form(shot.body.clone(), shot.content_type),
            _ => Pieces::empty(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = match kind.method() {
            crate::scenario::Method::Get => hyper::Method::GET,
            crate::scenario::Method::Post => hyper::Method::POST,
        };
        *request.uri_mut() = self.paths[task].clone();
        if let Some(shot) = shot {
            let content_type = match kind.upload {
                Some(Upload::Multipart) => HeaderValue::try_from(Pieces::form_type()).ok(),
                _ => Some(HeaderValue::from_static(shot.content_type)),
            };
            content_type.map(|value| request.headers_mut().insert(CONTENT_TYPE, value));
        }
        if let Some(token) = token.filter(|_| kind.token) {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        request
    }

    fn judge(&self, task: usize, shot: Option<&Shot>, answer: &Response<Bytes>) -> Outcome {
        let outcome = outcome(answer);
        let checked = self.scenario.tasks[task].is_checked() && answer.status() != 304;
        match shot {
            Some(shot) if checked && outcome == Outcome::Answered => {
                if self.check.is_right(shot.image, answer.body()) {
                    outcome
                } else {
                    Outcome::Wrong
                }
            }
            _ => outcome,
        }
    }
}

fn outcome<B>(answer: &Response<B>) -> Outcome {
    let status = answer.status().as_u16();
    match status {
        200..=299 | 304 => Outcome::Answered,
        429 | 503 if answer.headers().contains_key(RETRY_AFTER) => Outcome::Refused,
        _ => Outcome::Status(status),
    }
}

fn retry_after<B>(answer: &Response<B>) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1)).min(LONGEST_RETRY)
}
