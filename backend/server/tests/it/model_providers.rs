//! Providers of an organisation: their keys are sealed, reach their own address, and nobody else's eyes.

use crate::{
    gateway::{chat, serve},
    support::TestApp,
};
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use syndarix::{features::gateway::rotate_master_key, vault::Vault};
use syndarix_llm::{ModelGroups, Secret};
use tokio::task::JoinSet;
use tower::ServiceExt;
use uuid::Uuid;

const KEY: &str = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz-WXYZ";
const OTHER_KEY: &str = "sk-next-9876543210zyxwvutsrqponmlkjihgfedcba-STUV";

/// What the provider was asked with, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// A provider that answers, or repeats the key that it was given in a refusal.
async fn upstream(refuses: bool) -> (SocketAddr, Asked, JoinSet<()>) {
    async fn answer(State((asked, refuses)): State<(Asked, bool)>, headers: HeaderMap) -> impl IntoResponse {
        let key = headers.get(header::AUTHORIZATION).map_or("none", |key| key.to_str().unwrap()).to_owned();
        asked.lock().unwrap().push(key.clone());
        if refuses {
            let said = format!("no such key: {key}");
            let said = json!({"error": {"message": said, "type": "invalid_request_error"}});
            return (StatusCode::UNAUTHORIZED, Json(said));
        }
        let said = json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        });
        (StatusCode::OK, Json(said))
    }
    let asked = Asked::default();
    let router =
        Router::new().route("/v1/chat/completions", post(answer)).with_state((Arc::clone(&asked), refuses));
    let (address, task) = serve(router).await;
    (address, asked, task)
}

/// An application whose operator allows this one host of the private network.
async fn app(allowed: SocketAddr) -> TestApp {
    TestApp::with_models_and(ModelGroups::default(), |config| {
        config.provider_hosts = vec![allowed.to_string()];
    })
    .await
}

/// A person's organisation, project and virtual key.
struct Owner {
    token: String,
    organisation: String,
    key: String,
}

impl Owner {
    async fn of(app: &TestApp, name: &str) -> Self {
        let token = app.user(name).await;
        let project = app.project(&token).await;
        let (_, organisations) = app.get("/api/v1/organisations", &token).await;
        let organisation = organisations["items"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/projects/{project}/gateway-keys");
        let (status, made) = app.post(&path, &token, json!({ "name": "test" })).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        Self { token, organisation, key: made["secret"].as_str().unwrap().to_owned() }
    }

    fn path(&self, below: &str) -> String {
        format!("/api/v1/organisations/{}/{below}", self.organisation)
    }

    async fn make(&self, app: &TestApp, provider: Value) -> Value {
        let (status, made) = app.post(&self.path("model-providers"), &self.token, provider).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made
    }

    async fn put(&self, app: &TestApp, below: &str, body: Value) -> (StatusCode, Value) {
        app.send(Method::PUT, &self.path(below), Some(&self.token), Some(body)).await
    }

    /// The status of a call, and what is said.
    async fn asks(&self, router: Router, model: &str) -> (StatusCode, String) {
        let request = Request::post("/v1/chat/completions")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(chat(model).to_string()));
        let response = router.oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }
}

fn provider(address: SocketAddr) -> Value {
    json!({
        "name": "ours", "kind": "openai_compatible", "base_url": format!("http://{address}/v1"), "key": KEY,
        "deployments": [{ "name": "small", "model": "m", "context_window": 100_000, "max_output": 4_000,
                          "prices": { "input": 1, "output": 5 } }],
    })
}

fn with(mut provider: Value, field: &str, value: Value) -> Value {
    provider[field] = value;
    provider
}

