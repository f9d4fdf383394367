//! The application, tested through its router against a real PostgreSQL.

<<<<<<< HEAD
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up fails loudly")]

=======
mod auth;
>>>>>>> 5c8c45e (features/auth, features/projects: Prove sign-in, projects and tenancy through the router)
mod floor;
mod projects;
mod support;
mod tenancy;
