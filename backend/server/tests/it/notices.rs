//! Mail to people: who gets it, what it says, and that a job that comes again tells nobody twice.

use crate::{scene::Scene, support::TestApp};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A mail server that keeps what it gets, or refuses for now.
#[derive(Clone, Default)]
struct MailServer {
    mails: Arc<Mutex<Vec<String>>>,
    busy: Arc<Mutex<bool>>,
}

impl MailServer {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(server.clone().talk(socket));
            }
        });
        format!("smtp://{address}")
    }

    async fn talk(self, socket: TcpStream) {
        let (read, mut write) = socket.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut say = async |text: &str| write.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        say("220 mail").await;
        while let Ok(Some(line)) = lines.next_line().await {
            match line.split(' ').next().unwrap_or_default() {
                "EHLO" => say("250 mail").await,
                "MAIL" if *self.busy.lock().unwrap() => say("451 later").await,
                "DATA" => {
                    say("354 go on").await;
                    let mut mail = String::new();
                    while let Some(line) = lines.next_line().await.unwrap().filter(|line| line != ".") {
                        mail.push_str(&line);
                        mail.push('\n');
                    }
                    self.mails.lock().unwrap().push(mail);
                    say("250 taken").await;
                }
                "QUIT" => return say("221 bye").await,
                _ => say("250 ok").await,
            }
        }
    }

    fn to(&self, name: &str) -> Vec<String> {
        let mails = self.mails.lock().unwrap();
        mails.iter().filter(|mail| mail.contains(&format!("<{name}@example.org>"))).cloned().collect()
    }
}

async fn with_mail(server: &MailServer) -> TestApp {
    let url = server.start().await;
    TestApp::start_with(|config| {
        config.smtp_url = Some(url);
        config.public_url = Some("https://syndarix.example.org/".into());
    })
    .await
}

async fn deliveries(test: &TestApp) -> Vec<(String, String, i32, bool)> {
    sqlx::query_as(
        "select u.name, d.state, d.attempts, d.uncertain from notification_delivery d
         join app_user u on u.id = d.user_id order by d.id",
    )
    .fetch_all(test.app.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn approvers_get_a_mail_with_a_link_and_owners_when_it_is_escalated() {
    let server = MailServer::default();
    let test = with_mail(&server).await;
    let scene = Scene::analysis(&test).await;
    scene.member("paul", "approver").await;
    scene.member("vera", "viewer").await;
    sqlx::query("delete from project_member where role = 'admin'").execute(test.app.pool()).await.unwrap();
    let asked = scene.offer_requirements().await;
    test.run_jobs().await;
    let link = format!("https://syndarix.example.org/projects/{}/approvals/{}", scene.project, asked.id);
    let mails = server.to("paul");
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("Agree to requirements of a story"), "{}", mails[0]);
    assert!(mails[0].replace("=\n", "").contains(&link), "{}", mails[0]);
    assert_eq!((server.to("maria").len(), server.to("vera").len()), (0, 0));
    test.ring(asked.id.0, "approval.remind").await;
    assert_eq!((server.to("paul").len(), server.to("maria").len()), (2, 0));
    test.ring(asked.id.0, "approval.remind").await;
    assert_eq!((server.to("paul").len(), server.to("maria").len()), (3, 1));
    assert!(server.to("maria")[0].contains("[escalated]"));
}

#[tokio::test]
async fn a_job_that_comes_again_sends_nothing_to_whom_it_was_sent() {
    let server = MailServer::default();
    let test = with_mail(&server).await;
    let scene = Scene::analysis(&test).await;
    scene.offer_requirements().await;
    let (kind, payload): (String, serde_json::Value) =
        sqlx::query_as("select kind, payload from job where kind = 'people.notify'")
            .fetch_one(test.app.pool())
            .await
            .unwrap();
    test.run_jobs().await;
    let again = async || {
        let job = syndarix_jobs::NewJob::new("default", &kind, payload.clone()).for_project(scene.project.0);
        let mut conn = test.app.pool().acquire().await.unwrap();
        syndarix_jobs::enqueue(&mut conn, &job).await.unwrap();
        drop(conn);
        test.run_jobs().await;
    };
    again().await;
    assert_eq!(server.to("maria").len(), 1);
    // The process died between the mail server's answer and the record: nobody knows, so it is sent again and said.
    sqlx::query("update notification_delivery set state = 'sending'").execute(test.app.pool()).await.unwrap();
    again().await;
    let mails = server.to("maria");
    assert_eq!(mails.len(), 2);
    assert!(mails[1].contains("You may have got this mail already"));
    let id = |mail: &str| mail.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
    assert_eq!(id(&mails[0]), id(&mails[1]));
    assert_eq!(deliveries(&test).await, [("maria".into(), "sent".into(), 2, true)]);
}

#[tokio::test]
async fn a_busy_mail_server_is_tried_again() {
    let server = MailServer::default();
    *server.busy.lock().unwrap() = true;
    let test = with_mail(&server).await;
    let scene = Scene::analysis(&test).await;
    scene.offer_requirements().await;
    test.run_jobs().await;
    assert_eq!(deliveries(&test).await[0].1, "failed");
    *server.busy.lock().unwrap() = false;
    sqlx::query("update job set run_at = now(), due = true where kind = 'people.notify'")
        .execute(test.app.pool())
        .await
        .unwrap();
    test.run_jobs().await;
    assert_eq!(deliveries(&test).await, [("maria".into(), "sent".into(), 2, false)]);
    assert_eq!(server.to("maria").len(), 1);
}

#[tokio::test]
async fn without_a_mail_server_mail_is_kept_in_the_data_directory() {
    let test = TestApp::start().await;
    let scene = Scene::analysis(&test).await;
    scene.offer_requirements().await;
    test.run_jobs().await;
    let mails: Vec<_> = std::fs::read_dir(test.app.config.data_dir.join("mail")).unwrap().collect();
    assert_eq!(mails.len(), 1);
    let mail = std::fs::read_to_string(mails[0].as_ref().unwrap().path()).unwrap();
    assert!(mail.contains("To: maria <maria@example.org>"), "{mail}");
}
