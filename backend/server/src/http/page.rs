//! Lists in pages.

use super::ApiError;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

/// The most items in one answer.
const MAX_PAGE: i64 = 200;
/// Items in one answer when nothing is said.
const DEFAULT_PAGE: i64 = 50;

/// Which part of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// At most this many items, 1 to 200; 50 when nothing is said.
    pub limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    pub cursor: Option<String>,
}

impl Page {
    /// The limit, checked.
    pub fn limit(&self) -> Result<i64, ApiError> {
        match self.limit {
            None => Ok(DEFAULT_PAGE),
            Some(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
            Some(_) => Err(ApiError::invalid("limit", format!("must be from 1 to {MAX_PAGE}"))),
        }
    }

    /// Where the last page ended, for a list that goes on after its last item's key, whatever came or went meanwhile.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, ApiError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|key| serde_json::from_slice(&key).ok());
        key.map(Some).ok_or_else(|| ApiError::invalid("cursor", "is not one that this API gave"))
    }

    /// The cursor as an offset, for a list whose order hardly moves under a reader: what comes on top meanwhile shows an item
    /// twice, and what leaves it hides one.
    pub fn offset(&self) -> Result<i64, ApiError> {
        match &self.cursor {
            None => Ok(0),
            Some(cursor) => cursor
                .parse::<i64>()
                .ok()
                .filter(|offset| *offset >= 0)
                .ok_or_else(|| ApiError::invalid("cursor", "is not one that this API gave")),
        }
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// Everything there is.
    pub fn all(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }

    /// A page out of rows that were fetched with one more than its limit.
    pub fn page(mut items: Vec<T>, page: &Page) -> Result<Self, ApiError> {
        let (limit, offset) = (page.limit()?, page.offset()?);
        let more = i64::try_from(items.len()).unwrap_or(i64::MAX) > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Self { items, next_cursor: more.then(|| (offset + limit).to_string()) })
    }

    /// The same for a list that goes on after the key of its last item.
    pub fn keyed<K: Serialize>(
        mut items: Vec<T>,
        page: &Page,
        key: impl Fn(&T) -> K,
    ) -> Result<Self, ApiError> {
        let limit = usize::try_from(page.limit()?).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more).map(|item| serde_json::to_vec(&key(item))).transpose();
        let last = last.map_err(|error| ApiError::internal(&error))?;
        Ok(Self { items, next_cursor: last.map(|key| URL_SAFE_NO_PAD.encode(key)) })
    }
}
