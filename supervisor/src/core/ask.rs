//! What askers want: folders, definitions, verbs, images, and to wait.

use atoll_9p::fault::{Errno, Fault};

use super::guest::{Door, Item, Job, Waiter, Wants};
use super::life::{Kind, Stimulus};
use super::save::{self, Txn, Undo};
use super::{
    Ask, Can, Change, Config, Core, Definition, From, Guest, Image, ImageHash, Input, MAX_CONFIG,
    MAX_GUESTS, MAX_IMAGES, MAX_QUEUE, MAX_WAITERS, Name, Output, Record, State, Until, Verb, What,
};
use crate::run::On;
use crate::shim::{Order, Place};

fn fault(errno: Errno, text: impl Into<String>) -> Fault {
    Fault::new(errno, text.into())
}

fn nobody(name: &Name) -> Fault {
    fault(Errno::ENOENT, format!("there is no guest {name}"))
}

impl Core {
    /// Takes a question; it is answered now, later, or when its guest takes questions.
    pub(super) fn asked(&mut self, input: Input, anew: bool) {
        let (ask, guest) = match &input {
            Input::Make { ask, guest }
            | Input::Draft { ask, guest, .. }
            | Input::Define { ask, guest, .. }
            | Input::Ask { ask, guest, .. }
            | Input::Wait { ask, guest, .. } => (*ask, Some(guest.clone())),
            Input::AddImage { ask, .. } | Input::DropImage { ask, .. } => (*ask, None),
            _ => return,
        };
        if anew {
            self.asks.insert(ask, guest.clone());
        }
        if let Some(guest) = guest.as_ref().and_then(|name| self.guests.get_mut(name)) {
            let closed = matches!(guest.door, Door::Closed) || guest.state() == State::Adopting;
            // However many wait, there is room for who wants to stop it.
            let share = if matches!(input, Input::Wait { .. }) { 1 } else { 2 };
            if closed && guest.queue.len() < MAX_QUEUE * share {
                return guest.queue.push_back(Item::Input(input));
            }
            if closed || guest.waiters.len() >= MAX_WAITERS * share {
                let text = "too many questions about this guest wait for their answers";
                return self.answer(ask, Err(fault(Errno::ENOBUFS, text)));
            }
        }
        let done = match input {
            Input::Make { guest, .. } => self.make(ask, &guest),
            Input::Draft { guest, text, .. } => self.draft(ask, &guest, text),
            Input::Define { guest, definition, text, .. } => {
                self.define(ask, &guest, *definition, text)
            }
            Input::Ask { guest, verb, .. } => self.verb(ask, &guest, &verb),
            Input::Wait { guest, until, .. } => self.wait(ask, &guest, until),
            Input::AddImage { hash, image, .. } => self.add_image(ask, hash, image),
            Input::DropImage { hash, .. } => self.drop_image(ask, hash),
            _ => Ok(()),
        };
        if let Err(fault) = done {
            self.answer(ask, Err(fault));
        }
        if !self.asks.contains_key(&ask)
            && let Some(guest) = guest.and_then(|name| self.guests.get_mut(&name))
        {
            // It was withdrawn while it waited for its turn.
            guest.waiters.retain(|w| w.ask != ask);
        }
    }

    /// Nobody waits for an answer any more.
    pub(super) fn withdraw(&mut self, ask: Ask) {
        let Some(Some(name)) = self.asks.remove(&ask) else { return };
        let Some(guest) = self.guests.get_mut(&name) else { return };
        guest.waiters.retain(|w| w.ask != ask);
        // A reader of `wait` that is gone changes nothing; a verb that was said counts.
        let waits = |i: &Item| matches!(i, Item::Input(Input::Wait { ask: a, .. }) if *a == ask);
        guest.queue.retain(|i| !waits(i));
    }

    /// Whether a name is free for a new guest.
    fn check_free(&self, name: &Name) -> Result<(), Fault> {
        if self.guests.contains_key(name) {
            return Err(fault(Errno::EEXIST, format!("there is a guest {name} already")));
        }
        if self.reserved.contains(name) {
            return Err(fault(Errno::EEXIST, format!("a guest is being forked to {name}")));
        }
        if self.orphans.contains(name) {
            return Err(fault(
                Errno::EEXIST,
                format!(
                    "a folder of a guest {name} is there that this supervisor's store does not \
                     know: see `atoll doctor`"
                ),
            ));
        }
        if self.guests.len() >= MAX_GUESTS {
            return Err(fault(Errno::ENOSPC, format!("there are {MAX_GUESTS} guests, the most")));
        }
        Ok(())
    }

