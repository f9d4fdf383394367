//! The demonstration speaks to its own server as anybody else would: over REST.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};

/// Every answer of the API comes within this.
const TIMEOUT: Duration = Duration::from_secs(35);

/// A signed-in person.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// The API said no, or nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A problem document.
    #[error("{method} {path}: {detail}")]
    Refused {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// The status.
        status: StatusCode,
        /// The problem's stable code.
        code: String,
        /// The problem's sentence.
        detail: String,
    },
    /// No answer.
    #[error("the API does not answer")]
    Transport(#[from] reqwest::Error),
}

impl ClientError {
    /// The API's stable code, if it was the API that said no.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Transport(_) => None,
        }
    }
}

impl Client {
    /// Of the server at this address; nobody is signed in.
    pub fn new(address: SocketAddr) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { http, base: format!("http://{address}/api/v1"), token: None })
    }

    /// Signs in; a person who is not there yet is registered, with an organisation.
    pub async fn sign_in(
        &mut self,
        (email, name, password): (&str, &str, &str),
        organisation: &str,
    ) -> Result<(), ClientError> {
        let form = [("username", email), ("password", password)];
        let request = self.http.post(format!("{}/auth/login", self.base)).form(&form);
        let session = match read(Method::POST, "/auth/login", request).await {
            Err(ClientError::Refused { status: StatusCode::UNAUTHORIZED, .. }) => {
                let body = json!({ "email": email, "name": name, "password": password, "organisation": organisation });
                self.post("/auth/register", &body).await?
            }
            other => other?,
        };
        self.token = session["access_token"].as_str().map(str::to_owned);
        Ok(())
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None).await
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// `PUT`.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// `PATCH`.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::PATCH, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        read(method, path, request).await
    }
}

async fn read(method: Method, path: &str, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
    let answer = request.send().await?;
    let status = answer.status();
    let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let detail =
        Some(text("detail")).filter(|detail| !detail.is_empty()).unwrap_or_else(|| status.to_string());
    Err(ClientError::Refused { method, path: path.to_owned(), status, code: text("code"), detail })
}
