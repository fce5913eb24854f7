//! Namespaces over HTTP.

use std::collections::{HashMap, HashSet};

use berglake_format::{Error, ErrorKind, NamespaceIdent, Result};
use http::Method;

use super::transport::Request;
use super::{Found, Inner};
use crate::rest::protocol::{
    CreateNamespaceRequest, GetNamespaceResponse, ListNamespacesResponse,
    UpdateNamespacePropertiesRequest, encode_segment, endpoints,
};

impl Inner {
    pub(super) async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        if let Some(parent) = parent {
            can_be_addressed(parent)?;
        }
        let mut all: Vec<NamespaceIdent> = self
            .pages(
                || {
                    let request = Request::new(Method::GET, self.paths.namespaces());
                    match parent {
                        Some(parent) => request.query("parent", self.paths.encode(parent)),
                        None => request,
                    }
                },
                |page: ListNamespacesResponse| (page.namespaces, page.next_page_token),
            )
            .await?;
        all.sort_unstable_by(|a, b| a.iter().cmp(b.iter()));
        all.dedup();
        Ok(all)
    }

    /// All pages of a listing.
    pub(super) async fn pages<Page, T>(
        &self,
        request: impl Fn() -> Request,
        take: impl Fn(Page) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>>
    where
        Page: serde::de::DeserializeOwned,
    {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        // An empty token says that the client understands pages.
        let mut token = String::new();
        loop {
            let request = request().query("pageToken", encode_segment(&token));
            let (items, next) = take(self.get(&request).await?);
            all.extend(items);
            match next.filter(|next| !next.is_empty()) {
                None => return Ok(all),
                Some(next) if !seen.insert(next.clone()) => {
                    return Err(Error::corrupt(
                        "the catalog's listing does not come to an end: a page token came twice",
                    )
                    .with("catalog", self.transport.base())
                    .with("request", &request));
                }
                Some(next) => token = next,
            }
        }
    }

    pub(super) async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.need(endpoints::CREATE_NAMESPACE, "create namespaces")?;
        let request =
            self.mutation(Method::POST, self.paths.namespaces())
                .json(&CreateNamespaceRequest {
                    namespace: namespace.clone(),
                    properties: properties.clone(),
                })?;
        let look = || async {
            match self.load_namespace(namespace).await {
                // A namespace that somebody else made in the same way is as good.
                Ok(there) if holds(&there, &properties) => Ok(Found::Done(())),
                Ok(_) => Ok(Found::Never(
                    Error::new(
                        ErrorKind::AlreadyExists,
                        format!("the namespace {} exists", namespace.join(".")),
                    )
                    .with("catalog", self.transport.base()),
                )),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Not),
                Err(error) => Err(error),
            }
        };
        self.change(&request, |_| Ok(()), look).await
    }

    pub(super) async fn load_namespace(
        &self,
        namespace: &NamespaceIdent,
    ) -> Result<HashMap<String, String>> {
        can_be_addressed(namespace)?;
        let request = Request::new(Method::GET, self.paths.namespace(namespace));
        let namespace: GetNamespaceResponse = self.get(&request).await?;
        Ok(namespace.properties)
    }

    pub(super) async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()> {
        self.need(
            endpoints::UPDATE_NAMESPACE,
            "change properties of namespaces",
        )?;
        can_be_addressed(namespace)?;
        let request = self
            .mutation(Method::POST, self.paths.namespace_properties(namespace))
            .json(&UpdateNamespacePropertiesRequest {
                removals: removals.clone(),
                updates: updates.clone(),
            })?;
        let look = || async {
            let there = self.load_namespace(namespace).await?;
            let done =
                holds(&there, &updates) && removals.iter().all(|key| !there.contains_key(key));
            Ok(if done { Found::Done(()) } else { Found::Not })
        };
        self.change(&request, |_| Ok(()), look).await
    }

    pub(super) async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.need(endpoints::DROP_NAMESPACE, "drop namespaces")?;
        can_be_addressed(namespace)?;
        let request = self.mutation(Method::DELETE, self.paths.namespace(namespace));
        let look = || async {
            match self.load_namespace(namespace).await {
                Ok(_) => Ok(Found::Not),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Done(())),
                Err(error) => Err(error),
            }
        };
        self.change(&request, |_| Ok(()), look).await
    }
}

/// Whether all of these are among them.
fn holds(there: &HashMap<String, String>, asked: &HashMap<String, String>) -> bool {
    asked
        .iter()
        .all(|(key, value)| there.get(key) == Some(value))
}

/// Refuses names that would lead to another place when they stand in an address: an empty one is
/// that of the listing, and dots are taken for a way up by everything between here and the server.
pub(super) fn can_be_addressed(namespace: &NamespaceIdent) -> Result<()> {
    for level in namespace.iter() {
        if !is_segment(level) || level.contains('\u{1f}') {
            return Err(
                Error::not_found(format!("there is no namespace {}", namespace.join(".")))
                    .help("no catalog can have a namespace of this name"),
            );
        }
    }
    Ok(())
}

/// Whether a name can be a segment of a path.
pub(super) fn is_segment(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
}
