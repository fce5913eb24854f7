//! A table of many files that are there in metadata alone, and the planning of its scans.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use berglake_benches::{Error, Watch};
use berglake_catalog::NewTable;
use berglake_format::snapshot::{CommitNotes, FastAppend};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::WrittenFile;
use berglake_format::{Environment, Table};
use iceberg::expr::Reference;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, Literal, NestedField, PrimitiveType,
    Schema, Struct, Transform, Type, UnboundPartitionSpec,
};

use crate::protocol::{Answer, Made, MakePlanned, Plan};
use crate::tables::{Lake, create, described, ident, noise};

const DAY_MICROS: i64 = 86_400_000_000;
/// 2024-01-01, in days since 1970.
const FIRST_DAY: i32 = 19_723;
/// Manifests that begin with the same day: 1,000 of them cover about as many days as a year has
/// working days.
const MANIFESTS_PER_DAY: u32 = 4;
/// The days that the files of one manifest are of.
const DAYS_PER_MANIFEST: u32 = 2;

/// The table's columns, each of which has bounds in each file.
const COLUMNS: [(&str, PrimitiveType); 12] = [
    ("id", PrimitiveType::Long),
    ("ts", PrimitiveType::Timestamp),
    ("customer", PrimitiveType::Int),
    ("amount", PrimitiveType::Long),
    ("price", PrimitiveType::Double),
    ("score", PrimitiveType::Float),
    ("active", PrimitiveType::Boolean),
    ("created", PrimitiveType::Date),
    ("parent", PrimitiveType::Long),
    ("name", PrimitiveType::String),
    ("city", PrimitiveType::String),
    ("code", PrimitiveType::String),
];
const TS: i32 = 2;

/// A table of these columns, by day.
pub fn new_table(name: &str) -> Result<NewTable, Error> {
    let fields = (1..).zip(&COLUMNS).map(|(id, (name, ty))| {
        Arc::new(NestedField::optional(
            id,
            *name,
            Type::Primitive(ty.clone()),
        ))
    });
    let schema = Schema::builder().with_fields(fields).build()?;
    let by_day = UnboundPartitionSpec::builder()
        .add_partition_field(TS, "ts_day", Transform::Day)?
        .build();
    let mut table = NewTable::new(ident(name), schema);
    table.partition_spec = Some(by_day);
    Ok(table)
}

/// A file of this day that nobody has written. Numbers tell files apart.
pub fn data_file(
    folder: &Location,
    spec_id: i32,
    day: i32,
    number: u64,
) -> Result<WrittenFile, Error> {
    let random = |salt: u64| noise(number, salt);
    let rows = 50_000 + random(1) % 50_000;
    let path = folder.join(&format!(
        "ts_day={}/{number:08}-{:016x}-{:016x}.parquet",
        Datum::date(day),
        random(2),
        random(3)
    ));
    let (mut sizes, mut counts, mut nulls) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut lower, mut upper) = (HashMap::new(), HashMap::new());
    for (id, (_, ty)) in (1..).zip(&COLUMNS) {
        let salt = 16 * u64::try_from(id)?;
        sizes.insert(id, 10_000 + random(salt + 1) % 400_000);
        counts.insert(id, rows);
        nulls.insert(id, random(salt + 2) % 100);
        let (least, greatest) = match id {
            TS => {
                let start = i64::from(day) * DAY_MICROS;
                let second = |salt| i64::try_from(random(salt) % 40_000);
                (
                    Datum::timestamp_micros(start + second(salt + 3)? * 1_000_000),
                    Datum::timestamp_micros(start + (46_000 + second(salt + 4)?) * 1_000_000),
                )
            }
            _ => bounds(ty, random(salt + 3))?,
        };
        lower.insert(id, least);
        upper.insert(id, greatest);
    }
    let size = sizes.values().sum();
    let nan = [(5, 0), (6, 0)];
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(day))]))
        .partition_spec_id(spec_id)
        .record_count(rows)
        .file_size_in_bytes(size)
        .column_sizes(sizes)
        .value_counts(counts)
        .null_value_counts(nulls)
        .nan_value_counts(nan.into())
        .lower_bounds(lower)
        .upper_bounds(upper)
        .build()?;
    Ok(WrittenFile { file, spec_id })
}

