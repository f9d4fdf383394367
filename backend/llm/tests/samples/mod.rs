//! Requests and answers that both the tests and the documentation are made of.

pub(crate) mod translation;
