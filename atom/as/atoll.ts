// Atoms in AssemblyScript: the ABI of atom/ABI.md, version 1.
//
//     npx asc counter.ts -O3 --runtime minimal --use abort= --exportStart _initialize \
//         --transform ./files.js -o counter.wasm
//
// `files.js` writes the section `atoll.files` from the comments `//# ...` of the sources.
// Results below 0 are -errno.

export const ABI: i32 = 1;

/** Kinds of `invoke` (section 4). */
export namespace kind {
  export const START: i32 = 1;
  export const MESSAGE: i32 = 2;
  export const ASK: i32 = 3;
  export const READ: i32 = 4;
  export const COMMAND: i32 = 5;
  export const WATCHED: i32 = 6;
  export const NAMES: i32 = 7;
  export const GET: i32 = 8;
  export const PUT: i32 = 9;
  export const REMOVE: i32 = 10;
}

/** The interrupt that says: the guest goes on from a checkpoint (section 5). */
export const RESTORED: i32 = 63;

/** Errors (section 9). */
export namespace errno {
  export const EPERM: i32 = 1;
  export const ENOENT: i32 = 2;
  export const EIO: i32 = 5;
  export const EBADF: i32 = 9;
  export const EFAULT: i32 = 14;
  export const EEXIST: i32 = 17;
  export const EINVAL: i32 = 22;
  export const EFBIG: i32 = 27;
  export const ENOSPC: i32 = 28;
  export const EPIPE: i32 = 32;
  export const ENAMETOOLONG: i32 = 36;
  export const EMSGSIZE: i32 = 90;
  export const EOPNOTSUPP: i32 = 95;
  export const ETIMEDOUT: i32 = 110;
  export const ESTALE: i32 = 116;
  export const EDQUOT: i32 = 122;
  export const ECANCELED: i32 = 125;
}

/** Imports (section 6). An i64 that is a future is above 0. */
export namespace abi {
  @external("atoll", "recv")
  export declare function recv(to: usize, cap: u32, from: u32): i32;
  @external("atoll", "answer")
  export declare function answer(text: usize, len: u32): i32;
  @external("atoll", "now")
  export declare function now(): i64;
  @external("atoll", "wall")
  export declare function wall(): i64;
  @external("atoll", "random")
  export declare function random(): i64;
  @external("atoll", "log")
  export declare function log(line: usize, len: u32): i32;
  @external("atoll", "emit")
  export declare function emit(file: u32, line: usize, len: u32): i32;
  @external("atoll", "exit")
  export declare function exit(status: i32): void;

  @external("atoll", "me")
  export declare function me(): i32;
  @external("atoll", "sender")
  export declare function sender(): i32;
  @external("atoll", "find")
  export declare function find(name: usize, len: u32): i32;
  @external("atoll", "register")
  export declare function register(name: usize, len: u32): i32;
  @external("atoll", "send")
  export declare function send(to: i32, body: usize, len: u32): i32;
  @external("atoll", "call")
  export declare function call(to: i32, body: usize, len: u32): i64;
  @external("atoll", "reply")
  export declare function reply(token: i64, status: i32, body: usize, len: u32): i32;
  @external("atoll", "signal")
  export declare function signal(to: i32, code: u32, arg: i64): i32;
  @external("atoll", "mask")
  export declare function mask(bits: u64): u64;
  @external("atoll", "unmask")
  export declare function unmask(bits: u64): u64;
  @external("atoll", "spawn")
  export declare function spawn(name: usize, len: u32, params: usize, paramsLen: u32): i32;
  @external("atoll", "kill")
  export declare function kill(to: i32): i32;

  @external("atoll", "sleep")
  export declare function sleep(ns: i64): i64;
  @external("atoll", "drop_future")
  export declare function drop_future(id: i64): i32;

  @external("atoll", "file_read")
  export declare function file_read(path: usize, len: u32, from: i64, count: u32): i64;
  @external("atoll", "file_write")
  export declare function file_write(path: usize, len: u32, from: i64, data: usize, dataLen: u32): i64;
  @external("atoll", "file_list")
  export declare function file_list(path: usize, len: u32): i64;
  @external("atoll", "file_stat")
  export declare function file_stat(path: usize, len: u32): i64;
  @external("atoll", "open")
  export declare function open(path: usize, len: u32, flags: u32): i64;
  @external("atoll", "walk")
  export declare function walk(fd: u32, path: usize, len: u32, flags: u32): i64;
  @external("atoll", "read")
  export declare function read(fd: u32, from: i64, count: u32): i64;
  @external("atoll", "write")
  export declare function write(fd: u32, from: i64, data: usize, len: u32): i64;
  @external("atoll", "stat")
  export declare function stat(fd: u32): i64;
  @external("atoll", "close")
  export declare function close(fd: u32): i32;

  @external("atoll", "kv_get")
  export declare function kv_get(key: usize, len: u32, to: usize, cap: u32): i32;
  @external("atoll", "kv_put")
  export declare function kv_put(key: usize, len: u32, value: usize, valueLen: u32): i32;
  @external("atoll", "kv_del")
  export declare function kv_del(key: usize, len: u32): i32;
  @external("atoll", "kv_next")
  export declare function kv_next(key: usize, len: u32, to: usize, cap: u32): i32;
  @external("atoll", "log_append")
  export declare function log_append(record: usize, len: u32): i64;
  @external("atoll", "log_read")
  export declare function log_read(number: i64, to: usize, cap: u32): i32;
  @external("atoll", "sync")
  export declare function sync(): i64;

  @external("atoll", "scratch_read")
  export declare function scratch_read(at: u32, to: usize, len: u32): i32;
  @external("atoll", "scratch_write")
  export declare function scratch_write(at: u32, from: usize, len: u32): i32;
  @external("atoll", "scratch_add")
  export declare function scratch_add(at: u32, add: i64, old: usize): i32;
  @external("atoll", "scratch_cas")
  export declare function scratch_cas(at: u32, expected: i64, wanted: i64, old: usize): i32;
  @external("atoll", "lock")
  export declare function lock(number: u32, shared: u32): i64;
  @external("atoll", "unlock")
  export declare function unlock(number: u32): i32;
}

/** The event's body, as text. */
export function body(len: i32): string {
  const bytes = new ArrayBuffer(len);
  abi.recv(changetype<usize>(bytes), len, 0);
  return String.UTF8.decode(bytes);
}

/** Appends to the answer, or to the text of a refusal. */
export function answer(text: string): i32 {
  const bytes = String.UTF8.encode(text);
  return abi.answer(changetype<usize>(bytes), bytes.byteLength);
}

/** A line of an event file. */
export function emit(file: u32, line: string): i32 {
  const bytes = String.UTF8.encode(line);
  return abi.emit(file, changetype<usize>(bytes), bytes.byteLength);
}

/** A line of the guest's log. */
export function log(line: string): i32 {
  const bytes = String.UTF8.encode(line);
  return abi.log(changetype<usize>(bytes), bytes.byteLength);
}

/** Ends a dispatch: clears away what it does not need any more, which only can be done
 *  where nothing is on the stack. `return done(result);` */
export function done(result: i32): i32 {
  __collect();
  return result;
}
