//! The whole HTTP surface: API, documents, health, UI.

use crate::{features, state::App};
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::Html,
    routing::get,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ComponentsBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{ApiError, REQUEST_ID, finish, models, problem, ui};

/// The largest body that is read, in bytes: a story, a decision with comments, an agent type.
const MAX_BODY: usize = 1024 * 1024;

const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

#[derive(OpenApi)]
#[openapi(info(
    title = "Syndarix",
    description = "Software built by agents, under human control. Errors are problem+json with a stable `code`."
))]
struct Document;

/// Whom the operations below ask for no access token: they give one, or end with what the cookie holds.
const OPEN: &str = "/api/v1/auth/";
const BEARER: &str = "bearer";

/// Says that everything else wants an access token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.take().unwrap_or_else(|| ComponentsBuilder::new().build());
        let with_scheme =
            ComponentsBuilder::from(components).security_scheme(BEARER, SecurityScheme::Http(scheme));
        document.components = Some(with_scheme.build());
        document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
        for (_, item) in document.paths.paths.iter_mut().filter(|(path, _)| path.starts_with(OPEN)) {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.security = Some(Vec::new());
            }
        }
    }
}

fn described() -> (Router<App>, utoipa::openapi::OpenApi) {
    let routes = OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", features::routes());
    let (api, mut document) = routes.split_for_parts();
    Bearer.modify(&mut document);
    problem::Problems.modify(&mut document);
    (api, document)
}

/// The OpenAPI document, as committed in docs/api/openapi.json.
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().1
}

/// The router of `serve`.
pub fn router(app: App) -> Router {
    let (api, document) = described();
    let document = Json(document);
    api.route("/api/v1/openapi.json", get(move || std::future::ready(document.clone())))
        .route("/docs", get(|| std::future::ready(Html(ui::API_PAGE))))
        .merge(features::operations::public_routes())
        .fallback(ui::serve)
        .method_not_allowed_fallback(|| {
            std::future::ready(ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not take this method; see /docs",
            ))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(finish::panicked))
        .layer(middleware::from_fn(finish::finish))
        .layer(middleware::from_fn(features::operations::measure))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(static_header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(static_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(static_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(static_header(header::X_FRAME_OPTIONS, "DENY"))
        // After the layers: answers of models take minutes, and their errors have formats of their own.
        .merge(models_api())
        .with_state(app)
}

/// What clients of models ask.
fn models_api() -> Router<App> {
    features::gateway::public_routes()
        .layer(CatchPanicLayer::custom(finish::panicked))
        .layer(middleware::from_fn(models::around))
}

fn static_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}
