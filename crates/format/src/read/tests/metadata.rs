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

/// A file of version 3 says of some rows who they were before, and nothing of those that are new in it: they
/// inherit, the id by their place in the file and not by that among the rows which are read.
#[tokio::test]
async fn rows_inherit_the_lineage_that_their_file_does_not_give_them() {
    use iceberg::metadata_columns::{
        RESERVED_FIELD_ID_LAST_UPDATED_SEQUENCE_NUMBER, RESERVED_FIELD_ID_ROW_ID,
    };
    let (mut fixture, old) = counted(FormatVersion::V3, 3).await;
    let rows = fixture.batch(vec![longs([0, 10, 1, 11, 2]), texts(&[None; 5])]);
    let lineage = [
        (
            "_row_id",
            RESERVED_FIELD_ID_ROW_ID,
            vec![Some(0), None, Some(1), None, Some(2)],
        ),
        (
            "_last_updated_sequence_number",
            RESERVED_FIELD_ID_LAST_UPDATED_SEQUENCE_NUMBER,
            vec![Some(1), None, None, None, Some(1)],
        ),
    ];
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    let mut arrays = rows.columns().to_vec();
    for (name, id, values) in lineage {
        let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())];
        let field = Field::new(name, DataType::Int64, true).with_metadata(id.into());
        fields.push(Arc::new(field));
        arrays.push(Arc::new(Int64Array::from(values)));
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let new = fixture.data(&rows).await;
    let gone: RoaringTreemap = [1].into_iter().collect();
    let blob = Fixture::blob(&gone);
    let vector = fixture.vector(new.file_path(), &blob, 1).await;
    let added = vec![(0, new), (0, vector)];
    fixture
        .exchange(Operation::Overwrite, added, &[old], false)
        .await;
    let table = fixture.table();
    let plan = table.scan().select(["id"]).plan().await.unwrap();
    let first = plan.tasks[0].file.first_row_id();
    assert_eq!(first, Some(3), "behind the rows of the first file");
    let batches = read_plan(&plan, options()).await.unwrap();
    let shown: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| batch.project(&[0, 1, 2]).unwrap())
        .collect();
    assert_eq!(
        print(&shown),
        "\
+----+---------+-------------------------------+
| id | _row_id | _last_updated_sequence_number |
+----+---------+-------------------------------+
| 0  | 0       | 1                             |
| 1  | 1       | 2                             |
| 11 | 6       | 2                             |
| 2  | 2       | 1                             |
+----+---------+-------------------------------+"
    );
}
