//! `user`.

use super::{Failure, Global, local::Local, output};
use crate::features::auth::{self, NewAccount};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Read};
use syndarix_domain::Timestamp;
use uuid::Uuid;

/// The longest password that is read from standard input, in bytes.
const MAX_PASSWORD: u64 = 1024;

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Makes an account, with an organisation of its own.
    Create(Create),
    /// Lists the accounts.
    List,
    /// Gives somebody another password, and signs them out of every device.
    SetPassword(SetPassword),
    /// Signs somebody out of every device.
    SignOut {
        /// The person's address.
        email: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct SetPassword {
    /// The person's address.
    email: String,
    /// Makes a password up and prints it; without this, it is the first line of standard input.
    #[arg(long)]
    generate_password: bool,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Where mail reaches the person.
    email: String,
    /// As the person wants to be called.
    #[arg(long)]
    name: String,
    /// The organisation that the person owns.
    #[arg(long)]
    organisation: Option<String>,
    /// Makes a password up and prints it; without this, it is the first line of standard input.
    #[arg(long)]
    generate_password: bool,
}

const COLUMNS: [output::Column; 4] =
    [("EMAIL", "email"), ("NAME", "name"), ("CREATED", "created_at"), ("ID", "id")];

impl User {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let local = Local::open(global).await?;
        let done = match self {
            Self::Create(create) => create.run(global, &local).await,
            Self::List => list(global, &local).await,
            Self::SetPassword(set) => set.run(global, &local).await,
            Self::SignOut { email } => sign_out(global, &local, &email).await,
        };
        local.close().await;
        done
    }
}

impl Create {
    async fn run(self, global: &Global, local: &Local) -> Result<(), Failure> {
        let (password, shown) = new_password(self.generate_password)?;
        let account = NewAccount {
            email: self.email.clone(),
            name: self.name,
            password,
            organisation: self.organisation,
        };
        let registered = auth::create_account(&local.app, account).await?;
        let view = json!({
            "id": registered.user, "email": self.email, "organisation_id": registered.organisation, "password": shown,
        });
        if global.json {
            output::json(&view);
            return Ok(());
        }
        output::line(&format!("made {} ({})", self.email, registered.user));
        if let Some(password) = shown {
            output::line(&format!("password {password}"));
        }
        Ok(())
    }
}

impl SetPassword {
    async fn run(self, global: &Global, local: &Local) -> Result<(), Failure> {
        let (password, shown) = new_password(self.generate_password)?;
        auth::set_password(&local.app, &self.email, &password).await?;
        if global.json {
            output::json(&json!({ "email": self.email, "password": shown }));
            return Ok(());
        }
        output::line(&format!("{} has a new password and is signed out everywhere", self.email));
        if let Some(password) = shown {
            output::line(&format!("password {password}"));
        }
        Ok(())
    }
}

async fn sign_out(global: &Global, local: &Local, email: &str) -> Result<(), Failure> {
    auth::sign_out(&local.app, email).await?;
    if global.json {
        output::json(&json!({ "email": email, "signed_out": true }));
    } else {
        output::line(&format!("{email} is signed out everywhere"));
    }
    Ok(())
}

/// A password, and the same to show where it was made up here.
fn new_password(generate: bool) -> Result<(String, Option<String>), Failure> {
    if !generate {
        return Ok((from_stdin()?, None));
    }
    let made_up: [u8; 12] = rand::random();
    let made_up = hex::encode(made_up);
    Ok((made_up.clone(), Some(made_up)))
}

fn from_stdin() -> Result<String, Failure> {
    let _silent = Silent::begin();
    output::note("password:");
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_PASSWORD).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// While it lives, a terminal does not show what is typed.
struct Silent;

impl Silent {
    fn begin() -> Option<Self> {
        (std::io::stdin().is_terminal() && stty("-echo")).then(|| Self)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        stty("echo");
    }
}

fn stty(setting: &str) -> bool {
    std::process::Command::new("stty").arg(setting).status().is_ok_and(|status| status.success())
}

async fn list(global: &Global, local: &Local) -> Result<(), Failure> {
    let rows: Vec<(Uuid, String, String, Timestamp)> =
        sqlx::query_as("select id, email, name, created_at from app_user order by email limit 1000")
            .fetch_all(local.app.pool())
            .await?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(id, email, name, at)| json!({ "id": id, "email": email, "name": name, "created_at": at }))
        .collect();
    if global.json {
        output::json(&json!({ "items": rows }));
    } else {
        output::table(&COLUMNS, &rows);
    }
    Ok(())
}
