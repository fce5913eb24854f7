//! Commits: what is committed, what is certainly not, and what nobody knows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berglake_catalog::rest::server::ServerOptions;
use berglake_format::commit::faults::{Fault, FaultyCommitter};
use berglake_format::commit::{CommitOutcome, Committer, TableChange};
use berglake_format::{Result, Table, TableIdent};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Server, new_table, schema, set, snapshot};
use crate::support::sqlite;

pub async fn suite(server: &Server) {
    server.namespace(&["com"]).await;
    commits_and_conflicts(server).await;
    wrong_changes(server).await;
    all_or_none(server).await;
    staged_creation(server).await;
    only_one_of_many_staged_creations_wins(server).await;
    creation_in_a_transaction(server).await;
    old_deletes_on_version_3(server).await;
    writers_at_the_same_time(server).await;
    let answer = server.delete("/v1/namespaces/com").await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

async fn property(server: &Server, table: &str, key: &str) -> Value {
    let answer = server
        .get(&format!("/v1/namespaces/com/tables/{table}"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["metadata"]["properties"][key].clone()
}

async fn commits_and_conflicts(server: &Server) {
    let created = server.table("com", "t").await;
    let uuid = &created["metadata"]["table-uuid"];
    let path = "/v1/namespaces/com/tables/t";

    let answer = server.post(path, set(uuid, json!({"a": "1"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["metadata"]["properties"]["a"], "1");
    assert_ne!(
        answer.body["metadata-location"],
        created["metadata-location"]
    );
    let loaded = server.get(path).await;
    assert_eq!(
        loaded.body["metadata-location"],
        answer.body["metadata-location"]
    );
    assert_eq!(loaded.tag(), answer.tag());

    let other = json!("00000000-0000-0000-0000-000000000001");
    let answer = server.post(path, set(&other, json!({"a": "2"}))).await;
    answer.is_error(409, "CommitFailedException");
    let create = json!({"requirements": [{"type": "assert-create"}], "updates": []});
    server
        .post(path, create)
        .await
        .is_error(409, "CommitFailedException");

    // Two writers planned on the same head: the second is told so.
    let append = |id: i64| {
        json!({
            "requirements": [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}],
            "updates": snapshot(id, None, 1, "main")
        })
    };
    assert_eq!(server.post(path, append(21)).await.status, 200);
    server
        .post(path, append(22))
        .await
        .is_error(409, "CommitFailedException");
    // And one on another branch, whose sequence number is taken.
    let side = json!({"requirements": [], "updates": snapshot(23, Some(21), 1, "side")});
    server
        .post(path, side)
        .await
        .is_error(409, "CommitFailedException");
    assert_eq!(property(server, "t", "a").await, "1");
    server.delete(path).await;
}

async fn wrong_changes(server: &Server) {
    let created = server.table("com", "w").await;
    let uuid = &created["metadata"]["table-uuid"];
    let path = "/v1/namespaces/com/tables/w";
    for wrong in [
        json!({"requirements": [], "updates": [{"action": "no-such-update"}]}),
        json!({"requirements": [{"type": "no-such-requirement"}], "updates": []}),
        json!({"requirements": [], "updates": [{"action": "set-current-schema", "schema-id": 77}]}),
        json!({"requirements": [], "updates": [{"action": "set-location", "location": "file:///etc"}]}),
        json!({"requirements": [], "updates": [{"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000001"}]}),
        json!({"identifier": {"namespace": ["com"], "name": "other"}, "requirements": [], "updates": []}),
        json!({"updates": []}),
        json!([]),
    ] {
        let answer = server.post(path, wrong).await;
        answer.is_error(400, "BadRequestException");
    }
    let mut named = set(uuid, json!({"a": "1"}));
    named["identifier"] = json!({"namespace": ["com"], "name": "w"});
    assert_eq!(server.post(path, named).await.status, 200);
    server.delete(path).await;
}

fn change(table: &str, uuid: &Value, pairs: Value) -> Value {
    let mut change = set(uuid, pairs);
    change["identifier"] = json!({"namespace": ["com"], "name": table});
    change
}

async fn all_or_none(server: &Server) {
    let a = server.table("com", "a").await["metadata"]["table-uuid"].clone();
    let b = server.table("com", "b").await["metadata"]["table-uuid"].clone();
    let commit =
        |changes| server.post("/v1/transactions/commit", json!({"table-changes": changes}));

    let both = json!([
        change("a", &a, json!({"n": "1"})),
        change("b", &b, json!({"n": "1"}))
    ]);
    let answer = commit(both).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (204, &Value::Null));
    let half = json!([
        change("a", &a, json!({"n": "2"})),
        change("b", &a, json!({"n": "2"}))
    ]);
    commit(half).await.is_error(409, "CommitFailedException");
    let gone = json!([
        change("a", &a, json!({"n": "3"})),
        change("gone", &b, json!({"n": "3"}))
    ]);
    commit(gone).await.is_error(404, "NoSuchTableException");
    let twice = json!([
        change("a", &a, json!({"n": "4"})),
        change("a", &a, json!({"n": "4"}))
    ]);
    commit(twice).await.is_error(400, "BadRequestException");
    let unnamed = json!([set(&a, json!({"n": "5"}))]);
    commit(unnamed).await.is_error(400, "BadRequestException");
    for table in ["a", "b"] {
        assert_eq!(property(server, table, "n").await, "1", "{table}");
    }
    for table in ["a", "b"] {
        server
            .delete(&format!("/v1/namespaces/com/tables/{table}"))
            .await;
    }
}

/// What a client sends to create what was staged for it.
fn creation(staged: &Value) -> Value {
    let metadata = &staged["metadata"];
    let mut updates = vec![
        json!({"action": "assign-uuid", "uuid": metadata["table-uuid"]}),
        json!({"action": "upgrade-format-version", "format-version": metadata["format-version"]}),
        json!({"action": "add-schema", "schema": metadata["schemas"][0], "last-column-id": 2}),
        json!({"action": "set-current-schema", "schema-id": -1}),
        json!({"action": "add-spec", "spec": metadata["partition-specs"][0]}),
        json!({"action": "set-default-spec", "spec-id": -1}),
        json!({"action": "add-sort-order", "sort-order": metadata["sort-orders"][0]}),
        json!({"action": "set-default-sort-order", "sort-order-id": -1}),
        json!({"action": "set-location", "location": metadata["location"]}),
        json!({"action": "set-properties", "updates": {"made": "staged"}}),
    ];
    updates.extend(snapshot(31, None, 1, "main"));
    json!({"requirements": [{"type": "assert-create"}], "updates": updates})
}

async fn staged(server: &Server, name: &str) -> Value {
    let mut body = new_table(name);
    body["stage-create"] = json!(true);
    body["partition-spec"] = json!({"spec-id": 0, "fields": [
        {"source-id": 5, "field-id": 1000, "name": "id_bucket", "transform": "bucket[4]"}]});
    let answer = server.post("/v1/namespaces/com/tables", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body["metadata-location"].is_null());
    answer.body
}

async fn staged_creation(server: &Server) {
    let path = "/v1/namespaces/com/tables/staged";
    let body = staged(server, "staged").await;
    assert_eq!(
        server.head(path).await,
        404,
        "nothing is there until the commit"
    );
    let answer = server.post(path, creation(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let loaded = server.get(path).await;
    let (made, promised) = (&loaded.body["metadata"], &body["metadata"]);
    for same in [
        "table-uuid",
        "location",
        "schemas",
        "partition-specs",
        "sort-orders",
        "format-version",
    ] {
        assert_eq!(made[same], promised[same], "{same}");
    }
    assert_eq!(made["properties"]["made"], "staged");
    assert_eq!(made["current-snapshot-id"], 31);
    server
        .post(path, creation(&body))
        .await
        .is_error(409, "CommitFailedException");
    server.delete(path).await;

    // A creation needs a namespace, a schema, and a folder of its own.
    let answer = server
        .post("/v1/namespaces/no_such/tables/x", creation(&body))
        .await;
    answer.is_error(404, "NoSuchNamespaceException");
    let empty = json!({"requirements": [{"type": "assert-create"}], "updates": []});
    server
        .post(path, empty)
        .await
        .is_error(400, "BadRequestException");
    let mut neighbour = creation(&body);
    let taken = server.table("com", "taken").await["metadata"]["location"].clone();
    neighbour["updates"][8]["location"] = taken;
    server
        .post(path, neighbour)
        .await
        .is_error(400, "BadRequestException");
    let mut outside = creation(&body);
    outside["updates"][8]["location"] = json!("file:///etc/x");
    server
        .post(path, outside)
        .await
        .is_error(400, "BadRequestException");
    assert_eq!(server.head(path).await, 404);
    server.delete("/v1/namespaces/com/tables/taken").await;
}

async fn only_one_of_many_staged_creations_wins(server: &Server) {
    let path = "/v1/namespaces/com/tables/many";
    let mut bodies = Vec::new();
    for _ in 0..20 {
        bodies.push(staged(server, "many").await);
    }
    let answers =
        futures::future::join_all(bodies.iter().map(|body| server.post(path, creation(body))))
            .await;
    let made: Vec<usize> = (0..20).filter(|n| answers[*n].status == 200).collect();
    assert_eq!(made.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.status, 409, "{answer:?}");
    }
    let loaded = server.get(path).await;
    assert_eq!(
        loaded.body["metadata"]["table-uuid"],
        bodies[made[0]]["metadata"]["table-uuid"]
    );
    server.delete(path).await;
}

async fn creation_in_a_transaction(server: &Server) {
    let old = server.table("com", "old").await["metadata"]["table-uuid"].clone();
    let body = staged(server, "new").await;
    let mut create = creation(&body);
    create["identifier"] = json!({"namespace": ["com"], "name": "new"});
    let commit =
        |changes| server.post("/v1/transactions/commit", json!({"table-changes": changes}));
    let wrong = json!("00000000-0000-0000-0000-000000000001");

    let half = json!([create.clone(), change("old", &wrong, json!({"n": "1"}))]);
    commit(half).await.is_error(409, "CommitFailedException");
    assert_eq!(server.head("/v1/namespaces/com/tables/new").await, 404);
    let both = json!([create.clone(), change("old", &old, json!({"n": "1"}))]);
    let answer = commit(both).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(property(server, "new", "made").await, "staged");
    let again = json!([create, change("old", &old, json!({"n": "2"}))]);
    commit(again).await.is_error(409, "CommitFailedException");
    assert_eq!(property(server, "old", "n").await, "1");
    for table in ["old", "new"] {
        server
            .delete(&format!("/v1/namespaces/com/tables/{table}"))
            .await;
    }
}

/// A writer that planned on version 2 may not bring its position deletes to version 3.
async fn old_deletes_on_version_3(server: &Server) {
    let body = json!({"name": "v3", "schema": schema(), "properties": {"format-version": "3"}});
    server.post("/v1/namespaces/com/tables", body).await;
    let path = "/v1/namespaces/com/tables/v3";
    let delta = |id: i64, sequence: i64, summary: Value| {
        let mut updates = snapshot(id, None, sequence, "main");
        updates[0]["snapshot"]["summary"] = summary;
        updates[0]["snapshot"]["first-row-id"] = json!(0);
        updates[0]["snapshot"]["added-rows"] = json!(0);
        json!({"requirements": [], "updates": updates})
    };
    let old = json!({"operation": "overwrite", "added-delete-files": "1", "added-position-delete-files": "1"});
    let answer = server.post(path, delta(41, 1, old)).await;
    answer.is_error(409, "CommitFailedException");
    let new = json!({"operation": "overwrite", "added-delete-files": "1", "added-dvs": "1"});
    let answer = server.post(path, delta(42, 1, new)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    server.delete(path).await;
}

async fn writers_at_the_same_time(server: &Server) {
    let uuid = server.table("com", "busy").await["metadata"]["table-uuid"].clone();
    let path = "/v1/namespaces/com/tables/busy";
    let write = |n: usize| {
        let uuid = &uuid;
        async move {
            // The requirement still holds when another came first, so that the server makes room.
            let pairs = json!({format!("k{n}"): "1"});
            loop {
                let answer = server.post(path, set(uuid, pairs.clone())).await;
                match answer.status.as_u16() {
                    200 => return,
                    409 => {}
                    _ => panic!("{answer:?}"),
                }
            }
        }
    };
    futures::future::join_all((0..16).map(write)).await;
    for n in 0..16 {
        assert_eq!(property(server, "busy", &format!("k{n}")).await, "1");
    }
    server.delete(path).await;
}

/// A server whose commits fail in these ways, and one table in it.
async fn faulty(folder: &std::path::Path, faults: &[Fault]) -> (Server, Value) {
    let catalog = sqlite(folder).await;
    let committer = FaultyCommitter::new(Arc::new(catalog.clone()), faults.iter().copied());
    let options = ServerOptions::default();
    let server = Server::with_committer(&catalog, Arc::new(committer), options).await;
    server.namespace(&["com"]).await;
    let uuid = server.table("com", "t").await["metadata"]["table-uuid"].clone();
    (server, uuid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_whether_it_was_committed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let faults = [
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Late,
        Fault::Conflict,
    ];
    let (server, uuid) = faulty(folder.path(), &faults).await;
    let path = "/v1/namespaces/com/tables/t";
    for (n, fault) in faults.into_iter().enumerate() {
        let answer = server
            .post(path, set(&uuid, json!({format!("k{n}"): "1"})))
            .await;
        match fault {
            Fault::Conflict => answer.is_error(409, "CommitFailedException"),
            _ => answer.is_error(502, "CommitStateUnknownException"),
        }
    }
    let there = [Value::from("1"), Value::Null, Value::from("1"), Value::Null];
    for (n, expected) in there.into_iter().enumerate() {
        assert_eq!(
            property(&server, "t", &format!("k{n}")).await,
            expected,
            "k{n}"
        );
    }
    // The same in a transaction.
    let folder = tempfile::tempdir().unwrap();
    let (server, uuid) = faulty(folder.path(), &[Fault::LostAnswer]).await;
    let changes = json!({"table-changes": [change("t", &uuid, json!({"a": "1"}))]});
    let answer = server.post("/v1/transactions/commit", changes).await;
    answer.is_error(502, "CommitStateUnknownException");
}

/// What a committer does before it commits.
#[derive(Debug)]
enum Before {
    Panic,
    Wait(Arc<Gate>),
}

/// A gate at which commits stand until it is opened.
#[derive(Debug)]
struct Gate {
    arrived: Semaphore,
    open: Semaphore,
    done: Semaphore,
}

impl Gate {
    fn closed() -> Arc<Self> {
        let closed = || Semaphore::new(0);
        Arc::new(Self {
            arrived: closed(),
            open: closed(),
            done: closed(),
        })
    }
}

/// Waits for a signal, and takes it.
async fn taken(signal: &Semaphore) {
    signal.acquire().await.unwrap().forget();
}

#[derive(Debug)]
struct Odd {
    inner: Arc<dyn Committer>,
    before: Before,
}

#[async_trait]
impl Committer for Odd {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        let Before::Wait(gate) = &self.before else {
            panic!("on purpose");
        };
        gate.arrived.add_permits(1);
        taken(&gate.open).await;
        let outcome = self.inner.commit(changes).await;
        gate.done.add_permits(1);
        outcome
    }
}

async fn odd(folder: &std::path::Path, before: Before, timeout: Duration) -> (Server, Value) {
    let catalog = sqlite(folder).await;
    let inner = Arc::new(catalog.clone());
    let options = ServerOptions {
        commit_timeout: timeout,
        ..ServerOptions::default()
    };
    let server = Server::with_committer(&catalog, Arc::new(Odd { inner, before }), options).await;
    server.namespace(&["com"]).await;
    let uuid = server.table("com", "t").await["metadata"]["table-uuid"].clone();
    (server, uuid)
}

/// The records of commits to the table.
async fn commits_on_record(server: &Server) -> Vec<(u16, String)> {
    server.handle.journal().flush().await;
    let records = server.handle.journal().records(100).await.unwrap();
    let of_commits = records
        .into_iter()
        .filter(|record| record.action == "POST /v1/namespaces/{namespace}/tables/{table}");
    of_commits
        .map(|record| (record.status, record.object))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_during_a_commit_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let (server, uuid) = odd(folder.path(), Before::Panic, Duration::from_secs(60)).await;
    let path = "/v1/namespaces/com/tables/t";
    let answer = server.post(path, set(&uuid, json!({"a": "1"}))).await;
    answer.is_error(500, "CommitStateUnknownException");
    assert_eq!(server.get(path).await.status, 200, "the server lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_too_long_is_unknown_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    let before = Before::Wait(gate.clone());
    let (server, uuid) = odd(folder.path(), before, Duration::from_millis(50)).await;
    let path = "/v1/namespaces/com/tables/t";
    let answer = server.post(path, set(&uuid, json!({"a": "1"}))).await;
    answer.is_error(504, "CommitStateUnknownException");
    gate.open.add_permits(1);
    taken(&gate.done).await;
    assert_eq!(property(&server, "t", "a").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_made_and_recorded_although_its_client_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    let before = Before::Wait(gate.clone());
    let (server, uuid) = odd(folder.path(), before, Duration::from_secs(600)).await;
    let path = "/v1/namespaces/com/tables/t";
    let request = server.request(reqwest::Method::POST, path);
    let client = tokio::spawn(request.json(&set(&uuid, json!({"a": "1"}))).send());
    taken(&gate.arrived).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    // The request is over for the server too, and what it started goes on.
    server.forgot_a_request().await;
    gate.open.add_permits(1);
    server.handle.drained().await;
    assert_eq!(property(&server, "t", "a").await, "1");
    assert_eq!(commits_on_record(&server).await, [(200, path.to_string())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_drained_when_the_last_change_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    let before = Before::Wait(gate.clone());
    let (server, uuid) = odd(folder.path(), before, Duration::from_secs(600)).await;
    let path = "/v1/namespaces/com/tables/t";
    let request = server.request(reqwest::Method::POST, path);
    let client = tokio::spawn(request.json(&set(&uuid, json!({"a": "1"}))).send());
    taken(&gate.arrived).await;
    let drained = server.handle.drained();
    tokio::pin!(drained);
    assert!(futures::poll!(&mut drained).is_pending());
    gate.open.add_permits(1);
    drained.await;
    assert_eq!(commits_on_record(&server).await, [(200, path.to_string())]);
    assert_eq!(client.await.unwrap().unwrap().status(), 200);
}
