//! An account, as it is kept and as it is shown.

use email_address::EmailAddress;
use serde::{Deserialize, Serialize};
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::{Failure, FailureCode};

use super::password::MAX_PASSWORD;

/// Fewest and most characters of a name.
const NAME: std::ops::RangeInclusive<usize> = 2..=50;
/// Longest address.
const MAX_EMAIL: usize = 254;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its number.
    pub id: u64,
    /// Name for people.
    pub name: String,
    /// Address, as it was given.
    pub email: String,
    /// Hash of the password, a PHC string.
    pub password: String,
    /// Whether it may look after others.
    pub admin: bool,
    /// When it was created, Unix seconds.
    pub created: u64,
}

/// An account as shown: never with its password's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserView {
    /// Its number.
    pub id: u64,
    /// Name for people.
    pub name: String,
    /// Address.
    pub email: String,
    /// Whether it may look after others.
    pub admin: bool,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self { id: user.id, name: user.name.clone(), email: user.email.clone(), admin: user.admin }
    }
}

/// What a new account is made of.
#[derive(Debug, Clone, Deserialize)]
pub struct NewUser {
    /// Name for people, 2 to 50 characters.
    pub name: String,
    /// Address, unique.
    pub email: String,
    /// Password.
    pub password: String,
}

impl NewUser {
    /// What is wrong with it, if something is.
    pub(super) fn check(&self, min_password_length: usize) -> Result<(), Failure> {
        let invalid = |message: String| Err(Failure::new(FailureCode::Invalid, message));
        if !NAME.contains(&self.name.chars().count()) || self.name.chars().any(char::is_control) {
            return invalid(format!("`name` must have {} to {} characters", NAME.start(), NAME.end()));
        }
        if !is_email(&self.email) {
            return invalid("`email` must be an e-mail address".into());
        }
        let length = self.password.chars().count();
        if length < min_password_length || self.password.len() > MAX_PASSWORD {
            return invalid(format!(
                "`password` must have at least {min_password_length} characters and at most {MAX_PASSWORD} bytes"
            ));
        }
        Ok(())
    }
}

/// Whether a text is an address that an account may have.
pub(super) fn is_email(text: &str) -> bool {
    text.len() <= MAX_EMAIL && EmailAddress::is_valid(text)
}

/// Key of the index entry of an address. Two spellings of one address are one account.
pub(super) fn email_key(email: &str) -> String {
    format!("email.{}", ImageSha256::of(email.trim().to_lowercase().as_bytes()))
}

/// Key of an account's record.
pub(super) fn user_key(id: u64) -> String {
    format!("user.{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let user = |name: &str, email: &str, password: &str| {
            let new = NewUser { name: name.into(), email: email.into(), password: password.into() };
            new.check(8).map_err(|failure| failure.message)
        };
        assert!(user("Ada", "ada@example.com", "long enough").is_ok());
        assert!(user("A", "ada@example.com", "long enough").unwrap_err().contains("`name`"));
        assert!(user("Ada", "ada", "long enough").unwrap_err().contains("`email`"));
        assert!(user("Ada", "ada@example.com", "short").unwrap_err().contains("`password`"));
        assert_eq!(email_key("Ada@Example.com "), email_key("ada@example.com"));
    }
}
