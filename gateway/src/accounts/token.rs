//! Tokens of our own: JWT, HS256, signed with a secret that all gateways share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use shoal_nats::BusError;
use shoal_nats::accounts::AccountStore;
use shoal_shared::failure::{Failure, FailureCode};

use super::random;
use super::user::User;

/// Key of the signing secret's record.
pub(super) const SECRET: &str = "secret";
/// How often the record is looked at: the operator, or another gateway, may have rotated the secret.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often a token that does not verify may lead to a look: its secret may be newer.
const LOOK_SOONER: Duration = Duration::from_secs(2);

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The account's address.
    pub(super) sub: String,
    /// When it stops being good, Unix seconds.
    pub(super) exp: u64,
    /// The account's number.
    pub(super) uid: u64,
}

/// The signing secret, in base64. After a rotation tokens of the previous one are good until they
/// run out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    /// Signs and verifies.
    pub(super) current: String,
    /// Verifies.
    #[serde(default)]
    pub(super) previous: Option<String>,
}

impl Secret {
    /// A fresh one.
    pub(super) fn fresh(previous: Option<String>) -> Self {
        Self { current: STANDARD.encode(random::<32>()), previous }
    }
}

/// Issues and verifies. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens {
    store: AccountStore,
    ttl: Duration,
    secret: Arc<RwLock<(Secret, Instant)>>,
}

impl Tokens {
    /// Takes the common secret, or makes it when this is the first gateway ever.
    pub(super) async fn open(store: AccountStore, ttl: Duration) -> Result<Self, BusError> {
        let secret = match store.get::<Secret>(SECRET).await? {
            Some(known) => known.value,
            None => {
                let fresh = Secret::fresh(None);
                if store.create(SECRET, &fresh).await? {
                    fresh
                } else {
                    store.get(SECRET).await?.map_or(fresh, |known| known.value)
                }
            }
        };
        Ok(Self { store, ttl, secret: Arc::new(RwLock::new((secret, Instant::now()))) })
    }

    /// A token for an account.
    pub(super) fn issue(&self, user: &User) -> Result<String, Failure> {
        let exp = jsonwebtoken::get_current_timestamp() + self.ttl.as_secs().max(1);
        let claims = Claims { sub: user.email.clone(), exp, uid: user.id };
        let secret = key(&self.secret.read().0.current);
        let signed = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&secret));
        signed.map_err(|error| Failure::new(FailureCode::Internal, format!("the token could not be signed: {error}")))
    }

    /// What a token says, if it is ours and still good.
    pub(super) async fn verify(&self, token: &str) -> Option<Claims> {
        let (secret, looked) = self.secret.read().clone();
        let claims = read(token, &secret);
        if looked.elapsed() < if claims.is_some() { LOOK_AGAIN } else { LOOK_SOONER } {
            return claims;
        }
        let Ok(Some(newest)) = self.store.get::<Secret>(SECRET).await else { return claims };
        let newest = newest.value;
        *self.secret.write() = (newest.clone(), Instant::now());
        read(token, &newest)
    }
}

fn read(token: &str, secret: &Secret) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 0;
    let known = [Some(&secret.current), secret.previous.as_ref()];
    known.into_iter().flatten().find_map(|secret| {
        let decoded = decode::<Claims>(token, &DecodingKey::from_secret(&key(secret)), &validation);
        decoded.ok().map(|token| token.claims)
    })
}

fn key(secret: &str) -> Vec<u8> {
    STANDARD.decode(secret).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(secret: &Secret, algorithm: Algorithm, exp: u64) -> String {
        let claims = Claims { sub: "a@b.c".into(), exp, uid: 1 };
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(&key(&secret.current))).unwrap()
    }

    #[test]
    fn a_rotated_secret_still_verifies_and_a_stranger_s_does_not() {
        let (old, later) = (Secret::fresh(None), jsonwebtoken::get_current_timestamp() + 60);
        let token = sign(&old, Algorithm::HS256, later);
        let new = Secret::fresh(Some(old.current.clone()));
        assert!(read(&token, &old).is_some() && read(&token, &new).is_some());
        assert!(read(&token, &Secret::fresh(None)).is_none());
    }

    #[test]
    fn expired_tokens_other_algorithms_and_unsigned_ones_are_refused() {
        let (secret, now) = (Secret::fresh(None), jsonwebtoken::get_current_timestamp());
        assert!(read(&sign(&secret, Algorithm::HS256, now - 1), &secret).is_none());
        assert!(read(&sign(&secret, Algorithm::HS512, now + 60), &secret).is_none());
        let signed = sign(&secret, Algorithm::HS256, now + 60);
        let body = signed.split('.').nth(1).unwrap();
        let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(read(&format!("{none}.{body}."), &secret).is_none());
    }
}