/// Some lower and upper bound of a column.
fn bounds(ty: &PrimitiveType, random: u64) -> Result<(Datum, Datum), Error> {
    let (start, width) = (random % 1_000_000, random >> 40);
    let end = start + width;
    let (from, to) = (i32::try_from(start)?, i32::try_from(end)?);
    Ok(match ty {
        PrimitiveType::Boolean => (Datum::bool(false), Datum::bool(true)),
        PrimitiveType::Int => (Datum::int(from), Datum::int(to)),
        PrimitiveType::Date => (Datum::date(from % 20_000), Datum::date(20_000)),
        PrimitiveType::Float => (Datum::float(from as f32), Datum::float(to as f32)),
        PrimitiveType::Double => (Datum::double(from), Datum::double(to)),
        PrimitiveType::String => (
            Datum::string(format!("a{start:015}")),
            Datum::string(format!("b{end:015}")),
        ),
        _ => (Datum::long(from), Datum::long(to)),
    })
}

/// Makes the table: one fast append per manifest.
pub async fn make(lake: &mut Lake, make: &MakePlanned) -> Result<Made, Error> {
    let catalog = lake.catalog(&make.folder).await?;
    let watch = Watch::start();
    let deferred = create(&catalog, new_table("planned")?).await?;
    let table = deferred.table();
    let (folder, spec_id) = (
        table.data_location()?,
        table.metadata().default_partition_spec_id(),
    );
    for manifest in 0..make.manifests {
        let files = (0..make.files).map(|file| {
            let day = manifest / MANIFESTS_PER_DAY + file % DAYS_PER_MANIFEST;
            let number = u64::from(manifest) * u64::from(make.files) + u64::from(file);
            data_file(&folder, spec_id, FIRST_DAY + i32::try_from(day)?, number)
        });
        let append = FastAppend {
            files: files.collect::<Result<_, _>>()?,
            notes: CommitNotes::default(),
        };
        deferred.apply(append).await?;
    }
    let table = deferred.publish(&catalog).await?;
    let mut made = Made::default();
    // A day in the middle. A scan of it needs the manifests that have files of that day.
    let middle = make.manifests / MANIFESTS_PER_DAY / 2;
    let day = i64::from(FIRST_DAY + i32::try_from(middle)?);
    let has_it = |manifest: &u32| {
        let first = manifest / MANIFESTS_PER_DAY;
        (first..first + DAYS_PER_MANIFEST.min(make.files)).contains(&middle)
    };
    let needed = (0..make.manifests).filter(has_it).count();
    made.details = BTreeMap::from([
        ("seconds".to_string(), watch.seconds().into()),
        (
            "range".to_string(),
            vec![day * DAY_MICROS, (day + 1) * DAY_MICROS].into(),
        ),
        ("manifests_of_range".to_string(), needed.into()),
    ]);
    made.tables
        .insert("planned".to_string(), described(&make.folder, &table));
    Ok(made)
}

/// Plans scans.
#[derive(Default)]
pub struct Planner {
    /// Tables that are kept open, by their metadata file.
    open: HashMap<String, Table>,
}

impl Planner {
    pub async fn plan(&mut self, request: &Plan) -> Result<Answer, Error> {
        let watch = Watch::start();
        let table = match self.open.get(&request.metadata) {
            Some(table) if request.keep => table.clone(),
            // Nothing is left of an earlier request: the storage too is a new one.
            _ => {
                Table::open(
                    ident("planned"),
                    &request.metadata,
                    Storage::default(),
                    Environment::default(),
                )
                .await?
            }
        };
        let mut scan = table.scan();
        if let Some([from, to]) = request.range {
            let ts = || Reference::new("ts");
            scan = scan.filter(
                ts().greater_than_or_equal_to(Datum::timestamp_micros(from))
                    .and(ts().less_than(Datum::timestamp_micros(to))),
            );
        }
        if request.metrics {
            scan = scan.all_metrics();
        }
        let plan = scan.plan().await?;
        let seconds = watch.seconds();

        let records: u64 = plan.tasks.iter().map(|task| task.file.record_count()).sum();
        let (all, pruned) = (plan.metrics.manifests, plan.metrics.manifests_pruned);
        if request.keep {
            self.open.insert(request.metadata.clone(), table);
        }
        Ok(Answer {
            seconds,
            result: vec![vec![plan.tasks.len().to_string(), records.to_string()]],
            details: BTreeMap::from([
                ("manifests".to_string(), all.into()),
                ("manifests_read".to_string(), (all - pruned).into()),
            ]),
        })
    }
}

/// A file of the first day for a table of these columns.
pub fn any_file(table: &Table, number: u64) -> Result<WrittenFile, Error> {
    let spec_id = table.metadata().default_partition_spec_id();
    data_file(&table.data_location()?, spec_id, FIRST_DAY, number)
}
