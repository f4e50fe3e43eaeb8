//! Logging in: once for each user, or once for all arrivals.

use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;

use super::pending::Pending;
use super::{Engine, Session, outcome};
use crate::body::Pieces;
use crate::client::Trouble;
use crate::outcome::Outcome;

#[derive(Deserialize)]
struct Grant {
    access_token: String,
}

impl Engine {
    /// Gets a user a token if it has none and tasks need one; `false` when the login failed.
    /// Counted under its own name.
    pub async fn login(&self, session: &mut Session) -> bool {
        if session.token.is_some() || self.scenario.target.login.is_none() {
            return true;
        }
        let guard = Pending::new(self.board.clone(), self.scenario.tasks.len(), Instant::now());
        match self.ask_for_token(session).await {
            Ok(token) => {
                session.token = Some(token);
                self.board.logins.fetch_add(1, Ordering::Relaxed);
                guard.end(Outcome::Answered, 0, None);
                true
            }
            Err(outcome) => {
                guard.end(outcome, 0, None);
                false
            }
        }
    }

    /// Gives an arrival the login that all share, and renews it where it has run out.
    pub async fn share_login(&self, session: &mut Session) {
        if session.token.is_some() || self.scenario.target.login.is_none() {
            return;
        }
        let mut shared = self.shared.lock().await;
        match shared.take() {
            Some(token) => session.token = Some(token),
            None => drop(self.login(session).await),
        }
        *shared = session.token.clone();
    }

    /// Forgets the shared login, because it was refused.
    pub async fn forget_login(&self, session: &Session) {
        if session.token.is_none() && self.scenario.target.login.is_some() {
            *self.shared.lock().await = None;
        }
    }

    pub(super) async fn ask_for_token(&self, session: &mut Session) -> Result<HeaderValue, Outcome> {
        let Some(login) = &self.scenario.target.login else { return Err(Outcome::Unfinished) };
        let form = format!(
            "grant_type=&scope=&client_id=&client_secret=&username={}&password={}",
            escape(&login.username),
            escape(&login.password)
        );
        let mut request = Request::new(Pieces::whole([form.into(), Bytes::new()]));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = login.path.parse().map_err(|_| Outcome::Status(404))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let answer =
            session.connection.exchange(&self.destination, request).await.map_err(|trouble| match trouble {
                Trouble::Theirs(outcome) => outcome,
                Trouble::Ours => Outcome::Unreachable,
            })?;
        let outcome = outcome(&answer);
        if outcome != Outcome::Answered {
            return Err(outcome);
        }
        let grant: Grant = serde_json::from_slice(answer.body()).map_err(|_| Outcome::Wrong)?;
        HeaderValue::try_from(format!("Bearer {}", grant.access_token)).map_err(|_| Outcome::Wrong)
    }
}

/// For a form: everything but letters and digits as %XX.
fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