    /// A guest that was not there, until that is stored; its changes.
    pub(super) fn add(&mut self, name: &Name, fill: impl FnOnce(&mut Record)) -> Vec<Change> {
        let mut record = Record::new(self.next_id, self.now.wall);
        self.next_id += 1;
        fill(&mut record);
        let state = if record.config.is_some() { State::Stopped } else { State::New };
        let put = Change::Put(name.clone(), Box::new(record.clone()));
        self.guests.insert(name.clone(), Guest::new(record, state));
        let event = save::event(self.now.wall, Some(name), 0, What::Defined);
        vec![Change::NextId(self.next_id), put, event]
    }

    fn make(&mut self, ask: Ask, name: &Name) -> Result<(), Fault> {
        self.check_free(name)?;
        let changes = self.add(name, |_| {});
        self.submit_new(ask, name, changes);
        Ok(())
    }

    /// Takes a new guest to the store.
    fn submit_new(&mut self, ask: Ask, name: &Name, changes: Vec<Change>) {
        self.submit(Txn {
            guest: Some(name.clone()),
            changes,
            after: vec![Output::Answer { ask, result: Ok(()) }],
            asks: vec![ask],
            undo: Some(Undo::Remove),
        });
    }

    fn draft(&mut self, ask: Ask, name: &Name, text: Option<String>) -> Result<(), Fault> {
        check_text(text.as_deref().unwrap_or_default())?;
        self.known(name)?;
        self.go(name, true, Some(ask), |guest, ctx| {
            guest.record.draft = text;
            ctx.turn.answer(ask, Ok(()));
            Ok(())
        })
    }

    fn define(
        &mut self,
        ask: Ask,
        name: &Name,
        definition: Definition,
        text: String,
    ) -> Result<(), Fault> {
        check_text(&text)?;
        self.check_definition(name, &definition)?;
        let config = Some(Config { definition, text });
        if !self.guests.contains_key(name) {
            self.check_free(name)?;
            let mut changes = self.add(name, |record| record.config = config);
            changes.push(save::event(self.now.wall, Some(name), 0, What::Committed));
            self.submit_new(ask, name, changes);
            return Ok(());
        }
        self.known(name)?;
        self.go(name, true, Some(ask), |guest, ctx| {
            guest.record.config = config;
            guest.record.draft = None;
            ctx.event(What::Committed);
            ctx.turn.answer(ask, Ok(()));
            ctx.advance(guest, Stimulus::Verb(Kind::Commit))
        })
    }

    fn known(&self, name: &Name) -> Result<&Guest, Fault> {
        self.guest(name).ok_or_else(|| nobody(name))
    }

    fn check_definition(&self, name: &Name, definition: &Definition) -> Result<(), Fault> {
        let bad = |text: String| Err(fault(Errno::EINVAL, text));
        let hash = &definition.image;
        let Some(image) = self.images.get(hash) else {
            return Err(fault(
                Errno::ENOENT,
                format!("there is no image {hash} here: see /images, or `atoll images`"),
            ));
        };
        if let Some(import) = image.imports.iter().find(|i| !definition.imports.contains_key(*i)) {
            return bad(format!(
                "the image imports {import}, and nothing is bound to it: [imports] {import} = \
                 \"/a/folder\" or \"a-guest/a/path\""
            ));
        }
        if let Some(import) = definition.imports.keys().find(|i| !image.imports.contains(i)) {
            return bad(format!("[imports] {import}: the image has no import of that name"));
        }
        if image.foreign {
            check_foreign(definition)?;
        }
        if definition.resume && !image.can_checkpoint() {
            return bad("resume = true: this image's guests keep no checkpoints".into());
        }
        if definition.keep.is_some() && !image.can_checkpoint() {
            return bad("keep: this image's guests keep no checkpoints".into());
        }
        if definition.listen.iter().any(|a| !a.ip().is_loopback()) {
            return bad("listen: only this machine's own addresses are served".into());
        }
        if definition.stop > super::verb::MAX_STOP {
            return bad("stop: a day is the most, 86400000".into());
        }
        self.check_cycle(name, definition)
    }

    fn image_of(&self, name: &Name) -> Option<&Image> {
        self.images.get(&self.guests.get(name)?.definition()?.image)
    }

    /// Whether a guest is none of ours, and has no tree.
    pub fn is_foreign(&self, name: &Name) -> bool {
        self.image_of(name).is_some_and(|image| image.foreign)
    }

    /// Whether a guest can be written down as a checkpoint, and go on from one.
    pub fn keeps(&self, name: &Name) -> bool {
        self.image_of(name).is_some_and(Image::can_checkpoint)
    }

    /// What a guest can do that not every one can.
    pub fn can(&self, name: &Name) -> Can {
        let keep = self.keeps(name);
        let definition = self.guests.get(name).and_then(|guest| guest.definition());
        let is_movable = |d: &Definition| d.on == On::Xen && d.imports.is_empty();
        Can { keep, relocate: !keep && definition.is_some_and(is_movable) }
    }

