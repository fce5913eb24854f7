//! What a server can do, as `/v1/config` lists it.

/// Lists namespaces.
pub const LIST_NAMESPACES: &str = "GET /v1/{prefix}/namespaces";
/// Creates a namespace.
pub const CREATE_NAMESPACE: &str = "POST /v1/{prefix}/namespaces";
/// Loads a namespace's properties.
pub const LOAD_NAMESPACE: &str = "GET /v1/{prefix}/namespaces/{namespace}";
/// Says whether a namespace exists.
pub const NAMESPACE_EXISTS: &str = "HEAD /v1/{prefix}/namespaces/{namespace}";
/// Drops a namespace.
pub const DROP_NAMESPACE: &str = "DELETE /v1/{prefix}/namespaces/{namespace}";
/// Sets and removes properties of a namespace.
pub const UPDATE_NAMESPACE: &str = "POST /v1/{prefix}/namespaces/{namespace}/properties";
/// Lists tables.
pub const LIST_TABLES: &str = "GET /v1/{prefix}/namespaces/{namespace}/tables";
/// Creates a table, or stages its creation.
pub const CREATE_TABLE: &str = "POST /v1/{prefix}/namespaces/{namespace}/tables";
/// Loads a table.
pub const LOAD_TABLE: &str = "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}";
/// Says whether a table exists.
pub const TABLE_EXISTS: &str = "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}";
/// Commits to a table.
pub const UPDATE_TABLE: &str = "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}";
/// Drops a table.
pub const DROP_TABLE: &str = "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}";
/// Registers a table by its metadata file.
pub const REGISTER_TABLE: &str = "POST /v1/{prefix}/namespaces/{namespace}/register";
/// Takes a report of a scan or a commit.
pub const REPORT_METRICS: &str = "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics";
/// Renames a table.
pub const RENAME_TABLE: &str = "POST /v1/{prefix}/tables/rename";
/// Commits to several tables, all or none.
pub const COMMIT_TRANSACTION: &str = "POST /v1/{prefix}/transactions/commit";

/// What a server can do that lists nothing.
pub const DEFAULT: [&str; 14] = [
    LIST_NAMESPACES,
    CREATE_NAMESPACE,
    LOAD_NAMESPACE,
    DROP_NAMESPACE,
    UPDATE_NAMESPACE,
    LIST_TABLES,
    CREATE_TABLE,
    LOAD_TABLE,
    UPDATE_TABLE,
    DROP_TABLE,
    REGISTER_TABLE,
    REPORT_METRICS,
    RENAME_TABLE,
    COMMIT_TRANSACTION,
];
