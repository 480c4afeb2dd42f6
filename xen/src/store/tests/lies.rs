//! A server that sends what it likes.

use super::*;

fn events(client: &mut Client) -> usize {
    let mut n = 0;
    while client.take_event().is_some() {
        n += 1;
    }
    n
}

#[test]
fn a_lie_ends_the_connection_and_is_told() {
    let read = Request::Read("/a");
    for (bytes, broken) in [
        (frame(2, 2, b""), Broken::Unasked(2)),
        (frame(2, 0, b""), Broken::Unasked(0)),
        (frame(1, 1, b""), Broken::OtherKind(1)),
        (frame(77, 1, b""), Broken::OtherKind(1)),
        (frame(15, 0, b"/a\0t"), Broken::Event),
        (frame(15, 0, b"\xff\0t\0"), Broken::Event),
        (frame(2, 1, &vec![0; (1 << 20) + 1]), Broken::TooLong((1 << 20) + 1)),
    ] {
        let mut client = Client::new(Limits::default());
        let id = client.submit(NO_TRANSACTION, &read).unwrap();
        assert_eq!(client.received(&bytes), Err(broken));
        assert_eq!(client.received(b""), Err(broken));
        assert_eq!(client.submit(NO_TRANSACTION, &read), Err(Refused::Broken(broken)));
        assert!(!client.has_room());
        assert_eq!(client.take(), Some(Incoming::Answer(id, Err(Error::Lost))));
        client.reset();
        assert!(client.submit(NO_TRANSACTION, &read).is_ok());
    }
}

#[test]
fn an_answer_that_is_too_long_is_passed_over() {
    for cut in [1, 7, HEADER, 4096, 10_000] {
        let mut client = Client::new(Limits::default());
        let list = client.submit(NO_TRANSACTION, &Request::Directory("/")).unwrap();
        let read = client.submit(NO_TRANSACTION, &Request::Read("/a")).unwrap();
        let long = frame(1, 1, &[b'x'; PAYLOAD_MAX + 500]);
        let event = frame(15, 0, &[b'x'; PAYLOAD_MAX + 1]);
        for piece in [long, event, frame(2, 2, b"v")].concat().chunks(cut) {
            client.received(piece).unwrap();
        }
        assert!(!client.is_amid());
        assert_eq!(client.take(), Some(Incoming::Answer(list, Err(Error::E2BIG))));
        let value = Answer::Value(b"v".to_vec());
        assert_eq!(client.take(), Some(Incoming::Answer(read, Ok(value))));
        assert_eq!(client.take(), Some(Incoming::EventsLost));
    }
}

#[test]
fn a_storm_of_events_is_one_word() {
    let limits = Limits { events: 10, ..Limits::default() };
    let mut client = Client::new(limits);
    for _ in 0..1000 {
        client.received(&frame(15, 0, b"/a\0t\0")).unwrap();
    }
    assert_eq!(events(&mut client), 1);
    for i in 0..1000 {
        client.received(&frame(15, 0, format!("/{i}\0t\0").as_bytes())).unwrap();
    }
    assert_eq!(client.take(), Some(Incoming::EventsLost));
    assert_eq!(client.take(), None);
    client.received(&frame(15, 0, b"/a\0t\0later\0")).unwrap();
    let event = Incoming::Event { path: "/a".into(), token: "t".into() };
    assert_eq!(client.take(), Some(event));
}

#[test]
fn answers_that_nobody_takes_keep_their_places() {
    let mut client = Client::new(Limits { requests: 2, ..Limits::default() });
    let read = Request::Read("/a");
    let first = client.submit(NO_TRANSACTION, &read).unwrap();
    let second = client.submit(NO_TRANSACTION, &read).unwrap();
    assert_eq!(client.submit(NO_TRANSACTION, &read), Err(Refused::Busy));
    client.received(&frame(2, 1, b"v")).unwrap();
    assert_eq!(client.submit(NO_TRANSACTION, &read), Err(Refused::Busy));
    client.forget(first);
    assert!(client.has_room());
    client.forget(second);
    assert_eq!(client.in_hand(), 1, "its answer is still to come");
    client.received(&frame(2, 2, b"v")).unwrap();
    assert_eq!((client.in_hand(), client.take()), (0, None));
}

proptest! {
    #[test]
    fn garbage_is_survived_and_held_in_bounds(
        chunks in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                (0_u32..24, 0_u32..6, prop::collection::vec(0_u8..80, 0..64))
                    .prop_map(|(kind, id, payload)| frame(kind, id, &payload)),
            ],
            0..40,
        ),
    ) {
        let limits = Limits { requests: 4, events: 3 };
        let mut client = Client::new(limits);
        let mut open: Vec<RequestId> = Vec::new();
        for (i, chunk) in chunks.iter().enumerate() {
            let request = match i % 5 {
                0 => Request::Directory("/"),
                1 => Request::GetPerms("/"),
                2 => Request::DirectoryPart("/", 0),
                3 => Request::TransactionStart,
                _ => Request::Read("/"),
            };
            open.extend(client.submit(NO_TRANSACTION, &request).ok());
            if client.received(chunk).is_err() {
                client.reset();
            }
            prop_assert!(client.in_hand() <= limits.requests);
            if i % 3 == 0 {
                while let Some(incoming) = client.take() {
                    if let Incoming::Answer(id, answer) = incoming {
                        let at = open.iter().position(|o| *o == id);
                        prop_assert!(at.is_some(), "an answer that nobody waits for");
                        open.remove(at.unwrap());
                        if let Ok(Answer::Names(names)) = answer {
                            prop_assert!(names.iter().all(|n| check_name(n).is_ok()));
                        }
                    }
                }
            }
        }
        client.reset();
        while let Some(incoming) = client.take() {
            if let Incoming::Answer(id, _) = incoming {
                open.retain(|o| *o != id);
            }
        }
        prop_assert!(open.is_empty(), "everything that was asked is answered once");
    }
}
