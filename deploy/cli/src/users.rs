//! `shoal users`: accounts, from the operator's side.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use shoal_gateway::accounts::user::NewUser;
use shoal_gateway::accounts::{Accounts, Caller};
use shoal_gateway::config::GatewayConfig;

use crate::connect::NatsOptions;

/// `shoal users`
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    nats: NatsOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every account
    List,
    /// Create an account
    Add {
        /// Its e-mail address
        email: String,
        /// Its name for people
        #[arg(long)]
        name: String,
        /// May look after others
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        password: Secret,
    },
    /// Give an account another password
    Password {
        /// Its e-mail address
        email: String,
        #[command(flatten)]
        password: Secret,
    },
    /// Delete an account with its keys
    Remove {
        /// Its e-mail address
        email: String,
    },
    /// Sign tokens with a new secret; those of the one before are good until they run out
    RotateSecret,
}

#[derive(clap::Args)]
struct Secret {
    /// File that holds the password; default: it is read from standard input
    #[arg(long)]
    password_file: Option<PathBuf>,
}

/// Runs the subcommand.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let bus = options.nats.connect("shoal-users").await?;
    let accounts = Accounts::look_into(&bus, &GatewayConfig::default()).await?;
    // Whoever may talk to NATS like this may do everything.
    let operator = Caller { admin: true, user: Some(0), ..Caller::anonymous() };
    match options.command {
        Command::List => {
            for user in accounts.list(&operator).await? {
                let role = if user.admin { "admin" } else { "" };
                println!("{:>6}  {:<32} {:<24} {role}", user.id, user.email, user.name);
            }
        }
        Command::Add { email, name, admin, password } => {
            let user = accounts.create(NewUser { name, email, password: password.read()? }, admin).await?;
            println!("created account {} of {}", user.id, user.email);
        }
        Command::Password { email, password } => {
            accounts.set_password(&email, password.read()?).await?;
            println!("changed the password of {email}");
        }
        Command::Remove { email } => {
            let users = accounts.list(&operator).await?;
            let user = users.iter().find(|user| user.email.eq_ignore_ascii_case(&email));
            let user = user.with_context(|| format!("there is no account of {email}"))?;
            accounts.delete(user.id, &operator).await?;
            println!("deleted account {} of {}", user.id, user.email);
        }
        Command::RotateSecret => {
            accounts.rotate_secret().await?;
            println!("tokens are signed with a new secret within half a minute");
        }
    }
    Ok(())
}

impl Secret {
    fn read(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        match &self.password_file {
            Some(path) => text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            None if std::io::stdin().is_terminal() => text = rpassword::prompt_password("Password: ")?,
            None => drop(std::io::stdin().lock().take(4096).read_to_string(&mut text)?),
        }
        let password = text.lines().next().unwrap_or_default().to_owned();
        anyhow::ensure!(!password.is_empty(), "the password is empty");
        Ok(password)
    }
}
