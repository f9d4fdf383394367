//! The little of the REST API that a round needs.

use crate::Failure;
use reqwest::{Client, Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Who registers.
pub(crate) const EMAIL: &str = "swarm@example.org";
pub(crate) const PASSWORD: &str = "a password for the swarm";
/// A database that is started anew answers within this.
const AWAY_LIMIT: Duration = Duration::from_secs(30);

/// A signed-in user of one project.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    address: String,
    token: String,
    pub(crate) project: String,
}

/// What a round looks at.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Story {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) phase: String,
    pub(crate) waiting_for: String,
    pub(crate) approval_id: Option<String>,
}

/// Answers a story's questions.
pub(crate) struct Approver {
    api: Api,
    story: String,
}

impl Api {
    /// Signs in, and takes the first project there is.
    pub(crate) async fn sign_in(address: &str, email: &str, password: &str) -> Result<Self, Failure> {
        let http = Client::builder().timeout(Duration::from_secs(10)).build()?;
        let form = [("username", email), ("password", password)];
        let session: Value = http
            .post(format!("{address}/api/v1/auth/login"))
            .form(&form)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let token = session["access_token"].as_str().ok_or("no access token")?.to_owned();
        let mut api = Self { http, address: address.into(), token, project: String::new() };
        let projects = api.call(Method::GET, "/projects", None).await?;
        projects["items"][0]["id"].as_str().ok_or("there is no project")?.clone_into(&mut api.project);
        Ok(api)
    }

    /// Somebody new, with an organisation of their own; no project yet.
    pub(crate) async fn register(address: &str) -> Result<Self, Failure> {
        let http = Client::builder().timeout(Duration::from_secs(60)).build()?;
        let body = json!({ "email": EMAIL, "name": "Swarm", "password": PASSWORD });
        let request = http.post(format!("{address}/api/v1/auth/register")).json(&body);
        let session: Value = request.send().await?.error_for_status()?.json().await?;
        let token = session["access_token"].as_str().ok_or("no access token")?.to_owned();
        Ok(Self { http, address: address.into(), token, project: String::new() })
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut request =
            self.http.request(method, format!("{}/api/v1{path}", self.address)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let value: Value = response.json().await?;
        if status.is_success() { Ok(value) } else { Err(format!("{path}: {status}: {value}").into()) }
    }

    /// The same user at another process, in another project.
    pub(crate) fn at(&self, address: &str, project: &str) -> Self {
        Self { address: address.to_owned(), project: project.to_owned(), ..self.clone() }
    }

    /// A command under an idempotency key; the status, too, because a conflict is an answer.
    pub(crate) async fn keyed(&self, path: &str, body: &Value, key: &str) -> Result<(u16, Value), Failure> {
        self.command(path, body, Some(key)).await
    }

    /// The same, under a key or none.
    pub(crate) async fn command(
        &self,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<(u16, Value), Failure> {
        let request = self.http.post(format!("{}/api/v1{path}", self.address)).bearer_auth(&self.token);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let response = request.json(body).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// A command that is repeated under its key for as long as the database is away.
    async fn surely(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let key = format!("{:032x}", rand::random::<u128>());
        let limit = Instant::now() + AWAY_LIMIT;
        loop {
            let (status, value) = self.command(path, body, Some(&key)).await?;
            match status {
                200..=299 => return Ok(value),
                503 if Instant::now() < limit => tokio::time::sleep(Duration::from_millis(100)).await,
                _ => return Err(format!("{path}: {status}: {value}").into()),
            }
        }
    }

    /// The project's event stream.
    pub(crate) async fn follow(&self) -> Result<Response, Failure> {
        let http = Client::builder().connect_timeout(Duration::from_secs(10)).build()?;
        let url = format!("{}/api/v1{}", self.address, self.path("/events/stream"));
        Ok(http.get(url).bearer_auth(&self.token).send().await?.error_for_status()?)
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/projects/{}{rest}", self.project)
    }

    pub(crate) async fn write_story(&self, round: u32) -> Result<Story, Failure> {
        let description =
            format!("As a reader I want the text statistics to be right in round {round}, too.");
        self.write_titled(&format!("Count words of round {round}"), &description).await
    }

    pub(crate) async fn write_titled(&self, title: &str, description: &str) -> Result<Story, Failure> {
        let body = json!({ "title": title, "description": description });
        Ok(serde_json::from_value(self.surely(&self.path("/stories"), &body).await?)?)
    }

    /// The demonstration's project has a hard limit that sixty stories would reach.
    pub(crate) async fn lift_budget(&self) -> Result<(), Failure> {
        let unlimited = json!({ "hard_limit_micro_usd": null });
        self.call(Method::PUT, &self.path("/budget"), Some(unlimited)).await?;
        Ok(())
    }

    pub(crate) async fn start_story(&self, story: &str) -> Result<(), Failure> {
        self.surely(&self.path(&format!("/stories/{story}/start")), &Value::Null).await?;
        Ok(())
    }

    pub(crate) async fn story(&self, story: &str) -> Result<Story, Failure> {
        let story = self.call(Method::GET, &self.path(&format!("/stories/{story}")), None).await?;
        Ok(serde_json::from_value(story)?)
    }

    pub(crate) fn approver(&self, story: String) -> Approver {
        Approver { api: self.clone(), story }
    }
}

impl Approver {
    /// Approves what the story waits for, if it waits for anything. Somebody quicker is no error.
    pub(crate) async fn answer_if_asked(&self) -> Result<(), Failure> {
        let Some(approval) = self.api.story(&self.story).await?.approval_id else { return Ok(()) };
        let path = self.api.path(&format!("/approvals/{approval}"));
        let asked = self.api.call(Method::GET, &path, None).await?;
        let body = json!({ "outcome": "approved", "digest": asked["digest"], "note": "looks right" });
        match self.api.call(Method::POST, &format!("{path}/decision"), Some(body)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.to_string().contains("approval_already_decided") => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
