//! The web UI, embedded in the binary, and the interactive page of the API.

use super::ApiError;
use axum::{
    http::{HeaderValue, Method, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../frontend/dist"]
struct Assets;

/// The interactive page at `/docs`; its script is served from this binary.
pub(super) const API_PAGE: &str = include_str!("api_page.html");

/// Names with a hash in them never change their content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

/// A file of the UI, or its index: paths are routes of the UI. Paths of the API are never swallowed.
pub(super) async fn serve(method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") || path.starts_with("mcp/") {
        return ApiError::not_found("endpoint").into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return ApiError::not_found("endpoint").into_response();
    }
    // A missing asset is of another version of the UI: its index as a script would only hide that.
    let index = || (!path.starts_with("assets/")).then(|| file("index.html")).flatten();
    file(path).or_else(index).unwrap_or_else(|| ApiError::not_found("page").into_response())
}

fn file(path: &str) -> Option<Response> {
    let asset = Assets::get(path)?;
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let cache = if path.starts_with("assets/") { FOR_EVER } else { REVALIDATE };
    let mut response = asset.data.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(kind) = HeaderValue::from_str(kind.as_ref()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    Some(response)
}
