//! Tokens of an OpenID Connect provider, verified with the keys that it publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use shoal_shared::digest::ImageSha256;
use shoal_shared::names::Owner;
use tokio::sync::Mutex;

use super::caller::{Allowance, Caller, Scope};
use super::config::OidcConfig;

/// How often an unknown key may lead to a look at the provider's.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long the provider may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read of it.
const MAX_ANSWER: usize = 1 << 20;
/// What providers sign with. Never a symmetric algorithm: their key is public.
const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

#[derive(Deserialize)]
struct Discovery {
    jwks_uri: String,
}

#[derive(Default)]
struct Known {
    keys: Option<JwkSet>,
    looked: Option<Instant>,
}

/// A provider. Cheap to clone.
#[derive(Clone)]
pub(super) struct Oidc {
    config: Arc<OidcConfig>,
    client: reqwest::Client,
    known: Arc<Mutex<Known>>,
}

impl Oidc {
    pub(super) fn new(config: OidcConfig) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { config: Arc::new(config), client, known: Arc::default() })
    }

    /// Who a token says it is, if the provider signed it for us and it still is good.
    pub(super) async fn verify(&self, token: &str) -> Option<Caller> {
        let header = decode_header(token).ok()?;
        if !ALGORITHMS.contains(&header.alg) {
            return None;
        }
        let key = self.key(header.kid.as_deref()).await?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.config.audience]);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = decode::<Claims>(token, &key, &validation).ok()?.claims;
        // One subject of one issuer is one owner; both may hold what no subject of the bus may.
        let digest = ImageSha256::of(format!("{}\n{}", self.config.issuer, claims.sub).as_bytes()).to_string();
        let owner: Owner = format!("o{}", &digest[..32]).parse().ok()?;
        Some(Caller {
            user: None,
            name: Some(owner.to_string()),
            owner,
            admin: false,
            scopes: Scope::ALL.to_vec(),
            allowance: Allowance::default(),
        })
    }

    async fn key(&self, id: Option<&str>) -> Option<DecodingKey> {
        let mut known = self.known.lock().await;
        if let Some(key) = known.keys.as_ref().and_then(|keys| find(keys, id)) {
            return Some(key);
        }
        if known.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) {
            return None;
        }
        known.looked = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => known.keys = Some(keys),
            Err(error) => {
                tracing::warn!(issuer = self.config.issuer, %error, "the keys of the provider are not to be had")
            }
        }
        known.keys.as_ref().and_then(|keys| find(keys, id))
    }

    async fn fetch(&self) -> anyhow::Result<JwkSet> {
        let url = match &self.config.jwks_url {
            Some(url) => url.clone(),
            None => {
                let issuer = self.config.issuer.trim_end_matches('/');
                let discovery = self.read(&format!("{issuer}/.well-known/openid-configuration")).await?;
                serde_json::from_slice::<Discovery>(&discovery)?.jwks_uri
            }
        };
        Ok(serde_json::from_slice(&self.read(&url).await?)?)
    }

    async fn read(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let mut answer = self.client.get(url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            anyhow::ensure!(body.len() <= MAX_ANSWER, "the answer is longer than {MAX_ANSWER} bytes");
        }
        Ok(body)
    }
}

/// The key of an id; without an id the only one.
fn find(keys: &JwkSet, id: Option<&str>) -> Option<DecodingKey> {
    let key = match id {
        Some(id) => keys.find(id)?,
        None if keys.keys.len() == 1 => keys.keys.first()?,
        None => return None,
    };
    DecodingKey::from_jwk(key).ok()
}
