//! The client against what a server may say, good or bad.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

use proptest::prelude::*;

use super::error::NAMED;
use super::*;

mod lies;

fn frame(kind: u32, req_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind, req_id, tx_id: 0, len: payload.len() as u32 };
    [&header.to_bytes()[..], payload].concat()
}

/// The requests in a client's output, which is taken.
fn sent(client: &mut Client) -> Vec<(Header, Vec<u8>)> {
    let mut out = Vec::new();
    let bytes = client.output().to_vec();
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_first_chunk::<HEADER>() {
        let header = Header::from_bytes(head);
        let (payload, after) = after.split_at(header.len as usize);
        out.push((header, payload.to_vec()));
        rest = after;
    }
    client.sent(bytes.len());
    out
}

fn asked(request: &Request<'_>) -> Result<(Header, Vec<u8>), Refused> {
    let mut client = Client::new(Limits::default());
    client.submit(NO_TRANSACTION, request)?;
    Ok(sent(&mut client).remove(0))
}

#[test]
fn each_request_is_what_the_header_says() {
    let perms = [Perm { domid: 0, access: Access::None }, Perm { domid: 5, access: Access::Both }];
    let table: [(Request<'_>, u32, &[u8]); 15] = [
        (Request::Directory("/a"), 1, b"/a\0"),
        (Request::DirectoryPart("/a", 12), 22, b"/a\x0012\0"),
        (Request::Read("a/b"), 2, b"a/b\0"),
        (Request::GetPerms("/"), 3, b"/\0"),
        (Request::Watch("@releaseDomain", "t"), 4, b"@releaseDomain\0t\0"),
        (Request::Unwatch("/a", "t"), 5, b"/a\0t\0"),
        (Request::TransactionStart, 6, b"\0"),
        (Request::TransactionEnd(true), 7, b"T\0"),
        (Request::TransactionEnd(false), 7, b"F\0"),
        (Request::GetDomainPath(3), 10, b"3\0"),
        (Request::Write("/a", b"v\0w"), 11, b"/a\0v\0w"),
        (Request::Mkdir("/a"), 12, b"/a\0"),
        (Request::Rm("/a"), 13, b"/a\0"),
        (Request::SetPerms("/a", &perms), 14, b"/a\0n0\0b5\0"),
        (Request::ResetWatches, 21, b"\0"),
    ];
    for (request, kind, payload) in table {
        let (header, sent) = asked(&request).unwrap();
        assert_eq!((header.kind, &*sent), (kind, payload), "{request:?}");
    }
}

#[test]
fn what_cannot_be_said_is_not_sent() {
    let long = "a".repeat(ABS_PATH_MAX);
    let absolute = format!("/{long}");
    let relative = "a".repeat(REL_PATH_MAX + 1);
    let value = vec![0; PAYLOAD_MAX];
    let token = "t".repeat(PAYLOAD_MAX);
    let many = vec![Perm { domid: 1, access: Access::Read }; MAX_PERMS + 1];
    for (request, why) in [
        (Request::Read(""), Refused::Path(BadPath::Empty)),
        (Request::Read("/a//b"), Refused::Path(BadPath::Empty)),
        (Request::Read("/a/"), Refused::Path(BadPath::Empty)),
        (Request::Read("/a\0b"), Refused::Path(BadPath::Character)),
        (Request::Read("/a.b"), Refused::Path(BadPath::Character)),
        (Request::Rm(&absolute), Refused::Path(BadPath::TooLong)),
        (Request::Rm(&relative), Refused::Path(BadPath::TooLong)),
        (Request::Write("/a", &value), Refused::TooLong),
        (Request::Watch("/a", ""), Refused::Token),
        (Request::Watch("/a", "a\0"), Refused::Token),
        (Request::Watch("/a", &token), Refused::TooLong),
        (Request::SetPerms("/a", &[]), Refused::Perms),
        (Request::SetPerms("/a", &many), Refused::Perms),
    ] {
        let mut client = Client::new(Limits::default());
        assert_eq!(client.submit(NO_TRANSACTION, &request), Err(why), "{request:?}");
        assert!(client.output().is_empty() && client.in_hand() == 0);
    }
    assert!(asked(&Request::Read(&absolute[..ABS_PATH_MAX])).is_ok());
    assert!(asked(&Request::Write("/a", &value[..PAYLOAD_MAX - 3])).is_ok());
}

fn answer_to(request: &Request<'_>, payload: &[u8]) -> Result<Answer, Error> {
    let mut client = Client::new(Limits::default());
    let id = client.submit(NO_TRANSACTION, request).unwrap();
    client.received(&frame(request.kind() as u32, 1, payload)).unwrap();
    client.take_answer(id).unwrap()
}

#[test]
fn answers_are_read_by_what_was_asked() {
    let names = |n: &[&str]| n.iter().map(ToString::to_string).collect::<Vec<_>>();
    let list = Request::Directory("/");
    assert_eq!(answer_to(&list, b""), Ok(Answer::Names(vec![])));
    assert_eq!(answer_to(&list, b"a\0b\0"), Ok(Answer::Names(names(&["a", "b"]))));
    for bad in [&b"a"[..], b"\0", b"a\0\0", b"a/b\0", b"..\0", b"\xff\0"] {
        assert_eq!(answer_to(&list, bad), Err(Error::Garbled), "{bad:?}");
    }
    let part =
        |names, bytes, last| Ok(Answer::Part(Part { generation: "7".into(), names, bytes, last }));
    let some = Request::DirectoryPart("/", 0);
    assert_eq!(answer_to(&some, b"7\0a\0b\0"), part(names(&["a", "b"]), 4, false));
    assert_eq!(answer_to(&some, b"7\0a\0b\0\0"), part(names(&["a", "b"]), 4, true));
    assert_eq!(answer_to(&some, b"7\0\0"), part(vec![], 0, true));
    for bad in [&b""[..], b"7", b"7\0", b"7\0a", b"7\0\0\0\0"] {
        assert_eq!(answer_to(&some, bad), Err(Error::Garbled), "{bad:?}");
    }
    let start = Request::TransactionStart;
    assert_eq!(answer_to(&start, b"9\0"), Ok(Answer::Transaction(TxId(9))));
    for bad in [&b"0\0"[..], b"-1\0", b"x\0", b"4294967296\0"] {
        assert_eq!(answer_to(&start, bad), Err(Error::Garbled), "{bad:?}");
    }
    let perms = |p: &[Perm]| Ok(Answer::Perms(p.to_vec()));
    let get = Request::GetPerms("/");
    let none = Perm { domid: 0, access: Access::None };
    assert_eq!(answer_to(&get, b"n0\0"), perms(&[none]));
    assert_eq!(answer_to(&get, b""), Err(Error::Garbled));
    assert_eq!(answer_to(&Request::IsDomainIntroduced(1), b"F\0"), Ok(Answer::Is(false)));
    let path = answer_to(&Request::GetDomainPath(1), b"/local/domain/1\0");
    assert_eq!(path, Ok(Answer::Path("/local/domain/1".into())));
    assert_eq!(answer_to(&Request::Rm("/a"), b"OK\0"), Ok(Answer::Done));
}

#[test]
fn every_error_has_its_name() {
    for error in NAMED {
        let mut client = Client::new(Limits::default());
        let id = client.submit(NO_TRANSACTION, &Request::Read("/a")).unwrap();
        let name = format!("{}\0", error.name().unwrap());
        client.received(&frame(16, 1, name.as_bytes())).unwrap();
        assert_eq!(client.take_answer(id), Some(Err(*error)));
    }
    assert_eq!(Error::from_name(b"EWHAT"), Error::Unknown);
}

#[test]
fn a_new_connection_forgets_what_was_in_hand() {
    let mut client = Client::new(Limits::default());
    let id = client.submit(NO_TRANSACTION, &Request::Read("/a")).unwrap();
    let other = client.submit(NO_TRANSACTION, &Request::Read("/b")).unwrap();
    client.forget(other);
    client.received(&[1, 2, 3]).unwrap();
    assert!(client.is_amid());
    client.reset();
    assert!(!client.is_amid() && client.output().is_empty());
    assert_eq!(client.take(), Some(Incoming::Answer(id, Err(Error::Lost))));
    assert_eq!(client.take(), None);
    assert_ne!(client.submit(NO_TRANSACTION, &Request::Read("/a")), Ok(id));
}

#[test]
fn perms_are_text() {
    assert_eq!(format_perms(&parse_perms(" b0\n r65535 ").unwrap()), "b0 r65535");
    for bad in ["", "x0", "n", "n65536", "n+1", "n0,r1", "0"] {
        assert_eq!(parse_perms(bad), Err(BadPerms), "{bad}");
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_@-]{1,12}"
}

proptest! {
    #[test]
    fn an_answer_is_the_same_however_it_is_cut(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..12),
        cuts in prop::collection::vec(1_usize..64, 1..40),
    ) {
        let mut client = Client::new(Limits::default());
        let ask = |client: &mut Client| client.submit(NO_TRANSACTION, &Request::Read("/a")).unwrap();
        let ids: Vec<_> = values.iter().map(|_| ask(&mut client)).collect();
        let mut bytes = Vec::new();
        for ((header, _), value) in sent(&mut client).iter().zip(&values).rev() {
            bytes.extend(frame(header.kind, header.req_id, value));
        }
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            client.received(now).unwrap();
            rest = later;
        }
        prop_assert!(!client.is_amid());
        for (id, value) in ids.iter().zip(&values).rev() {
            let answer = Incoming::Answer(*id, Ok(Answer::Value(value.clone())));
            prop_assert_eq!(client.take(), Some(answer));
        }
    }

    #[test]
    fn perms_come_back(perms in prop::collection::vec((any::<u16>(), 0..4), 1..20)) {
        let access = [Access::None, Access::Read, Access::Write, Access::Both];
        let perms: Vec<_> =
            perms.iter().map(|(domid, a)| Perm { domid: *domid, access: access[*a as usize] }).collect();
        prop_assert_eq!(parse_perms(&format_perms(&perms)), Ok(perms));
    }

    #[test]
    fn names_come_back(names in prop::collection::vec(name(), 0..40)) {
        let payload: String = names.iter().map(|n| format!("{n}\0")).collect();
        let answer = answer_to(&Request::Directory("/"), payload.as_bytes());
        prop_assert_eq!(answer, Ok(Answer::Names(names)));
    }
}
