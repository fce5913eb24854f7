//! Regrouping the manifests of a table by partition.
//!
//! Entries are many and small, so they are read twice and never held all at once: first to learn the
//! partition and size of each, from which it follows which manifest it goes to, then to write some
//! manifests at a time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use async_trait::async_trait;
use iceberg::spec::{Literal, ManifestContentType, ManifestFile, ManifestStatus, Struct};

use super::merge::{Copies, weight};
use super::producer::{Producer, parts};
use super::{CommitNotes, NextSnapshot};
use crate::commit::{Operation, PlannedChange};
use crate::plan::manifest_list;
use crate::{Error, Result, Table};

/// Manifests that are put together at the same time have at most so many bytes, but one always is.
const BYTES_AT_ONCE: u64 = 64 << 20;

/// Writes manifests anew, so that each has the size of `commit.manifest.target-size-bytes` and names
/// files of neighbouring partitions: a filter on partitions then needs to read few of them. Rows, their
/// ids and the sequence numbers of files stay as they are (a `replace` snapshot).
///
/// Manifests that are as they would be written are kept, and where all are, there is no snapshot. The
/// summary counts `manifests-created`, `manifests-kept`, `manifests-replaced` and `entries-processed`,
/// as that of the Java implementation does. Manifests that cannot be written again are kept, too: those
/// of a spec with a field whose name is none in Avro, for example.
#[derive(Debug, Clone, Default)]
pub struct RewriteManifests {
    /// Only manifests of this partition spec; those of each spec where none is named.
    pub spec_id: Option<i32>,
    /// Whether manifests of delete files are written anew, too.
    pub deletes: bool,
    /// Summary and properties.
    pub notes: CommitNotes,
}

impl RewriteManifests {
    /// Plans as [`Operation::plan`] does, with a snapshot identity that the caller drew.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the table has no such spec,
    /// [`Internal`](crate::ErrorKind::Internal) if files would be lost or doubled; errors of the storage.
    pub async fn plan_as(&self, base: &Table, next: NextSnapshot) -> Result<Option<PlannedChange>> {
        if let Some(spec_id) = self.spec_id
            && base.metadata().partition_spec_by_id(spec_id).is_none()
        {
            return Err(Error::invalid("the table has no such partition spec")
                .with("table", base.ident())
                .with("spec", spec_id));
        }
        let Some(head) = base.head(self.notes.branch.as_deref())?.cloned() else {
            return Ok(None);
        };
        let mut producer = Producer::new(base, next, iceberg::spec::Operation::Replace)?;
        let list = manifest_list(base, &head).await?;
        let regrouped = match self.regroup(&mut producer, list).await {
            Ok(regrouped) => regrouped,
            Err(error) => {
                producer.discard().await;
                return Err(error);
            }
        };
        if regrouped.replaced == 0 {
            return Ok(None);
        }
        let mut notes = self.notes.clone();
        for (key, count) in [
            ("manifests-created", regrouped.created.len()),
            ("manifests-kept", regrouped.kept.len()),
            ("manifests-replaced", regrouped.replaced),
            ("entries-processed", regrouped.entries),
        ] {
            notes.summary.insert(key.to_string(), count.to_string());
        }
        let mut manifests = regrouped.created;
        manifests.extend(regrouped.kept);
        producer.finish_regrouped(&notes, manifests).await.map(Some)
    }

    async fn regroup(
        &self,
        producer: &mut Producer<'_>,
        list: Vec<ManifestFile>,
    ) -> Result<Regrouped> {
        let mut regrouped = Regrouped::default();
        let mut groups: BTreeMap<(i32, bool), Vec<ManifestFile>> = BTreeMap::new();
        for manifest in list {
            let spec_id = manifest.partition_spec_id;
            let is_data = manifest.content == ManifestContentType::Data;
            let is_asked_for = self.spec_id.is_none_or(|asked| asked == spec_id)
                && (is_data || self.deletes)
                && manifest.key_metadata.is_none();
            if is_asked_for && producer.can_write(spec_id) {
                let group = groups.entry((spec_id, is_data)).or_default();
                group.push(manifest);
            } else {
                regrouped.kept.push(manifest);
            }
        }
        let target = producer.properties().target_size;
        for group in groups.into_values() {
            if let [one] = group.as_slice()
                && u64::try_from(one.manifest_length).is_ok_and(|length| length <= target)
                && one.deleted_files_count == Some(0)
            {
                regrouped.kept.extend(group);
                continue;
            }
            let plan = Plan::of(producer, group, target).await?;
            plan.write(producer, &mut regrouped).await?;
        }
        Ok(regrouped)
    }
}

