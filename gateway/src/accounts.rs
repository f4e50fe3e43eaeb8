//! Accounts, keys and tokens: who asks, and what is theirs. Everything is kept in a bucket on the
//! bus, so there is no further server to run, and every gateway knows everybody.

mod caller;
pub mod config;
mod founding;
mod guesses;
mod key;
mod oidc;
mod password;
mod rates;
mod token;
pub mod user;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use moka::sync::Cache;
use shoal_nats::Bus;
use shoal_nats::accounts::AccountStore;
use shoal_shared::digest::ImageSha256;
use shoal_shared::failure::{Failure, FailureCode};
use shoal_shared::names::Owner;
use subtle::ConstantTimeEq;

pub use caller::{Allowance, Caller, Scope, unauthorized};
pub use key::{KeyView, NewKey};
pub(crate) use rates::{Left, Rates};
use token::{SECRET, Secret};

use crate::admission::Refusal;
use crate::config::GatewayConfig;
use crate::unavailable::unavailable;
use config::{AuthMode, Decided, Registration};
use guesses::Guesses;
use key::{ApiKey, PREFIX};
use oidc::Oidc;
use password::Passwords;
use token::Tokens;
use user::{NewUser, User, UserView, email_key, user_key};

/// How long a removed account or key may go on being taken by a gateway that has just seen it.
const MEMORY: Duration = Duration::from_secs(5);
/// Records remembered at once.
const MAX_REMEMBERED: u64 = 10_000;
/// Key of the record that numbers accounts.
const LAST_ID: &str = "last";
/// Keys that one account may have.
const MAX_KEYS: usize = 100;

/// Everybody who has an account. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    store: AccountStore,
    rules: Decided,
    login_not_found: bool,
    passwords: Passwords,
    tokens: Tokens,
    guesses: Guesses,
    rates: Rates,
    oidc: Option<Oidc>,
    /// Keys of the configuration: SHA-256 in hex, and name.
    tenants: Vec<(String, String)>,
    users: Cache<u64, Option<Arc<User>>>,
    keys: Cache<String, Option<Arc<ApiKey>>>,
}

impl Accounts {
    /// Opens the provisioned bucket, and sees to it that somebody can get in.
    pub async fn open(bus: &Bus, config: &GatewayConfig) -> anyhow::Result<Self> {
        let accounts = Self::look_into(bus, config).await?;
        founding::found(&accounts, &config.auth).await?;
        Ok(accounts)
    }

    /// Opens the provisioned bucket as it is: for the operator.
    pub async fn look_into(bus: &Bus, config: &GatewayConfig) -> anyhow::Result<Self> {
        let store = AccountStore::open(bus).await?;
        let auth = &config.auth;
        let tenant = |(name, tenant): (&String, &crate::config::TenantConfig)| {
            Some((ImageSha256::parse(&tenant.key_sha256)?.to_string(), name.clone()))
        };
        let remembered = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(MEMORY);
        Ok(Self(Arc::new(Inner {
            tokens: Tokens::open(store.clone(), auth.token_ttl).await?,
            store,
            rules: auth.decided(config.listen),
            login_not_found: auth.login_not_found,
            passwords: Passwords::new(),
            guesses: Guesses::new(),
            rates: Rates::new(auth.requests_per_minute),
            oidc: auth.oidc.clone().map(Oidc::new).transpose()?,
            tenants: config.tenants.iter().filter_map(tenant).collect(),
            users: remembered.build(),
            keys: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(MEMORY).build(),
        })))
    }

    /// The rules in force.
    pub fn rules(&self) -> Decided {
        self.0.rules
    }

    /// Status of a wrong login, for clients of the systems replaced.
    pub fn login_not_found(&self) -> bool {
        self.0.login_not_found
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.0.rates
    }

