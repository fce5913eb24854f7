//! Branches and tags, and the moves of lines between snapshots.

use std::collections::BTreeSet;

use berglake_format::ErrorKind;
use berglake_format::plan::SnapshotSelector;
use berglake_format::snapshot::{
    CherryPick, CreateRef, DropRef, Existing, FastForward, RefKind, RefRetention, RollbackTo,
    SetCurrentSnapshot,
};

use super::{line, must, notes};
use crate::model::lake::{Lake, State};

pub async fn branch(lake: &mut Lake) -> bool {
    if lake.lines.len() > 3 {
        return false;
    }
    let known: Vec<i64> = lake.snapshots.keys().copied().collect();
    let Some(id) = lake.dice.pick(&known).copied() else {
        return false;
    };
    let name = format!("b{}", lake.dice.below(1_000));
    if lake.lines.contains_key(&name) {
        return false;
    }
    let operation = CreateRef {
        name: name.clone(),
        kind: RefKind::Branch,
        snapshot_id: Some(id),
        retention: RefRetention::default(),
        existing: Existing::Fail,
    };
    let applied = lake.commit(operation).await;
    must(lake, applied);
    let state = lake.snapshots[&id].state.clone();
    lake.lines.insert(name, state);
    true
}

pub async fn tag(lake: &mut Lake) -> bool {
    let known: Vec<i64> = lake.snapshots.keys().copied().collect();
    let Some(id) = lake.dice.pick(&known).copied() else {
        return false;
    };
    let name = format!("t{}", lake.dice.below(4));
    let operation = CreateRef {
        name: name.clone(),
        kind: RefKind::Tag,
        snapshot_id: Some(id),
        retention: RefRetention::default(),
        existing: Existing::Replace,
    };
    let applied = lake.commit(operation).await;
    must(lake, applied);
    lake.tags.insert(name, id) != Some(id)
}

pub async fn drop_ref(lake: &mut Lake) -> bool {
    let branches = lake.lines.keys().filter(|name| *name != "main");
    let mut refs: Vec<(String, RefKind)> = branches.map(|n| (n.clone(), RefKind::Branch)).collect();
    refs.extend(lake.tags.keys().map(|n| (n.clone(), RefKind::Tag)));
    let Some((name, kind)) = lake.dice.pick(&refs).cloned() else {
        return false;
    };
    let operation = DropRef {
        name: name.clone(),
        kind,
        if_exists: false,
    };
    let applied = lake.commit(operation).await;
    must(lake, applied);
    match kind {
        RefKind::Branch => drop(lake.lines.remove(&name)),
        RefKind::Tag => drop(lake.tags.remove(&name)),
    }
    true
}

