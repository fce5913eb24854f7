//! The engines of the format part of `make bench` that are written in Rust:
//! `berglake-bench-format ENGINE THREADS`.
//!
//! ENGINE is `berglake` or the limit of a query, `bare-datafusion`. Requests and answers are lines as
//! those of `berglake-bench` are; [`protocol`] lists them. `benches/format_run.py` is the other side.

mod commits;
mod planned;
mod protocol;
mod queries;
mod rows;
mod small;
mod tables;

use berglake_benches::{Error, peak_memory, serve};

use protocol::{Reply, Request};

/// What takes requests. One value lives as long as the process, so that a first request warms it up.
struct Engine {
    planner: planned::Planner,
    queries: queries::Queries,
    lake: tables::Lake,
    bare: Option<queries::Bare>,
    threads: usize,
}

impl Engine {
    fn new(name: &str, threads: usize) -> Result<Self, Error> {
        let bare = match name {
            "berglake" => None,
            "bare-datafusion" => Some(queries::Bare::new(threads)),
            other => {
                return Err(
                    format!("no engine {other}: there are berglake and bare-datafusion").into(),
                );
            }
        };
        Ok(Self {
            planner: planned::Planner::default(),
            queries: queries::Queries::new(threads),
            lake: tables::Lake::default(),
            bare,
            threads,
        })
    }

    async fn answer(&mut self, request: Request) -> Result<Reply, Error> {
        let lake = &mut self.lake;
        Ok(match request {
            Request::Process => Reply::Process {
                id: std::process::id(),
            },
            Request::Query(query) => Reply::Done(match &mut self.bare {
                Some(bare) => bare.query(&query).await?,
                None => self.queries.query(lake, &query).await?,
            }),
            _ if self.bare.is_some() => return Err("bare DataFusion only queries".into()),
            Request::Plan(plan) => Reply::Done(self.planner.plan(&plan).await?),
            Request::Evolve(table) => Reply::Done(commits::evolve(lake, &table).await?),
            Request::Commit(commit) => Reply::Done(commits::commit(lake, &commit).await?),
            Request::DeleteRows(delete) => {
                Reply::Done(small::delete_rows(lake, &delete, self.threads).await?)
            }
            Request::MakePlanned(make) => Reply::Made(planned::make(lake, &make).await?),
            Request::MakeGrown(make) => Reply::Made(commits::make_grown(lake, &make).await?),
            Request::MakeRows(make) => Reply::Made(rows::make(lake, &make).await?),
            Request::MakeDeleted(make) => Reply::Made(rows::make_deleted(lake, &make).await?),
            Request::MakeHistory(make) => Reply::Made(rows::make_history(lake, &make).await?),
            Request::MakeSmall(make) => Reply::Made(small::make(lake, &make, self.threads).await?),
            Request::CopySmall(copy) => Reply::Made(small::copy(lake, &copy).await?),
        })
    }
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (engine, threads, once) = match arguments.as_slice() {
        [engine, threads] => (engine, threads, None),
        [engine, threads, flag, request] if flag == "--once" => (engine, threads, Some(request)),
        _ => return Err("usage: berglake-bench-format ENGINE THREADS [--once REQUEST]".into()),
    };
    let threads: usize = threads.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    let mut engine = Engine::new(engine, threads)?;
    serve(once.map(String::as_str), |line| {
        let reply = runtime.block_on(engine.answer(serde_json::from_str(line)?))?;
        let mut reply = serde_json::to_value(&reply)?;
        if let (Some(fields), Some(bytes)) = (reply.as_object_mut(), peak_memory()) {
            fields.insert("peak_memory".to_string(), bytes.into());
        }
        Ok(reply.to_string())
    })
}
