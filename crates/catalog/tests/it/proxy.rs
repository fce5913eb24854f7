//! A proxy in front of an HTTP server that makes things go wrong, by a plan or by a seed.
//!
//! It serves one request per connection and passes bytes on as they are, so that what a client meets
//! is what broken networks and gateways make: connections that close in the middle, answers that
//! come from somewhere else, requests that arrive late.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use berglake_format::{Ids, SeededIds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The server does its work, and the connection closes without an answer.
    LostAnswer,
    /// The connection closes before the server hears of it.
    LostRequest,
    /// The connection closes, and the server hears of it a little later.
    Late,
    /// The server does its work, and its answer breaks off in the middle.
    CutAnswer,
    /// The server does its work, and its answer comes after the client has given up.
    Slow,
    /// The proxy answers by itself with this status; the server hears nothing.
    Instead(u16),
    /// The server does its work, and the proxy answers with this status.
    After(u16),
}

/// All faults that may befall a request that changes something.
pub const ALL: [Fault; 10] = [
    Fault::LostAnswer,
    Fault::LostRequest,
    Fault::Late,
    Fault::CutAnswer,
    Fault::Slow,
    Fault::Instead(503),
    Fault::Instead(504),
    Fault::Instead(429),
    Fault::After(503),
    Fault::After(504),
];

/// A running proxy. It stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    upstream: SocketAddr,
    plan: Mutex<Plan>,
    seen: Mutex<Seen>,
    /// The number of requests that the server is still to answer while the client does not wait.
    late: watch::Sender<usize>,
}

/// A request that the server is still to answer, as long as this lives.
struct OnItsWay<'a>(&'a Shared);

impl<'a> OnItsWay<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.late.send_modify(|late| *late += 1);
        Self(shared)
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.late.send_modify(|late| *late -= 1);
    }
}

enum Plan {
    /// Exactly these, one for each request that changes something.
    Given(VecDeque<Option<Fault>>),
    /// One request in this many, of those that change something, chosen by a seed.
    Seeded(SeededIds, u64, Vec<Fault>),
}

#[derive(Default)]
struct Seen {
    faults: BTreeMap<Fault, usize>,
    requests: Vec<String>,
    statuses: Vec<u16>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy that makes these faults, one for each request that changes something, then none.
    pub async fn with(upstream: SocketAddr, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().map(Some).collect();
        Self::start(upstream, Plan::Given(faults)).await
    }

    /// A proxy that makes a fault of one in `rate` requests that change something.
    pub async fn seeded(upstream: SocketAddr, seed: u64, rate: u64, faults: &[Fault]) -> Self {
        let plan = Plan::Seeded(SeededIds::new(seed), rate, faults.to_vec());
        Self::start(upstream, plan).await
    }

    async fn start(upstream: SocketAddr, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            plan: Mutex::new(plan),
            seen: Mutex::default(),
            late: watch::Sender::new(0),
        });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        // A client that went away is none of the proxy's business.
                        let _ = shared.serve(client).await;
                    });
                }
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the server has answered whatever was delivered late or took long, so that it cannot meet what
    /// comes next.
    pub async fn settle(&self) {
        let mut late = self.shared.late.subscribe();
        late.wait_for(|late| *late == 0).await.unwrap();
    }

    /// How often each fault was made.
    pub fn faults(&self) -> BTreeMap<Fault, usize> {
        self.shared.seen.lock().unwrap().faults.clone()
    }

    /// The first lines and headers of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().requests.clone()
    }

    /// The statuses that the server has answered.
    pub fn statuses(&self) -> Vec<u16> {
        self.shared.seen.lock().unwrap().statuses.clone()
    }
}

impl Shared {
    fn next_fault(&self, head: &str) -> Option<Fault> {
        if head.starts_with("GET ") || head.starts_with("HEAD ") {
            return None;
        }
        let fault = match &mut *self.plan.lock().unwrap() {
            Plan::Given(faults) => faults.pop_front().flatten(),
            Plan::Seeded(ids, rate, faults) => {
                let (which, whether) = ids.uuid().as_u64_pair();
                let hit = whether % *rate == 0;
                hit.then(|| faults[(which % faults.len() as u64) as usize])
            }
        }?;
        *self.seen.lock().unwrap().faults.entry(fault).or_default() += 1;
        Some(fault)
    }

    async fn serve(self: Arc<Self>, mut client: TcpStream) -> std::io::Result<()> {
        let Some((head, body)) = read_request(&mut client).await? else {
            return Ok(());
        };
        self.seen.lock().unwrap().requests.push(head.clone());
        match self.next_fault(&head) {
            None => {
                let answer = self.pass_on(&head, &body).await?;
                client.write_all(&answer).await?;
            }
            Some(Fault::LostAnswer) => {
                self.pass_on(&head, &body).await?;
            }
            Some(Fault::LostRequest) => {}
            Some(Fault::Late) => {
                // Counted before the client can notice, so that nobody settles too early.
                let _on_its_way = OnItsWay::new(&self);
                drop(client);
                tokio::time::sleep(Duration::from_millis(30)).await;
                self.pass_on(&head, &body).await?;
                return Ok(());
            }
            Some(Fault::CutAnswer) => {
                let answer = self.pass_on(&head, &body).await?;
                let middle = answer.len().saturating_sub(1 + answer.len() / 3);
                client.write_all(&answer[..middle]).await?;
            }
            Some(Fault::Slow) => {
                let on_its_way = OnItsWay::new(&self);
                let answer = self.pass_on(&head, &body).await?;
                drop(on_its_way);
                // The client closes when its time is up.
                while client.read(&mut [0; 64]).await? > 0 {}
                client.write_all(&answer).await?;
            }
            Some(Fault::Instead(status)) => {
                client.write_all(&gateway_says(status)).await?;
            }
            Some(Fault::After(status)) => {
                self.pass_on(&head, &body).await?;
                client.write_all(&gateway_says(status)).await?;
            }
        }
        client.shutdown().await
    }

    /// Gives the request to the server and brings its whole answer.
    async fn pass_on(&self, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.upstream).await?;
        // The server closes after its answer, which tells where that ends.
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head = format!("{}\r\nconnection: close\r\n\r\n", lines.join("\r\n"));
        server.write_all(head.as_bytes()).await?;
        server.write_all(body).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        let first = String::from_utf8_lossy(&answer[..answer.len().min(16)]).into_owned();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        self.seen
            .lock()
            .unwrap()
            .statuses
            .push(status.unwrap_or_default());
        Ok(answer)
    }
}

/// What a gateway says by itself: no error of the specification.
fn gateway_says(status: u16) -> Vec<u8> {
    let body = "<html>the gateway had something else to do</html>";
    let retry = if status == 429 {
        "retry-after: 0\r\n"
    } else {
        ""
    };
    format!(
        "HTTP/1.1 {status} Gateway\r\ncontent-type: text/html\r\n{retry}content-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head without its last empty line, and the body; none where the client only connected.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0_usize);
            if bytes.len() >= end + 4 + length {
                return Ok(Some((head, bytes[end + 4..].to_vec())));
            }
        }
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}