#[async_trait]
impl Operation for RewriteManifests {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.plan_as(base, NextSnapshot::of(base)).await
    }
}

/// What became of the manifests.
#[derive(Default)]
struct Regrouped {
    created: Vec<ManifestFile>,
    kept: Vec<ManifestFile>,
    replaced: usize,
    /// Files in the manifests that were replaced.
    entries: usize,
}

/// Where a live file is, and what decides where it goes.
struct Place {
    /// The place of its partition among all.
    partition: u32,
    sequence_number: i64,
    manifest: u32,
    entry: u32,
    weight: u64,
}

/// Which files of a group go to which manifest.
struct Plan {
    manifests: Vec<Source>,
    /// The files in their new order.
    places: Vec<Place>,
    /// Which of them are in one new manifest, in order.
    outputs: Vec<Range<usize>>,
}

/// A manifest of the group.
struct Source {
    file: ManifestFile,
    live: usize,
    /// Whether it also names files that were removed.
    has_dead: bool,
}

impl Plan {
    async fn of(
        producer: &mut Producer<'_>,
        group: Vec<ManifestFile>,
        target: u64,
    ) -> Result<Self> {
        let mut manifests = Vec::with_capacity(group.len());
        let mut places = Vec::new();
        let mut partitions: HashMap<Struct, u32> = HashMap::new();
        for part in parts(group) {
            for (file, entries) in producer.load(part).await? {
                let mut live = 0;
                for (at, entry) in entries.iter().enumerate().filter(|(_, e)| e.is_alive()) {
                    let weight = weight(&entry.data_file);
                    let values = entry.data_file.partition();
                    let now = producer.partition_of_now(values, file.partition_spec_id)?;
                    let partition = match partitions.get(now.as_ref()) {
                        Some(known) => *known,
                        None => {
                            let next = number(partitions.len())?;
                            partitions.insert(now.into_owned(), next);
                            next
                        }
                    };
                    live += 1;
                    places.push(Place {
                        partition,
                        sequence_number: entry.sequence_number().unwrap_or_default(),
                        manifest: number(manifests.len())?,
                        entry: number(at)?,
                        weight,
                    });
                }
                let is_dead = |status| status == ManifestStatus::Deleted;
                let has_dead = entries.iter().any(|entry| is_dead(entry.status()));
                manifests.push(Source {
                    file,
                    live,
                    has_dead,
                });
            }
        }
        let ranks = ranks(&partitions);
        for place in &mut places {
            let rank = ranks.get(place.partition as usize);
            place.partition = rank.copied().unwrap_or_default();
        }
        places.sort_by_key(|p| (p.partition, p.sequence_number, p.manifest, p.entry));
        Ok(Self {
            manifests,
            outputs: outputs(&places, target),
            places,
        })
    }

    /// The manifest that is what this output would be.
    fn same(&self, output: &Range<usize>) -> Option<u32> {
        let places = self.places.get(output.clone())?;
        let first = places.first()?.manifest;
        let source = self.manifests.get(first as usize)?;
        let is_same = !source.has_dead
            && source.live == places.len()
            && places.iter().all(|place| place.manifest == first);
        is_same.then_some(first)
    }

    /// Writes the manifests that are not there already.
    async fn write(self, producer: &mut Producer<'_>, regrouped: &mut Regrouped) -> Result<()> {
        let mut kept = vec![false; self.manifests.len()];
        let mut to_write = Vec::new();
        for output in &self.outputs {
            match self.same(output) {
                Some(manifest) => {
                    if let Some(kept) = kept.get_mut(manifest as usize) {
                        *kept = true;
                    }
                }
                None => to_write.push(output.clone()),
            }
        }
        let mut created = Vec::new();
        let mut at_once = Vec::new();
        let mut bytes = 0;
        for output in to_write {
            let places = self.places.get(output.clone()).unwrap_or_default();
            let weight: u64 = places.iter().map(|place| place.weight).sum();
            if !at_once.is_empty() && bytes + weight > BYTES_AT_ONCE {
                created.extend(self.put(producer, std::mem::take(&mut at_once)).await?);
                bytes = 0;
            }
            bytes += weight;
            at_once.push(output);
        }
        created.extend(self.put(producer, at_once).await?);

        let mut before = 0;
        for (source, kept) in self.manifests.into_iter().zip(kept) {
            if kept {
                regrouped.kept.push(source.file);
            } else {
                before += source.live;
                regrouped.replaced += 1;
            }
        }
        let counts = created.iter().map(|manifest| manifest.existing_files_count);
        let after: u64 = counts.map(|n| u64::from(n.unwrap_or_default())).sum();
        if after != before as u64 {
            return Err(Error::internal(
                "regrouped manifests do not name the files that they should",
            )
            .with("table", producer.base().ident())
            .with("before", before)
            .with("after", after));
        }
        regrouped.entries += before;
        regrouped.created.extend(created);
        Ok(())
    }

