use super::*;
use atoll_atom::fake::World;

fn world() -> World {
    let mut world = World::new(1);
    world.start::<Kv>("kv", "").unwrap();
    world
}

#[test]
fn what_was_put_is_there() {
    let mut world = world();
    world.put("kv", "names", "b", b"two").unwrap();
    world.put("kv", "names", "a", b"one").unwrap();
    world.put("kv", "names", "b", b"three").unwrap();
    assert_eq!(world.names("kv", "names").unwrap(), ["a", "b"]);
    assert_eq!(world.get("kv", "names", "b").unwrap(), b"three");
    assert_eq!(world.read("kv", "stats").unwrap(), "keys 2\nbytes 8");
    world.remove("kv", "names", "a").unwrap();
    assert_eq!(world.get("kv", "names", "a").unwrap_err().errno, Errno::ENOENT);
    assert_eq!(world.remove("kv", "names", "a").unwrap_err().errno, Errno::ENOENT);
    assert_eq!(world.read("kv", "stats").unwrap(), "keys 1\nbytes 5");
    let changes = world.lines("kv", "changes").unwrap();
    assert_eq!(changes, ["put b 3", "put a 3", "put b 5", "remove a"]);
}

#[test]
fn many_names_are_listed_in_pieces() {
    let mut world = world();
    let all: Vec<String> = (0..1200).map(|n| alloc::format!("{n:0>60}")).collect();
    for name in &all {
        world.put("kv", "names", name, b"").unwrap();
    }
    assert_eq!(world.names("kv", "names").unwrap(), all);
    world.command("kv", "ctl", "clear").unwrap();
    assert_eq!(world.names("kv", "names").unwrap(), [""; 0]);
    assert_eq!(world.read("kv", "stats").unwrap(), "keys 0\nbytes 0");
}

#[test]
fn a_full_store_refuses_and_goes_on() {
    let mut world = world();
    world.storage(10);
    world.put("kv", "names", "a", b"12345").unwrap();
    let e = world.put("kv", "names", "b", b"12345").unwrap_err();
    assert_eq!(e.errno, Errno::ENOSPC);
    assert_eq!(world.read("kv", "stats").unwrap(), "keys 1\nbytes 5");
    assert_eq!(world.lines("kv", "changes").unwrap(), ["put a 5"]);
    world.put("kv", "names", "a", b"123456789").unwrap();
    assert_eq!(world.get("kv", "names", "a").unwrap(), b"123456789");
}

#[test]
fn the_store_outlives_the_instance() {
    let mut world = world();
    world.put("kv", "names", "a", b"1").unwrap();
    world.abandon("kv").unwrap();
    let e = world.put("kv", "names", "b", b"2").unwrap_err();
    assert_eq!(e.errno, Errno::ETIMEDOUT);
    assert_eq!(world.names("kv", "names").unwrap(), ["a"]);
    assert_eq!(world.read("kv", "stats").unwrap(), "keys 1\nbytes 1");
}

#[test]
fn other_atoms_ask() {
    let mut world = world();
    let kv = Component(1);
    let mut ask = |request: Request| {
        let asked = world.ask(kv, &request).unwrap();
        world.run();
        world.reply::<Reply>(asked).unwrap()
    };
    let (key, value) = (String::from("k"), alloc::vec![7]);
    assert_eq!(ask(Request::Get(key.clone())), Ok(Reply::Value(None)));
    assert_eq!(ask(Request::Put(key.clone(), value.clone())), Ok(Reply::Done));
    assert_eq!(ask(Request::Get(key.clone())), Ok(Reply::Value(Some(value))));
    assert_eq!(ask(Request::Remove(key.clone())), Ok(Reply::Done));
    assert_eq!(ask(Request::Remove(key)).unwrap_err().errno, Errno::ENOENT);
}

#[test]
fn sync_tells_when_it_is_durable() {
    let mut world = world();
    world.command("kv", "ctl", "sync").unwrap();
    assert_eq!(world.lines("kv", "changes").unwrap(), [""; 0]);
    world.run();
    assert_eq!(world.lines("kv", "changes").unwrap(), ["durable"]);
}
