//! Tables, all about them but commits.

use berglake_catalog::rest::server::ServerOptions;
use berglake_format::storage::Location;
use reqwest::Method;
use reqwest::header::IF_NONE_MATCH;
use serde_json::{Value, json};

use super::{Answer, Server, new_table, schema, send, snapshot};
use crate::support::sqlite;

pub async fn suite(server: &Server) {
    server.namespace(&["tab"]).await;
    create_load_and_drop(server).await;
    only_one_of_many_creates_a_table(server).await;
    pages(server).await;
    renames(server).await;
    registration(server).await;
    tags(server).await;
    metrics(server).await;
    let answer = server.delete("/v1/namespaces/tab").await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

async fn create_load_and_drop(server: &Server) {
    let body = json!({
        "name": "full", "schema": schema(), "properties": {"a": "b", "format-version": "3"},
        "partition-spec": {"spec-id": 0, "fields": [
            {"source-id": 5, "field-id": 1000, "name": "id_bucket", "transform": "bucket[4]"}]},
        "write-order": {"order-id": 1, "fields": [
            {"source-id": 7, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]},
        "stage-create": false
    });
    let created = server.post("/v1/namespaces/tab/tables", body.clone()).await;
    assert_eq!(created.status, 200, "{created:?}");
    let metadata = &created.body["metadata"];
    assert_eq!(metadata["format-version"], 3);
    assert_eq!(metadata["properties"]["a"], "b");
    // Field ids are the server's, and partitions and order follow them.
    assert_eq!(metadata["schemas"][0]["fields"][1]["id"], 2);
    assert_eq!(metadata["partition-specs"][0]["fields"][0]["source-id"], 1);
    assert_eq!(metadata["sort-orders"][0]["fields"][0]["source-id"], 2);
    let again = server.post("/v1/namespaces/tab/tables", body).await;
    again.is_error(409, "AlreadyExistsException");

    let loaded = server.get("/v1/namespaces/tab/tables/full").await;
    assert_eq!(loaded.status, 200);
    assert_eq!(loaded.body["metadata"], *metadata);
    assert_eq!(
        loaded.body["metadata-location"],
        created.body["metadata-location"]
    );
    assert_eq!(server.head("/v1/namespaces/tab/tables/full").await, 204);

    let location = metadata["location"].as_str().unwrap().to_string();
    let inside =
        json!({"name": "inside", "schema": schema(), "location": format!("{location}/in")});
    let answer = server.post("/v1/namespaces/tab/tables", inside).await;
    answer.is_error(400, "BadRequestException");
    let outside = json!({"name": "outside", "schema": schema(), "location": "file:///etc/tables"});
    let answer = server.post("/v1/namespaces/tab/tables", outside).await;
    answer.is_error(400, "BadRequestException");
    let answer = server
        .post(
            "/v1/namespaces/tab/tables",
            json!({"name": "v1", "schema": schema(), "properties": {"format-version": "1"}}),
        )
        .await;
    answer.is_error(406, "UnsupportedOperationException");

    let answer = server
        .delete("/v1/namespaces/tab/tables/full?purgeRequested=maybe")
        .await;
    answer.is_error(400, "BadRequestException");
    let answer = server
        .delete("/v1/namespaces/tab/tables/full?purgeRequested=True")
        .await;
    assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null));
    assert_eq!(server.head("/v1/namespaces/tab/tables/full").await, 404);
    for answer in [
        server.get("/v1/namespaces/tab/tables/full").await,
        server.get("/v1/namespaces/no_such/tables/full").await,
        server.delete("/v1/namespaces/tab/tables/full").await,
        server
            .post(
                "/v1/namespaces/tab/tables/full",
                json!({"requirements": [], "updates": []}),
            )
            .await,
    ] {
        answer.is_error(404, "NoSuchTableException");
    }

    // Protected files are not purged, and the table stays.
    let body = json!({"name": "kept", "schema": schema(), "properties": {"gc.enabled": "false"}});
    server.post("/v1/namespaces/tab/tables", body).await;
    let answer = server
        .delete("/v1/namespaces/tab/tables/kept?purgeRequested=true")
        .await;
    answer.is_error(400, "BadRequestException");
    assert_eq!(
        server.delete("/v1/namespaces/tab/tables/kept").await.status,
        204
    );
}

