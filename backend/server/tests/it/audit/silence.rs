//! The sealer while its lines to the database are dead without a word: they stay open, and nothing gets through.

use super::{check, sealing_as};
use crate::{
    events::{happen, person, project},
    support::TestApp,
};
use sqlx::postgres::PgConnectOptions;
use std::{
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
    /// When it is cancelled, nothing gets through on the lines of until then.
    silence: Arc<Mutex<CancellationToken>>,
}

impl Way {
    async fn to(server: &PgConnectOptions) -> Self {
        let server = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silence = Arc::new(Mutex::new(CancellationToken::new()));
        let (tracker, of_each) = (TaskTracker::new(), Arc::clone(&silence));
        tracker.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let silence = of_each.lock().unwrap().clone();
                tracker.spawn(carry(client, server.clone(), silence));
            }
        });
        Self { port, silence }
    }

    /// All lines that there are fall silent; new ones do not.
    fn fall_silent(&self) {
        std::mem::take(&mut *self.silence.lock().unwrap()).cancel();
    }
}

async fn carry(mut client: TcpStream, server: (String, u16), silence: CancellationToken) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let carried = silence.run_until_cancelled(copy_bidirectional(&mut client, &mut server)).await;
    if carried.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Waits until everything is sealed.
async fn sealed(test: &TestApp) {
    let open = "select exists (select from project_log l left join audit_head h on h.chain = l.project_id
                                where l.head > coalesce(h.event_seq, 0))";
    let started = Instant::now();
    while sqlx::query_scalar::<_, bool>(open).fetch_one(test.app.pool()).await.unwrap() {
        assert!(started.elapsed() < PATIENCE, "nobody seals");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until somebody has the duty.
async fn led(test: &TestApp) {
    let led = "select exists (select from leader_lease where duty = 'audit.sealer' and expires_at > now())";
    let started = Instant::now();
    while !sqlx::query_scalar::<_, bool>(led).fetch_one(test.app.pool()).await.unwrap() {
        assert!(started.elapsed() < PATIENCE, "nobody has the duty");
        tokio::task::yield_now().await;
    }
}

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
    led(&test).await;

    way.fall_silent();

    happen(&test, project, 2).await;
    sealed(&test).await;
    assert_eq!(check(&test, project).await.entries, 2);
}
