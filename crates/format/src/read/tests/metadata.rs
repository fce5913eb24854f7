use super::*;

fn options() -> ReadOptions {
    ReadOptions {
        batch_size: 2,
        positions: true,
        lineage: true,
        partitions: true,
        ..ReadOptions::default()
    }
}

#[tokio::test]
async fn partitions_of_all_specs_are_one_struct_and_each_row_has_its_spec() {
    let columns = || vec![long(1, "id"), text(2, "name")];
    let spec = Fixture::spec(&[(1, "id", Transform::Identity)]);
    let mut fixture = Fixture::partitioned(FormatVersion::V3, columns(), spec);
    let rows = fixture.batch(vec![longs([7, 7, 7]), texts(&[Some("a"), None, Some("c")])]);
    let old = fixture
        .data_in(&rows, Struct::from_iter([Some(Literal::long(7))]))
        .await;
    fixture.commit(Operation::Append, vec![(0, old)]).await;
    fixture.respec(Fixture::spec(&[(2, "name_trunc", Transform::Truncate(1))]));
    let spec = fixture.metadata.default_partition_spec_id();
    let rows = fixture.batch(vec![longs([8]), texts(&[Some("queue")])]);
    let new = fixture
        .data_in(&rows, Struct::from_iter([Some(Literal::string("q"))]))
        .await;
    fixture.commit(Operation::Append, vec![(spec, new)]).await;

    let table = fixture.table();
    let plan = table.scan().select(["name"]).plan().await.unwrap();
    let batches = read_plan(&plan, options()).await.unwrap();
    for batch in &batches {
        assert_eq!(batch.schema(), schema(&plan, options()).unwrap());
    }
    let names: Vec<String> = schema(&plan, options())
        .unwrap()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let metadata = [
        "_row_id",
        "_last_updated_sequence_number",
        "_spec_id",
        "_partition",
    ];
    assert_eq!(names[1..5], metadata);
    assert_eq!(names[5..], ["_file", "_pos"]);
    let shown: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| batch.project(&[0, 3, 4, 6]).unwrap())
        .collect();
    assert_eq!(
        print(&shown),
        "\
+-------+----------+-----------------------+------+
| name  | _spec_id | _partition            | _pos |
+-------+----------+-----------------------+------+
| a     | 0        | {id: 7, name_trunc: } | 0    |
|       | 0        | {id: 7, name_trunc: } | 1    |
| c     | 0        | {id: 7, name_trunc: } | 2    |
| queue | 1        | {id: , name_trunc: q} | 0    |
+-------+----------+-----------------------+------+"
    );
}

#[tokio::test]
async fn a_table_that_was_never_partitioned_has_a_null_partition() {
    let (fixture, _) = counted(FormatVersion::V2, 3).await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let batches = read_plan(&plan, options()).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    for batch in batches {
        let specs = batch[SPEC_ID_COLUMN].as_primitive::<Int32Type>();
        assert!(specs.iter().all(|spec| spec == Some(0)));
        let partitions = batch[PARTITION_COLUMN].as_struct();
        assert_eq!(partitions.num_columns(), 0);
        assert_eq!(partitions.null_count(), batch.num_rows());
    }
}
