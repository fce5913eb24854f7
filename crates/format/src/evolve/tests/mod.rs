//! Tables that are written, evolved, and written and read again.

mod columns;
mod partitions;
mod versions;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use arrow::json::writer::LineDelimited;
use arrow::json::{ReaderBuilder, WriterBuilder};
use futures::TryStreamExt;
use iceberg::TableCreation;
use iceberg::expr::Predicate;
use iceberg::spec::{
    FormatVersion, ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema,
    StructType, Type, UnboundPartitionSpec,
};

use super::*;
use crate::commit::{Committer, MemoryCommitter, Operation, Transaction};
use crate::fixture::Fixture;
use crate::plan::{ScanBuilder, ScanPlan, SnapshotSelector};
use crate::read::{ReadOptions, read};
use crate::schema::to_arrow;
use crate::snapshot::{Append, CommitNotes};
use crate::storage::Storage;
use crate::write::{DataWriter, WrittenFile};
use crate::{Environment, Identity, ManualClock, Result, SeededIds, Table, TableIdent};

pub(super) const INT: Type = Type::Primitive(PrimitiveType::Int);
pub(super) const LONG: Type = Type::Primitive(PrimitiveType::Long);
pub(super) const STRING: Type = Type::Primitive(PrimitiveType::String);
pub(super) const DATE: Type = Type::Primitive(PrimitiveType::Date);

pub(super) fn optional(name: &str, ty: Type) -> NestedFieldRef {
    field(name, ty, false)
}

pub(super) fn required(name: &str, ty: Type) -> NestedFieldRef {
    field(name, ty, true)
}

/// Ids are given when the table is made; here they only have to differ.
fn field(name: &str, ty: Type, required: bool) -> NestedFieldRef {
    static LAST: AtomicI32 = AtomicI32::new(1_000);
    let id = LAST.fetch_add(1, Ordering::Relaxed);
    Arc::new(NestedField::new(id, name, ty, required))
}

pub(super) fn group(fields: Vec<NestedFieldRef>) -> Type {
    Type::Struct(StructType::new(fields))
}

pub(super) fn list(id: i32, element: Type) -> Type {
    let element = NestedField::list_element(id, element, false);
    Type::List(ListType::new(Arc::new(element)))
}

pub(super) fn map(id: i32, value: Type) -> Type {
    Type::Map(MapType::optional(id, STRING, id + 1, value))
}

pub(super) fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_string).collect()
}

/// An optional column at the end.
pub(super) fn add(name: &str, ty: Type) -> SchemaEdit {
    let mut parent = path(name);
    let name = parent.pop().unwrap();
    SchemaEdit::Add {
        parent: (!parent.is_empty()).then_some(parent),
        name,
        ty,
        required: false,
        doc: None,
        initial_default: None,
        write_default: None,
        position: Position::Last,
        if_not_exists: false,
    }
}

pub(super) fn drop_column(name: &str) -> SchemaEdit {
    SchemaEdit::Drop {
        path: path(name),
        if_exists: false,
    }
}

pub(super) fn rename(name: &str, to: &str) -> SchemaEdit {
    SchemaEdit::Rename {
        path: path(name),
        to: to.to_string(),
    }
}

/// A schema on one line: ids, names, types, and `!` behind what is required.
pub(super) fn shown(schema: &Schema) -> String {
    fields_shown(schema.as_struct())
}

fn fields_shown(fields: &StructType) -> String {
    let fields = fields.fields().iter().map(|field| {
        let mark = if field.required { "!" } else { "" };
        format!(
            "{} {}{mark} {}",
            field.id,
            field.name,
            ty_shown(&field.field_type)
        )
    });
    fields.collect::<Vec<_>>().join(", ")
}

fn ty_shown(ty: &Type) -> String {
    let inner = |field: &NestedField| {
        let mark = if field.required { "!" } else { "" };
        format!("{}{mark} {}", field.id, ty_shown(&field.field_type))
    };
    match ty {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::Struct(fields) => format!("struct<{}>", fields_shown(fields)),
        Type::List(list) => format!("list<{}>", inner(&list.element_field)),
        Type::Map(map) => format!(
            "map<{}, {}>",
            inner(&map.key_field),
            inner(&map.value_field)
        ),
    }
}

