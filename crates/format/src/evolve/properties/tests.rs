use iceberg::spec::{NestedField, PrimitiveType, Type};

use super::super::tests::{apply, refused};
use super::*;
use crate::fixture::Fixture;

fn fixture() -> Fixture {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    Fixture::new(FormatVersion::V2, vec![id.into()])
}

fn set(pairs: &[(&str, &str)]) -> SetProperties {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    SetProperties {
        set: pairs.collect(),
        remove: BTreeSet::new(),
    }
}

fn remove(keys: &[&str]) -> SetProperties {
    SetProperties {
        set: BTreeMap::new(),
        remove: keys.iter().map(ToString::to_string).collect(),
    }
}

#[tokio::test]
async fn properties_are_set_and_removed_and_what_is_so_already_is_no_commit() {
    let mut fixture = fixture();
    let both = set(&[("a", "1"), ("write.target-file-size-bytes", "1000")]);
    assert!(apply(&mut fixture, &both).await.unwrap());
    assert!(!apply(&mut fixture, &both).await.unwrap());
    assert!(!apply(&mut fixture, &remove(&["b"])).await.unwrap());
    assert!(apply(&mut fixture, &remove(&["a", "b"])).await.unwrap());
    let left: Vec<_> = fixture.metadata.properties().keys().collect();
    assert_eq!(left, ["write.target-file-size-bytes"]);
}

#[tokio::test]
async fn what_is_no_property_is_refused_with_what_changes_it() {
    let fixture = fixture();
    for (key, help) in [
        ("format-version", "ALTER TABLE"),
        ("current-snapshot-id", "system.set_current_snapshot"),
        ("default-partition-spec", "PARTITION FIELD"),
        ("default-sort-order", "WRITE ORDERED BY"),
        ("current-schema", "COLUMN"),
        ("uuid", "given once"),
    ] {
        for operation in [set(&[(key, "3")]), remove(&[key])] {
            let text = refused(&fixture, &operation).await;
            assert!(text.contains(key) && text.contains(help), "{text}");
        }
    }
    for key in iceberg::spec::TableProperties::RESERVED_PROPERTIES {
        refused(&fixture, &set(&[(key, "x")])).await;
    }
}

#[tokio::test]
async fn values_that_nobody_could_read_are_refused() {
    let fixture = fixture();
    for (key, value) in [
        ("write.parquet.compression-codec", "gzp"),
        ("write.target-file-size-bytes", "128MB"),
        ("commit.retry.num-retries", "many"),
        ("history.expire.min-snapshots-to-keep", "0"),
        ("schema.name-mapping.default", "{"),
        ("write.data.path", "no location"),
    ] {
        let text = refused(&fixture, &set(&[(key, value)])).await;
        assert!(text.contains(key), "{text}");
    }
    let mut both = set(&[("a", "1")]);
    both.remove.insert("a".to_string());
    let text = refused(&fixture, &both).await;
    assert!(text.contains("set and removed"), "{text}");
}

#[tokio::test]
async fn a_value_that_was_wrong_before_stops_nobody_from_setting_another() {
    let mut fixture = fixture();
    fixture.set("write.target-file-size-bytes", "big");
    assert!(apply(&mut fixture, &set(&[("a", "1")])).await.unwrap());
    let mended = set(&[("write.target-file-size-bytes", "1000")]);
    assert!(apply(&mut fixture, &mended).await.unwrap());
    // The level of a codec is judged with the codec that is there.
    fixture.set("write.parquet.compression-codec", "gzip");
    let level = set(&[("write.parquet.compression-level", "20")]);
    let text = refused(&fixture, &level).await;
    assert!(text.contains("for gzip"), "{text}");
}