    fn check_checkpoints(&self, name: &Name, line: &str) -> Result<(), Fault> {
        if self.keeps(name) {
            return Ok(());
        }
        let image = self.image_of(name);
        let can = image.map(|i| i.can.join(", ")).filter(|c| !c.is_empty());
        let can = can.unwrap_or_else(|| "nothing of that kind".into());
        let text = format!(
            "\"{line}\": this image's guests keep no checkpoints; their manifest says that they can: {can}"
        );
        Err(fault(Errno::EOPNOTSUPP, text))
    }

    fn verb(&mut self, ask: Ask, name: &Name, verb: &Verb) -> Result<(), Fault> {
        let guest = self.known(name)?;
        verb.check(guest.state(), self.can(name)).map_err(|fault| guest.refuses(fault))?;
        let kind = verb.kind(guest.stop_ms());
        match verb {
            Verb::Commit => {
                let text = "\"commit\": no configuration was given with it";
                return Err(fault(Errno::EINVAL, text));
            }
            Verb::Restore(_) | Verb::Checkpoint | Verb::Fork(_) => {
                self.check_checkpoints(name, &verb.line())?;
            }
            _ => {}
        }
        match verb {
            Verb::Checkpoint => self.checkpoint(name, Job { ask, fork: None }),
            Verb::Fork(to) => {
                if self.known(name)?.definition().is_some_and(|d| !d.listen.is_empty()) {
                    let text = format!(
                        "\"fork {to}\": {name} has places to listen at, and two guests cannot \
                         have the same"
                    );
                    return Err(fault(Errno::EINVAL, text));
                }
                self.check_free(to)?;
                self.reserved.insert(to.clone());
                self.checkpoint(name, Job { ask, fork: Some(to.clone()) })
            }
            Verb::Relocate(to) => self.relocate(ask, name, to),
            Verb::Forget => self.go(name, true, Some(ask), |guest, ctx| {
                ctx.advance(guest, Stimulus::Verb(kind))?;
                guest.record.gone = true;
                guest.waiters.push(Waiter { ask, wants: Wants::Ended });
                ctx.turn.after.push(Output::Remove { guest: ctx.name.clone() });
                Ok(())
            }),
            Verb::Restore(n) if guest.state() == State::Running => self.go_back(ask, name, *n),
            Verb::Start | Verb::Anyway | Verb::Restart(_) | Verb::Restore(_) => {
                self.check_needs(name)?;
                self.begin(ask, name, kind, verb)
            }
            _ => {
                let wants = match kind {
                    Kind::Pause => Wants::Paused,
                    Kind::Resume => Wants::Resumed,
                    _ => Wants::Ended,
                };
                // An end that was asked for stands even if it cannot be stored.
                let wish = !matches!(kind, Kind::Stop(_) | Kind::Kill);
                self.go(name, wish, Some(ask), |guest, ctx| {
                    guest.waiters.push(Waiter { ask, wants });
                    ctx.advance(guest, Stimulus::Verb(kind))
                })
            }
        }
    }

    /// A start, of whatever kind.
    fn begin(&mut self, ask: Ask, name: &Name, kind: Kind, verb: &Verb) -> Result<(), Fault> {
        let missing = self.missing(name);
        self.go(name, true, Some(ask), |guest, ctx| {
            let from = guest.state();
            if !from.is_alive() && (from != State::Waiting || kind != Kind::Start) {
                guest.record.failures = 0;
                guest.record.from = None;
            }
            if let Verb::Restore(n) = verb {
                guest.record.from = Some(From::Number(*n));
            }
            guest.waiters.push(Waiter { ask, wants: Wants::Running });
            ctx.advance(guest, Stimulus::Verb(kind))?;
            if from == State::Waiting { Ok(()) } else { ctx.ready(guest, &missing) }
        })?;
        if self.guests.get(name).is_some_and(|g| g.state() == State::Waiting) {
            self.pull_needs(name);
        }
        Ok(())
    }

    fn checkpoint(&mut self, name: &Name, job: Job) -> Result<(), Fault> {
        self.go(name, true, None, |guest, ctx| {
            ctx.advance(guest, Stimulus::Verb(Kind::Checkpoint))?;
            if guest.jobs.is_empty() {
                guest.jobs.push(job);
                let (guest, run) = (ctx.name.clone(), guest.record.run);
                ctx.turn.after.push(Output::Order { guest, run, order: Order::Checkpoint });
            } else {
                // What the one underway holds may be older than this question.
                guest.next_jobs.push(job);
            }
            Ok(())
        })
    }

