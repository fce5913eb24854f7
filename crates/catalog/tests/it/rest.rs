//! The REST client on our REST server, through networks that fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use berglake_catalog::rest::server::ServerOptions;
use berglake_catalog::rest::{RequestRetry, RestCatalog, RestCatalogConfig};
use berglake_catalog::{Catalog, NewTable};
use berglake_format::commit::faults::{self, FaultyCommitter};
use berglake_format::commit::{
    CommitOutcome, Committer, ConflictReason, RetryPolicy, TableChange, Transaction,
};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, ErrorKind, Result, Secret};

use crate::proxy::{self, Fault, Proxy};
use crate::served::{Served, TOKEN};
use crate::server::Server;
use crate::support::*;

/// Settings for tests: waits between tries are short. No answer is given up that only takes its time on
/// a busy machine.
fn config(uri: &str) -> RestCatalogConfig {
    let location = Location::parse("memory:///nowhere").unwrap();
    RestCatalogConfig {
        token: Some(Secret::new(TOKEN)),
        request_timeout: Duration::from_secs(30),
        retry: RequestRetry {
            min_wait: Duration::from_millis(5),
            max_wait: Duration::from_secs(1),
            ..RequestRetry::default()
        },
        ..RestCatalogConfig::new("lake", uri, location)
    }
}

async fn try_connect(config: RestCatalogConfig) -> Result<RestCatalog> {
    RestCatalog::connect(config, Storage::default(), Environment::default()).await
}

async fn connect(uri: &str) -> RestCatalog {
    try_connect(config(uri)).await.unwrap()
}

/// A client that meets this fault: an answer that does not come is given up early.
async fn connect_to(proxy: &Proxy, fault: Fault) -> RestCatalog {
    let mut config = config(&proxy.uri());
    if fault == Fault::Slow {
        config.request_timeout = Duration::from_secs(2);
    }
    try_connect(config).await.unwrap()
}

/// The faults that a client notices by itself.
fn noticed() -> Vec<Fault> {
    let all = proxy::ALL.into_iter();
    all.filter(|fault| *fault != Fault::Slow).collect()
}

fn patient() -> RetryPolicy {
    RetryPolicy {
        retries: 500,
        min_wait: Duration::from_millis(2),
        max_wait: Duration::from_millis(100),
        ..RetryPolicy::default()
    }
}

