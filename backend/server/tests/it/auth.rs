//! Accounts and devices: register, sign in, stay signed in, sign out.

use crate::support::{PASSWORD, TestApp};
use axum::{
    body::Body,
    http::{Method, Request, Response, StatusCode, header},
};
use chrono::Duration;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use syndarix::http;
use syndarix_domain::Timestamp;
use tower::ServiceExt;

async fn form(app: &TestApp, username: &str, password: &str) -> Response<Body> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("username", username)
        .append_pair("password", password)
        .finish();
    let request = Request::post("/api/v1/auth/login")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body));
    app.router.clone().oneshot(request.unwrap()).await.unwrap()
}

async fn body(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1024 * 1024).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn register(app: &TestApp, email: &str) -> Value {
    let account = json!({ "email": email, "name": "Maria", "password": PASSWORD });
    let (status, session) = app.send(Method::POST, "/api/v1/auth/register", None, Some(account)).await;
    assert_eq!(status, StatusCode::CREATED, "{session}");
    session
}

async fn refresh(app: &TestApp, token: &str) -> (StatusCode, Value) {
    let body = json!({ "refresh_token": token });
    app.send(Method::POST, "/api/v1/auth/refresh", None, Some(body)).await
}

fn token(session: &Value) -> String {
    session["refresh_token"].as_str().unwrap().to_owned()
}

async fn audited(app: &TestApp, event_type: &str) -> Vec<Value> {
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("select payload from audit_entry where type = $1 order by ordinal")
            .bind(event_type)
            .fetch_all(app.app.pool())
            .await
            .unwrap();
    payloads.iter().map(|payload| serde_json::from_slice(payload).unwrap()).collect()
}