    /// Who credentials belong to: a key of the configuration, an API key, a token.
    pub async fn identify(&self, credentials: &str) -> Result<Caller, Failure> {
        if let Some(name) = self.tenant(credentials) {
            let owner: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            let owner = format!("t-{owner}").parse().map_err(|_| unauthorized())?;
            return Ok(Caller { owner, name: Some(name.to_owned()), ..Caller::anonymous() });
        }
        if credentials.starts_with(PREFIX) {
            return self.by_key(credentials).await;
        }
        if let Some(claims) = self.0.tokens.verify(credentials).await {
            let user = self.user(claims.uid).await?.filter(|user| user.email == claims.sub);
            return user.map(|user| as_caller(&user)).ok_or_else(unauthorized);
        }
        match &self.0.oidc {
            Some(oidc) => oidc.verify(credentials).await.ok_or_else(unauthorized),
            None => Err(unauthorized()),
        }
    }

    fn tenant(&self, credentials: &str) -> Option<&str> {
        if self.0.tenants.is_empty() {
            return None;
        }
        let sent = ImageSha256::of(credentials.as_bytes()).to_string();
        let known = self.0.tenants.iter().find(|(key, _)| key.as_bytes().ct_eq(sent.as_bytes()).into());
        known.map(|(_, name)| name.as_str())
    }

    async fn by_key(&self, credentials: &str) -> Result<Caller, Failure> {
        let sha256 = ImageSha256::of(credentials.as_bytes()).to_string();
        let key = match self.0.keys.get(&sha256) {
            Some(known) => known,
            None => {
                let found = self.0.store.get::<ApiKey>(&ApiKey::by_hash(&sha256)).await.map_err(unavailable)?;
                let found = found.map(|key| Arc::new(key.value));
                self.0.keys.insert(sha256, found.clone());
                found
            }
        };
        let key = key.filter(|key| key.is_good(now())).ok_or_else(unauthorized)?;
        let user = self.user(key.user).await?.ok_or_else(unauthorized)?;
        Ok(Caller {
            name: Some(format!("key-{}", key.id)),
            // Looking after others is a matter of accounts: a camera's key never does.
            admin: user.admin && key.scopes.contains(&Scope::Account),
            scopes: key.scopes.clone(),
            allowance: key.allowance,
            ..as_caller(&user)
        })
    }

    async fn user(&self, id: u64) -> Result<Option<Arc<User>>, Failure> {
        if let Some(known) = self.0.users.get(&id) {
            return Ok(known);
        }
        let found = self.0.store.get::<User>(&user_key(id)).await.map_err(unavailable)?;
        let found = found.map(|user| Arc::new(user.value));
        self.0.users.insert(id, found.clone());
        Ok(found)
    }

    /// A token for whoever knows the password of an account.
    pub async fn login(&self, email: &str, password: String, from: Option<IpAddr>) -> Result<String, Refusal> {
        let names = [Some(email_key(email)), from.map(|address| format!("at {address}"))];
        for name in names.iter().flatten() {
            if let Some(wait) = self.0.guesses.wait(name, Instant::now()) {
                let message = "too many wrong logins: wait, then try again";
                let failure = Failure::new(FailureCode::RateLimited, message);
                return Err(Refusal { failure, retry_after: Some(wait) });
            }
        }
        let user = self.by_email(email).await?;
        let stored = user.as_ref().map(|user| user.password.clone());
        let right = self.0.passwords.verify(password, stored).await?;
        for name in names.iter().flatten() {
            if right { self.0.guesses.right(name) } else { self.0.guesses.wrong(name, Instant::now()) }
        }
        match user.filter(|_| right) {
            Some(user) => Ok(self.0.tokens.issue(&user)?),
            None => Err(Failure::new(FailureCode::Unauthorized, "the e-mail address or the password is wrong").into()),
        }
    }

    async fn by_email(&self, email: &str) -> Result<Option<User>, Failure> {
        let Some(id) = self.0.store.get::<u64>(&email_key(email)).await.map_err(unavailable)? else { return Ok(None) };
        Ok(self.0.store.get::<User>(&user_key(id.value)).await.map_err(unavailable)?.map(|user| user.value))
    }

    /// Registers an account on behalf of `caller`.
    pub async fn register(&self, new: NewUser, caller: &Caller) -> Result<UserView, Failure> {
        let allowed = match self.0.rules.registration {
            Registration::Open => true,
            Registration::Admin => caller.admin,
            Registration::Closed => false,
        };
        if !allowed {
            let code = if caller.is_known() { FailureCode::Forbidden } else { FailureCode::Unauthorized };
            return Err(Failure::new(code, "accounts are created by an admin here"));
        }
        new.check(self.0.rules.min_password_length)?;
        self.create(new, false).await
    }