    /// A guest that runs goes back to one of its checkpoints, in the same run.
    fn go_back(&mut self, ask: Ask, name: &Name, n: u64) -> Result<(), Fault> {
        self.go(name, true, None, |guest, ctx| {
            ctx.advance(guest, Stimulus::Verb(Kind::Restore))?;
            guest.back.push((ask, n));
            let (guest, run) = (ctx.name.clone(), guest.record.run);
            ctx.turn.after.push(Output::Order { guest, run, order: Order::Restore(n) });
            Ok(())
        })
    }

    /// A guest that runs is to run elsewhere.
    fn relocate(&mut self, ask: Ask, name: &Name, to: &Place) -> Result<(), Fault> {
        let line = format!("\"relocate {to}\"");
        let definition = self.known(name)?.definition();
        if definition.is_none_or(|d| d.on != On::Xen) {
            let text = format!("{line}: only a guest that was defined with on = \"xen\" moves so");
            return Err(fault(Errno::EOPNOTSUPP, text));
        }
        if definition.is_some_and(|d| !d.imports.is_empty()) || self.keeps(name) {
            let text = format!("{line}: what it imports or keeps on this host does not move");
            return Err(fault(Errno::EOPNOTSUPP, text));
        }
        if !self.known(name)?.moves.is_empty() {
            return Err(fault(Errno::EBUSY, format!("{line}: it is about to move")));
        }
        self.go(name, true, None, |guest, ctx| {
            ctx.advance(guest, Stimulus::Verb(Kind::Relocate))?;
            guest.moves.push(ask);
            let (guest, run) = (ctx.name.clone(), guest.record.run);
            let order = Order::Relocate(to.clone());
            ctx.turn.after.push(Output::Order { guest, run, order });
            Ok(())
        })
    }

    fn wait(&mut self, ask: Ask, name: &Name, until: Until) -> Result<(), Fault> {
        let state = self.known(name)?.state();
        let (done, wants) = match until {
            Until::Running => (state == State::Running, Wants::Running),
            Until::Ended => (!state.is_alive(), Wants::Ended),
        };
        if done {
            self.answer(ask, Ok(()));
        } else if let Some(guest) = self.guests.get_mut(name) {
            guest.waiters.push(Waiter { ask, wants });
        }
        Ok(())
    }

    fn add_image(&mut self, ask: Ask, hash: ImageHash, image: Image) -> Result<(), Fault> {
        let known = self.images.get(&hash).cloned();
        if known.is_none() && self.images.len() >= MAX_IMAGES {
            let text = format!("there are {MAX_IMAGES} images, the most: remove one");
            return Err(fault(Errno::ENOSPC, text));
        }
        self.images.insert(hash.clone(), image.clone());
        let what = What::Image(hash.to_string(), true);
        let event = save::event(self.now.wall, None, 0, what);
        let changes = vec![Change::PutImage(hash.clone(), image), event];
        self.submit_image(ask, changes, Undo::Image(hash, known));
        Ok(())
    }

    fn drop_image(&mut self, ask: Ask, hash: ImageHash) -> Result<(), Fault> {
        let uses = |g: &Guest| g.definition().is_some_and(|d| d.image == hash);
        if let Some((name, _)) = self.guests().find(|(_, g)| uses(g)) {
            let text = format!("the guest {name} has this image: forget it first");
            return Err(fault(Errno::EBUSY, text));
        }
        let Some(image) = self.images.remove(&hash) else {
            return Err(fault(Errno::ENOENT, "there is no such image"));
        };
        let what = What::Image(hash.to_string(), false);
        let event = save::event(self.now.wall, None, 0, what);
        let changes = vec![Change::DropImage(hash.clone()), event];
        self.submit_image(ask, changes, Undo::Image(hash, Some(image)));
        Ok(())
    }

    fn submit_image(&mut self, ask: Ask, changes: Vec<Change>, undo: Undo) {
        self.submit(Txn {
            guest: None,
            changes,
            after: vec![Output::Answer { ask, result: Ok(()) }],
            asks: vec![ask],
            undo: Some(undo),
        });
    }
}

/// Whether a definition asks for nothing that only a guest of ours has.
fn check_foreign(definition: &Definition) -> Result<(), Fault> {
    let wrong = match definition {
        Definition { on: On::Process, .. } => {
            "on = \"process\": the image is none of Atoll's, and runs on qemu only"
        }
        Definition { listen, .. } if !listen.is_empty() => {
            "listen: the image is none of Atoll's, so its guest has no tree to serve"
        }
        Definition { expect: Some(_), .. } => {
            "[expect]: the image is none of Atoll's, so its guest does not say what it does"
        }
        _ => return Ok(()),
    };
    Err(fault(Errno::EINVAL, wrong))
}

fn check_text(text: &str) -> Result<(), Fault> {
    if text.len() > MAX_CONFIG {
        let text = format!("a configuration has at most {MAX_CONFIG} bytes");
        return Err(fault(Errno::EFBIG, text));
    }
    Ok(())
}