    /// Writes these new manifests.
    async fn put(
        &self,
        producer: &mut Producer<'_>,
        outputs: Vec<Range<usize>>,
    ) -> Result<Vec<ManifestFile>> {
        // For each manifest the entries that are wanted of it, and where these stand in the new order.
        let mut wanted: BTreeMap<u32, HashMap<u32, usize>> = BTreeMap::new();
        for at in outputs.iter().cloned().flatten() {
            if let Some(place) = self.places.get(at) {
                let of_manifest = wanted.entry(place.manifest).or_default();
                of_manifest.insert(place.entry, at);
            }
        }
        let (sources, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        let files = sources
            .iter()
            .filter_map(|at| self.manifests.get(*at as usize));
        let files = files.map(|source| source.file.clone()).collect();
        let mut wanted = wanted.into_iter();
        let mut found = BTreeMap::new();
        for part in parts(files) {
            let loaded = producer.load(part).await?;
            for ((file, entries), wanted) in loaded.into_iter().zip(wanted.by_ref()) {
                for (entry, at) in wanted {
                    if let Some(entry) = entries.get(entry as usize) {
                        found.insert(at, (file.clone(), entry.clone()));
                    }
                }
            }
        }
        let mut created = Vec::with_capacity(outputs.len());
        for output in outputs {
            // The cuts have been made: nothing is cut again.
            let mut copies = Copies::new(u64::MAX);
            for at in output {
                if let Some((file, entry)) = found.remove(&at) {
                    copies.add(producer, &file, &entry).await?;
                }
            }
            created.extend(copies.finish(producer).await?);
        }
        Ok(created)
    }
}

/// The place of each partition, given by its number, when all are sorted.
fn ranks(partitions: &HashMap<Struct, u32>) -> Vec<u32> {
    let mut sorted: Vec<(&Struct, u32)> = partitions.iter().map(|(p, n)| (p, *n)).collect();
    sorted.sort_by(|a, b| compare(a.0, b.0).then(a.1.cmp(&b.1)));
    let mut ranks = vec![0; sorted.len()];
    for (rank, (_, partition)) in (0..).zip(sorted) {
        if let Some(place) = ranks.get_mut(partition as usize) {
            *place = rank;
        }
    }
    ranks
}

/// Partitions of one spec, field by field; NULL comes first.
fn compare(a: &Struct, b: &Struct) -> Ordering {
    let fields = a.iter().zip(b.iter());
    let fields = fields.map(|(a, b)| match (a, b) {
        (Some(Literal::Primitive(a)), Some(Literal::Primitive(b))) => {
            a.partial_cmp(b).unwrap_or(Ordering::Equal)
        }
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    fields.fold(Ordering::Equal, Ordering::then)
}

/// Cuts files in their order into as few manifests as their size asks for, all about equally large.
fn outputs(places: &[Place], target: u64) -> Vec<Range<usize>> {
    let total: u64 = places.iter().map(|place| place.weight).sum();
    let each = total.div_ceil(total.div_ceil(target).max(1)).max(1);
    let mut outputs: Vec<Range<usize>> = Vec::new();
    let (mut before, mut last) = (0, None);
    for (at, place) in places.iter().enumerate() {
        let own = before / each;
        before += place.weight;
        match outputs.last_mut() {
            Some(output) if last == Some(own) => output.end = at + 1,
            _ => outputs.push(at..at + 1),
        }
        last = Some(own);
    }
    outputs
}

fn number(count: usize) -> Result<u32> {
    u32::try_from(count)
        .map_err(|_| Error::unsupported("more files than can be counted").with("count", count))
}
