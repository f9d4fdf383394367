//! The sealer while its lines to the database are dead without a word: they stay open, and nothing gets through.

use super::{sealed_within, sealing_as};
use crate::{
    events::{happen, person, project},
    support::TestApp,
};
use sqlx::postgres::PgConnectOptions;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A sealer waits half a minute for a line that says nothing; then the lease has to run out, too.
const PATIENCE: Duration = Duration::from_secs(90);

/// A way to the database's server.
struct Way {
    port: u16,
    /// Its lines, by the port that the server sees them come from. On one that is cancelled nothing gets through.
    lines: Arc<Mutex<HashMap<u16, CancellationToken>>>,
}

impl Way {
    async fn to(server: &PgConnectOptions) -> Self {
        let server = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Arc::<Mutex<HashMap<u16, CancellationToken>>>::default();
        let (tracker, all) = (TaskTracker::new(), Arc::clone(&lines));
        tracker.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server.clone()).await.unwrap();
                let silence = CancellationToken::new();
                all.lock().unwrap().insert(server.local_addr().unwrap().port(), silence.clone());
                tracker.spawn(carry(client, server, silence));
            }
        });
        Self { port, lines }
    }

    /// All lines that there are fall silent; new ones do not.
    fn fall_silent(&self) {
        self.lines.lock().unwrap().values().for_each(CancellationToken::cancel);
    }

    fn fall_silent_from(&self, port: u16) {
        self.lines.lock().unwrap()[&port].cancel();
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, silence: CancellationToken) {
    let carried = silence.run_until_cancelled(copy_bidirectional(&mut client, &mut server)).await;
    if carried.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Waits until there is what the query asks for.
async fn found<T>(test: &TestApp, query: &'static str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let started = Instant::now();
    loop {
        let row: Option<T> = sqlx::query_scalar(query).fetch_optional(test.app.pool()).await.unwrap();
        if let Some(found) = row {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "there is nothing: {query}");
        tokio::task::yield_now().await;
    }
}

const LED: &str = "select epoch from leader_lease where duty = 'audit.sealer' and expires_at > now()";

/// The lines of the lease, of the sealer, or of both are in use just then, or rest: it differs from time to time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_lines_fall_silent_sealing_goes_on() {
    let test = TestApp::start().await;
    let maria = person(&test, "maria").await;
    let project = project(&test, &maria).await;
    let server = test.app.pool().connect_options().as_ref().clone();
    let way = Way::to(&server).await;
    let app = test.another_by(server.host("127.0.0.1").port(way.port)).await;
    let _sealer = sealing_as(&app);
    found::<i64>(&test, LED).await;

    way.fall_silent();

    happen(&test, project, 2).await;
    let report = sealed_within(PATIENCE, &test, project, 2).await;
    assert_eq!((report.entries, report.first_bad), (2, None));
}

/// Its lease is renewed over another line, so that nobody else would begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealer_whose_own_line_falls_silent_half_way_begins_anew() {
    const WAITS: &str = "select client_port::int from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock' and query like '%audit_cursor%for update%'";
    let test = TestApp::start().await;
    let maria = person(&test, "maria").await;
    let project = project(&test, &maria).await;
    let server = test.app.pool().connect_options().as_ref().clone();
    let way = Way::to(&server).await;
    let app = test.another_by(server.host("127.0.0.1").port(way.port)).await;
    let mut holds = test.app.pool().begin().await.unwrap();
    sqlx::query("select from audit_cursor for update").execute(&mut *holds).await.unwrap();
    happen(&test, project, 2).await;
    let _sealer = sealing_as(&app);
    let port: i32 = found(&test, WAITS).await;
    let epoch: i64 = found(&test, LED).await;

    way.fall_silent_from(u16::try_from(port).unwrap());
    holds.rollback().await.unwrap();

    let report = sealed_within(PATIENCE, &test, project, 2).await;
    assert_eq!((report.entries, report.first_bad), (2, None));
    assert!(found::<i64>(&test, LED).await > epoch, "it was another term");
}