    /// Creates an account. The address is claimed first: of two at the same time one is refused.
    pub async fn create(&self, new: NewUser, admin: bool) -> Result<UserView, Failure> {
        new.check(1)?;
        let password = self.0.passwords.hash(new.password).await?;
        let store = &self.0.store;
        let id = self.next_id().await?;
        let index = email_key(&new.email);
        if !store.create(&index, &id).await.map_err(unavailable)? {
            return Err(Failure::new(FailureCode::BadRequest, "Email already registered"));
        }
        let user = User { id, name: new.name, email: new.email.trim().to_owned(), password, admin, created: now() };
        match store.create(&user_key(id), &user).await {
            Ok(true) => {
                self.0.users.invalidate(&id);
                Ok(UserView::from(&user))
            }
            stored => {
                let _ = store.delete(&index).await;
                Err(stored.err().map_or_else(|| Failure::new(FailureCode::Internal, "the id was taken"), unavailable))
            }
        }
    }

    /// Gives an account another password. Tokens of the old one are good until they run out.
    pub async fn set_password(&self, email: &str, password: String) -> Result<(), Failure> {
        let hash = self.0.passwords.hash(password).await?;
        let missing = || Failure::new(FailureCode::NotFound, format!("there is no account of {email}"));
        let user = self.by_email(email).await?.ok_or_else(missing)?;
        let store = &self.0.store;
        let known = store.get::<User>(&user_key(user.id)).await.map_err(unavailable)?.ok_or_else(missing)?;
        let user = User { password: hash, ..known.value };
        let changed = store.update(&user_key(user.id), &user, known.revision).await.map_err(unavailable)?;
        let raced = || Failure::new(FailureCode::Conflict, "somebody else changed the account: try again");
        if changed { Ok(()) } else { Err(raced()) }
    }

    /// Signs tokens with a new secret from now on. Those of the one before stay good until they run
    /// out; those of older ones end now.
    pub async fn rotate_secret(&self) -> Result<(), Failure> {
        let store = &self.0.store;
        let known = store.get::<Secret>(SECRET).await.map_err(unavailable)?;
        let known = known.ok_or_else(|| Failure::new(FailureCode::NotFound, "there is no secret yet"))?;
        let fresh = Secret::fresh(Some(known.value.current));
        let written = store.update(SECRET, &fresh, known.revision).await.map_err(unavailable)?;
        let raced = || Failure::new(FailureCode::Conflict, "somebody else rotated the secret: try again");
        if written { Ok(()) } else { Err(raced()) }
    }

    async fn next_id(&self) -> Result<u64, Failure> {
        let store = &self.0.store;
        // Whoever loses the race tries the next number: every round somebody wins.
        for _ in 0..1000 {
            let (next, written) = match store.get::<u64>(LAST_ID).await.map_err(unavailable)? {
                Some(last) => (last.value + 1, store.update(LAST_ID, &(last.value + 1), last.revision).await),
                None => (1, store.create(LAST_ID, &1u64).await),
            };
            if written.map_err(unavailable)? {
                return Ok(next);
            }
        }
        Err(Failure::new(FailureCode::Overloaded, "too many accounts are being created at the same time"))
    }

