//! Settings that cannot work on real servers: the check says what is wrong and what to do, ends with an
//! exit code of its own, and prints no secret.

use std::process::Output;

use crate::harness::engine::free_port;
use crate::harness::lake::Lake;
use crate::harness::run;
use crate::harness::servers::{Kafka, Minio, Postgres};
use crate::load::Load;

/// What a check that must fail says, with its exit code.
async fn refused(lake: &Lake) -> (i32, String) {
    let output = lake.run(&["check"]).await;
    let text = text_of(&output);
    assert!(!output.status.success(), "the check passed:\n{text}");
    for secret in [Minio::PASSWORD, Lake::CATALOG_TOKEN, "wrong-secret"] {
        assert!(!text.contains(secret), "a secret is printed:\n{text}");
    }
    (output.status.code().expect("an exit code"), text)
}

fn text_of(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn the_check_passes_on_settings_that_work() {
    run(async {
        let kafka = Kafka::shared().await;
        let (mut lake, _catalog) = Lake::shared().await;
        let _load = Load::prepare(&mut lake, kafka).await;
        let text = lake.must(&["check"]).await;
        for part in ["catalog", "bronze.events_raw", "s3://"] {
            assert!(text.contains(part), "no {part} in:\n{text}");
        }
    });
}

#[test]
fn wrong_credentials_of_the_store_are_said() {
    run(async {
        let (mut lake, _catalog) = Lake::shared().await;
        lake.set("BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY", "wrong-secret");
        let (code, text) = refused(&lake).await;
        assert_eq!(code, 3, "{text}");
        assert!(
            text.contains(lake.name()),
            "the bucket is not named:\n{text}"
        );
    });
}

#[test]
fn a_bucket_that_is_not_there_is_said() {
    run(async {
        let (minio, postgres) = (Minio::shared().await, Postgres::shared().await);
        let mut lake = Lake::new(minio, postgres).await;
        lake.set(
            "BERGLAKE_STORAGE__WAREHOUSE",
            "s3://no-such-bucket/warehouse",
        );
        // The warehouse is the catalog's, so it has to be told too.
        let _catalog = lake.serve("catalog").await;
        let (code, text) = refused(&lake).await;
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("no-such-bucket"), "{text}");
    });
}

#[test]
fn a_wrong_token_of_the_catalog_is_said() {
    run(async {
        let (mut lake, catalog) = Lake::shared().await;
        lake.set("BERGLAKE_CATALOG__TOKEN", "wrong-secret");
        let (code, text) = refused(&lake).await;
        assert_eq!(code, 3, "{text}");
        assert!(
            text.contains(&catalog.url()),
            "the catalog is not named:\n{text}"
        );
    });
}

#[test]
fn a_wrong_password_of_the_database_is_said() {
    run(async {
        let (minio, postgres) = (Minio::shared().await, Postgres::shared().await);
        let mut lake = Lake::new(minio, postgres).await;
        // The check of the machine on which the catalog server is about to run.
        lake.set(
            "BERGLAKE_CATALOG__URI",
            postgres.url(lake.name(), "wrong-secret"),
        );
        let (code, text) = refused(&lake).await;
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("password"), "{text}");
    });
}

#[test]
fn a_server_that_is_not_there_is_said() {
    run(async {
        let (minio, postgres) = (Minio::shared().await, Postgres::shared().await);
        let mut lake = Lake::new(minio, postgres).await;
        let (code, text) = refused(&lake).await;
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(&lake.catalog_url()), "{text}");

        let catalog = lake.serve("catalog").await;
        let nobody = format!("http://127.0.0.1:{}", free_port());
        lake.set("BERGLAKE_STORAGE__S3__ENDPOINT", &nobody);
        let (code, text) = refused(&lake).await;
        assert_eq!(code, 3, "{text}");
        assert!(
            text.contains(lake.name()),
            "the bucket is not named:\n{text}"
        );
        drop(catalog);
    });
}

#[test]
fn a_topic_that_is_not_there_is_said() {
    run(async {
        let kafka = Kafka::shared().await;
        let (mut lake, _catalog) = Lake::shared().await;
        let _load = Load::prepare_without_topic(&mut lake, kafka);
        let (_, text) = refused(&lake).await;
        assert!(text.contains(&format!("events-{}", lake.name())), "{text}");
    });
}