/// Plans on the fixture's table and applies what was planned; false where there was nothing to do.
pub(super) async fn apply(fixture: &mut Fixture, operation: &dyn Operation) -> Result<bool> {
    let base = fixture.table();
    let Some(planned) = operation.plan(&base).await? else {
        return Ok(false);
    };
    assert!(!planned.mark.is_in(&base), "nothing would change");
    let applied = planned
        .change
        .apply(base.metadata(), base.metadata_location());
    fixture.metadata = applied?.unwrap();
    assert!(
        planned.mark.is_in(&fixture.table()),
        "the change is not found again"
    );
    // Every catalog writes it as JSON, and reads that.
    let json = serde_json::to_string(&fixture.metadata).unwrap();
    let again: iceberg::spec::TableMetadata = serde_json::from_str(&json).unwrap();
    assert_eq!(again, fixture.metadata);
    Ok(true)
}

/// The error of planning.
pub(super) async fn refused(fixture: &Fixture, operation: &dyn Operation) -> String {
    let planned = operation.plan(&fixture.table()).await;
    planned.unwrap_err().to_string()
}

fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "t"]).unwrap()
}

/// A table behind a committer.
struct Lake {
    committer: MemoryCommitter,
}

impl Lake {
    async fn new(version: FormatVersion, fields: Vec<NestedFieldRef>) -> Self {
        Self::partitioned(version, fields, UnboundPartitionSpec::default()).await
    }

    async fn partitioned(
        version: FormatVersion,
        fields: Vec<NestedFieldRef>,
        spec: UnboundPartitionSpec,
    ) -> Self {
        let environment = Environment::new(
            Arc::new(ManualClock::stepping(1_700_000_000_000_000, 1_000_000)),
            Arc::new(SeededIds::new(7)),
            Identity::default(),
        );
        let committer = MemoryCommitter::new(Storage::default(), environment);
        let creation = TableCreation::builder()
            .name("t".into())
            .location("memory:///wh/db/t".into())
            .schema(Schema::builder().with_fields(fields).build().unwrap())
            .partition_spec(spec)
            .format_version(version)
            .build();
        committer.create(ident(), creation).await.unwrap();
        Self { committer }
    }

    async fn table(&self) -> Table {
        self.committer.load(&ident()).await.unwrap()
    }

    async fn run(&self, operation: impl Operation) -> Table {
        let applied = Transaction::new(&self.committer)
            .step(ident(), operation)
            .commit()
            .await
            .unwrap();
        applied[0].table().clone()
    }

    async fn evolve(&self, edits: Vec<SchemaEdit>) -> Table {
        self.run(EvolveSchema::new(edits)).await
    }

    async fn repartition(&self, edits: Vec<PartitionEdit>) -> Table {
        self.run(EvolvePartitions { edits }).await
    }

    /// Appends rows, each a line of JSON, and gives the snapshot.
    async fn write(&self, rows: &str) -> i64 {
        let table = self.table().await;
        let files = written(&table, rows).await;
        let table = self.run(append(files)).await;
        table.metadata().current_snapshot_id().unwrap()
    }

    async fn rows(&self) -> Vec<String> {
        rows(&self.table().await, SnapshotSelector::Head).await
    }

    async fn rows_at(&self, snapshot: i64) -> Vec<String> {
        rows(&self.table().await, SnapshotSelector::Id(snapshot)).await
    }

    async fn plan(&self, filter: Predicate) -> ScanPlan {
        let table = self.table().await;
        ScanBuilder::new(&table)
            .filter(filter)
            .plan()
            .await
            .unwrap()
    }
}

fn append(files: Vec<WrittenFile>) -> Append {
    Append {
        files,
        notes: CommitNotes::default(),
    }
}

/// Files of these rows, in the table's schema and partitions of now.
async fn written(table: &Table, rows: &str) -> Vec<WrittenFile> {
    let schema = to_arrow(table.schema()).unwrap();
    let reader = ReaderBuilder::new(schema).with_strict_mode(true);
    let mut writer = DataWriter::new(table).unwrap();
    for batch in reader.build(rows.as_bytes()).unwrap() {
        writer.write(&batch.unwrap()).await.unwrap();
    }
    writer.finish().await.unwrap()
}

/// All rows as lines of JSON, sorted.
async fn rows(table: &Table, snapshot: SnapshotSelector) -> Vec<String> {
    let scan = ScanBuilder::new(table).snapshot(snapshot);
    let plan = scan.plan().await.unwrap();
    rows_of(&plan).await
}

async fn rows_of(plan: &ScanPlan) -> Vec<String> {
    let batches: Vec<_> = read(plan, ReadOptions::default())
        .try_collect()
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(&mut bytes);
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    let text = String::from_utf8(bytes).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}
