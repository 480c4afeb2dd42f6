//! The pure heart of the supervisor: what is wanted of each guest, what is known of it,
//! and what follows.
//!
//! It does no input and output and has no clock: it takes an [`Input`] and the time, and
//! says what is to be done ([`Output`]). So a whole supervisor lives in a test, is killed
//! between any two of its steps, and another goes on from what was stored.
//!
//! - [`life`] is the table of one guest's states; [`verb`] the lines that its `ctl` takes.
//! - [`define`] is what a guest is configured as, [`record`] what is stored of it.
//! - Nothing is answered, started or announced before what it rests on is stored.
//!
//! [`Input`]: io::Input
//! [`Output`]: io::Output

pub mod define;
pub mod event;
pub mod io;
pub mod life;
pub mod name;
pub mod record;
pub mod verb;

pub use define::{Bind, Definition, Expect, Policy, Restart, Then};
pub use event::{Event, What};
pub use io::{Ask, Input, Now, Output, Seen, Start, Until};
pub use life::{Alive, Goal, State};
pub use name::{ImageHash, Name};
pub use record::{Change, Config, From, Image, Record};
pub use verb::Verb;
