//! The built-in issue tracker: what people and agents note down beside the stories.
//!
//! Invariants: numbers are the project's own, dense and never given twice; a change and its events commit
//! together; lists carry no texts; agents may do here what editors may.
//!
//! Events: `issue.created`, `issue.updated`, `issue.closed`, `issue.reopened`, `issue.assigned`, `issue.commented`.

mod comments;
mod create;
mod limits;
mod queries;
mod read;
mod update;
mod view;

pub use comments::{CreateIssueComment, IssueCommentView};
pub use create::CreateIssue;
pub use update::UpdateIssue;
pub use view::IssueView;

use crate::state::App;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The operations of this feature.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read::list_issues, create::create_issue))
        .routes(routes!(read::show_issue, update::update_issue))
        .routes(routes!(comments::list_issue_comments, comments::comment_on_issue))
}
