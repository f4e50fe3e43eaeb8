//! Accounts: `POST /login`, `/user`, `/user/{id}`, `/keys`, and who one is (`/api/session`).

use std::sync::Arc;

use serde::Serialize;
use shoal_shared::failure::{Failure, FailureCode};
use warp::Filter;
use warp::http::{HeaderMap, StatusCode, header};
use warp::reply::Response;

use super::server::Peer;
use super::{Front, Route, any_of, body, error, json, with};
use crate::accounts::config::{AuthMode, Registration};
use crate::accounts::user::{NewUser, UserView};
use crate::accounts::{Caller, NewKey};
use crate::admission::Refusal;

/// Every route of accounts.
pub(super) fn routes(front: &Front) -> Route {
    let who = warp::ext::get::<Arc<Caller>>;
    let login = warp::path!("login")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .and(with(front.clone()))
        .then(|headers: HeaderMap, peer: Option<Peer>, body, front: Front| async move {
            let fields = body::form(content_type(&headers), body).await;
            observed("/login", &front, login(fields, peer, &front)).await
        });
    let register =
        warp::path!("user").and(warp::post()).and(who()).and(warp::body::stream()).and(with(front.clone())).then(
            |caller: Arc<Caller>, body, front: Front| async move {
                let new = body::json::<NewUser, _, _>(body).await;
                let registered = async { front.accounts.register(new?, &caller).await };
                observed("/user", &front, answered(StatusCode::CREATED, registered)).await
            },
        );
    let list = warp::path!("user").and(warp::get()).and(who()).and(with(front.clone())).then(
        |caller: Arc<Caller>, front: Front| async move {
            observed("/user", &front, answered(StatusCode::OK, front.accounts.list(&caller))).await
        },
    );
    let find = warp::path!("user" / String).and(warp::get()).and(who()).and(with(front.clone())).then(
        |id: String, caller: Arc<Caller>, front: Front| async move {
            let found = async { front.accounts.find(number(&id, &caller)?, &caller).await };
            observed("/user/{id}", &front, answered(StatusCode::OK, found)).await
        },
    );
    let delete = warp::path!("user" / String).and(warp::delete()).and(who()).and(with(front.clone())).then(
        |id: String, caller: Arc<Caller>, front: Front| async move {
            let deleted = async { front.accounts.delete(number(&id, &caller)?, &caller).await };
            observed("/user/{id}", &front, gone(deleted)).await
        },
    );
    let session =
        warp::path!("api" / "session").and(warp::get()).and(who()).and(with(front.clone())).then(
            |caller: Arc<Caller>, front: Front| async move { json(StatusCode::OK, &session(&caller, &front).await) },
        );
    any_of([login.boxed(), register.boxed(), list.boxed(), find.boxed(), delete.boxed(), session.boxed(), keys(front)])
}

fn keys(front: &Front) -> Route {
    let who = warp::ext::get::<Arc<Caller>>;
    let make =
        warp::path!("keys").and(warp::post()).and(who()).and(warp::body::stream()).and(with(front.clone())).then(
            |caller: Arc<Caller>, body, front: Front| async move {
                let new = body::json::<NewKey, _, _>(body).await;
                let made = async { front.accounts.make_key(new?, &caller).await };
                observed("/keys", &front, answered(StatusCode::CREATED, made)).await
            },
        );
    let list = warp::path!("keys").and(warp::get()).and(who()).and(with(front.clone())).then(
        |caller: Arc<Caller>, front: Front| async move {
            observed("/keys", &front, answered(StatusCode::OK, front.accounts.keys(&caller))).await
        },
    );
    let delete = warp::path!("keys" / String).and(warp::delete()).and(who()).and(with(front.clone())).then(
        |id: String, caller: Arc<Caller>, front: Front| async move {
            observed("/keys/{id}", &front, gone(front.accounts.drop_key(&id, &caller))).await
        },
    );
    any_of([make.boxed(), list.boxed(), delete.boxed()])
}

#[derive(Serialize)]
struct Token {
    access_token: String,
    token_type: &'static str,
}

async fn login(
    fields: Result<std::collections::HashMap<String, String>, Failure>,
    peer: Option<Peer>,
    front: &Front,
) -> Response {
    let token = async {
        let mut fields = fields?;
        let mut field = |name: &str| {
            let missing = || Failure::new(FailureCode::Invalid, format!("the form field `{name}` is missing"));
            fields.remove(name).filter(|value| !value.is_empty()).ok_or_else(missing)
        };
        let (email, password) = (field("username")?, field("password")?);
        front.accounts.login(&email, password, peer.map(|Peer(address)| address)).await
    };
    match token.await {
        Ok(access_token) => json(StatusCode::OK, &Token { access_token, token_type: "bearer" }),
        Err(Refusal { failure, .. })
            if failure.code == FailureCode::Unauthorized && front.accounts.login_not_found() =>
        {
            error::response(&Failure::new(FailureCode::NotFound, failure.message))
        }
        Err(refusal) => error::refused(&refusal),
    }
}

/// What the page needs to know before it shows anything.
#[derive(Serialize)]
struct Session {
    auth: AuthMode,
    registration: Registration,
    signed_in: bool,
    account: Option<UserView>,
    /// Whether uploads are kept for display.
    retention: bool,
}

async fn session(caller: &Caller, front: &Front) -> Session {
    let rules = front.accounts.rules();
    let account = match caller.user {
        Some(id) => front.accounts.find(id, caller).await.ok(),
        None => None,
    };
    let retention = front.predictor.config().keep_images;
    Session { auth: rules.mode, registration: rules.registration, signed_in: caller.is_known(), account, retention }
}

/// An account's number; `me` is the caller's own.
fn number(id: &str, caller: &Caller) -> Result<u64, Failure> {
    match id {
        "me" => caller.account(),
        _ => {
            // Whoever may not know the account learns nothing of the number either.
            caller.account()?;
            id.parse().map_err(|_| {
                Failure::new(FailureCode::Invalid, format!("`id` is {id:?}: it must be a number, or `me`"))
            })
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

pub(super) async fn answered<T: Serialize>(
    status: StatusCode,
    outcome: impl Future<Output = Result<T, Failure>>,
) -> Response {
    match outcome.await {
        Ok(body) => json(status, &body),
        Err(failure) => error::refused(&failure.into()),
    }
}

async fn gone(outcome: impl Future<Output = Result<(), Failure>>) -> Response {
    match outcome.await {
        Ok(()) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(failure) => error::refused(&failure.into()),
    }
}

async fn observed(route: &'static str, front: &Front, answer: impl Future<Output = Response>) -> Response {
    super::observed(&front.predictor, route, None, answer).await
}
