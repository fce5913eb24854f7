//! The harness itself: the servers are what they say, and can be taken away and given back.

use std::time::Duration;

use serde_json::json;

use crate::harness::engine::engine;
use crate::harness::servers::{Kafka, Minio, Postgres, Record};
use crate::harness::trino::Trino;
use crate::harness::{client, run, until};

#[test]
fn a_stopped_broker_comes_back_at_its_port_with_its_records() {
    run(async {
        let kafka = Kafka::start().await;
        kafka.create_topic("kept", 2).await;
        let before = kafka
            .produce("kept", &[Record::to(0, "one"), Record::to(1, "two")])
            .await;
        let brokers = kafka.brokers();

        kafka.server.kill().await;
        kafka.server.start().await;
        kafka.answers().await;

        assert_eq!(kafka.brokers(), brokers);
        let after = kafka.produce("kept", &[Record::to(1, "three")]).await;
        assert_eq!((before[1].offset, after[0].offset), (0, 1));
    });
}

#[test]
fn a_topic_is_deleted_made_again_and_given_partitions() {
    run(async {
        let kafka = Kafka::shared().await;
        let topic = engine().name("topic");
        kafka.create_topic(&topic, 1).await;
        kafka.produce(&topic, &[Record::of("old")]).await;
        kafka.delete_topic(&topic).await;
        kafka.create_topic(&topic, 1).await;
        kafka.add_partitions(&topic, 3).await;
        let new = kafka.produce(&topic, &[Record::to(2, "new")]).await;
        assert_eq!((new[0].partition, new[0].offset), (2, 0));
    });
}

#[test]
fn a_paused_store_does_not_answer_and_goes_on_afterwards() {
    run(async {
        let minio = Minio::start().await;
        let url = format!("{}/minio/health/live", minio.endpoint());
        let client = client();
        let ask = async || {
            let answer = client
                .get(&url)
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        minio.server.pause().await;
        assert!(!ask().await);
        minio.server.unpause().await;
        until("the store goes on", Duration::from_secs(60), ask).await;
    });
}

#[test]
fn a_database_is_made_for_each_lake() {
    run(async {
        let postgres = Postgres::shared().await;
        let name = engine().name("database");
        let url = postgres.database(&name).await;
        assert!(url.ends_with(&name), "{url}");
    });
}

#[test]
fn trino_gives_rows_and_its_own_messages() {
    run(async {
        let trino = Trino::shared().await;
        let rows = trino
            .query("system", "SELECT * FROM (VALUES (1, 'a'), (2, NULL))")
            .await;
        assert_eq!(rows, [[json!(1), json!("a")], [json!(2), json!(null)]]);
        let error = trino.try_query("system", "SELECT nothing").await;
        assert!(error.unwrap_err().contains("nothing"));
    });
}
