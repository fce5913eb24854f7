//! Pages of sorted lists.
//!
//! A page token is the last name of the page before it: what is created or dropped between two
//! requests neither repeats nor hides any other entry.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::error::ApiError;

/// Entries of a page where the client asks for pages and does not say how many.
const DEFAULT_SIZE: usize = 1000;

/// What a client says about pages.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageParams {
    #[serde(default)]
    page_token: Option<String>,
    #[serde(default)]
    page_size: Option<String>,
}

/// The part of a list that is asked for.
#[derive(Debug)]
pub(super) struct Page {
    after: Option<String>,
    size: usize,
}

impl PageParams {
    /// Who gives no token, not even an empty one, wants everything.
    pub(super) fn page(&self) -> Result<Page, ApiError> {
        let Some(token) = &self.page_token else {
            return Ok(Page {
                after: None,
                size: usize::MAX,
            });
        };
        let size = match self.page_size.as_deref() {
            None | Some("") => DEFAULT_SIZE,
            Some(text) => match text.parse() {
                Ok(size) if size > 0 => size,
                _ => {
                    return Err(ApiError::bad_request(format!(
                        "pageSize must be a number from 1, and is {text:?}"
                    )));
                }
            },
        };
        let after = match token.as_str() {
            "" => None,
            token => Some(
                URL_SAFE_NO_PAD
                    .decode(token)
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| ApiError::bad_request("pageToken is none of this server's"))?,
            ),
        };
        Ok(Page { after, size })
    }
}

impl Page {
    /// The entries of this page, and the token of the next if there is one. `name` gives what the
    /// list is sorted by, and no two entries have the same.
    pub(super) fn of<T>(
        self,
        entries: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Option<String>) {
        let start = match &self.after {
            Some(after) => entries.partition_point(|entry| name(entry) <= after.as_str()),
            None => 0,
        };
        let more = entries.len() - start > self.size;
        let page: Vec<T> = entries.into_iter().skip(start).take(self.size).collect();
        let next = match page.last() {
            Some(last) if more => Some(URL_SAFE_NO_PAD.encode(name(last))),
            _ => None,
        };
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(token: Option<&str>, size: Option<&str>) -> PageParams {
        PageParams {
            page_token: token.map(str::to_string),
            page_size: size.map(str::to_string),
        }
    }

    fn pages(names: &[&str], size: &str) -> Vec<Vec<String>> {
        let mut token = String::new();
        let mut pages = Vec::new();
        loop {
            let page = params(Some(&token), Some(size)).page().unwrap();
            let names = names.iter().map(ToString::to_string).collect();
            let (page, next) = page.of(names, |name: &String| name);
            pages.push(page);
            match next {
                Some(next) => token = next,
                None => return pages,
            }
        }
    }

    #[test]
    fn every_entry_is_on_one_page() {
        let names = ["a", "b", "c", "d"];
        assert_eq!(pages(&names, "3"), [vec!["a", "b", "c"], vec!["d"]]);
        assert_eq!(pages(&names, "2").len(), 2);
        assert_eq!(pages(&names, "4").len(), 1);
        assert_eq!(pages(&[], "4"), [vec![""; 0]]);
    }

    #[test]
    fn without_a_token_everything_is_on_one_page() {
        let page = params(None, Some("1")).page().unwrap();
        let (all, next) = page.of(vec!["a", "b"], |name| name);
        assert_eq!((all.len(), next), (2, None));
    }

    #[test]
    fn what_is_dropped_between_two_pages_hides_nothing() {
        let first = params(Some(""), Some("2")).page().unwrap();
        let (_, next) = first.of(vec!["a", "b", "c", "d"], |name| name);
        let second = params(next.as_deref(), Some("2")).page().unwrap();
        let (page, next) = second.of(vec!["c", "d"], |name| name);
        assert_eq!((page, next), (vec!["c", "d"], None));
    }

    #[test]
    fn sizes_and_tokens_that_are_none_are_refused() {
        for size in ["0", "-1", "x", "99999999999999999999999"] {
            assert!(params(Some(""), Some(size)).page().is_err(), "{size}");
        }
        assert!(params(Some("%%%"), None).page().is_err());
        assert!(params(Some("_w"), None).page().is_err());
    }
}
