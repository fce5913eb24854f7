CREATE TABLE berglake_metrics_reports (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    reported_at_ms BIGINT NOT NULL,
    principal VARCHAR(255) NOT NULL,
    report_type VARCHAR(64) NOT NULL,
    report TEXT NOT NULL
);

CREATE INDEX berglake_metrics_reports_by_table
    ON berglake_metrics_reports (catalog_name, table_namespace, table_name, reported_at_ms);

CREATE INDEX berglake_metrics_reports_by_time
    ON berglake_metrics_reports (catalog_name, reported_at_ms);

CREATE TABLE berglake_audit (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    catalog_name VARCHAR(255) NOT NULL,
    at_ms BIGINT NOT NULL,
    request_id VARCHAR(255) NOT NULL,
    principal VARCHAR(255) NOT NULL,
    action VARCHAR(255) NOT NULL,
    object TEXT NOT NULL,
    status VARCHAR(3) NOT NULL,
    error_type VARCHAR(255)
);

CREATE INDEX berglake_audit_by_time ON berglake_audit (catalog_name, at_ms);
