//! Our client of XenStore against Xen's own server.

use std::time::Duration;

use atoll_lab::xenstored::Xenstored;
use atoll_xen::dom0::{AskError, Store};
use atoll_xen::store::{
    Access, Answer, Error, Incoming, NO_TRANSACTION, Perm, Refused, Request, TxId,
};

fn start() -> Option<(Xenstored, Store)> {
    match Xenstored::start() {
        Ok(server) => {
            let store = Store::open_at(&server.socket()).unwrap();
            Some((server, store))
        }
        Err(why) => {
            atoll_lab::left_out(why);
            None
        }
    }
}

fn ask(store: &mut Store, request: &Request<'_>) -> Result<Answer, Error> {
    ask_in(store, NO_TRANSACTION, request)
}

fn ask_in(store: &mut Store, tx: TxId, request: &Request<'_>) -> Result<Answer, Error> {
    match store.ask(tx, request) {
        Ok(answer) => Ok(answer),
        Err(AskError::Store(error)) => Err(error),
        Err(other) => panic!("{request:?}: {other}"),
    }
}

fn transaction(store: &mut Store) -> TxId {
    match ask(store, &Request::TransactionStart) {
        Ok(Answer::Transaction(tx)) => tx,
        other => panic!("{other:?}"),
    }
}

/// The events that came within a moment, as paths.
fn events(store: &mut Store, token: &str) -> Vec<String> {
    let mut paths = Vec::new();
    // An answer comes behind the events that came before it.
    ask(store, &Request::Read("/")).unwrap();
    while let Some(incoming) = store.event().unwrap() {
        let Incoming::Event { path, token: of } = incoming else { panic!("{incoming:?}") };
        assert_eq!(of, token);
        paths.push(path);
    }
    paths
}

#[test]
fn nodes_are_made_read_and_removed() {
    let Some((server, mut store)) = start() else { return };
    let store = &mut store;
    let any: Vec<u8> = (0..=255).collect();
    assert_eq!(ask(store, &Request::Write("/t/a", &any)), Ok(Answer::Done));
    assert_eq!(ask(store, &Request::Read("/t/a")), Ok(Answer::Value(any)));
    assert_eq!(ask(store, &Request::Mkdir("/t/b")), Ok(Answer::Done));
    assert_eq!(ask(store, &Request::Read("/t/b")), Ok(Answer::Value(vec![])));
    let names = Answer::Names(vec!["a".into(), "b".into()]);
    assert_eq!(ask(store, &Request::Directory("/t")), Ok(names));
    assert_eq!(server.run("xenstore-list", &["/t"]).unwrap(), "a\nb\n");
    server.run("xenstore-write", &["/t/b", "theirs"]).unwrap();
    assert_eq!(ask(store, &Request::Read("/t/b")), Ok(Answer::Value(b"theirs".to_vec())));
    assert_eq!(ask(store, &Request::Rm("/t")), Ok(Answer::Done));
    assert_eq!(ask(store, &Request::Read("/t/a")), Err(Error::ENOENT));
    assert_eq!(ask(store, &Request::Directory("/t")), Err(Error::ENOENT));
    assert_eq!(ask(store, &Request::IsDomainIntroduced(7)), Ok(Answer::Is(false)));
    let path = Answer::Path("/local/domain/7".into());
    assert_eq!(ask(store, &Request::GetDomainPath(7)), Ok(path));
}

#[test]
fn permissions_are_those_of_the_tools() {
    let Some((server, mut store)) = start() else { return };
    let perms = [Perm { domid: 0, access: Access::None }, Perm { domid: 5, access: Access::Read }];
    ask(&mut store, &Request::Write("/t", b"v")).unwrap();
    assert_eq!(ask(&mut store, &Request::SetPerms("/t", &perms)), Ok(Answer::Done));
    assert_eq!(ask(&mut store, &Request::GetPerms("/t")), Ok(Answer::Perms(perms.to_vec())));
    let shown = server.run("xenstore-ls", &["-p", "-f", "/"]).unwrap();
    assert!(shown.contains("(n0,r5)"), "{shown}");
}