#[tokio::test]
async fn a_provider_of_an_organisation_is_asked_with_its_key_by_its_own_projects_only() {
    let (address, asked, _task) = upstream(false).await;
    let app = app(address).await;
    let (maria, otto) = (Owner::of(&app, "maria").await, Owner::of(&app, "otto").await);

    let made = maria.make(&app, provider(address)).await;

    assert_eq!(
        (&made["key"]["last_four"], &made["key"]["readable"]),
        (&json!("WXYZ"), &json!(true)),
        "{made}"
    );
    assert_eq!(made["deployments"][0]["full_name"], "ours/small");
    let (status, answer) = maria.asks(app.router.clone(), "ours/small").await;
    assert_eq!((status, answer.contains("yes")), (StatusCode::OK, true), "{answer}");
    let group = json!({ "chain": [{ "deployment": "ours/small" }] });
    assert_eq!(maria.put(&app, "model-groups/code", group.clone()).await.0, StatusCode::OK);
    assert_eq!(maria.asks(app.router.clone(), "code").await.0, StatusCode::OK);
    assert_eq!(*asked.lock().unwrap(), vec![format!("Bearer {KEY}"); 2]);
    let (_, own) = app.get(&maria.path("model-deployments"), &maria.token).await;
    assert_eq!((&own["items"][0]["name"], &own["items"][0]["own"]), (&json!("ours/small"), &json!(true)));

    for model in ["ours/small", "code"] {
        assert_eq!(otto.asks(app.router.clone(), model).await.0, StatusCode::NOT_FOUND, "{model}");
    }
    let (status, problem) = otto.put(&app, "model-groups/code", group).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("chain[0].deployment"))
    );
    assert!(!problem.to_string().contains("ours/small, "), "nor is it told of: {problem}");
    let id = made["id"].as_str().unwrap();
    for path in [otto.path(&format!("model-providers/{id}")), maria.path(&format!("model-providers/{id}"))] {
        for method in [Method::GET, Method::DELETE, Method::PUT] {
            let body = (method == Method::PUT).then(|| provider(address));
            let (status, answer) = app.send(method.clone(), &path, Some(&otto.token), body).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
        }
    }

    let path = maria.path(&format!("model-providers/{id}"));
    let gone = app.send(Method::DELETE, &path, Some(&maria.token), None).await.0;

    assert_eq!(gone, StatusCode::NO_CONTENT);
    assert_eq!(maria.asks(app.router.clone(), "ours/small").await.0, StatusCode::NOT_FOUND, "at once");
    let left: i64 =
        sqlx::query_scalar("select count(*) from model_provider").fetch_one(app.app.pool()).await.unwrap();
    assert_eq!(left, 0, "with its key");
}

#[tokio::test]
async fn what_is_wrong_with_a_provider_is_named_by_its_field() {
    let (address, ..) = upstream(false).await;
    let app = app(address).await;
    let maria = Owner::of(&app, "maria").await;
    let fine = provider(address);
    let model = |field: &str, value: Value| {
        with(fine.clone(), "deployments", json!([with(fine["deployments"][0].clone(), field, value)]))
    };
    for (body, field) in [
        (with(fine.clone(), "name", json!("Ours")), "name"),
        (with(fine.clone(), "kind", json!("chatty")), "kind"),
        (with(fine.clone(), "base_url", json!("http://127.0.0.1:1/v1")), "base_url"),
        (with(fine.clone(), "base_url", json!("https://[::ffff:169.254.169.254]/v1")), "base_url"),
        (with(fine.clone(), "key", json!("with a space in it")), "key"),
        (with(fine.clone(), "key", json!("short")), "key"),
        (with(fine.clone(), "vendor", json!("")), "vendor"),
        (with(fine.clone(), "deployments", json!([])), "deployments"),
        (
            with(fine.clone(), "deployments", json!([fine["deployments"][0], fine["deployments"][0]])),
            "deployments[1].name",
        ),
        (model("context_window", json!(0)), "deployments[0].context_window"),
        (model("max_output", json!(100_001)), "deployments[0].max_output"),
        (model("prices", json!({ "input": -1, "output": 0 })), "deployments[0].prices"),
        (model("model", json!("two words")), "deployments[0].model"),
        (model("timeouts", json!({ "connect_ms": 60_001 })), "deployments[0].timeouts.connect_ms"),
        (model("timeouts", json!({ "first_token_ms": 999 })), "deployments[0].timeouts.first_token_ms"),
        (
            model("timeouts", json!({ "idle_ms": 20_000, "total_ms": 10_000 })),
            "deployments[0].timeouts.idle_ms",
        ),
    ] {
        let (status, problem) = app.post(&maria.path("model-providers"), &maria.token, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    maria.make(&app, fine.clone()).await;
    let (status, problem) = app.post(&maria.path("model-providers"), &maria.token, fine).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("name_taken")));
}

#[tokio::test]
async fn a_model_is_waited_for_as_long_as_its_organisation_says() {
    let silent = Router::new().route("/v1/chat/completions", post(std::future::pending::<()>));
    let (address, _task) = serve(silent).await;
    let app = app(address).await;
    let maria = Owner::of(&app, "maria").await;
    let waits = json!({ "first_token_ms": 1_000, "total_ms": 1_000 });
    let mut impatient = provider(address);
    impatient["deployments"][0]["timeouts"] = waits.clone();

    let made = maria.make(&app, impatient).await;
    assert_eq!(made["deployments"][0]["timeouts"], waits);
    let (status, said) = maria.asks(app.router.clone(), "ours/small").await;

    // Nobody waits the usual five minutes.
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{said}");
}

