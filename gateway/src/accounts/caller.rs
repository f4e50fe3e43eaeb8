//! Who asks, and what they may do.

use serde::{Deserialize, Serialize};
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Owner;

/// What a key may be used for. A token may be used for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Predictions and jobs.
    Predict,
    /// Feedback.
    Feedback,
    /// Accounts and keys.
    Account,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Scope::Predict, Scope::Feedback, Scope::Account];

    /// The word in requests and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Predict => "predict",
            Scope::Feedback => "feedback",
            Scope::Account => "account",
        }
    }
}

/// Who asks. Cheap to clone behind an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose jobs, feedback and images these are.
    pub owner: Owner,
    /// The account, for those who have one here.
    pub user: Option<u64>,
    /// Name among tenants and rates; `None` for somebody without credentials.
    pub name: Option<String>,
    /// Whether it may look after others.
    pub admin: bool,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Rate and quota of its key.
    pub allowance: Allowance,
}

/// How much may be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// Requests a minute; absent: what the configuration says.
    pub requests_per_minute: Option<u32>,
    /// Requests a day (UTC), all gateways together; absent: unlimited.
    pub requests_per_day: Option<u64>,
}

impl Caller {
    /// Somebody without credentials.
    pub fn anonymous() -> Self {
        Self {
            owner: Owner::public(),
            user: None,
            name: None,
            admin: false,
            scopes: Scope::ALL.to_vec(),
            allowance: Allowance::default(),
        }
    }

    /// Whether credentials were sent, and right.
    pub fn is_known(&self) -> bool {
        self.name.is_some()
    }

    /// Its account.
    pub fn account(&self) -> Result<u64, Failure> {
        match (self.user, self.is_known()) {
            (Some(user), _) => Ok(user),
            (None, true) => Err(Failure::new(FailureCode::Forbidden, "these credentials belong to no account here")),
            (None, false) => Err(unauthorized()),
        }
    }

    /// Whether its key was made for this.
    pub fn may(&self, scope: Scope) -> Result<(), Failure> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let message = format!("this key is not for {}: it lacks the scope `{}`", scope.as_str(), scope.as_str());
        Err(Failure::new(FailureCode::Forbidden, message))
    }
}

/// Credentials are needed.
pub fn unauthorized() -> Failure {
    let message =
        "credentials are missing or wrong: send a token of POST /login or an API key as `Authorization: Bearer …`";
    Failure::new(FailureCode::Unauthorized, message)
}
