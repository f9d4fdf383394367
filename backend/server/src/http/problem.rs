//! The shape of errors, and its place at every operation of the OpenAPI document.

use serde::{Deserialize, Serialize};
use utoipa::{
    Modify, PartialSchema, ToSchema,
    openapi::{Content, Ref, RefOr, ResponseBuilder},
};

/// Problem details (RFC 9457): what every error is. Some codes bring more members.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Problem {
    /// A URI of the code.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable: programs branch on it.
    pub code: String,
    /// One sentence for people that says what to do.
    pub detail: String,
    /// The request; the log knows it by this id.
    pub request_id: String,
    /// The fields that are wrong, with the status 422.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<ProblemField>>,
}

/// A wrong field.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct ProblemField {
    /// Its path in the body, or the query parameter.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

const KIND: &str = "application/problem+json";

/// Says of every operation that its errors are problems.
pub(super) struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.schemas.insert("Problem".into(), Problem::schema());
        components.schemas.insert("ProblemField".into(), ProblemField::schema());
        let content = || Content::new(Some(Ref::from_schema_name("Problem")));
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let responses = &mut operation.responses.responses;
                for (status, response) in responses.iter_mut() {
                    if let RefOr::T(response) = response
                        && status.starts_with(['4', '5'])
                    {
                        response.content.insert(KIND.into(), content().into());
                    }
                }
                let other = ResponseBuilder::new().description("Any other error").content(KIND, content());
                responses.insert("default".into(), other.build().into());
            }
        }
    }
}
