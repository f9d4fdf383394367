//! `user`.

use super::{Failure, Global, local::Local, output};
use crate::features::auth::{self, NewAccount};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::{BufRead, Read};
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
        };
        local.close().await;
        done
    }
}

impl Create {
    async fn run(self, global: &Global, local: &Local) -> Result<(), Failure> {
        let made_up: [u8; 12] = rand::random();
        let made_up = hex::encode(made_up);
        let password = if self.generate_password { made_up.clone() } else { from_stdin()? };
        let account = NewAccount {
            email: self.email.clone(),
            name: self.name,
            password,
            organisation: self.organisation,
        };
        let registered = auth::create_account(&local.app, account).await?;
        let shown = self.generate_password.then_some(made_up);
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

fn from_stdin() -> Result<String, Failure> {
    output::note("password:");
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_PASSWORD).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
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