#[tokio::test]
async fn whoever_registers_is_signed_in_and_owns_an_organisation() {
    let app = TestApp::start().await;
    let session = register(&app, " Maria@Example.org ").await;
    assert_eq!(session["user"]["email"], "maria@example.org");
    assert_eq!(session["token_type"], "Bearer");
    assert_eq!(session["expires_in"], 900);
    let (status, me) = app.get("/api/v1/me", session["access_token"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(me["user"], session["user"]);
    assert_eq!(me["organisations"][0]["name"], "Maria's organisation");
    assert_eq!(me["organisations"][0]["role"], "owner");
    assert_eq!(me["projects"], json!([]));
    assert_eq!(audited(&app, "auth.registered").await.len(), 1);
}

#[tokio::test]
async fn an_address_is_registered_once_whatever_its_case() {
    let app = TestApp::start().await;
    register(&app, "maria@example.org").await;
    let account = json!({ "email": "MARIA@example.org", "name": "M", "password": PASSWORD });
    let (status, problem) = app.send(Method::POST, "/api/v1/auth/register", None, Some(account)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("email_taken")));
    assert_eq!(problem["errors"][0]["field"], "email");
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_written() {
    let app = TestApp::start().await;
    for (field, wrong) in [("email", "maria"), ("name", " "), ("password", "elevenchars")] {
        let mut account = json!({ "email": "maria@example.org", "name": "Maria", "password": PASSWORD });
        account[field] = wrong.into();
        let (status, problem) = app.send(Method::POST, "/api/v1/auth/register", None, Some(account)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let users: i64 =
        sqlx::query_scalar("select count(*) from app_user").fetch_one(app.app.pool()).await.unwrap();
    assert_eq!(users, 0);
}

#[tokio::test]
async fn a_closed_registration_refuses_everybody() {
    let app = TestApp::start_with(|config| config.open_registration = false).await;
    let account = json!({ "email": "maria@example.org", "name": "Maria", "password": PASSWORD });
    let (status, problem) = app.send(Method::POST, "/api/v1/auth/register", None, Some(account)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("registration_closed")));
}

#[tokio::test]
async fn signing_in_sets_a_cookie_that_scripts_cannot_read() {
    let app = TestApp::start_with(|config| config.public_url = Some("https://syndarix.example".into())).await;
    register(&app, "maria@example.org").await;
    let response = form(&app, "Maria@example.org", PASSWORD).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/api/v1/auth", "Secure"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let session = body(response).await;
    assert!(cookie.starts_with(&format!("syndarix_refresh={};", token(&session))));
    let request = Request::post("/api/v1/auth/refresh")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, cookie.split(';').next().unwrap())
        .body(Body::from("{}"));
    let renewed = app.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(renewed.status(), StatusCode::OK);
    assert_ne!(token(&body(renewed).await), token(&session));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer_and_are_both_audited() {
    let app = TestApp::start().await;
    register(&app, "maria@example.org").await;
    let mut answers = Vec::new();
    for email in ["maria@example.org", "nobody@example.org", "secret typed into the wrong field"] {
        let response = form(&app, email, "not the right password").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let mut problem = body(response).await;
        problem.as_object_mut().unwrap().remove("request_id");
        answers.push(problem);
    }
    assert_eq!(answers[0]["code"], "wrong_credentials");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let entries = audited(&app, "auth.login_failed").await;
    assert_eq!(entries.len(), 3);
    let text = format!("{entries:?}");
    assert!(!text.contains("not the right password") && !text.contains("secret typed"), "{text}");
}

#[tokio::test]
async fn guessing_is_stopped_for_this_address_and_goes_on_later() {
    let app = TestApp::start().await;
    register(&app, "maria@example.org").await;
    for _ in 0..10 {
        assert_eq!(
            form(&app, "maria@example.org", "wrong wrong wrong").await.status(),
            StatusCode::UNAUTHORIZED
        );
    }
    let response = form(&app, "maria@example.org", PASSWORD).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[header::RETRY_AFTER], "900");
    assert_eq!(body(response).await["code"], "too_many_attempts");
    assert_eq!(form(&app, "other@example.org", "wrong").await.status(), StatusCode::UNAUTHORIZED);
    app.clock.set(app.clock.now() + Duration::minutes(15));
    assert_eq!(form(&app, "maria@example.org", PASSWORD).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_address_that_is_noted_is_the_connections_own_and_not_what_a_header_claims() {
    let app = TestApp::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/auth/login", listener.local_addr().unwrap());
    let service = app.router.clone().into_make_service_with_connect_info::<http::Peer>();
    let server = tokio::spawn(async { axum::serve(http::Sockets(listener), service).await });
    let answer = reqwest::Client::new()
        .post(url)
        .header("x-forwarded-for", "203.0.113.7")
        .form(&[("username", "maria@example.org"), ("password", "wrong")])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    server.abort();
    assert_eq!(audited(&app, "auth.login_failed").await[0]["address"], "127.0.0.1");
}

#[tokio::test]
async fn a_success_forgets_the_failures_before_it() {
    let app = TestApp::start().await;
    register(&app, "maria@example.org").await;
    for _ in 0..3 {
        for _ in 0..6 {
            assert_eq!(form(&app, "maria@example.org", "wrong").await.status(), StatusCode::UNAUTHORIZED);
        }
        assert_eq!(form(&app, "maria@example.org", PASSWORD).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_refresh_token_rotates_and_two_tabs_at_once_get_the_same_successor() {
    let app = TestApp::start().await;
    let first = token(&register(&app, "maria@example.org").await);
    let ((s1, one), (s2, two)) = tokio::join!(refresh(&app, &first), refresh(&app, &first));
    assert_eq!((s1, s2), (StatusCode::OK, StatusCode::OK));
    assert_eq!(token(&one), token(&two));
    assert_ne!(token(&one), first);
    assert_eq!(app.get("/api/v1/me", two["access_token"].as_str().unwrap()).await.0, StatusCode::OK);
    let stored: i64 =
        sqlx::query_scalar("select count(*) from session").fetch_one(app.app.pool()).await.unwrap();
    assert_eq!(stored, 2, "never two live branches");
}

#[tokio::test]
async fn a_lost_answer_is_given_again_as_long_as_its_token_was_not_used() {
    let app = TestApp::start().await;
    let first = token(&register(&app, "maria@example.org").await);
    let (_, lost) = refresh(&app, &first).await;
    app.clock.set(app.clock.now() + Duration::hours(1));
    let (status, again) = refresh(&app, &first).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(token(&again), token(&lost));
}

#[tokio::test]
async fn a_parent_may_come_back_within_ten_seconds_even_when_its_successor_was_used() {
    let app = TestApp::start().await;
    let first = token(&register(&app, "maria@example.org").await);
    let (_, second) = refresh(&app, &first).await;
    assert_eq!(refresh(&app, &token(&second)).await.0, StatusCode::OK);
    app.clock.set(app.clock.now() + Duration::seconds(10));
    assert_eq!(token(&refresh(&app, &first).await.1), token(&second));
}

#[tokio::test]
async fn a_replay_after_its_successor_was_used_signs_the_device_out_and_no_other() {
    let app = TestApp::start().await;
    let first = token(&register(&app, "maria@example.org").await);
    let other = token(&body(form(&app, "maria@example.org", PASSWORD).await).await);
    let (_, second) = refresh(&app, &first).await;
    let (_, third) = refresh(&app, &token(&second)).await;
    app.clock.set(app.clock.now() + Duration::seconds(11));
    let (status, problem) = refresh(&app, &first).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("refresh_reused")));
    let (status, problem) = refresh(&app, &token(&third)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("session_ended")));
    assert_eq!(refresh(&app, &other).await.0, StatusCode::OK);
    assert_eq!(audited(&app, "auth.refresh_reused").await.len(), 1);
}

/// What the rules say of one device, kept beside the real one.
struct Device {
    /// Each token, with when it was used.
    chain: Vec<(String, Option<Timestamp>)>,
}

impl Device {
    /// The answer that presenting token `index` must get.
    fn expected(&self, index: usize, now: Timestamp) -> &'static str {
        let used = self.chain[index].1;
        let fresh = used.is_none_or(|at| now - at <= Duration::seconds(10));
        let unused_child = self.chain.get(index + 1).is_some_and(|child| child.1.is_none());
        if fresh || unused_child { "renewed" } else { "refresh_reused" }
    }
}

#[tokio::test]
async fn any_order_of_refreshes_keeps_one_branch_and_ends_at_the_first_late_replay() {
    let app = TestApp::start().await;
    register(&app, "maria@example.org").await;
    let mut dice = StdRng::seed_from_u64(7);
    let mut ended = 0;
    for _ in 0..12 {
        let first = token(&body(form(&app, "maria@example.org", PASSWORD).await).await);
        let mut device = Device { chain: vec![(first, None)] };
        for _ in 0..25 {
            app.clock.set(app.clock.now() + Duration::seconds(dice.random_range(0..8)));
            let now = app.clock.now();
            let index = device.chain.len() - 1 - dice.random_range(0..device.chain.len().min(4));
            let expected = device.expected(index, now);
            let (status, answer) = refresh(&app, &device.chain[index].0).await;
            if expected == "refresh_reused" {
                assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!(expected)));
                ended += 1;
                break;
            }
            assert_eq!(status, StatusCode::OK, "{answer}");
            device.chain[index].1.get_or_insert(now);
            match device.chain.get(index + 1) {
                Some((child, _)) => assert_eq!(token(&answer), *child, "the same successor"),
                None => device.chain.push((token(&answer), None)),
            }
        }
    }
    assert!(ended > 2, "the walk met late replays: {ended}");
    let branches: i64 = sqlx::query_scalar(
        "select coalesce(max(n), 0) from (select count(*) n from session
          where used_at is null and revoked_at is null group by family) live",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    assert!(branches <= 1);
}

#[tokio::test]
async fn an_unused_device_is_signed_out_after_thirty_days_and_an_access_token_after_a_quarter_of_an_hour() {
    let app = TestApp::start().await;
    let session = register(&app, "maria@example.org").await;
    app.clock.set(app.clock.now() + Duration::minutes(15));
    let (status, _) = app.get("/api/v1/me", session["access_token"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    app.clock.set(app.clock.now() + Duration::days(30));
    assert_eq!(refresh(&app, &token(&session)).await.1["code"], "session_ended");
}

#[tokio::test]
async fn signing_out_ends_the_device_and_removes_its_cookie() {
    let app = TestApp::start().await;
    let session = register(&app, "maria@example.org").await;
    let request = Request::post("/api/v1/auth/logout")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, format!("syndarix_refresh={}", token(&session)))
        .body(Body::from("{}"));
    let response = app.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(response.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(refresh(&app, &token(&session)).await.1["code"], "session_ended");
    assert_eq!(audited(&app, "auth.logout").await.len(), 1);
    let (status, _) = app.send(Method::POST, "/api/v1/auth/logout", None, Some(json!({}))).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "nobody is signed in: that is what was asked for");
}

#[tokio::test]
async fn neither_passwords_nor_tokens_are_stored() {
    let app = TestApp::start().await;
    let session = register(&app, "maria@example.org").await;
    let (_, renewed) = refresh(&app, &token(&session)).await;
    let everything: String = sqlx::query_scalar(
        "select concat((select string_agg(u::text, '') from app_user u), (select string_agg(s::text, '') from session s),
                (select string_agg(encode(a.payload, 'escape'), '') from audit_entry a))",
    )
    .fetch_one(app.app.pool())
    .await
    .unwrap();
    let raw = |text: &str| {
        use base64::Engine;
        hex::encode(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap())
    };
    assert!(everything.contains("$argon2id$"));
    for secret in
        [PASSWORD.to_owned(), token(&session), token(&renewed), raw(&token(&session)), raw(&token(&renewed))]
    {
        assert!(!everything.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn an_older_epoch_is_refused() {
    let app = TestApp::start().await;
    let session = register(&app, "maria@example.org").await;
    sqlx::query("update app_user set token_epoch = 1").execute(app.app.pool()).await.unwrap();
    let (status, _) = app.get("/api/v1/me", session["access_token"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn organisations_are_founded_by_anybody_and_seen_by_their_members_only() {
    let app = TestApp::start().await;
    let (maria, otto) = (app.user("maria").await, app.user("otto").await);
    let (status, founded) = app.post("/api/v1/organisations", &maria, json!({ "name": "Acme" })).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&founded["name"], &founded["role"]), (&json!("Acme"), &json!("owner")));
    let names = |list: Value| {
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(app.get("/api/v1/organisations", &maria).await.1), ["Acme", "maria's organisation"]);
    assert_eq!(names(app.get("/api/v1/organisations", &otto).await.1), ["otto's organisation"]);
}

/// Waits until so many connections to this database wait for a lock.
async fn until_waiting(app: &TestApp, connections: i64) {
    let started = std::time::Instant::now();
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(app.app.pool())
        .await
        .unwrap();
        if waiting >= connections {
            return;
        }
        assert!(started.elapsed().as_secs() < 20, "{waiting} of {connections} wait");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_sign_out_beside_a_rotation_leaves_no_live_token() {
    let app = TestApp::start().await;
    let first = token(&register(&app, "maria@example.org").await);
    let body = json!({ "refresh_token": first });
    // The rotation has to wait for this row before it can write the successor.
    let mut held = app.app.pool().begin().await.unwrap();
    sqlx::query("select from app_user for update").execute(&mut *held).await.unwrap();

    let rotation = refresh(&app, &first);
    let sign_out = async {
        until_waiting(&app, 1).await;
        app.send(Method::POST, "/api/v1/auth/logout", None, Some(body)).await
    };
    let release = async {
        until_waiting(&app, 2).await;
        held.commit().await.unwrap();
    };
    let ((rotated, session), (signed_out, _), ()) = tokio::join!(rotation, sign_out, release);

    assert_eq!((rotated, signed_out), (StatusCode::OK, StatusCode::NO_CONTENT));
    let (status, problem) = refresh(&app, &token(&session)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &json!("session_ended")));
}

#[tokio::test]
async fn whoever_is_signed_out_everywhere_stays_out_with_every_token_until_the_next_sign_in() {
    let app = TestApp::start().await;
    let phone = register(&app, "maria@example.org").await;
    let laptop = body(form(&app, "maria@example.org", PASSWORD).await).await;
    let access = |session: &Value| session["access_token"].as_str().unwrap().to_owned();

    let (status, _) = app.post("/api/v1/me/sign-out", &access(&laptop), json!({})).await;

    assert_eq!(status, StatusCode::NO_CONTENT);
    for session in [&phone, &laptop] {
        assert_eq!(refresh(&app, &token(session)).await.1["code"], "session_ended");
        assert_eq!(app.get("/api/v1/me", &access(session)).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(audited(&app, "auth.logout_everywhere").await.len(), 1);
    let again = body(form(&app, "maria@example.org", PASSWORD).await).await;
    assert_eq!(refresh(&app, &token(&again)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_device_that_is_used_every_week_still_signs_in_twice_a_year() {
    let app = TestApp::start().await;
    let mut last = token(&register(&app, "maria@example.org").await);
    for _ in 0..25 {
        app.clock.set(app.clock.now() + Duration::days(7));
        let (status, session) = refresh(&app, &last).await;
        assert_eq!(status, StatusCode::OK, "{session}");
        last = token(&session);
    }
    app.clock.set(app.clock.now() + Duration::days(7));
    assert_eq!(refresh(&app, &last).await.1["code"], "session_ended");
}

#[tokio::test]
async fn a_sign_in_clears_away_what_expired_of_anybody() {
    let app = TestApp::start().await;
    register(&app, "maria@example.org").await;
    app.clock.set(app.clock.now() + Duration::days(31));
    register(&app, "otto@example.org").await;
    let left: i64 =
        sqlx::query_scalar("select count(*) from session").fetch_one(app.app.pool()).await.unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_every_other_device() {
    let app = TestApp::start().await;
    let phone = register(&app, "maria@example.org").await;
    let laptop = body(form(&app, "maria@example.org", PASSWORD).await).await;
    let change = async |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        app.post("/api/v1/me/password", laptop["access_token"].as_str().unwrap(), body).await
    };
    let (status, problem) = change("not the right one", "another horse battery").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["errors"][0]["field"], "current_password");
    assert_eq!(change(PASSWORD, "short").await.1["errors"][0]["field"], "new_password");

    let (status, session) = change(PASSWORD, "another horse battery").await;

    assert_eq!(status, StatusCode::OK, "{session}");
    assert_eq!(refresh(&app, &token(&phone)).await.1["code"], "session_ended");
    assert_eq!(refresh(&app, &token(&session)).await.0, StatusCode::OK);
    assert_eq!(app.get("/api/v1/me", session["access_token"].as_str().unwrap()).await.0, StatusCode::OK);
    assert_eq!(form(&app, "maria@example.org", PASSWORD).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(form(&app, "maria@example.org", "another horse battery").await.status(), StatusCode::OK);
}

/// A request that comes from this address.
async fn from(
    app: &TestApp,
    peer: &str,
    forwarded: &str,
    path: &str,
    kind: &str,
    text: String,
) -> Response<Body> {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, kind)
        .header("x-forwarded-for", forwarded)
        .extension(axum::extract::ConnectInfo(http::Peer(format!("{peer}:4711").parse().unwrap())));
    app.router.clone().oneshot(request.body(Body::from(text)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_list_of_leaked_passwords_is_stopped_for_its_network_and_for_nobody_else_behind_the_proxy() {
    let app =
        TestApp::start_with(|config| config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()]).await;
    register(&app, "maria@example.org").await;
    let guess = async |client: &str, email: &str, password: &str| {
        let text = format!("username={email}&password={}", password.replace(' ', "+"));
        let kind = "application/x-www-form-urlencoded";
        from(&app, "10.0.0.1", client, "/api/v1/auth/login", kind, text).await.status()
    };
    for _ in 0..3 {
        assert_eq!(guess("203.0.113.7", "maria@example.org", PASSWORD).await, StatusCode::OK);
    }
    // What the hundred failures before it leave; making them takes a hundred hashes.
    sqlx::query("update login_attempt set attempts = 99").execute(app.app.pool()).await.unwrap();

    assert_eq!(guess("203.0.113.7", "a@example.org", "wrong").await, StatusCode::UNAUTHORIZED);
    let stopped = guess("203.0.113.7", "b@example.org", "wrong").await;

    assert_eq!(stopped, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess("203.0.113.8", "maria@example.org", PASSWORD).await, StatusCode::OK);
    let entries = audited(&app, "auth.login").await;
    assert_eq!(entries.last().unwrap()["address"], "203.0.113.8");
}

#[tokio::test]
async fn a_network_registers_so_many_accounts_at_a_time() {
    let app = TestApp::start().await;
    let register = async |n: u32| {
        let account = json!({ "email": format!("p{n}@example.org"), "name": "P", "password": PASSWORD });
        let (path, kind) = ("/api/v1/auth/register", "application/json");
        from(&app, "203.0.113.7", "", path, kind, account.to_string()).await.status()
    };
    assert_eq!(register(1).await, StatusCode::CREATED);
    sqlx::query("update login_attempt set attempts = 50").execute(app.app.pool()).await.unwrap();
    assert_eq!(register(2).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn an_owner_brings_people_into_the_organisation_and_removes_them_from_its_projects_too() {
    let app = TestApp::start().await;
    let (maria, otto) = (app.user("maria").await, app.user("otto").await);
    let project = format!("/api/v1/projects/{}", app.project(&maria).await);
    let (_, mine) = app.get("/api/v1/organisations", &maria).await;
    let members = format!("/api/v1/organisations/{}/members", mine["items"][0]["id"].as_str().unwrap());
    let put = async |by: &str, email: &str, role: &str| {
        app.post(&members, by, json!({ "email": email, "role": role })).await
    };
    assert_eq!(put(&otto, "otto@example.org", "admin").await.0, StatusCode::NOT_FOUND, "a stranger");
    assert_eq!(put(&maria, "nobody@example.org", "member").await.1["errors"][0]["field"], "email");
    assert_eq!(put(&maria, "otto@example.org", "owner").await.1["errors"][0]["field"], "role");
    assert_eq!(put(&maria, "maria@example.org", "member").await.1["code"], "owner_stays");

    assert_eq!(put(&maria, "Otto@example.org", "member").await.0, StatusCode::CREATED);
    assert_eq!(app.get("/api/v1/me", &otto).await.1["organisations"][0]["role"], "member");
    assert_eq!(app.get(&project, &otto).await.0, StatusCode::NOT_FOUND, "members see what names them");
    assert_eq!(app.get(&members, &otto).await.0, StatusCode::FORBIDDEN);
    let (_, admin) = put(&maria, "otto@example.org", "admin").await;
    assert_eq!(app.get(&project, &otto).await.0, StatusCode::OK);
    assert_eq!(app.get(&members, &otto).await.1["items"].as_array().unwrap().len(), 2);
    app.post(&format!("{project}/members"), &maria, json!({ "email": "otto@example.org", "role": "viewer" }))
        .await;

    let path = format!("{members}/{}", admin["user_id"].as_str().unwrap());
    let (status, _) = app.send(Method::DELETE, &path, Some(&maria), None).await;

    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(app.get(&project, &otto).await.0, StatusCode::NOT_FOUND);
    assert_eq!(app.send(Method::DELETE, &path, Some(&maria), None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(audited(&app, "organisation.member_removed").await.len(), 1);
}
