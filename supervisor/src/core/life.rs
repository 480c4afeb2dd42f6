//! The life of one guest, as a table: what follows when this happens in that state.
//!
//! Nothing here knows time, names or the store. [`step`] says for each state and each
//! stimulus which state comes next and what is to be done once that is stored; a verb that
//! has no place in a state is refused, everything else that has none is passed over, for a
//! shim may tell what its daemon has not asked for. ARCHITECTURE.md has the drawing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::define::STOP;

/// Where a guest is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The supervisor has started and does not know yet what it finds of it.
    Adopting,
    /// It has no committed configuration.
    New,
    /// It does not run, and nobody wants it to.
    Stopped,
    /// It runs on another host, or may: it is not started here by who does not insist.
    Moved,
    /// It is to run once the guests run whose trees it imports.
    Waiting,
    /// It has ended and is to run again after a delay.
    Backoff,
    /// Its machine is being started.
    Starting,
    /// Its tree is there.
    Running,
    /// It was told to stand still.
    Pausing,
    /// It stands still.
    Paused,
    /// It was told to go on.
    Resuming,
    /// It was asked to end, and is killed when it does not.
    Stopping,
    /// It was killed, and its end has not been told yet.
    Killing,
}

impl State {
    /// All of them.
    pub const ALL: [State; 13] = [
        State::Adopting,
        State::New,
        State::Stopped,
        State::Moved,
        State::Waiting,
        State::Backoff,
        State::Starting,
        State::Running,
        State::Pausing,
        State::Paused,
        State::Resuming,
        State::Stopping,
        State::Killing,
    ];

    /// In one word, as `status` has it.
    pub fn name(self) -> &'static str {
        match self {
            State::Adopting => "adopting",
            State::New => "new",
            State::Stopped => "stopped",
            State::Moved => "moved",
            State::Waiting => "waiting",
            State::Backoff => "backoff",
            State::Starting => "starting",
            State::Running => "running",
            State::Pausing => "pausing",
            State::Paused => "paused",
            State::Resuming => "resuming",
            State::Stopping => "stopping",
            State::Killing => "killing",
        }
    }

    /// Whether a shim has it, or may have it.
    pub fn is_alive(self) -> bool {
        use State::*;
        matches!(self, Starting | Running | Pausing | Paused | Resuming | Stopping | Killing)
    }

    /// Whether others can import its tree.
    pub fn is_up(self) -> bool {
        use State::*;
        matches!(self, Running | Pausing | Paused | Resuming)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wanted of a guest. It is stored before anything is done about it, so that the
/// next supervisor goes on with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Nothing: it does not run.
    #[default]
    Down,
    /// It is to run.
    Up,
    /// It is to stop, in so many milliseconds.
    Stop(u64),
    /// It is to be killed.
    Kill,
    /// It is to stop, in so many milliseconds, and then to run again.
    Restart(u64),
}

/// State and goal: all that [`step`] knows of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// Where it is to be.
    pub goal: Goal,
}

/// What may happen to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stimulus {
    /// Somebody asked.
    Verb(Kind),
    /// Its shim told.
    Told(Told),
    /// A supervisor that has just started has looked for it.
    Found(Found),
    /// The guests run whose trees it imports.
    Ready,
    /// The time has come that was waited for: of [`State::Backoff`] and
    /// [`State::Stopping`].
    Due,
}

/// What somebody may ask, without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `commit`: its configuration is to count from the next start on.
    Commit,
    /// `start`.
    Start,
    /// `start anyway`, of one that has moved.
    Anyway,
    /// `stop`, in so many milliseconds.
    Stop(u64),
    /// `kill`.
    Kill,
    /// `pause`.
    Pause,
    /// `resume`.
    Resume,
    /// `restart`, with so many milliseconds for the stop.
    Restart(u64),
    /// `checkpoint`.
    Checkpoint,
    /// `restore`: a start that goes on from a checkpoint, or one that runs goes back to it.
    Restore,
    /// `relocate`: it is to run elsewhere, and not here.
    Relocate,
    /// `fork`: a checkpoint from which a new guest goes on.
    Fork,
    /// `rmdir` of its folder.
    Forget,
}