async fn only_one_of_many_creates_a_table(server: &Server) {
    let answers = futures::future::join_all(
        (0..50).map(|_| server.post("/v1/namespaces/tab/tables", new_table("raced"))),
    )
    .await;
    let made: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(made.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.is_error(409, "AlreadyExistsException");
    }
    let loaded = server.get("/v1/namespaces/tab/tables/raced").await;
    assert_eq!(
        loaded.body["metadata"]["table-uuid"],
        made[0].body["metadata"]["table-uuid"]
    );
    server.delete("/v1/namespaces/tab/tables/raced").await;
}

async fn pages(server: &Server) {
    let names = ["p1", "p2", "p3"];
    for name in names {
        server.table("tab", name).await;
    }
    let first = server
        .get("/v1/namespaces/tab/tables?pageToken=&pageSize=2")
        .await;
    assert_eq!(first.body["identifiers"].as_array().unwrap().len(), 2);
    let token = first.body["next-page-token"].as_str().unwrap();
    let path = format!("/v1/namespaces/tab/tables?pageToken={token}&pageSize=2");
    let second = server.get(&path).await;
    assert_eq!(
        second.body["identifiers"],
        json!([{"namespace": ["tab"], "name": "p3"}])
    );
    assert_eq!(second.body["next-page-token"], Value::Null);
    for name in names {
        server
            .delete(&format!("/v1/namespaces/tab/tables/{name}"))
            .await;
    }
}

async fn renames(server: &Server) {
    server.table("tab", "old").await;
    server.table("tab", "taken").await;
    let rename = |from: &str, namespace: &str, to: &str| {
        server.post(
            "/v1/tables/rename",
            json!({"source": {"namespace": ["tab"], "name": from},
                   "destination": {"namespace": [namespace], "name": to}}),
        )
    };
    rename("old", "tab", "taken")
        .await
        .is_error(409, "AlreadyExistsException");
    rename("no_such", "tab", "new")
        .await
        .is_error(404, "NoSuchTableException");
    rename("old", "no_such", "new")
        .await
        .is_error(404, "NoSuchNamespaceException");
    rename("old", "tab", "a/b")
        .await
        .is_error(400, "BadRequestException");
    // Refused or not, the record says which tables it was about.
    server.handle.journal().flush().await;
    let records = server.handle.journal().records(1000).await.unwrap();
    let refused = records
        .iter()
        .find(|record| record.object == "tab.old to tab.taken")
        .unwrap();
    assert_eq!(refused.status, 409);
    let answer = rename("old", "tab", "new").await;
    assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null));
    assert_eq!(server.head("/v1/namespaces/tab/tables/old").await, 404);
    assert_eq!(server.head("/v1/namespaces/tab/tables/new").await, 204);
    for name in ["new", "taken"] {
        server
            .delete(&format!("/v1/namespaces/tab/tables/{name}"))
            .await;
    }
}

async fn registration(server: &Server) {
    let first = server.table("tab", "reg").await;
    let uuid = &first["metadata"]["table-uuid"];
    let answer = server
        .post(
            "/v1/namespaces/tab/tables/reg",
            super::set(uuid, json!({"n": "2"})),
        )
        .await;
    let second = answer.body["metadata-location"].clone();
    let register = |body| server.post("/v1/namespaces/tab/register", body);
    let at = |location: &Value| json!({"name": "reg", "metadata-location": location});

    register(at(&first["metadata-location"]))
        .await
        .is_error(409, "AlreadyExistsException");
    // Overwriting goes back to the file that is named.
    let mut over = at(&first["metadata-location"]);
    over["overwrite"] = json!(true);
    let answer = register(over).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let loaded = server.get("/v1/namespaces/tab/tables/reg").await;
    assert_eq!(loaded.body["metadata-location"], first["metadata-location"]);
    assert!(loaded.body["metadata"]["properties"]["n"].is_null());

    server.delete("/v1/namespaces/tab/tables/reg").await;
    let mut over = at(&second);
    over["overwrite"] = json!(true);
    let answer = register(over).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["metadata"]["properties"]["n"], "2");
    assert_eq!(answer.body["metadata"]["table-uuid"], *uuid);

    let missing =
        json!({"name": "x", "metadata-location": format!("{}.gone", second.as_str().unwrap())});
    register(missing.clone())
        .await
        .is_error(400, "BadRequestException");
    let answer = server
        .post("/v1/namespaces/no_such/register", missing)
        .await;
    answer.is_error(404, "NoSuchNamespaceException");
    server.delete("/v1/namespaces/tab/tables/reg").await;
}

