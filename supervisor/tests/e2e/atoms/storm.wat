;; What runs for ever, in every way that a watchdog can find an atom in, and what tells
;; whether any harm was done.
;;
;; A command's letter says what is done. `n` adds 1 to a count in a global, in memory and
;; in the scratch memory of the guest; `A` to `K` never come back; `L` is `A` for a while
;; and then a trap. `count` shows the count of this instance and that in the scratch
;; memory, and traps if global and memory differ or if what START wrote into the second
;; page has changed.
(module
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (import "atoll" "me" (func $me (result i32)))
  (import "atoll" "now" (func $now (result i64)))
  (import "atoll" "scratch_read" (func $scratch_read (param i32 i32 i32) (result i32)))
  (import "atoll" "scratch_write" (func $scratch_write (param i32 i32 i32) (result i32)))
  (@custom "atoll.files" "ctl do\ntext count\n")
  (memory (export "memory") 2)
  (global $count (mut i64) (i64.const 0))
  (type $unary (func (param i32) (result i32)))
  (table funcref (elem $fib $leaf))
  (func (export "atoll_abi") (result i32) (i32.const 1))
  (func $leaf (param i32) (result i32) (local.get 0))
  (func $fib (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0)) (else
      (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
               (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  ;; Where this atom's count lies in the scratch memory.
  (func $place (result i32) (i32.shl (call $me) (i32.const 3)))
  ;; Writes a number to the left of a place, and gives where it begins.
  (func $digits (param $at i32) (param $n i64) (result i32)
    (loop $l
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10)))))
      (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
      (br_if $l (i64.ne (local.get $n) (i64.const 0))))
    (local.get $at))
  (func $read (result i32)
    (local $at i32)
    (if (i64.ne (global.get $count) (i64.load (i32.const 32))) (then unreachable))
    (local.set $at (i32.const 65536))
    (loop $l
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0x5a5a5a5a5a5a5a5a)) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $l (i32.lt_u (local.get $at) (i32.const 65792))))
    (drop (call $scratch_read (call $place) (i32.const 48) (i32.const 8)))
    (local.set $at (call $digits (i32.const 256) (i64.load (i32.const 48))))
    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
    (i32.store8 (local.get $at) (i32.const 32))
    (local.set $at (call $digits (local.get $at) (global.get $count)))
    (call $answer (local.get $at) (i32.sub (i32.const 256) (local.get $at))))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    (local $i i32) (local $end i64) (local $f f64)
    (if (i32.eq (local.get $kind) (i32.const 1)) (then
      (memory.fill (i32.const 65536) (i32.const 0x5a) (i32.const 256))
      (return (i32.const 0))))
    (if (i32.eq (local.get $kind) (i32.const 4)) (then (return (call $read))))
    (if (i32.ne (local.get $kind) (i32.const 5)) (then (return (i32.const 0))))
    (drop (call $recv (i32.const 0) (i32.const 1) (i32.const 0)))
    (block $trap (block $all (block $float (block $table (block $calls (block $scratch
    (block $host (block $bulk (block $fresh (block $grow (block $store (block $spin (block $nop
      (br_table $spin $store $grow $fresh $bulk $host $scratch $calls $table $float $all $trap $nop
        (i32.sub (i32.load8_u (i32.const 0)) (i32.const 65))))
      ;; n
      (global.set $count (i64.add (global.get $count) (i64.const 1)))
      (i64.store (i32.const 32) (i64.add (i64.load (i32.const 32)) (i64.const 1)))
      (drop (call $scratch_read (call $place) (i32.const 48) (i32.const 8)))
      (i64.store (i32.const 48) (i64.add (i64.load (i32.const 48)) (i64.const 1)))
      (return (call $scratch_write (call $place) (i32.const 48) (i32.const 8))))
      ;; A: nothing at all.
      (loop $l (br $l)))
      ;; B: memory that is there.
      (loop $l
        (i32.store (i32.and (local.get $i) (i32.const 65532)) (local.get $i))
        (local.set $i (i32.add (local.get $i) (i32.const 4)))
        (br $l)))
      ;; C: memory that is not to be had.
      (loop $l (drop (memory.grow (i32.const 1))) (br $l)))
      ;; D: pages that nobody has touched, the limit's worth of them, and then those again.
      (drop (memory.grow (i32.const 14)))
      (loop $l
        (i32.store (i32.and (local.get $i) (i32.const 0xffffc)) (local.get $i))
        (local.set $i (i32.add (local.get $i) (i32.const 4096)))
        (br $l)))
      ;; E: in the runtime for most of the time.
      (loop $l
        (memory.fill (i32.const 0) (i32.const 7) (i32.const 131072))
        (memory.copy (i32.const 100) (i32.const 0) (i32.const 130000))
        (br $l)))
      ;; F: calls of the host that do little.
      (loop $l
        (drop (call $recv (i32.const 16) (i32.const 8) (i32.const 0)))
        (drop (call $answer (i32.const -1) (i32.const 8)))
        (drop (call $now))
        (br $l)))
      ;; G: calls whose effects have to be taken back.
      (loop $l
        (i64.store (i32.const 48) (i64.const -1))
        (drop (call $scratch_write (call $place) (i32.const 48) (i32.const 8)))
        (br $l)))
      ;; H, I: calls, by name and by table.
      (loop $l (drop (call $fib (i32.const 20))) (br $l)))
      (loop $l
        (drop (call_indirect (type $unary) (i32.const 9) (i32.and (local.get $i) (i32.const 1))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $l)))
      ;; J: registers that an interrupt must keep.
      (loop $l
        (local.set $f (f64.floor (f64.sqrt (f64.add (local.get $f) (f64.const 1.5)))))
        (v128.store (i32.const 64)
          (i32x4.mul (v128.load (i32.const 64)) (v128.load (i32.const 80))))
        (br $l)))
      ;; K: a little of each.
      (loop $l
        (drop (call $fib (i32.const 3)))
        (drop (memory.grow (i32.const 0)))
        (memory.fill (i32.const 64) (i32.const 1) (i32.const 64))
        (drop (call $answer (i32.const 0) (i32.const -1)))
        (drop (call_indirect (type $unary) (i32.const 7) (i32.const 1)))
        (br $l)))
    ;; L: the second byte says for how long, in units of 4096 rounds.
    (drop (call $recv (i32.const 0) (i32.const 1) (i32.const 1)))
    (local.set $end (i64.shl (i64.load8_u (i32.const 0)) (i64.const 12)))
    (loop $l
      (local.set $end (i64.sub (local.get $end) (i64.const 1)))
      (br_if $l (i64.gt_s (local.get $end) (i64.const 0))))
    (i32.store (i32.const -4) (i32.const 0))
    (i32.const 0)))
