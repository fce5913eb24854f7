//! Tables whose current metadata file is missing or damaged.

use std::collections::HashMap;

use berglake_catalog::{Catalog, SqlCatalog};
use berglake_format::commit::{Committer, Transaction};
use berglake_format::storage::Location;
use berglake_format::{ErrorKind, Table};

use crate::support::*;

/// Runs all on an empty store that is open twice: the first writes, the second knows only the files.
pub async fn suite(handles: [SqlCatalog; 2]) {
    handles[0]
        .create_namespace(&namespace("n"), HashMap::new())
        .await
        .unwrap();
    a_damaged_table_goes_back_and_is_written_again(&handles).await;
    a_commit_that_comes_in_between_wins(&handles).await;
    of_two_recoveries_one_moves_the_pointer(&handles).await;
    a_file_that_comes_back_is_left_alone(&handles).await;
    what_is_sound_or_unknown_is_refused(&handles).await;
}

/// A table `n.<name>` with these tokens, one commit each.
async fn history(catalog: &SqlCatalog, name: &str, tokens: &[&str]) -> Vec<Table> {
    let created = catalog.create_table(table("n", name)).await.unwrap();
    let mut tables = vec![created];
    for one in tokens {
        tables.push(append(catalog, name, one).await);
    }
    tables
}

async fn append(catalog: &SqlCatalog, name: &str, one: &str) -> Table {
    let done = Transaction::new(catalog).step(ident("n", name), token(one));
    done.commit().await.unwrap()[0].table().clone()
}

async fn damage(table: &Table) {
    let at = Location::parse(table.metadata_location()).unwrap();
    let mut bytes = table.storage().read(&at).await.unwrap().to_vec();
    bytes.truncate(bytes.len() / 2);
    table.storage().write(&at, bytes.into()).await.unwrap();
}

async fn a_damaged_table_goes_back_and_is_written_again(handles: &[SqlCatalog; 2]) {
    let [writer, other] = handles;
    let tables = history(writer, "a", &["1", "2", "3"]).await;
    let name = ident("n", "a");
    damage(&tables[3]).await;
    let error = other.load(&name).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(
        error.advice().unwrap().contains("recover-metadata"),
        "{error}"
    );

    let before = files(&tables[3]).await;
    let plan = other.plan_recovery(&name, None).await.unwrap();
    let row = other.pointers(&name).await.unwrap();
    assert_eq!(plan.pointers, row, "a plan moves nothing");
    assert_eq!(row.current, tables[3].metadata_location());
    assert_eq!(
        plan.chosen().unwrap().location,
        tables[2].metadata_location()
    );
    assert_eq!(plan.lost.len(), 1);
    let lost = tables[3].metadata().current_snapshot_id();
    assert_eq!(Some(plan.lost[0].snapshot_id), lost);

    let back = other.recover(&name, &plan).await.unwrap();
    assert_eq!(back.metadata(), tables[2].metadata());
    let row = other.pointers(&name).await.unwrap();
    assert_eq!(row.current, tables[2].metadata_location());
    assert_eq!(row.previous.as_deref(), Some(tables[3].metadata_location()));
    assert_eq!(files(&back).await, before, "no file was made or deleted");
    for catalog in handles {
        let loaded = catalog.load(&name).await.unwrap();
        assert_eq!(tokens(&loaded), ["1", "2"]);
    }

    let next = append(writer, "a", "4").await;
    assert_eq!(tokens(&next), ["1", "2", "4"]);
    let row = other.pointers(&name).await.unwrap();
    assert_eq!(row.previous.as_deref(), Some(tables[2].metadata_location()));

    // Once more, and then the file before is the damaged one of the first time.
    damage(&next).await;
    let plan = other.plan_recovery(&name, None).await.unwrap();
    other.recover(&name, &plan).await.unwrap();
    damage(&tables[2]).await;
    let plan = other.plan_recovery(&name, None).await.unwrap();
    assert_eq!(
        plan.chosen().unwrap().location,
        tables[1].metadata_location()
    );
    let back = other.recover(&name, &plan).await.unwrap();
    assert_eq!(tokens(&back), ["1"]);
    // A file can be named, and one of another table cannot.
    damage(&tables[1]).await;
    let stranger = history(writer, "stranger", &["x"]).await;
    let named = stranger[1].metadata_location();
    let error = other.plan_recovery(&name, Some(named)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let named = tables[0].metadata_location();
    let plan = other.plan_recovery(&name, Some(named)).await.unwrap();
    let back = other.recover(&name, &plan).await.unwrap();
    assert_eq!(back.metadata().current_snapshot_id(), None);
}

async fn a_commit_that_comes_in_between_wins(handles: &[SqlCatalog; 2]) {
    let [writer, other] = handles;
    let tables = history(writer, "b", &["1", "2"]).await;
    let name = ident("n", "b");
    damage(&tables[2]).await;
    let plan = other.plan_recovery(&name, None).await.unwrap();
    // A writer that still has the metadata in memory can go on.
    let next = append(writer, "b", "3").await;
    let error = other.recover(&name, &plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let row = other.pointers(&name).await.unwrap();
    assert_eq!(row.current, next.metadata_location());
    assert_eq!(row.previous.as_deref(), Some(tables[2].metadata_location()));
    let loaded = other.load(&name).await.unwrap();
    assert_eq!(tokens(&loaded), ["1", "2", "3"], "nothing was lost");
    let error = other.plan_recovery(&name, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

async fn of_two_recoveries_one_moves_the_pointer(handles: &[SqlCatalog; 2]) {
    let [writer, other] = handles;
    let tables = history(writer, "c", &["1", "2"]).await;
    let name = ident("n", "c");
    damage(&tables[2]).await;
    let plans = [
        writer.plan_recovery(&name, None).await.unwrap(),
        other.plan_recovery(&name, None).await.unwrap(),
    ];
    let (first, second) = tokio::join!(
        writer.recover(&name, &plans[0]),
        other.recover(&name, &plans[1])
    );
    let (won, lost) = match first {
        Ok(won) => (won, second.unwrap_err()),
        Err(lost) => (second.unwrap(), lost),
    };
    assert_eq!(lost.kind(), ErrorKind::Conflict, "{lost}");
    assert_eq!(tokens(&won), ["1"]);
    let row = other.pointers(&name).await.unwrap();
    assert_eq!(row.current, tables[1].metadata_location());
    assert_eq!(row.previous.as_deref(), Some(tables[2].metadata_location()));
}

async fn a_file_that_comes_back_is_left_alone(handles: &[SqlCatalog; 2]) {
    let [writer, other] = handles;
    let tables = history(writer, "d", &["1", "2"]).await;
    let name = ident("n", "d");
    let at = Location::parse(tables[2].metadata_location()).unwrap();
    let storage = tables[2].storage();
    let bytes = storage.read(&at).await.unwrap();
    storage.delete(&at).await.unwrap();
    let plan = other.plan_recovery(&name, None).await.unwrap();
    storage.write(&at, bytes).await.unwrap();
    let error = other.recover(&name, &plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let loaded = other.load(&name).await.unwrap();
    assert_eq!(tokens(&loaded), ["1", "2"]);
}

async fn what_is_sound_or_unknown_is_refused(handles: &[SqlCatalog; 2]) {
    let [writer, other] = handles;
    history(writer, "sound", &["1"]).await;
    for (name, kind) in [
        ("sound", ErrorKind::InvalidInput),
        ("missing", ErrorKind::NotFound),
    ] {
        let error = other.plan_recovery(&ident("n", name), None).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