async fn append(catalog: &dyn Committer, at: &berglake_format::TableIdent, name: &str) {
    Transaction::new(catalog)
        .step(at.clone(), token(name))
        .retry(patient())
        .commit()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_network_leaves_each_append_exactly_once() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    with_tables(&direct).await;
    let at = ident("n", "a");
    for (n, fault) in proxy::ALL.into_iter().enumerate() {
        // Twice the same, so that what is done about the first meets the second.
        let proxy = Proxy::with(served.address(), [fault, fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        append(&catalog, &at, &format!("{n:02}")).await;
        proxy.settle().await;
        let made = proxy.faults();
        assert!(made.contains_key(&fault), "{fault:?} was not made");
        let table = direct.load(&at).await.unwrap();
        let expected: Vec<String> = (0..=n).map(|n| format!("{n:02}")).collect();
        assert_eq!(tokens(&table), expected, "after {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_many_writers_through_a_bad_network_are_all_there_once() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    with_tables(&direct).await;
    for seed in 1..=3 {
        let at = ident("n", &format!("seed{seed}"));
        direct
            .create_table(table("n", &format!("seed{seed}")))
            .await
            .unwrap();
        let faults = [&noticed()[..], &[Fault::Instead(409)]].concat();
        let proxy = Arc::new(Proxy::seeded(served.address(), seed, 2, &faults).await);
        let mut writers = Vec::new();
        for writer in 0..4 {
            let (proxy, at) = (proxy.clone(), at.clone());
            writers.push(tokio::spawn(async move {
                let catalog = connect(&proxy.uri()).await;
                for round in 0..5 {
                    append(&catalog, &at, &format!("{writer}.{round}")).await;
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let made: usize = proxy.faults().values().sum();
        assert!(made >= 10, "seed {seed} made {made} faults");
        proxy.settle().await;
        let loaded = direct.load(&at).await.unwrap();
        let all: Vec<String> = (0..20).map(|i| format!("{}.{}", i / 5, i % 5)).collect();
        assert_eq!(tokens(&loaded), all, "seed {seed}: each once, none lost");
        let head = loaded.metadata().current_snapshot_id();
        assert_eq!(loaded.ancestors(head).count(), all.len(), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_committed_together_through_a_bad_network_stay_together() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    with_tables(&direct).await;
    let proxy = Proxy::seeded(served.address(), 7, 2, &noticed()).await;
    let catalog = connect(&proxy.uri()).await;
    for round in 0..12 {
        let name = format!("{round:02}");
        Transaction::new(&catalog)
            .step(ident("n", "a"), token(&name))
            .step(ident("n", "b"), token(&name))
            .retry(patient())
            .commit()
            .await
            .unwrap();
    }
    assert!(!proxy.faults().is_empty());
    proxy.settle().await;
    let all: Vec<String> = (0..12).map(|n| format!("{n:02}")).collect();
    for name in ["a", "b"] {
        let loaded = direct.load(&ident("n", name)).await.unwrap();
        assert_eq!(tokens(&loaded), all, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_a_refusal_is_certain() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    with_tables(&direct).await;
    let base = direct.load(&ident("n", "a")).await.unwrap();
    let change = |n: usize| set(base.ident(), &base, &[(&format!("k{n}"), "1")]);
    for (n, fault) in [
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::CutAnswer,
        Fault::Slow,
        Fault::Instead(500),
        Fault::Instead(502),
        Fault::Instead(504),
        Fault::After(504),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::with(served.address(), [fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        let outcome = catalog.commit(vec![change(n)]).await.unwrap();
        assert!(
            matches!(&outcome, CommitOutcome::Unknown(error)
                if error.kind() == ErrorKind::UnknownOutcome),
            "{fault:?}: {outcome:?}"
        );
        assert_eq!(
            proxy
                .requests()
                .iter()
                .filter(|r| r.starts_with("POST"))
                .count(),
            1
        );
    }
    // The server was busy: nothing was done, and the next try is the answer.
    for busy in [Fault::Instead(503), Fault::Instead(429)] {
        let proxy = Proxy::with(served.address(), [busy, busy]).await;
        let catalog = connect(&proxy.uri()).await;
        committed(catalog.commit(vec![change(50)]).await.unwrap());
    }
    // After a 503 the next try may meet what the first has done: a conflict then proves nothing.
    let proxy = Proxy::with(served.address(), [Fault::After(503)]).await;
    let catalog = connect(&proxy.uri()).await;
    let before = direct.load(base.ident()).await.unwrap();
    let once = TableChange {
        requirements: vec![iceberg::TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: before.metadata().last_column_id(),
        }],
        ..add_column(&before)
    };
    let outcome = catalog.commit(vec![once]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
    let after = direct.load(base.ident()).await.unwrap();
    assert_eq!(
        after.metadata().last_column_id(),
        before.metadata().last_column_id() + 1
    );
    // A conflict that comes first is certain.
    let proxy = Proxy::with(served.address(), [Fault::Instead(409)]).await;
    let catalog = connect(&proxy.uri()).await;
    let (_, reason) = conflict(catalog.commit(vec![change(60)]).await.unwrap());
    assert!(matches!(reason, ConflictReason::Requirement(_)));
    // And so is a request that the server does not take.
    for status in [400, 403, 404, 422, 301] {
        let proxy = Proxy::with(served.address(), [Fault::Instead(status)]).await;
        let catalog = connect(&proxy.uri()).await;
        catalog.commit(vec![change(70)]).await.unwrap_err();
    }
    let table = direct.load(base.ident()).await.unwrap();
    assert!(!table.metadata().properties().contains_key("k70"));
}

fn add_column(base: &berglake_format::Table) -> TableChange {
    use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
    let current = base.metadata().current_schema();
    let next = base.metadata().last_column_id() + 1;
    let mut fields = current.as_struct().fields().to_vec();
    let added = NestedField::optional(next, "added", Type::Primitive(PrimitiveType::Int));
    fields.push(Arc::new(added));
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    TableChange {
        ident: base.ident().clone(),
        requirements: Vec::new(),
        updates: vec![iceberg::TableUpdate::AddSchema { schema }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_no_commits_are_made_once_whatever_gets_lost() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    for (n, fault) in proxy::ALL.into_iter().enumerate() {
        let space = format!("space{n}");
        // One fault for each of the changes below, each fault also for the try after it.
        let proxy = Proxy::with(served.address(), std::iter::repeat_n(fault, 2)).await;
        let catalog = connect_to(&proxy, fault).await;
        let at = ident(&space, "t");
        let wrong = |what: &str, error| format!("{what} after {fault:?}: {error}");
        catalog
            .create_namespace(&namespace(&space), properties(&[("owner", "ann")]))
            .await
            .map_err(|error| wrong("create namespace", error))
            .unwrap();
        proxy.settle().await;
        assert!(!proxy.faults().is_empty());

        let proxy = Proxy::with(served.address(), [fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        let created = catalog
            .create_table(NewTable {
                properties: properties(&[("owner", "ann")]),
                ..table(&space, "t")
            })
            .await
            .map_err(|error| wrong("create table", error))
            .unwrap();
        // A creation that arrived after the table was renamed would make another one.
        proxy.settle().await;
        assert_eq!(
            direct.load(&at).await.unwrap().metadata(),
            created.metadata()
        );

        let proxy = Proxy::with(served.address(), [fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        let to = ident(&space, "moved");
        catalog
            .rename_table(&at, &to)
            .await
            .map_err(|error| wrong("rename", error))
            .unwrap();
        proxy.settle().await;
        assert!(!direct.table_exists(&at).await.unwrap());
        assert!(direct.table_exists(&to).await.unwrap());

        let proxy = Proxy::with(served.address(), [fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        let gone = ["owner".to_string()].to_vec();
        catalog
            .update_namespace(&namespace(&space), properties(&[("new", "1")]), gone)
            .await
            .map_err(|error| wrong("update namespace", error))
            .unwrap();
        proxy.settle().await;
        let now = direct.load_namespace(&namespace(&space)).await.unwrap();
        assert_eq!(now.get("new").map(String::as_str), Some("1"));
        assert!(!now.contains_key("owner"));

        let proxy = Proxy::with(served.address(), [fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        catalog
            .drop_table(&to, true)
            .await
            .map_err(|error| wrong("drop", error))
            .unwrap();
        assert!(!direct.table_exists(&to).await.unwrap());
        proxy.settle().await;

        let proxy = Proxy::with(served.address(), [fault]).await;
        let catalog = connect_to(&proxy, fault).await;
        catalog
            .drop_namespace(&namespace(&space))
            .await
            .map_err(|error| wrong("drop namespace", error))
            .unwrap();
        let error = direct.load_namespace(&namespace(&space)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_through_a_bad_network_have_one_winner() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    let space = namespace("race");
    direct
        .create_namespace(&space, HashMap::new())
        .await
        .unwrap();
    // The definitions differ, so that nobody can take another's table for its own.
    let proxy = Arc::new(Proxy::seeded(served.address(), 11, 2, &noticed()).await);
    let mut tasks = Vec::new();
    for n in 0..10 {
        let proxy = proxy.clone();
        tasks.push(tokio::spawn(async move {
            let catalog = connect(&proxy.uri()).await;
            let table = NewTable {
                properties: properties(&[("by", &n.to_string())]),
                ..table("race", "t")
            };
            catalog.create_table(table).await
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(table) => winners.push(table.metadata().properties()["by"].clone()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    let there = direct.load(&ident("race", "t")).await.unwrap();
    assert_eq!(winners, [there.metadata().properties()["by"].clone()]);
}

/// The request for a table is lost, and meanwhile another writer has made one of this name.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_definition_is_not_taken_for_ones_own() {
    use iceberg::spec::{
        NestedField, NullOrder, PrimitiveType, Schema, SortDirection, SortField, SortOrder,
        StructType, Transform, Type, UnboundPartitionSpec,
    };
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    let space = namespace("n");
    direct
        .create_namespace(&space, HashMap::new())
        .await
        .unwrap();
    let schema = |id: PrimitiveType, inner: PrimitiveType, inner_required: bool| {
        let inner = Type::Primitive(inner);
        let inner = NestedField::new(5, "inner", inner, inner_required);
        let nested = Type::Struct(StructType::new(vec![inner.into()]));
        let fields = [
            Arc::new(NestedField::required(3, "id", Type::Primitive(id))),
            Arc::new(NestedField::optional(4, "nested", nested)),
        ];
        Schema::builder().with_fields(fields).build().unwrap()
    };
    let spec = |source: i32, name: &str, transform: Transform| {
        let spec = UnboundPartitionSpec::builder().with_spec_id(0);
        let spec = spec.add_partition_field(source, name, transform);
        Some(spec.unwrap().build())
    };
    let order = |transform: Transform, direction: SortDirection| {
        let field = SortField::builder()
            .source_id(3)
            .transform(transform)
            .direction(direction)
            .null_order(NullOrder::First)
            .build();
        let order = SortOrder::builder()
            .with_order_id(1)
            .with_sort_field(field)
            .build_unbound();
        Some(order.unwrap())
    };
    let asked = |name: &str| NewTable {
        partition_spec: spec(3, "part", Transform::Bucket(4)),
        sort_order: order(Transform::Identity, SortDirection::Ascending),
        ..NewTable::new(
            ident("n", name),
            schema(PrimitiveType::Long, PrimitiveType::String, false),
        )
    };
    let mut tables: Vec<NewTable> = Vec::new();
    let keyed = schema(PrimitiveType::Long, PrimitiveType::String, false)
        .into_builder()
        .with_identifier_field_ids([3])
        .build()
        .unwrap();
    for (n, other) in [
        schema(PrimitiveType::Int, PrimitiveType::String, false),
        schema(PrimitiveType::Long, PrimitiveType::Binary, false),
        schema(PrimitiveType::Long, PrimitiveType::String, true),
        keyed,
    ]
    .into_iter()
    .enumerate()
    {
        tables.push(NewTable {
            schema: other,
            ..asked(&format!("schema{n}"))
        });
    }
    for (n, (id, name, transform)) in [
        (3, "part", Transform::Bucket(8)),
        (3, "other", Transform::Bucket(4)),
        (3, "part", Transform::Truncate(4)),
    ]
    .into_iter()
    .enumerate()
    {
        tables.push(NewTable {
            partition_spec: spec(id, name, transform),
            ..asked(&format!("spec{n}"))
        });
    }
    for (n, sort_order) in [
        None,
        order(Transform::Identity, SortDirection::Descending),
        order(Transform::Bucket(4), SortDirection::Ascending),
    ]
    .into_iter()
    .enumerate()
    {
        tables.push(NewTable {
            sort_order,
            ..asked(&format!("order{n}"))
        });
    }
    tables.push(asked("same"));
    for there in tables {
        let name = there.ident.name().to_string();
        direct.create_table(there).await.unwrap();
        let proxy = Proxy::with(served.address(), [Fault::LostRequest]).await;
        let catalog = connect(&proxy.uri()).await;
        let created = catalog.create_table(asked(&name)).await;
        match name.as_str() {
            "same" => assert!(created.is_ok(), "{created:?}"),
            _ => assert_eq!(
                created.unwrap_err().kind(),
                ErrorKind::AlreadyExists,
                "{name}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_has_the_reason_that_the_server_met() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = sqlite(folder.path()).await;
    with_tables(&embedded).await;
    // The first two commits meet another writer.
    let lost = [faults::Fault::Conflict, faults::Fault::Conflict];
    let committer = FaultyCommitter::new(Arc::new(embedded.clone()), lost);
    let options = ServerOptions::default();
    let server = Server::with_committer(&embedded, Arc::new(committer), options).await;
    let catalog = connect(&server.url).await;
    let [a, b] = [ident("n", "a"), ident("n", "b")];
    let (at_a, at_b) = (catalog.load(&a).await, catalog.load(&b).await);
    let (at_a, at_b) = (at_a.unwrap(), at_b.unwrap());

    let both = vec![set(&b, &at_b, &[("x", "1")]), set(&a, &at_a, &[("x", "1")])];
    for changes in [both[1..].to_vec(), both.clone()] {
        let first = changes[0].ident.clone();
        let outcome = catalog.commit(changes).await.unwrap();
        assert_eq!(conflict(outcome), (first, ConflictReason::PointerMoved));
    }
    // A requirement that does not hold is said in the same words as without a server.
    let wrong = set(&a, &at_b, &[("x", "1")]);
    for changes in [vec![wrong.clone()], vec![both[0].clone(), wrong]] {
        let here = conflict(embedded.commit(changes.clone()).await.unwrap());
        assert!(matches!(here.1, ConflictReason::Requirement(_)), "{here:?}");
        let there = conflict(catalog.commit(changes).await.unwrap());
        assert_eq!(there, here);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_did_not_change_is_not_sent_again_and_one_that_did_is_never_stale() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    with_tables(&direct).await;
    let proxy = Proxy::with(served.address(), []).await;
    let catalog = connect(&proxy.uri()).await;
    let at = ident("n", "a");
    let first = catalog.load(&at).await.unwrap();
    let again = catalog.load(&at).await.unwrap();
    assert_eq!(first.metadata(), again.metadata());
    assert_eq!(proxy.statuses()[1..], [200, 304]);
    for n in 0..3 {
        append(&direct, &at, &n.to_string()).await;
        let seen = catalog.load(&at).await.unwrap();
        assert_eq!(tokens(&seen).len(), n + 1);
        assert_eq!(catalog.load(&at).await.unwrap().metadata(), seen.metadata());
        assert_eq!(proxy.statuses().last(), Some(&304));
    }
    // One's own commit brings the new table along.
    append(&catalog, &at, "own").await;
    assert_eq!(tokens(&catalog.load(&at).await.unwrap()).len(), 4);
    // A table of the same name that is another one.
    direct.drop_table(&at, true).await.unwrap();
    let error = catalog.load(&at).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let new = direct.create_table(table("n", "a")).await.unwrap();
    let seen = catalog.load(&at).await.unwrap();
    assert_eq!(seen.metadata().uuid(), new.metadata().uuid());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_has_a_key_of_its_own_and_a_repetition_the_same() {
    let served = Served::on_sqlite().await;
    let direct = connect(&served.uri()).await;
    with_tables(&direct).await;
    let proxy = Proxy::with(served.address(), [Fault::Instead(503)]).await;
    let catalog = connect(&proxy.uri()).await;
    for name in ["1", "2"] {
        append(&catalog, &ident("n", "a"), name).await;
    }
    let keys: Vec<String> = proxy
        .requests()
        .iter()
        .filter(|request| request.starts_with("POST"))
        .filter_map(|request| {
            let line = request
                .lines()
                .find(|line| line.starts_with("idempotency-key: "))?;
            Some(line["idempotency-key: ".len()..].to_string())
        })
        .collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    let version = uuid::Uuid::parse_str(&keys[0]).unwrap().get_version_num();
    assert_eq!(version, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let uri = format!("http://{nobody}");
    let error = try_connect(config(&uri)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(
        text.contains(&uri) && text.contains("catalog.uri"),
        "{text}"
    );

    // One that goes away later: a commit that was never sent has certainly changed nothing.
    let served = Served::on_sqlite().await;
    let catalog = connect(&served.uri()).await;
    with_tables(&catalog).await;
    let base = catalog.load(&ident("n", "a")).await.unwrap();
    served.stop().await;
    // Connections that were open may be served to their end.
    while catalog.load(&ident("n", "b")).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let change = set(base.ident(), &base, &[("x", "1")]);
    let error = catalog.commit(vec![change]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.advice().is_some(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_never_shown() {
    let served = Served::on_sqlite().await;
    for token in [None, Some(Secret::new("hunter2"))] {
        let config = RestCatalogConfig {
            token,
            ..config(&served.uri())
        };
        let shown = format!("{config:?}");
        let error = match try_connect(config).await {
            // A server may show its configuration to everybody.
            Ok(catalog) => catalog.list_namespaces(None).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let text = format!("{error} {error:?} {shown}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("catalog.token"), "{text}");
    }
    let catalog = connect(&served.uri()).await;
    assert!(!format!("{catalog:?}").contains(TOKEN));
}