#[tokio::test]
async fn a_key_goes_to_no_address_but_the_one_that_it_was_given_for() {
    let (address, asked, _task) = upstream(false).await;
    let app = app(address).await;
    let maria = Owner::of(&app, "maria").await;
    let made = maria.make(&app, provider(address)).await;
    let path = format!("model-providers/{}", made["id"].as_str().unwrap());
    let mut keyless = provider(address);
    keyless.as_object_mut().unwrap().remove("key");
    let elsewhere = with(keyless.clone(), "base_url", json!("https://192.0.2.1/v1"));

    let (status, problem) = maria.put(&app, &path, elsewhere).await;

    assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("key")));
    let (status, kept) = maria.put(&app, &path, keyless).await;
    assert_eq!((status, &kept["key"]["fingerprint"]), (StatusCode::OK, &made["key"]["fingerprint"]));
    let (status, other) = maria.put(&app, &format!("{path}/key"), json!({ "key": OTHER_KEY })).await;
    assert_eq!((status, &other["key"]["last_four"]), (StatusCode::OK, &json!("STUV")));
    assert_ne!(other["key"]["fingerprint"], made["key"]["fingerprint"]);
    maria.asks(app.router.clone(), "ours/small").await;
    assert_eq!(*asked.lock().unwrap(), [format!("Bearer {OTHER_KEY}")]);

    // Whoever can write the database turns it to their own server.
    sqlx::query("update model_provider set base_url = $1")
        .bind(format!("http://{address}/v2"))
        .execute(app.app.pool())
        .await
        .unwrap();
    let (_, shown) = app.get(&maria.path(&path), &maria.token).await;
    assert_eq!(shown["key"]["readable"], false);
    app.app.gateway.forget();
    let (status, _) = maria.asks(app.router.clone(), "ours/small").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is passed over");
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_row_of_one_organisation_does_not_open_in_another() {
    let (address, asked, _task) = upstream(false).await;
    let app = app(address).await;
    let (maria, otto) = (Owner::of(&app, "maria").await, Owner::of(&app, "otto").await);
    let made = maria.make(&app, provider(address)).await;

    sqlx::query("update model_provider set organisation_id = $1")
        .bind(otto.organisation.parse::<Uuid>().unwrap())
        .execute(app.app.pool())
        .await
        .unwrap();

    let (_, shown) =
        app.get(&otto.path(&format!("model-providers/{}", made["id"].as_str().unwrap())), &otto.token).await;
    assert_eq!(shown["key"]["readable"], false, "{shown}");
    assert_eq!(otto.asks(app.router.clone(), "ours/small").await.0, StatusCode::NOT_FOUND);
    assert!(asked.lock().unwrap().is_empty());
}

/// What is logged in this test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every row of every table, as text.
async fn everything_stored(app: &TestApp) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'",
    )
    .fetch_all(app.app.pool())
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from \"{table}\" t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(app.app.pool()).await.unwrap();
        all.push_str(&rows);
    }
    all
}

#[tokio::test]
async fn a_key_is_read_nowhere_but_at_its_provider() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _captured = tracing::subscriber::set_default(subscriber);
    // With one subscriber only, another test's thread, which has none, would decide what is worth logging.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let (address, asked, _task) = upstream(true).await;
    let app = app(address).await;
    let maria = Owner::of(&app, "maria").await;
    let mut said = String::new();

    let made = maria.make(&app, provider(address)).await;
    let path = format!("model-providers/{}", made["id"].as_str().unwrap());
    said += &made.to_string();
    said += &maria.asks(app.router.clone(), "ours/small").await.1;
    said += &maria
        .put(&app, &format!("{path}/key"), json!({ "key": format!("{KEY} {KEY}") }))
        .await
        .1
        .to_string();
    said += &maria.put(&app, &path, with(provider(address), "name", json!("other"))).await.1.to_string();
    said += &app.get(&maria.path(&path), &maria.token).await.1.to_string();
    said += &app.get(&maria.path("model-providers"), &maria.token).await.1.to_string();
    let shown = format!("{:?} {:?}", app.app.config, app.app.vault);
    said += &shown;

    assert_eq!(*asked.lock().unwrap(), [format!("Bearer {KEY}")], "it was sent, and repeated");
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("no such key"), "the refusal is in the log");
    let stored = everything_stored(&app).await;
    assert!(stored.contains("no such key") && stored.contains("model_provider.created"));
    let hidden = &KEY[8..KEY.len() - 4];
    for (place, text) in [("answers", &said), ("logs", &logged), ("database", &stored)] {
        assert!(!text.contains(hidden), "the key is in the {place}");
        assert!(!text.contains(&hex::encode(hidden)), "the key is in the {place}, as bytes");
    }
}

