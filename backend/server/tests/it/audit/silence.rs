//! The sealer while its lines to the database are dead without a word: they stay open, and nothing gets through.

use super::{PATIENCE, sealing_as};
use crate::support::TestApp;
use sqlx::postgres::PgConnectOptions;
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

/// Waits until somebody has had the duty under a later epoch than this one, and still has it.
async fn led_after(test: &TestApp, epoch: i64) -> i64 {
    let led =
        "select epoch from leader_lease where duty = 'audit.sealer' and epoch > $1 and expires_at > now()";
    let started = Instant::now();
    loop {
        let led: Option<i64> =
            sqlx::query_scalar(led).bind(epoch).fetch_optional(test.app.pool()).await.unwrap();
        if let Some(epoch) = led {
            return epoch;
        }
        assert!(started.elapsed() < PATIENCE, "nobody has the duty");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_fall_silent_do_not_take_the_duty_away_for_good() {
    let test = TestApp::start().await;
    let server = test.app.pool().connect_options().as_ref().clone();
    let way = Way::to(&server).await;
    let app = test.another_by(server.host("127.0.0.1").port(way.port)).await;
    let _sealer = sealing_as(&app);
    let epoch = led_after(&test, 0).await;

    way.fall_silent();

    led_after(&test, epoch).await;
}