/// What its shim may tell, without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its tree is there.
    Running,
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// It was asked to stop, by whomever; a guest is given so many milliseconds.
    Stopping(u64),
    /// Standing still was not possible.
    NotPaused,
    /// Going on was not possible.
    NotResumed,
    /// It has ended; and whether it is to be started again when nobody asked for the end.
    Ended(bool),
    /// It runs elsewhere.
    Moved,
}

/// What a supervisor may find of a guest of which it was not told an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its shim, and what the machine does.
    Alive(Alive),
    /// How its run ended; and whether it is to be started again.
    Ended(bool),
    /// It runs elsewhere, or may.
    Moved,
    /// The start that was stored has not begun.
    Unbegun,
    /// No run was underway: what is wanted of it is all there is; and whether it had failed
    /// just before.
    Idle(bool),
    /// It was never defined.
    Blank,
}

/// What a machine does that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    /// It is being started.
    Starting,
    /// Its tree is there.
    Running,
    /// It stands still.
    Paused,
    /// It was asked to stop.
    Stopping,
}

/// What is to be done once a step is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// A new run begins, under a new epoch.
    Launch,
    /// The run that was stored begins after all.
    Relaunch,
    /// The shim is told to stop it, in so many milliseconds.
    Stop(u64),
    /// The shim is told to kill it.
    Kill,
    /// The shim is told to let it stand still.
    Pause,
    /// The shim is told to let it go on.
    Resume,
    /// The shim is told to keep a checkpoint.
    Checkpoint,
    /// The shim is told to give it one of its checkpoints.
    Restore,
    /// The shim is told to move it.
    Relocate,
    /// Its record goes away.
    Forget,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// State and goal from now on.
    pub life: Life,
    /// What is to be done.
    pub act: Act,
}

/// The verb has no place in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What follows when this happens in that state. Only verbs are refused.
pub fn step(life: Life, stimulus: Stimulus) -> Result<Move, Refused> {
    match stimulus {
        Stimulus::Verb(kind) => asked(life, kind),
        Stimulus::Told(told) => Ok(tell(life, told)),
        Stimulus::Found(found) if life.state == State::Adopting => Ok(adopt(life.goal, found)),
        Stimulus::Ready if life.state == State::Waiting => {
            Ok(to(State::Starting, Goal::Up, Act::Launch))
        }
        Stimulus::Due => Ok(match life.state {
            State::Backoff => to(State::Waiting, Goal::Up, Act::Nothing),
            State::Stopping => to(State::Killing, life.goal, Act::Kill),
            _ => stay(life),
        }),
        Stimulus::Found(_) | Stimulus::Ready => Ok(stay(life)),
    }
}

fn to(state: State, goal: Goal, act: Act) -> Move {
    Move { life: Life { state, goal }, act }
}

fn stay(life: Life) -> Move {
    Move { life, act: Act::Nothing }
}

/// The rows of the verbs.
fn asked(life: Life, kind: Kind) -> Result<Move, Refused> {
    use State::*;
    let Life { state, goal } = life;
    if state == Adopting {
        // Whoever asks waits until it is known; nothing is decided before.
        return Err(Refused);
    }
    Ok(match (kind, state) {
        (Kind::Commit, New) => to(Stopped, Goal::Down, Act::Nothing),
        (Kind::Commit, _) => stay(life),

        (Kind::Start | Kind::Restart(_), Stopped | Backoff) | (Kind::Restart(_), Waiting) => {
            to(Waiting, Goal::Up, Act::Nothing)
        }
        (Kind::Restore, Stopped | Backoff | Waiting) => to(Waiting, Goal::Up, Act::Nothing),
        (Kind::Restore, Running) => to(Running, goal, Act::Restore),
        (Kind::Anyway, Moved) => to(Waiting, Goal::Up, Act::Nothing),
        // Whoever asks for what is underway waits for it too.
        (Kind::Start, Waiting | Starting) => stay(life),

        (Kind::Restart(ms), Starting | Running | Pausing | Paused | Resuming) => {
            to(Stopping, Goal::Restart(ms), Act::Stop(ms))
        }
        (Kind::Restart(ms), Stopping | Killing) => to(state, Goal::Restart(ms), Act::Nothing),

        (Kind::Stop(_) | Kind::Kill, Waiting | Backoff) => to(Stopped, Goal::Down, Act::Nothing),
        (Kind::Stop(ms), Starting | Running | Pausing | Paused | Resuming | Stopping) => {
            to(Stopping, Goal::Stop(ms), Act::Stop(ms))
        }
        (Kind::Stop(_), Killing) => to(Killing, Goal::Kill, Act::Nothing),
        // Told again, in case that its shim did not hear.
        (Kind::Kill, s) if s.is_alive() => to(Killing, Goal::Kill, Act::Kill),

        (Kind::Pause, Running) => to(Pausing, goal, Act::Pause),
        (Kind::Pause, Pausing) => stay(life),
        (Kind::Resume, Paused) => to(Resuming, goal, Act::Resume),
        (Kind::Resume, Resuming) => stay(life),

        (Kind::Checkpoint | Kind::Fork, Running) => to(Running, goal, Act::Checkpoint),
        (Kind::Relocate, Running) => to(Running, goal, Act::Relocate),
        (Kind::Forget, New | Stopped | Moved) => to(state, Goal::Down, Act::Forget),
        _ => return Err(Refused),
    })
}

