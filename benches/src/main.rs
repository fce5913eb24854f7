//! The engines of `make bench` that are written in Rust: `berglake-bench ENGINE SETUP`.
//!
//! ENGINE is `berglake`, or one of the limits that it is measured against, `bare-parquet` and
//! `bare-datafusion`. SETUP is a JSON object, see [`protocol::Setup`]. Each line of standard input is a request and is answered
//! with one line; with `--once REQUEST` the program does that one request and ends, which is how a
//! whole process is timed. `benches/run.py` is the other side.

mod bare_datafusion;
mod bare_parquet;
mod berglake;
mod input;
mod protocol;

use berglake_benches::{Error, serve};
use protocol::{Reply, Request, Setup};

/// What takes requests. One value lives as long as the process, so that a first request warms it up.
enum Engine {
    Berglake(berglake::Berglake),
    BareParquet(bare_parquet::BareParquet),
    BareDataFusion(bare_datafusion::BareDataFusion),
}

impl Engine {
    fn new(name: &str, setup: Setup) -> Result<Self, Error> {
        match name {
            "berglake" => Ok(Self::Berglake(berglake::Berglake::new(setup))),
            "bare-parquet" => Ok(Self::BareParquet(bare_parquet::BareParquet::new(setup))),
            "bare-datafusion" => Ok(Self::BareDataFusion(bare_datafusion::BareDataFusion::new(
                &setup,
            ))),
            other => Err(format!(
                "no engine {other}: there are berglake, bare-parquet and bare-datafusion"
            )
            .into()),
        }
    }

    async fn answer(&mut self, request: Request) -> Result<Reply, Error> {
        Ok(match (self, request) {
            (Self::Berglake(engine), request) => match request {
                Request::Append { folder } => Reply::Done(engine.append(&folder).await?),
                Request::Describe { folder } => Reply::Table(engine.describe(&folder).await?),
                Request::Explain(query) => Reply::Plan(engine.explain(&query).await?),
                Request::Full(query) | Request::Filtered(query) | Request::Grouped(query) => {
                    Reply::Done(engine.query(&query).await?)
                }
            },
            (Self::BareParquet(engine), Request::Append { folder }) => {
                Reply::Done(engine.append(&folder)?)
            }
            (Self::BareDataFusion(engine), request) => match request.into_query() {
                Some(query) => Reply::Done(engine.query(&query).await?),
                None => return Err("bare DataFusion only reads".into()),
            },
            (Self::BareParquet(_), _) => return Err("bare Parquet only writes".into()),
        })
    }
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (engine, setup, once) = match arguments.as_slice() {
        [engine, setup] => (engine, setup, None),
        [engine, setup, flag, request] if flag == "--once" => (engine, setup, Some(request)),
        _ => return Err("usage: berglake-bench ENGINE SETUP [--once REQUEST]".into()),
    };
    let setup: Setup = serde_json::from_str(setup)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(setup.threads)
        .enable_all()
        .build()?;
    let mut engine = Engine::new(engine, setup)?;
    serve(once.map(String::as_str), |line| {
        let answer = runtime.block_on(engine.answer(serde_json::from_str(line)?))?;
        Ok(serde_json::to_string(&answer)?)
    })
}