async fn tags(server: &Server) {
    let created = server
        .post("/v1/namespaces/tab/tables", new_table("tags"))
        .await;
    let uuid = created.body["metadata"]["table-uuid"].clone();
    let path = "/v1/namespaces/tab/tables/tags";
    let load = |query: &str, tag: String| {
        let request = server.request(Method::GET, &format!("{path}{query}"));
        send(request.header(IF_NONE_MATCH, tag))
    };
    let tag = server.get(path).await.tag();
    assert_eq!(tag, created.tag());
    for same in [
        tag.clone(),
        format!("\"x\", {tag}"),
        "*".to_string(),
        tag.replace("W/", ""),
    ] {
        let answer = load("", same.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body),
            (304, &Value::Null),
            "{same}"
        );
        assert_eq!(answer.tag(), tag);
    }
    assert_eq!(load("?snapshots=refs", tag.clone()).await.status, 200);
    assert_eq!(load("", "\"other\"".to_string()).await.status, 200);

    let mut updates = snapshot(11, None, 1, "main");
    updates.extend(snapshot(12, Some(11), 2, "main"));
    updates.extend(snapshot(13, Some(12), 3, "side"));
    let commit = json!({
        "requirements": [{"type": "assert-table-uuid", "uuid": uuid}], "updates": updates
    });
    let committed = server.post(path, commit).await;
    assert_eq!(committed.status, 200, "{committed:?}");
    let now = load("", tag.clone()).await;
    assert_eq!(now.status, 200);
    assert_eq!(now.tag(), committed.tag());
    assert_ne!(now.tag(), tag);

    let ids = |answer: &Answer| -> Vec<i64> {
        let snapshots = answer.body["metadata"]["snapshots"].as_array().unwrap();
        snapshots
            .iter()
            .map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(ids(&now), [11, 12, 13]);
    let refs = server.get(&format!("{path}?snapshots=refs")).await;
    assert_eq!(ids(&refs), [12, 13]);
    assert_eq!(
        ids(&server.get(&format!("{path}?snapshots=all")).await),
        [11, 12, 13]
    );
    let answer = server.get(&format!("{path}?snapshots=some")).await;
    answer.is_error(400, "BadRequestException");
    server.delete(path).await;
    // A tag of a table that is gone does not hide that it is.
    load("", now.tag())
        .await
        .is_error(404, "NoSuchTableException");
}

async fn metrics(server: &Server) {
    server.table("tab", "measured").await;
    let path = "/v1/namespaces/tab/tables/measured/metrics";
    let report = json!({
        "report-type": "scan-report", "table-name": "measured", "snapshot-id": 1,
        "schema-id": 0, "projected-field-ids": [1], "projected-field-names": ["id"],
        "filter": true, "metrics": {"total-planning-duration": {"count": 1, "time-unit": "nanoseconds", "total-duration": 9}}
    });
    let answer = server.post(path, report).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null));
    let answer = server.post(path, json!({"report-type": "other"})).await;
    answer.is_error(400, "BadRequestException");
    let gone = server
        .post(
            "/v1/namespaces/tab/tables/gone/metrics",
            json!({"report-type": "scan-report"}),
        )
        .await;
    gone.is_error(404, "NoSuchTableException");

    let journal = server.handle.journal();
    journal.flush().await;
    let ident = crate::support::ident("tab", "measured");
    let reports = journal.reports(&ident, 10).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].report_type, "scan-report");
    assert_eq!(reports[0].principal, "anonymous");
    let report: Value = serde_json::from_str(&reports[0].report).unwrap();
    assert_eq!(report["snapshot-id"], 1);
    server.delete("/v1/namespaces/tab/tables/measured").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_the_files_and_a_drop_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let server = Server::start(&catalog, ServerOptions::default()).await;
    server.namespace(&["n"]).await;
    for (name, query, left) in [
        ("kept", "", true),
        ("purged", "?purgeRequested=true", false),
    ] {
        let table = server.table("n", name).await;
        let file = Location::parse(table["metadata-location"].as_str().unwrap()).unwrap();
        let answer = server
            .delete(&format!("/v1/namespaces/n/tables/{name}{query}"))
            .await;
        assert_eq!(answer.status, 204);
        assert_eq!(
            catalog.storage().exists(&file).await.unwrap(),
            left,
            "{name}"
        );
    }
}