#[test]
fn a_transaction_is_done_as_a_whole_or_in_conflict() {
    let Some((server, mut store)) = start() else { return };
    let store = &mut store;
    ask(store, &Request::Write("/t/n", b"1")).unwrap();
    let tx = transaction(store);
    ask_in(store, tx, &Request::Write("/t/n", b"2")).unwrap();
    assert_eq!(ask(store, &Request::Read("/t/n")), Ok(Answer::Value(b"1".to_vec())));
    assert_eq!(ask_in(store, tx, &Request::TransactionEnd(true)), Ok(Answer::Done));
    assert_eq!(ask(store, &Request::Read("/t/n")), Ok(Answer::Value(b"2".to_vec())));

    let tx = transaction(store);
    ask_in(store, tx, &Request::Read("/t/n")).unwrap();
    server.run("xenstore-write", &["/t/n", "3"]).unwrap();
    ask_in(store, tx, &Request::Write("/t/n", b"4")).unwrap();
    assert_eq!(ask_in(store, tx, &Request::TransactionEnd(true)), Err(Error::EAGAIN));
    assert_eq!(ask(store, &Request::Read("/t/n")), Ok(Answer::Value(b"3".to_vec())));

    let tx = transaction(store);
    ask_in(store, tx, &Request::Rm("/t")).unwrap();
    assert_eq!(ask_in(store, tx, &Request::TransactionEnd(false)), Ok(Answer::Done));
    assert!(ask(store, &Request::Read("/t/n")).is_ok());
    assert_eq!(ask_in(store, tx, &Request::Read("/t/n")), Err(Error::ENOENT));
}

#[test]
fn a_watch_tells_of_what_others_change() {
    let Some((server, mut store)) = start() else { return };
    ask(&mut store, &Request::Watch("/t", "token")).unwrap();
    assert_eq!(events(&mut store, "token"), ["/t"], "the first comes at once");
    server.run("xenstore-write", &["/t/a", "1"]).unwrap();
    server.run("xenstore-write", &["/u", "1"]).unwrap();
    assert_eq!(events(&mut store, "token"), ["/t/a"]);
    ask(&mut store, &Request::Unwatch("/t", "token")).unwrap();
    server.run("xenstore-rm", &["/t"]).unwrap();
    assert!(events(&mut store, "token").is_empty());
}

#[test]
fn a_list_that_is_too_long_comes_in_parts() {
    let Some((_server, mut store)) = start() else { return };
    let store = &mut store;
    let names: Vec<String> = (0..400).map(|n| format!("a-name-of-some-length-{n:03}")).collect();
    for name in &names {
        ask(store, &Request::Mkdir(&format!("/t/{name}"))).unwrap();
    }
    assert_eq!(ask(store, &Request::Directory("/t")), Err(Error::E2BIG));
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let Ok(Answer::Part(part)) = ask(store, &Request::DirectoryPart("/t", offset)) else {
            panic!("no part at {offset}")
        };
        all.extend(part.names);
        offset += part.bytes;
        if part.last {
            break;
        }
    }
    all.sort();
    assert_eq!(all, names);
}

#[test]
fn a_server_that_is_gone_or_silent_is_an_error() {
    let Some((mut server, mut store)) = start() else { return };
    ask(&mut store, &Request::Write("/t", b"v")).unwrap();
    let refused = store.ask(NO_TRANSACTION, &Request::Read("/no.name"));
    assert!(matches!(refused, Err(AskError::Refused(Refused::Path(_)))), "{refused:?}");
    assert!(!store.is_dead());
    server.kill();
    let gone = store.ask(NO_TRANSACTION, &Request::Read("/t"));
    assert!(matches!(gone, Err(AskError::Io(_))), "{gone:?}");
    assert!(store.is_dead() && store.event().is_err());
    let none = Store::open_at(&server.socket()).unwrap_err().to_string();
    assert!(none.contains("no xenstored answers"), "{none}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _deaf = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut store = Store::open_at(&path).unwrap();
    store.set_patience(Duration::from_millis(20));
    let silent = store.ask(NO_TRANSACTION, &Request::Read("/t"));
    assert!(matches!(silent, Err(AskError::Silent(_))), "{silent:?}");
    assert!(store.is_dead());
}
