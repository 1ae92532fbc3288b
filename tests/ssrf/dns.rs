//! A name server on this machine that lies as it is told, and the resolver that asks it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rmcp_guard::identity::fetch::Resolve;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;

/// What the server says about a name.
#[derive(Clone, Debug)]
pub enum Says {
    Addresses(Vec<IpAddr>),
    /// An alias, with the addresses of its target.
    Alias(&'static str, Vec<IpAddr>),
    NoSuchName,
    Failure,
    /// Bytes that are no message.
    Garbage,
}

/// A name's answers, the last of them for ever, and how often it was asked for.
#[derive(Debug, Default)]
struct Zone {
    turns: HashMap<String, Vec<Says>>,
    asked: HashMap<String, usize>,
}

/// The server. A name of which it was told nothing is at 127.0.0.1.
#[derive(Clone, Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

pub fn addresses(texts: &[&str]) -> Says {
    Says::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
}

impl Dns {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Self { address: socket.local_addr().unwrap(), zone: Arc::default() };
        let server = dns.clone();
        Handle::current().spawn(async move {
            let mut packet = [0; 1500];
            loop {
                let (length, peer) = socket.recv_from(&mut packet).await.unwrap();
                let question = Message::from_vec(&packet[..length]).unwrap();
                socket.send_to(&server.answer(&question), peer).await.unwrap();
            }
        });
        dns
    }

    /// From now on `name` is this, turn by turn.
    pub fn say(&self, name: &str, turns: Vec<Says>) {
        let mut zone = self.zone.lock().unwrap();
        zone.asked.remove(name);
        zone.turns.insert(name.to_owned(), turns);
    }

    /// How often somebody looked `name` up.
    pub fn lookups(&self, name: &str) -> usize {
        self.zone.lock().unwrap().asked.get(name).copied().unwrap_or(0)
    }

    fn answer(&self, question: &Message) -> Vec<u8> {
        let query = question.queries[0].clone();
        let name = query.name.to_ascii().trim_end_matches('.').to_owned();
        let says = self.turn(&name, query.query_type);
        let mut message = Message::response(question.metadata.id, OpCode::Query);
        let (owner, found) = match says {
            Says::Addresses(found) => (query.name.clone(), found),
            Says::Alias(target, found) => {
                let target = Name::from_ascii(target).unwrap();
                let alias = RData::CNAME(hickory_proto::rr::rdata::CNAME(target.clone()));
                message.add_answer(Record::from_rdata(query.name.clone(), 0, alias));
                (target, found)
            }
            Says::NoSuchName => {
                message.metadata.response_code = ResponseCode::NXDomain;
                (query.name.clone(), Vec::new())
            }
            Says::Failure => {
                message.metadata.response_code = ResponseCode::ServFail;
                (query.name.clone(), Vec::new())
            }
            Says::Garbage => return b"not a message".to_vec(),
        };
        for address in found {
            let data = match address {
                IpAddr::V4(address) => RData::A(address.into()),
                IpAddr::V6(address) => RData::AAAA(address.into()),
            };
            if data.record_type() == query.query_type {
                message.add_answer(Record::from_rdata(owner.clone(), 0, data));
            }
        }
        message.add_query(query);
        message.to_vec().unwrap()
    }

    /// A look-up asks for A and then for AAAA; both belong to one turn.
    fn turn(&self, name: &str, kind: RecordType) -> Says {
        let mut zone = self.zone.lock().unwrap();
        let asked = zone.asked.entry(name.to_owned()).or_default();
        if kind == RecordType::A {
            *asked += 1;
        }
        let turn = asked.saturating_sub(1);
        let Some(turns) = zone.turns.get(name) else { return Says::Addresses(vec![Ipv4Addr::LOCALHOST.into()]) };
        turns.get(turn).or_else(|| turns.last()).unwrap().clone()
    }

    /// Asks the server over UDP, as a resolver of an operating system does, and believes all that it says.
    pub async fn look_up(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(self.address).await?;
        let mut found = Vec::new();
        for (id, kind) in [(1, RecordType::A), (2, RecordType::AAAA)] {
            let mut message = Message::query();
            message.metadata.id = id;
            message.add_query(Query::query(Name::from_str(host).map_err(io::Error::other)?, kind));
            socket.send(&message.to_vec().map_err(io::Error::other)?).await?;
            let mut packet = vec![0; 1500];
            let length = socket.recv(&mut packet).await?;
            packet.truncate(length);
            let answer = Message::from_vec(&packet).map_err(io::Error::other)?;
            if answer.metadata.response_code != ResponseCode::NoError {
                return Err(io::Error::other("the name server refused"));
            }
            found.extend(answer.answers.iter().filter_map(|record| record.data.ip_addr()));
        }
        // Port 9 is for `Resolve` to ignore.
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 9)).collect())
    }
}

impl Resolve for Dns {
    fn resolve<'a>(&'a self, host: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(self.look_up(host))
    }
}

/// Whether a connection to `address` ends on this machine.
pub fn is_this_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// For a client without protection, which finds nothing beyond this machine.
impl reqwest::dns::Resolve for Dns {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let dns = self.clone();
        Box::pin(async move {
            let found = dns.look_up(name.as_str()).await?;
            let found: reqwest::dns::Addrs = Box::new(
                found
                    .into_iter()
                    .map(|address| SocketAddr::new(address.ip(), 0))
                    .filter(|address| is_this_machine(address.ip())),
            );
            Ok(found)
        })
    }
}
