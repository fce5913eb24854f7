//! The servers away, wrong or slow, and our own processes killed while they write: nothing is lost and
//! nothing is there twice, compared row by row with what was produced.

use std::time::Duration;

use crate::harness::lake::Lake;
use crate::harness::run;
use crate::harness::servers::{Kafka, Minio, Postgres};
use crate::harness::trino::Trino;
use crate::load::{Load, mix};

/// All layers follow each other closely: more commits, more places to be hit at.
fn hurry(lake: &mut Lake) {
    for role in ["BRONZE", "SILVER", "GOLD"] {
        lake.set(&format!("BERGLAKE_SERVICES__{role}__INTERVAL"), "250ms");
    }
}

#[test]
fn events_flow_from_kafka_to_gold_and_broken_ones_to_dead_letters() {
    run(async {
        let kafka = Kafka::shared().await;
        let (mut lake, _catalog) = Lake::shared().await;
        hurry(&mut lake);
        let mut load = Load::prepare(&mut lake, kafka).await;
        load.add(kafka, 2_000).await;
        let (bronze, silver, gold) = tokio::join!(
            lake.serve("bronze"),
            lake.serve("silver"),
            lake.serve("gold")
        );
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;
        load.is_in_bronze(trino, &catalog).await;
        load.add(kafka, 1_000).await;
        load.verify(trino, &catalog, &[&bronze, &silver, &gold])
            .await;
    });
}

#[test]
fn a_topic_that_is_made_later_is_waited_for() {
    run(async {
        let kafka = Kafka::shared().await;
        let (mut lake, _catalog) = Lake::shared().await;
        hurry(&mut lake);
        let mut load = Load::prepare_without_topic(&mut lake, kafka);
        let roles = tokio::join!(
            lake.start("bronze"),
            lake.start("silver"),
            lake.start("gold")
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(roles.0.is_running(), "{}", roles.0.log());

        load.create_topic(kafka).await;
        load.add(kafka, 300).await;

        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;
        load.verify(trino, &catalog, &[&roles.0, &roles.1, &roles.2])
            .await;
        assert!(
            roles.0.log().contains("events-"),
            "the log does not name the topic:\n{}",
            roles.0.log()
        );
    });
}

#[test]
fn two_instances_of_each_role_do_the_work_once() {
    run(async {
        let kafka = Kafka::shared().await;
        let (mut lake, _catalog) = Lake::shared().await;
        hurry(&mut lake);
        let mut load = Load::prepare(&mut lake, kafka).await;
        load.start(kafka, 200);
        let ones = tokio::join!(
            lake.serve("bronze"),
            lake.serve("silver"),
            lake.serve("gold")
        );
        let twos = tokio::join!(
            lake.serve("bronze"),
            lake.serve("silver"),
            lake.serve("gold")
        );
        tokio::time::sleep(Duration::from_secs(15)).await;
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;
        let roles = [&ones.0, &ones.1, &ones.2, &twos.0, &twos.1, &twos.2];
        for role in roles {
            assert!(role.is_running(), "{}", role.log());
        }
        load.verify(trino, &catalog, &roles).await;
    });
}

#[test]
fn servers_that_stop_answering_or_die_are_waited_for() {
    run(async {
        let (minio, postgres, kafka) =
            tokio::join!(Minio::start(), Postgres::start(), Kafka::start());
        let mut lake = Lake::new(&minio, &postgres).await;
        hurry(&mut lake);
        let mut load = Load::prepare(&mut lake, &kafka).await;
        let catalog_role = lake.serve("catalog").await;
        let (bronze, silver, gold) = tokio::join!(
            lake.serve("bronze"),
            lake.serve("silver"),
            lake.serve("gold")
        );
        load.start(&kafka, 200);
        let some_time = async |round: u64| {
            tokio::time::sleep(Duration::from_millis(1_500 + mix(round) % 1_000)).await;
        };
        for round in 0..3 {
            some_time(round).await;
            minio.server.pause().await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            minio.server.unpause().await;

            some_time(10 + round).await;
            catalog_role.pause();
            tokio::time::sleep(Duration::from_secs(3)).await;
            catalog_role.resume();

            some_time(20 + round).await;
            postgres.server.pause().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            postgres.server.unpause().await;
        }
        some_time(30).await;
        minio.server.kill().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        minio.server.start().await;
        minio.server.answers("/minio/health/ready").await;

        some_time(31).await;
        kafka.server.kill().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        kafka.server.start().await;
        kafka.answers().await;
        some_time(32).await;

        for role in [&catalog_role, &bronze, &silver, &gold] {
            assert!(role.is_running(), "{}", role.log());
        }
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;
        load.verify(trino, &catalog, &[&bronze, &silver, &gold])
            .await;
    });
}

#[test]
fn roles_killed_again_and_again_while_they_write_lose_and_double_nothing() {
    const KILLS: u64 = 40;
    run(async {
        let kafka = Kafka::shared().await;
        let (mut lake, catalog_role) = Lake::shared().await;
        hurry(&mut lake);
        let mut load = Load::prepare(&mut lake, kafka).await;
        load.start(kafka, 200);
        let (bronze, silver, gold, maintenance) = tokio::join!(
            lake.serve("bronze"),
            lake.serve("silver"),
            lake.serve("gold"),
            lake.serve("maintenance")
        );
        let roles = [&bronze, &silver, &gold, &catalog_role, &maintenance];
        let mut kills = [0; 5];
        for kill in 0..KILLS {
            // The roles that write more often are hit more often; each is hit several times.
            let chance = mix(kill);
            let victim = [0, 1, 2, 0, 1, 2, 3, 3, 4][usize::try_from(kill % 9).unwrap()];
            tokio::time::sleep(Duration::from_millis(200 + chance % 1_200)).await;
            assert!(roles[victim].is_running(), "{}", roles[victim].log());
            roles[victim].kill().await;
            kills[victim] += 1;
            tokio::time::sleep(Duration::from_millis(chance % 300)).await;
            roles[victim].start();
        }
        let records = load.len().await;
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;
        load.verify(trino, &catalog, &[&bronze, &silver, &gold, &maintenance])
            .await;
        println!(
            "{KILLS} kills (bronze, silver, gold, catalog, maintenance: {kills:?}) over {records} records: exact"
        );
    });
}
