use super::*;
use atoll_atom::fake::World;

struct Room(World);

impl Room {
    /// Clients that are in one room.
    fn with(names: &[&str]) -> Room {
        let mut world = World::new(1);
        world.start::<Chat>("chat", "").unwrap();
        let mut room = Room(world);
        for name in names {
            room.say(name, name);
            room.say(name, "/join sea");
        }
        room
    }

    fn say(&mut self, who: &str, line: &str) {
        self.0.put("chat", "clients", who, line.as_bytes()).unwrap();
        self.0.run();
    }

    /// The last line that a client was told.
    fn last(&mut self, who: &str) -> String {
        let told = self.0.get("chat", "clients", who).unwrap();
        String::from_utf8(told).unwrap().lines().last().unwrap_or_default().into()
    }

    fn rooms(&mut self) -> String {
        self.0.read("chat", "rooms").unwrap()
    }
}

#[test]
fn who_is_in_a_room_hears_what_is_said_there() {
    let mut room = Room::with(&["ann", "bob"]);
    room.say("eve", "eve");
    room.say("eve", "/join air");
    room.say("ann", "hello");
    assert_eq!(room.last("ann"), "[sea] ann: hello");
    assert_eq!(room.last("bob"), "[sea] ann: hello");
    assert_eq!(room.last("eve"), "[air] eve: joined");
    assert_eq!(room.rooms(), "air: eve\nsea: ann, bob");
    assert_eq!(room.0.lines("chat", "said").unwrap().last().unwrap(), "[sea] ann: hello");
}

#[test]
fn a_name_is_asked_for_until_it_is_free() {
    let mut room = Room::with(&["ann"]);
    room.say("x", "ann");
    assert_eq!(room.last("x"), "ann is here already: who are you?");
    room.say("x", "bob");
    assert!(room.last("x").starts_with("welcome, bob"));
    room.say("x", "hello");
    assert_eq!(room.last("x"), "/join ROOM first");
    room.say("x", "/fly");
    assert_eq!(room.last("x"), "no such command");
}

#[test]
fn silence_ends_a_conversation() {
    let mut room = Room::with(&["ann", "bob"]);
    room.0.pass(Duration::from_secs(599));
    room.say("ann", "still here");
    room.0.pass(Duration::from_secs(2));
    assert_eq!(room.rooms(), "sea: ann");
    assert_eq!(room.last("ann"), "[sea] bob: left (silence)");
    assert_eq!(room.0.names("chat", "clients").unwrap(), ["ann"]);
    room.0.pass(Duration::from_secs(700));
    assert_eq!(room.0.names("chat", "clients").unwrap(), [""; 0]);
}

#[test]
fn who_hangs_up_has_left() {
    let mut room = Room::with(&["ann", "bob"]);
    room.0.remove("chat", "clients", "bob").unwrap();
    room.0.run();
    assert_eq!(room.last("ann"), "[sea] bob: left");
    room.say("ann", "/quit");
    assert_eq!(room.rooms(), "");
    let gone = room.0.remove("chat", "clients", "ann").unwrap_err();
    assert_eq!(gone.errno, Errno::ENOENT);
}

#[test]
fn a_vote_waits_for_everybody_and_not_for_ever() {
    let mut room = Room::with(&["ann", "bob", "eve", "joe"]);
    room.say("ann", "/vote fish?");
    assert_eq!(room.last("bob"), "fish? (yes or no)");
    assert_eq!(room.last("ann"), "[sea] joe: joined");
    room.say("bob", "yes");
    room.say("eve", "no");
    // Ann's own line waits until her vote is over: a thread does one thing at a time.
    room.say("ann", "well?");
    room.0.pass(Duration::from_secs(31));
    let told = String::from_utf8(room.0.get("chat", "clients", "bob").unwrap()).unwrap();
    let lines: Vec<&str> = told.lines().rev().take(2).collect();
    assert_eq!(lines, ["[sea] ann: well?", "[sea] ann: fish?: 1 yes, 1 no, 1 silent"]);
    // Joe missed it, and talks on.
    room.say("joe", "sorry");
    assert_eq!(room.last("ann"), "[sea] joe: sorry");
}

#[test]
fn two_votes_at_once_are_two() {
    let mut room = Room::with(&["ann", "bob", "eve"]);
    room.say("ann", "/vote fish?");
    room.say("bob", "yes");
    room.say("bob", "/vote soup?");
    // Eve answers one after the other.
    assert_eq!(room.last("eve"), "fish? (yes or no)");
    room.say("eve", "yes");
    let told = room.0.get("chat", "clients", "eve").unwrap();
    assert!(String::from_utf8(told).unwrap().contains("soup? (yes or no)\n"));
    room.say("eve", "no");
    room.say("ann", "yes");
    let said = room.0.lines("chat", "said").unwrap();
    let votes: Vec<&String> = said.iter().filter(|l| l.contains("silent")).collect();
    assert_eq!(
        votes,
        ["[sea] ann: fish?: 2 yes, 0 no, 0 silent", "[sea] bob: soup?: 1 yes, 1 no, 0 silent"]
    );
}

#[test]
fn there_is_an_end_to_clients_and_lines() {
    let mut room = Room::with(&[]);
    let many = "x\n".repeat(LINES + 1);
    let e = room.0.put("chat", "clients", "fast", many.as_bytes()).unwrap_err();
    assert_eq!(e.errno, Errno::EAGAIN);
    assert_eq!(room.0.names("chat", "clients").unwrap(), [""; 0]);
    for n in 0..CLIENTS {
        room.say(&format!("{n}"), &format!("{n}"));
    }
    let e = room.0.put("chat", "clients", "late", b"late").unwrap_err();
    assert_eq!(e.errno, Errno::ENOSPC);
}

#[test]
fn the_same_conversation_goes_the_same_way() {
    let run = || {
        let mut room = Room::with(&["ann", "bob", "eve"]);
        room.say("ann", "/vote again?");
        room.say("eve", "no");
        room.0.restored(Duration::from_secs(86400));
        room.0.pass(Duration::from_secs(45));
        room.0.lines("chat", "said").unwrap()
    };
    assert_eq!(run(), run());
    assert_eq!(run().last().unwrap(), "[sea] ann: again?: 0 yes, 1 no, 1 silent");
}