/// The rows of what a shim tells.
fn tell(life: Life, told: Told) -> Move {
    use State::*;
    let Life { state, goal } = life;
    let move_to = |state| to(state, goal, Act::Nothing);
    match (told, state) {
        (Told::Running, Starting) => move_to(Running),
        // Others may speak to a shim too, so these come unasked.
        (Told::Paused, Starting | Running | Pausing | Resuming) => move_to(Paused),
        (Told::Resumed, Pausing | Paused | Resuming) => move_to(Running),
        (Told::Stopping(ms), Starting | Running | Pausing | Paused | Resuming) => {
            to(Stopping, Goal::Stop(ms), Act::Nothing)
        }
        (Told::NotPaused, Pausing) => move_to(Running),
        (Told::NotResumed, Resuming) => move_to(Paused),
        (Told::Moved, s) if s.is_alive() => to(Moved, Goal::Down, Act::Nothing),
        (Told::Ended(again), s) if s.is_alive() => ended(goal, again),
        _ => stay(life),
    }
}

/// What follows the end of a run.
fn ended(goal: Goal, again: bool) -> Move {
    match goal {
        Goal::Up if again => to(State::Backoff, Goal::Up, Act::Nothing),
        Goal::Restart(_) => to(State::Waiting, Goal::Up, Act::Nothing),
        Goal::Up | Goal::Down | Goal::Stop(_) | Goal::Kill => {
            to(State::Stopped, Goal::Down, Act::Nothing)
        }
    }
}

/// The row of a supervisor that has just started.
fn adopt(goal: Goal, found: Found) -> Move {
    let alive = |alive| match alive {
        Alive::Starting => State::Starting,
        Alive::Running => State::Running,
        Alive::Paused => State::Paused,
        Alive::Stopping => State::Stopping,
    };
    match (found, goal) {
        (Found::Alive(Alive::Stopping), Goal::Stop(_) | Goal::Restart(_)) => {
            to(State::Stopping, goal, Act::Nothing)
        }
        (Found::Alive(_), Goal::Stop(ms) | Goal::Restart(ms)) => {
            to(State::Stopping, goal, Act::Stop(ms))
        }
        (Found::Alive(_), Goal::Kill) => to(State::Killing, goal, Act::Kill),
        // Somebody has told its shim while no supervisor was there.
        (Found::Alive(Alive::Stopping), _) => to(State::Stopping, Goal::Stop(STOP), Act::Nothing),
        // A store that is older than what runs: what runs counts.
        (Found::Alive(a), Goal::Up | Goal::Down) => to(alive(a), Goal::Up, Act::Nothing),
        (Found::Ended(again), _) => ended(goal, again),
        (Found::Moved, _) => to(State::Moved, Goal::Down, Act::Nothing),
        (Found::Unbegun, Goal::Up) => to(State::Starting, Goal::Up, Act::Relaunch),
        (Found::Idle(true), Goal::Up) => to(State::Backoff, Goal::Up, Act::Nothing),
        (Found::Idle(false), Goal::Up) | (Found::Unbegun | Found::Idle(_), Goal::Restart(_)) => {
            to(State::Waiting, Goal::Up, Act::Nothing)
        }
        (Found::Unbegun | Found::Idle(_), Goal::Down | Goal::Stop(_) | Goal::Kill) => {
            to(State::Stopped, Goal::Down, Act::Nothing)
        }
        (Found::Blank, _) => to(State::New, Goal::Down, Act::Nothing),
    }
}
