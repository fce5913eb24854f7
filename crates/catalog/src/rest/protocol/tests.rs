use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use serde_json::json;

use super::*;
use berglake_format::{NamespaceIdent, TableIdent};

fn namespace(levels: &[&str]) -> NamespaceIdent {
    NamespaceIdent::from_strs(levels).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    let ident = TableIdent::new(namespace(&["accounting", "tax"]), "paid".to_string());
    let plain = Paths::default();
    assert_eq!(plain.namespaces(), "/v1/namespaces");
    assert_eq!(
        plain.table(&ident),
        "/v1/namespaces/accounting%1Ftax/tables/paid"
    );
    let prefixed = Paths::new(Some("a b/c")).with_separator("%2E");
    assert_eq!(
        prefixed.metrics(&ident),
        "/v1/a%20b/c/namespaces/accounting%2Etax/tables/paid/metrics"
    );
    assert_eq!(prefixed.rename(), "/v1/a%20b/c/tables/rename");
}

#[test]
fn every_name_comes_back_from_its_path() {
    for name in [
        "a",
        "a b",
        "a+b",
        "ä%2F/\\",
        "..",
        ".",
        "a.b",
        "?#&=",
        "\u{1f600}",
    ] {
        let encoded = encode_segment(name);
        assert!(!encoded.contains(['/', '+', ' ', '?', '#']), "{encoded}");
        assert_ne!(encoded, "..");
        assert_eq!(decode_segment(&encoded).unwrap(), name);
    }
    let nested = namespace(&["a.b", "c d", "e"]);
    assert_eq!(
        decode_namespace(&Paths::default().encode(&nested)).unwrap(),
        nested
    );
}

#[test]
fn a_plus_is_a_space_as_java_writes_it() {
    assert_eq!(decode_segment("a+b%2Bc").unwrap(), "a b+c");
}

#[test]
fn broken_names_are_refused() {
    for wrong in ["%", "%1", "%zz", "%FF", "a%C3"] {
        assert!(decode_segment(wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "%1F", "a%1F", "%1Fa", "a%1F%1Fb"] {
        assert!(decode_namespace(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn requests_are_read_as_other_clients_write_them() {
    let create: CreateTableRequest = serde_json::from_value(json!({
        "name": "t", "location": null, "stage-create": true, "write-order": null,
        "schema": {"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long"}]},
        "partition-spec": {"spec-id": 0, "fields": [
            {"source-id": 1, "field-id": 1000, "name": "id_bucket", "transform": "bucket[4]"}]},
        "properties": {"a": "b"}
    }))
    .unwrap();
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([id.into()]).build().unwrap();
    assert_eq!(create.schema.as_struct(), schema.as_struct());
    assert!(create.stage_create && create.location.is_none());

    let commit: CommitTableRequest = serde_json::from_value(json!({
        "identifier": {"namespace": ["a"], "name": "t"},
        "requirements": [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}],
        "updates": [{"action": "set-properties", "updates": {"a": "b"}}]
    }))
    .unwrap();
    assert_eq!((commit.requirements.len(), commit.updates.len()), (1, 1));

    let update: UpdateNamespacePropertiesRequest =
        serde_json::from_value(json!({"removals": null, "updates": {"a": "b"}})).unwrap();
    assert!(update.removals.is_empty());

    let report: ReportMetricsRequest =
        serde_json::from_value(json!({"report-type": "scan-report", "table-name": "t"})).unwrap();
    assert_eq!(report.report["table-name"], "t");
}

#[test]
fn errors_have_the_form_of_the_specification() {
    let response = ErrorResponse {
        error: ErrorModel {
            message: "there is no table a.t".to_string(),
            error_type: error_type::NO_SUCH_TABLE.to_string(),
            code: 404,
            ..ErrorModel::default()
        },
    };
    assert_eq!(
        serde_json::to_value(&response).unwrap(),
        json!({"error": {"message": "there is no table a.t", "type": "NoSuchTableException", "code": 404}})
    );
}

#[test]
fn settings_that_may_be_secret_are_not_printed() {
    let config = HashMap::from([("s3.secret-access-key".to_string(), "hush".to_string())]);
    let loaded = LoadTableResult {
        metadata_location: None,
        metadata: (),
        config: config.clone(),
        storage_credentials: vec![StorageCredential {
            prefix: "s3://".to_string(),
            config: config.clone(),
        }],
    };
    let server = ConfigResponse {
        defaults: config.clone(),
        overrides: config,
        endpoints: None,
        idempotency_key_lifetime: None,
    };
    let printed = format!("{loaded:?} {server:?}");
    assert!(!printed.contains("hush"), "{printed}");
    assert!(printed.contains("s3.secret-access-key"));
}

#[test]
fn a_server_that_lists_nothing_has_the_default_endpoints() {
    let server: ConfigResponse =
        serde_json::from_value(json!({"defaults": {}, "overrides": {}})).unwrap();
    assert!(server.supports(endpoints::LOAD_TABLE));
    assert!(!server.supports(endpoints::TABLE_EXISTS));
    let own = HashMap::from([("a".to_string(), "own".to_string())]);
    assert_eq!(server.merge(&own)["a"], "own");
}
