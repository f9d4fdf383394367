//! New accounts, each with an organisation of its own.

use super::{credentials, organisations, password};
use crate::{
    db::{Author, Error, Uow},
    http::ApiError,
    state::App,
};
use serde_json::json;
use syndarix_domain::{
    actor::Actor,
    ids::{OrganisationId, UserId},
};

/// Somebody who wants an account.
#[derive(Clone)]
pub struct NewAccount {
    /// Any spelling; stored in lower case.
    pub email: String,
    /// As the person wants to be called.
    pub name: String,
    /// At least 12 characters.
    pub password: String,
    /// What the person's organisation is called; `<name>'s organisation` when nothing is said.
    pub organisation: Option<String>,
}

/// A new account.
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    /// The person.
    pub user: UserId,
    /// The organisation they own.
    pub organisation: OrganisationId,
}

/// A checked account whose password is hashed already: hashing is slow, and a transaction must not be.
pub(super) struct Ready {
    email: String,
    name: String,
    organisation: String,
    hash: String,
}

impl NewAccount {
    /// Checks everything and hashes the password.
    pub(super) async fn prepare(self) -> Result<Ready, ApiError> {
        let email = credentials::email_of("email", &self.email)?;
        let name = credentials::named("name", &self.name)?;
        credentials::acceptable("password", &self.password)?;
        let organisation = match self.organisation.filter(|name| !name.trim().is_empty()) {
            Some(organisation) => credentials::named("organisation", &organisation)?,
            // A long name leaves room for what follows it.
            None => format!("{}'s organisation", name.chars().take(180).collect::<String>()),
        };
        Ok(Ready { email, name, organisation, hash: password::hash(&self.password).await? })
    }
}

impl Ready {
    /// Writes the account and its organisation.
    pub(super) async fn write(&self, uow: &mut Uow) -> Result<Registered, Error> {
        let (user, now) = (UserId(uow.new_id()), uow.now());
        sqlx::query(
            "insert into app_user (id, email, name, password_hash, created_at) values ($1, $2, $3, $4, $5)",
        )
        .bind(user.0)
        .bind(&self.email)
        .bind(&self.name)
        .bind(&self.hash)
        .bind(now)
        .execute(uow.conn().await?)
        .await?;
        let organisation = organisations::write(uow, &self.organisation, user).await?;
        Ok(Registered { user, organisation })
    }
}

/// The account of this address, for the operator's commands.
pub(super) async fn of_email(uow: &mut Uow, email: &str) -> Result<UserId, ApiError> {
    let email = credentials::email_of("email", email)?;
    let user: Option<uuid::Uuid> = sqlx::query_scalar("select id from app_user where email = $1")
        .bind(&email)
        .fetch_optional(uow.conn().await?)
        .await?;
    let missing = || format!("there is no user {email}; see `syndarix user list`");
    user.map(UserId).ok_or_else(|| ApiError::invalid("email", missing()))
}

/// Tells a person whose address is taken so; every other failure stays what it is.
pub(super) fn refused(error: Error) -> ApiError {
    if error.constraint() == Some("app_user_email_key") {
        let message = "an account with this e-mail address exists: sign in instead";
        return ApiError::conflict("email_taken", message)
            .with("errors", json!([{ "field": "email", "message": message }]));
    }
    error.into()
}

/// Makes an account without signing it in: for the operator's commands, whatever registration says.
pub async fn create_account(app: &App, account: NewAccount) -> Result<Registered, ApiError> {
    let ready = account.prepare().await?;
    let mut uow = app.store.begin(Author::of(Actor::System));
    let registered = ready.write(&mut uow).await.map_err(refused)?;
    uow.commit().await?;
    Ok(registered)
}
