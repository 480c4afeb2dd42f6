//! Target `xenstore`: a server of XenStore that sends what the input says.
//!
//! The client is asked things, given bytes in pieces, and begun anew when it breaks. Every
//! request is answered once, an answer is one to what was asked, names in it are names, and
//! nothing grows beyond its limits.

use std::collections::BTreeMap;

use atoll_xen::store::{
    Answer, Client, HEADER, Header, Incoming, Limits, NO_TRANSACTION, PAYLOAD_MAX, Request,
    check_name,
};

use crate::rng::Rng;

const LIMITS: Limits = Limits { requests: 6, events: 4 };

fn request(n: u8) -> Request<'static> {
    match n % 9 {
        0 => Request::Directory("/a"),
        1 => Request::DirectoryPart("/a", 7),
        2 => Request::Read("/a"),
        3 => Request::GetPerms("/a"),
        4 => Request::Watch("/a", "token"),
        5 => Request::TransactionStart,
        6 => Request::GetDomainPath(3),
        7 => Request::IsDomainIntroduced(3),
        _ => Request::Write("/a", b"value"),
    }
}

/// Whether an answer can be one to that request.
fn fits(request: &Request<'_>, answer: &Answer) -> bool {
    match (request, answer) {
        (Request::Directory(_), Answer::Names(names)) => {
            names.iter().all(|n| check_name(n).is_ok())
        }
        (Request::DirectoryPart(..), Answer::Part(part)) => {
            part.names.iter().all(|n| check_name(n).is_ok())
                && (part.last || part.bytes > 0)
                && part.bytes as usize == part.names.iter().map(|n| n.len() + 1).sum::<usize>()
        }
        (Request::Read(_), Answer::Value(value)) => value.len() <= PAYLOAD_MAX,
        (Request::GetPerms(_), Answer::Perms(perms)) => !perms.is_empty(),
        (Request::TransactionStart, Answer::Transaction(tx)) => *tx != NO_TRANSACTION,
        (Request::GetDomainPath(_), Answer::Path(_))
        | (Request::IsDomainIntroduced(_), Answer::Is(_))
        | (Request::Watch(..) | Request::Write(..), Answer::Done) => true,
        _ => false,
    }
}

/// Tries one input: a byte says what is done, those behind it with what.
pub fn run(mut input: &[u8]) {
    let mut client = Client::new(LIMITS);
    let mut open = BTreeMap::new();
    while let Some((&what, rest)) = input.split_first() {
        input = rest;
        match what {
            0..=31 => {
                let request = request(what);
                if let Ok(id) = client.submit(NO_TRANSACTION, &request) {
                    assert!(open.insert(id, request).is_none(), "a number that is in use");
                }
                client.sent(usize::from(what));
            }
            32..=47 => take(&mut client, &mut open),
            48 => client.reset(),
            _ => {
                let (now, later) = input.split_at(usize::from(what - 48).min(input.len()));
                input = later;
                if client.received(now).is_err() {
                    assert!(!client.has_room());
                    client.reset();
                }
            }
        }
        assert!(client.in_hand() <= LIMITS.requests);
    }
    client.reset();
    take(&mut client, &mut open);
    assert!(open.is_empty(), "{open:?} have no answer");
}

fn take(client: &mut Client, open: &mut BTreeMap<atoll_xen::store::RequestId, Request<'static>>) {
    let mut events = 0;
    while let Some(incoming) = client.take() {
        match incoming {
            Incoming::Answer(id, answer) => {
                let request = open.remove(&id).expect("an answer to what was asked");
                if let Ok(answer) = answer {
                    assert!(fits(&request, &answer), "{request:?}: {answer:?}");
                }
            }
            Incoming::Event { .. } | Incoming::EventsLost => events += 1,
        }
    }
    assert!(events <= LIMITS.events);
}

/// Each request with an answer that fits it, and some that do not.
pub fn seeds() -> Vec<Vec<u8>> {
    let answers: [&[u8]; 9] = [
        b"a\0b\0",
        b"5\0a\0b\0\0",
        b"v\0w",
        b"n0\0r5\0",
        b"OK\0",
        b"9\0",
        b"/x\0",
        b"T\0",
        b"OK\0",
    ];
    let mut rng = Rng::new(17);
    let mut all = Vec::new();
    for round in 0..3 {
        for (n, payload) in answers.iter().enumerate() {
            let kind = request(n as u8).kind() as u32;
            let kind = if round == 2 { 16 } else { kind };
            let len = payload.len() as u32;
            let mut frame = Header { kind, req_id: 1, tx_id: 0, len }.to_bytes().to_vec();
            frame.extend_from_slice(if round == 2 {
                &b"ENOENT\0\0"[..len as usize]
            } else {
                payload
            });
            let event = Header { kind: 15, req_id: 0, tx_id: 0, len: 5 };
            frame.extend(event.to_bytes());
            frame.extend(b"/a\0t\0");
            if round == 1 {
                let at = rng.below(frame.len());
                frame[at] ^= 1 << (rng.below(8) as u32);
            }
            let mut input = vec![n as u8];
            for piece in frame.chunks(HEADER + 3) {
                input.push(48 + piece.len() as u8);
                input.extend(piece);
            }
            input.push(32);
            all.push(input);
        }
    }
    all
}

/// The steps, for people.
pub fn show(mut input: &[u8]) -> String {
    let mut out = String::new();
    while let Some((&what, rest)) = input.split_first() {
        input = rest;
        out += &match what {
            0..=31 => format!("ask {:?}\n", request(what)),
            32..=47 => "take\n".into(),
            48 => "reset\n".into(),
            _ => {
                let (now, later) = input.split_at(usize::from(what - 48).min(input.len()));
                input = later;
                format!("receive {now:02x?}\n")
            }
        };
    }
    out
}