#[tokio::test]
async fn another_master_key_is_one_transaction_that_running_processes_do_not_notice() {
    let (address, asked, _task) = upstream(false).await;
    let app = app(address).await;
    let maria = Owner::of(&app, "maria").await;
    assert!(rotate_master_key(&app.app).await.unwrap().is_none(), "nothing is sealed yet");
    let made = maria.make(&app, provider(address)).await;
    let key_id = async || -> String {
        sqlx::query_scalar("select key_id from model_provider").fetch_one(app.app.pool()).await.unwrap()
    };
    let before = key_id().await;

    let elsewhere = app.another().await;
    let rotation = rotate_master_key(&elsewhere).await.unwrap().unwrap();

    assert_eq!((rotation.secrets, &rotation.keys.from, &rotation.keys.to), (1, &before, &key_id().await));
    assert_ne!(before, rotation.keys.to);
    let path = maria.path(&format!("model-providers/{}", made["id"].as_str().unwrap()));
    let (_, shown) = app.get(&path, &maria.token).await;
    assert_eq!(shown["key"]["readable"], true, "this process finds the new key: {shown}");
    let (status, _) = app
        .send(Method::PUT, &format!("{path}/key"), Some(&maria.token), Some(json!({ "key": OTHER_KEY })))
        .await;
    assert_eq!((status, key_id().await), (StatusCode::OK, rotation.keys.to));
    assert!(asked.lock().unwrap().is_empty());

    // One that does not open: nothing is changed, and every process goes on.
    let before = key_id().await;
    sqlx::query("update model_provider set key_sealed = overlay(key_sealed placing '\\x00000000' from 30)")
        .execute(app.app.pool())
        .await
        .unwrap();
    let error = rotate_master_key(&elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(key_id().await, before);
    let (status, _) =
        app.send(Method::PUT, &format!("{path}/key"), Some(&maria.token), Some(json!({ "key": KEY }))).await;
    assert_eq!(
        (status, key_id().await),
        (StatusCode::OK, before),
        "it is sealed with the key that is in use"
    );
    let after = rotate_master_key(&elsewhere).await.unwrap().unwrap();
    assert_eq!(after.keys.to, key_id().await, "and the change is done when it is tried again");
}

#[tokio::test]
async fn a_process_without_the_master_key_says_so_and_makes_no_second_one() {
    let (address, ..) = upstream(false).await;
    let app = app(address).await;
    let maria = Owner::of(&app, "maria").await;
    maria.make(&app, provider(address)).await;
    let given = |keys: &str| {
        let mut config = app.app.config.clone();
        config.master_key = Some(Secret::new(keys));
        Vault::open(&config).unwrap()
    };
    let stranger = given(&"11".repeat(32));
    let place = syndarix::vault::Place {
        what: "test",
        organisation: syndarix_domain::ids::OrganisationId(Uuid::nil()),
        id: Uuid::nil(),
        address: "",
    };
    let mut conn = app.app.pool().acquire().await.unwrap();

    let error = stranger.seal(&mut conn, place, &Secret::new("a-secret")).await.err().unwrap().to_string();

    assert!(error.contains("SYNDARIX_MASTER_KEY"), "{error}");
    // The operator's own change: with both keys nothing stops, and the first is the next.
    let file = std::fs::read_to_string(app.app.config.data_dir.join("master-key")).unwrap();
    let both = given(&format!("{},{file}", "11".repeat(32)));
    let sealed = both.seal(&mut conn, place, &Secret::new("a-secret")).await.unwrap();
    let opened = both.unseal(place, (&sealed.key_id, &sealed.bytes)).unwrap();
    assert_eq!(opened.expose(), "a-secret");
    let rotated = both.begin_rotation(&mut conn).await.unwrap().unwrap();
    let resealed = both.reseal(&rotated, place, (&sealed.key_id, &sealed.bytes)).unwrap();
    assert_eq!(stranger.unseal(place, (&resealed.key_id, &resealed.bytes)).unwrap().expose(), "a-secret");
}