pub async fn rollback(lake: &mut Lake) -> bool {
    if !lake.dice.one_in(2) {
        return false;
    }
    let line = line(lake);
    let table = lake.table().await;
    let head = lake.lines[&line].snapshot;
    let ancestors: Vec<i64> = table.ancestors(head).map(|s| s.snapshot_id()).collect();
    let known: Vec<i64> = lake.snapshots.keys().copied().collect();
    let Some(target) = lake.dice.pick(&known).copied() else {
        return false;
    };
    lake.tell(&format!("to {target}"));
    let mut operation = RollbackTo::new(target);
    operation.branch = notes(&line).branch;
    match lake.commit(operation).await {
        Ok(_) if !ancestors.contains(&target) => lake.fail("rolled back to no ancestor"),
        Ok(_) => {
            let state = lake.snapshots[&target].state.clone();
            lake.lines.insert(line, state);
            Some(target) != head
        }
        Err(error) if !ancestors.contains(&target) => {
            lake.note(&error);
            false
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    }
}

pub async fn set_current(lake: &mut Lake) -> bool {
    if !lake.dice.one_in(2) {
        return false;
    }
    let line = line(lake);
    let known: Vec<i64> = lake.snapshots.keys().copied().collect();
    let Some(target) = lake.dice.pick(&known).copied() else {
        return false;
    };
    lake.tell(&format!("to {target}"));
    let mut operation = SetCurrentSnapshot::new(SnapshotSelector::Id(target));
    operation.branch = notes(&line).branch;
    let applied = lake.commit(operation).await;
    must(lake, applied);
    let state = lake.snapshots[&target].state.clone();
    let before = lake.lines.insert(line, state);
    before.and_then(|state| state.snapshot) != Some(target)
}

pub async fn cherry_pick(lake: &mut Lake) -> bool {
    let main = lake.lines["main"].clone();
    let table = lake.table().await;
    let others: Vec<i64> = {
        let own: BTreeSet<i64> = table
            .ancestors(main.snapshot)
            .map(|snapshot| snapshot.snapshot_id())
            .collect();
        let ids = lake.snapshots.keys().copied();
        ids.filter(|id| !own.contains(id)).collect()
    };
    let Some(target) = lake.dice.pick(&others).copied() else {
        return false;
    };
    lake.tell(&format!("of {target}"));
    let operation = CherryPick {
        snapshot_id: target,
        branch: None,
    };
    let then = lake.snapshots[&target].clone();
    let follows = table.snapshot(target).unwrap().parent_snapshot_id() == main.snapshot;
    if !follows && has_files_of(lake, target).await {
        lake.tell("which is in it");
        return false;
    }
    let applied = match lake.commit(operation).await {
        Ok(_) if follows => {
            lake.lines.insert("main".to_string(), then.state);
            return true;
        }
        Ok(applied) => applied,
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            lake.note(&error);
            return false;
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    };
    let mut rows = main.rows;
    match (&then.appended, &then.replaced) {
        (Some(appended), _) => rows.extend(appended.iter().cloned()),
        (None, Some((removed, new))) => {
            for gone in removed {
                match rows.iter().position(|row| row == gone) {
                    Some(at) => drop(rows.swap_remove(at)),
                    None => lake.fail("a partition that was replaced had other rows"),
                }
            }
            rows.extend(new.iter().cloned());
        }
        (None, None) => lake.fail("something else was taken over"),
    }
    let snapshot = lake.moved("main", &applied, rows);
    lake.then(snapshot).appended = then.appended;
    lake.then(snapshot).replaced = then.replaced;
    true
}

/// Whether files that the snapshot added are in `main`. The table refuses to take its ancestors over,
/// and what it took over before, but knows of neither when the snapshots between have expired. The files
/// would then be there twice, and be one file for position deletes.
async fn has_files_of(lake: &Lake, snapshot: i64) -> bool {
    let table = lake.table().await;
    let number = table.snapshot(snapshot).unwrap().sequence_number();
    let picked = lake.plan(SnapshotSelector::Id(snapshot)).await.tasks;
    let main = lake.plan(SnapshotSelector::Head).await.tasks;
    let there: BTreeSet<&str> = main.iter().map(|task| task.file.file_path()).collect();
    let mut added = picked.iter().filter(|task| task.sequence_number == number);
    added.any(|task| there.contains(task.file.file_path()))
}

pub async fn fast_forward(lake: &mut Lake) -> bool {
    // By chance there would seldom be a branch that is behind another.
    if lake.dice.one_in(2) {
        branch(lake).await;
    }
    let table = lake.table().await;
    let follows = |head: Option<i64>, target: Option<i64>| {
        let mut ancestors = table.ancestors(target);
        head.is_none() || ancestors.any(|ancestor| Some(ancestor.snapshot_id()) == head)
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut behind: Vec<(String, String)> = Vec::new();
    for (branch, state) in &lake.lines {
        for (to, target) in &lake.lines {
            let pair = (branch.clone(), to.clone());
            if state.snapshot != target.snapshot && follows(state.snapshot, target.snapshot) {
                behind.push(pair.clone());
            }
            pairs.push(pair);
        }
    }
    if !behind.is_empty() && !lake.dice.one_in(4) {
        pairs = behind;
    }
    let (branch, to) = lake.dice.pick(&pairs).unwrap().clone();
    let target: State = lake.lines[&to].clone();
    if target.snapshot.is_none() {
        return false;
    }
    let head = lake.lines[&branch].snapshot;
    let follows = follows(head, target.snapshot);
    lake.tell(&format!("of {branch} to {to}"));
    let operation = FastForward {
        branch: branch.clone(),
        to,
    };
    match lake.commit(operation).await {
        Ok(_) if !follows => lake.fail("moved forward to another line"),
        Ok(_) => {
            let changed = target.snapshot != head;
            lake.lines.insert(branch, target);
            changed
        }
        Err(error) if !follows => {
            lake.note(&error);
            false
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    }
}
