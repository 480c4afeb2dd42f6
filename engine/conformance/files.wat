;; The start of an atom, and a directory whose entries are its own.
;;
;; `out` shows the parameters, as START had them. `box` has one entry, `note`; data that
;; begins with `!` is refused.
;;
;;! atoms a
;;! read a/out greeting hello
;;! list a/box note
;;! read a/box/note first
;;! write a/box/note second
;;! read a/box/note second
;;! write a/box/note !third => EINVAL
;;! read a/box/note second
;;! write a/box/other x => ENOENT
;;! write a/do initialized
;;! write a/do ? => EOPNOTSUPP

(module
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (@custom "atoll.files" "text out\nnames box\nctl do\n")
  (memory (export "memory") 1)
  (data (i32.const 0) "note")
  (data (i32.const 8) "note\n")
  (data (i32.const 4096) "first")
  (global $initialized (export "__atoll_g0") (mut i32) (i32.const 0))
  (global $params (export "__atoll_g1") (mut i32) (i32.const 0))
  (global $note (export "__atoll_g2") (mut i32) (i32.const 5))
  (func (export "atoll_abi") (result i32) (i32.const 1))
  ;; Once, and before START.
  (func (export "_initialize")
    (global.set $initialized (i32.add (global.get $initialized) (i32.const 1))))
  ;; Whether the body has the entry's name at this place.
  (func $named (param $at i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (drop (call $recv (i32.const 16) (i32.const 4) (local.get $at)))
    (i32.eq (i32.load (i32.const 16)) (i32.load (i32.const 0))))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    (block $remove (block $put (block $get (block $names (block $command (block $read (block $start (block $other
      (br_table $other $start $other $other $read $command $other $names $get $put $remove $other
        (local.get $kind)))
      (return (i32.const -95)))
      ;; START
      (global.set $params (call $recv (i32.const 1024) (i32.const 1024) (i32.const 0)))
      (return (i32.sub (i32.eq (global.get $initialized) (i32.const 1)) (i32.const 1))))
      ;; READ: the parameters without the last line's end
      (drop (call $answer (i32.const 1024) (i32.sub (global.get $params) (i32.const 1))))
      (return (i32.const 0)))
      ;; COMMAND: `initialized`, or what it does not know
      (drop (call $recv (i32.const 16) (i32.const 1) (i32.const 0)))
      (if (i32.ne (i32.load8_u (i32.const 16)) (i32.const 105)) (then (return (i32.const -95))))
      (return (i32.sub (i32.eq (global.get $initialized) (i32.const 1)) (i32.const 1))))
      ;; NAMES: one, unless it is skipped
      (if (i32.eqz (i32.wrap_i64 (local.get $id))) (then
        (drop (call $answer (i32.const 8) (i32.const 5)))))
      (return (i32.const 0)))
      ;; GET
      (if (i32.or (i32.ne (local.get $len) (i32.const 4)) (i32.eqz (call $named (i32.const 0))))
        (then (return (i32.const -2))))
      (drop (call $answer (i32.const 4096) (global.get $note)))
      (return (i32.const 0)))
      ;; PUT: the name's length, the name, the data
      (drop (call $recv (i32.const 20) (i32.const 2) (i32.const 0)))
      (if (i32.ne (i32.load16_u (i32.const 20)) (i32.const 4)) (then (return (i32.const -22))))
      (if (i32.eqz (call $named (i32.const 2))) (then (return (i32.const -22))))
      (drop (call $recv (i32.const 20) (i32.const 1) (i32.const 6)))
      (if (i32.eq (i32.load8_u (i32.const 20)) (i32.const 33)) (then (return (i32.const -22))))
      (global.set $note (call $recv (i32.const 4096) (i32.const 1024) (i32.const 6)))
      (return (i32.const 0)))
    ;; REMOVE: nothing may go
    (i32.const -1)))
