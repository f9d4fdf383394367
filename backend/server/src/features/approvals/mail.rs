//! One mail: to a mail server, or, without one, into the data directory. It links to a page; following the link
//! decides nothing.

use super::{
    delivery::{Delivery, Person},
    notify::Notice,
};
use crate::{config::Config, state::App};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use std::time::Duration;
use syndarix_domain::ids::ProjectId;

/// A mail server that has not taken the mail by then is tried again later.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest subject line, in characters.
const MAX_SUBJECT: usize = 120;

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSent {
    /// Another attempt may succeed.
    #[error("{0}")]
    ForNow(String),
    /// Another attempt would fail the same way.
    #[error("{0}")]
    ForGood(String),
}

/// The page about a subject: `approval/<id>`, `story/<id>`, `run/<id>`.
pub(super) fn link(config: &Config, project: ProjectId, subject: &str) -> String {
    let base = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let base = base.trim_end_matches('/');
    let page = match subject.split_once('/') {
        Some(("approval", id)) => format!("approvals/{id}"),
        Some(("story", id)) => format!("stories/{id}"),
        Some(("run", id)) => format!("runs/{id}"),
        _ => String::new(),
    };
    format!("{base}/projects/{project}/{page}")
}

/// Sends one mail to one person.
pub(super) async fn send(
    app: &App,
    notice: &Notice,
    link: &str,
    person: &Person,
    delivery: &Delivery,
) -> Result<(), NotSent> {
    let message = compose(&app.config, notice, link, person, delivery)?;
    match &app.config.smtp_url {
        Some(url) => smtp(url, message).await,
        None => write(&app.config, delivery, &message).await,
    }
}

fn compose(
    config: &Config,
    notice: &Notice,
    link: &str,
    person: &Person,
    delivery: &Delivery,
) -> Result<Message, NotSent> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| NotSent::ForGood(format!("{what}: {error}"));
    let from: Mailbox = config.mail_from.parse().map_err(|error| wrong("the sender of mail", &error))?;
    let address = person.email.parse().map_err(|error| wrong("the address", &error))?;
    let subject: String = notice.sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    let subject: String = subject.chars().take(MAX_SUBJECT).collect();
    Message::builder()
        .from(from)
        .to(Mailbox::new(Some(person.name.clone()), address))
        .subject(if notice.escalated { format!("[escalated] {subject}") } else { subject })
        .message_id(Some(format!("<{}@syndarix>", delivery.id)))
        .header(ContentType::TEXT_PLAIN)
        .body(text(notice, link, delivery))
        .map_err(|error| wrong("the mail", &error))
}

fn text(notice: &Notice, link: &str, delivery: &Delivery) -> String {
    let mut text = format!("{}\n\n{link}\n", notice.sentence);
    if notice.subject.starts_with("approval/") {
        text.push_str(
            "\nThe page shows what exactly is asked for. You decide there, signed in; opening the link decides nothing.\n",
        );
    }
    if delivery.maybe_sent {
        text.push_str("\nYou may have got this mail already: the first attempt was interrupted.\n");
    }
    text
}

async fn smtp(url: &str, message: Message) -> Result<(), NotSent> {
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
        .map_err(|error| NotSent::ForNow(format!("the address of the mail server: {error}")))?
        .timeout(Some(TIMEOUT))
        .build();
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_permanent() => {
            Err(NotSent::ForGood(format!("the mail server refused: {error}")))
        }
        Err(error) => Err(NotSent::ForNow(format!("the mail server: {error}"))),
    }
}

/// Into a file named after the delivery: a second attempt replaces the first.
async fn write(config: &Config, delivery: &Delivery, message: &Message) -> Result<(), NotSent> {
    let folder = config.data_dir.join("mail");
    let file = folder.join(format!("{}.eml", delivery.id));
    let written = async {
        tokio::fs::create_dir_all(&folder).await?;
        tokio::fs::write(&file, message.formatted()).await
    };
    written.await.map_err(|error| NotSent::ForNow(format!("{}: {error}", file.display())))
}
