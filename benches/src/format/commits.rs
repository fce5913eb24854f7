//! Commits: what they cost when a table has many snapshots, and a change of columns.

use std::collections::BTreeMap;

use berglake_benches::{Error, Watch};
use berglake_catalog::SqlCatalog;
use berglake_format::commit::{Committer, Transaction};
use berglake_format::evolve::{EvolveSchema, Position, SchemaEdit};
use berglake_format::snapshot::{Append, CommitNotes, FastAppend};
use berglake_format::storage::Location;
use berglake_format::{Table, TableIdent};
use iceberg::spec::{ManifestList, PrimitiveType, Type};

use crate::planned::{any_file, new_table};
use crate::protocol::{Answer, Commit, Made, MakeGrown, TableName};
use crate::tables::{Lake, create, described, ident, open};

/// What turns the merging of manifests off.
const MERGE: &str = "commit.manifest-merge.enabled";

/// Makes a table with many snapshots, of one file each. The last ones are appended without merging
/// manifests where that is asked for, and so are those that come later.
pub async fn make_grown(lake: &mut Lake, make: &MakeGrown) -> Result<Made, Error> {
    let catalog = lake.catalog(&make.folder).await?;
    let watch = Watch::start();
    let deferred = create(&catalog, new_table(&make.name)?).await?;
    let table = deferred.table();
    for number in 0..make.snapshots {
        let files = vec![any_file(&table, u64::from(number))?];
        let mut notes = CommitNotes::default();
        if number + make.unmerged < make.snapshots {
            deferred.apply(Append { files, notes }).await?;
        } else {
            notes
                .properties
                .insert(MERGE.to_string(), "false".to_string());
            deferred.apply(FastAppend { files, notes }).await?;
        }
    }
    let table = deferred.publish(&catalog).await?;
    let mut made = Made::default();
    let details = &mut made.details;
    details.insert("seconds".to_string(), watch.seconds().into());
    details.insert("manifests".to_string(), manifests(&table).await?.into());
    made.tables
        .insert(make.name.clone(), described(&make.folder, &table));
    Ok(made)
}

/// How many manifests the head has.
async fn manifests(table: &Table) -> Result<usize, Error> {
    let head = table.current_snapshot().ok_or("the table has no rows")?;
    let at = Location::parse(head.manifest_list())?;
    let bytes = table.storage().read(&at).await?;
    let list = ManifestList::parse_with_version(&bytes, table.metadata().format_version())?;
    Ok(list.entries().len())
}

/// Appends a file, as somebody who knows the table's name alone.
pub async fn commit(lake: &mut Lake, request: &Commit) -> Result<Answer, Error> {
    let kept = lake.catalog(&request.folder).await?;
    let ident = ident(&request.name);
    let before = kept.load(&ident).await?;
    let snapshots = before.metadata().snapshots().len();
    let files = vec![any_file(&before, u64::try_from(snapshots)?)?];
    let append = Append {
        files,
        notes: CommitNotes::default(),
    };
    let seconds = if request.fresh {
        let watch = Watch::start();
        let catalog = open(&request.folder).await?;
        apply(&catalog, &ident, append).await?;
        watch.seconds()
    } else {
        let watch = Watch::start();
        apply(&kept, &ident, append).await?;
        watch.seconds()
    };
    let after = kept.load(&ident).await?;
    Ok(Answer {
        seconds,
        result: Vec::new(),
        details: BTreeMap::from([
            (
                "snapshots".to_string(),
                after.metadata().snapshots().len().into(),
            ),
            ("manifests".to_string(), manifests(&after).await?.into()),
        ]),
    })
}

async fn apply(catalog: &SqlCatalog, ident: &TableIdent, append: Append) -> Result<(), Error> {
    let transaction = Transaction::new(catalog).step(ident.clone(), append);
    transaction.commit().await?;
    Ok(())
}

/// Adds a column.
pub async fn evolve(lake: &mut Lake, request: &TableName) -> Result<Answer, Error> {
    let catalog = lake.catalog(&request.folder).await?;
    let ident = ident(&request.name);
    let columns = catalog.load(&ident).await?.metadata().last_column_id();
    let edit = SchemaEdit::Add {
        parent: None,
        name: format!("added_{columns}"),
        ty: Type::Primitive(PrimitiveType::Long),
        required: false,
        doc: None,
        initial_default: None,
        write_default: None,
        position: Position::Last,
        if_not_exists: false,
    };
    let watch = Watch::start();
    Transaction::new(&*catalog)
        .step(ident.clone(), EvolveSchema::new(vec![edit]))
        .commit()
        .await?;
    let seconds = watch.seconds();
    let after = catalog.load(&ident).await?.metadata().last_column_id();
    Ok(Answer {
        seconds,
        result: vec![vec![(after - columns).to_string()]],
        details: BTreeMap::new(),
    })
}