    /// The accounts that `caller` may see: its own, or all.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<UserView>, Failure> {
        let own = caller.account()?;
        let mut users: Vec<User> = if caller.admin {
            self.0.store.list("user.*").await.map_err(unavailable)?
        } else {
            self.user(own).await?.map(|user| user.as_ref().clone()).into_iter().collect()
        };
        users.sort_by_key(|user| user.id);
        Ok(users.iter().map(UserView::from).collect())
    }

    /// An account, when it exists and `caller` may see it.
    pub async fn find(&self, id: u64, caller: &Caller) -> Result<UserView, Failure> {
        let own = caller.account()?;
        let found = if caller.admin || id == own { self.user(id).await? } else { None };
        found.map(|user| UserView::from(user.as_ref())).ok_or_else(|| no_user(id))
    }

    /// Deletes an account with its keys. What it has said and submitted goes by age.
    pub async fn delete(&self, id: u64, caller: &Caller) -> Result<(), Failure> {
        let user = self.find(id, caller).await?;
        let keys: Vec<ApiKey> = self.0.store.list(&format!("keys.{id}.*")).await.map_err(unavailable)?;
        for key in keys {
            self.remove_key(&key).await?;
        }
        // The record first: an account whose address is still taken is nobody's.
        self.0.store.delete(&user_key(id)).await.map_err(unavailable)?;
        self.0.store.delete(&email_key(&user.email)).await.map_err(unavailable)?;
        self.0.users.invalidate(&id);
        Ok(())
    }

    /// Makes a key for the caller's account.
    pub async fn make_key(&self, new: NewKey, caller: &Caller) -> Result<KeyView, Failure> {
        let user = caller.account()?;
        if self.keys(caller).await?.len() >= MAX_KEYS {
            let message = format!("an account may have {MAX_KEYS} keys: remove one first");
            return Err(Failure::new(FailureCode::Conflict, message));
        }
        for scope in &new.scopes {
            caller.may(*scope)?;
        }
        let (record, key) = new.make(user)?;
        self.0.store.create(&ApiKey::by_owner(user, &record.id), &record).await.map_err(unavailable)?;
        self.0.store.create(&ApiKey::by_hash(&record.sha256), &record).await.map_err(unavailable)?;
        Ok(record.view(Some(key)))
    }

    /// The keys of the caller's account.
    pub async fn keys(&self, caller: &Caller) -> Result<Vec<KeyView>, Failure> {
        let pattern = format!("keys.{}.*", caller.account()?);
        let keys: Vec<ApiKey> = self.0.store.list(&pattern).await.map_err(unavailable)?;
        Ok(keys.into_iter().map(|key| key.view(None)).collect())
    }

    /// Removes a key of the caller's account.
    pub async fn drop_key(&self, id: &str, caller: &Caller) -> Result<(), Failure> {
        let user = caller.account()?;
        let missing = || Failure::new(FailureCode::NotFound, "there is no such key");
        // Ids are hexadecimal; anything else could be a pattern on the bus.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let found = self.0.store.get::<ApiKey>(&ApiKey::by_owner(user, id)).await.map_err(unavailable)?;
        self.remove_key(&found.ok_or_else(missing)?.value).await
    }

    async fn remove_key(&self, key: &ApiKey) -> Result<(), Failure> {
        self.0.store.delete(&ApiKey::by_hash(&key.sha256)).await.map_err(unavailable)?;
        self.0.store.delete(&ApiKey::by_owner(key.user, &key.id)).await.map_err(unavailable)?;
        self.0.keys.invalidate(&key.sha256);
        Ok(())
    }

    /// The secret that calls about an owner's jobs are signed with.
    pub async fn webhook_secret(&self, owner: &Owner) -> Result<String, Failure> {
        let (store, key) = (&self.0.store, format!("hook.{owner}"));
        if let Some(known) = store.get(&key).await.map_err(unavailable)? {
            return Ok(known.value);
        }
        let fresh = Secret::fresh(None).current;
        if store.create(&key, &fresh).await.map_err(unavailable)? {
            return Ok(fresh);
        }
        let known = store.get(&key).await.map_err(unavailable)?;
        known.map(|known| known.value).ok_or_else(|| Failure::new(FailureCode::Internal, "the secret vanished"))
    }

    /// Whether somebody without credentials may ask for predictions.
    pub fn is_open(&self) -> bool {
        self.0.rules.mode != AuthMode::Required
    }
}

fn as_caller(user: &User) -> Caller {
    let owner = Owner::user(user.id);
    Caller {
        user: Some(user.id),
        name: Some(owner.to_string()),
        owner,
        admin: user.admin,
        scopes: Scope::ALL.to_vec(),
        allowance: Allowance::default(),
    }
}

fn no_user(id: u64) -> Failure {
    Failure::new(FailureCode::NotFound, format!("there is no user {id}"))
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Bytes that nobody can guess.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Going on with predictable secrets would be worse than ending.
        tracing::error!(%error, "the operating system gives no random bytes");
        std::process::exit(shoal_shared::process::EXIT_SOFTWARE.into());
    }
    bytes
}
