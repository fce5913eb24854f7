use crate::support::*;
use berglake_catalog::Catalog;
use berglake_format::commit::Committer;

#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let t = catalog.load(&ident("n", "a")).await.unwrap();
    let out = catalog
        .commit(vec![set(t.ident(), &t, &[("x", "1")])])
        .await
        .unwrap();
    println!("{out:?}");
    let again = sqlite(folder.path()).await;
    let t = again.load(&ident("n", "a")).await.unwrap();
    assert_eq!(t.metadata().properties()["x"], "1");
    println!(
        "{} {}",
        t.metadata_location(),
        again.load(&ident("n", "aa")).await.unwrap_err()
    );
    again.drop_table(&ident("n", "a"), true).await.unwrap();
    println!("{:?}", again.list_tables(&namespace("n")).await);
}
