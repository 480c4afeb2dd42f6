//! The ABI as it is (`ABI.md`): numbers, and the imports behind safe functions.
//!
//! This is the only module with unsafe code. On wasm32 the functions are the
//! runtime's imports. On any other machine they go to the fake runtime
//! ([`crate::fake`]), so that an atom's code is the same in a test.

/// The version of the ABI: what the export `atoll_abi` gives.
pub const VERSION: i32 = 1;
/// The custom section that lists an atom's files.
pub const SECTION: &str = "atoll.files";

/// A place of the module's own, for what would be a static variable.
#[cfg(target_arch = "wasm32")]
#[derive(Debug, Default)]
pub struct Local<T>(core::cell::RefCell<T>);

// SAFETY: the memory of a module is not shared (ABI.md, section 2), so there is one
// thread, which need not be kept from itself.
#[cfg(target_arch = "wasm32")]
unsafe impl<T> Sync for Local<T> {}
// SAFETY: as above.
#[cfg(target_arch = "wasm32")]
unsafe impl<T> Send for Local<T> {}

#[cfg(target_arch = "wasm32")]
impl<T> Local<T> {
    /// A place that holds this.
    pub const fn new(value: T) -> Local<T> {
        Local(core::cell::RefCell::new(value))
    }

    /// Uses what is there.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

/// Kinds of `invoke` (section 4).
pub mod kind {
    /// The instance is new. Body: parameters.
    pub const START: i32 = 1;
    /// A message. Id: its sender.
    pub const MESSAGE: i32 = 2;
    /// A message that wants a reply. Id: the token.
    pub const ASK: i32 = 3;
    /// Somebody reads a text. Id: the file.
    pub const READ: i32 = 4;
    /// A line was written to a ctl file. Id: the file.
    pub const COMMAND: i32 = 5;
    /// An event file has got its first reader or lost its last. Id: file × 2 + on.
    pub const WATCHED: i32 = 6;
    /// A directory is listed. Id: file × 2^32 + names to skip.
    pub const NAMES: i32 = 7;
    /// An entry is read. Id: the file; body: its name.
    pub const GET: i32 = 8;
    /// An entry is written. Id: the file; body: u16 length of the name, name, data.
    pub const PUT: i32 = 9;
    /// An entry is removed. Id: the file; body: its name.
    pub const REMOVE: i32 = 10;
}

/// Interrupt codes are below this.
pub const CODES: u32 = 64;
/// The interrupt that says: the guest goes on from a checkpoint.
pub const RESTORED: u32 = 63;

/// The most bytes in a message, a stored value, or data read or written at once.
pub const MAX_BODY: usize = 65_536;
/// The most bytes in an answer.
pub const MAX_ANSWER: usize = 1 << 20;
/// The most bytes in a line of an event file, and in a command.
pub const MAX_LINE: usize = 4096;
/// The most bytes in a line of the log; what is longer is cut.
pub const MAX_LOG: usize = 1024;
/// The most bytes of parameters that `spawn` takes.
pub const MAX_PARAMS: usize = 4096;
/// The most bytes in a name of a component, and in a file's name.
pub const MAX_NAME: usize = 63;
/// The most bytes in the name of a directory's entry.
pub const MAX_ENTRY: usize = 255;
/// The most bytes in a key of the store; it has at least one.
pub const MAX_KEY: usize = 255;
/// The most bytes in a path.
pub const MAX_PATH: usize = 1024;
/// The most bytes of text of a refusal.
pub const MAX_TEXT: usize = 256;
/// The most files of a module.
pub const MAX_FILES: usize = 64;
/// The most bytes that an event file keeps.
pub const MAX_KEEP: u32 = 1 << 20;
/// Bytes of scratch memory.
pub const SCRATCH: u32 = 65_536;
/// Locks are below this.
pub const LOCKS: u32 = 256;
/// Bytes of a stat.
pub const STAT: usize = 33;
/// The greatest errno.
pub const MAX_ERRNO: i32 = 4095;

/// Flags of `open` and `walk`: Linux's (`asm-generic/fcntl.h`).
pub mod flags {
    /// To read.
    pub const RDONLY: u32 = 0;
    /// To write.
    pub const WRONLY: u32 = 1;
    /// To read and write.
    pub const RDWR: u32 = 2;
    /// Make it if it is not there.
    pub const CREAT: u32 = 0o100;
    /// It must not be there.
    pub const EXCL: u32 = 0o200;
    /// Empty it.
    pub const TRUNC: u32 = 0o1000;
    /// Do not open it, only walk and stat.
    pub const PATH: u32 = 0o10_000_000;
}

/// Declares each import once: raw on wasm32, with slices and integers above it, and
/// the same function of the fake elsewhere. `in NAME` is a run of bytes that the
/// runtime reads, `out NAME` one that it writes; each is a pointer and a length.
macro_rules! imports {
    ($($(#[$doc:meta])* fn $name:ident($($args:tt)*) $(-> $ret:ty)?;)*) => {
        #[cfg(target_arch = "wasm32")]
        mod raw {
            $(imports!(@raw $name [] ($($args)*) $($ret)?);)*
        }
        $(imports!(@safe [$(#[$doc])*] $name [] [] ($($args)*) $($ret)?);)*
    };
    // The import: every run of bytes becomes two arguments.
    (@raw $name:ident [$($done:tt)*] (in $a:ident $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@raw $name [$($done)* (*const u8) (usize)] ($($($rest)*)?) $($ret)?);
    };
    (@raw $name:ident [$($done:tt)*] (out $a:ident $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@raw $name [$($done)* (*mut u8) (usize)] ($($($rest)*)?) $($ret)?);
    };
    (@raw $name:ident [$($done:tt)*] (word $a:ident $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@raw $name [$($done)* (*mut u64)] ($($($rest)*)?) $($ret)?);
    };
    (@raw $name:ident [$($done:tt)*] ($a:ident: $t:ty $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@raw $name [$($done)* ($t)] ($($($rest)*)?) $($ret)?);
    };
    (@raw $name:ident [$(($t:ty))*] () $($ret:ty)?) => {
        #[link(wasm_import_module = "atoll")]
        unsafe extern "C" {
            pub(super) fn $name($(_: $t),*) $(-> $ret)?;
        }
    };
    // The safe function: `[its arguments] [what is handed on]`.
    (@safe $doc:tt $name:ident [$($args:tt)*] [$($give:tt)*] (in $a:ident $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@safe $doc $name [$($args)* ($a: &[u8])]
            [$($give)* ($a $a.as_ptr(), $a.len())] ($($($rest)*)?) $($ret)?);
    };
    (@safe $doc:tt $name:ident [$($args:tt)*] [$($give:tt)*] (out $a:ident $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@safe $doc $name [$($args)* ($a: &mut [u8])]
            [$($give)* ($a $a.as_mut_ptr(), $a.len())] ($($($rest)*)?) $($ret)?);
    };
    (@safe $doc:tt $name:ident [$($args:tt)*] [$($give:tt)*] (word $a:ident $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@safe $doc $name [$($args)* ($a: &mut u64)]
            [$($give)* ($a core::ptr::from_mut($a))] ($($($rest)*)?) $($ret)?);
    };
    (@safe $doc:tt $name:ident [$($args:tt)*] [$($give:tt)*] ($a:ident: $t:ty $(, $($rest:tt)*)?) $($ret:ty)?) => {
        imports!(@safe $doc $name [$($args)* ($a: $t)]
            [$($give)* ($a $a)] ($($($rest)*)?) $($ret)?);
    };
    (@safe [$($doc:tt)*] $name:ident [$(($a:ident: $t:ty))*] [$(($n:ident $($give:tt)*))*] () $($ret:ty)?) => {
        $($doc)*
        #[inline]
        pub fn $name($($a: $t),*) $(-> $ret)? {
            #[cfg(target_arch = "wasm32")]
            // SAFETY: every pointer comes from a slice or a reference of that length
            // that lives until the call returns, and the runtime keeps none of them.
            return unsafe { raw::$name($($($give)*),*) };
            #[cfg(not(target_arch = "wasm32"))]
            return crate::fake::host::$name($($n),*);
        }
    };
}

imports! {
    /// Copies the event's body from byte `from` on, and says how many bytes.
    fn recv(out buffer, from: u32) -> i32;
    /// Appends to the answer, or to the text of a refusal.
    fn answer(in bytes) -> i32;
    /// Nanoseconds since the guest's start.
    fn now() -> i64;
    /// Nanoseconds since 1970 UTC.
    fn wall() -> i64;
    /// 64 bits from the guest's generator.
    fn random() -> i64;
    /// A line of the guest's log.
    fn log(in line) -> i32;
    /// A line of an event file.
    fn emit(file: u32, in line) -> i32;
    /// Ends the guest.
    fn exit(status: i32);

    /// The atom's own component.
    fn me() -> i32;
    /// Who sent the message, the ask or the signal.
    fn sender() -> i32;
    /// The component of that name.
    fn find(in name) -> i32;
    /// Takes a name in `/srv`.
    fn register(in name) -> i32;
    /// Sends a message.
    fn send(to: i32, in body) -> i32;
    /// Sends a message that wants a reply: a future.
    fn call(to: i32, in body) -> i64;
    /// Answers a message that wants a reply.
    fn reply(token: i64, status: i32, in body) -> i32;
    /// Interrupts another atom.
    fn signal(to: i32, code: u32, arg: i64) -> i32;
    /// Lets interrupts wait; gives the mask before.
    fn mask(bits: u64) -> u64;
    /// Lets interrupts through; gives the mask before.
    fn unmask(bits: u64) -> u64;
    /// A new instance of the atom's own module.
    fn spawn(in name, in params) -> i32;
    /// Ends an atom that this one spawned, or itself.
    fn kill(to: i32) -> i32;

    /// A future that fires `ns` nanoseconds from now.
    fn sleep(ns: i64) -> i64;
    /// Takes a future back.
    fn drop_future(id: i64) -> i32;

    /// Reads a file by path: a future.
    fn file_read(in path, from: i64, count: u32) -> i64;
    /// Writes a file by path: a future.
    fn file_write(in path, from: i64, in data) -> i64;
    /// Lists a directory by path: a future.
    fn file_list(in path) -> i64;
    /// What is known of a file, by path: a future.
    fn file_stat(in path) -> i64;
    /// Opens a file: a future.
    fn open(in path, flags: u32) -> i64;
    /// Opens a file by a path that begins at an open directory: a future.
    fn walk(fd: u32, in path, flags: u32) -> i64;
    /// Reads an open file: a future.
    fn read(fd: u32, from: i64, count: u32) -> i64;
    /// Writes an open file: a future.
    fn write(fd: u32, from: i64, in data) -> i64;
    /// What is known of an open file: a future.
    fn stat(fd: u32) -> i64;
    /// Closes a file.
    fn close(fd: u32) -> i32;

    /// Copies a stored value, and gives its whole length.
    fn kv_get(in key, out value) -> i32;
    /// Stores a value.
    fn kv_put(in key, in value) -> i32;
    /// Removes a value.
    fn kv_del(in key) -> i32;
    /// The next greater key, as [`kv_get`].
    fn kv_next(in key, out next) -> i32;
    /// Appends a record to the log of the store, and gives its number.
    fn log_append(in record) -> i64;
    /// A record of the log of the store, as [`kv_get`].
    fn log_read(number: i64, out record) -> i32;
    /// A future that fires when all that was stored is in the host's files.
    fn sync() -> i64;

    /// Copies from scratch memory.
    fn scratch_read(at: u32, out bytes) -> i32;
    /// Copies to scratch memory.
    fn scratch_write(at: u32, in bytes) -> i32;
    /// Adds to a word of scratch memory, and tells what it was.
    fn scratch_add(at: u32, add: i64, word old) -> i32;
    /// Sets a word of scratch memory if it is what is expected; tells what it was.
    fn scratch_cas(at: u32, expected: i64, new: i64, word old) -> i32;
    /// A future that fires when the atom holds the lock.
    fn lock(number: u32, shared: u32) -> i64;
    /// Gives up a lock.
    fn unlock(number: u32) -> i32;
}
