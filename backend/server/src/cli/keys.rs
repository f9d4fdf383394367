//! `key`.

use super::{
    Failure, Global,
    local::{Local, Names},
    output,
    work::{list, path_of, show},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use syndarix_domain::Timestamp;

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Makes a virtual key and prints it: it is not shown again.
    Create(Create),
    /// Lists a project's keys.
    List {
        /// The project's name or id.
        #[arg(long)]
        project: String,
    },
    /// Gives a key another secret and prints it; the one before is good for nothing from then on, but for an overlap.
    Rotate(Rotate),
    /// Revokes a key for good.
    Revoke(One),
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Its name or id; where several have the name, its id.
    key: String,
    /// The project's name or id.
    #[arg(long)]
    project: String,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    one: One,
    /// For how long the secret before is good beside the new one; at most 604800, which is seven days.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    overlap: u32,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it.
    name: String,
    /// The project's name or id.
    #[arg(long)]
    project: String,
    /// A model group or deployment that it may name; all when not given. May be given several times.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Calls in a minute.
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<u32>,
    /// Tokens in a minute.
    #[arg(long, value_name = "NUMBER")]
    tokens_per_minute: Option<u32>,
    /// What may be spent with it in all, in millionths of a US dollar.
    #[arg(long, value_name = "MICRO_USD")]
    hard_limit: Option<i64>,
    /// When it ends by itself, such as 2030-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
}

impl Create {
    fn body(&self) -> Value {
        json!({
            "name": self.name,
            "models": (!self.models.is_empty()).then_some(&self.models),
            "requests_per_minute": self.requests_per_minute,
            "tokens_per_minute": self.tokens_per_minute,
            "hard_limit_micro_usd": self.hard_limit,
            "expires_at": self.expires_at,
        })
    }
}

const NAMES: Names = Names { what: "key", see: "`syndarix key list`" };
const LIST: [output::Column; 6] = [
    ("NAME", "name"),
    ("KEY", "prefix"),
    ("LAST USED", "last_used_at"),
    ("EXPIRES", "expires_at"),
    ("REVOKED", "revoked_at"),
    ("ID", "id"),
];
const MADE: [output::Column; 3] = [("id", "key.id"), ("name", "key.name"), ("key", "secret")];
const ROTATED: [output::Column; 4] =
    [MADE[0], MADE[1], MADE[2], ("secret before is good until", "key.previous_until")];

impl Key {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        Local::run(global, async |local| {
            match self {
                Self::List { project } => {
                    let path = format!("{}/gateway-keys?limit=200", path_of(local, &project).await?);
                    list(global, &LIST, &local.get(&path).await?);
                }
                Self::Create(create) => {
                    let path = format!("{}/gateway-keys", path_of(local, &create.project).await?);
                    show(global, &MADE, &local.post(&path, &create.body()).await?);
                }
                Self::Rotate(Rotate { one, overlap }) => {
                    let path = format!("{}/rotate", one.path(local).await?);
                    let body = json!({ "overlap_seconds": overlap });
                    show(global, &ROTATED, &local.post(&path, &body).await?);
                }
                Self::Revoke(one) => {
                    local.delete(&one.path(local).await?).await?;
                    output::note("revoked: other processes know it within seconds");
                }
            }
            Ok(())
        })
        .await
    }
}

impl One {
    async fn path(&self, local: &Local) -> Result<String, Failure> {
        let keys = format!("{}/gateway-keys", path_of(local, &self.project).await?);
        let id = local.id_in(&keys, &NAMES, &self.key).await?;
        Ok(format!("{keys}/{id}"))
    }
}
