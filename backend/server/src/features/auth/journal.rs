//! What the instance's own audit chain says of accounts and devices. Never a password, never a token.

use super::device::Device;
use crate::db::{
    Uow,
    audit::{Entry, Severity},
};
use serde_json::{Value, json};
use syndarix_domain::actor::Actor;

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    Registered,
    LoggedIn,
    LogInFailed,
    LoggedOut,
    LoggedOutEverywhere,
    PasswordChanged,
    RefreshReused,
}

impl Happening {
    fn describe(self) -> (&'static str, Severity, &'static str) {
        match self {
            Self::Registered => ("auth.registered", Severity::Info, "registered an account"),
            Self::LoggedIn => ("auth.login", Severity::Info, "signed in"),
            Self::LogInFailed => ("auth.login_failed", Severity::Warning, "failed to sign in"),
            Self::LoggedOut => ("auth.logout", Severity::Info, "signed out"),
            Self::LoggedOutEverywhere => {
                ("auth.logout_everywhere", Severity::Warning, "was signed out of every device")
            }
            Self::PasswordChanged => (
                "auth.password_changed",
                Severity::Critical,
                "got a new password; other devices were signed out",
            ),
            Self::RefreshReused => (
                "auth.refresh_reused",
                Severity::Critical,
                "a used refresh token came back: its device was signed out",
            ),
        }
    }
}

/// Adds the entry to the unit of work, on the instance's chain.
pub(super) fn note(uow: &mut Uow, actor: Actor, happening: Happening, device: &Device, details: &Value) {
    let (event_type, severity, action) = happening.describe();
    let entry = Entry {
        id: uow.new_id(),
        project: None,
        event_type: event_type.into(),
        category: "auth".into(),
        severity,
        actor,
        action: action.into(),
        data: json!({ "address": device.address, "user_agent": device.user_agent, "details": details }),
        at: uow.now(),
    };
    uow.audit(entry);
}
